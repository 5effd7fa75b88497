//! JSON on several lines, with colours for terminals: the text of an event gets other white space and nothing else changes.

const KEY: &str = "34;1";
const TEXT: &str = "32";
const WORD: &str = "33";

/// Appends a JSON value with two spaces for each level and a space after each colon, and with colours if they are wanted. Numbers and texts
/// stay as they are written.
pub fn print(json: &[u8], colours: bool, out: &mut Vec<u8>) {
    let mut printer = Printer { json, at: 0, colours, out };
    printer.value(0);
}

struct Printer<'a> {
    json: &'a [u8],
    at: usize,
    colours: bool,
    out: &'a mut Vec<u8>,
}

impl Printer<'_> {
    fn peek(&mut self) -> Option<u8> {
        while self.json.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.json.get(self.at).copied()
    }

    fn value(&mut self, depth: usize) {
        match self.peek() {
            Some(b'{') => self.list(depth, b'}', true),
            Some(b'[') => self.list(depth, b']', false),
            Some(b'"') => {
                let end = self.end_of_text();
                self.piece(end, TEXT);
            }
            Some(_) => {
                let rest = &self.json[self.at..];
                let length =
                    rest.iter().position(|byte| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace());
                self.piece(self.at + length.unwrap_or(rest.len()), WORD);
            }
            None => {}
        }
    }

    /// Prints an object or a list, from its bracket to the one that closes it.
    fn list(&mut self, depth: usize, close: u8, has_keys: bool) {
        self.out.push(self.json[self.at]);
        self.at += 1;
        if self.peek() == Some(close) {
            self.at += 1;
            return self.out.push(close);
        }
        while self.peek().is_some() {
            self.new_line(depth + 1);
            if has_keys {
                let end = self.end_of_text();
                self.piece(end, KEY);
                if self.peek() == Some(b':') {
                    self.at += 1;
                }
                self.out.extend_from_slice(b": ");
            }
            self.value(depth + 1);
            let next = self.peek();
            self.at += 1;
            if next != Some(b',') {
                break;
            }
            self.out.push(b',');
        }
        self.new_line(depth);
        self.out.push(close);
    }

    /// Returns where the text that begins here ends.
    fn end_of_text(&mut self) -> usize {
        self.peek();
        let mut end = self.at + 1;
        while let Some(byte) = self.json.get(end) {
            match byte {
                b'\\' => end += 2,
                b'"' => return end + 1,
                _ => end += 1,
            }
        }
        self.json.len()
    }

    fn piece(&mut self, end: usize, colour: &str) {
        let end = end.min(self.json.len());
        let text = &self.json[self.at.min(end)..end];
        if self.colours {
            self.out.extend_from_slice(format!("\x1b[{colour}m").as_bytes());
            self.out.extend_from_slice(text);
            self.out.extend_from_slice(b"\x1b[0m");
        } else {
            self.out.extend_from_slice(text);
        }
        self.at = end;
    }

    fn new_line(&mut self, depth: usize) {
        self.out.push(b'\n');
        self.out.extend(std::iter::repeat_n(b' ', 2 * depth));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(json: &str, colours: bool) -> String {
        let mut out = Vec::new();
        print(json.as_bytes(), colours, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_laid_out_and_stay_as_they_are_written() {
        let json = r#"{"a":{"b":[1.50,"x\"},{"],"e":{},"l":[ ]}, "n":12345678901234567890}"#;
        let expected = "{\n  \"a\": {\n    \"b\": [\n      1.50,\n      \"x\\\"},{\"\n    ],\n    \"e\": {},\n    \"l\": []\n  },\n  \"n\": 12345678901234567890\n}";
        assert_eq!(printed(json, false), expected);
    }

    #[test]
    fn colours_surround_keys_texts_and_words() {
        assert_eq!(
            printed(r#"{"a":"b","c":null}"#, true),
            "{\n  \x1b[34;1m\"a\"\x1b[0m: \x1b[32m\"b\"\x1b[0m,\n  \x1b[34;1m\"c\"\x1b[0m: \x1b[33mnull\x1b[0m\n}"
        );
    }

    proptest! {
        #[test]
        fn any_text_comes_to_an_end(text in "[\\[\\]{}\",:\\\\a1 ]{0,30}") {
            printed(&text, false);
        }
    }
}
