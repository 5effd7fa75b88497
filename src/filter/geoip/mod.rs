//! The `geoip` filter: location and network owner of an IP address.
//!
//! Addresses repeat, so results are cached as finished JSON, shared by all workers (`known`); a hit costs one lookup
//! and one copy. Many addresses share a record, so that a new address often needs no record to be read and printed. If
//! it does, `tree` finds the record, `record` reads it in one pass, and `describe` prints it. A private or unknown
//! address is not fatal: the event is tagged and passed on.

mod database;
mod describe;
mod fields;
mod known;
mod mapped;
mod recent;
mod record;
mod special;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use self::database::Database;
use self::describe::Describer;
use self::fields::GeoField;
use self::known::{Code, Known, Packed};
use self::recent::{Key, Recent};
use super::{CacheSize, Compiled, Compiler, Context, ECS_OPTION, Filter, Flow, field_option};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, Span, option};
use crate::event::{Event, FieldRef, Fragment, Value};
use crate::grok::EcsCompatibility;
use crate::memory::Footprint;

pub const DEF: ComponentDef = ComponentDef {
    name: "geoip",
    summary: "Adds what MaxMind-format databases know of an IP address: place, network owner, and more.",
    options: &[
        option(
            "source",
            Kind::Field,
            Fallback::Required,
            "The field that holds the address; of a list, its first element.",
        ),
        option(
            "target",
            Kind::Field,
            Fallback::None,
            "Where the fields go. By default `geoip` without ECS; with ECS the parent of a source named `[…][ip]`.",
        ),
        option(
            "database",
            Kind::Strings,
            Fallback::Required,
            "Database files, or folders of them (`*.mmdb`); several are asked in turn and what they know is put together. One text may name several, separated by commas. A file that is replaced (by renaming) is opened again.",
        ),
        option(
            "default_database_type",
            Kind::Enum(&["City", "ASN"]),
            Fallback::Text("City"),
            "Accepted for Logstash's sake; the type is read from the database.",
        ),
        option(
            "fields",
            Kind::Strings,
            Fallback::None,
            "The fields to add, by Logstash's names (`city_name`, `country_code2`, `location`, …); by default those Logstash gives for the type of database.",
        ),
        option(
            "cache_size",
            Kind::Integer(1, 100_000_000),
            Fallback::Integer(50_000),
            "IPv4 addresses that are remembered, rounded up to a power of two; of IPv6 each worker remembers up to as many. By default fewer where `memory_limit` is below 256 MiB.",
        ),
        option(
            "tag_on_failure",
            Kind::Strings,
            Fallback::List(&["_geoip_lookup_failure"]),
            "Tags for an event whose address is unknown or none.",
        ),
        option(
            "allow_special",
            Kind::Boolean,
            Fallback::Boolean(false),
            "Whether an address that is in no database because it is no public one (private, loopback, link-local, documentation, multicast, reserved) is no failure: no tag, and not counted.",
        ),
        ECS_OPTION,
    ],
    example: r#"
[[filter]]
type = "geoip"
source = "[source][ip]"
database = ["geoip/GeoLite2-City-Test.mmdb", "geoip/GeoLite2-ASN-Test.mmdb"]

[[test]]
event = { source = { ip = "81.2.69.144" } }
expect = { "[source][geo][city_name]" = "London" }
"#,
};

/// Maximum number of events whose addresses are looked up together.
const TOGETHER: usize = 16;

/// State that is the same for all workers.
struct Options {
    source: FieldRef,
    target: FieldRef,
    databases: Vec<Database>,
    fields: Option<Vec<GeoField>>,
    tag_on_failure: Vec<String>,
    allow_special: bool,
    ecs: bool,
    cache_size: CacheSize,
    /// Cache for workers that start, or switch to a replaced database.
    known: Mutex<Option<Arc<Known>>>,
}

struct GeoIp {
    options: Arc<Options>,
    known: Arc<Known>,
    /// IDs of IPv6 addresses.
    v6: Recent<Code>,
    describer: Describer,
    /// Scratch buffer for the offsets of the current addresses' records.
    records: Vec<Option<usize>>,
    /// IPv4 addresses of the next events, in order, with the IDs of their information.
    coming: VecDeque<(Packed, Code)>,
    /// Number of times the cache was replaced.
    turns: u64,
    generation: u64,
}

