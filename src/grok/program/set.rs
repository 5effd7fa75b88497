//! Sets of characters, made ready for UTF-8.

use crate::grok::syntax::CharSet;

/// A set of characters that is tested on the bytes of UTF-8.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    /// For ASCII: whether it is in the set. For others: whether all of them are.
    pub table: Box<[bool; 256]>,
    /// The characters beyond ASCII.
    pub wide: Wide,
    /// How a run of members is skipped.
    pub scan: Scan,
}

/// Which characters beyond ASCII are in a set.
#[derive(Debug, Clone, PartialEq)]
pub enum Wide {
    /// None.
    None,
    /// All.
    All,
    /// Some.
    Some(CharSet),
}

/// The fastest way to the end of a run of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// Everything is a member.
    ToEnd,
    /// All but this byte.
    Memchr(u8),
    /// All but these two.
    Memchr2(u8, u8),
    /// All but these three.
    Memchr3(u8, u8, u8),
    /// Byte by byte.
    Table,
    /// Character by character.
    Chars,
}

impl Set {
    /// Prepares a set.
    pub fn new(set: &CharSet) -> Set {
        let mut table = Box::new([false; 256]);
        for byte in 0..0x80u8 {
            table[usize::from(byte)] = set.contains(char::from(byte));
        }
        let mut beyond = set.clone();
        beyond.intersect(&CharSet::range('\u{80}', char::MAX));
        let wide = if beyond.is_empty() {
            Wide::None
        } else if beyond == CharSet::range('\u{80}', char::MAX) {
            table[0x80..].fill(true);
            Wide::All
        } else {
            Wide::Some(beyond)
        };
        let stops: Vec<u8> = (0..0x80u8).filter(|&byte| !table[usize::from(byte)]).take(4).collect();
        let scan = match (&wide, &stops[..]) {
            (Wide::Some(_), _) => Scan::Chars,
            (Wide::All, []) => Scan::ToEnd,
            (Wide::All, &[a]) => Scan::Memchr(a),
            (Wide::All, &[a, b]) => Scan::Memchr2(a, b),
            (Wide::All, &[a, b, c]) => Scan::Memchr3(a, b, c),
            _ => Scan::Table,
        };
        Set { table, wide, scan }
    }

    /// The end of the member that begins at `pos`.
    #[inline]
    pub fn step(&self, text: &str, pos: usize) -> Option<usize> {
        let byte = *text.as_bytes().get(pos)?;
        if byte < 0x80 {
            return self.table[usize::from(byte)].then_some(pos + 1);
        }
        match &self.wide {
            Wide::None => None,
            Wide::All => Some(pos + utf8_len(byte)),
            Wide::Some(set) => {
                let c = text[pos..].chars().next()?;
                set.contains(c).then_some(pos + c.len_utf8())
            }
        }
    }

    /// Whether the character that ends at `pos` is a member.
    pub fn ends_at(&self, text: &str, pos: usize) -> bool {
        match text.as_bytes()[..pos].last() {
            None => false,
            Some(&byte) if byte < 0x80 => self.table[usize::from(byte)],
            Some(_) => match &self.wide {
                Wide::None => false,
                Wide::All => true,
                Wide::Some(set) => text[..pos].chars().next_back().is_some_and(|c| set.contains(c)),
            },
        }
    }

    /// The end of the run of members from `pos`.
    #[inline]
    pub fn run(&self, text: &str, pos: usize) -> usize {
        let bytes = text.as_bytes();
        let rest = &bytes[pos..];
        match self.scan {
            Scan::ToEnd => bytes.len(),
            Scan::Memchr(a) => pos + memchr::memchr(a, rest).unwrap_or(rest.len()),
            Scan::Memchr2(a, b) => pos + memchr::memchr2(a, b, rest).unwrap_or(rest.len()),
            Scan::Memchr3(a, b, c) => pos + memchr::memchr3(a, b, c, rest).unwrap_or(rest.len()),
            Scan::Table => pos + rest.iter().position(|&byte| !self.table[usize::from(byte)]).unwrap_or(rest.len()),
            Scan::Chars => {
                let mut end = pos;
                while let Some(next) = self.step(text, end) {
                    end = next;
                }
                end
            }
        }
    }

    /// The end of at most `max` members from `pos`, and how many they are.
    #[inline]
    pub fn run_up_to(&self, text: &str, pos: usize, max: u32) -> (usize, u32) {
        let (mut end, mut count) = (pos, 0);
        while count < max {
            let Some(next) = self.step(text, end) else { break };
            end = next;
            count += 1;
        }
        (end, count)
    }
}

/// How many bytes a character has that begins with `lead`.
#[inline]
pub fn utf8_len(lead: u8) -> usize {
    match lead {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    }
}
