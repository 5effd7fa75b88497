//! The text operations of `mutate`: case, white space, splitting.

use crate::event::{Event, Text, Value};
use crate::filter::common::change_texts;

/// An operation on text. Lists are changed element by element; values that are not text stay unchanged.
#[derive(Clone, Copy, Debug)]
pub enum TextOperation {
    /// Conversion to upper case.
    Uppercase,
    /// Conversion of the first letter to upper case and the others to lower case.
    Capitalize,
    /// Conversion to lower case.
    Lowercase,
    /// Removal of white space at both ends.
    Strip,
}

impl TextOperation {
    /// Returns the changed value.
    pub fn apply(self, event: &mut Event, value: Value) -> Value {
        change_texts(event, value, false, &mut |current| {
            let changed = match self {
                TextOperation::Uppercase => current.to_uppercase(),
                TextOperation::Lowercase => current.to_lowercase(),
                TextOperation::Capitalize => capitalized(current),
                TextOperation::Strip => stripped(current).to_string(),
            };
            (changed != current).then_some(changed)
        })
    }
}

/// Returns the text with its first letter in upper case and the others in lower case.
pub fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars.as_str().to_lowercase().chars()).collect(),
        None => String::new(),
    }
}

/// Returns the text without ASCII white space and NULs at both ends, like Ruby's `strip`.
fn stripped(text: &str) -> &str {
    let white = |c: char| matches!(c, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | '\0');
    text.trim_start_matches(white).trim_end_matches(white)
}

/// Splits a text like Ruby's `String#split`: an empty separator splits characters, a single space splits at runs of
/// white space, and empty pieces at the end are omitted.
pub fn split(event: &mut Event, text: Text, separator: &str) -> Value {
    let content = event.str(text);
    let mut spans: Vec<(usize, usize)> = Vec::new();
    let base = content.as_ptr() as usize;
    let mut push = |piece: &str| {
        let start = piece.as_ptr() as usize - base;
        spans.push((start, start + piece.len()));
    };
    match separator {
        "" => content.char_indices().for_each(|(at, c)| push(&content[at..at + c.len_utf8()])),
        " " => content.split_ascii_whitespace().for_each(&mut push),
        separator => content.split(separator).for_each(&mut push),
    }
    while spans.last().is_some_and(|(start, end)| start == end) {
        spans.pop();
    }
    let list = event.new_list();
    for (start, end) in spans {
        event.push(list, Value::Str(text.slice(start, end)));
    }
    Value::Array(list)
}
