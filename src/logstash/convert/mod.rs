//! Logstash configurations as TOML pipelines, with their comments.
//!
//! What can't be carried stays in the output as a comment with the original text, and a table `[[not_converted]]` keeps the
//! pipeline from being loaded until somebody has looked at it. A sink that has lost an option is written commented out.
//! `if / else if / else` becomes `if`, `else_if` and `else`: no condition is written twice.

mod text;

use std::fmt::Write as _;
use std::path::Path;

use crate::config::diagnostic::{Diagnostic, Files, Span};
use crate::config::expand::{Dialect, Expander};
use crate::config::options::{Args, ComponentDef, OptionDef};
use crate::config::spec::{ComponentSpec, ConditionSpec, PipelineSpec, Statement};
use crate::config::value::{Key, Node};
use crate::logstash;
use crate::logstash::plugins::{LeftOut, Section, Surroundings, adapt_component, instead_of};
use crate::script::Condition;
use crate::{filter, sink, source};

/// A converted configuration.
#[derive(Debug)]
pub struct Converted {
    /// The pipeline in TOML.
    pub toml: String,
    /// What could not be carried, with its place.
    pub lost: Vec<Diagnostic>,
}

/// The options of a conversion.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The `ecs_compatibility` to write down, if any.
    pub ecs: Option<&'a str>,
    /// True if a backslash in a quoted text begins an escape (Logstash's setting `config.support_escapes`).
    pub escapes: bool,
    /// Errors that were found when the configuration was loaded as it is. Each becomes something that is not converted.
    pub errors: &'a [Diagnostic],
}

/// Converts a configuration; `ecs` is the `ecs_compatibility` to write down, if any.
///
/// # Errors
/// The text is no Logstash configuration.
pub fn convert(files: &Files, file: u32, ecs: Option<&str>) -> Result<Converted, Vec<Diagnostic>> {
    convert_with(files, file, Options { ecs, ..Options::default() })
}

/// Converts a configuration as `options` say.
///
/// # Errors
/// As [`convert`].
pub fn convert_with(files: &Files, file: u32, options: Options<'_>) -> Result<Converted, Vec<Diagnostic>> {
    let text = files.text(file);
    let dialect = if options.escapes { Dialect::VerbatimEscapes } else { Dialect::Verbatim };
    let expander = Expander { variable: &|_| None, folder: Path::new("."), dialect };
    let (spec, comments) = logstash::parse_with_comments(text, file, &expander)?;
    let mut writer = Writer {
        text,
        files,
        escapes: options.escapes,
        ecs_disabled: options.ecs == Some("disabled"),
        errors: options.errors.to_vec(),
        comments: comments.into(),
        out: String::new(),
        lost: Vec::new(),
        unwritten: 0,
    };
    writer.pipeline(&spec, options.ecs);
    Ok(Converted { toml: writer.out, lost: writer.lost })
}

struct Writer<'a> {
    text: &'a str,
    files: &'a Files,
    /// True if a backslash in a quoted text begins an escape.
    escapes: bool,
    /// Whether names from before the Elastic Common Schema hold.
    ecs_disabled: bool,
    /// Errors of the configuration itself that have not been written yet.
    errors: Vec<Diagnostic>,
    /// Comments that are not written yet, in the order of the file.
    comments: std::collections::VecDeque<Span>,
    out: String,
    lost: Vec<Diagnostic>,
    /// The number of losses, the last of `lost`, whose `[[not_converted]]` table has not been written yet.
    unwritten: usize,
}

/// Where a table stands: `filter`, then `filter.then`, and so on.
#[derive(Clone)]
struct Place {
    section: Section,
    path: String,
    depth: usize,
}

impl Place {
    fn new(section: Section, path: &str) -> Place {
        Place { section, path: path.to_string(), depth: 0 }
    }

    fn inner(&self) -> Place {
        Place { section: self.section, path: format!("{}.then", self.path), depth: self.depth + 1 }
    }

    fn indent(&self) -> String {
        "  ".repeat(self.depth)
    }
}

/// What the tables of a chain begin with.
enum Guard<'a> {
    If(&'a str),
    ElseIf(&'a str),
    Else,
}

impl Guard<'_> {
    fn line(&self) -> String {
        match self {
            Guard::If(condition) => format!("if = {}", text::string(condition)),
            Guard::ElseIf(condition) => format!("else_if = {}", text::string(condition)),
            Guard::Else => "else = true".to_string(),
        }
    }
}

