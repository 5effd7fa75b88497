//! Fields that dead letters hold masked, or not at all.
//!
//! A letter's value is the record as it came, so fields are looked for in its JSON, at the paths that they have before any filter. What is
//! no JSON object has no fields to tell apart: it is left out as a whole.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::config::fields::field_options;
use crate::config::{Args, Diagnostic};
use crate::event::FieldRef;

/// The text that stands for a masked value.
const MASKED: &str = "\"***\"";

/// Objects and lists may be nested this deep; what is deeper counts as no JSON.
const MOST_LEVELS: usize = 128;

/// The fields to mask and to leave out.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    rules: Vec<(FieldRef, Action)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Mask,
    Remove,
}

/// A value after masking.
#[derive(Debug, PartialEq, Eq)]
pub enum Masked {
    /// None of the fields is in it.
    Unchanged,
    /// The value without the fields, or with masks in their place.
    Fields(Vec<u8>),
    /// The value is no JSON object, and nothing is left of it.
    Whole,
}

impl Mask {
    /// Reads `mask_fields` and `remove_fields`.
    pub fn from_args(args: &Args, problems: &mut Vec<Diagnostic>) -> Mask {
        let mut rules = Vec::new();
        for (option, action) in [("remove_fields", Action::Remove), ("mask_fields", Action::Mask)] {
            rules.extend(field_options(args, option, problems).into_iter().map(|field| (field, action)));
        }
        Mask { rules }
    }

    /// Returns whether no field is masked or left out.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Applies it to a value.
    pub fn apply(&self, value: &[u8]) -> Masked {
        if self.is_empty() {
            return Masked::Unchanged;
        }
        let rules: Vec<Rule<'_>> =
            self.rules.iter().map(|(field, action)| Rule { rest: field.names().collect(), action: *action }).collect();
        let Ok(text) = std::str::from_utf8(value) else { return Masked::Whole };
        let mut writer = Writer { out: String::with_capacity(text.len()), changed: false };
        match text.trim_start().starts_with('{') && writer.value(text, &rules, MOST_LEVELS).is_some() {
            false => Masked::Whole,
            true if writer.changed => Masked::Fields(writer.out.into_bytes()),
            true => Masked::Unchanged,
        }
    }
}

/// The rest of a field's path, and what is done at its end.
#[derive(Clone)]
struct Rule<'a> {
    rest: Vec<&'a str>,
    action: Action,
}

impl<'a> Rule<'a> {
    /// The rule for what is below `name`.
    fn below(&self, name: &str) -> Option<Rule<'a>> {
        let (first, rest) = self.rest.split_first()?;
        (*first == name).then(|| Rule { rest: rest.to_vec(), action: self.action })
    }
}

struct Writer {
    out: String,
    changed: bool,
}

impl Writer {
    /// Writes a JSON value; `None` where it is none.
    fn value(&mut self, text: &str, rules: &[Rule<'_>], levels: usize) -> Option<()> {
        let levels = levels.checked_sub(1)?;
        match text.trim_start().as_bytes().first()? {
            b'{' => {
                self.out.push('{');
                let start = self.out.len();
                for (key, value) in members(text)? {
                    let below: Vec<Rule<'_>> = rules.iter().filter_map(|rule| rule.below(&key)).collect();
                    let action = below.iter().find(|rule| rule.rest.is_empty()).map(|rule| rule.action);
                    if action == Some(Action::Remove) {
                        self.changed = true;
                        continue;
                    }
                    if self.out.len() > start {
                        self.out.push(',');
                    }
                    self.out.push_str(&serde_json::to_string(&*key).ok()?);
                    self.out.push(':');
                    match action {
                        Some(_) => self.mask(),
                        None if below.is_empty() => self.out.push_str(value.get()),
                        None => self.value(value.get(), &below, levels)?,
                    }
                }
                self.out.push('}');
            }
            b'[' => {
                self.out.push('[');
                for (index, value) in elements(text)?.into_iter().enumerate() {
                    if index > 0 {
                        self.out.push(',');
                    }
                    // A path goes through lists: it stands for the field of each element, or, with a number, of one.
                    let number = index.to_string();
                    let mut below = rules.to_vec();
                    below.extend(rules.iter().filter_map(|rule| rule.below(&number)));
                    match below.iter().any(|rule| rule.rest.is_empty()) {
                        true => self.mask(),
                        false => self.value(value.get(), &below, levels)?,
                    }
                }
                self.out.push(']');
            }
            _ => self.out.push_str(text),
        }
        Some(())
    }

    fn mask(&mut self) {
        self.changed = true;
        self.out.push_str(MASKED);
    }
}

/// The members of an object in their order, repeated keys among them.
fn members(text: &str) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                members.push((Cow::Owned(key), value));
            }
            Ok(members)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let members = deserializer.deserialize_map(Members).ok()?;
    deserializer.end().ok().map(|()| members)
}

