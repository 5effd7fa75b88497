//! Error messages without their values, so that the same fault is the same text.

/// The placeholder of a number.
const NUMBER: &str = "<number>";
/// The placeholder of a quoted text.
const TEXT: &str = "<text>";
/// The placeholder of an id: a UUID, a hash, a document id.
const ID: &str = "<id>";
/// Words of this length that mix digits with letters of both cases are ids.
const SHORTEST_ID: usize = 16;
/// Words of this length that are hexadecimal digits and no number are ids.
const SHORTEST_HASH: usize = 8;
/// Elasticsearch's words before a part of the value, which may hold quotes itself.
const PREVIEW: &str = "Preview of field's value: '";

/// Returns a message with its numbers, quoted texts and ids replaced.
pub fn without_values(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(first) = rest.chars().next() {
        if let Some(value) = rest.strip_prefix(PREVIEW) {
            let end = value.rfind('\'').unwrap_or(value.len());
            out.extend([PREVIEW, TEXT]);
            rest = &value[end..];
            if let Some(after) = rest.strip_prefix('\'') {
                out.push('\'');
                rest = after;
            }
            continue;
        }
        let follows_word = out.ends_with(|last: char| last.is_alphanumeric());
        if matches!(first, '\'' | '"')
            && !follows_word
            && let Some(length) = quoted(rest, first)
        {
            out.push(first);
            out.push_str(TEXT);
            out.push(first);
            rest = &rest[length..];
        } else if first.is_alphanumeric() {
            let length = rest.find(|character| !is_of_word(character)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(length);
            rest = if is_id(word) {
                out.push_str(ID);
                after
            } else if first.is_ascii_digit() {
                out.push_str(NUMBER);
                &rest[number(rest)..]
            } else {
                push_word(&mut out, word);
                after
            };
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-')
}

/// Returns the length of a quoted text with its quotes; `None` where nothing ends it.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        let after = at + character.len_utf8();
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if character == quote && !text[after..].starts_with(char::is_alphanumeric) => return Some(after),
            _ => {}
        }
    }
    None
}

/// Returns the length of a number, a time or an address: digits, and what joins them.
fn number(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut end = 0;
    while let Some(byte) = bytes.get(end) {
        let joins = matches!(byte, b'.' | b',' | b':' | b'+' | b'-' | b'_')
            && bytes.get(end + 1).is_some_and(u8::is_ascii_alphanumeric);
        if !byte.is_ascii_alphanumeric() && !joins {
            break;
        }
        end += 1;
    }
    end
}

fn is_id(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let has = |test: fn(&u8) -> bool| word.as_bytes().iter().any(test);
    let is_hexadecimal = word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let is_hash = word.len() >= SHORTEST_HASH && is_hexadecimal && digits > 0 && has(u8::is_ascii_alphabetic);
    is_hash || (word.len() >= SHORTEST_ID && digits > 1 && has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase))
}

/// Appends a word; its parts that are numbers (`web-12`) are replaced, digits within a part (`ipv4`) are not.
fn push_word(out: &mut String, word: &str) {
    for (index, part) in word.split_inclusive(['-', '_']).enumerate() {
        let (digits, joint) =
            part.strip_suffix(['-', '_']).map_or((part, ""), |digits| (digits, &part[digits.len()..]));
        match index > 0 && digits.starts_with(|first: char| first.is_ascii_digit()) {
            true => out.extend([NUMBER, joint]),
            false => out.push_str(part),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_out_and_what_names_the_fault_stays() {
        for (message, expected) in [
            ("", ""),
            (
                "document_parsing_exception: [1:23] failed to parse field [status] of type [long] in document with id 'AZr0Q2kBqNkIsBzHkA0W'. \
                 Preview of field's value: 'it's 'bad' 5', caused by illegal_argument_exception: For input string: \"bad\"",
                "document_parsing_exception: [<number>] failed to parse field [status] of type [long] in document with id '<text>'. \
                 Preview of field's value: '<text>', caused by illegal_argument_exception: For input string: \"<text>\"",
            ),
            ("expected `,` or `}` at byte 117", "expected `,` or `}` at byte <number>"),
            ("[AZr0Q2kBqNkIsBzHkA0W]: version conflict", "[<id>]: version conflict"),
            (
                "shard 12 of web-12_3 on 10.0.0.9:9300 at 2026-11-23T10:00:00.000Z",
                "shard <number> of web-<number>_<number> on <number> at <number>",
            ),
            ("id 8c1d6f0e-7a52-4a7e-9a0e-2f1f0f6f4b11, hash deadbeef01", "id <id>, hash <id>"),
            ("it doesn't match ipv4, nor 'ipv6'", "it doesn't match ipv4, nor '<text>'"),
            ("an 'unclosed text", "an 'unclosed text"),
            (r#"text "with \"quotes\" inside" and -3.5e7"#, r#"text "<text>" and -<number>"#),
            ("ungültige Größe 5", "ungültige Größe <number>"),
            ("strict_dynamic_mapping_exception", "strict_dynamic_mapping_exception"),
        ] {
            assert_eq!(without_values(message), expected);
        }
    }

    #[test]
    fn messages_that_differ_in_values_only_are_the_same() {
        let message = |number: u32, id: &str, value: &str| {
            without_values(&format!(
                "failed to parse field [n] of document '{id}' ({number} bytes): \"{value}\", offset {}",
                number * 7
            ))
        };
        assert_eq!(message(5, "AZr0", "x y"), message(123_456, "0", "it's"));
    }
}
