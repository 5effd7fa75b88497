//! Dictionaries of named patterns: those that ship with Logstash, and the user's own.

use super::error::DictionaryError;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// The naming scheme of the fields in the bundled patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EcsCompatibility {
    /// The names from before the Elastic Common Schema: `clientip`.
    Disabled,
    /// The Elastic Common Schema: `[source][address]`.
    V1,
    /// The same patterns as [`V1`](EcsCompatibility::V1); the default of Logstash 8.
    #[default]
    V8,
}

/// A named pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The pattern, as written.
    pub pattern: Arc<str>,
    /// The file that the pattern comes from, or another name of its origin.
    pub origin: Arc<str>,
}

/// A dictionary of named patterns. Clones share their content until one of them is changed.
#[derive(Debug, Clone, Default)]
pub struct Dictionary {
    definitions: Arc<BTreeMap<Arc<str>, Definition>>,
}

/// Lists the files of a folder of `patterns/` with their content.
macro_rules! bundle {
    ($folder:literal: $($file:literal),+ $(,)?) => {
        &[$(($file, include_str!(concat!("patterns/", $folder, "/", $file)))),+]
    };
}

/// The bundled patterns with legacy field names. From logstash-patterns-core, Apache-2.0: see `patterns/LICENSE` and
/// `patterns/NOTICE.TXT`.
const LEGACY: &[(&str, &str)] = bundle!("legacy":
    "aws", "bacula", "bind", "bro", "exim", "firewalls", "grok-patterns", "haproxy", "httpd", "java", "junos",
    "linux-syslog", "maven", "mcollective", "mcollective-patterns", "mongodb", "nagios", "postgresql", "rails",
    "redis", "ruby", "squid",
);

/// The bundled patterns with the field names of the Elastic Common Schema, from the same source.
const ECS_V1: &[(&str, &str)] = bundle!("ecs-v1":
    "aws", "bacula", "bind", "bro", "exim", "firewalls", "grok-patterns", "haproxy", "httpd", "java", "junos",
    "linux-syslog", "maven", "mcollective", "mongodb", "nagios", "postgresql", "rails", "redis", "ruby", "squid",
    "zeek",
);

static BUNDLED_LEGACY: LazyLock<Dictionary> = LazyLock::new(|| read(LEGACY));
static BUNDLED_ECS: LazyLock<Dictionary> = LazyLock::new(|| read(ECS_V1));

fn read(files: &[(&str, &str)]) -> Dictionary {
    let mut dictionary = Dictionary::default();
    for (file, text) in files {
        dictionary.add_str(text, file);
    }
    dictionary
}

impl Dictionary {
    /// Returns a dictionary without patterns.
    pub fn empty() -> Dictionary {
        Dictionary::default()
    }

    /// Returns the patterns that ship with Logstash.
    pub fn bundled(ecs: EcsCompatibility) -> Dictionary {
        match ecs {
            EcsCompatibility::Disabled => BUNDLED_LEGACY.clone(),
            EcsCompatibility::V1 | EcsCompatibility::V8 => BUNDLED_ECS.clone(),
        }
    }

    /// Adds a pattern, or replaces the one of that name.
    pub fn add(&mut self, name: &str, pattern: &str) {
        self.define(name, pattern, &Arc::from("pattern_definitions"));
    }

    fn define(&mut self, name: &str, pattern: &str, origin: &Arc<str>) {
        let definition = Definition { pattern: Arc::from(pattern), origin: Arc::clone(origin) };
        Arc::make_mut(&mut self.definitions).insert(Arc::from(name), definition);
    }

    /// Adds the patterns of a file's text: each line has a name, white space, and the pattern. Empty lines, comments
    /// (`#`) and lines with only a name are skipped, as in Logstash.
    pub fn add_str(&mut self, text: &str, origin: &str) {
        let origin = Arc::from(origin);
        for line in text.lines() {
            let line = line.trim_start();
            if line.starts_with('#') {
                continue;
            }
            let Some(end) = line.find(|c: char| c.is_ascii_whitespace()) else { continue };
            let pattern = line[end..].trim_start_matches(|c: char| c.is_ascii_whitespace());
            if !pattern.is_empty() {
                self.define(&line[..end], pattern, &origin);
            }
        }
    }

    /// Adds the patterns of a file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn add_file(&mut self, path: &Path) -> Result<(), DictionaryError> {
        let read = std::fs::read(path);
        let bytes = read.map_err(|source| DictionaryError { path: path.display().to_string(), source })?;
        self.add_str(&String::from_utf8_lossy(&bytes), &path.display().to_string());
        Ok(())
    }

    /// Returns the definition of a name.
    pub fn get(&self, name: &str) -> Option<&Definition> {
        self.definitions.get(name)
    }

    /// Returns all names with their definitions, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Definition)> {
        self.definitions.iter().map(|(name, definition)| (&**name, definition))
    }

    /// Returns a name that resembles `name`, for an error message.
    pub fn similar(&self, name: &str) -> Option<&str> {
        let most = 1 + name.len() / 4;
        self.definitions
            .keys()
            .map(|known| (distance(name, known), &**known))
            .filter(|(distance, _)| *distance <= most)
            .min()
            .map(|(_, known)| known)
    }
}

/// Returns the Levenshtein distance of two names in bytes, ignoring case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<u8> = b.bytes().map(|byte| byte.to_ascii_uppercase()).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().map(|byte| byte.to_ascii_uppercase()).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &right) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
