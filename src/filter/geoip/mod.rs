//! `geoip`: where an address is, and whose it is.
//!
//! Addresses repeat, so each worker keeps a bounded cache (`recent`) from address to the finished JSON fragment of its fields; a
//! hit costs a hash and a copy. Behind it is a second cache by the databases' records, which many addresses share, so
//! that a new address need not mean reading and printing a record. Where it does, `tree` finds the record, `record` reads it in
//! one pass, and `describe` prints it. A private or unknown address fails nothing: the event is tagged and goes on.

mod database;
mod describe;
mod fields;
mod mapped;
mod recent;
mod record;
mod tree;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use self::database::Database;
use self::describe::Describer;
use self::fields::GeoField;
use self::recent::{Key, Recent};
use super::{Compiled, Compiler, Context, ECS_OPTION, Filter, Flow, field_option};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::event::{Event, FieldRef, Fragment, Value};
use crate::grok::EcsCompatibility;
use crate::memory::fetch;

pub const DEF: ComponentDef = ComponentDef {
    name: "geoip",
    summary: "Adds what MaxMind-format databases know of an IP address: place, network owner, and more.",
    options: &[
        option("source", Kind::Field, Fallback::Required, "The field that holds the address; of a list, its first element."),
        option("target", Kind::Field, Fallback::None, "Where the fields go. By default `geoip` without ECS; with ECS the parent of a source named `[…][ip]`."),
        option("database", Kind::Strings, Fallback::Required, "Database files, or folders of them (`*.mmdb`); several are asked in turn and what they know is put together. One text may name several, separated by commas. A file that is replaced (by renaming) is opened again."),
        option("default_database_type", Kind::Enum(&["City", "ASN"]), Fallback::Text("City"), "Accepted for Logstash's sake; the type is read from the database."),
        option("fields", Kind::Strings, Fallback::None, "The fields to add, by Logstash's names (`city_name`, `country_code2`, `location`, …); by default those Logstash gives for the type of database."),
        option("cache_size", Kind::Integer(1, 100_000_000), Fallback::Integer(50_000), "Addresses that each worker remembers; rounded down to a power of two."),
        option("tag_on_failure", Kind::Strings, Fallback::List(&["_geoip_lookup_failure"]), "Tags for an event whose address is unknown or none."),
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

/// What a worker remembers of an address: its fields as JSON, or that nothing is known. Addresses with the same record
/// share the text, so an address that is remembered costs some tens of bytes.
type Known = Option<Arc<Fragment>>;

/// Events whose addresses are looked for side by side.
const TOGETHER: usize = 16;

/// What is the same for all workers.
struct Options {
    source: FieldRef,
    target: FieldRef,
    databases: Vec<Database>,
    fields: Option<Vec<GeoField>>,
    tag_on_failure: Vec<String>,
    ecs: bool,
    cache_size: usize,
}

struct GeoIp {
    options: Arc<Options>,
    by_address: Recent<Known>,
    /// Unused where the address itself is among the fields.
    by_record: Recent<Known>,
    describer: Describer,
    /// Where the databases have their records of the address at hand.
    records: Vec<Option<usize>>,
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
            problems.push(Diagnostic::error(
                args.span_of("source"),
                "with ECS, `geoip` needs a `target` unless its source is named `[…][ip]`",
            ));
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
    let fields = args.is_given("fields").then(|| {
        let known = args.strings("fields").into_iter().filter_map(|name| match GeoField::named(&name) {
            Some(field) => Some(field),
            None => {
                problems.push(Diagnostic::error(args.span_of("fields"), format!("`{name}` is not a field of geo databases")));
                None
            }
        });
        known.collect::<Vec<GeoField>>()
    });
    match (source, target) {
        (Some(source), Some(target)) if problems.is_empty() => {
            for name in fields::names(ecs) {
                // With places of their own, fields are set without a search.
                target.child(name).lasting();
            }
            let cache_size = args.integer("cache_size").unwrap_or(1).max(1) as usize;
            let tag_on_failure = args.strings("tag_on_failure");
            Ok(Box::new(GeoIp::new(Arc::new(Options { source, target, databases, fields, tag_on_failure, ecs, cache_size }))))
        }
        _ => Err(problems),
    }
}

/// Records are fewer than addresses, and larger.
fn records_of(cache_size: usize) -> usize {
    (cache_size / 4).max(1)
}

fn parent_of_ip(source: &FieldRef) -> Option<FieldRef> {
    let (last, parents) = source.path.split_last()?;
    if &*last.name != "ip" || parents.is_empty() {
        return None;
    }
    Some(source.prefix(parents.len()).lasting())
}

/// The path itself, or the databases in it where it is a folder, in the order of their names.
fn files_of(path: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return vec![path.to_path_buf()] };
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "mmdb"))
        .collect();
    files.sort();
    files
}

