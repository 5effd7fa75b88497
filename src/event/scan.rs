//! Vectorised scanner: finds the members of a record and validates its grammar, 64 bytes at a time.
//!
//! The positions of quotes, brackets, colons, commas and the insides of strings are masks with one bit per byte. In
//! JSON without white space between tokens, as every shipper writes it, nearly all of the grammar restricts which
//! tokens may be adjacent, which a few shifts per 64 bytes check at once. What remains is to match brackets and
//! to check numbers and words, of which there are few. Anything else (white space, errors, control characters) is left
//! to [`super::json::Scanner`], which also reports the error and its position.

use super::json::Scanner;
use super::masks::Masks;
#[cfg(target_arch = "x86_64")]
use super::masks::avx512;

/// The masks of the tokens in 64 bytes.
struct Block {
    /// The quotes that open or close a string.
    quotes: u64,
    /// The strings, including the opening quote but not the closing one.
    inside: u64,
    open: u64,
    curly: u64,
    close: u64,
    colon: u64,
    comma: u64,
    /// The bytes of numbers and words.
    scalar: u64,
}

/// The maximum depth of nested objects and arrays. Deeper ones are left to the other scanner.
const DEEPEST: u32 = 60;

/// The span of a member of an object: key and value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) from: u32,
    pub(super) to: u32,
}

/// The result of a scan. The buffers are reused for the next text.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
    /// The members of the outermost object.
    pub(super) members: Vec<Span>,
    /// The offset at which that object begins.
    start: usize,
    /// The commas and the brackets outside strings, for each 64 bytes of the object.
    marks: Vec<Marks>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Marks {
    commas: u64,
    brackets: u64,
}

/// The state carried from one block to the next.
struct State {
    escape: u64,
    within: u64,
    /// The positions of tokens that are not valid there.
    strange: u64,
    /// True if the innermost open container is an object.
    object: bool,
    /// A bit for each enclosing container, set if it is an object.
    around: u64,
    depth: u32,
    /// The offset of the current member of the outermost object.
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

impl State {
    fn new() -> State {
        State {
            escape: 0,
            within: 0,
            strange: 0,
            object: false,
            around: 0,
            depth: 0,
            member: 1,
            ended: false,
            // The first byte may begin whatever may follow a colon.
            after_before: 1,
            after_open: 0,
            after_value: 0,
            before_key: 0,
            after_key: 0,
            in_key: false,
            scalars: 0,
        }
    }
}

impl Scan {
    /// Finds the members of the object in the bytes from `start` on. Returns `false` if the text must be read by the
    /// other scanner, which does not mean that it is invalid.
    pub(super) fn object(&mut self, bytes: &[u8], start: usize) -> bool {
        #[cfg(target_arch = "x86_64")]
        if let Some(taken) = avx512::object(self, bytes, start) {
            return taken;
        }
        self.object_by(bytes, start, Masks::of)
    }

    /// Finds the members like [`Scan::object`]. `masks` computes the masks of 64 bytes.
    #[inline(always)]
    pub(super) fn object_by(&mut self, bytes: &[u8], start: usize, masks: impl Fn(&[u8; 64]) -> Masks) -> bool {
        self.members.clear();
        self.start = start;
        let text = &bytes[start..];
        let (Some(b'{'), Some(b'}'), Ok(_)) = (text.first(), text.last(), u32::try_from(bytes.len())) else {
            return false;
        };
        self.marks.resize(text.len().div_ceil(64), Marks::default());
        let mut state = State::new();
        let chunks = text.chunks_exact(64);
        let rest = chunks.remainder();
        let mut base = 0;
        for chunk in chunks {
            let Some(chunk) = chunk.first_chunk() else { return false };
            let masks = masks(chunk);
            if state.within & !state.escape == u64::MAX && masks.ends_plain_text() == 0 {
                self.marks[base / 64] = Marks::default();
                base += 64;
                continue;
            }
            let block = classify(&masks, &mut state, text, base);
            if !self.follow(&block, &mut state, text, base, start) {
                return false;
            }
            base += 64;
        }
        if !rest.is_empty() {
            // The chunk is padded with commas, which are removed from the mask afterwards.
            let mut chunk = [b','; 64];
            chunk[..rest.len()].copy_from_slice(rest);
            let mut block = classify(&masks(&chunk), &mut state, text, base);
            block.comma &= !(u64::MAX << rest.len());
            if !self.follow(&block, &mut state, text, base, start) {
                return false;
            }
        }
        state.strange == 0 && state.within == 0 && state.escape == 0 && state.ended
    }

