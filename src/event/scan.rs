//! Finding the members of a record and checking its grammar, 64 bytes at a time.
//!
//! What stands where is kept as bits, one for each byte: quotes, brackets, colons, commas, the insides of strings. JSON without
//! white space between its parts, as every shipper writes it, then needs no reader that goes from part to part: nearly all of its
//! grammar says which part may stand beside which, and that is a handful of shifts for 64 bytes together. What is left is to
//! match brackets, and to look at numbers and words, of which there are few. Whatever does not fit (white space, mistakes, control
//! characters) is left to [`super::json::Scanner`], which also says what was wrong and where.

use wide::{CmpEq, u8x32};

use super::encode::plain_run_of_32;
use super::json::Scanner;

/// What stands in 64 bytes.
struct Block {
    /// Quotes that open or close a string.
    quotes: u64,
    /// Strings, with the quote before and without the one after.
    inside: u64,
    open: u64,
    curly: u64,
    close: u64,
    colon: u64,
    comma: u64,
    /// Numbers and words.
    scalar: u64,
}

/// Objects and arrays that are nested deeper are for the other reader.
const DEEPEST: u32 = 60;

/// Where members stand in a text; used again for the next one.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
    /// Where each member of the outermost object begins and ends, key and value.
    pub(super) members: Vec<(u32, u32)>,
}

/// What is carried from one block to the next.
#[derive(Default)]
struct State {
    escape: u64,
    within: u64,
    /// Anything that can't be.
    strange: u64,
    /// Whether what is open is an object, and, in bits, whether what is around it is.
    object: bool,
    around: u64,
    depth: u32,
    /// Where the member of the outermost object that is read begins.
    member: u32,
    ended: bool,
    after_before: u64,
    after_open: u64,
    after_value: u64,
    before_key: u64,
    after_key: u64,
    in_key: bool,
    scalars: u64,
}

impl Scan {
    /// Finds the members of the object that the bytes `start..` are. Answers `false`, which says nothing about the text, where it is
    /// for another reader.
    pub(super) fn object(&mut self, bytes: &[u8], start: usize) -> bool {
        self.members.clear();
        let text = &bytes[start..];
        let (Some(b'{'), Some(b'}'), Ok(_)) = (text.first(), text.last(), u32::try_from(bytes.len())) else { return false };
        // What may begin at the first byte is what may follow a colon.
        let mut state = State { member: 1, after_before: 1, ..State::default() };
        let chunks = text.chunks_exact(64);
        let rest = chunks.remainder();
        let mut base = 0;
        for chunk in chunks {
            let Some(chunk) = chunk.first_chunk() else { return false };
            if state.within == u64::MAX && state.escape == 0 && is_inside(chunk) {
                base += 64;
                continue;
            }
            let block = classify(chunk, &mut state, text, base);
            if !self.follow(&block, &mut state, text, base, start) {
                return false;
            }
            base += 64;
        }
        if !rest.is_empty() {
            // Commas stand for what is not there, and are taken out again.
            let mut chunk = [b','; 64];
            chunk[..rest.len()].copy_from_slice(rest);
            let mut block = classify(&chunk, &mut state, text, base);
            block.comma &= !(u64::MAX << rest.len());
            if !self.follow(&block, &mut state, text, base, start) {
                return false;
            }
        }
        state.strange == 0 && state.within == 0 && state.escape == 0 && state.ended
    }

