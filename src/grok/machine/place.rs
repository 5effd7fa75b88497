//! Tests of a position in a text, and steps to adjacent positions.

use crate::grok::syntax::{Assertion, CharSet};
use std::sync::LazyLock;

static WORD: LazyLock<CharSet> = LazyLock::new(|| class(r"[[:word:]]"));

/// Returns a set given as a pattern in this crate's own syntax.
fn class(pattern: &str) -> CharSet {
    use crate::grok::syntax::{Kind, SyntaxOptions, parse};
    match parse(pattern, SyntaxOptions::default()).map(|parsed| parsed.root.kind) {
        Ok(Kind::Class(set)) => *set,
        _ => CharSet::empty(),
    }
}

/// Returns whether an assertion holds at `pos`.
#[inline]
pub(super) fn holds(assertion: Assertion, text: &str, pos: usize, origin: usize) -> bool {
    let bytes = text.as_bytes();
    match assertion {
        // No line begins after the newline that ends the text.
        Assertion::LineStart => pos == 0 || bytes[pos - 1] == b'\n' && pos < bytes.len(),
        Assertion::LineEnd => pos == bytes.len() || bytes[pos] == b'\n',
        Assertion::TextStart => pos == 0,
        Assertion::TextEnd => pos == bytes.len(),
        Assertion::TextEndOrNewline => pos == bytes.len() || bytes[pos] == b'\n' && pos + 1 == bytes.len(),
        Assertion::SearchStart => pos == origin,
        Assertion::WordBoundary => boundary(text, pos, is_word),
        Assertion::NotWordBoundary => !boundary(text, pos, is_word),
        Assertion::AsciiWordBoundary => boundary(text, pos, is_ascii_word),
        Assertion::NotAsciiWordBoundary => !boundary(text, pos, is_ascii_word),
    }
}

#[inline]
fn boundary(text: &str, pos: usize, word: fn(char) -> bool) -> bool {
    let bytes = text.as_bytes();
    let before = match bytes[..pos].last() {
        None => false,
        Some(&byte) if byte < 0x80 => is_ascii_word(char::from(byte)),
        Some(_) => text[..pos].chars().next_back().is_some_and(word),
    };
    let after = match bytes.get(pos) {
        None => false,
        Some(&byte) if byte < 0x80 => is_ascii_word(char::from(byte)),
        Some(_) => text[pos..].chars().next().is_some_and(word),
    };
    before != after
}

fn is_ascii_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_word(c: char) -> bool {
    WORD.contains(c)
}

/// Returns the beginning of the character that ends at `pos`.
#[inline]
pub(super) fn previous(text: &str, pos: usize) -> usize {
    let bytes = text.as_bytes();
    let mut before = pos - 1;
    while bytes[before] & 0xc0 == 0x80 {
        before -= 1;
    }
    before
}

/// Returns the beginning of the character that contains the byte at `pos`.
pub(super) fn floor(text: &str, mut pos: usize) -> usize {
    while !text.is_char_boundary(pos) {
        pos -= 1;
    }
    pos
}

/// Returns the position `count` characters before `pos`, or `None` if there are fewer.
pub(super) fn back(text: &str, mut pos: usize, count: u32) -> Option<usize> {
    for _ in 0..count {
        if pos == 0 {
            return None;
        }
        pos = previous(text, pos);
    }
    Some(pos)
}

/// Returns the end of the grapheme cluster that begins at `pos`.
pub(super) fn grapheme(text: &str, pos: usize) -> Option<usize> {
    super::super::grapheme::end(text, pos)
}
