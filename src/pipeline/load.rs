//! Loading pipeline files: read, parsed, checked and compiled, with every problem reported at once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::compile::{self, Environment, unknown};
use super::encode::Encoder;
use super::program::{Program, Step, flatten};
use super::worker::{Codec, Decoration, Intake, PipelineWorker};
use crate::config::spec::{ComponentSpec, PipelineSpec, Statement};
use crate::config::{
    Args, ComponentDef, Data, Diagnostic, Dialect, Fallback, Files, Key, Kind, Node, OptionDef, Span, logstash, option, toml,
};
use crate::dead_letter::{self, DeadLetterSpec};
use crate::delivery::{Plan, Settings};
use crate::grok::EcsCompatibility;
use crate::observe::health::Health;
use crate::sink::{self, SinkSpec};
use crate::source::{self, SourceSpec};

/// The options of the `[pipeline]` table.
pub const PIPELINE_DEF: ComponentDef = ComponentDef {
    name: "pipeline",
    summary: "What holds for the whole pipeline.",
    options: PIPELINE_OPTIONS,
    example: "[pipeline]\nname = \"nginx\"\nmemory_limit = \"256MiB\"\n",
};

const PIPELINE_OPTIONS: &[OptionDef] = &[
    option("name", Kind::String, Fallback::None, "The pipeline's name in metrics, logs and dead letters; by default the file's name."),
    option("workers", Kind::Integer(1, 1_024), Fallback::None, "Worker threads; by default one a core (or what the container's quota allows)."),
    option("memory_limit", Kind::Bytes, Fallback::Text("256MiB"), "Bytes that the process should stay under. What waits between source and sink is held to a part of it."),
    option("in_flight_limit", Kind::Bytes, Fallback::None, "Bytes of records and documents between source and acknowledgement; by default an eighth of `memory_limit`."),
    option("shutdown_timeout", Kind::Duration, Fallback::Text("30s"), "How long a drain may take when the process is asked to stop."),
    option("rate_limit", Kind::Integer(1, 1_000_000_000), Fallback::None, "Records a second that go through the pipeline at most, all workers together; no limit by default."),
    option("ecs_compatibility", Kind::Enum(&["disabled", "v1", "v8"]), Fallback::Text("v8"), "Which field names and grok patterns hold where a filter does not say."),
    option("http_address", Kind::String, Fallback::Text("127.0.0.1:9600"), "Where `/metrics`, `/livez` and `/readyz` are served; an empty text turns it off."),
    option("templates", Kind::Strings, Fallback::None, "Folders of index templates, component templates and lifecycle policies that `logproc setup` installs."),
];

/// What the command line says over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Read standard input in place of the file's source.
    pub stdin: bool,
    /// A sink without options (`stdout`, `null`) in place of the file's sinks.
    pub sink: Option<&'static str>,
    /// The codec of the source, whatever the file says.
    pub codec: Option<Codec>,
    /// Field names and patterns, whatever the file says.
    pub ecs_compatibility: Option<EcsCompatibility>,
}

/// A loaded pipeline file.
pub struct Loaded {
    /// The files that spans point into.
    pub files: Files,
    /// Errors and warnings, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The pipeline, unless there was an error.
    pub pipeline: Option<Pipeline>,
}

/// A compiled pipeline.
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// A digest of its file, for dead letters.
    pub version: String,
    /// Where records come from.
    pub source: SourceSpec,
    /// How they become events.
    pub intake: Intake,
    /// The filters.
    pub program: Program,
    /// Conditions that lead to sinks.
    pub routes: Arc<Vec<Step<usize>>>,
    /// One for each sink.
    pub encoders: Vec<Encoder>,
    /// Where documents go.
    pub sinks: Vec<SinkSpec>,
    /// Where refused records go.
    pub dead_letter: DeadLetterSpec,
    /// Sizes and limits.
    pub settings: Settings,
    /// Where metrics are served.
    pub http_address: Option<SocketAddr>,
    /// Folders of templates for `setup`.
    pub templates: Vec<PathBuf>,
    /// Whether templates are installed at the start.
    pub manage_template: bool,
}

impl Pipeline {
    /// Everything a run needs.
    pub fn into_plan(self, health: Health) -> Plan {
        let Pipeline { name, version, source, intake, program, routes, encoders, sinks, dead_letter, settings, .. } = self;
        let label: Arc<str> = name.as_str().into();
        let processors = move |number: usize| -> Box<dyn crate::delivery::Processor> {
            let worker = PipelineWorker::new(label.clone(), intake.clone(), program.fork(), routes.clone(), encoders.clone(), number);
            Box::new(worker)
        };
        Plan {
            pipeline_name: name,
            pipeline_version: version,
            source,
            sinks,
            processors: Box::new(processors),
            dead_letter,
            settings,
            health,
        }
    }
}