    /// Matches brackets, notes the members of the outermost object, and looks whether only those stand side by side that may.
    #[inline(always)]
    fn follow(&mut self, block: &Block, state: &mut State, text: &[u8], base: usize, start: usize) -> bool {
        let Block { quotes, inside, open, curly, close, colon, comma, scalar } = *block;
        let mut in_array = 0;
        let mut commas = comma;
        let mut brackets = open | close;
        loop {
            let bit = brackets & brackets.wrapping_neg();
            // All of them where there is no bracket any more.
            let before = bit.wrapping_sub(1);
            let mut here = commas & before;
            commas &= !before;
            if !state.object {
                in_array |= here;
            } else if state.depth == 1 {
                while here != 0 {
                    let at = base as u32 + here.trailing_zeros();
                    here &= here - 1;
                    self.members.push((start as u32 + state.member, start as u32 + at));
                    state.member = at + 1;
                }
            }
            if bit == 0 {
                break;
            }
            brackets ^= bit;
            if open & bit != 0 {
                if state.ended || state.depth > DEEPEST {
                    return false;
                }
                state.around = state.around << 1 | u64::from(state.object);
                state.depth += 1;
                state.object = curly & bit != 0;
                continue;
            }
            let at = base as u32 + bit.trailing_zeros();
            if state.depth == 0 || (text[at as usize] == b'}') != state.object {
                return false;
            }
            state.depth -= 1;
            state.object = state.around & 1 != 0;
            state.around >>= 1;
            if state.depth == 0 {
                if at > state.member {
                    self.members.push((start as u32 + state.member, start as u32 + at));
                }
                state.ended = true;
            }
        }
        let (opening, closing) = (quotes & inside, quotes & !inside);
        let scalar_start = scalar & !shifted(scalar, &mut state.scalars);
        let starts = opening | open | scalar_start;
        let may_start = shifted(open | colon | comma, &mut state.after_before);
        let may_be_empty = shifted(open, &mut state.after_open);
        let may_end = shifted(closing | close | scalar, &mut state.after_value);
        let wants_key = shifted(comma & !in_array | curly, &mut state.before_key);
        let mut strange = starts & !may_start;
        strange |= may_start & !(starts | close & may_be_empty);
        strange |= comma & !may_end;
        strange |= close & !(may_end | may_be_empty);
        strange |= wants_key & (open | scalar_start);
        // Adding a bit at the quote that opens a key carries through the key to the quote that closes it.
        let (sum, first) = inside.overflowing_add(opening & wants_key);
        let (sum, second) = sum.overflowing_add(u64::from(state.in_key));
        state.in_key = first | second;
        strange |= colon ^ shifted(sum & closing, &mut state.after_key);
        state.strange |= strange;
        let mut starts = scalar_start;
        while starts != 0 {
            let at = base + starts.trailing_zeros() as usize;
            starts &= starts - 1;
            if !is_scalar(text, at) {
                return false;
            }
        }
        true
    }
}

/// The bits moved one place on, with the last one of the block before.
#[inline(always)]
fn shifted(bits: u64, carry: &mut u64) -> u64 {
    let moved = bits << 1 | *carry;
    *carry = bits >> 63;
    moved
}

/// Whether a number or word begins at a place and ends where a value may end.
fn is_scalar(text: &[u8], at: usize) -> bool {
    let mut scanner = Scanner::new(text, at);
    scanner.scalar().is_ok() && matches!(scanner.peek(), b',' | b'}' | b']')
}

#[inline(always)]
fn mask(low: u8x32, high: u8x32) -> u64 {
    u64::from(low.move_mask() as u32) | u64::from(high.move_mask() as u32) << 32
}

#[inline(always)]
fn classify(chunk: &[u8; 64], state: &mut State, text: &[u8], base: usize) -> Block {
    let half = |from: usize| chunk[from..].first_chunk().map_or(u8x32::splat(0), |half: &[u8; 32]| u8x32::new(*half));
    let (low, high) = (half(0), half(32));
    let equal = |byte: u8| {
        let byte = u8x32::splat(byte);
        mask(low.cmp_eq(byte), high.cmp_eq(byte))
    };
    let lower = u8x32::splat(0x20);
    let folded = (low | lower, high | lower);
    let bracket = |byte: u8| {
        let byte = u8x32::splat(byte);
        mask(folded.0.cmp_eq(byte), folded.1.cmp_eq(byte))
    };
    let up_to_space = mask(low.min(lower).cmp_eq(low), high.min(lower).cmp_eq(high));
    let backslash = equal(b'\\');
    let mut quotes = equal(b'"');
    if backslash | state.escape != 0 {
        let mut escaped = escaped_by(backslash, &mut state.escape);
        quotes &= !escaped;
        while escaped != 0 {
            let at = base + escaped.trailing_zeros() as usize;
            escaped &= escaped - 1;
            state.strange |= u64::from(!is_escape(text, at));
        }
    }
    let inside = prefix_xor(quotes) ^ state.within;
    state.within = (inside as i64 >> 63) as u64;
    if up_to_space != 0 {
        let spaces = equal(b' ');
        state.strange |= (up_to_space ^ spaces) | spaces & !inside;
    }
    let outside = !(inside | quotes);
    let (open, close) = (bracket(b'{') & outside, bracket(b'}') & outside);
    let (colon, comma) = (equal(b':') & outside, equal(b',') & outside);
    let curly = open & equal(b'{');
    Block { quotes, inside, open, curly, close, colon, comma, scalar: outside & !(open | close | colon | comma) }
}

/// Whether 64 bytes that begin inside a string hold nothing but its text.
#[inline(always)]
fn is_inside(chunk: &[u8; 64]) -> bool {
    let half = |from: usize| chunk[from..].first_chunk().map_or(0, plain_run_of_32);
    half(0) + half(32) == 64
}

