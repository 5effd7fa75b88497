//! Expansion of `%{SYNTAX:semantic:type}`.
//!
//! The result is one regular expression, in which `%{NUMBER:bytes:int}` has become the group `(?<NUMBER:bytes:int>…)`
//! around NUMBER's definition, which is expanded in turn. The origin of every part of it is recorded, so that an error
//! or a mismatch can be reported in terms of the user's expression.

use super::dictionary::Dictionary;
use super::error::{GrokError, GrokErrorKind as Problem};
use std::sync::Arc;

/// The maximum length of an expanded expression, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// The maximum depth to which definitions may be nested.
const MAX_DEPTH: usize = 200;

/// The dialect of `%{…}`, where Logstash and Elasticsearch differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// Logstash: what follows the semantic up to `}` is ignored, and `%{NAME=pattern}` defines a pattern.
    #[default]
    Logstash,
    /// Elasticsearch: a placeholder that is not of the plain form is literal text; captures without a semantic are
    /// named `SYNTAX_offset`; a definition with an unclosed `%{` is an error.
    Elasticsearch,
}

/// The expanded regular expression, with the origins of its parts.
#[derive(Debug, Clone, Default)]
pub(super) struct Expansion {
    /// The regular expression.
    pub(super) regex: String,
    /// The definitions in it, outer ones before inner ones.
    pub(super) pieces: Vec<Piece>,
    /// The parts copied from the user's expression, as byte offset in `regex`, byte offset in the expression, and
    /// length in bytes.
    own: Vec<(usize, usize, usize)>,
}

/// A definition that replaced a placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// The definition's name.
    pub(super) name: String,
    /// The field that the definition captures.
    pub(super) semantic: Option<String>,
    /// The byte offset in the regular expression at which its text begins.
    pub(super) start: usize,
    /// The byte offset in the regular expression at which its text ends.
    pub(super) end: usize,
    /// The byte offset of the outermost placeholder in the user's expression.
    pub(super) origin: usize,
}

impl Expansion {
    /// Returns the pieces around an offset, from the outermost to the innermost.
    pub(super) fn pieces_at(&self, offset: usize) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(move |piece| piece.start <= offset && offset < piece.end)
    }

    /// Returns the offset in the user's expression from which an offset in the regular expression comes.
    pub(super) fn origin_of(&self, offset: usize) -> usize {
        if let Some(piece) = self.pieces_at(offset).next() {
            return piece.origin;
        }
        let own = self.own.iter().rev().find(|(start, ..)| *start <= offset);
        own.map_or(0, |&(start, origin, length)| origin + (offset - start).min(length))
    }
}

/// A placeholder as written.
struct Placeholder<'e> {
    /// The text between the braces, `SYNTAX:semantic:type`.
    name: &'e str,
    syntax: &'e str,
    semantic: Option<&'e str>,
    definition: Option<&'e str>,
    end: usize,
}

/// Expands an expression.
pub(super) fn expand(
    expression: &str,
    dictionary: &Dictionary,
    dialect: Dialect,
    named_only: bool,
) -> Result<Expansion, GrokError> {
    let mut expander = Expander {
        dictionary: dictionary.clone(),
        dialect,
        named_only,
        open: Vec::new(),
        last_part: 0,
        result: Expansion::default(),
    };
    expander.text(expression, None)?;
    Ok(expander.result)
}

struct Expander {
    dictionary: Dictionary,
    dialect: Dialect,
    named_only: bool,
    /// The definitions that are being expanded, to detect a definition that contains itself.
    open: Vec<String>,
    /// The offset at which the last group began. Elasticsearch numbers unnamed captures from there.
    last_part: usize,
    result: Expansion,
}

impl Expander {
    /// Appends a text. `origin` is the offset of the outermost placeholder, or `None` for the user's own text.
    fn text(&mut self, text: &str, origin: Option<usize>) -> Result<(), GrokError> {
        let mut rest = 0;
        while let Some(found) = text[rest..].find("%{") {
            let at = rest + found;
            let here = origin.unwrap_or(at);
            let strict = self.dialect == Dialect::Elasticsearch && origin.is_none();
            let Some(placeholder) = read_placeholder(text, at, strict) else {
                if self.dialect == Dialect::Elasticsearch && origin.is_some() && !text[at..].contains('}') {
                    return Err(self.error(here, Problem::Malformed));
                }
                self.copy(&text[rest..at + 2], rest, origin)?;
                rest = at + 2;
                continue;
            };
            self.copy(&text[rest..at], rest, origin)?;
            self.placeholder(&placeholder, here)?;
            rest = placeholder.end;
        }
        self.copy(&text[rest..], rest, origin)
    }

    fn copy(&mut self, text: &str, at: usize, origin: Option<usize>) -> Result<(), GrokError> {
        if origin.is_none() {
            self.result.own.push((self.result.regex.len(), at, text.len()));
        }
        self.result.regex.push_str(text);
        if self.result.regex.len() > MAX_BYTES {
            return Err(self.error(origin.unwrap_or(at), Problem::TooLarge(MAX_BYTES)));
        }
        Ok(())
    }

    fn error(&self, at: usize, kind: Problem) -> GrokError {
        GrokError { at, within: self.open.last().cloned(), kind }
    }

