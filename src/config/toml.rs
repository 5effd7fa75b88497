//! Pipeline files in TOML.
//!
//! ```toml
//! [pipeline]
//! name = "nginx"
//!
//! [source]
//! type = "kafka"
//! topics = ["logs"]
//!
//! [[filter]]
//! type = "grok"
//! match = { message = "%{COMBINEDAPACHELOG}" }
//!
//! [[filter]]
//! if = '[response] >= 500'
//!   [[filter.then]]
//!   type = "mutate"
//!   add_tag = ["error"]
//! [[filter]]
//! else = true
//!   [[filter.then]]
//!   type = "drop"
//!
//! [sink]
//! type = "elasticsearch"
//! ```
//!
//! `[source]` and `[sink]` may be one table or an array of tables. A filter or sink with `if` and a `type` runs only
//! where the condition holds; with `then` the condition guards a list. `else_if` and `else` continue the chain of the
//! table before them.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Span, nearest};
use super::expand::Expander;
use super::spec::{ComponentSpec, ConditionSpec, PipelineSpec, Statement};
use super::value::{Data, Key, Node};

const TOP_LEVEL: &[&str] = &["pipeline", "source", "filter", "sink", "dead_letter", "test", NOT_CONVERTED];

/// Tables that `logproc convert` writes for what it could not carry. None may be left in a pipeline that is loaded.
const NOT_CONVERTED: &str = "not_converted";

/// Reads a pipeline file. `file` is its index for spans.
///
/// # Errors
/// Everything wrong with its syntax and structure at once.
pub fn parse(text: &str, file: u32, expander: &Expander<'_>) -> Result<PipelineSpec, Vec<Diagnostic>> {
    let (spec, problems) = read(text, file, expander);
    if problems.is_empty() { Ok(spec) } else { Err(problems) }
}

/// As [`parse`], but answers with what could be read beside the problems.
pub fn read(text: &str, file: u32, expander: &Expander<'_>) -> (PipelineSpec, Vec<Diagnostic>) {
    let (root, errors) = DeTable::parse_recoverable(text);
    let is_partial = !errors.is_empty();
    let mut reader = Reader { text, file, expander, is_partial, verbatim: false, problems: Vec::new() };
    for error in errors {
        let range = error.span().unwrap_or(0..0);
        let problem = syntax_problem(text, reader.span(range), error.message());
        reader.problems.push(problem);
    }
    let mut spec = reader.pipeline(root.into_inner());
    spec.is_partial = is_partial;
    (spec, reader.problems)
}

/// A mistake in the grammar, with advice where it is one that is often made.
fn syntax_problem(text: &str, span: Span, message: &str) -> Diagnostic {
    let problem = Diagnostic::error(span, message);
    let start = text.get(..span.start as usize).map_or(0, |before| before.rfind('\n').map_or(0, |newline| newline + 1));
    let line = text[start..].lines().next().unwrap_or_default();
    let table = line.trim().trim_matches(['[', ']']).split('.').next().unwrap_or_default().trim();
    let both = |name: &str| {
        text.lines().any(|line| line.trim() == format!("[{name}]"))
            && text.lines().any(|line| line.trim() == format!("[[{name}]]"))
    };
    if TOP_LEVEL.contains(&table) && line.trim_start().starts_with('[') && both(table) {
        return problem.with_help(format!(
            "`[{table}]` is one table and `[[{table}]]` one of several: write `[[{table}]]` for each"
        ));
    }
    if message.contains("escape") {
        return problem
            .with_help("in double quotes a backslash begins an escape: write '\\d' in single quotes, or \"\\\\d\"");
    }
    problem
}

