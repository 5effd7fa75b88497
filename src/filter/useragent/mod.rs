//! The `useragent` filter: browser, operating system and device of a user-agent string.
//!
//! The expressions are uap-core's (see `regexes.yaml` beside this file), matched by the `ua-parser` crate. Traffic
//! keeps repeating a few thousand strings, so each worker has a bounded cache from string to the finished JSON
//! fragment, and a hit costs a hash and a copy. A second cache is shared by all workers.

mod agents;
mod texts;

use std::sync::{Arc, LazyLock, Mutex};

use quick_cache::{sync, unsync};

use self::agents::Agents;
use super::{CacheSize, Compiled, Compiler, Context, ECS_OPTION, Filter, Flow, field_option};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::event::encode::write_string;
use crate::event::{Event, FieldRef, Fragment, NotAnObject, Value};
use crate::grok::EcsCompatibility;
use crate::memory::Footprint;

pub const DEF: ComponentDef = ComponentDef {
    name: "useragent",
    summary: "Parses a user-agent string into browser, operating system and device.",
    options: &[
        option(
            "source",
            Kind::Field,
            Fallback::Required,
            "The field that holds the user-agent string; of a list, its first element.",
        ),
        option(
            "target",
            Kind::Field,
            Fallback::None,
            "Where the fields go: `[user_agent]` by default with ECS, the top of the event without.",
        ),
        option("prefix", Kind::String, Fallback::Text(""), "Text before the names of the fields, without ECS."),
        option(
            "regexes",
            Kind::Path,
            Fallback::None,
            "A `regexes.yaml` of uap-core in place of the one that is built in.",
        ),
        option(
            "lru_cache_size",
            Kind::Integer(0, 100_000_000),
            Fallback::Integer(10_000),
            "User agents that each worker remembers, and all of them together. By default fewer where `memory_limit` is below 256 MiB.",
        ),
        ECS_OPTION,
    ],
    example: r#"
[[filter]]
type = "useragent"
source = "[user_agent][original]"
target = "[user_agent]"

[[test]]
event = { user_agent = { original = "curl/8.5.0" } }
expect = { "[user_agent][name]" = "curl" }
"#,
};

/// Maximum length in bytes of a cached user agent. Longer ones are parsed each time, so that the cache is bounded in
/// bytes too.
const LONGEST_CACHED: usize = 1_024;

/// The fields of a user agent, as JSON objects ready to be merged.
struct Description {
    fields: Fragment,
    /// Parts of the versions, for `[@metadata][filter][user_agent]`.
    metadata: Option<Fragment>,
}

static BUNDLED: &str = include_str!("regexes.yaml");
static BUNDLED_TEXTS: &str = include_str!("texts.json");

/// Bundled expressions, shared by all pipelines of the process because parsing them takes a while.
static SHARED: LazyLock<Mutex<Option<Arc<Agents>>>> = LazyLock::new(|| Mutex::new(None));

struct UserAgent {
    agents: Arc<Agents>,
    source: FieldRef,
    target: Option<FieldRef>,
    prefix: String,
    ecs: bool,
    cache_size: CacheSize,
    /// Target of the parts of versions, `[@metadata][filter][user_agent]` as in Logstash; set only if a pipeline can
    /// read it.
    metadata: Option<FieldRef>,
    cache: unsync::Cache<Box<str>, Arc<Description>>,
    /// Cache of all workers, used after a miss in the worker's own one.
    shared: Arc<sync::Cache<Box<str>, Arc<Description>>>,
}

pub fn compile(args: &Args, compiler: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let ecs = compiler.ecs(args) != EcsCompatibility::Disabled;
    let source = field_option(args, "source", &mut problems);
    let mut target = field_option(args, "target", &mut problems);
    if target.is_none() && ecs {
        target = Some(FieldRef::from_names(["user_agent"]).lasting());
    }
    if let (Some(target), true) = (&target, ecs) {
        // Lasting field references have slots of their own, so that the fields are set without a search.
        for path in
            [&["name"][..], &["version"], &["os", "name"], &["os", "version"], &["os", "full"], &["device", "name"]]
        {
            path.iter().fold(target.clone(), |field, name| field.child(name)).lasting();
        }
    }
    let agents = match args.text("regexes") {
        None => bundled(),
        Some(path) => std::fs::read_to_string(compiler.path(&path))
            .map_err(|error| format!("`{path}` can't be read: {error}"))
            .and_then(|text| {
                let agents = Agents::read(&text)?;
                agents.check()?;
                Ok(Arc::new(agents))
            }),
    };
    let agents = agents.map_err(|message| problems.push(Diagnostic::error(args.span_of("regexes"), message)));
    match (source, agents) {
        (Some(source), Ok(agents)) if problems.is_empty() => {
            let cache_size = compiler.cache_size(args, "lru_cache_size");
            Ok(Box::new(UserAgent {
                agents,
                source,
                target,
                prefix: args.required_text("prefix"),
                ecs,
                metadata: (ecs && compiler.metadata_visible)
                    .then(|| FieldRef::from_names(["@metadata", "filter", "user_agent"])),
                cache_size,
                cache: unsync::Cache::new(cache_size.entries),
                shared: Arc::new(sync::Cache::new(cache_size.entries)),
            }))
        }
        _ => Err(problems),
    }
}

