//! Patterns of `dissect`: their syntax, and how a text is split with them.
//!
//! A pattern is a sequence of keys with delimiters between them. Logstash and Elasticsearch differ only in repeated
//! delimiters: in Logstash each one ends a field unless the key has `->`, in Elasticsearch each one also consumes a
//! key.

use memchr::memmem::Finder;

use crate::event::FieldRef;

/// The use of the text found for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// `%{}`, `%{?name}`, `%{*name}`: not stored, but `&` may refer to it.
    Skip,
    /// `%{name}`: stored in the field.
    Set(FieldRef),
    /// `%{+name}`, `%{+name/2}`: appended to the field, after others with a lower order.
    Append {
        /// The field.
        field: FieldRef,
        /// Order among the texts that are appended to the field.
        order: u32,
        /// Set if the pattern has stored a text in the field before.
        goes_on: bool,
    },
    /// `%{&name}`: stored in the field whose name was found for `name`.
    Indirect,
}

/// One `%{…}` of a pattern.
#[derive(Clone, Debug)]
pub struct Key {
    /// Name without modifiers.
    pub name: String,
    /// Use of the text that is found.
    pub role: Role,
    /// Set by `->`: the delimiter after the key may repeat.
    padded: bool,
    /// Delimiter after the key.
    delimiter: Finder<'static>,
}

/// The rules of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Rules of Logstash's filter.
    Logstash,
    /// Rules of Elasticsearch's processor.
    Elasticsearch,
}

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// Keys in the order of the pattern.
    pub keys: Vec<Key>,
    /// Indices of the keys in the order in which they are stored: plain fields, appended ones by their order, indirect
    /// ones.
    pub order: Vec<usize>,
    leading: String,
    dialect: Dialect,
}