/// Reads and compiles a pipeline file: TOML, or Logstash's language where the name ends in `.conf`. Nothing is connected
/// to.
///
/// # Errors
/// The file can't be read. What is wrong inside is among the diagnostics.
pub fn load(path: &Path, overrides: &Overrides) -> std::io::Result<Loaded> {
    let text = std::fs::read_to_string(path)?;
    let mut files = Files::default();
    let file = files.add(path, text.clone());
    let dialect = if path.extension().is_some_and(|extension| extension == "conf") { Dialect::Logstash } else { Dialect::Toml };
    let mut environment = Environment::of_process(path, dialect, EcsCompatibility::V8);
    environment.metadata_visible = text.contains("@metadata][filter]") || text.contains("@metadata]}");
    let spec = match dialect {
        Dialect::Toml => toml::parse(&text, file, &environment.expander()),
        Dialect::Logstash => logstash::parse(&text, file, &environment.expander()),
    };
    let (mut diagnostics, pipeline) = match spec {
        Ok(spec) => {
            let mut loader = Loader { diagnostics: Vec::new(), environment, overrides, text: &text };
            let pipeline = loader.pipeline(path, &spec);
            (loader.diagnostics, pipeline)
        }
        Err(problems) => (problems, None),
    };
    diagnostics.sort_by_key(|diagnostic| (diagnostic.span.file, diagnostic.span.start));
    let pipeline = pipeline.filter(|_| !diagnostics.iter().any(Diagnostic::is_error));
    Ok(Loaded { files, diagnostics, pipeline })
}

struct Loader<'a> {
    diagnostics: Vec<Diagnostic>,
    environment: Environment,
    overrides: &'a Overrides,
    text: &'a str,
}

