//! Dictionaries of `translate`, defined in the pipeline or in a YAML, JSON or CSV file.

use std::collections::HashMap;
use std::path::Path;

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value as Json;

use crate::config::{Data, Node};
use crate::event::{Event, Value};
use crate::filter::csv::Format;
use crate::grok::Regex;

/// The way in which keys are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The whole text is the key.
    Exact,
    /// A key is a regular expression that matches somewhere in the text; the first one counts.
    Regex,
    /// Every key that occurs in the text is replaced.
    Everywhere,
}

/// The translation of a key.
#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Text(Box<str>),
    /// A value other than text, as JSON.
    Json(Box<str>),
}

/// A dictionary, compiled for its kind of lookup.
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
                // The text was printed from a value, so it is valid.
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
    /// Returns the approximate memory of the entries in bytes: each key is stored twice.
    pub fn memory(&self) -> usize {
        const ENTRY: usize = 160;
        self.entries.iter().map(|(key, entry)| 2 * key.len() + entry.text().len() + ENTRY).sum()
    }

    /// Builds a dictionary from the pipeline's option.
    ///
    /// # Errors
    /// Fails if a key is not a valid regular expression.
    pub fn inline(entries: &[(crate::config::Key, Node)], lookup: Lookup) -> Result<Dictionary, String> {
        Dictionary::new(
            entries.iter().map(|(key, node)| (key.name.clone(), Entry::of_json(&json_of(node)))).collect(),
            lookup,
        )
    }

    /// Reads a dictionary from a file, whose extension determines its format. With `merge`, the entries are added to
    /// those of that dictionary.
    ///
    /// # Errors
    /// Fails if the file can't be read or parsed, has more than `limit` characters (YAML), or contains a key that is
    /// not a valid regular expression.
    pub fn read(path: &Path, lookup: Lookup, limit: usize, merge: Option<&Dictionary>) -> Result<Dictionary, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let ending = path.extension().map(|ending| ending.to_string_lossy().into_owned()).unwrap_or_default();
        let read = match ending.as_str() {
            "yml" | "yaml" if text.chars().count() > limit => {
                return Err(format!("has more characters than `yaml_dictionary_code_point_limit` ({limit}) allows"));
            }
            "yml" | "yaml" if text.trim().is_empty() => Vec::new(),
            "yml" | "yaml" => {
                entries_of(&serde_saphyr::from_str(&text).map_err(|error| format!("is no YAML: {error}"))?)?
            }
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
                let bad = |key: &str, error| format!("the key `{key}` is no regular expression: {error}");
                let regex = |key: &String| Regex::new(key).map_err(|error| bad(key, error.to_string()));
                Finder::Regexes(keys().map(regex).collect::<Result<_, _>>()?)
            }
            Lookup::Everywhere => {
                let built = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(keys());
                Finder::Everywhere(built.map_err(|error| error.to_string())?)
            }
        };
        Ok(Dictionary { entries, index, finder })
    }

    /// Returns the translation of a text as a value of the event; `None` if the dictionary has none.
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

/// Returns the entries of an object. Keys that are numbers or booleans are converted to text.
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
        Data::Unset => Json::Null,
        Data::Array(items) => Json::Array(items.iter().map(json_of).collect()),
        Data::Table(entries) => {
            Json::Object(entries.iter().map(|(key, item)| (key.name.clone(), json_of(item))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(dictionary: &Dictionary, text: &str) -> Option<String> {
        let mut event = Event::new();
        let value = dictionary.translate(text, &mut event)?;
        let mut out = Vec::new();
        event.write_value(value, &mut out);
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn files_are_read_by_their_endings_and_merged_on_request() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let read = |path: &Path, merge: Option<&Dictionary>| Dictionary::read(path, Lookup::Exact, 1_000, merge);
        let yaml = read(&file("d.yml", "\"200\": OK\nlist: [1, two]\n404: none\n"), None).unwrap();
        assert_eq!(translated(&yaml, "200").as_deref(), Some("\"OK\""));
        assert_eq!(translated(&yaml, "list").as_deref(), Some("[1,\"two\"]"));
        assert_eq!(translated(&yaml, "404").as_deref(), Some("\"none\""));
        let csv = file("d.csv", "200,fine\n\"a, b\",\"c\"\n");
        let merged = read(&csv, Some(&yaml)).unwrap();
        assert_eq!(translated(&merged, "200").as_deref(), Some("\"fine\""));
        assert_eq!(translated(&merged, "a, b").as_deref(), Some("\"c\""));
        assert!(translated(&merged, "list").is_some());
        let replaced = read(&csv, None).unwrap();
        assert!(translated(&replaced, "list").is_none());
        let json = read(&file("d.json", "{\"a\":{\"b\":1.50}}"), None).unwrap();
        assert_eq!(translated(&json, "a").as_deref(), Some("{\"b\":1.5}"));
        for (name, text) in [("bad.yml", "a: b: c"), ("bad.json", "[1]"), ("bad.csv", "\"a"), ("bad.txt", "a,b")] {
            assert!(read(&file(name, text), None).is_err(), "{name}");
        }
        let long = file("long.yml", &"a: b\n".repeat(300));
        assert!(read(&long, None).is_err_and(|error| error.contains("characters")));
    }

    #[test]
    fn keys_are_found_whole_by_expression_or_everywhere() {
        let entries =
            || vec![("200".to_string(), Entry::Text("OK".into())), ("^5".to_string(), Entry::Text("bad".into()))];
        let of = |lookup| Dictionary::new(entries(), lookup).unwrap();
        assert_eq!(translated(&of(Lookup::Exact), "200 200"), None);
        assert_eq!(translated(&of(Lookup::Regex), "x200x").as_deref(), Some("\"OK\""));
        assert_eq!(translated(&of(Lookup::Regex), "503").as_deref(), Some("\"bad\""));
        assert_eq!(translated(&of(Lookup::Everywhere), "200 ^5 200").as_deref(), Some("\"OK bad OK\""));
        assert_eq!(translated(&of(Lookup::Everywhere), "503"), None);
        assert!(Dictionary::new(vec![("(".to_string(), Entry::Text("".into()))], Lookup::Regex).is_err());
    }
}
