//! Loading pipeline files: read, parsed, checked and compiled, with every problem reported at once.

use std::mem::Discriminant;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::plan::{PlanSpec, parts};
use super::{lint, offline, replaced};
use crate::codec::encode::Encoder;
use crate::config::spec::{ComponentSpec, PipelineSpec, Statement};
use crate::config::{
    Args, ComponentDef, Diagnostic, Dialect, Fallback, Files, Key, Kind, Node, OptionDef, Severity, Span, expand,
    option, toml,
};
use crate::delivery::bounds::Demand;
use crate::delivery::{Processors, Settings};
use crate::grok::EcsCompatibility;
use crate::logstash;
use crate::logstash::plugins::{GEO_DATABASES, Section, Surroundings};
use crate::logstash::settings::Settings as LogstashSettings;
use crate::memory::cgroup;
use crate::pipeline::compile::{self, Environment, unknown};
use crate::pipeline::destination::{SinkLabel, TrialEncoder, TrialForm};
use crate::pipeline::program::{Program, Step, flatten};
use crate::pipeline::worker::{Codec, Intake, Intakes, PipelineWorker, SourceOfTopic};
use crate::runtime::memory::Memory;
use crate::sink::dead_letter::{self, DeadLetterSpec};
use crate::sink::{self, SinkSpec};
use crate::source::{self, SourceSpec};
use crate::telemetry::health::Health;

/// The options of the `[pipeline]` table.
pub const PIPELINE_DEF: ComponentDef = ComponentDef {
    name: "pipeline",
    summary: "What holds for the whole pipeline.",
    options: PIPELINE_OPTIONS,
    example: "[pipeline]\nname = \"nginx\"\nmemory_limit = \"256MiB\"\n",
};

const PIPELINE_OPTIONS: &[OptionDef] = &[
    option(
        "name",
        Kind::String,
        Fallback::None,
        "The pipeline's name in metrics, logs and dead letters; by default the file's name.",
    ),
    option(
        "workers",
        Kind::Integer(1, 1_024),
        Fallback::None,
        "Worker threads; by default one for each core (or what the container's quota allows), less one where records come from Kafka: reading and sending take a third of the time. Where lines are read once, the thread that reads them is one of the workers.",
    ),
    option(
        "memory_limit",
        Kind::Bytes,
        Fallback::Text("256MiB"),
        "Bytes of anonymous memory that the process stays below. A container's limit lowers it to nine tenths of that; where it is not given and the pipeline needs more than the default, it is what the pipeline needs. One below that is refused.",
    ),
    option(
        "memory_check",
        Kind::Enum(&["refuse", "warn"]),
        Fallback::Text("refuse"),
        "`warn` runs the pipeline although `memory_limit`, or what a container's limit leaves, is below what the pipeline needs.",
    ),
    option(
        "in_flight_limit",
        Kind::Bytes,
        Fallback::None,
        "Bytes of records and documents between source and acknowledgement; by default an eighth of `memory_limit`, more or less.",
    ),
    option(
        "shutdown_timeout",
        Kind::Duration,
        Fallback::Text("30s"),
        "How long a drain may take when the process is asked to stop.",
    ),
    option(
        "rate_limit",
        Kind::Integer(1, 1_000_000_000),
        Fallback::None,
        "Records a second that go through the pipeline at most, all workers together; no limit by default.",
    ),
    option(
        "ecs_compatibility",
        Kind::Enum(&["disabled", "v1", "v8"]),
        Fallback::Text("v8"),
        "Which field names and grok patterns hold where a filter does not say.",
    ),
    option(
        "http_address",
        Kind::String,
        Fallback::Text("127.0.0.1:9600"),
        "Where `/metrics`, `/livez` and `/readyz` are served; an empty text turns it off.",
    ),
    option(
        "summary_interval",
        Kind::Duration,
        Fallback::Text("1m"),
        "How often a running pipeline logs a line about itself: records and documents a second, lag, records and bytes in flight, dead letters. `0` turns it off.",
    ),
    option(
        "templates",
        Kind::Strings,
        Fallback::None,
        "Folders of index templates, component templates and lifecycle policies that `logproc setup` installs.",
    ),
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
    /// The number of workers, whatever the file says.
    pub workers: Option<usize>,
    /// Whether a backslash in a quoted text of Logstash's language begins an escape, whatever Logstash's settings say.
    pub support_escapes: bool,
    /// Logstash's settings: `logstash.yml`, `pipelines.yml`, or their folder.
    pub settings: Option<PathBuf>,
    /// Whether the pipeline must have a source and a sink of its own, unless they are replaced.
    pub whole: bool,
    /// True if missing files and variables that the pipeline names are only warned about.
    pub offline: bool,
    /// With a sink in place of the file's: what is written of each document, after the file's own sinks were asked what they would do with
    /// it. Without it, they are not asked.
    pub form: Option<TrialForm>,
    /// True if dead letters are printed to standard error, wherever the file sends them.
    pub prints_dead_letters: bool,
    /// True if sources read without a consumer group and without a checkpoint, and so leave no trace.
    pub detached: bool,
}