/// The byte ranges of the texts found, in the order of the keys.
pub type Spans = Vec<(usize, usize)>;

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// Returns a message if a key or, for Elasticsearch, the pattern is invalid.
    pub fn parse(text: &str, dialect: Dialect) -> Result<Pattern, String> {
        let mut keys: Vec<Key> = Vec::new();
        let mut leading = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("%{") {
            let Some(length) = rest[start + 2..].find('}') else { break };
            let delimiter = &rest[..start];
            match keys.last_mut() {
                Some(previous) => previous.delimiter = Finder::new(delimiter).into_owned(),
                None => leading = delimiter.to_string(),
            }
            keys.push(key(&rest[start + 2..start + 2 + length], dialect)?);
            rest = &rest[start + 3 + length..];
        }
        if let Some(last) = keys.last_mut().filter(|_| !rest.is_empty()) {
            last.delimiter = Finder::new(rest).into_owned();
            if dialect == Dialect::Logstash {
                keys.push(key("", dialect)?);
            }
        }
        let rank = |role: &Role| match role {
            Role::Skip | Role::Set(_) => 0,
            Role::Append { order, .. } => 1 + u64::from(*order),
            Role::Indirect => u64::MAX,
        };
        let mut order: Vec<usize> = (0..keys.len()).filter(|index| keys[*index].role != Role::Skip).collect();
        order.sort_by_key(|index| rank(&keys[*index].role));
        let mut saved: Vec<FieldRef> = Vec::new();
        for &index in &order {
            if let Role::Append { field, goes_on, .. } = &mut keys[index].role {
                *goes_on = saved.contains(field);
            }
            if let Role::Append { field, .. } | Role::Set(field) = &keys[index].role {
                saved.push(field.clone());
            }
        }
        let pattern = Pattern { keys, order, leading, dialect };
        if dialect == Dialect::Elasticsearch {
            pattern.check_pairs()?;
        }
        Ok(pattern)
    }

    /// Checks the rules of Elasticsearch's dialect: every `*` has its `&`, every `&` has its `*`, and there is at least
    /// one key.
    fn check_pairs(&self) -> Result<(), String> {
        let starred = |key: &&Key| key.role == Role::Skip && key.name.starts_with('*');
        let has_star = |name: &str| self.keys.iter().filter(starred).any(|key| key.name[1..] == *name);
        let has_and = |name: &str| self.keys.iter().any(|key| key.role == Role::Indirect && key.name == name);
        if self.keys.is_empty() {
            return Err("a pattern needs a `%{key}`".to_string());
        }
        for key in &self.keys {
            if key.role == Role::Indirect && !has_star(&key.name) {
                return Err(format!("`%{{&{0}}}` refers to `%{{*{0}}}`, which is not there", key.name));
            }
            if starred(&key) && !has_and(&key.name[1..]) {
                return Err(format!("`%{{*{0}}}` needs its `%{{&{0}}}`", &key.name[1..]));
            }
        }
        Ok(())
    }

    /// Returns the delimiter before a key, with which Logstash joins appended texts.
    pub fn before(&self, key: usize) -> &str {
        let needle = match key {
            0 => self.leading.as_bytes(),
            key => self.keys[key - 1].delimiter.needle(),
        };
        match std::str::from_utf8(needle) {
            Ok(text) if !text.is_empty() => text,
            _ => " ",
        }
    }

    /// Returns the index of the key that `%{&name}` refers to.
    pub fn referred(&self, name: &str, by: usize) -> Option<usize> {
        let is_it = |key: &Key| key.name == name || key.name.strip_prefix('*') == Some(name);
        self.keys.iter().enumerate().position(|(index, key)| index != by && is_it(key))
    }

    /// Splits a text. Returns whether it matches the pattern.
    pub fn cut(&self, text: &str, spans: &mut Spans) -> bool {
        spans.clear();
        match self.dialect {
            Dialect::Logstash => self.cut_as_logstash(text, spans),
            Dialect::Elasticsearch => self.cut_as_elasticsearch(text, spans),
        }
    }

    fn cut_as_logstash(&self, text: &str, spans: &mut Spans) -> bool {
        if text.is_empty() || !text.starts_with(&self.leading) {
            return false;
        }
        let bytes = text.as_bytes();
        let mut at = self.leading.len();
        let mut before = (self.leading.as_bytes(), true);
        for (index, key) in self.keys.iter().enumerate() {
            if before.1 && !before.0.is_empty() {
                while bytes[at..].starts_with(before.0) {
                    at += before.0.len();
                }
            }
            if index + 1 == self.keys.len() {
                spans.push((at, bytes.len()));
                return true;
            }
            let delimiter = key.delimiter.needle();
            let Some(found) = key.delimiter.find(&bytes[at..]).filter(|_| !delimiter.is_empty()) else { return false };
            spans.push((at, at + found));
            at += found + delimiter.len();
            before = (delimiter, key.padded);
        }
        false
    }

    fn cut_as_elasticsearch(&self, text: &str, spans: &mut Spans) -> bool {
        if !text.starts_with(&self.leading) {
            return false;
        }
        let bytes = text.as_bytes();
        let mut at = self.leading.len();
        let mut keys = self.keys.iter();
        while let Some(key) = keys.next() {
            let delimiter = key.delimiter.needle();
            if delimiter.is_empty() {
                spans.push((at, bytes.len()));
                break;
            }
            let Some(found) = key.delimiter.find(&bytes[at..]) else { return false };
            spans.push((at, at + found));
            at += found + delimiter.len();
            while bytes[at..].starts_with(delimiter) {
                if !key.padded {
                    if keys.next().is_none() {
                        break;
                    }
                    spans.push((at, at));
                }
                at += delimiter.len();
            }
        }
        spans.len() == self.keys.len()
    }
}

