//! The `fingerprint` filter: a hash of fields, for IDs and anonymisation.

mod murmur;

pub(super) use self::murmur::hash32;

use base64::Engine as _;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha384, Sha512};

use super::{Compiled, Compiler, Context, ECS_OPTION, Filter, Flow, field_option, parse_field, ruby};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::event::{Event, FieldRef, NotAnObject, Number, Value};
use crate::grok::EcsCompatibility;

pub const DEF: ComponentDef = ComponentDef {
    name: "fingerprint",
    summary: "Puts a hash of fields on the event.",
    options: &[
        option(
            "source",
            Kind::Strings,
            Fallback::Text("message"),
            "The fields to hash. Of several, without `concatenate_sources`, the last one counts.",
        ),
        option(
            "target",
            Kind::Field,
            Fallback::None,
            "Where the hash goes: by default `fingerprint`, with ECS `[event][hash]`.",
        ),
        option(
            "method",
            Kind::Enum(&[
                "SHA1",
                "SHA256",
                "SHA384",
                "SHA512",
                "MD5",
                "MURMUR3",
                "MURMUR3_128",
                "IPV4_NETWORK",
                "UUID",
                "PUNCTUATION",
            ]),
            Fallback::Text("SHA1"),
            "The hash. `IPV4_NETWORK` keeps the first bits of an address, `PUNCTUATION` the signs of a text, `UUID` is random.",
        ),
        option("key", Kind::Secret, Fallback::None, "Key of an HMAC; for `IPV4_NETWORK` the number of bits to keep."),
        option(
            "base64encode",
            Kind::Boolean,
            Fallback::Boolean(false),
            "Write hashes in base64 rather than hexadecimal.",
        ),
        option(
            "concatenate_sources",
            Kind::Boolean,
            Fallback::Boolean(false),
            "Hash names and values of all sources together.",
        ),
        option(
            "concatenate_all_fields",
            Kind::Boolean,
            Fallback::Boolean(false),
            "Hash names and values of all fields of the event together.",
        ),
        ECS_OPTION,
    ],
    example: r#"
[[filter]]
type = "fingerprint"
source = ["[host][name]", "message"]
concatenate_sources = true
method = "SHA256"
target = "[@metadata][id]"

[[test]]
event = { host = { name = "web-01" }, message = "x" }
expect = { "@metadata" = { id = "b0ace5c5f540427bd0ee9fb59c5acd724b2741a05cc01a1c5f9cc709d7f23cd7" } }
"#,
};

/// Seed that the Logstash plugin uses for the 128-bit hash.
const MURMUR_SEED: u32 = 2;

#[derive(Clone, Copy)]
enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
    Md5,
}

#[derive(Clone)]
enum Method {
    Digest(Hash),
    Murmur32,
    Murmur128,
    /// Number of bits to keep.
    Ipv4Network(u32),
    Uuid,
    Punctuation,
}

#[derive(Clone)]
struct Fingerprint {
    /// Fields in the order of the option, with their names as written.
    sources: Vec<(String, FieldRef)>,
    target: FieldRef,
    method: Method,
    key: Option<Vec<u8>>,
    base64: bool,
    concatenate_sources: bool,
    concatenate_all: bool,
}

