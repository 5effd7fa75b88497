//! Loading of a pipeline's sources, and of the options by which their records become events.

use crate::codec::id::IdRule;
use crate::config::spec::{ComponentSpec, PipelineSpec};
use crate::config::{Args, ComponentDef, Diagnostic};
use crate::event::FieldRef;
use crate::filter::common::Common;
use crate::grok::EcsCompatibility;
use crate::logstash::plugins::Section;
use crate::pipeline::worker::{Codec, Decoration, Intake};
use crate::runtime::load::{Loader, default_component, ecs_of};
use crate::source::{self, SourceSpec};

/// A source of which no more is known than what its table says.
struct Described {
    def: &'static ComponentDef,
    args: Args,
    intake: Intake,
    /// The number of workers that it asks for.
    threads: Option<usize>,
}

impl Loader<'_> {
    /// Returns the sources, their intakes, and the number of workers that they request.
    pub(super) fn sources(&mut self, spec: &PipelineSpec) -> Option<(Vec<SourceSpec>, Vec<Intake>, Option<usize>)> {
        let stdin = [default_component("stdin")];
        let declared: &[ComponentSpec] = if spec.sources.is_empty() { &stdin } else { &spec.sources };
        if self.overrides.stdin {
            return self.stdin_in_place_of(declared, &stdin[0]);
        }
        let mut sources = Vec::new();
        let mut intakes = Vec::new();
        let mut threads = None;
        for component in declared {
            if let Some((mut source, mut intake, wanted)) = self.source(component) {
                let alike = |known: &&SourceSpec| std::mem::discriminant(*known) == std::mem::discriminant(&source);
                let earlier = sources.iter().filter(alike).count();
                match &mut source {
                    SourceSpec::Kafka(_) if earlier == 0 => intake.distinction.clear(),
                    SourceSpec::Kafka(_) if intake.distinction.is_empty() => {
                        intake.distinction = (sources.len() + 1).to_string()
                    }
                    SourceSpec::Stdin(_) if earlier > 0 => {
                        self.diagnostics
                            .push(Diagnostic::error(component.span, "standard input can be read only once"));
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
        Some((sources, intakes, threads))
    }

    /// Standard input, whose lines become events as records of the file's first source would. The file's sources are looked at and not
    /// built: one that is replaced needs neither certificates nor credentials here.
    fn stdin_in_place_of(
        &mut self,
        declared: &[ComponentSpec],
        stdin: &ComponentSpec,
    ) -> Option<(Vec<SourceSpec>, Vec<Intake>, Option<usize>)> {
        let replaced: Vec<_> = declared.iter().map(|component| self.intake(component)).collect();
        let first = replaced.into_iter().collect::<Option<Vec<_>>>()?.swap_remove(0).intake;
        let (source, intake, _) = self.source(stdin)?;
        let intake = Intake { codec: first.codec, event_type: first.event_type, additions: first.additions, ..intake };
        Some((vec![source], vec![intake], None))
    }

    fn source(&mut self, declared: &ComponentSpec) -> Option<(SourceSpec, Intake, Option<usize>)> {
        let Described { def, args, intake, threads } = self.intake(declared)?;
        let built = SourceSpec::from_args(def.name, &args);
        let mut built = self.keep(built)?;
        if self.overrides.detached {
            built.detach();
        }
        Some((built, intake, threads))
    }

    /// Reads a source's options and how its records become events.
    fn intake(&mut self, declared: &ComponentSpec) -> Option<Described> {
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
        Some(Described { def, args, intake, threads })
    }

    /// The field for the path of a line's file.
    fn file_path(&self, args: &Args) -> FieldRef {
        let mode = args.text("ecs_compatibility").map_or(self.environment.ecs_compatibility, |mode| ecs_of(&mode));
        match mode {
            EcsCompatibility::Disabled => FieldRef::from_names(["path"]).lasting(),
            EcsCompatibility::V1 | EcsCompatibility::V8 => FieldRef::from_names(["log", "file", "path"]).lasting(),
        }
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
                    self.diagnostics
                        .push(Diagnostic::error(key.span, format!("unknown option `{other}` of codec {name}")));
                    continue;
                }
            };
            self.diagnostics
                .push(Diagnostic::error(value.span, format!("option `{}` of codec {name}: {why}", key.name)));
        }
        Some(Some(codec))
    }
}