    fn placeholder(&mut self, placeholder: &Placeholder<'_>, origin: usize) -> Result<(), GrokError> {
        let syntax = placeholder.syntax;
        if let Some(definition) = placeholder.definition {
            self.dictionary.add(syntax, definition);
        }
        let Some(definition) = self.dictionary.get(syntax) else {
            let similar = self.dictionary.similar(syntax).map(str::to_owned);
            return Err(self.error(origin, Problem::UnknownPattern { name: syntax.to_owned(), similar }));
        };
        if self.open.iter().any(|name| name == syntax) || self.open.len() >= MAX_DEPTH {
            return Err(self.error(origin, Problem::Circular(syntax.to_owned())));
        }
        let pattern = Arc::clone(&definition.pattern);
        let part = self.result.regex.len();
        let opening = match (self.dialect, self.named_only, placeholder.semantic) {
            (_, true, None) => "(?:".to_owned(),
            (Dialect::Elasticsearch, false, _) => format!("(?<{syntax}_{}>", part - self.last_part),
            _ => format!("(?<{}>", placeholder.name),
        };
        self.last_part = part;
        self.result.regex.push_str(&opening);
        let index = self.result.pieces.len();
        self.result.pieces.push(Piece {
            name: syntax.to_owned(),
            semantic: placeholder.semantic.and_then(|semantic| semantic.split(':').next()).map(str::to_owned),
            start: self.result.regex.len(),
            end: usize::MAX,
            origin,
        });
        self.open.push(syntax.to_owned());
        self.text(&pattern, Some(origin))?;
        self.open.pop();
        self.result.pieces[index].end = self.result.regex.len();
        self.result.regex.push(')');
        Ok(())
    }
}

/// Parses the placeholder whose `%{` is at `at`.
fn read_placeholder(text: &str, at: usize, strict: bool) -> Option<Placeholder<'_>> {
    let start = at + 2;
    let take = |from: usize, member: &dyn Fn(char) -> bool| {
        from + text[from..].find(|c: char| !member(c)).unwrap_or(text.len() - from)
    };
    let syntax_end = take(start, &|c| matches!(c, 'A'..='z' | '0'..='9'));
    if syntax_end == start {
        return None;
    }
    let mut name_end = syntax_end;
    let mut semantic = None;
    if text[syntax_end..].starts_with(':') {
        let end = take(syntax_end + 1, &|c| {
            matches!(c, '@' | 'A'..='z' | '0'..='9' | ':' | '.' | '-') || !c.is_ascii() && c.is_alphanumeric()
        });
        if end > syntax_end + 1 {
            semantic = Some(&text[syntax_end + 1..end]);
            name_end = end;
        }
    }
    let mut definition = None;
    let mut end = name_end;
    if text[name_end..].starts_with('=')
        && let Some(stop) = definition_end(text, name_end + 1)
    {
        definition = Some(&text[name_end + 1..stop]);
        end = stop;
    }
    let close = end + text[end..].find('}')?;
    if strict && close != end {
        return None;
    }
    let name = &text[start..name_end];
    Some(Placeholder { name, syntax: &text[start..syntax_end], semantic, definition, end: close + 1 })
}

/// Returns the end of an inline definition: the first `}` that closes no brace within it.
fn definition_end(text: &str, start: usize) -> Option<usize> {
    let mut depth = 0;
    let mut chars = text[start..].char_indices();
    while let Some((offset, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '{' => depth += 1,
            '}' if depth == 0 => return (offset > 0).then_some(start + offset),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written_out(expression: &str, dialect: Dialect, named_only: bool) -> String {
        let mut dictionary = Dictionary::empty();
        dictionary.add("NUM", r"\d+");
        dictionary.add("PAIR", "%{NUM:left:int}-%{NUM}");
        expand(expression, &dictionary, dialect, named_only)
            .map_or_else(|error| error.to_string(), |expansion| expansion.regex)
    }

    #[test]
    fn placeholders_become_groups() {
        let logstash = |expression| written_out(expression, Dialect::Logstash, true);
        assert_eq!(logstash("a %{PAIR:p} %{NUM}"), r"a (?<PAIR:p>(?<NUM:left:int>\d+)-(?:\d+)) (?:\d+)");
        assert_eq!(logstash("%{X=[a-z]{2}} %{X:y}"), "(?:[a-z]{2}) (?<X:y>[a-z]{2})");
        assert_eq!(logstash("%{NUM:[a][b]?}"), r"(?<NUM:[a][b]>\d+)", "what follows the field is ignored");
        assert_eq!(logstash("100%{ %{}"), "100%{ %{}", "this is plain text");
        assert_eq!(written_out("%{PAIR}", Dialect::Logstash, false), r"(?<PAIR>(?<NUM:left:int>\d+)-(?<NUM>\d+))");
    }

    #[test]
    fn elasticsearch_is_stricter() {
        assert_eq!(written_out("%{NUM:a(b)}", Dialect::Elasticsearch, true), "%{NUM:a(b)}");
        assert_eq!(written_out("%{NUM} %{NUM:a}", Dialect::Elasticsearch, false), r"(?<NUM_0>\d+) (?<NUM_14>\d+)");
    }

    #[test]
    fn a_place_is_traced_back() {
        let mut dictionary = Dictionary::empty();
        dictionary.add("NUM", r"\d+");
        let expansion = expand("ab %{NUM:n} cd", &dictionary, Dialect::Logstash, true).expect("it expands");
        let at = |text: &str| expansion.regex.find(text).expect("it is there");
        assert_eq!(expansion.origin_of(at("cd")), 12);
        assert_eq!(expansion.origin_of(at(r"\d")), 3);
        assert_eq!(expansion.pieces_at(at(r"\d")).map(|piece| piece.name.as_str()).collect::<Vec<_>>(), ["NUM"]);
    }
}
