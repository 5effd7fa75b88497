//! Text templates with placeholders: `logs-%{[event][dataset]}-%{+yyyy.MM.dd}`.
//!
//! The rules are those of Logstash's `sprintf`: a field is printed by [`Event::print`]; the placeholder of a field that
//! does not exist (or is null) is printed as it is written; `%{+FORMAT}` prints `@timestamp` in UTC with a Joda
//! pattern, and `%{{FORMAT}}` with a java.time pattern; `%{+%s}` and `%{}` are seconds since the epoch.

use super::{Event, FieldRef, Value};
use crate::event::datetime::{Pattern, PatternError};

#[derive(Clone, Debug)]
enum Piece {
    Literal(Box<str>),
    Field { field: FieldRef, written: Box<str> },
    Time(Box<Pattern>),
    EpochSeconds,
}

/// A compiled template.
#[derive(Clone, Debug)]
pub struct Template {
    pieces: Vec<Piece>,
    /// True if the literal text contains nothing to escape in JSON.
    plain: bool,
}

/// The error of a text that is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`%{{+{format}}}` is not a date format: {reason}")]
pub struct TemplateError {
    /// The date format.
    pub format: String,
    /// The reason why it is not valid.
    pub reason: PatternError,
}

impl Template {
    /// Compiles a template. A placeholder that contains no field reference is literal text, as in Logstash.
    ///
    /// # Errors
    /// A `%{+…}` has a format that is not a Joda pattern.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("%{") {
            literal.push_str(&rest[..start]);
            let inner = &rest[start + 2..];
            let (name, written) = if let Some(format) = inner.strip_prefix('{') {
                match format.find("}}") {
                    Some(end) => (format!("+{}", format[..end].replace('u', "y")), &rest[start..start + 3 + end + 2]),
                    None => break,
                }
            } else {
                match inner.find('}') {
                    Some(end) => (inner[..end].to_string(), &rest[start..start + 3 + end]),
                    None => break,
                }
            };
            let piece = Template::place(&name, written)?;
            rest = &rest[start + written.len()..];
            match piece {
                Some(piece) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
                    }
                    pieces.push(piece);
                }
                None => literal.push_str(written),
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into()));
        }
        Ok(Template { pieces, plain: !text.bytes().any(super::encode::needs_escape) })
    }

    /// Returns a template without placeholders.
    pub fn literal(text: &str) -> Template {
        Template { pieces: vec![Piece::Literal(text.into())], plain: !text.bytes().any(super::encode::needs_escape) }
    }

    fn place(name: &str, written: &str) -> Result<Option<Piece>, TemplateError> {
        if name.is_empty() || name == "+%s" {
            return Ok(Some(Piece::EpochSeconds));
        }
        if let Some(format) = name.strip_prefix('+') {
            let pattern = Pattern::compile(format, "en")
                .map_err(|reason| TemplateError { format: format.to_string(), reason })?;
            return Ok(Some(Piece::Time(Box::new(pattern))));
        }
        Ok(FieldRef::parse(name).ok().map(|field| Piece::Field { field: field.lasting(), written: written.into() }))
    }

    /// Returns the whole text, if it has no placeholders and contains nothing to escape in JSON.
    pub fn as_plain(&self) -> Option<&str> {
        self.as_literal().filter(|_| self.plain)
    }

    /// Returns the whole text, if it has no placeholders.
    pub fn as_literal(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Returns the text with `*` for each placeholder.
    pub fn as_pattern(&self) -> String {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Literal(text) => text,
                _ => "*",
            })
            .collect()
    }

    /// Returns the field, if the template consists of one placeholder only.
    pub fn as_field(&self) -> Option<&FieldRef> {
        match self.pieces.as_slice() {
            [Piece::Field { field, .. }] => Some(field),
            _ => None,
        }
    }

    /// Appends the template with its placeholders replaced by an event's fields. Returns whether every field exists.
    pub fn render(&self, event: &mut Event, out: &mut String) -> bool {
        let mut complete = true;
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Field { field, written } => match event.get(field) {
                    // Every event in Logstash has `@version`. It is not stored here, but its placeholder is replaced
                    // all the same.
                    None if field.is_top("@version") => out.push('1'),
                    None | Some(Value::Null) => {
                        complete = false;
                        out.push_str(written);
                    }
                    Some(value) => event.print(value, out),
                },
                Piece::Time(pattern) => match event.timestamp() {
                    Some(time) => pattern.format(time, out),
                    None => complete = false,
                },
                Piece::EpochSeconds => match event.timestamp() {
                    Some(time) => out.push_str(&{ time.seconds }.to_string()),
                    None => complete = false,
                },
            }
        }
        complete
    }

    /// Returns the template with its placeholders replaced, as a text value of the event.
    pub fn value(&self, event: &mut Event) -> Value {
        if let Some(text) = self.as_literal() {
            return if self.plain { event.push_plain(text) } else { Value::Str(event.push_str(text)) };
        }
        if let Some(field) = self.as_field()
            && let Some(text @ (Value::Str(_) | Value::Plain(_))) = event.get(field)
        {
            return text;
        }
        let mut out = event.take_spare();
        self.render(event, &mut out);
        let text = event.push_str(&out);
        event.give_back(out);
        Value::Str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_as_logstash_fills_them() {
        let json = r#"{"@timestamp":"2024-02-03T04:05:06.789Z","a":{"b":"c","n":7},"arr":["x","y"],"nested":[{"x":1},{"x":2}],
            "f":1.5,"small":1e-05,"exp":1e+21,"big":12345678901234567890,"null":null,"a.b":"dotted","yes":true}"#;
        for (template, expected) in [
            ("plain", "plain"),
            ("%{[a][b]}/%{nope}/%{f}", "c/%{nope}/1.5"),
            ("%{a}", r#"{"b":"c","n":7}"#),
            ("%{arr}", "x,y"),
            ("%{nested}", "{x=1},{x=2}"),
            ("%{small} %{exp} %{big}", "1.0E-5 1.0E21 12345678901234567890"),
            ("%{null}", "%{null}"),
            ("%{a.b} %{yes}", "dotted true"),
            ("%{+YYYY.MM.dd}", "2024.02.03"),
            ("%{{yyyy-MM-dd'T'HH:mm:ss.SSSZ}}", "2024-02-03T04:05:06.789+0000"),
            ("%{@timestamp}", "2024-02-03T04:05:06.789Z"),
            ("%{} %{+%s}", "1706933106 1706933106"),
            ("%{", "%{"),
            ("%{str", "%{str"),
            ("%{@version}", "1"),
        ] {
            let mut event = Event::new();
            event.decode_json(json.as_bytes()).unwrap();
            let mut out = String::new();
            Template::parse(template).unwrap().render(&mut event, &mut out);
            assert_eq!(out, expected, "{template}");
        }
        assert!(Template::parse("%{+bogus}").is_err());
    }
}
