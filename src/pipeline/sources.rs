//! The sources of a pipeline, and how their records become events.

use super::load::{Loader, default_component, ecs_of};
use super::worker::{Codec, Decoration, Intake};
use crate::config::logstash::plugins::Section;
use crate::config::spec::{ComponentSpec, PipelineSpec};
use crate::config::{Args, Diagnostic};
use crate::event::FieldRef;
use crate::filter::common::Common;
use crate::grok::EcsCompatibility;
use crate::pipeline::id::IdRule;
use crate::source::{self, SourceSpec};

impl Loader<'_> {
    /// The sources, their intakes, and the number of workers that they ask for.
    pub(super) fn sources(&mut self, spec: &PipelineSpec) -> Option<(Vec<SourceSpec>, Vec<Intake>, Option<usize>)> {
        let stdin = [default_component("stdin")];
        let declared: &[ComponentSpec] = if spec.sources.is_empty() { &stdin } else { &spec.sources };
        let mut sources = Vec::new();
        let mut intakes = Vec::new();
        let mut threads = None;
        for component in declared {
            if let Some((mut source, mut intake, wanted)) = self.source(component) {
                let alike = |known: &&SourceSpec| std::mem::discriminant(*known) == std::mem::discriminant(&source);
                let earlier = sources.iter().filter(alike).count();
                match &mut source {
                    SourceSpec::Kafka(_) if earlier == 0 => intake.distinction.clear(),
                    SourceSpec::Kafka(_) if intake.distinction.is_empty() => intake.distinction = (sources.len() + 1).to_string(),
                    SourceSpec::Stdin(_) if earlier > 0 => {
                        self.diagnostics.push(Diagnostic::error(component.span, "standard input can be read only once"));
                    }
                    SourceSpec::File(file) => {
                        file.set_apart(earlier);
                        let remembers = |known: &SourceSpec| matches!(known, SourceSpec::File(known) if known.checkpoint() == file.checkpoint());
                        if file.checkpoint().is_some() && sources.iter().any(remembers) {
                            let problem = "two sources can't have one `sincedb_path`: each would write over what the other remembers";
                            self.diagnostics.push(Diagnostic::error(component.span, problem));
                        }
                    }
                    _ => {}
                }
                // A thread of Logstash's input is a worker here; several inputs add up.
                threads = threads.into_iter().chain(wanted).reduce(|sum, more| sum + more);
                sources.push(source);
                intakes.push(intake);
            }
        }
        if sources.len() < declared.len() {
            return None;
        }
        if self.overrides.stdin {
            let (source, mut intake, _) = self.source(&stdin[0])?;
            // The lines are what the file's first source would have read.
            let replaced = intakes.swap_remove(0);
            intake = Intake { codec: replaced.codec, event_type: replaced.event_type, additions: replaced.additions, ..intake };
            return Some((vec![source], vec![intake], None));
        }
        Some((sources, intakes, threads))
    }

    fn source(&mut self, declared: &ComponentSpec) -> Option<(SourceSpec, Intake, Option<usize>)> {
        let (def, args) = self.component(Section::Input, declared, source::DEFS)?;
        let declared_codec = self.codec(&args);
        let mut problems = Vec::new();
        let mut intake = Intake {
            codec: self.overrides.codec.or(declared_codec.flatten()).unwrap_or(Codec::Plain),
            decoration: Decoration::None,
            group: String::new(),
            file_path: (def.name == "file").then(|| self.file_path(&args)),
            ingested: self.text.contains("[@metadata][ingested]"),
            event_type: args.text("event_type"),
            additions: Common::of_source(&args, &mut problems),
            only: None,
            distinction: args.text("id").filter(|id| IdRule::new(id).is_ok()).unwrap_or_default(),
        };
        self.diagnostics.extend(problems);
        let built = SourceSpec::from_args(def.name, &args);
        let built = self.keep(built)?;
        declared_codec?;
        let mut threads = None;
        if def.name == "kafka" {
            intake.group = args.required_text("group_id");
            intake.decoration = match args.text("decorate_events").as_deref() {
                Some("basic" | "true") => Decoration::Basic,
                Some("extended") => Decoration::Extended,
                _ => Decoration::None,
            };
            threads = args.integer("consumer_threads").map(|threads| threads as usize);
        }
        Some((built, intake, threads))
    }

    /// The field for the path of a line's file.
    fn file_path(&self, args: &Args) -> FieldRef {
        let mode = args.text("ecs_compatibility").map_or(self.environment.ecs_compatibility, |mode| ecs_of(&mode));
        match mode {
            EcsCompatibility::Disabled => FieldRef::from_names(["path"]).lasting(),
            EcsCompatibility::V1 | EcsCompatibility::V8 => FieldRef::from_names(["log", "file", "path"]).lasting(),
        }
    }

    /// The codec that a source declares; `None` in `Some` where it declares none.
    fn codec(&mut self, args: &Args) -> Option<Option<Codec>> {
        let Some(node) = args.node("codec") else { return Some(None) };
        let (name, options) = node.named();
        let Some(codec) = Codec::named(&name) else {
            let problem = Diagnostic::error(node.span, format!("there is no codec `{name}`"));
            self.diagnostics.push(problem.with_help("there are plain, line, json and json_lines"));
            return None;
        };
        for (key, value) in options {
            let why = match (key.name.as_str(), value.to_text().as_deref()) {
                ("charset", Some(charset)) if charset.eq_ignore_ascii_case("UTF-8") => continue,
                ("delimiter", Some("\n" | "\\n")) | ("ecs_compatibility" | "id" | "enable_metric", _) => continue,
                ("charset", _) => "records are read as UTF-8",
                ("delimiter", _) => "a line ends with a newline",
                ("target", _) => "the members of a record are the fields of its event",
                ("format", _) => {
                    let message = format!("option `format` of codec {name} has no effect on what is read");
                    self.diagnostics.push(Diagnostic::warning(value.span, message));
                    continue;
                }
                (other, _) => {
                    self.diagnostics.push(Diagnostic::error(key.span, format!("unknown option `{other}` of codec {name}")));
                    continue;
                }
            };
            self.diagnostics.push(Diagnostic::error(value.span, format!("option `{}` of codec {name}: {why}", key.name)));
        }
        Some(Some(codec))
    }
}