/// A loaded pipeline file.
pub struct Loaded {
    /// The files that spans point into.
    pub files: Files,
    /// Errors and warnings, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The pipeline, unless there was an error or it was checked without the files that it names.
    pub pipeline: Option<Pipeline>,
    /// Its name.
    pub name: String,
    /// Its `[[test]]` tables.
    pub tests: Vec<Node>,
}

/// A compiled pipeline.
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// A digest of its file, for dead letters.
    pub version: String,
    /// Where records come from.
    pub sources: Vec<SourceSpec>,
    /// How they become events, for each source.
    pub intakes: Vec<Intake>,
    /// The number of the intake for a topic, if one source returns the records of several.
    pub intake_by_topic: Option<SourceOfTopic>,
    /// The filters.
    pub program: Program,
    /// Conditions that lead to sinks.
    pub routes: Arc<Vec<Step<usize>>>,
    /// One for each sink.
    pub encoders: Vec<Encoder>,
    /// Where documents go, each perhaps with a name.
    pub sinks: Vec<(Option<String>, SinkSpec)>,
    /// The sinks' names and targets, for showing them.
    pub labels: Arc<Vec<SinkLabel>>,
    /// Where refused records go.
    pub dead_letter: DeadLetterSpec,
    /// Sizes and limits.
    pub settings: Settings,
    /// The memory that the pipeline needs.
    pub memory: Memory,
    /// Where metrics are served.
    pub http_address: Option<SocketAddr>,
    /// Folders of templates for `setup`.
    pub templates: Vec<PathBuf>,
    /// Whether templates are installed at the start.
    pub manage_template: bool,
    /// What is the same for as long as a run lives: settings, source and dead letters as they were written.
    fixed: Tables,
}

impl Pipeline {
    /// Everything a run needs.
    pub fn into_plan(self, health: Health) -> PlanSpec {
        PlanSpec {
            processors: self.processors(),
            pipeline_name: self.name,
            sources: self.sources,
            sinks: self.sinks,
            dead_letter: self.dead_letter,
            settings: self.settings,
            health,
        }
    }

    /// What workers run.
    pub fn processors(&self) -> Processors {
        let (program, routes, encoders) = (self.program.fork(), self.routes.clone(), self.encoders.clone());
        let (label, intakes): (Arc<str>, Intakes) =
            (self.name.as_str().into(), Intakes::new(&self.intakes, self.intake_by_topic.clone()));
        let sinks: Arc<[String]> = sink::names(&self.sinks).into();
        Processors::new(&self.version, move |number| {
            let worker = PipelineWorker::new(
                label.clone(),
                intakes.clone(),
                program.fork(),
                routes.clone(),
                encoders.clone(),
                sinks.clone(),
                number,
            );
            Box::new(worker)
        })
    }

    /// What a run can't take up while it goes on.
    pub fn fixed(&self) -> Fixed {
        let ends = self.sinks.iter().map(|(_, sink)| std::mem::discriminant(sink)).collect();
        Fixed { tables: self.fixed.clone(), ends, sources: self.sources.len() }
    }
}

/// What is the same for as long as a run lives.
#[derive(Clone)]
pub struct Fixed {
    tables: Tables,
    ends: Vec<Discriminant<SinkSpec>>,
    sources: usize,
}

impl Fixed {
    /// Whether the number of sources, and number and kinds of sinks are the same.
    pub fn has_ends_of(&self, other: &Fixed) -> bool {
        self.ends == other.ends && self.sources == other.sources
    }

    /// The tables (`pipeline`, `source`, `dead_letter`) in which `other` differs: a run takes them up only when it starts.
    pub fn tables_that_differ(&self, other: &Fixed) -> Vec<&'static str> {
        let pairs = self.tables.iter().zip(&other.tables);
        pairs.filter(|(ours, theirs)| ours.1 != theirs.1).map(|(ours, _)| ours.0).collect()
    }
}