pub fn compile(args: &Args, compiler: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let span = args.span_of("source");
    let names = args.strings("source").into_iter();
    let mut sources: Vec<(String, FieldRef)> =
        names.filter_map(|name| parse_field(&name, span, &mut problems).map(|field| (name, field))).collect();
    let target = match args.is_given("target") {
        true => field_option(args, "target", &mut problems),
        false if compiler.ecs(args) == EcsCompatibility::Disabled => Some(FieldRef::from_names(["fingerprint"])),
        false => Some(FieldRef::from_names(["event", "hash"])),
    };
    let key = args.text("key");
    let method = match args.required_text("method").as_str() {
        "SHA256" => Method::Digest(Hash::Sha256),
        "SHA384" => Method::Digest(Hash::Sha384),
        "SHA512" => Method::Digest(Hash::Sha512),
        "MD5" => Method::Digest(Hash::Md5),
        "MURMUR3" => Method::Murmur32,
        "MURMUR3_128" => Method::Murmur128,
        "UUID" => Method::Uuid,
        "PUNCTUATION" => Method::Punctuation,
        "IPV4_NETWORK" => match key.as_deref().and_then(|key| key.trim().parse().ok()).filter(|bits| *bits <= 32) {
            Some(bits) => Method::Ipv4Network(bits),
            None => {
                let message = "`IPV4_NETWORK` needs the number of bits to keep, 0 to 32, as `key`";
                problems.push(Diagnostic::error(args.span_of("key"), message));
                return Err(problems);
            }
        },
        _ => Method::Digest(Hash::Sha1),
    };
    let concatenate_sources = args.flag("concatenate_sources");
    if concatenate_sources || matches!(method, Method::Punctuation) {
        sources.sort_by(|(left, _), (right, _)| left.cmp(right));
    }
    match target {
        Some(target) if problems.is_empty() => Ok(Box::new(Fingerprint {
            sources,
            target,
            method,
            key: key.map(String::into_bytes),
            base64: args.flag("base64encode"),
            concatenate_sources,
            concatenate_all: args.flag("concatenate_all_fields"),
        })),
        _ => Err(problems),
    }
}

/// The target can't be set, or the method does not support the value. Logstash stops on the latter.
struct Failed;

impl From<NotAnObject> for Failed {
    fn from(_: NotAnObject) -> Self {
        Failed
    }
}

impl Filter for Fingerprint {
    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        match self.put(event) {
            Ok(()) => Flow::Matched,
            Err(_) => {
                context.fail(event, &["_fingerprint_error".to_string()]);
                Flow::Passed
            }
        }
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

impl Fingerprint {
    fn put(&self, event: &mut Event) -> Result<(), Failed> {
        match self.method {
            Method::Uuid => {
                let id = event.push_str(&uuid::Uuid::new_v4().to_string());
                Ok(event.set(&self.target, Value::Str(id))?)
            }
            Method::Punctuation => {
                for (_, field) in &self.sources {
                    if let Some(text) = event.text_of(field) {
                        let text: String = text.chars().filter(|c| is_sign(*c)).collect();
                        let text = event.push_str(&text);
                        event.set(&self.target, Value::Str(text))?;
                    }
                }
                Ok(())
            }
            _ if self.concatenate_all => {
                let text = all_fields(event);
                self.put_hash(event, &text)
            }
            _ if self.concatenate_sources => {
                let mut text = String::new();
                for (name, field) in &self.sources {
                    let value = event.get(field).unwrap_or(Value::Null);
                    add_named(event, name, value, &mut text);
                }
                text.push('|');
                self.put_hash(event, &text)
            }
            _ => {
                for (_, field) in &self.sources {
                    let Some(value) = event.get(field) else { continue };
                    let hashed = match value {
                        Value::Array(list) => {
                            let hashes = event.new_list();
                            for element in event.loaded_values(list) {
                                let hash = self.hash_value(event, element)?;
                                event.push(hashes, hash);
                            }
                            Value::Array(hashes)
                        }
                        single => self.hash_value(event, single)?,
                    };
                    event.set(&self.target, hashed)?;
                }
                Ok(())
            }
        }
    }

    fn put_hash(&self, event: &mut Event, text: &str) -> Result<(), Failed> {
        let hash = self.hash_bytes(event, text.as_bytes())?;
        Ok(event.set(&self.target, hash)?)
    }

    fn hash_value(&self, event: &mut Event, value: Value) -> Result<Value, Failed> {
        let murmur = matches!(self.method, Method::Murmur32 | Method::Murmur128);
        if let (true, Some(Number::Int(number))) = (murmur, event.as_number(value)) {
            // The 128-bit form hashes small numbers as 32 bits, the other form as 64 bits.
            return match i32::try_from(number) {
                Ok(small) if matches!(self.method, Method::Murmur128) => self.hash_bytes(event, &small.to_le_bytes()),
                _ => self.hash_bytes(event, &number.to_le_bytes()),
            };
        }
        let mut text = String::new();
        match event.load(value) {
            object @ Value::Object(_) => ruby::inspect(event, object, true, &mut text),
            other => ruby::to_s(event, other, &mut text),
        }
        self.hash_bytes(event, text.as_bytes())
    }