fn bundled() -> Result<Arc<Agents>, String> {
    let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(agents) = shared.as_ref() {
        return Ok(Arc::clone(agents));
    }
    let agents = Arc::new(Agents::read_prepared(BUNDLED, BUNDLED_TEXTS)?);
    *shared = Some(Arc::clone(&agents));
    Ok(agents)
}

/// Parses the bundled expressions in the background, while the other filters of a pipeline are compiled.
pub(crate) fn prepare() {
    // A filter that needs them waits for this thread or, if it could not be started, parses them itself.
    let _ = std::thread::Builder::new().name("logproc-agents".to_string()).spawn(bundled);
}

/// Bytes for the expressions.
const EXPRESSIONS: usize = 4 << 20;
/// Bytes per user agent in the shared cache, including its fields.
const REMEMBERED: usize = 640;
/// Bytes per user agent in a worker's cache.
const REMEMBERED_ALONE: usize = 288;

impl Filter for UserAgent {
    fn footprint(&self) -> Footprint {
        let caches = self.cache_size.footprint(REMEMBERED, REMEMBERED_ALONE);
        Footprint { shared: EXPRESSIONS + caches.shared, ..caches }
    }

    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        let value = match event.get(&self.source) {
            Some(Value::Array(list)) => event.loaded_values(list).first().copied(),
            value => value,
        };
        let Some(Value::Str(text) | Value::Plain(text)) = value else { return Flow::Passed };
        if text.is_empty() {
            return Flow::Passed;
        }
        let agent = event.str(text);
        let merged = match self.cache.get(agent) {
            Some(description) => self.put(event, description),
            None if agent.len() > LONGEST_CACHED => self.put(event, &self.describe(agent)),
            None => {
                let description = self.shared.get(agent).unwrap_or_else(|| {
                    let description = Arc::new(self.describe(agent));
                    self.shared.insert(agent.into(), Arc::clone(&description));
                    description
                });
                self.cache.insert(agent.into(), Arc::clone(&description));
                self.put(event, &description)
            }
        };
        if merged.is_err() {
            context.fail(event, &["_useragent_error".to_string()]);
            return Flow::Passed;
        }
        Flow::Matched
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(UserAgent {
            agents: Arc::clone(&self.agents),
            source: self.source.clone(),
            target: self.target.clone(),
            prefix: self.prefix.clone(),
            ecs: self.ecs,
            metadata: self.metadata.clone(),
            cache_size: self.cache_size,
            cache: unsync::Cache::new(self.cache_size.entries),
            shared: Arc::clone(&self.shared),
        })
    }
}

/// A writer of the JSON object with a user agent's fields.
struct Writer {
    json: Vec<u8>,
    depth_has_field: bool,
}

impl Writer {
    fn finish(mut self, target: Option<&FieldRef>) -> Fragment {
        self.json.push(b'}');
        // Only valid UTF-8 was appended.
        Fragment::new(&String::from_utf8(self.json).unwrap_or_default(), target)
    }

    fn field(&mut self, prefix: &str, name: &str, value: &str) {
        self.key(prefix, name);
        write_string(value, &mut self.json);
    }

    fn key(&mut self, prefix: &str, name: &str) {
        if std::mem::replace(&mut self.depth_has_field, true) {
            self.json.push(b',');
        }
        write_string(&format!("{prefix}{name}"), &mut self.json);
        self.json.push(b':');
    }

    fn object(&mut self, name: &str, fields: &[(&str, Option<String>)]) {
        if fields.iter().all(|(_, value)| value.is_none()) {
            return;
        }
        self.key("", name);
        self.json.push(b'{');
        self.depth_has_field = false;
        for (name, value) in fields {
            if let Some(value) = value {
                self.field("", name, value);
            }
        }
        self.json.push(b'}');
        self.depth_has_field = true;
    }
}

/// Returns the parts of a version joined by dots, up to the first missing one.
fn joined<'a>(parts: &[Option<&'a str>]) -> Option<String> {
    let present: Vec<&'a str> = parts.iter().map_while(|part| part.filter(|part| !part.is_empty())).collect();
    (!present.is_empty()).then(|| present.join("."))
}