/// Tables of a pipeline file as they were written.
type Tables = Vec<(&'static str, Vec<(Key, Node)>)>;

/// Reads and compiles a pipeline: a TOML file, or Logstash's language where the name ends in `.conf`. A folder or a pattern
/// with `*` and `?` stands for files in Logstash's language, which are taken as one, in the order of their names. Nothing is
/// connected to.
///
/// # Errors
/// A file can't be read, or there is none. What is wrong inside is among the diagnostics.
pub fn load(path: &Path, overrides: &Overrides) -> std::io::Result<Loaded> {
    let (paths, mut dialect) = pipeline_files(path)?;
    let mut overrides = overrides.clone();
    if dialect.is_logstash() {
        let settings = LogstashSettings::of(path, overrides.settings.as_deref())?;
        if overrides.support_escapes || settings.support_escapes == Some(true) {
            dialect = Dialect::LogstashEscapes;
        }
        let ecs = settings.ecs_compatibility.as_deref().map(ecs_of);
        overrides.ecs_compatibility = overrides.ecs_compatibility.or(ecs);
    }
    let environment = Environment::of_process(&paths[0], dialect, EcsCompatibility::V8);
    let texts = paths.into_iter().map(|path| std::fs::read_to_string(&path).map(|text| (path, text)));
    Ok(load_texts(path, &texts.collect::<std::io::Result<Vec<_>>>()?, environment, &overrides))
}

/// Returns what a word of `ecs_compatibility` stands for.
pub(crate) fn ecs_of(word: &str) -> EcsCompatibility {
    match word {
        "disabled" => EcsCompatibility::Disabled,
        "v1" => EcsCompatibility::V1,
        _ => EcsCompatibility::V8,
    }
}

/// Compiles the texts of a pipeline; see [`load`]. `path` gives the pipeline its name.
pub fn load_texts(
    path: &Path,
    texts: &[(PathBuf, String)],
    mut environment: Environment,
    overrides: &Overrides,
) -> Loaded {
    let dialect = environment.dialect;
    let mut files = Files::default();
    let mut spec = PipelineSpec::default();
    let mut diagnostics = Vec::new();
    let mut whole = String::new();
    for (path, text) in texts {
        whole.push_str(text);
        let file = files.add(path, text.clone());
        let (part, problems) = match dialect {
            Dialect::Toml => toml::read(text, file, &environment.expander()),
            _ => logstash::read(text, file, &environment.expander()),
        };
        spec.append(part);
        diagnostics.extend(problems);
    }
    replaced::pass_over(&mut spec, overrides, &mut diagnostics);
    environment.metadata_visible = whole.contains("@metadata][filter]") || whole.contains("@metadata]}");
    diagnostics.extend(lint::warnings(&spec));
    if dialect.is_logstash() {
        let ecs_disabled = overrides.ecs_compatibility == Some(EcsCompatibility::Disabled);
        // Logstash brings a database of its own, which may be where the pipeline runs.
        let elsewhere =
            |name: &str| (overrides.offline && GEO_DATABASES.contains(&name)).then(|| format!("${{{name}}}"));
        let variable = |name: &str| (environment.variable)(name).or_else(|| elsewhere(name));
        let surroundings = Surroundings { variable: &variable, ecs_disabled };
        diagnostics.extend(logstash::plugins::adapt(&mut spec, surroundings));
        diagnostics.extend(set_aside(&mut spec, overrides));
    }
    if overrides.offline {
        diagnostics.extend(offline::set_missing_files_aside(&mut spec, &environment.folder));
    }
    diagnostics.extend(lint::missing_ends(&spec, overrides, dialect));
    let mut loader = Loader { diagnostics, environment, overrides, text: &whole };
    let pipeline = loader.pipeline(path, &spec);
    let mut diagnostics = loader.diagnostics;
    if overrides.offline {
        let elsewhere = |diagnostic: &&mut Diagnostic| expand::is_about_the_machine(&diagnostic.message);
        diagnostics.iter_mut().filter(elsewhere).for_each(|diagnostic| diagnostic.severity = Severity::Warning);
    }
    diagnostics.sort_by_key(|diagnostic| (diagnostic.span.file, diagnostic.span.start));
    // What was passed over would be missing in it.
    let pipeline = pipeline.filter(|_| !overrides.offline && !diagnostics.iter().any(Diagnostic::is_error));
    let named = spec.settings.iter().find(|(key, _)| key.name == "name").and_then(|(_, name)| name.to_text());
    let name = named.unwrap_or_else(|| path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
    Loaded { files, diagnostics, pipeline, name, tests: spec.tests }
}

/// Leaves out inputs and outputs that are not here and that the command line replaces anyway, with a warning: so any
/// configuration's filters can be tried.
fn set_aside(spec: &mut PipelineSpec, overrides: &Overrides) -> Vec<Diagnostic> {
    fn known(
        section: Section,
        component: &ComponentSpec,
        defs: &[&ComponentDef],
        warnings: &mut Vec<Diagnostic>,
    ) -> bool {
        let known = defs.iter().any(|def| def.name == component.kind.name);
        if !known {
            let problem = unknown(section, component, defs.iter().copied());
            warnings.push(Diagnostic { severity: Severity::Warning, ..problem });
        }
        known
    }
    fn prune(statements: &mut Vec<Statement>, warnings: &mut Vec<Diagnostic>) {
        statements.retain_mut(|statement| match statement {
            Statement::Component(component) => known(Section::Output, component, sink::DEFS, warnings),
            Statement::If { branches, otherwise } => {
                branches.iter_mut().for_each(|(_, body)| prune(body, warnings));
                prune(otherwise, warnings);
                true
            }
        });
    }
    let mut warnings = Vec::new();
    if overrides.stdin {
        spec.sources.retain(|component| known(Section::Input, component, source::DEFS, &mut warnings));
    }
    if overrides.sink.is_some() {
        prune(&mut spec.sinks, &mut warnings);
    }
    warnings
}

/// The files that a path stands for, at least one, and their language. Of a folder, files of other kinds than
/// configurations (hidden ones, copies that editors leave, TOML) are passed over.
pub(crate) fn pipeline_files(path: &Path) -> std::io::Result<(Vec<PathBuf>, Dialect)> {
    let mut paths = if path.is_dir() {
        let configuration = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            path.is_file() && !name.starts_with('.') && !name.ends_with('~') && !name.ends_with(".toml")
        };
        let entries = std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path()));
        entries.collect::<std::io::Result<Vec<_>>>()?.into_iter().filter(configuration).collect()
    } else if !path.exists() && path.to_string_lossy().contains(['*', '?']) {
        crate::files::glob::expand(&path.to_string_lossy())
    } else {
        let dialect = if path.extension().is_some_and(|extension| extension == "conf") {
            Dialect::Logstash
        } else {
            Dialect::Toml
        };
        return Ok((vec![path.to_path_buf()], dialect));
    };
    paths.sort();
    if paths.is_empty() {
        return Err(std::io::Error::new(std::io::ErrorKind::NotFound, "there is no configuration there"));
    }
    Ok((paths, Dialect::Logstash))
}

