//! Filters: what can happen to an event, one file each.
//!
//! A filter lists its options in a [`ComponentDef`], is compiled from [`Args`] once, and is then forked for each worker,
//! so that running it needs no lock: what is immutable is shared behind an `Arc`, caches and scratch space are the
//! worker's own. Adding a filter is its file and one line in [`FILTERS`].
//!
//! Every filter also takes Logstash's common options ([`COMMON_OPTIONS`]), which apply only where the filter succeeded.

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use crate::config::fields::{field_option, field_options, parse_field, parse_template};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, OptionDef, option};
use crate::event::{Event, Timestamp};
use crate::grok::EcsCompatibility;
use crate::memory::{Footprint, scaled};

mod bytes;
mod cidr;
mod clone;
pub mod common;
mod csv;
mod date;
mod de_dot;
mod dissect;
mod drop;
mod fingerprint;
mod geoip;
mod grok;
mod json;
mod kv;
mod mutate;
mod noop;
mod prune;
mod reload;
mod ruby;
mod sample;
mod split;
mod syslog_pri;
mod throttle;
mod translate;
mod truncate;
mod urldecode;
mod urlparse;
pub(crate) mod useragent;
mod uuid;

/// What became of an event in a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The filter did its work: its common options apply.
    Matched,
    /// The filter had nothing to do, or failed and tagged the event: its common options do not apply.
    Passed,
    /// The event ends here, on purpose.
    Drop,
}

/// What a running filter may use beside the event.
#[derive(Debug)]
pub struct Context {
    /// The time of the batch, so that no filter reads a clock per event.
    pub now: Timestamp,
    /// State of a small pseudo-random generator, for sampling.
    pub random: u64,
    /// Failures of the filter that is running, counted by the program.
    pub failures: u64,
    /// Events that the filter made; they go on after it.
    pub spawned: Vec<Event>,
}

impl Context {
    /// A context at a point in time.
    pub fn new(now: Timestamp, seed: u64) -> Context {
        Context { now, random: seed | 1, failures: 0, spawned: Vec::new() }
    }

    /// Tags the event and counts the failure.
    pub fn fail(&mut self, event: &mut Event, tags: &[String]) {
        self.failures += 1;
        for tag in tags {
            event.tag(tag);
        }
    }

    /// A number from 0 up to but not including 1 (xorshift64*).
    pub fn random_fraction(&mut self) -> f64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A compiled filter, as one worker runs it.
pub trait Filter: Send + Sync {
    /// Works on one event.
    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow;

    /// The same filter for another worker.
    fn fork(&self) -> Box<dyn Filter>;

    /// Whether it makes further events of one.
    fn makes_events(&self) -> bool {
        false
    }

    /// Whether it is told of events before it is run on them, where there are several.
    fn approaches(&self) -> bool {
        false
    }

    /// Looks at what running the filter on each of a few events will need from memory that is far away, and changes nothing: what one event
    /// waits for so comes at the same time as what the others do.
    fn approach(&mut self, _events: &[&Event]) {}

    /// Returns the memory that the filter takes at most, caches included, where it is more than a few KiB.
    fn footprint(&self) -> Footprint {
        Footprint::default()
    }

    /// Called between batches: the place to notice that a database or dictionary file has changed.
    fn between_batches(&mut self) {}
}

/// What a filter may need while it is compiled.
pub struct Compiler {
    /// The dictionary and field names to use where the filter does not say.
    pub ecs_compatibility: EcsCompatibility,
    /// Relative paths start here: the folder of the pipeline file.
    pub folder: PathBuf,
    /// Whether the pipeline can see what a filter leaves in `[@metadata]` on its own account.
    pub metadata_visible: bool,
    /// Caches are smaller where this is less than the default.
    pub memory_limit: usize,
    /// Warnings found on the way.
    pub warnings: Vec<Diagnostic>,
}

impl Compiler {
    /// The filter's own `ecs_compatibility`, or the pipeline's.
    pub fn ecs(&self, args: &Args) -> EcsCompatibility {
        match args.text("ecs_compatibility").as_deref() {
            Some("disabled") => EcsCompatibility::Disabled,
            Some("v1") => EcsCompatibility::V1,
            Some("v8") => EcsCompatibility::V8,
            _ => self.ecs_compatibility,
        }
    }

    /// Returns the size of a cache: what the user has set or, with the default of the option, one that follows `memory_limit`.
    pub fn cache_size(&self, args: &Args, name: &str) -> CacheSize {
        let most = args.integer(name).and_then(|size| usize::try_from(size).ok()).unwrap_or(0).max(1);
        match args.is_given(name) {
            true => CacheSize::fixed(most),
            false => CacheSize { entries: scaled(most, self.memory_limit).max(1), most, is_scaled: true },
        }
    }

    /// A path as the pipeline file means it.
    pub fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }
}