/// The elements of a list.
fn elements(text: &str) -> Option<Vec<&RawValue>> {
    struct Elements;
    impl<'de> Visitor<'de> for Elements {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut elements = Vec::new();
            while let Some(element) = list.next_element()? {
                elements.push(element);
            }
            Ok(elements)
        }
    }
    serde_json::Deserializer::from_str(text).deserialize_seq(Elements).ok()
}

/// Returns the kind of an error: the text before the first colon or quote, after which servers quote values.
pub fn without_values(error: &str) -> String {
    let kind = error.split([':', '\'', '"', '`', '[', '{']).next().unwrap_or_default().trim_end();
    format!("{kind} (the rest is left out, because fields are masked)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(masked: &[&str], removed: &[&str]) -> Mask {
        let rule = |action| move |field: &&str| (FieldRef::parse(field).unwrap(), action);
        Mask { rules: removed.iter().map(rule(Action::Remove)).chain(masked.iter().map(rule(Action::Mask))).collect() }
    }

    fn applied(mask: &Mask, value: &str) -> String {
        match mask.apply(value.as_bytes()) {
            Masked::Unchanged => "unchanged".to_string(),
            Masked::Fields(value) => String::from_utf8(value).unwrap(),
            Masked::Whole => "whole".to_string(),
        }
    }

    #[test]
    fn fields_are_masked_or_left_out_and_everything_else_stays_as_it_came() {
        let mask = mask(&["[user][password]", "token"], &["[user][ssn]", "[cards][number]", "[list][1]"]);
        for (value, expected) in [
            (
                r#"{ "a": 1.10, "user": {"name":"n\u00e4","password":"p","ssn":"s"} }"#,
                r#"{"a":1.10,"user":{"name":"n\u00e4","password":"***"}}"#,
            ),
            // Every one of repeated keys, and an escaped spelling of a key.
            (r#"{"token":1,"b":2,"tok\u0065n":[{"x":1}]}"#, r#"{"token":"***","b":2,"token":"***"}"#),
            (
                r#"{"cards":[{"number":1,"kind":"v"},{"number":2}],"list":[1,2]}"#,
                r#"{"cards":[{"kind":"v"},{}],"list":[1,"***"]}"#,
            ),
            (r#"{"user":"flat","users":{"password":"p"}}"#, "unchanged"),
            (r#"{"user.password":"another field"}"#, "unchanged"),
        ] {
            assert_eq!(applied(&mask, value), expected, "{value}");
        }
    }

    #[test]
    fn what_is_no_json_object_is_left_out_whole() {
        let mask = mask(&["password"], &[]);
        let deep = format!("{}{}{}", "{\"password\":1,\"a\":", "[".repeat(1_000), "]".repeat(1_000));
        for value in
            ["password=x", "", "[{\"password\":1}]", "{\"password\":1", "{\"password\":1} x", "{\"a\":1,}", &deep]
        {
            assert_eq!(applied(&mask, value), "whole", "{value}");
        }
        assert_eq!(mask.apply(b"{\"password\":\"\xff\"}"), Masked::Whole);
        assert_eq!(Mask::default().apply(b"\xff"), Masked::Unchanged);
    }

    #[test]
    fn errors_keep_their_kind_only() {
        for error in [
            "document_parsing_exception: [1:9] failed to parse field [a]. Preview of field's value: 'secret'",
            "document_parsing_exception 'secret'",
        ] {
            assert_eq!(
                without_values(error),
                "document_parsing_exception (the rest is left out, because fields are masked)"
            );
        }
    }
}