pub fn compile(args: &Args, compiler: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let ecs = compiler.ecs(args) != EcsCompatibility::Disabled;
    let source = field_option(args, "source", &mut problems);
    let mut target = field_option(args, "target", &mut problems);
    if target.is_none() && !args.is_given("target") {
        target = match (&source, ecs) {
            (_, false) => Some(FieldRef::from_names(["geoip"]).lasting()),
            (Some(source), true) => parent_of_ip(source),
            (None, true) => None,
        };
        if target.is_none() && source.is_some() {
            problems.push(
                Diagnostic::error(
                    args.span_of("source"),
                    "with ECS, `geoip` needs a `target` unless its source is named `[…][ip]`",
                )
                .with_help(
                    "give it a `target`, or take the names from before ECS with `ecs_compatibility = \"disabled\"`",
                ),
            );
        }
    }
    let span = args.span_of("database");
    let mut databases = Vec::new();
    for text in args.strings("database") {
        for path in text.split(',').map(str::trim).filter(|path| !path.is_empty()) {
            for file in files_of(&compiler.path(path)) {
                match Database::open(&file) {
                    Ok(database) => databases.push(database),
                    Err(message) => problems.push(Diagnostic::error(span, message)),
                }
            }
        }
    }
    if databases.is_empty() && problems.is_empty() {
        problems.push(Diagnostic::error(span, "no database is named, or the folder holds none"));
    }
    warn_of_test_data(&databases, span, compiler);
    let fields = args.is_given("fields").then(|| {
        let known = args.strings("fields").into_iter().filter_map(|name| match GeoField::named(&name) {
            Some(field) => Some(field),
            None => {
                problems.push(Diagnostic::error(
                    args.span_of("fields"),
                    format!("`{name}` is not a field of geo databases"),
                ));
                None
            }
        });
        known.collect::<Vec<GeoField>>()
    });
    match (source, target) {
        (Some(source), Some(target)) if problems.is_empty() => {
            for name in fields::names(ecs) {
                // Lasting field references have slots of their own, so that the fields are set without a search.
                target.child(name).lasting();
            }
            let cache_size = compiler.cache_size(args, "cache_size");
            let tag_on_failure = args.strings("tag_on_failure");
            let allow_special = args.flag("allow_special");
            let known = Mutex::default();
            let options =
                Options { source, target, databases, fields, tag_on_failure, allow_special, ecs, cache_size, known };
            Ok(Box::new(GeoIp::new(Arc::new(options))))
        }
        _ => Err(problems),
    }
}

fn parent_of_ip(source: &FieldRef) -> Option<FieldRef> {
    let (last, parents) = source.path.split_last()?;
    if &*last.name != "ip" || parents.is_empty() {
        return None;
    }
    Some(source.prefix(parents.len()).lasting())
}

/// Warns if databases are those that MaxMind publishes for tests.
fn warn_of_test_data(databases: &[Database], span: Span, compiler: &mut Compiler) {
    let names: Vec<String> = databases
        .iter()
        .filter(|database| database.current().is_for_tests())
        .map(|database| format!("`{}`", database.path().display()))
        .collect();
    if !names.is_empty() {
        let message = format!(
            "MaxMind's test data is in use ({}): it is made up, and most addresses are not in it",
            names.join(", ")
        );
        let help = "name a real database: GeoLite2 is free with an account at maxmind.com, and `geoipupdate` fetches it and keeps it current";
        compiler.warnings.push(Diagnostic::warning(span, message).with_help(help));
    }
}

/// Returns the path itself or, for a folder, the databases in it in the order of their names.
fn files_of(path: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return vec![path.to_path_buf()] };
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "mmdb"))
        .collect();
    files.sort();
    files
}

/// Bytes per cached IPv4 address: its word, and its share of the information, which many addresses have in common.
const REMEMBERED: usize = 192;
/// Bytes per IPv6 address that a worker caches.
const REMEMBERED_V6: usize = 32;