/// The bytes that a backslash stands before. Runs of backslashes are told apart by whether they begin at an even place: in those
/// that begin at an odd one, adding the run to its start carries out of it with the other parity.
#[inline(always)]
fn escaped_by(backslash: u64, carry: &mut u64) -> u64 {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    let backslash = backslash & !*carry;
    let follows = backslash << 1 | *carry;
    let odd_starts = backslash & !EVEN & !follows;
    let (even_runs, over) = odd_starts.overflowing_add(backslash);
    *carry = u64::from(over);
    (EVEN ^ even_runs << 1) & follows
}

/// For each bit whether the number of bits up to and with it is odd.
#[inline(always)]
fn prefix_xor(mut bits: u64) -> u64 {
    for step in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << step;
    }
    bits
}

/// Whether what stands after a backslash makes an escape (RFC 8259, section 7).
fn is_escape(text: &[u8], at: usize) -> bool {
    match text.get(at) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => true,
        Some(b'u') => text.get(at + 1..at + 5).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the reader that goes from part to part says: whether it is an object.
    fn reads(text: &[u8]) -> bool {
        let mut scanner = Scanner::new(text, 0);
        text.first() == Some(&b'{') && scanner.value(0).is_ok() && scanner.finish().is_ok()
    }

    fn is_compact(text: &[u8]) -> bool {
        let (mut inside, mut escaped) = (false, false);
        text.iter().all(|byte| {
            match (inside, escaped, byte) {
                (true, true, _) => escaped = false,
                (true, false, b'\\') => escaped = true,
                (_, _, b'"') => inside = !inside,
                (false, _, b' ' | b'\n' | b'\t' | b'\r') => return false,
                _ => {}
            }
            true
        })
    }

    /// Pieces that make JSON, and nearly JSON.
    fn piece() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "{", "}", "[", "]", ":", ",", "\"", "\"a\"", "\"a\":", "\\", "\\\\", "\\\"", "\\u00e9", "1", "-0.5e3", "01", "true", "null", "tru", "x",
            "{\"k\":", "\"v\"},", ",\"b\":", "[1,2]", "{}", "[]", " ", "é", "\"long text without end \\n and so on, quite a few bytes of it\"",
        ])
    }

    fn json(depth: u32) -> BoxedStrategy<String> {
        let leaf = prop::sample::select(vec!["1", "-2.5", "true", "null", "\"\"", "\"x\"", "\"a \\\"quoted\\\\\"", "\"{[,:]}\"", "\"ü€\""]).prop_map(String::from);
        leaf.prop_recursive(depth, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(|list| format!("[{}]", list.join(","))),
                prop::collection::vec(("[a-z]{0,40}", inner), 0..6)
                    .prop_map(|list| format!("{{{}}}", list.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect::<Vec<_>>().join(","))),
            ]
        })
        .boxed()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn it_takes_what_the_other_reader_takes(pieces in prop::collection::vec(piece(), 0..24), open in any::<bool>()) {
            let text = if open { format!("{{\"a\":{}", pieces.concat()) } else { pieces.concat() };
            let taken = Scan::default().object(text.as_bytes(), 0);
            prop_assert_eq!(taken, reads(text.as_bytes()) && is_compact(text.as_bytes()), "{}", text);
        }

        #[test]
        fn one_wrong_byte_is_seen(text in json(4), at in any::<prop::sample::Index>(), byte in prop::sample::select(b"{}[]:,\"\\1tx \n".to_vec())) {
            let mut text = format!("{{\"first\":{text},\"last\":0}}").into_bytes();
            prop_assert!(Scan::default().object(&text, 0), "{}", String::from_utf8_lossy(&text));
            let at = at.index(text.len());
            text[at] = byte;
            let taken = Scan::default().object(&text, 0);
            prop_assert_eq!(taken, reads(&text) && is_compact(&text), "{}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn members_are_found() {
        let text = br#"..{"a":1,"b":{"c":[1,{"d":2}],"e":"},"},"f":[]}"#;
        let mut scan = Scan::default();
        assert!(scan.object(text, 2));
        let members: Vec<&str> = scan.members.iter().map(|(from, to)| std::str::from_utf8(&text[*from as usize..*to as usize]).unwrap()).collect();
        assert_eq!(members, [r#""a":1"#, r#""b":{"c":[1,{"d":2}],"e":"},"}"#, r#""f":[]"#]);
        assert!(scan.object(b"{}", 0) && scan.members.is_empty());
    }
}