impl Writer<'_> {
    fn pipeline(&mut self, spec: &PipelineSpec, ecs: Option<&str>) {
        if let Some(ecs) = ecs {
            let _ = write!(self.out, "[pipeline]\necs_compatibility = \"{ecs}\"\n\n");
        }
        for component in &spec.sources {
            self.component(&Place::new(Section::Input, "source"), component, None);
        }
        self.statements(&Place::new(Section::Filter, "filter"), &spec.filters);
        self.statements(&Place::new(Section::Output, "sink"), &spec.sinks);
        self.comments_before(u32::MAX, "");
        for error in std::mem::take(&mut self.errors) {
            self.mark(error.span, &error.message, "");
        }
        self.not_converted("");
        let kept = self.out.trim_end().len();
        self.out.truncate(kept);
        self.out.push('\n');
    }

    fn line(&mut self, indent: &str, text: &str) {
        self.out.push_str(indent);
        self.out.push_str(text);
        self.out.push('\n');
    }

    /// Writes the comments that stand before a byte of the original.
    fn comments_before(&mut self, end: u32, indent: &str) {
        while let Some(comment) = self.comments.front().copied().filter(|comment| comment.start < end) {
            self.comments.pop_front();
            let text = &self.text[comment.start as usize..comment.end as usize];
            self.line(indent, &text::comment(&text[1..]));
        }
    }

    /// Puts the comment that follows `end` on its line behind what was just written.
    fn comment_behind(&mut self, end: u32) {
        let Some(comment) = self.comments.front().copied() else { return };
        let between = self.text.get(end as usize..comment.start as usize);
        if between.is_some_and(|between| !between.contains('\n') && between.trim().is_empty()) {
            self.comments.pop_front();
            let text = &self.text[comment.start as usize..comment.end as usize];
            self.out.truncate(self.out.trim_end().len());
            let _ = writeln!(self.out, "  {}", text::comment(&text[1..]));
        }
    }

    /// Notes what could not be carried, with the original.
    fn lose(&mut self, span: Span, message: &str, indent: &str) {
        self.mark(span, message, indent);
        self.original(span, indent);
    }

    /// Notes what could not be carried and is written all the same, or elsewhere.
    fn mark(&mut self, span: Span, message: &str, indent: &str) {
        let (line, _) = self.files.line_and_column(span);
        self.lost.push(Diagnostic::error(span, message));
        self.unwritten += 1;
        self.line(indent, &text::comment(&format!(" NOT CONVERTED (line {line}): {message}")));
    }

    /// Writes a table for each loss that has none yet: a pipeline with such a table can't be loaded.
    fn not_converted(&mut self, indent: &str) {
        let start = self.lost.len() - std::mem::take(&mut self.unwritten);
        let tables: Vec<(usize, String)> = self.lost[start..]
            .iter()
            .map(|lost| (self.files.line_and_column(lost.span).0, text::string(&lost.message)))
            .collect();
        for (line, reason) in tables {
            self.line(indent, "[[not_converted]]");
            self.line(indent, &format!("line = {line}"));
            self.line(indent, &format!("reason = {reason}"));
            self.out.push('\n');
        }
    }

    /// Takes the errors inside `span` that the loader has found.
    fn errors_inside(&mut self, span: Span) -> Vec<Diagnostic> {
        let (inside, outside) = std::mem::take(&mut self.errors)
            .into_iter()
            .partition(|error: &Diagnostic| error.span.start >= span.start && error.span.start < span.end);
        self.errors = outside;
        inside
    }

    fn original(&mut self, span: Span, indent: &str) {
        let original = &self.text[span.start as usize..span.end as usize];
        for line in original.lines() {
            self.line(indent, &text::comment(&format!("   {line}")));
        }
        // Comments inside have just been written with it.
        self.comments.retain(|comment| comment.start < span.start || comment.start >= span.end);
    }

    fn statements(&mut self, place: &Place, statements: &[Statement]) {
        for statement in statements {
            match statement {
                Statement::Component(component) => self.component(place, component, None),
                Statement::If { branches, otherwise } => self.chain(place, branches, otherwise),
            }
        }
    }

    fn chain(&mut self, place: &Place, branches: &[(ConditionSpec, Vec<Statement>)], otherwise: &[Statement]) {
        let indent = place.indent();
        let mut conditions = Vec::new();
        for (condition, _) in branches {
            match self.condition(condition) {
                Ok(converted) => conditions.push(converted),
                Err(message) => {
                    // Without one of its conditions a chain would do something else.
                    self.comments_before(condition.span.start, &indent);
                    let span = chain_span(branches, otherwise, self.text);
                    self.errors_inside(span);
                    self.lose(span, &message, &indent);
                    self.out.push('\n');
                    self.not_converted(&indent);
                    return;
                }
            }
        }
        for (position, ((condition, comments), (spec, body))) in conditions.iter().zip(branches).enumerate() {
            self.comments_before(spec.span.start, &indent);
            for comment in comments {
                self.line(&indent, &text::comment(&comment[1..]));
            }
            let guard = if position == 0 { Guard::If(condition) } else { Guard::ElseIf(condition) };
            self.branch(place, &guard, body);
        }
        if !otherwise.is_empty() {
            self.branch(place, &Guard::Else, otherwise);
        }
    }

    fn branch(&mut self, place: &Place, guard: &Guard<'_>, body: &[Statement]) {
        if let [Statement::Component(component)] = body
            && self
                .args(place.section, component)
                .is_ok_and(|(args, left_out)| place.section != Section::Output || is_whole(&args, &left_out))
        {
            self.component(place, component, Some(guard));
            return;
        }
        let indent = place.indent();
        self.line(&indent, &format!("[[{}]]", place.path));
        self.line(&indent, &guard.line());
        let inner = place.inner();
        let start = self.out.len();
        self.statements(&inner, body);
        let table = format!("[[{}]]", inner.path);
        let holds_table = self.out[start..].lines().any(|line| line.trim_start() == table);
        if !holds_table {
            let nothing = format!("{indent}then = []\n");
            self.out.insert_str(start, &nothing);
            if !self.out.ends_with("\n\n") {
                self.out.push('\n');
            }
        }
    }

    /// The condition for TOML, and the comments that stood inside.
    fn condition(&self, condition: &ConditionSpec) -> Result<(String, Vec<String>), String> {
        let (converted, comments) = text::condition(&condition.text, self.escapes)?;
        Condition::parse(&condition.text, &|text| Ok(text.to_string())).map_err(|error| error.message)?;
        Ok((converted, comments))
    }

    fn component(&mut self, place: &Place, component: &ComponentSpec, guard: Option<&Guard<'_>>) {
        let indent = place.indent();
        self.comments_before(component.span.start, &indent);
        let errors = self.errors_inside(component.span);
        let (args, left_out) = match self.args(place.section, component) {
            Ok(read) => read,
            Err(message) => {
                self.lose(component.span, &message, &indent);
                self.out.push('\n');
                self.not_converted(&indent);
                return;
            }
        };
        let refused = |error: &Diagnostic| {
            left_out
                .iter()
                .any(|left| left.refused && error.span.start >= left.span.start && error.span.start < left.span.end)
        };
        for error in errors.iter().filter(|error| !refused(error)) {
            self.mark(error.span, &error.message, &indent);
        }
        if place.section == Section::Output && !is_whole(&args, &left_out) {
            self.commented_out(place, component, &args, &left_out);
        } else {
            self.line(&indent, &format!("[[{}]]", place.path));
            if let Some(guard) = guard {
                self.line(&indent, &guard.line());
            }
            self.line(&indent, &format!("type = {}", text::string(&component.kind.name)));
            for left in &left_out {
                self.left_out(left, &indent);
            }
            for (key, node) in args.given() {
                self.option(&indent, key, node);
            }
        }
        self.comments_before(component.span.end, &indent);
        self.out.push('\n');
        self.not_converted(&indent);
    }

    /// Writes a sink that has lost an option as a comment: without the option it would write something else, or somewhere else.
    fn commented_out(&mut self, place: &Place, component: &ComponentSpec, args: &Args, left_out: &[LeftOut]) {
        let indent = place.indent();
        for left in left_out.iter().filter(|left| left.refused) {
            self.left_out(left, &indent);
        }
        let (can_be_written, others): (Vec<_>, Vec<_>) =
            args.given().iter().partition(|(_, node)| text::value(node, "").is_some());
        for (key, node) in others {
            self.option(&indent, key, node);
        }
        self.line(&indent, "# Commented out, because without that it would do something else:");
        let start = self.out.len();
        self.line("", &format!("[[{}]]", place.path));
        self.line("", &format!("type = {}", text::string(&component.kind.name)));
        for left in left_out.iter().filter(|left| !left.refused) {
            self.left_out(left, "");
        }
        for (key, node) in can_be_written {
            self.option("", key, node);
        }
        let table = self.out.split_off(start);
        for line in table.lines() {
            self.line(&indent, format!("# {line}").trim_end());
        }
    }

    /// Writes an option that is not carried, with the original.
    fn left_out(&mut self, left: &LeftOut, indent: &str) {
        if left.refused {
            self.lose(left.span, &left.message, indent);
        } else {
            self.line(indent, &text::comment(&format!(" Left out, {}:", left.message)));
            self.original(left.span, indent);
        }
    }

    fn option(&mut self, indent: &str, key: &Key, node: &Node) {
        self.comments_before(key.span.start, indent);
        match text::value(node, indent) {
            Some(value) => {
                self.comments_before(node.span.end, indent);
                self.line(indent, &format!("{} = {value}", text::key(&key.name)));
                self.comment_behind(node.span.end);
            }
            None => {
                let span = Span { end: node.span.end, ..key.span };
                self.lose(span, &format!("`{}`: there is no way to write this text", key.name), indent);
            }
        }
    }

    /// A component's options as they are here, and those that are not.
    fn args(&self, section: Section, component: &ComponentSpec) -> Result<(Args, Vec<LeftOut>), String> {
        let (what, def, common) = definition(section, &component.kind.name).ok_or_else(|| {
            let advice =
                instead_of(section, &component.kind.name).map(|advice| format!(" ({advice})")).unwrap_or_default();
            format!("there is no {} `{}`{advice}", section.word(), component.kind.name)
        })?;
        let mut spec = component.clone();
        let variable = |name: &str| Some(format!("${{{name}}}"));
        let mut left_out =
            adapt_component(section, &mut spec, Surroundings { variable: &variable, ecs_disabled: self.ecs_disabled });
        let known = || def.options.iter().chain(common).copied();
        let whole = |key: &Key, node: &Node| Span { end: node.span.end, ..key.span };
        let checks = |entry: &(Key, Node)| {
            let (_, problems) = Args::read(&what, component.span, vec![entry.clone()], known());
            problems.into_iter().find(|problem| problem.span != component.span)
        };
        let mut kept = Vec::new();
        for entry in spec.entries {
            match checks(&entry) {
                Some(problem) => {
                    left_out.push(LeftOut { span: whole(&entry.0, &entry.1), message: problem.message, refused: true });
                }
                None => kept.push(entry),
            }
        }
        let (args, problems) = Args::read(&what, component.span, kept, known());
        match problems.first() {
            Some(problem) => Err(problem.message.clone()),
            None => Ok((args, left_out)),
        }
    }
}

