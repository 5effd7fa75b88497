//! Whether an object in JSON text has a key twice, told by one pass without memory of its own.

/// Keys of all objects that are open at one place of the text.
const MOST_KEYS: usize = 256;

/// Keys of one object.
const MOST_IN_ONE: usize = 48;

/// Objects and lists within each other.
const MOST_LEVELS: usize = 64;

/// Returns whether an object in a valid JSON text may have a key twice. It has not where this returns `false`; where it returns `true`, two
/// keys may only look alike, one may be written with escapes, or there may be too many of them to tell.
pub(super) fn may_repeat_keys(json: &[u8]) -> bool {
    let mut keys = [0u64; MOST_KEYS];
    let mut known = 0;
    let mut starts = [0usize; MOST_LEVELS];
    let mut levels = 0;
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                if levels == MOST_LEVELS {
                    return true;
                }
                starts[levels] = known;
                levels += 1;
            }
            b'}' | b']' if levels > 0 => {
                levels -= 1;
                known = starts[levels];
            }
            b'"' => {
                let start = at;
                let mut escaped = false;
                loop {
                    match json.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
                        None => return false,
                        Some(found) if json[at + found] == b'"' => {
                            at += found;
                            break;
                        }
                        Some(found) => {
                            escaped = true;
                            at += found + 2;
                        }
                    }
                }
                let text = &json[start..at];
                at += 1;
                while json.get(at).is_some_and(u8::is_ascii_whitespace) {
                    at += 1;
                }
                if json.get(at) != Some(&b':') {
                    continue;
                }
                let first = starts[levels.saturating_sub(1)];
                if escaped || known == MOST_KEYS || known - first == MOST_IN_ONE {
                    return true;
                }
                let tag = tag(text);
                if keys[first..known].contains(&tag) {
                    return true;
                }
                keys[known] = tag;
                known += 1;
            }
            _ => {}
        }
    }
    false
}

/// A number that is the same for the same key, and rarely for others: the key's length and its first and last seven bytes.
fn tag(key: &[u8]) -> u64 {
    let bytes = |part: &[u8]| part.iter().take(7).fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
    let last = &key[key.len().saturating_sub(7)..];
    (bytes(key) ^ bytes(last).rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ key.len() as u64
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