    /// Calls `each` with every member of the object at `from..to` in the record, until it returns `false`. Also returns
    /// `false`, without a call, if the object contains an object or array.
    #[inline(always)]
    pub(super) fn each_member(&self, from: u32, to: u32, mut each: impl FnMut(Span) -> bool) -> bool {
        // The range excludes the object's own brackets.
        let (first, end) = (from as usize + 1 - self.start, to as usize - 1 - self.start);
        let Some(blocks) = self.marks.get(first / 64..=end / 64) else { return false };
        // Returns a mask of the bits of a block that belong to the object.
        let within = |number: usize| {
            let after = if number == first / 64 { u64::MAX << (first % 64) } else { u64::MAX };
            let before = if number == end / 64 { !(u64::MAX << (end % 64)) } else { u64::MAX };
            after & before
        };
        let numbered = || (first / 64..).zip(blocks);
        if numbered().any(|(number, marks)| marks.brackets & within(number) != 0) {
            return false;
        }
        let mut member = from + 1;
        for (number, marks) in numbered() {
            let mut commas = marks.commas & within(number);
            while commas != 0 {
                let at = (self.start + number * 64) as u32 + commas.trailing_zeros();
                commas &= commas - 1;
                if !each(Span { from: member, to: at }) {
                    return false;
                }
                member = at + 1;
            }
        }
        member + 1 == to || each(Span { from: member, to: to - 1 })
    }

    /// Records the member of the outermost object that ends here.
    #[inline(always)]
    fn end_member(&mut self, state: &mut State, start: usize, at: u32) {
        self.members.push(Span { from: start as u32 + state.member, to: start as u32 + at });
        state.member = at + 1;
    }

    /// Matches brackets, records members, and checks that adjacent tokens may follow each other.
    #[inline(always)]
    fn follow(&mut self, block: &Block, state: &mut State, text: &[u8], base: usize, start: usize) -> bool {
        let Block { quotes, inside, open, curly, close, colon, comma, scalar } = *block;
        let mut in_array = 0;
        let mut commas = comma;
        let mut brackets = open | close;
        self.marks[base / 64] = Marks { commas, brackets };
        loop {
            let bit = brackets & brackets.wrapping_neg();
            // If no bracket is left, this selects all the commas.
            let before = bit.wrapping_sub(1);
            let mut here = commas & before;
            commas &= !before;
            if !state.object {
                in_array |= here;
            } else if state.depth == 1 {
                while here != 0 {
                    let at = base as u32 + here.trailing_zeros();
                    here &= here - 1;
                    self.end_member(state, start, at);
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
                    self.end_member(state, start, at);
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
        // Adding a bit at the opening quote of a key carries through the key to its closing quote.
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

/// Shifts the bits by one position, and carries the last bit of the previous block in.
#[inline(always)]
fn shifted(bits: u64, carry: &mut u64) -> u64 {
    let moved = bits << 1 | *carry;
    *carry = bits >> 63;
    moved
}

/// Returns whether a number or word begins at an offset and ends where a value may end. Nearly all of them are
/// integers.
#[inline]
fn is_scalar(text: &[u8], at: usize) -> bool {
    let mut end = at;
    if matches!(text[at], b'1'..=b'9') {
        while text.get(end).is_some_and(u8::is_ascii_digit) {
            end += 1;
        }
    }
    end > at && matches!(text.get(end), Some(b',' | b'}' | b']')) || is_any_scalar(text, at)
}

fn is_any_scalar(text: &[u8], at: usize) -> bool {
    let mut scanner = Scanner::new(text, at);
    scanner.scalar().is_ok() && matches!(scanner.peek(), b',' | b'}' | b']')
}

#[inline(always)]
fn classify(masks: &Masks, state: &mut State, text: &[u8], base: usize) -> Block {
    let Masks { quote, backslash, colon, comma, curly, open, close, control } = *masks;
    let mut quotes = quote;
    // A control character is not valid anywhere.
    state.strange |= control;
    if backslash | state.escape != 0 {
        let escaped = escaped_by(backslash, &mut state.escape);
        // Most escaped bytes are quotes or backslashes, which are always valid; the others are checked one by one.
        let mut others = escaped & !(quotes | backslash);
        quotes &= !escaped;
        while others != 0 {
            let at = base + others.trailing_zeros() as usize;
            others &= others - 1;
            state.strange |= u64::from(!is_escape(text, at));
        }
    }
    let inside = prefix_xor(quotes) ^ state.within;
    state.within = (inside as i64 >> 63) as u64;
    // White space between tokens counts as a number or word, and is rejected there.
    let outside = !(inside | quotes);
    let (open, close) = (open & outside, close & outside);
    let (colon, comma) = (colon & outside, comma & outside);
    let scalar = outside & !(open | close | colon | comma);
    Block { quotes, inside, open, curly: open & curly, close, colon, comma, scalar }
}

/// Returns the bytes that are escaped by a backslash. Runs of backslashes are distinguished by whether they begin at an
/// even position: for those that begin at an odd one, adding the run to its start carries out of it with the other
/// parity.
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

/// Returns for each bit whether the number of set bits up to and including it is odd.
#[inline(always)]
fn prefix_xor(mut bits: u64) -> u64 {
    for step in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << step;
    }
    bits
}

/// Returns whether the character after a backslash forms a valid escape (RFC 8259, section 7).
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

    /// Returns whether the scanner accepts the text, and checks that this does not depend on the processor's features.
    fn takes(text: &[u8]) -> bool {
        let (mut scan, mut other) = (Scan::default(), Scan::default());
        let taken = scan.object(text, 0);
        assert_eq!(other.object_by(text, 0, Masks::of), taken);
        if taken {
            assert_eq!((scan.members, scan.marks), (other.members, other.marks));
        }
        taken
    }

    /// Returns whether the sequential scanner accepts the text as an object.
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

    /// Returns pieces that form JSON, or nearly JSON.
    fn piece() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"",
            "\"a\"",
            "\"a\":",
            "\\",
            "\\\\",
            "\\\"",
            "\\u00e9",
            "1",
            "-0.5e3",
            "01",
            "true",
            "null",
            "tru",
            "x",
            "{\"k\":",
            "\"v\"},",
            ",\"b\":",
            "[1,2]",
            "{}",
            "[]",
            " ",
            "é",
            "\"long text without end \\n and so on, quite a few bytes of it\"",
        ])
    }