impl Filter for GeoIp {
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
        let short = key_of_text(text.as_bytes());
        if let Some(known) = short.and_then(|key| self.by_address.get(&key)) {
            return match known {
                Some(fragment) if event.merge(Some(&self.options.target), fragment).is_ok() => Flow::Matched,
                _ => self.failed(event, context),
            };
        }
        let Ok(address) = text.parse::<IpAddr>() else { return self.failed(event, context) };
        let key = short.unwrap_or_else(|| key_of_address(address));
        let known = match self.by_address.get(&key) {
            Some(known) => known.clone(),
            None => {
                let known = self.find(address);
                self.by_address.insert(key, known.clone());
                known
            }
        };
        match known {
            Some(fragment) if event.merge(Some(&self.options.target), &fragment).is_ok() => Flow::Matched,
            _ => self.failed(event, context),
        }
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(GeoIp::new(Arc::clone(&self.options)))
    }

    fn approaches(&self) -> bool {
        true
    }

    /// A step for each event, and then the next one: the places of its address, the fragment that is remembered, its text; or where the
    /// databases begin to look for it.
    fn approach(&mut self, events: &[&Event]) {
        for events in events.chunks(TOGETHER) {
            let mut sought = [None; TOGETHER];
            for (sought, event) in sought.iter_mut().zip(events) {
                let text = event.value_at_once(&self.options.source).flatten().and_then(|value| event.text_bytes(value));
                *sought = text.and_then(key_of_text).map(|key| (key, self.by_address.approach(&key)));
            }
            let (mut strangers, mut count) = ([Ipv4Addr::UNSPECIFIED; TOGETHER], 0);
            let mut known = [None; TOGETHER];
            for ((known, sought), event) in known.iter_mut().zip(&sought).zip(events) {
                let Some((key, start)) = sought else { continue };
                match self.by_address.peek(key, *start) {
                    Some(fragment) => *known = fragment.as_deref(),
                    None => {
                        let value = event.value_at_once(&self.options.source).flatten();
                        if let Some(Ok(address)) = value.and_then(|value| event.as_str(value)).map(str::parse) {
                            self.describer.fetch_starts(address);
                            strangers[count] = address;
                            count += 1;
                        }
                    }
                }
            }
            known.iter().flatten().for_each(|fragment| fetch(*fragment));
            strangers[..count].iter().for_each(|address| self.describer.fetch_nodes(*address));
            known.iter().flatten().for_each(|fragment| fragment.approach());
            // These walks are made again when their turn comes; the second time costs little, and the first ones wait side by side.
            for address in &strangers[..count] {
                self.describer.records_of((*address).into(), &mut self.records);
                self.describer.fetch_records(&self.records);
                key_of_records(&self.records).into_iter().for_each(|key| _ = self.by_record.approach(&key));
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
    }
}

/// The key of a text of 4 to 15 bytes, as all of IPv4 are: itself and its length.
fn key_of_text(bytes: &[u8]) -> Option<Key> {
    let length = bytes.len();
    // Two pieces that overlap are copied faster than one of any length.
    let (low, high) = if let (Some(first), Some(last), true) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>(), length < 16) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last), true) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>(), length < 8) {
        (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)))
    } else {
        return None;
    };
    Some((low, high, length as u8))
}

/// The key of an address whose text is longer.
fn key_of_address(address: IpAddr) -> Key {
    let bits = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    ((bits >> 64) as u64, bits as u64, if address.is_ipv4() { 16 } else { 17 })
}

/// The key of the records of all databases, if there are no more than four and these smaller than 4 GiB.
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
            by_address: Recent::new(options.cache_size),
            by_record: Recent::new(records_of(options.cache_size)),
            describer: Describer::new(&[], None, options.ecs),
            records: Vec::new(),
            generation: 0,
            options,
        };
        filter.take_current();
        filter
    }

    fn current_generation(&self) -> u64 {
        self.options.databases.iter().map(Database::generation).sum()
    }

    fn take_current(&mut self) {
        self.generation = self.current_generation();
        let options = &self.options;
        let opened: Vec<_> = options.databases.iter().map(Database::current).collect();
        self.describer = Describer::new(&opened, options.fields.as_deref(), options.ecs);
        self.by_address = Recent::new(options.cache_size);
        self.by_record = Recent::new(records_of(options.cache_size));
    }

    /// Tags the event and, as Logstash does, leaves an empty object where the fields would have gone.
    fn failed(&self, event: &mut Event, context: &mut Context) -> Flow {
        if !event.contains(&self.options.target) {
            let empty = event.new_list();
            // Where something on the path is a plain value there is no place for it.
            let _ = event.set(&self.options.target, Value::Object(empty));
        }
        context.fail(event, &self.options.tag_on_failure);
        Flow::Passed
    }

    fn find(&mut self, address: IpAddr) -> Known {
        self.describer.records_of(address, &mut self.records);
        let shared = self.options.fields.as_ref().is_some_and(|fields| !fields.iter().any(|field| field.is_of_address()));
        let Some(key) = key_of_records(&self.records).filter(|_| shared) else { return self.describe(address) };
        if let Some(known) = self.by_record.get(&key) {
            return known.clone();
        }
        let known = self.describe(address);
        self.by_record.insert(key, known.clone());
        known
    }

    fn describe(&mut self, address: IpAddr) -> Known {
        let json = self.describer.describe(address, &self.records)?;
        Some(Arc::new(Fragment::new(json, Some(&self.options.target))))
    }
}
