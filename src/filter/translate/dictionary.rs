//! Dictionaries of `translate`: what is looked up, and where it comes from (the pipeline, or a YAML, JSON or CSV file).

use std::collections::HashMap;
use std::path::Path;

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value as Json;

use crate::config::{Data, Node};
use crate::event::{Event, Value};
use crate::filter::csv::Format;
use crate::grok::Regex;

/// How keys are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The whole text is a key.
    Exact,
    /// A key, as a regular expression, matches somewhere in the text; the first one counts.
    Regex,
    /// Every key in the text is replaced where it stands.
    Everywhere,
}

/// What a key stands for.
#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Text(Box<str>),
    /// Anything but text, as JSON.
    Json(Box<str>),
}

/// Keys with what they stand for, ready to be looked up.
pub struct Dictionary {
    entries: Vec<(String, Entry)>,
    index: HashMap<String, usize>,
    finder: Finder,
}

enum Finder {
    Index,
    Regexes(Vec<Regex>),
    Everywhere(AhoCorasick),
}

impl Entry {
    fn of_json(value: &Json) -> Entry {
        match value {
            Json::String(text) => Entry::Text(text.as_str().into()),
            other => Entry::Json(other.to_string().into()),
        }
    }

    fn value(&self, event: &mut Event) -> Value {
        match self {
            Entry::Text(text) => Value::Str(event.push_str(text)),
            Entry::Json(json) => {
                let text = event.push_str(json);
                // It was printed from a value, so it is one.
                event.parse_json(text).unwrap_or(Value::Null)
            }
        }
    }

    fn text(&self) -> &str {
        match self {
            Entry::Text(text) => text,
            Entry::Json(json) if **json == *"null" => "",
            Entry::Json(json) => json,
        }
    }
}

impl Dictionary {
    /// A dictionary written in the pipeline.
    ///
    /// # Errors
    /// A key is no regular expression.
    pub fn inline(entries: &[(crate::config::Key, Node)], lookup: Lookup) -> Result<Dictionary, String> {
        Dictionary::new(entries.iter().map(|(key, node)| (key.name.clone(), Entry::of_json(&json_of(node)))).collect(), lookup)
    }

    /// The dictionary in a file, whose ending says how it is written. With `merge` it is added to that one.
    ///
    /// # Errors
    /// The file can't be read, is not what its ending says, has more than `limit` characters (YAML), or holds a key that
    /// is no regular expression.
    pub fn read(path: &Path, lookup: Lookup, limit: usize, merge: Option<&Dictionary>) -> Result<Dictionary, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let ending = path.extension().map(|ending| ending.to_string_lossy().into_owned()).unwrap_or_default();
        let read = match ending.as_str() {
            "yml" | "yaml" if text.chars().count() > limit => {
                return Err(format!("has more characters than `yaml_dictionary_code_point_limit` ({limit}) allows"));
            }
            "yml" | "yaml" if text.trim().is_empty() => Vec::new(),
            "yml" | "yaml" => entries_of(&serde_saphyr::from_str(&text).map_err(|error| format!("is no YAML: {error}"))?)?,
            "json" if text.trim().is_empty() => Vec::new(),
            "json" => entries_of(&serde_json::from_str(&text).map_err(|error| format!("is no JSON: {error}"))?)?,
            "csv" => {
                let format = Format { separator: ",".to_string(), quote: '"' };
                let rows = format.read_all(&text).map_err(|row| format!("row {row} is no CSV"))?;
                let entry = |mut row: Vec<Option<String>>| {
                    let value = row.get_mut(1).and_then(Option::take);
                    let value = value.map_or(Entry::Json("null".into()), |text| Entry::Text(text.into()));
                    (row.first_mut().and_then(Option::take).unwrap_or_default(), value)
                };
                rows.into_iter().map(entry).collect()
            }
            _ => return Err("a dictionary ends in .yml, .yaml, .json or .csv".to_string()),
        };
        let mut entries = merge.map(|old| old.entries.clone()).unwrap_or_default();
        entries.extend(read);
        Dictionary::new(entries, lookup)
    }

    fn new(given: Vec<(String, Entry)>, lookup: Lookup) -> Result<Dictionary, String> {
        let mut entries: Vec<(String, Entry)> = Vec::with_capacity(given.len());
        let mut index: HashMap<String, usize> = HashMap::with_capacity(given.len());
        for (key, entry) in given {
            match index.get(&key) {
                Some(&at) => entries[at].1 = entry,
                None => {
                    index.insert(key.clone(), entries.len());
                    entries.push((key, entry));
                }
            }
        }
        let keys = || entries.iter().map(|(key, _)| key);
        let finder = match lookup {
            Lookup::Exact => Finder::Index,
            Lookup::Regex => {
                let regex = |key: &String| Regex::new(key).map_err(|error| format!("the key `{key}` is no regular expression: {error}"));
                Finder::Regexes(keys().map(regex).collect::<Result<_, _>>()?)
            }
            Lookup::Everywhere => {
                let built = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(keys());
                Finder::Everywhere(built.map_err(|error| error.to_string())?)
            }
        };
        Ok(Dictionary { entries, index, finder })
    }

    /// What a text translates to, as a value of the event; `None` where the dictionary says nothing.
    pub fn translate(&self, text: &str, event: &mut Event) -> Option<Value> {
        let found = match &self.finder {
            Finder::Index => self.index.get(text).copied(),
            Finder::Regexes(regexes) => regexes.iter().position(|regex| regex.is_match(text)),
            Finder::Everywhere(keys) => {
                let mut replaced = String::new();
                keys.replace_all_with(text, &mut replaced, |found, _, out| {
                    out.push_str(self.entries[found.pattern().as_usize()].1.text());
                    true
                });
                return (replaced != text).then(|| Value::Str(event.push_str(&replaced)));
            }
        };
        found.map(|at| self.entries[at].1.value(event))
    }
}

/// The entries of an object; keys that are written as numbers or flags are text here.
fn entries_of(value: &Json) -> Result<Vec<(String, Entry)>, String> {
    match value {
        Json::Object(map) => Ok(map.iter().map(|(key, value)| (key.clone(), Entry::of_json(value))).collect()),
        Json::Null => Ok(Vec::new()),
        _ => Err("a dictionary is a table of keys and values".to_string()),
    }
}

fn json_of(node: &Node) -> Json {
    match &node.data {
        Data::String(text) => Json::String(text.clone()),
        Data::Integer(number) => Json::from(*number),
        Data::Float(number) => Json::from(*number),
        Data::Boolean(flag) => Json::Bool(*flag),
        Data::Array(items) => Json::Array(items.iter().map(json_of).collect()),
        Data::Table(entries) => Json::Object(entries.iter().map(|(key, item)| (key.name.clone(), json_of(item))).collect()),
    }
}
