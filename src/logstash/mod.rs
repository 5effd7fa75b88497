//! Logstash's configuration language, read into the same specification as TOML.
//!
//! The grammar is that of Logstash 8 (`input`, `filter` and `output` sections; plugins with `name => value` options;
//! barewords, quoted texts, numbers, arrays, hashes, plugins as values; `if / else if / else`; `#` comments). Texts are
//! taken as they stand between their quotes, unless the dialect has escapes (`config.support_escapes`); the entries of a hash
//! come in the order in which Logstash hands them to a plugin ([`hash_order`]).

pub mod convert;
pub mod plugins;
pub mod settings;

use crate::config::cursor;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::expand::Expander;
use crate::config::hash_order;
use crate::config::spec::{ComponentSpec, ConditionSpec, PipelineSpec, Statement};
use crate::config::value::{Data, Key, Node};

/// Reads a configuration. `file` is its index for spans.
///
/// # Errors
/// The first thing that is no Logstash configuration, and every variable without a value.
pub fn parse(text: &str, file: u32, expander: &Expander<'_>) -> Result<PipelineSpec, Vec<Diagnostic>> {
    parse_with_comments(text, file, expander).map(|(spec, _)| spec)
}

/// As [`parse`], but answers with what could be read beside the problems: all of it, unless its grammar is broken.
pub fn read(text: &str, file: u32, expander: &Expander<'_>) -> (PipelineSpec, Vec<Diagnostic>) {
    let mut reader = Reader::new(text, file, expander);
    let mut spec = PipelineSpec::default();
    if let Err(problem) = reader.sections(&mut spec) {
        reader.problems.push(*problem);
        spec.is_partial = true;
    }
    (spec, reader.problems)
}

/// As [`parse`], but answers with the places of the comments too, except those inside conditions.
///
/// # Errors
/// As [`parse`].
pub fn parse_with_comments(
    text: &str,
    file: u32,
    expander: &Expander<'_>,
) -> Result<(PipelineSpec, Vec<Span>), Vec<Diagnostic>> {
    let mut reader = Reader::new(text, file, expander);
    let mut spec = PipelineSpec::default();
    match reader.sections(&mut spec) {
        Ok(()) if reader.problems.is_empty() => Ok((spec, reader.comments)),
        Ok(()) => Err(reader.problems),
        Err(problem) => {
            reader.problems.push(*problem);
            Err(reader.problems)
        }
    }
}

/// Blocks and values may be nested this deep.
const MAX_DEPTH: usize = 200;

