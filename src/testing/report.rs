//! How results of tests look: a diff for people, JUnit's XML for machines.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::case::Mismatch;

/// Colours for a terminal, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether escape sequences are written.
    pub colour: bool,
}

impl Style {
    /// Colours where standard output is a terminal and `NO_COLOR` is not set, or empty.
    pub fn of_stdout() -> Style {
        use std::io::IsTerminal as _;
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Style { colour: std::io::stdout().is_terminal() && !is_unwanted }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_string() }
    }

    /// What is there and should not be, or came before.
    pub fn minus(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// What is new, or was wanted.
    pub fn plus(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// What is beside the point.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// What matters.
    pub fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }
}

/// Mismatches as a diff: `-` is what the test wants, `+` what came out.
pub fn diff(mismatches: &[Mismatch], style: Style) -> String {
    let mut out = String::new();
    for mismatch in mismatches {
        let _ = writeln!(out, "    {}", mismatch.place);
        if let Some(wanted) = &mismatch.wanted {
            let _ = writeln!(out, "{}", style.minus(&format!("      - {wanted}")));
        }
        if let Some(got) = &mismatch.got {
            let _ = writeln!(out, "{}", style.plus(&format!("      + {got}")));
        }
    }
    out
}

/// The changes from one event to the next as lines, field by field.
pub fn changes(before: &Value, after: &Value, style: Style) -> Vec<String> {
    let (mut old, mut new) = (Vec::new(), Vec::new());
    flatten("", before, &mut old);
    flatten("", after, &mut new);
    let mut lines = Vec::new();
    for (name, value) in &old {
        let now = new.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        if now != Some(value) {
            lines.push(style.minus(&format!("- {name} = {value}")));
        }
        if let Some(now) = now.filter(|now| *now != value) {
            lines.push(style.plus(&format!("+ {name} = {now}")));
        }
    }
    for (name, value) in new.iter().filter(|(name, _)| !old.iter().any(|(known, _)| known == name)) {
        lines.push(style.plus(&format!("+ {name} = {value}")));
    }
    lines
}

/// The fields of a document with their whole names, `[a][b]`; an empty object counts as a value.
pub fn flatten(path: &str, value: &Value, out: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                flatten(&format!("{path}[{name}]"), value, out);
            }
        }
        value if !path.is_empty() => out.push((path.to_string(), value.clone())),
        _ => {}
    }
}

/// A result for JUnit's XML.
pub struct JunitCase<'a> {
    /// The file that the test is for.
    pub suite: &'a str,
    /// Its name.
    pub name: &'a str,
    /// How long it took.
    pub time: Duration,
    /// The diff, where it failed.
    pub failure: Option<String>,
}

/// Results as JUnit's XML, one suite a file.
pub fn junit(cases: &[JunitCase<'_>]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let mut rest = cases;
    while let Some(first) = rest.first() {
        let (suite, more) = rest.split_at(rest.iter().take_while(|case| case.suite == first.suite).count());
        rest = more;
        let failures = suite.iter().filter(|case| case.failure.is_some()).count();
        let time: f64 = suite.iter().map(|case| case.time.as_secs_f64()).sum();
        let name = escaped(first.suite);
        let _ = writeln!(
            out,
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{failures}\" time=\"{time:.6}\">",
            suite.len()
        );
        for case in suite {
            let (test, time) = (escaped(case.name), case.time.as_secs_f64());
            let _ = write!(out, "    <testcase classname=\"{name}\" name=\"{test}\" time=\"{time:.6}\"");
            let _ = match &case.failure {
                None => writeln!(out, "/>"),
                Some(diff) => {
                    writeln!(out, "><failure message=\"not as expected\">{}</failure></testcase>", escaped(diff))
                }
            };
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

/// Text for XML, without the characters that XML has no way to write.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' => out.push(character),
            other if other.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            other => out.push(other),
        }
    }
    out
}