    fn json(depth: u32) -> BoxedStrategy<String> {
        let leaf = prop::sample::select(vec![
            "1",
            "-2.5",
            "true",
            "null",
            "\"\"",
            "\"x\"",
            "\"a \\\"quoted\\\\\"",
            "\"{[,:]}\"",
            "\"ü€\"",
        ])
        .prop_map(String::from);
        leaf.prop_recursive(depth, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(|list| format!("[{}]", list.join(","))),
                prop::collection::vec(("[a-z]{0,40}", inner), 0..6).prop_map(|list| format!(
                    "{{{}}}",
                    list.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect::<Vec<_>>().join(",")
                )),
            ]
        })
        .boxed()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn it_takes_what_the_other_reader_takes(pieces in prop::collection::vec(piece(), 0..24), open in any::<bool>()) {
            let text = if open { format!("{{\"a\":{}", pieces.concat()) } else { pieces.concat() };
            let taken = takes(text.as_bytes());
            prop_assert_eq!(taken, reads(text.as_bytes()) && is_compact(text.as_bytes()), "{}", text);
        }

        #[test]
        fn one_wrong_byte_is_seen(text in json(4), at in any::<prop::sample::Index>(), byte in prop::sample::select(b"{}[]:,\"\\1tx \n".to_vec())) {
            let mut text = format!("{{\"first\":{text},\"last\":0}}").into_bytes();
            prop_assert!(takes(&text), "{}", String::from_utf8_lossy(&text));
            let at = at.index(text.len());
            text[at] = byte;
            let taken = takes(&text);
            prop_assert_eq!(taken, reads(&text) && is_compact(&text), "{}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn members_are_found() {
        let text = br#"..{"a":1,"b":{"c":1,"d":"},","e":null},"f":[],"g":{"h":[1,2]},"i":{}}"#;
        let mut scan = Scan::default();
        assert!(scan.object(text, 2));
        let shown = |span: Span| std::str::from_utf8(&text[span.from as usize..span.to as usize]).unwrap();
        let members: Vec<&str> = scan.members.iter().map(|span| shown(*span)).collect();
        assert_eq!(
            members,
            [r#""a":1"#, r#""b":{"c":1,"d":"},","e":null}"#, r#""f":[]"#, r#""g":{"h":[1,2]}"#, r#""i":{}"#]
        );
        let inside = |member: usize| {
            let Span { from, to } = scan.members[member];
            let mut members = Vec::new();
            let flat = scan.each_member(from + 4, to, |span| {
                members.push(shown(span));
                true
            });
            (flat, members)
        };
        assert_eq!(inside(1), (true, vec![r#""c":1"#, r#""d":"},""#, r#""e":null"#]));
        assert_eq!(inside(3), (false, vec![]), "not flat");
        assert_eq!(inside(4), (true, vec![]));
        assert!(scan.object(b"{}", 0) && scan.members.is_empty());
    }
}