/// Compiles a specification, collecting every problem.
pub(super) struct Loader<'a> {
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) environment: Environment,
    pub(super) overrides: &'a Overrides,
    pub(super) text: &'a str,
}

/// The number of workers on so many cores. With one for each, those that read from Kafka and send to Elasticsearch take their time from
/// the workers by turns: on two cores, with broker and endpoint beside them, that cost 7 to 18 % and brought hardly any time.
fn workers_for(sources: &[SourceSpec], cores: usize) -> usize {
    let reads_kafka = sources.iter().any(|source| matches!(source, SourceSpec::Kafka(_)));
    cores.saturating_sub(usize::from(reads_kafka)).max(1)
}

impl Loader<'_> {
    pub(super) fn keep<T>(&mut self, result: Result<T, Vec<Diagnostic>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problems) => {
                self.diagnostics.extend(problems);
                None
            }
        }
    }

    fn pipeline(&mut self, path: &Path, spec: &PipelineSpec) -> Option<Pipeline> {
        let (args, problems) =
            Args::read("pipeline", Span::default(), spec.settings.clone(), PIPELINE_OPTIONS.iter().copied());
        self.diagnostics.extend(problems);
        self.environment.ecs_compatibility =
            self.overrides.ecs_compatibility.unwrap_or_else(|| ecs_of(&args.required_text("ecs_compatibility")));
        // A tenth is left to what the limit does not count: pages of files, the kernel's own for this process.
        let granted = cgroup::memory_limit().map_or(usize::MAX, |limit| (limit / 10 * 9) as usize);
        let wanted = args.bytes("memory_limit").unwrap_or(256 << 20) as usize;
        let settings = Settings {
            memory_limit: wanted.min(granted),
            in_flight_limit: args.bytes("in_flight_limit").map(|bytes| bytes as usize),
            shutdown_timeout: args.duration("shutdown_timeout").unwrap_or_default(),
            rate_limit: args
                .integer("rate_limit")
                .and_then(|rate| u32::try_from(rate).ok())
                .and_then(std::num::NonZeroU32::new),
            summary_interval: args.duration("summary_interval").filter(|interval| !interval.is_zero()),
            ..Settings::default()
        };
        let http_address = match args.required_text("http_address").as_str() {
            "" => None,
            text => match text.parse() {
                Ok(address) => Some(address),
                Err(_) => {
                    let problem = Diagnostic::error(
                        args.span_of("http_address"),
                        format!("`{text}` is not an address with a port"),
                    );
                    self.diagnostics.push(problem);
                    None
                }
            },
        };
        if self.text.contains("useragent") {
            crate::filter::useragent::prepare();
        }
        let sources = self.sources(spec);
        let program = compile::filters_within(&spec.filters, &self.environment, settings.memory_limit);
        let program = self.keep(program).map(|(program, warnings)| {
            self.diagnostics.extend(warnings);
            program
        });
        let sinks = self.sinks(spec);
        let dead_letter = self.dead_letter(spec);
        let (sources, intakes, threads) = sources?;
        let asked_for = self.overrides.workers.or(args.integer("workers").map(|workers| workers as usize)).or(threads);
        let settings =
            Settings { workers: asked_for.unwrap_or_else(|| workers_for(&sources, settings.workers)), ..settings };
        let (sinks, program, dead_letter) = (sinks?, program?, dead_letter?);
        let mut settings = Settings { filters: program.footprint(), ..settings };
        let demand = Demand::new(&settings, &parts(&sources, &sinks.specs, &dead_letter));
        let memory = Memory::new(&demand, granted, args.required_text("memory_check") == "refuse");
        if args.is_given("memory_limit") {
            self.diagnostics.extend(memory.refuse(wanted, args.span_of("memory_limit")));
        } else {
            // A quarter more than the least, for what waits.
            settings.memory_limit = wanted.max(memory.least / 4 * 5).min(granted);
        }
        let name =
            args.text("name").unwrap_or_else(|| path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        Some(Pipeline {
            name,
            version: format!("{:016x}", digest(self.text)),
            sources,
            intakes,
            intake_by_topic: None,
            program,
            routes: Arc::new(sinks.routes),
            encoders: sinks.encoders,
            sinks: sinks.specs,
            labels: Arc::new(sinks.labels),
            dead_letter,
            settings,
            memory,
            http_address,
            templates: args.strings("templates").iter().map(|folder| self.environment.folder.join(folder)).collect(),
            manage_template: sinks.manage_template,
            fixed: fixed(spec),
        })
    }

    /// A component's options: those that are right, for its own checks to find what else is wrong. `None` where one that it can't do
    /// without is missing or not known.
    pub(super) fn component<'d>(
        &mut self,
        section: Section,
        spec: &ComponentSpec,
        defs: &[&'d ComponentDef],
    ) -> Option<(&'d ComponentDef, Args)> {
        let common = if section == Section::Output { sink::COMMON_OPTIONS } else { source::COMMON_OPTIONS };
        let Some(def) = defs.iter().find(|def| def.name == spec.kind.name) else {
            self.diagnostics.push(unknown(section, spec, defs.iter().copied()));
            return None;
        };
        let known = def.options.iter().chain(common).copied();
        let (args, problems) =
            Args::read(&format!("{} {}", section.word(), def.name), spec.kind.span, spec.entries.clone(), known);
        self.diagnostics.extend(problems);
        args.is_complete().then_some((*def, args))
    }

    fn sinks(&mut self, spec: &PipelineSpec) -> Option<Sinks> {
        let stdout = [Statement::Component(default_component("stdout"))];
        let statements: &[Statement] = if spec.sinks.is_empty() { &stdout } else { &spec.sinks };
        let mut sinks = Sinks::default();
        let environment = self.environment.clone();
        let conditions = std::cell::RefCell::new(Vec::new());
        let mut leaf = |component: &ComponentSpec| {
            let (def, args) = self.component(Section::Output, component, sink::DEFS)?;
            let encoder = self.keep(Encoder::from_args(def.name, &args));
            // One that the command line replaces needs neither certificates nor credentials here.
            let is_replaced = self.overrides.sink.is_some();
            let built = if is_replaced { Ok(SinkSpec::Null) } else { SinkSpec::from_args(def.name, &args) };
            let built = self.keep(built);
            sinks.encoders.push(encoder?);
            sinks.labels.push(SinkLabel {
                name: sink::free_name(args.text("id"), def.name, |name| {
                    sinks.labels.iter().any(|label| label.name == name)
                }),
                kind: def.name,
                target: match def.name {
                    "kafka" => args.text("topic_id"),
                    "file" => args.text("path"),
                    _ => None,
                },
            });
            sinks.specs.push((args.text("id"), built?));
            if def.name == "elasticsearch" {
                sinks.manage_template |= args.flag("manage_template");
            }
            Some(sinks.specs.len() - 1)
        };
        let routes =
            flatten(statements, &mut leaf, &mut |condition| match compile::condition(condition, &environment) {
                Ok(condition) => Some(condition),
                Err(problem) => {
                    conditions.borrow_mut().push(problem);
                    None
                }
            });
        self.diagnostics.extend(conditions.into_inner());
        if let Some(kind) = self.overrides.sink {
            let replaced =
                PipelineSpec { sinks: vec![Statement::Component(default_component(kind))], ..PipelineSpec::default() };
            let mut replacement =
                Loader { diagnostics: Vec::new(), overrides: &Overrides::default(), environment, text: self.text }
                    .sinks(&replaced)?;
            if let Some(form) = self.overrides.form {
                let encoder = TrialEncoder::new(Arc::new(routes), sinks.encoders, Arc::new(sinks.labels), form);
                replacement.encoders = vec![Encoder::Trial(Box::new(encoder))];
            }
            return Some(replacement);
        }
        sinks.routes = routes;
        Some(sinks)
    }

    fn dead_letter(&mut self, spec: &PipelineSpec) -> Option<DeadLetterSpec> {
        let entries = spec.dead_letter.as_ref().map(|spec| spec.entries.clone()).unwrap_or_default();
        let span = spec.dead_letter.as_ref().map(|spec| spec.span).unwrap_or_default();
        let args = Args::check("dead_letter", span, entries, dead_letter::DEF.options.iter().copied());
        let args = self.keep(args)?;
        // Those that the command line sends elsewhere need neither certificates nor credentials here.
        let built = if self.overrides.prints_dead_letters {
            Ok(DeadLetterSpec::printed())
        } else {
            DeadLetterSpec::from_args(&args)
        };
        self.keep(built)
    }
}

