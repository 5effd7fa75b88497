//! The `urldecode` filter: decodes percent-encoding (`%41` becomes `A`).

use super::{Compiled, Compiler, Context, Filter, Flow, common::change_texts, field_option, ruby};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::event::{Event, FieldRef, Value};

pub const DEF: ComponentDef = ComponentDef {
    name: "urldecode",
    summary: "Decodes percent-encoded text, also inside lists and objects.",
    options: &[
        option("field", Kind::Field, Fallback::Text("message"), "The field to decode."),
        option("all_fields", Kind::Boolean, Fallback::Boolean(false), "Decode every field of the event."),
        option(
            "charset",
            Kind::String,
            Fallback::Text("UTF-8"),
            "The encoding of the decoded bytes. Bytes that are not UTF-8 where they should be show as `\\xD3`.",
        ),
        option(
            "tag_on_failure",
            Kind::Strings,
            Fallback::List(&["_urldecodefailure"]),
            "Tags for an event whose decoded value can't be put back.",
        ),
    ],
    example: r#"
[[filter]]
type = "urldecode"
field = "[url][query]"

[[test]]
event = { url = { query = "q=caf%C3%A9" } }
expect = { url = { query = "q=café" } }
"#,
};

#[derive(Clone, Copy)]
enum Charset {
    Utf8,
    Latin1,
    Other(&'static encoding_rs::Encoding),
}

#[derive(Clone)]
struct UrlDecode {
    field: FieldRef,
    all_fields: bool,
    charset: Charset,
    tag_on_failure: Vec<String>,
}

pub fn compile(args: &Args, _: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let field = field_option(args, "field", &mut problems);
    let name = args.required_text("charset");
    let charset = Charset::named(&name);
    if charset.is_none() {
        problems.push(Diagnostic::error(args.span_of("charset"), format!("the encoding `{name}` is not known")));
    }
    match (field, charset) {
        (Some(field), Some(charset)) => Ok(Box::new(UrlDecode {
            field,
            all_fields: args.flag("all_fields"),
            charset,
            tag_on_failure: args.strings("tag_on_failure"),
        })),
        _ => Err(problems),
    }
}

impl Charset {
    /// Returns the encoding with one of Ruby's names.
    fn named(name: &str) -> Option<Charset> {
        match name.to_ascii_uppercase().as_str() {
            "UTF-8" | "UTF8" | "US-ASCII" | "ASCII" | "ASCII-8BIT" | "BINARY" => Some(Charset::Utf8),
            // WHATWG, whose labels the crate uses, maps this one to windows-1252.
            "ISO-8859-1" | "ISO8859-1" => Some(Charset::Latin1),
            upper => {
                let label = match upper.strip_prefix("CP") {
                    Some(page) if page.starts_with("125") => format!("windows-{page}"),
                    _ => upper.to_string(),
                };
                encoding_rs::Encoding::for_label(label.as_bytes()).map(Charset::Other)
            }
        }
    }

    fn text(self, bytes: Vec<u8>) -> String {
        match self {
            Charset::Utf8 => String::from_utf8(bytes).unwrap_or_else(|error| {
                let mut shown = String::new();
                ruby::escape(error.as_bytes(), &mut shown);
                shown
            }),
            Charset::Latin1 => bytes.into_iter().map(char::from).collect(),
            Charset::Other(encoding) => encoding.decode_without_bom_handling(&bytes).0.into_owned(),
        }
    }
}

/// Returns the bytes of a percent-encoded text; `None` if nothing is encoded.
fn decode(text: &str) -> Option<Vec<u8>> {
    let hex = |at: usize| text.as_bytes().get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut out: Option<Vec<u8>> = None;
    let mut copied = 0;
    for at in memchr::memchr_iter(b'%', text.as_bytes()) {
        if let (Some(high), Some(low)) = (hex(at + 1), hex(at + 2)) {
            let out = out.get_or_insert_with(|| Vec::with_capacity(text.len()));
            out.extend_from_slice(&text.as_bytes()[copied..at]);
            out.push((high * 16 + low) as u8);
            copied = at + 3;
        }
    }
    out.map(|mut out| {
        out.extend_from_slice(&text.as_bytes()[copied..]);
        out
    })
}

impl Filter for UrlDecode {
    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        let charset = self.charset;
        let mut decoded = |text: &str| match (decode(text), charset) {
            (None, Charset::Utf8) => None,
            (bytes, charset) => Some(charset.text(bytes.unwrap_or_else(|| text.as_bytes().to_vec()))),
        };
        let fitted = if self.all_fields {
            let root = event.root();
            for (key, value) in event.loaded_entries(root) {
                let changed = change_texts(event, value, true, &mut decoded);
                let name = event.str(key).to_string();
                event.insert(root, &name, changed);
            }
            Ok(())
        } else {
            // Like Logstash, sets a missing field to null.
            let value = event.get(&self.field).unwrap_or(Value::Null);
            let changed = change_texts(event, value, true, &mut decoded);
            event.set(&self.field, changed)
        };
        if fitted.is_err() {
            context.fail(event, &self.tag_on_failure);
        }
        Flow::Matched
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_encoded_is_decoded() {
        for (charset, text, expected) in [
            ("UTF-8", "100%", "100%"),
            ("UTF-8", "%4", "%4"),
            ("UTF-8", "%%41+%zz", "%A+%zz"),
            ("UTF-8", "%E5%AD%90", "子"),
            ("UTF-8", "%D3\"", "\\xD3\\\""),
            ("ISO-8859-1", "%E9%80", "é\u{80}"),
            ("CP1252", "%E9%80", "é€"),
        ] {
            let charset = Charset::named(charset).unwrap();
            let text = decode(text).map_or(text.to_string(), |bytes| charset.text(bytes));
            assert_eq!(text, expected);
        }
        assert!(Charset::named("klingon").is_none());
    }
}