/// Returns whether every option is converted, or has no effect here.
fn is_whole(args: &Args, left_out: &[LeftOut]) -> bool {
    !left_out.iter().any(|left| left.refused) && args.given().iter().all(|(_, node)| text::value(node, "").is_some())
}

fn definition(section: Section, name: &str) -> Option<(String, &'static ComponentDef, &'static [OptionDef])> {
    let named = |defs: &'static [&'static ComponentDef]| defs.iter().copied().find(|def| def.name == name);
    let (def, common) = match section {
        Section::Input => (named(source::DEFS)?, source::COMMON_OPTIONS),
        Section::Output => (named(sink::DEFS)?, sink::COMMON_OPTIONS),
        Section::Filter => (filter::find(name).map(|def| &def.component)?, filter::COMMON_OPTIONS),
    };
    Some((format!("{} {name}", section.word()), def, common))
}

/// From the first condition of a chain to the end of its last block.
fn chain_span(branches: &[(ConditionSpec, Vec<Statement>)], otherwise: &[Statement], text: &str) -> Span {
    fn end_of(statements: &[Statement]) -> u32 {
        let end = |statement: &Statement| match statement {
            Statement::Component(component) => component.span.end,
            Statement::If { branches, otherwise } => {
                let bodies = branches.iter().map(|(condition, body)| end_of(body).max(condition.span.end));
                bodies.max().unwrap_or(0).max(end_of(otherwise))
            }
        };
        statements.iter().map(end).max().unwrap_or(0)
    }
    let first = branches.first().map(|(condition, _)| condition.span).unwrap_or_default();
    let bodies = branches.iter().map(|(condition, body)| end_of(body).max(condition.span.end));
    let end = bodies.max().unwrap_or(0).max(end_of(otherwise));
    // The line with the brace that closes the last block belongs to it.
    let brace = text[end as usize..].find('}').map_or(end, |at| end + at as u32 + 1);
    let start = text[..first.start as usize].rfind("if").map_or(first.start, |at| at as u32);
    Span { file: first.file, start, end: brace }
}