impl Loader<'_> {
    fn keep<T>(&mut self, result: Result<T, Vec<Diagnostic>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problems) => {
                self.diagnostics.extend(problems);
                None
            }
        }
    }

    fn pipeline(&mut self, path: &Path, spec: &PipelineSpec) -> Option<Pipeline> {
        let whole = Args::check("pipeline", Span::default(), spec.settings.clone(), PIPELINE_OPTIONS.iter().copied());
        let args = self.keep(whole)?;
        self.environment.ecs_compatibility = self.overrides.ecs_compatibility.unwrap_or(match args.required_text("ecs_compatibility").as_str() {
            "disabled" => EcsCompatibility::Disabled,
            "v1" => EcsCompatibility::V1,
            _ => EcsCompatibility::V8,
        });
        let settings = Settings {
            workers: args.integer("workers").map_or(Settings::default().workers, |workers| workers as usize),
            memory_limit: args.bytes("memory_limit").unwrap_or(256 << 20) as usize,
            in_flight_limit: args.bytes("in_flight_limit").map(|bytes| bytes as usize),
            shutdown_timeout: args.duration("shutdown_timeout").unwrap_or_default(),
            rate_limit: args.integer("rate_limit").and_then(|rate| u32::try_from(rate).ok()).and_then(std::num::NonZeroU32::new),
            ..Settings::default()
        };
        let http_address = match args.required_text("http_address").as_str() {
            "" => None,
            text => match text.parse() {
                Ok(address) => Some(address),
                Err(_) => {
                    let problem = Diagnostic::error(args.span_of("http_address"), format!("`{text}` is not an address with a port"));
                    self.diagnostics.push(problem);
                    None
                }
            },
        };
        let source = self.source(spec);
        let program = compile::filters(&spec.filters, &self.environment);
        let program = self.keep(program).map(|(program, warnings)| {
            self.diagnostics.extend(warnings);
            program
        });
        let sinks = self.sinks(spec);
        let dead_letter = self.dead_letter(spec);
        let (source, intake, settings) = source.map(|(source, intake, threads)| {
            let workers = threads.filter(|_| !args.is_given("workers")).unwrap_or(settings.workers);
            (source, intake, Settings { workers, ..settings })
        })?;
        let sinks = sinks?;
        let name = args.text("name").unwrap_or_else(|| path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        Some(Pipeline {
            name,
            version: format!("{:016x}", digest(self.text)),
            source,
            intake,
            program: program?,
            routes: Arc::new(sinks.routes),
            encoders: sinks.encoders,
            sinks: sinks.specs,
            dead_letter: dead_letter?,
            settings,
            http_address,
            templates: args.strings("templates").iter().map(|folder| self.environment.folder.join(folder)).collect(),
            manage_template: sinks.manage_template,
        })
    }

    fn component<'d>(&mut self, what: &str, spec: &ComponentSpec, defs: &[&'d ComponentDef]) -> Option<(&'d ComponentDef, Args)> {
        let Some(def) = defs.iter().find(|def| def.name == spec.kind.name) else {
            self.diagnostics.push(unknown(what, spec, defs.iter().copied()));
            return None;
        };
        let checked = Args::check(&format!("{what} {}", def.name), spec.kind.span, spec.entries.clone(), def.options.iter().copied());
        self.keep(checked).map(|args| (*def, args))
    }

    /// The source, how its records become events, and the number of workers it asks for.
    fn source(&mut self, spec: &PipelineSpec) -> Option<(SourceSpec, Intake, Option<usize>)> {
        let stdin = default_component("stdin");
        let declared = spec.sources.first().unwrap_or(&stdin);
        if let Some(second) = spec.sources.get(1) {
            let problem = Diagnostic::error(second.span, "a pipeline has one source; run another pipeline for this one");
            self.diagnostics.push(problem);
        }
        let (def, args) = self.component("source", declared, source::DEFS)?;
        let declared_codec = self.codec(&args)?;
        let mut intake = Intake {
            codec: self.overrides.codec.or(declared_codec).unwrap_or(Codec::Plain),
            decoration: Decoration::None,
            group: String::new(),
            file_path: def.name == "file",
            ingested: self.text.contains("[@metadata][ingested]"),
        };
        let built = SourceSpec::from_args(def.name, &args);
        let built = self.keep(built)?;
        if self.overrides.stdin {
            let (_, args) = self.component("source", &stdin, source::DEFS)?;
            let replaced = SourceSpec::from_args("stdin", &args);
            intake.file_path = false;
            return Some((self.keep(replaced)?, intake, None));
        }
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

    /// The codec that a source declares; `None` in `Some` where it declares none.
    fn codec(&mut self, args: &Args) -> Option<Option<Codec>> {
        let Some(node) = args.node("codec") else { return Some(None) };
        let name = match &node.data {
            Data::Table(entries) => entries.first().map(|(key, _)| key.name.clone()).unwrap_or_default(),
            _ => node.to_text().unwrap_or_default(),
        };
        match Codec::named(&name) {
            Some(codec) => Some(Some(codec)),
            None => {
                let problem = Diagnostic::error(node.span, format!("there is no codec `{name}`"));
                self.diagnostics.push(problem.with_help("there are plain, line, json and json_lines"));
                None
            }
        }
    }

    fn sinks(&mut self, spec: &PipelineSpec) -> Option<Sinks> {
        let stdout = [Statement::Component(default_component("stdout"))];
        let statements: &[Statement] = if spec.sinks.is_empty() { &stdout } else { &spec.sinks };
        let mut sinks = Sinks::default();
        let environment = self.environment.clone();
        let conditions = std::cell::RefCell::new(Vec::new());
        let mut leaf = |component: &ComponentSpec| {
            let (def, args) = self.component("sink", component, sink::DEFS)?;
            let encoder = self.keep(Encoder::from_args(def.name, &args));
            let built = self.keep(SinkSpec::from_args(def.name, &args));
            sinks.encoders.push(encoder?);
            sinks.specs.push(built?);
            if def.name == "elasticsearch" {
                sinks.manage_template |= args.flag("manage_template");
            }
            Some(sinks.specs.len() - 1)
        };
        let routes = flatten(statements, &mut leaf, &mut |condition| match compile::condition(condition, &environment) {
            Ok(condition) => Some(condition),
            Err(problem) => {
                conditions.borrow_mut().push(problem);
                None
            }
        });
        self.diagnostics.extend(conditions.into_inner());
        if let Some(kind) = self.overrides.sink {
            let replaced = PipelineSpec { sinks: vec![Statement::Component(default_component(kind))], ..PipelineSpec::default() };
            return Loader { diagnostics: Vec::new(), overrides: &Overrides::default(), environment, text: self.text }.sinks(&replaced);
        }
        sinks.routes = routes;
        Some(sinks)
    }

    fn dead_letter(&mut self, spec: &PipelineSpec) -> Option<DeadLetterSpec> {
        let entries = spec.dead_letter.as_ref().map(|spec| spec.entries.clone()).unwrap_or_default();
        let span = spec.dead_letter.as_ref().map(|spec| spec.span).unwrap_or_default();
        let args = Args::check("dead_letter", span, entries, dead_letter::DEF.options.iter().copied());
        let args = self.keep(args)?;
        let built = DeadLetterSpec::from_args(&args);
        self.keep(built)
    }
}

#[derive(Default)]
struct Sinks {
    routes: Vec<Step<usize>>,
    encoders: Vec<Encoder>,
    specs: Vec<SinkSpec>,
    manage_template: bool,
}

fn default_component(kind: &str) -> ComponentSpec {
    let entries: Vec<(Key, Node)> = Vec::new();
    ComponentSpec { span: Span::default(), kind: Key { span: Span::default(), name: kind.to_string() }, entries }
}

/// FNV-1a of a pipeline's text: enough to tell versions of a file apart.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