type Parsed<T> = Result<T, Box<Diagnostic>>;

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    file: u32,
    expander: &'a Expander<'a>,
    problems: Vec<Diagnostic>,
    comments: Vec<Span>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, file: u32, expander: &'a Expander<'a>) -> Reader<'a> {
        Reader { text, at: 0, depth: 0, file, expander, problems: Vec::new(), comments: Vec::new() }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn span_from(&self, start: usize) -> Span {
        Span { file: self.file, start: start as u32, end: self.at as u32 }
    }

    fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        let width = self.rest().chars().next().map_or(1, char::len_utf8);
        let span = Span { file: self.file, start: self.at as u32, end: (self.at + width) as u32 };
        Err(Box::new(Diagnostic::error(span, message)))
    }

    fn skip_blank(&mut self) {
        let start = self.at;
        cursor::skip_blank(self.text, &mut self.at);
        // A place may be passed more than once, where the reader has looked ahead.
        let known = self.comments.last().map_or(0, |comment| comment.end as usize).max(start);
        let mut at = known;
        while at < self.at
            && let Some(offset) = self.text[at..self.at].find('#')
        {
            let line = &self.text[at + offset..self.at];
            let end = at + offset + line.find('\n').unwrap_or(line.len());
            self.comments.push(Span { file: self.file, start: (at + offset) as u32, end: end as u32 });
            at = end;
        }
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_blank();
        cursor::eat(self.text, &mut self.at, token)
    }

    fn expect(&mut self, token: &str) -> Parsed<()> {
        if self.eat(token) { Ok(()) } else { self.fail(format!("`{token}` was expected")) }
    }

    /// White space, or the end of the list: entries that touch or have a comma between them are refused by Logstash too.
    fn expect_gap(&mut self) -> Parsed<()> {
        let rest = self.rest();
        if rest.is_empty() || rest.starts_with(|c: char| c.is_whitespace() || matches!(c, '}' | '#')) {
            self.skip_blank();
            if !self.rest().starts_with(',') {
                return Ok(());
            }
        }
        self.fail("entries are separated by white space, not by commas or nothing")
    }

    fn enter(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { self.fail("nested too deeply") } else { Ok(()) }
    }

    /// A name: letters, digits, `_` and `-`.
    fn name(&mut self) -> Option<Key> {
        self.skip_blank();
        let start = self.at;
        let length = self
            .rest()
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
            .unwrap_or(self.rest().len());
        if length == 0 {
            return None;
        }
        self.at += length;
        Some(Key { span: self.span_from(start), name: self.text[start..self.at].to_string() })
    }

    fn sections(&mut self, spec: &mut PipelineSpec) -> Parsed<()> {
        loop {
            self.skip_blank();
            if self.rest().is_empty() {
                return Ok(());
            }
            let start = self.at;
            let section = self.name();
            match section.as_ref().map(|key| key.name.as_str()) {
                Some("input") => {
                    for statement in self.block()? {
                        match statement {
                            Statement::Component(component) => spec.sources.push(component),
                            Statement::If { .. } => {
                                let problem =
                                    Diagnostic::error(self.span_from(start), "an input can't depend on a condition");
                                self.problems.push(problem);
                            }
                        }
                    }
                }
                Some("filter") => {
                    let block = self.block()?;
                    spec.filters.extend(block);
                }
                Some("output") => {
                    let block = self.block()?;
                    spec.sinks.extend(block);
                }
                _ => {
                    self.at = start;
                    return self.fail("`input`, `filter` or `output` was expected");
                }
            }
        }
    }

    fn block(&mut self) -> Parsed<Vec<Statement>> {
        self.enter()?;
        self.expect("{")?;
        let mut statements = Vec::new();
        while !self.eat("}") {
            let start = self.at;
            if self.keyword("if") {
                statements.push(self.branches()?);
            } else {
                self.at = start;
                statements.push(Statement::Component(self.plugin()?));
            }
        }
        self.depth -= 1;
        Ok(statements)
    }

    fn keyword(&mut self, word: &str) -> bool {
        self.skip_blank();
        let found = self
            .rest()
            .strip_prefix(word)
            .is_some_and(|after| !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-'));
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn branches(&mut self) -> Parsed<Statement> {
        let mut branches = vec![(self.condition()?, self.block()?)];
        let mut otherwise = Vec::new();
        while self.keyword("else") {
            if self.keyword("if") {
                branches.push((self.condition()?, self.block()?));
            } else {
                otherwise = self.block()?;
                break;
            }
        }
        Ok(Statement::If { branches, otherwise })
    }

    /// The text up to the `{` of the block, which is not looked for inside texts, brackets and regular expressions.
    fn condition(&mut self) -> Parsed<ConditionSpec> {
        self.skip_blank();
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut at = start;
        while at < bytes.len() {
            let opens = match bytes[at] {
                b'{' => {
                    self.at = at;
                    let text = self.text[start..at].trim_end();
                    let span = Span { file: self.file, start: start as u32, end: (start + text.len()) as u32 };
                    return Ok(ConditionSpec { span, text: text.to_string(), verbatim: true });
                }
                b'#' => {
                    at += self.text[at..].find('\n').unwrap_or(bytes.len() - at);
                    continue;
                }
                b'"' | b'\'' => true,
                b'/' => self.text[start..at].trim_end().ends_with('~'),
                _ => false,
            };
            at += if opens { cursor::quoted(&self.text[at..]).unwrap_or(bytes.len()) } else { 1 };
        }
        self.at = self.text.len();
        self.fail("`{` was expected after the condition")
    }

    fn plugin(&mut self) -> Parsed<ComponentSpec> {
        self.skip_blank();
        let start = self.at;
        let Some(kind) = self.plugin_name()? else { return self.fail("the name of a plugin was expected") };
        let entries = self.attributes()?;
        Ok(ComponentSpec { span: self.span_from(start), kind, entries })
    }

    fn plugin_name(&mut self) -> Parsed<Option<Key>> {
        self.skip_blank();
        if self.rest().starts_with(['"', '\'']) {
            let node = self.quoted()?;
            let name = node.to_text().unwrap_or_default();
            return Ok(Some(Key { span: node.span, name }));
        }
        Ok(self.name())
    }

    fn attributes(&mut self) -> Parsed<Vec<(Key, Node)>> {
        self.enter()?;
        self.expect("{")?;
        let mut entries = Vec::new();
        while !self.eat("}") {
            let Some(key) = self.plugin_name()? else { return self.fail("an option or `}` was expected") };
            self.expect("=>")?;
            let value = self.value()?;
            entries.push((key, value));
            self.expect_gap()?;
        }
        self.depth -= 1;
        Ok(entries)
    }

    fn value(&mut self) -> Parsed<Node> {
        self.enter()?;
        self.skip_blank();
        let start = self.at;
        let node = match self.rest().chars().next() {
            Some('"' | '\'') => self.quoted()?,
            Some('[') => self.array()?,
            Some('{') => self.hash()?,
            Some(c) if c.is_ascii_digit() || c == '-' => self.number()?,
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let Some(name) = self.name() else { return self.fail("a value was expected") };
                let after = self.at;
                self.skip_blank();
                if self.rest().starts_with('{') {
                    let options = self.attributes()?;
                    let span = self.span_from(start);
                    let data = if options.is_empty() {
                        Data::String(name.name)
                    } else {
                        Data::Table(vec![(name, Node { span, data: Data::Table(options) })])
                    };
                    Node { span, data }
                } else {
                    self.at = after;
                    if name.name.len() < 2 || name.name.contains('-') {
                        // So it is in Logstash's grammar.
                        self.at = start;
                        return self.fail("a word of one letter or with a `-` stands in quotes");
                    }
                    let data = match name.name.as_str() {
                        "true" => Data::Boolean(true),
                        "false" => Data::Boolean(false),
                        _ => Data::String(name.name.clone()),
                    };
                    Node { span: name.span, data }
                }
            }
            _ => return self.fail("a value was expected"),
        };
        self.depth -= 1;
        Ok(node)
    }

    fn quoted(&mut self) -> Parsed<Node> {
        let start = self.at;
        let Some(length) = cursor::quoted(self.rest()) else { return self.fail("a text is not closed") };
        let text = &self.text[start + 1..start + length - 1];
        self.at = start + length;
        let span = self.span_from(start);
        let data = match self.expander.expand(text) {
            Ok(expanded) => Data::String(expanded),
            Err(message) => {
                self.problems.push(Diagnostic::error(span, message));
                Data::Unset
            }
        };
        Ok(Node { span, data })
    }

    fn number(&mut self) -> Parsed<Node> {
        let start = self.at;
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let sign = usize::from(self.rest().starts_with('-'));
        let whole = digits(&self.rest()[sign..]);
        if whole == 0 {
            return self.fail("a number was expected");
        }
        let mut length = sign + whole;
        let fractional = self.rest()[length..].starts_with('.');
        if fractional {
            length += 1 + digits(&self.rest()[length + 1..]);
        }
        let text = &self.rest()[..length];
        let data = match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(whole), _) => Data::Integer(whole),
            (_, Ok(number)) => Data::Float(number),
            _ => return self.fail("a number was expected"),
        };
        self.at += length;
        Ok(Node { span: self.span_from(start), data })
    }

    fn array(&mut self) -> Parsed<Node> {
        let start = self.at;
        self.expect("[")?;
        let mut items = Vec::new();
        if !self.eat("]") {
            loop {
                items.push(self.value()?);
                if self.eat("]") {
                    break;
                }
                self.expect(",")?;
            }
        }
        Ok(Node { span: self.span_from(start), data: Data::Array(items) })
    }

    fn hash(&mut self) -> Parsed<Node> {
        let start = self.at;
        self.expect("{")?;
        let mut entries: Vec<(Key, Node)> = Vec::new();
        while !self.eat("}") {
            self.skip_blank();
            let node = match self.rest().chars().next() {
                Some('"' | '\'') => self.quoted()?,
                Some(c) if c.is_ascii_digit() || c == '-' => self.number()?,
                _ => match self.name() {
                    Some(name) => Node { span: name.span, data: Data::String(name.name) },
                    None => return self.fail("a key or `}` was expected"),
                },
            };
            let key = Key { span: node.span, name: node.to_text().unwrap_or_default() };
            if entries.iter().any(|(known, _)| known.name == key.name) {
                self.problems
                    .push(Diagnostic::error(key.span, format!("the key `{}` stands twice in this hash", key.name)));
            }
            self.expect("=>")?;
            let value = self.value()?;
            entries.push((key, value));
            self.expect_gap()?;
        }
        hash_order::sort(&mut entries, |(key, _)| &key.name);
        Ok(Node { span: self.span_from(start), data: Data::Table(entries) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::expand::Dialect;
    use std::path::Path;

    fn read(text: &str) -> Result<PipelineSpec, Vec<Diagnostic>> {
        let variable = |name: &str| (name == "HOST").then(|| "es".to_string());
        parse(text, 0, &Expander { variable: &variable, folder: Path::new("."), dialect: Dialect::Logstash })
    }

    #[test]
    fn a_configuration_is_read() {
        let spec = read(
            r#"
# reads
input { kafka { topics => ["a", "b"] codec => json { charset => "UTF-8" } } stdin {} }
filter {
  if [a] =~ /x{2}\/{/ and "{" in [b] { grok { match => { "message" => '%{WORD:w} "q\'' } } }
  else if [n] > 1.5 { mutate { add_tag => yes } }
  else { drop { } }
}
output { elasticsearch { hosts => "http://${HOST}:${PORT:9200}" } }
"#,
        )
        .unwrap();
        assert_eq!(spec.sources.len(), 2);
        let Statement::If { branches, otherwise } = &spec.filters[0] else { panic!("{:?}", spec.filters) };
        assert_eq!(branches[0].0.text, r#"[a] =~ /x{2}\/{/ and "{" in [b]"#);
        assert_eq!((branches.len(), otherwise.len()), (2, 1));
        let Statement::Component(output) = &spec.sinks[0] else { panic!("{:?}", spec.sinks) };
        assert_eq!(output.entries[0].1.to_text().unwrap(), "http://es:9200");
    }

    #[test]
    fn mistakes_are_placed() {
        for (text, at) in [
            ("filter {", 8),
            ("filters { }", 0),
            ("filter { grok }", 14),
            ("filter { grok { a b } }", 18),
            ("filter { grok { a => } }", 21),
            ("filter { x { a => [1,] } }", 21),
            ("filter { x { a => b } }", 18),
            ("filter { x { a => \"b\"c => 1 } }", 21),
            ("filter { x { a => { b => 1, c => 2 } } }", 26),
        ] {
            assert_eq!(read(text).unwrap_err()[0].span.start, at, "{text}");
        }
    }
}
