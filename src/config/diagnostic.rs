//! Errors that say where: `file:line:column`, the line itself, and a caret under the piece that is wrong.
//!
//! A pipeline file is checked to its end, so problems are collected as [`Diagnostic`]s and shown together
//! rather than one a run. Spans are byte ranges into one of the loaded [`Files`].

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A byte range in one of the loaded files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Index into [`Files`].
    pub file: u32,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The part `start..end` (bytes, relative to this span's start) of this span, kept inside it.
    pub fn part(self, start: usize, end: usize) -> Span {
        let clamp = |offset: usize| (self.start.saturating_add(offset as u32)).min(self.end.max(self.start));
        Span { file: self.file, start: clamp(start), end: clamp(end.max(start)) }
    }
}

/// How bad a diagnostic is: errors refuse the pipeline, warnings do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The pipeline can't run.
    Error,
    /// The pipeline runs, but probably not as meant, or slowly.
    Warning,
}

/// One problem, with its place and, where one is known, a way out.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Where it is.
    pub span: Span,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at `span`.
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Error, span, message: message.into(), help: None }
    }

    /// A warning at `span`.
    pub fn warning(span: Span, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, span, message: message.into(), help: None }
    }

    /// The same with advice.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether this refuses the pipeline.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// One loaded configuration file.
#[derive(Clone, Debug)]
pub struct File {
    /// As it was named by the user.
    pub path: PathBuf,
    /// Its whole text.
    pub text: String,
}

/// Every file that a pipeline was loaded from; spans point into these.
#[derive(Clone, Debug, Default)]
pub struct Files {
    files: Vec<File>,
}

impl Files {
    /// Adds a file and returns its index for [`Span::file`].
    pub fn add(&mut self, path: impl Into<PathBuf>, text: String) -> u32 {
        self.files.push(File { path: path.into(), text });
        (self.files.len() - 1) as u32
    }

    /// The text of file `index`; empty for an index that was never handed out.
    pub fn text(&self, index: u32) -> &str {
        self.files.get(index as usize).map_or("", |file| file.text.as_str())
    }

    /// The path of file `index`.
    pub fn path(&self, index: u32) -> &Path {
        self.files.get(index as usize).map_or(Path::new(""), |file| file.path.as_path())
    }

    /// Line and column of a span's start, both from 1; columns count characters.
    pub fn line_and_column(&self, span: Span) -> (usize, usize) {
        let text = self.text(span.file);
        let before = text.get(..span.start as usize).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// `file:line:column` of a span's start.
    pub fn place(&self, span: Span) -> String {
        let (line, column) = self.line_and_column(span);
        format!("{}:{line}:{column}", self.path(span.file).display())
    }

    /// A diagnostic as people read it: place, message, the line, a caret, the help.
    pub fn render(&self, diagnostic: &Diagnostic) -> String {
        let severity = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut out = format!("{}: {severity}: {}\n", self.place(diagnostic.span), diagnostic.message);
        let (line_number, column) = self.line_and_column(diagnostic.span);
        if let Some(line) = self.text(diagnostic.span.file).lines().nth(line_number - 1) {
            let width = (diagnostic.span.end.saturating_sub(diagnostic.span.start) as usize)
                .clamp(1, line.chars().count().saturating_sub(column - 1).max(1));
            let gutter = line_number.to_string();
            let pad: String = line.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let _ = writeln!(out, "  {gutter} | {line}");
            let _ = writeln!(out, "  {} | {pad}{}", " ".repeat(gutter.len()), "^".repeat(width));
        }
        if let Some(help) = &diagnostic.help {
            let _ = writeln!(out, "  help: {help}");
        }
        out
    }
}

/// The candidate nearest to `name` when it is near enough to be a slip of the pen (Damerau-Levenshtein distance of
/// at most a third of the length).
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count().max(3)) / 3;
    candidates
        .into_iter()
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let substitution = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitution.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_shows_place_line_and_caret() {
        let mut files = Files::default();
        let file = files.add("a.toml", "x = 1\nsauce = \"m\"\n".into());
        let shown = files.render(
            &Diagnostic::error(Span { file, start: 6, end: 11 }, "unknown option `sauce`")
                .with_help("did you mean `source`?"),
        );
        assert_eq!(
            shown,
            "a.toml:2:1: error: unknown option `sauce`\n  2 | sauce = \"m\"\n    | ^^^^^\n  help: did you mean `source`?\n"
        );
    }

    #[test]
    fn near_misses_are_found_and_far_ones_are_not() {
        let known = ["source", "target", "database"];
        assert_eq!(nearest("soruce", known), Some("source"));
        assert_eq!(nearest("databases", known), Some("database"));
        assert_eq!(nearest("elephant", known), None);
    }
}