impl Filter for GeoIp {
    fn footprint(&self) -> Footprint {
        // The table is rounded up to at most twice the requested size, and most of it is filled.
        self.options.cache_size.footprint(2 * REMEMBERED, REMEMBERED_V6)
    }

    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        let value = match event.get(&self.options.source) {
            Some(Value::Array(list)) => event.loaded_values(list).first().copied(),
            value => value,
        };
        let text = value.and_then(|value| event.as_str(value)).unwrap_or("");
        if text.is_empty() {
            context.fail(event, &self.options.tag_on_failure);
            return Flow::Passed;
        }
        let packed = Packed::new(text.as_bytes());
        let code = match packed.and_then(|packed| self.code_of_v4(packed)) {
            Some(code) => code,
            None => match text.parse() {
                Ok(address) => self.code_of_v6(address),
                Err(_) => return self.failed(event, context),
            },
        };
        match self.known.fact(code) {
            Some(fact) if event.merge(Some(&self.options.target), fact).is_ok() => Flow::Matched,
            None if self.options.allow_special
                && value.and_then(|value| event.as_str(value)).is_some_and(special::is_special) =>
            {
                Flow::Passed
            }
            _ => self.failed(event, context),
        }
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(GeoIp::new(Arc::clone(&self.options)))
    }

    fn approaches(&self) -> bool {
        true
    }

    /// Runs in steps for all events of a group, each of which prefetches what the next one needs: the set of an
    /// address, its information, and its text; or, for an address that is not cached, the start of the database lookup,
    /// and the records found.
    fn approach(&mut self, events: &[&Event]) {
        self.coming.clear();
        for events in events.chunks(TOGETHER) {
            let mut sought = [None; TOGETHER];
            for (sought, event) in sought.iter_mut().zip(events) {
                let text =
                    event.value_at_once(&self.options.source).flatten().and_then(|value| event.text_bytes(value));
                let Some((packed, address)) =
                    text.and_then(Packed::new).and_then(|packed| Some((packed, packed.address()?)))
                else {
                    continue;
                };
                self.known.approach(address);
                *sought = Some((packed, address, None));
            }
            for (_, address, code) in sought.iter_mut().flatten() {
                *code = self.known.get(*address);
                match *code {
                    Some(code) => self.known.approach_fact(code),
                    None => self.describer.fetch_starts(Ipv4Addr::from_bits(*address)),
                }
            }
            for (_, address, code) in sought.iter().flatten() {
                match *code {
                    Some(code) => self.known.fact(code).into_iter().for_each(Fragment::approach),
                    None => self.describer.fetch_nodes(Ipv4Addr::from_bits(*address)),
                }
            }
            let turns = self.turns;
            self.find_strangers(&mut sought);
            // IDs from before a replacement of the cache are invalid.
            if turns == self.turns {
                self.coming.extend(sought.iter().flatten().filter_map(|(packed, _, code)| Some((*packed, (*code)?))));
            }
        }
    }

    fn between_batches(&mut self) {
        for database in &self.options.databases {
            database.refresh();
        }
        if self.generation != self.current_generation() {
            self.take_current();
        }
        self.share();
    }
}

/// Returns the key of an IPv6 address.
fn key_of_address(address: Ipv6Addr) -> Key {
    let bits = address.to_bits();
    ((bits >> 64) as u64, bits as u64, 1)
}

/// Returns the key of the records of all databases, if there are at most four and all offsets are below 4 GiB.
fn key_of_records(records: &[Option<usize>]) -> Option<Key> {
    let mut parts = [0; 4];
    for (number, record) in records.iter().enumerate() {
        let part = record.map_or(Some(0), |at| u32::try_from(at + 1).ok())?;
        *parts.get_mut(number)? = u64::from(part);
    }
    Some((parts[0] | parts[1] << 32, parts[2] | parts[3] << 32, 1))
}

impl GeoIp {
    fn new(options: Arc<Options>) -> GeoIp {
        let mut filter = GeoIp {
            known: Arc::new(Known::new(Vec::new(), 1)),
            v6: Recent::new(options.cache_size.entries),
            describer: Describer::new(&[], None, options.ecs),
            records: Vec::new(),
            coming: VecDeque::new(),
            turns: 0,
            generation: 0,
            options,
        };
        filter.take_current();
        filter
    }

    fn current_generation(&self) -> u64 {
        self.options.databases.iter().map(Database::generation).sum()
    }

    /// Switches to the current versions of the databases.
    fn take_current(&mut self) {
        self.generation = self.current_generation();
        let options = Arc::clone(&self.options);
        let opened: Vec<_> = options.databases.iter().map(Database::current).collect();
        self.describer = Describer::new(&opened, options.fields.as_deref(), options.ecs);
        let mut shared = options.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = shared
            .take()
            .filter(|known| known.is_of(&opened))
            .unwrap_or_else(|| Arc::new(Known::new(opened, options.cache_size.entries)));
        *shared = Some(Arc::clone(&known));
        self.turn_to(known);
    }