fn fixed(spec: &PipelineSpec) -> Tables {
    let options =
        |component: Option<&ComponentSpec>| component.map(|component| component.entries.clone()).unwrap_or_default();
    vec![
        ("pipeline", spec.settings.clone()),
        ("source", spec.sources.iter().flat_map(|source| source.entries.clone()).collect()),
        ("dead_letter", options(spec.dead_letter.as_ref())),
    ]
}

#[derive(Default)]
struct Sinks {
    routes: Vec<Step<usize>>,
    encoders: Vec<Encoder>,
    specs: Vec<(Option<String>, SinkSpec)>,
    labels: Vec<SinkLabel>,
    manage_template: bool,
}

pub(super) fn default_component(kind: &str) -> ComponentSpec {
    let entries: Vec<(Key, Node)> = Vec::new();
    ComponentSpec { span: Span::default(), kind: Key { span: Span::default(), name: kind.to_string() }, entries }
}

/// FNV-1a of a text: enough to tell versions of a pipeline file, or replays, apart.
pub(crate) fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_left_to_reading_and_sending_where_records_come_from_kafka() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/nginx.toml");
        let sources = |overrides: &Overrides| load(&file, overrides).unwrap().pipeline.unwrap().sources;
        let (kafka, stdin) =
            (sources(&Overrides::default()), sources(&Overrides { stdin: true, ..Overrides::default() }));
        for (cores, from_kafka) in [(1, 1), (2, 1), (3, 2), (8, 7)] {
            assert_eq!((workers_for(&kafka, cores), workers_for(&stdin, cores)), (from_kafka, cores));
        }
    }
}
