//! Sets of characters, prepared for matching UTF-8.

use crate::grok::syntax::CharSet;

/// A set of characters that is tested on the bytes of UTF-8.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    /// True for each ASCII byte in the set. True for all other bytes if every character beyond ASCII is in the set.
    pub table: Box<[bool; 256]>,
    /// The characters beyond ASCII.
    pub wide: Wide,
    /// The method by which a run of members is scanned.
    pub scan: Scan,
}

/// The members of a set beyond ASCII.
#[derive(Debug, Clone, PartialEq)]
pub enum Wide {
    /// No character beyond ASCII is a member.
    None,
    /// All characters beyond ASCII are members.
    All,
    /// These characters are members.
    Some(CharSet),
}

/// The fastest method to find the end of a run of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// Every character is a member.
    ToEnd,
    /// Every character but this byte is a member.
    Memchr(u8),
    /// Every character but these two is a member.
    Memchr2(u8, u8),
    /// Every character but these three is a member.
    Memchr3(u8, u8, u8),
    /// All non-members are ASCII and at or below this byte: the text is scanned eight bytes at a time.
    Above(u8),
    /// The text is scanned byte by byte.
    Table,
    /// The text is scanned character by character.
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
            (Wide::All, _) if (0x30..0x80).all(|byte| table[byte]) => {
                Scan::Above((0..0x30u8).rev().find(|&byte| !table[usize::from(byte)]).unwrap_or(0))
            }
            _ => Scan::Table,
        };
        Set { table, wide, scan }
    }

    /// Returns the end of the member that begins at `pos`, or `None` if the character there is not a member.
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

    /// Returns whether the character that ends at `pos` is a member.
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

    /// Returns the end of the run of members from `pos`.
    #[inline]
    pub fn run(&self, text: &str, pos: usize) -> usize {
        let bytes = text.as_bytes();
        let rest = &bytes[pos..];
        match self.scan {
            Scan::ToEnd => bytes.len(),
            Scan::Memchr(a) => pos + memchr::memchr(a, rest).unwrap_or(rest.len()),
            Scan::Memchr2(a, b) => pos + memchr::memchr2(a, b, rest).unwrap_or(rest.len()),
            Scan::Memchr3(a, b, c) => pos + memchr::memchr3(a, b, c, rest).unwrap_or(rest.len()),
            Scan::Above(limit) => pos + self.run_above(rest, limit),
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

    /// Returns the length of the run of members in bytes. Skips eight bytes at a time while all are above `limit`.
    fn run_above(&self, bytes: &[u8], limit: u8) -> usize {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGH: u64 = 0x8080_8080_8080_8080;
        let bound = ONES * u64::from(limit + 1);
        let mut pos = 0;
        loop {
            while let Some(chunk) = bytes.get(pos..pos + 8) {
                let word = u64::from_le_bytes([
                    chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7],
                ]);
                // The lowest set high bit belongs to the first byte at or below the limit.
                let low = word.wrapping_sub(bound) & !word & HIGH;
                if low != 0 {
                    pos += low.trailing_zeros() as usize / 8;
                    break;
                }
                pos += 8;
            }
            match bytes.get(pos) {
                Some(&byte) if self.table[usize::from(byte)] => pos += 1,
                _ => return pos,
            }
        }
    }

    /// Returns the end of a run of at most `max` members from `pos`, and their number.
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

/// Returns the length in bytes of a character that begins with `lead`.
#[inline]
pub fn utf8_len(lead: u8) -> usize {
    match lead {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    }
}