impl UserAgent {
    /// Returns the fields of a user agent as a JSON object.
    fn describe(&self, agent: &str) -> Description {
        let (browser, system, device) = self.agents.extract(agent);
        let browser_parts: [Option<&str>; 4] = match &browser {
            Some(found) => [found.major, found.minor, found.patch, found.patch_minor]
                .map(|part| part.filter(|part| !part.is_empty())),
            None => [None; 4],
        };
        let system_parts: [Option<&str>; 4] = match &system {
            Some(found) => {
                [found.major.as_deref(), found.minor.as_deref(), found.patch.as_deref(), found.patch_minor.as_deref()]
                    .map(|part| part.filter(|part| !part.is_empty()))
            }
            None => [None; 4],
        };
        let browser_name = browser.as_ref().map_or("Other", |found| &*found.family);
        let system_name = system.as_ref().map_or("Other", |found| &*found.os);
        let device_name = device.as_ref().map_or("Other", |found| &*found.device);
        let version = joined(&browser_parts);
        // If a system's version starts with a word (`RT 8`), Logstash joins the remaining parts with a space.
        let system_version = match system_parts[0].filter(|major| !major.starts_with(|c: char| c.is_ascii_digit())) {
            Some(major) => {
                Some(joined(&system_parts[1..]).map_or(major.to_string(), |minor| format!("{major} {minor}")))
            }
            None => joined(&system_parts),
        };
        let system_full = match &system_version {
            Some(version) => format!("{system_name} {version}"),
            None => system_name.to_string(),
        };
        let mut fragment = Writer { json: vec![b'{'], depth_has_field: false };
        if self.ecs {
            fragment.field("", "name", browser_name);
            if let Some(version) = &version {
                fragment.field("", "version", version);
            }
            let named = |name: &str| Some(name.to_string());
            fragment.object(
                "os",
                &[("name", named(system_name)), ("version", system_version), ("full", Some(system_full))],
            );
            fragment.object("device", &[("name", named(device_name))]);
        } else {
            let prefix = self.prefix.as_str();
            fragment.field(prefix, "name", browser_name);
            fragment.field(prefix, "os", system_name);
            fragment.field(prefix, "os_name", system_name);
            fragment.field(prefix, "os_full", &system_full);
            fragment.field(prefix, "device", device_name);
            let system_fields = ["os_major", "os_minor", "os_patch"];
            let browser_fields = ["major", "minor", "patch"];
            for (names, parts) in [(system_fields, system_parts), (browser_fields, browser_parts)] {
                for (name, part) in names.into_iter().zip(parts) {
                    if let Some(part) = part {
                        fragment.field(prefix, name, part);
                    }
                }
            }
            if let Some(version) = &system_version {
                fragment.field(prefix, "os_version", version);
            }
            if let Some(version) = &version {
                fragment.field(prefix, "version", version);
            }
        }
        let metadata = self.metadata.as_ref().and_then(|_| metadata_of(browser_parts, system_parts));
        Description { fields: fragment.finish(self.target.as_ref()), metadata }
    }

    fn put(&self, event: &mut Event, description: &Description) -> Result<(), NotAnObject> {
        match &self.target {
            // Without ECS the fields form one object that replaces the target.
            Some(target) if !self.ecs => {
                let fields = event.push_str(description.fields.json());
                event.set(target, Value::Raw(fields))?;
            }
            target => event.merge(target.as_ref(), &description.fields)?,
        }
        match &description.metadata {
            Some(metadata) => event.merge(self.metadata.as_ref(), metadata),
            None => Ok(()),
        }
    }
}

/// Returns the parts of both versions, as Logstash stores them in `[@metadata]` with ECS.
fn metadata_of(browser: [Option<&str>; 4], system: [Option<&str>; 4]) -> Option<Fragment> {
    let parts = |parts: [Option<&str>; 4]| {
        let named = ["major", "minor", "patch"].into_iter().zip(parts);
        named.filter_map(|(name, part)| Some((name, serde_json::Value::from(part?)))).collect::<Vec<_>>()
    };
    let mut object = serde_json::Map::new();
    let object_of = |parts: Vec<(&str, serde_json::Value)>| {
        serde_json::Value::Object(parts.into_iter().map(|(name, part)| (name.to_string(), part)).collect())
    };
    let (browser, system) = (parts(browser), parts(system));
    if !browser.is_empty() {
        object.insert("version".to_string(), object_of(browser));
    }
    if !system.is_empty() {
        object.insert("os".to_string(), serde_json::json!({ "version": object_of(system) }));
    }
    (!object.is_empty()).then(|| Fragment::new(&serde_json::Value::Object(object).to_string(), None))
}
