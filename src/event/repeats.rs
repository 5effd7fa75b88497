//! Whether an object in JSON text has a key twice, told by one pass without memory of its own.

use super::json::Scanner;
use super::key_tag;

/// Keys of all objects that are open at one place of the text.
const MOST_KEYS: usize = 128;

/// Keys of one object.
const MOST_IN_ONE: usize = 48;

/// Objects and lists within each other.
const MOST_LEVELS: usize = 64;

/// Returns whether an object in a valid JSON text may have a key twice. It has not where this returns `false`; where it returns `true`, a key
/// may be written with escapes, or there may be too many of them to tell.
pub(super) fn may_repeat_keys(json: &[u8]) -> bool {
    // Tags of keys, and where the keys are.
    let mut keys = [(0u32, 0u32); MOST_KEYS];
    let mut known = 0;
    let mut starts = [0usize; MOST_LEVELS];
    let mut levels = 0;
    let mut scanner = Scanner::new(json, 0);
    while let Some(&byte) = json.get(scanner.at) {
        match byte {
            b'"' => {
                let (text, escaped) = match scanner.short_string() {
                    Some(text) => (text, false),
                    None => match scanner.string() {
                        Ok(quoted) => (quoted.text, quoted.escaped),
                        Err(_) => return false,
                    },
                };
                scanner.skip_whitespace();
                if scanner.peek() != b':' {
                    continue;
                }
                let first = starts[usize::saturating_sub(levels, 1)];
                if escaped || known == MOST_KEYS || known - first == MOST_IN_ONE {
                    return true;
                }
                let key = &json[text.range()];
                let tag = key_tag(key);
                let is_it = |&(other, start): &(u32, u32)| {
                    other == tag && json.get(start as usize..start as usize + key.len()) == Some(key)
                };
                if keys[first..known].iter().any(is_it) {
                    return true;
                }
                keys[known] = (tag, text.start);
                known += 1;
            }
            b'{' | b'[' => {
                if levels == MOST_LEVELS {
                    return true;
                }
                starts[levels] = known;
                levels += 1;
                scanner.at += 1;
            }
            b'}' | b']' => {
                levels = levels.saturating_sub(1);
                known = starts[levels];
                scanner.at += 1;
            }
            _ => scanner.at += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::may_repeat_keys;

    #[test]
    fn repeated_keys_are_found_in_any_object() {
        for (json, expected) in [
            (r#"{"a":1,"b":{"a":1,"c":[{"a":1},{"a":2}]},"c":"a"}"#, false),
            (r#"{"a":{"b":1,"c":{"b":2},"b":3}}"#, true),
            (r#"[{"x":1},{"x":1,"y":{},"x":2}]"#, true),
            (r#"{"a":"\"b\":","b":"x\\","c" : {"d":1, "d" :2}}"#, true),
            (r#"{"a":"\"a\":","b":"\\"}"#, false),
            (r#"{"a":["a","a","b"],"b":"a"}"#, false),
            (r#""a":"#, false),
        ] {
            assert_eq!(may_repeat_keys(json.as_bytes()), expected, "{json}");
        }
        // What can't be told is taken for repeated.
        let wide: String = (0..100).map(|number| format!("\"key{number}\":1,")).collect();
        assert!(may_repeat_keys(format!("{{{wide}\"z\":1}}").as_bytes()));
        assert!(may_repeat_keys(r#"{"a":1,"\u0061":2}"#.as_bytes()));
        assert!(may_repeat_keys("[".repeat(100).as_bytes()));
    }
}