struct Reader<'a> {
    text: &'a str,
    file: u32,
    expander: &'a Expander<'a>,
    /// Whether the file has mistakes in its grammar.
    is_partial: bool,
    /// Whether texts are taken as they stand.
    verbatim: bool,
    problems: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn span(&self, range: std::ops::Range<usize>) -> Span {
        Span { file: self.file, start: range.start as u32, end: range.end as u32 }
    }

    fn problem(&mut self, span: Span, message: impl Into<String>) {
        self.problems.push(Diagnostic::error(span, message));
    }

    fn pipeline(&mut self, root: DeTable<'_>) -> PipelineSpec {
        let mut spec = PipelineSpec::default();
        for (key, value) in self.in_order(root) {
            match key.name.as_str() {
                "pipeline" => spec.settings = self.table(&key, value),
                "source" => spec.sources = self.components(&key, value),
                "filter" => spec.filters = self.statements(&key, value),
                "sink" => spec.sinks = self.statements(&key, value),
                "dead_letter" => {
                    let span = self.span(value.span());
                    let entries = self.table(&key, value);
                    spec.dead_letter = Some(ComponentSpec { span, kind: key, entries });
                }
                "test" => {
                    // Lines of logs hold anything, `${` too.
                    self.verbatim = true;
                    spec.tests = self.node(value).as_list().to_vec();
                    self.verbatim = false;
                }
                NOT_CONVERTED => self.not_converted(&key, value),
                other => {
                    let mut problem = Diagnostic::error(key.span, format!("unknown table `{other}`"));
                    if let Some(near) = nearest(other, TOP_LEVEL.iter().copied()) {
                        problem = problem.with_help(format!("did you mean `{near}`?"));
                    }
                    self.problems.push(problem);
                }
            }
        }
        spec
    }

    /// Refuses what a conversion has left open.
    fn not_converted(&mut self, key: &Key, value: Spanned<DeValue<'_>>) {
        for (span, table) in self.tables(key, value) {
            // Reasons quote the original, `${` too.
            self.verbatim = true;
            let texts: Vec<(String, Node)> =
                self.in_order(table).into_iter().map(|(key, value)| (key.name, self.node(value))).collect();
            self.verbatim = false;
            let text = |name: &str| texts.iter().find(|(key, _)| key == name).and_then(|(_, node)| node.to_text());
            let line = text("line").map(|line| format!(" (line {line})")).unwrap_or_default();
            let reason = text("reason").map(|reason| format!(": {reason}")).unwrap_or_default();
            let problem = Diagnostic::error(span, format!("a part of the original{line} is not converted{reason}"));
            self.problems.push(problem.with_help("write it by hand where it is needed, then delete this table"));
        }
    }

    /// The entries of a table in the order of the file, which carries meaning: patterns are tried in it.
    fn in_order<'i>(&self, table: DeTable<'i>) -> Vec<(Key, Spanned<DeValue<'i>>)> {
        let mut entries: Vec<(Key, Spanned<DeValue<'i>>)> = table
            .into_iter()
            .map(|(key, value)| {
                let span = self.span(key.span());
                (Key { span, name: key.into_inner().into_owned() }, value)
            })
            .collect();
        entries.sort_by_key(|(key, _)| key.span.start);
        entries
    }

    fn node(&mut self, value: Spanned<DeValue<'_>>) -> Node {
        let span = self.span(value.span());
        let data = match value.into_inner() {
            DeValue::String(text) if self.verbatim => Data::String(text.into_owned()),
            DeValue::String(text) => match self.expander.expand(&text) {
                Ok(expanded) => Data::String(expanded),
                Err(message) => {
                    self.problem(span, message);
                    Data::Unset
                }
            },
            DeValue::Integer(number) => {
                let digits = number.as_str().replace('_', "");
                match i64::from_str_radix(&digits, number.radix()) {
                    Ok(number) => Data::Integer(number),
                    Err(_) => {
                        self.problem(span, "the number does not fit 64 bits");
                        Data::Integer(0)
                    }
                }
            }
            DeValue::Float(number) => match number.as_str().replace('_', "").parse() {
                Ok(number) => Data::Float(number),
                Err(_) => {
                    self.problem(span, "not a number");
                    Data::Float(0.0)
                }
            },
            DeValue::Boolean(flag) => Data::Boolean(flag),
            DeValue::Datetime(datetime) => Data::String(datetime.to_string()),
            DeValue::Array(items) => Data::Array(items.into_iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => {
                Data::Table(self.in_order(table).into_iter().map(|(key, value)| (key, self.node(value))).collect())
            }
        };
        Node { span, data }
    }

    fn table(&mut self, key: &Key, value: Spanned<DeValue<'_>>) -> Vec<(Key, Node)> {
        match self.node(value).data {
            Data::Table(entries) => entries,
            _ => {
                self.problem(key.span, format!("`{}` is a table: write `[{}]`", key.name, key.name));
                Vec::new()
            }
        }
    }

    /// One table or an array of tables.
    fn tables<'i>(&mut self, key: &Key, value: Spanned<DeValue<'i>>) -> Vec<(Span, DeTable<'i>)> {
        let span = self.span(value.span());
        let items = match value.into_inner() {
            DeValue::Table(table) => return vec![(span, table)],
            DeValue::Array(items) => items,
            _ => {
                self.problem(key.span, format!("`{}` is a table or an array of tables", key.name));
                return Vec::new();
            }
        };
        let mut tables = Vec::new();
        for item in items {
            let span = self.span(item.span());
            match item.into_inner() {
                DeValue::Table(table) => tables.push((span, table)),
                _ => self.problem(span, format!("every element of `{}` is a table", key.name)),
            }
        }
        tables
    }

    fn components(&mut self, key: &Key, value: Spanned<DeValue<'_>>) -> Vec<ComponentSpec> {
        let tables = self.tables(key, value);
        tables
            .into_iter()
            .filter_map(|(span, table)| {
                let entries = self.in_order(table);
                self.component(&key.name, span, entries)
            })
            .collect()
    }

    fn component(
        &mut self,
        what: &str,
        span: Span,
        entries: Vec<(Key, Spanned<DeValue<'_>>)>,
    ) -> Option<ComponentSpec> {
        let mut kind = None;
        let mut options = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            if key.name == "type" {
                let node = self.node(value);
                match node.data {
                    Data::String(name) => kind = Some(Key { span: node.span, name }),
                    _ => self.problem(node.span, "`type` is the name of a component, in quotes"),
                }
            } else {
                let node = self.node(value);
                options.push((key, node));
            }
        }
        // Of a table with a mistake in its grammar, a part may not have been read.
        if kind.is_none() && !self.is_partial {
            self.problem(span, format!("this `{what}` has no `type`"));
        }
        kind.map(|kind| ComponentSpec { span, kind, entries: options })
    }

    fn statements(&mut self, key: &Key, value: Spanned<DeValue<'_>>) -> Vec<Statement> {
        let mut statements: Vec<Statement> = Vec::new();
        // Whether the last statement is a chain that `else_if` and `else` can still continue.
        let mut open_chain = false;
        for (span, table) in self.tables(key, value) {
            let mut guard = None;
            let mut body = None;
            let mut rest = Vec::new();
            for (key, value) in self.in_order(table) {
                match key.name.as_str() {
                    "if" | "else_if" => {
                        let condition = self.condition(value);
                        guard = Some((key, condition));
                    }
                    "else" => {
                        if !matches!(value.get_ref(), DeValue::Boolean(true)) {
                            self.problem(key.span, "write `else = true`");
                        }
                        guard = Some((key, None));
                    }
                    "then" => body = Some(self.statements(&key, value)),
                    _ => rest.push((key, value)),
                }
            }
            let body = match body {
                Some(body) => {
                    if let Some((extra, _)) = rest.first() {
                        let message = format!(
                            "`{}` can't stand beside `then`: a table is a condition or a component",
                            extra.name
                        );
                        self.problem(extra.span, message);
                    }
                    if guard.is_none() {
                        self.problem(span, "`then` needs an `if`, `else_if` or `else`");
                    }
                    body
                }
                None => self.component(&key.name, span, rest).map(Statement::Component).into_iter().collect(),
            };
            match guard {
                None => {
                    statements.extend(body);
                    open_chain = false;
                }
                Some((keyword, condition)) if keyword.name == "if" => {
                    statements.push(Statement::If {
                        branches: condition.map(|condition| (condition, body)).into_iter().collect(),
                        otherwise: Vec::new(),
                    });
                    open_chain = true;
                }
                Some((keyword, condition)) => match statements.last_mut() {
                    Some(Statement::If { branches, otherwise }) if open_chain => {
                        if keyword.name == "else" {
                            *otherwise = body;
                            open_chain = false;
                        } else {
                            branches.extend(condition.map(|condition| (condition, body)));
                        }
                    }
                    _ => self.problem(keyword.span, format!("`{}` needs an `if` in the table before it", keyword.name)),
                },
            }
        }
        statements
    }

    fn condition(&mut self, value: Spanned<DeValue<'_>>) -> Option<ConditionSpec> {
        let span = self.span(value.span());
        let DeValue::String(text) = value.into_inner() else {
            self.problem(span, "a condition is a string");
            return None;
        };
        let text = text.into_owned();
        // The text starts after its quotes; where it stands in the file letter by letter, errors can point into it.
        let source = &self.text[span.start as usize..span.end as usize];
        let inside = source.find(text.as_str()).filter(|_| !text.is_empty());
        let start = span.start + inside.unwrap_or(0) as u32;
        let end = if inside.is_some() { start + text.len() as u32 } else { span.end };
        Some(ConditionSpec { span: Span { file: self.file, start, end }, text, verbatim: inside.is_some() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::expand::Dialect;
    use std::path::Path;

    fn read(text: &str) -> Result<PipelineSpec, Vec<String>> {
        let variable = |name: &str| (name == "TOPIC").then(|| "logs\"]\nx = [\"".to_string());
        let expander = Expander { variable: &variable, folder: Path::new("."), dialect: Dialect::Toml };
        parse(text, 0, &expander).map_err(|problems| {
            problems.iter().map(|problem| format!("{}: {}", problem.span.start, problem.message)).collect()
        })
    }

    fn shape(statements: &[Statement]) -> String {
        let one = |statement: &Statement| match statement {
            Statement::Component(component) => component.kind.name.clone(),
            Statement::If { branches, otherwise } => {
                let branches: Vec<String> =
                    branches.iter().map(|(c, body)| format!("{} ? {}", c.text, shape(body))).collect();
                format!("({} : {})", branches.join(" | "), shape(otherwise))
            }
        };
        statements.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn chains_and_nesting_are_read() {
        let spec = read(
            r#"
[source]
type = "kafka"
topics = ["${TOPIC}"]

[[filter]]
type = "json"
[[filter]]
if = '[a] == 1'
  [[filter.then]]
  type = "grok"
  [[filter.then]]
  if = '[b]'
  type = "drop"
[[filter]]
else_if = '[a] == 2'
type = "mutate"
[[filter]]
else = true
  [[filter.then]]
  type = "date"
[sink]
type = "stdout"
"#,
        )
        .unwrap();
        assert_eq!(shape(&spec.filters), "json ([a] == 1 ? grok ([b] ? drop : ) | [a] == 2 ? mutate : date)");
        assert_eq!(spec.sources[0].entries[0].1.as_list()[0].to_text().unwrap(), "logs\"]\nx = [\"");
    }

    #[test]
    fn mistakes_are_reported_together_with_their_place() {
        let problems =
            read("[sauce]\n[[filter]]\nelse = true\ntype = \"x\"\n[[filter]]\nif = 1\n[source]\n").unwrap_err();
        assert_eq!(
            problems,
            [
                "1: unknown table `sauce`",
                "19: `else` needs an `if` in the table before it",
                "58: a condition is a string",
                "42: this `filter` has no `type`",
                "60: this `source` has no `type`",
            ]
        );
        assert_eq!(read("[source\n").unwrap_err().len(), 1);
    }
}
