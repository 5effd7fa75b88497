//! Loading of a pipeline's sources, and of the options by which their records become events.

use super::load::{Loader, default_component};
use super::worker::{Codec, Decoration, Intake};
use crate::config::logstash::plugins::Section;
use crate::config::spec::{ComponentSpec, PipelineSpec};
use crate::config::{Args, Diagnostic};
use crate::filter::common::Common;
use crate::pipeline::id::IdRule;
use crate::source::{self, SourceSpec};

impl Loader<'_> {
    /// Returns the sources, their intakes, and the number of workers that they request.
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
                // A thread of a Logstash input corresponds to a worker here; the threads of several inputs are added
                // up.
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
            // Standard input replaces the file's first source, whose codec, type and additions apply to the lines.
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
            file_path: def.name == "file",
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

    /// Returns the codec that a source declares: `Some(None)` if it declares none, and `None` if it is not valid.
    fn codec(&mut self, args: &Args) -> Option<Option<Codec>> {
        let Some(node) = args.node("codec") else { return Some(None) };
        let (name, options) = node.named();
        let Some(codec) = Codec::named(&name) else {
            let problem = Diagnostic::error(node.span, format!("there is no codec `{name}`"));
            self.diagnostics.push(problem.with_help("there are plain, line, json and json_lines"));
            return None;
        };
        for (key, value) in options {
            let usual = matches!(
                (key.name.as_str(), value.to_text().as_deref()),
                ("charset", Some("UTF-8")) | ("delimiter", Some("\n" | "\\n")) | ("ecs_compatibility" | "id" | "enable_metric", _)
            );
            if !usual {
                let message = format!("option `{}` of codec {name}: records are UTF-8, and a line ends with a newline", key.name);
                self.diagnostics.push(Diagnostic::error(value.span, message));
            }
        }
        Some(Some(codec))
    }
}