/// The size of a cache.
#[derive(Clone, Copy, Debug)]
pub struct CacheSize {
    /// The number of entries.
    pub entries: usize,
    /// The number of entries where memory is not scarce.
    most: usize,
    /// Whether the size follows `memory_limit`.
    is_scaled: bool,
}

impl CacheSize {
    /// A size that the user has set.
    pub fn fixed(entries: usize) -> CacheSize {
        CacheSize { entries, most: entries, is_scaled: false }
    }

    /// Returns the memory of caches with this many bytes for each entry.
    fn footprint(self, shared: usize, each_worker: usize) -> Footprint {
        let (shared, each_worker) = (self.most * shared, self.most * each_worker);
        match self.is_scaled {
            true => Footprint { shared_caches: shared, worker_caches: each_worker, ..Footprint::default() },
            false => Footprint { shared, each_worker, ..Footprint::default() },
        }
    }
}

/// The result of compiling a component.
pub type Compiled = Result<Box<dyn Filter>, Vec<Diagnostic>>;

/// A kind of filter: its definition and how it is compiled.
pub struct FilterDef {
    /// Name, options, example.
    pub component: ComponentDef,
    /// From checked options to a filter.
    pub compile: fn(&Args, &mut Compiler) -> Compiled,
}

/// Every filter there is, by name.
pub static FILTERS: &[FilterDef] = &[
    FilterDef { component: bytes::DEF, compile: bytes::compile },
    FilterDef { component: cidr::DEF, compile: cidr::compile },
    FilterDef { component: clone::DEF, compile: clone::compile },
    FilterDef { component: csv::DEF, compile: csv::compile },
    FilterDef { component: date::DEF, compile: date::compile },
    FilterDef { component: de_dot::DEF, compile: de_dot::compile },
    FilterDef { component: dissect::DEF, compile: dissect::compile },
    FilterDef { component: drop::DEF, compile: drop::compile },
    FilterDef { component: fingerprint::DEF, compile: fingerprint::compile },
    FilterDef { component: geoip::DEF, compile: geoip::compile },
    FilterDef { component: grok::DEF, compile: grok::compile },
    FilterDef { component: json::DEF, compile: json::compile },
    FilterDef { component: kv::DEF, compile: kv::compile },
    FilterDef { component: mutate::DEF, compile: mutate::compile },
    FilterDef { component: noop::DEF, compile: noop::compile },
    FilterDef { component: prune::DEF, compile: prune::compile },
    FilterDef { component: sample::DEF, compile: sample::compile },
    FilterDef { component: split::DEF, compile: split::compile },
    FilterDef { component: syslog_pri::DEF, compile: syslog_pri::compile },
    FilterDef { component: throttle::DEF, compile: throttle::compile },
    FilterDef { component: translate::DEF, compile: translate::compile },
    FilterDef { component: truncate::DEF, compile: truncate::compile },
    FilterDef { component: urldecode::DEF, compile: urldecode::compile },
    FilterDef { component: urlparse::DEF, compile: urlparse::compile },
    FilterDef { component: useragent::DEF, compile: useragent::compile },
    FilterDef { component: uuid::DEF, compile: uuid::compile },
];

/// The filter of a name.
pub fn find(name: &str) -> Option<&'static FilterDef> {
    FILTERS.iter().find(|def| def.component.name == name)
}

/// Options that every filter takes.
pub const COMMON_OPTIONS: &[OptionDef] = &[
    option(
        "id",
        Kind::String,
        Fallback::None,
        "Names the filter in metrics, logs and explanations; by default its type and place.",
    ),
    option(
        "add_field",
        Kind::Hash,
        Fallback::None,
        "Fields to add when the filter succeeds; names and values may hold `%{[field]}`. Added to what a field already holds.",
    ),
    option("remove_field", Kind::Strings, Fallback::None, "Fields to remove when the filter succeeds."),
    option("add_tag", Kind::Strings, Fallback::None, "Tags to add when the filter succeeds."),
    option("remove_tag", Kind::Strings, Fallback::None, "Tags to remove when the filter succeeds."),
    option("enable_metric", Kind::Boolean, Fallback::Boolean(true), "Whether the filter is counted in the metrics."),
    option(
        "periodic_flush",
        Kind::Boolean,
        Fallback::Boolean(false),
        "Accepted for Logstash's sake; no filter here holds events back.",
    ),
];

/// Row of an options table that several filters share.
pub const ECS_OPTION: OptionDef = option(
    "ecs_compatibility",
    Kind::Enum(&["disabled", "v1", "v8"]),
    Fallback::None,
    "Which field names the filter uses: Logstash's legacy ones or those of the Elastic Common Schema. The pipeline's `ecs_compatibility` by default.",
);

/// `refresh_interval` in seconds, of which none or fewer means never.
pub(crate) fn refresh_interval(args: &Args) -> Option<Duration> {
    let seconds = args.integer("refresh_interval").and_then(|seconds| u64::try_from(seconds).ok());
    seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs)
}