    fn turn_to(&mut self, known: Arc<Known>) {
        self.known = known;
        self.v6 = Recent::new(self.options.cache_size.entries);
        self.coming.clear();
        self.turns += 1;
    }

    /// Switches to the cache that other workers have replaced, if it belongs to the same databases.
    fn share(&mut self) {
        let shared = self.options.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(shared) =
            shared.filter(|shared| !Arc::ptr_eq(shared, &self.known) && shared.is_of(self.known.opened()))
        {
            self.turn_to(shared);
        }
    }

    /// Tags the event and, like Logstash, sets the target to an empty object if it does not exist.
    fn failed(&self, event: &mut Event, context: &mut Context) -> Flow {
        if !event.contains(&self.options.target) {
            let empty = event.new_list();
            // This fails if an element of the path has a scalar value; the target then stays absent.
            let _ = event.set(&self.options.target, Value::Object(empty));
        }
        context.fail(event, &self.options.tag_on_failure);
        Flow::Passed
    }

    /// Returns the ID of an IPv4 address's information, if the text is one.
    #[inline]
    fn code_of_v4(&mut self, text: Packed) -> Option<Code> {
        if let Some((packed, code)) = self.coming.front().copied()
            && packed == text
        {
            self.coming.pop_front();
            return Some(code);
        }
        let address = text.address()?;
        Some(self.known.get(address).unwrap_or_else(|| {
            let code = self.find(Ipv4Addr::from_bits(address).into());
            self.known.put(address, code);
            code
        }))
    }

    fn code_of_v6(&mut self, address: Ipv6Addr) -> Code {
        let key = key_of_address(address);
        if let Some(code) = self.v6.get(&key) {
            return *code;
        }
        let code = self.find(address.into());
        self.v6.insert(key, code);
        code
    }

    /// Looks up all addresses that are not cached: first the records of all of them, which are then prefetched
    /// together.
    fn find_strangers(&mut self, sought: &mut [Option<(Packed, u32, Option<Code>)>]) {
        let mut records = std::mem::take(&mut self.records);
        records.clear();
        for (_, address, _) in sought.iter().flatten().filter(|(_, _, code)| code.is_none()) {
            self.describer.records_of(Ipv4Addr::from_bits(*address).into(), &mut records);
        }
        self.describer.fetch_records(&records);
        let strangers = sought.iter_mut().flatten().filter(|(_, _, code)| code.is_none());
        for ((_, address, code), records) in strangers.zip(records.chunks(self.options.databases.len())) {
            let found = self.code_of(Ipv4Addr::from_bits(*address).into(), records);
            self.known.put(*address, found);
            *code = Some(found);
        }
        self.records = records;
    }

    /// Looks up an address in the databases and returns the ID of its information.
    fn find(&mut self, address: IpAddr) -> Code {
        let mut records = std::mem::take(&mut self.records);
        records.clear();
        self.describer.records_of(address, &mut records);
        let code = self.code_of(address, &records);
        self.records = records;
        code
    }

    /// Returns the ID of the information about an address whose records are already known.
    fn code_of(&mut self, address: IpAddr, records: &[Option<usize>]) -> Code {
        let shared =
            self.options.fields.as_ref().is_some_and(|fields| !fields.iter().any(|field| field.is_of_address()));
        let key = key_of_records(records).filter(|_| shared);
        if let Some(code) = key.and_then(|key| self.known.by_records(&key)) {
            return code;
        }
        let code = match self.describer.describe(address, records) {
            Some(json) => {
                let fact = Fragment::new(json, Some(&self.options.target));
                self.known.add(fact).unwrap_or_else(|fact| self.begin_anew(fact))
            }
            None => Code::NOTHING,
        };
        if let Some(key) = key {
            self.known.put_records(key, code);
        }
        code
    }

    /// Handles a full cache: switches to the replacement made by another worker, or replaces it for all workers, and
    /// stores `fact`.
    fn begin_anew(&mut self, fact: Fragment) -> Code {
        self.share();
        self.known.add(fact).unwrap_or_else(|fact| {
            let known = Arc::new(Known::new(self.known.opened().to_vec(), self.options.cache_size.entries));
            let code = known.add(fact).unwrap_or(Code::NOTHING);
            *self.options.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&known));
            self.turn_to(known);
            code
        })
    }
}