fn key(text: &str, dialect: Dialect) -> Result<Key, String> {
    let bad = |reason: &str| Err(format!("`%{{{text}}}`: {reason}"));
    let (name, padded) = match text.strip_suffix("->") {
        Some(name) => (name, true),
        None => (text, false),
    };
    // Elasticsearch also accepts the arrow as a prefix.
    let name = if dialect == Dialect::Elasticsearch { name.strip_prefix("->").unwrap_or(name) } else { name };
    let mut chars = name.chars();
    let first = chars.next();
    let after = chars.as_str();
    let names_a_field = |name: &str| FieldRef::parse(name).map_err(|error| format!("`%{{{text}}}`: {error}"));
    let (name, role) = match first {
        None | Some('?') => (after, Role::Skip),
        Some('*') if !after.is_empty() => (name, Role::Skip),
        Some('&') if after.starts_with('+') => return bad("`&` and `+` don't go together"),
        Some('+') if after.starts_with('&') => return bad("`+` and `&` don't go together"),
        Some('+') => {
            let (field, order) = match after.rsplit_once('/') {
                Some((field, order)) => match order.parse() {
                    Ok(order) => (field, order),
                    Err(_) => return bad("a number is wanted after `/`"),
                },
                None => (after, 0),
            };
            if field.is_empty() || field.starts_with('+') {
                return bad("a name is wanted after `+`");
            }
            (field, Role::Append { field: names_a_field(field)?, order, goes_on: false })
        }
        Some('&') if after.is_empty() => return bad("a name is wanted after `&`"),
        Some('&') => (after, Role::Indirect),
        Some(_) if dialect == Dialect::Elasticsearch && name.contains(['?', '+', '&', '*']) => {
            return bad("a modifier stands before the name");
        }
        Some(_) => (name, Role::Set(names_a_field(name)?)),
    };
    Ok(Key { name: name.to_string(), role, padded, delimiter: Finder::new("").into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(pattern: &str, dialect: Dialect, text: &str) -> Option<Vec<String>> {
        let pattern = Pattern::parse(pattern, dialect).unwrap();
        let mut spans = Vec::new();
        pattern.cut(text, &mut spans).then(|| spans.iter().map(|(start, end)| text[*start..*end].to_string()).collect())
    }

    #[test]
    fn repeated_delimiters_are_where_the_dialects_differ() {
        for (pattern, text, logstash, elasticsearch) in [
            ("%{a} %{b} %{c}", "1  3", Some(vec!["1", "", "3"]), Some(vec!["1", "", "3"])),
            ("%{a},%{b}-%{c}", "1,,2-3", Some(vec!["1", ",2", "3"]), Some(vec!["1", "", "2-3"])),
            ("%{a->} %{b}", "1   2", Some(vec!["1", "2"]), Some(vec!["1", "2"])),
            ("-%{a}", "--1", Some(vec!["1"]), Some(vec!["-1"])),
        ] {
            let texts = |texts: Vec<&str>| texts.into_iter().map(str::to_string).collect::<Vec<_>>();
            assert_eq!(found(pattern, Dialect::Logstash, text), logstash.map(texts), "{pattern}");
            assert_eq!(found(pattern, Dialect::Elasticsearch, text), elasticsearch.map(texts), "{pattern}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for pattern in ["%{+}", "%{&}", "%{+&a}", "%{&+a}", "%{+a/x}", "%{[a}", "%{+/2}"] {
            assert!(Pattern::parse(pattern, Dialect::Logstash).is_err(), "{pattern}");
        }
        for pattern in ["", "no key", "%{a} %{&b}", "%{*a} %{b}", "%{a?b}"] {
            assert!(Pattern::parse(pattern, Dialect::Elasticsearch).is_err(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn pieces_are_pieces_of_the_text_in_order(
            pattern in "[-, é]{0,3}(%\\{[a-c?+&*/>-]{0,4}\\}[-, é]{0,2}){0,4}",
            text in "[-, ébx]{0,24}",
        ) {
            for dialect in [Dialect::Logstash, Dialect::Elasticsearch] {
                let Ok(pattern) = Pattern::parse(&pattern, dialect) else { continue };
                let mut spans = Vec::new();
                if pattern.cut(&text, &mut spans) {
                    prop_assert_eq!(spans.len(), pattern.keys.len());
                    let mut at = 0;
                    for (start, end) in spans {
                        prop_assert!(at <= start && text.get(start..end).is_some());
                        at = end;
                    }
                }
            }
        }
    }
}