    fn hash_bytes(&self, event: &mut Event, bytes: &[u8]) -> Result<Value, Failed> {
        let written = match &self.method {
            Method::Murmur32 => return Ok(Value::Int(i64::from(murmur::hash32(bytes)))),
            Method::Ipv4Network(bits) => network(bytes, *bits).ok_or(Failed)?,
            Method::Murmur128 => self.write(&murmur::hash128(bytes, MURMUR_SEED)),
            Method::Digest(hash) => self.write(&hash.of(bytes, self.key.as_deref())),
            // Neither of these methods hashes.
            Method::Uuid | Method::Punctuation => String::new(),
        };
        Ok(Value::Str(event.push_str(&written)))
    }

    fn write(&self, hash: &[u8]) -> String {
        if self.base64 {
            return base64::engine::general_purpose::STANDARD.encode(hash);
        }
        hash.iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|digit| char::from_digit(u32::from(digit), 16))
            .collect()
    }
}

impl Hash {
    fn of(self, bytes: &[u8], key: Option<&[u8]>) -> Vec<u8> {
        match self {
            Hash::Sha1 => digest::<Sha1, Hmac<Sha1>>(bytes, key),
            Hash::Sha256 => digest::<Sha256, Hmac<Sha256>>(bytes, key),
            Hash::Sha384 => digest::<Sha384, Hmac<Sha384>>(bytes, key),
            Hash::Sha512 => digest::<Sha512, Hmac<Sha512>>(bytes, key),
            Hash::Md5 => digest::<Md5, Hmac<Md5>>(bytes, key),
        }
    }
}

fn digest<D: Digest, M: Mac + KeyInit>(bytes: &[u8], key: Option<&[u8]>) -> Vec<u8> {
    // An HMAC accepts keys of every length.
    match key.and_then(|key| <M as KeyInit>::new_from_slice(key).ok()) {
        Some(mut mac) => {
            mac.update(bytes);
            mac.finalize().into_bytes().to_vec()
        }
        None => D::digest(bytes).to_vec(),
    }
}

/// Returns an IPv4 address with all but its first bits set to zero.
fn network(bytes: &[u8], bits: u32) -> Option<String> {
    let address: std::net::Ipv4Addr = std::str::from_utf8(bytes).ok()?.trim().parse().ok()?;
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    Some(std::net::Ipv4Addr::from(u32::from(address) & mask).to_string())
}

/// Returns whether a character is a punctuation mark or symbol according to Unicode.
fn is_sign(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_punctuation() } else { !c.is_alphanumeric() && !c.is_whitespace() && !c.is_control() }
}

fn add_named(event: &mut Event, name: &str, value: Value, text: &mut String) {
    text.push('|');
    text.push_str(name);
    text.push('|');
    match event.load(value) {
        container @ (Value::Object(_) | Value::Array(_)) => ruby::inspect(event, container, true, text),
        scalar => ruby::to_s(event, scalar, text),
    }
}

/// Returns names and values of all fields in the order of their names, with the `@version` that every Logstash event
/// has.
fn all_fields(event: &mut Event) -> String {
    let root = event.root();
    let mut entries: Vec<(String, Option<Value>)> =
        event.loaded_entries(root).into_iter().map(|(key, value)| (event.str(key).to_string(), Some(value))).collect();
    if !entries.iter().any(|(name, _)| name == "@version") {
        entries.push(("@version".to_string(), None));
    }
    entries.sort_by(|(left, _), (right, _)| left.cmp(right));
    let mut text = String::new();
    for (name, value) in entries {
        match value {
            Some(value) => add_named(event, &name, value, &mut text),
            None => text.push_str("|@version|1"),
        }
    }
    text.push('|');
    text
}
