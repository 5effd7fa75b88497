//! `geoip`: where an address is, and whose it is.
//!
//! Addresses repeat, so each worker keeps a bounded cache from address to the finished JSON fragment of its fields; a
//! hit costs a hash and a copy. Behind it is a second cache by the databases' records, which many addresses share, so
//! that a new address rarely means reading and printing a record. A private or unknown address fails nothing: the event
//! is tagged and goes on.

mod database;
mod fields;

use std::net::IpAddr;
use std::sync::Arc;

use quick_cache::unsync::Cache;
use serde_json::{Map, Value as Json};

use self::database::{Database, Opened};
use self::fields::GeoField;
use super::{Compiled, Compiler, Context, ECS_OPTION, Filter, Flow, field_option};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::event::{Event, FieldRef, Fragment, Value};
use crate::grok::EcsCompatibility;

pub const DEF: ComponentDef = ComponentDef {
    name: "geoip",
    summary: "Adds what MaxMind-format databases know of an IP address: place, network owner, and more.",
    options: &[
        option("source", Kind::Field, Fallback::Required, "The field that holds the address; of a list, its first element."),
        option("target", Kind::Field, Fallback::None, "Where the fields go. By default `geoip` without ECS; with ECS the parent of a source named `[…][ip]`."),
        option("database", Kind::Strings, Fallback::Required, "Database files, or folders of them (`*.mmdb`); several are asked in turn and what they know is put together. One text may name several, separated by commas. A file that is replaced (by renaming) is opened again."),
        option("default_database_type", Kind::Enum(&["City", "ASN"]), Fallback::Text("City"), "Accepted for Logstash's sake; the type is read from the database."),
        option("fields", Kind::Strings, Fallback::None, "The fields to add, by Logstash's names (`city_name`, `country_code2`, `location`, …); by default those Logstash gives for the type of database."),
        option("cache_size", Kind::Integer(1, 100_000_000), Fallback::Integer(50_000), "Addresses that each worker remembers."),
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

struct GeoIp {
    source: FieldRef,
    target: FieldRef,
    databases: Arc<[Database]>,
    fields: Option<Arc<[GeoField]>>,
    tag_on_failure: Vec<String>,
    ecs: bool,
    cache_size: usize,
    cache: Cache<IpAddr, Known>,
    /// By the records of all databases; unused where the address itself is among the fields.
    records: Cache<Box<[Option<usize>]>, Known>,
    opened: Vec<Arc<Opened>>,
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
        known.collect::<Arc<[GeoField]>>()
    });
    match (source, target) {
        (Some(source), Some(target)) if problems.is_empty() => {
            for name in fields::names(ecs) {
                // With places of their own, fields are set without a search.
                target.child(name).lasting();
            }
            let cache_size = args.integer("cache_size").unwrap_or(1).max(1) as usize;
            let mut filter = GeoIp {
                source,
                target,
                databases: databases.into(),
                fields,
                tag_on_failure: args.strings("tag_on_failure"),
                ecs,
                cache_size,
                cache: Cache::new(cache_size),
                records: Cache::new(records_of(cache_size)),
                opened: Vec::new(),
                generation: 0,
            };
            filter.take_current();
            Ok(Box::new(filter))
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
        let value = match event.get(&self.source) {
            Some(Value::Array(list)) => event.loaded_values(list).first().copied(),
            value => value,
        };
        let text = value.and_then(|value| event.as_str(value)).unwrap_or("");
        if text.is_empty() {
            context.fail(event, &self.tag_on_failure);
            return Flow::Passed;
        }
        let Ok(address) = text.parse::<IpAddr>() else { return self.failed(event, context) };
        let merged = match self.cache.get(&address) {
            Some(Some(fragment)) => event.merge(Some(&self.target), fragment),
            Some(None) => return self.failed(event, context),
            None => {
                let fragment = self.find(address);
                self.cache.insert(address, fragment.clone());
                match fragment {
                    Some(fragment) => event.merge(Some(&self.target), &fragment),
                    None => return self.failed(event, context),
                }
            }
        };
        match merged {
            Ok(()) => Flow::Matched,
            Err(_) => self.failed(event, context),
        }
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(GeoIp {
            source: self.source.clone(),
            target: self.target.clone(),
            databases: Arc::clone(&self.databases),
            fields: self.fields.clone(),
            tag_on_failure: self.tag_on_failure.clone(),
            ecs: self.ecs,
            cache_size: self.cache_size,
            cache: Cache::new(self.cache_size),
            records: Cache::new(records_of(self.cache_size)),
            opened: self.opened.clone(),
            generation: self.generation,
        })
    }

    fn between_batches(&mut self) {
        for database in self.databases.iter() {
            database.refresh();
        }
        if self.generation != self.current_generation() {
            self.take_current();
        }
    }
}

impl GeoIp {
    fn current_generation(&self) -> u64 {
        self.databases.iter().map(Database::generation).sum()
    }

    fn take_current(&mut self) {
        self.generation = self.current_generation();
        self.opened = self.databases.iter().map(Database::current).collect();
        self.cache = Cache::new(self.cache_size);
        self.records = Cache::new(records_of(self.cache_size));
    }

    /// Tags the event and, as Logstash does, leaves an empty object where the fields would have gone.
    fn failed(&self, event: &mut Event, context: &mut Context) -> Flow {
        if !event.contains(&self.target) {
            let empty = event.new_list();
            // Where something on the path is a plain value there is no place for it.
            let _ = event.set(&self.target, Value::Object(empty));
        }
        context.fail(event, &self.tag_on_failure);
        Flow::Passed
    }

    fn find(&mut self, address: IpAddr) -> Known {
        let shared = self.fields.as_ref().is_some_and(|fields| !fields.iter().any(|field| field.is_of_address()));
        if !shared {
            return self.describe(address);
        }
        let mut records: Box<[Option<usize>]> = vec![None; self.opened.len()].into();
        for (position, opened) in self.opened.iter().enumerate() {
            // Of several databases of one kind (one for IPv4, one for IPv6) one knows an address at most.
            let alike = |other: usize| records[other].is_some() && self.opened[other].kind() == opened.kind();
            if !(0..position).any(alike) {
                records[position] = opened.record_of(address);
            }
        }
        if let Some(fragment) = self.records.get(&records) {
            return fragment.clone();
        }
        let fragment = self.describe(address);
        self.records.insert(records, fragment.clone());
        fragment
    }

    fn describe(&self, address: IpAddr) -> Known {
        let mut object = Map::new();
        for opened in &self.opened {
            for (row, value) in opened.lookup(address, self.fields.as_deref(), self.ecs).unwrap_or_default() {
                if !self.ecs {
                    object.insert(row.legacy.to_string(), value);
                } else if let Some((last, parents)) = row.ecs.split_last() {
                    let mut at = &mut object;
                    for parent in parents {
                        let inner = at.entry(parent.to_string()).or_insert_with(|| Json::Object(Map::new()));
                        match inner {
                            Json::Object(inner) => at = inner,
                            _ => return None,
                        }
                    }
                    at.insert(last.to_string(), value);
                }
            }
        }
        if object.is_empty() { None } else { serde_json::to_string(&object).ok().map(|json| Arc::new(Fragment::new(&json, Some(&self.target)))) }
    }
}
