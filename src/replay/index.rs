//! The index that a replay writes to, before it does: its mapping beside that of where the pipeline writes, and making it like another.

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use super::alias::{ask, expect};
use super::mapping::{Mapping, in_words};
use crate::misuse::misuse;
use crate::sink::elasticsearch::{Client, Method};

/// Settings of an index that are its own and no other's.
const OWN_SETTINGS: &[&str] = &[
    "uuid",
    "creation_date",
    "provided_name",
    "version",
    "history",
    "history_uuid",
    "resize",
    "shrink",
    "blocks",
    "hidden",
    "verified_before_close",
];
/// The same in `lifecycle`.
const OWN_LIFECYCLE: &[&str] = &["indexing_complete", "origination_date"];
/// Allocation that Elasticsearch sets while it makes an index of another.
const OWN_ALLOCATION: &str = "initial_recovery";
/// The mapping's part that only data streams have.
const OF_DATA_STREAMS: &str = "_data_stream_timestamp";

/// The description of an index in a plan.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Outlook {
    /// The way in which the index is created.
    pub notes: Vec<String>,
    /// Warnings about likely mistakes.
    pub warnings: Vec<String>,
}

/// An index as it is.
struct There {
    name: String,
    mappings: Value,
    settings: Value,
}

/// Looks at the index `name`, which is to be made like the index `like` where that is given. `writes_to` is where the pipeline itself
/// writes, with `*` for what differs between events.
pub(super) async fn look_at(
    client: &Client,
    name: &str,
    writes_to: Option<&str>,
    like: Option<&str>,
) -> anyhow::Result<Outlook> {
    let mut outlook = Outlook::default();
    let existing = newest(client, name, None).await?;
    let here = match (&existing, like) {
        (Some(there), _) => {
            if like.is_some() {
                outlook.warnings.push(format!("index {name} exists: --like changes nothing"));
            }
            Some(there.mappings.clone())
        }
        (None, Some(like)) => {
            let there = required(client, like).await?;
            outlook.notes.push(format!("Index {name} is made with the mapping and the settings of {}.", there.name));
            Some(there.mappings)
        }
        (None, None) => simulated(client, name).await?,
    };
    let Some(here) = here else {
        outlook.warnings.push(format!(
            "no index template matches {name}: Elasticsearch makes its mapping of the first documents; --like INDEX copies that of another index"
        ));
        return Ok(outlook);
    };
    // A name that is all references would match everything.
    let Some(pattern) = writes_to.filter(|pattern| !pattern.starts_with('*')) else { return Ok(outlook) };
    let Some(there) = newest(client, pattern, Some(name)).await? else { return Ok(outlook) };
    let explicit =
        simulated(client, &there.name).await?.map_or_else(Mapping::default, |mappings| Mapping::of(&mappings));
    let differences = Mapping::of(&there.mappings).differences(&Mapping::of(&here), &explicit);
    if !differences.is_empty() {
        let advice = if existing.is_none() && like.is_none() {
            format!("; --like {} copies it", there.name)
        } else {
            String::new()
        };
        outlook.warnings.push(format!(
            "the mapping of {name} differs from that of {}, where the pipeline writes: {}{advice}",
            there.name,
            in_words(&differences)
        ));
    }
    Ok(outlook)
}

/// Makes the index `name` with the mapping and the settings of `like`, unless it exists.
pub(super) async fn make_like(client: &Client, name: &str, like: &str) -> anyhow::Result<()> {
    if newest(client, name, None).await?.is_some() {
        tracing::warn!(index = name, like, "the index exists; its mapping and settings stay as they are");
        return Ok(());
    }
    let there = required(client, like).await?;
    let body = json!({"mappings": of_an_index(there.mappings), "settings": {"index": copied(there.settings)}});
    let (status, answer) = ask(client, Method::PUT, name, Some(body)).await?;
    // Another process of the job may have been faster.
    if answer["error"]["type"] != "resource_already_exists_exception" {
        expect(status, name, &answer)?;
        tracing::info!(index = name, like = there.name, "index created");
    }
    Ok(())
}

async fn required(client: &Client, like: &str) -> anyhow::Result<There> {
    match newest(client, like, None).await? {
        Some(there) => Ok(there),
        None => misuse!("--like: there is no index `{like}`"),
    }
}

/// Returns the newest of the indices of a name (an index, an alias, a data stream) or a pattern, other than `but`; `None` where there
/// is none.
async fn newest(client: &Client, pattern: &str, but: Option<&str>) -> anyhow::Result<Option<There>> {
    let path = format!("{pattern}?ignore_unavailable=true&allow_no_indices=true&expand_wildcards=open,hidden");
    let (status, body) = ask(client, Method::GET, &path, None).await?;
    // Whoever may write need not be allowed to look.
    if matches!(status, 401 | 403 | 404) {
        return Ok(None);
    }
    expect(status, pattern, &body)?;
    let Value::Object(indices) = body else { return Ok(None) };
    let created =
        |index: &Value| index["settings"]["index"]["creation_date"].as_str().and_then(|date| date.parse::<u64>().ok());
    let newest =
        indices.into_iter().filter(|(name, _)| but != Some(name.as_str())).max_by_key(|(_, index)| created(index));
    Ok(newest.map(|(name, mut index)| There {
        name,
        mappings: index["mappings"].take(),
        settings: index["settings"]["index"].take(),
    }))
}

/// Returns the mapping that templates give to a new index of this name; `None` where none matches.
async fn simulated(client: &Client, name: &str) -> anyhow::Result<Option<Value>> {
    let (status, mut body) =
        ask(client, Method::POST, &format!("_index_template/_simulate_index/{name}"), None).await?;
    if !(200..300).contains(&status) {
        tracing::warn!(status, index = name, "failed to look up the template of an index");
        return Ok(Some(Value::Null));
    }
    if let Some(template) = body.get_mut("template") {
        return Ok(Some(template["mappings"].take()));
    }
    let (status, body) = ask(client, Method::GET, "_template", None).await?;
    if status != 200 {
        return Ok(None);
    }
    // Those of the old kind all apply, the one with the highest order last.
    let templates = body.as_object().into_iter().flatten().map(|(_, template)| template);
    let mut templates: Vec<&Value> =
        templates.filter(|template| matches_any(&template["index_patterns"], name)).collect();
    templates.sort_by_key(|template| template["order"].as_i64());
    let mut properties = Map::new();
    for template in &templates {
        properties.extend(
            template["mappings"]["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, field)| (name.clone(), field.clone())),
        );
    }
    Ok((!templates.is_empty()).then(|| json!({ "properties": properties })))
}

fn matches_any(patterns: &Value, name: &str) -> bool {
    patterns.as_array().into_iter().flatten().filter_map(Value::as_str).any(|pattern| matches(pattern, name))
}

/// Returns whether a pattern with `*` stands for a name.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(before) else { return false };
    (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(after, &rest[at..]))
}

/// Returns the settings that another index can have.
fn copied(mut settings: Value) -> Value {
    let remove = |value: &mut Value, names: &[&str]| {
        if let Some(object) = value.as_object_mut() {
            object.retain(|name, _| !names.contains(&name.as_str()));
        }
    };
    remove(&mut settings, OWN_SETTINGS);
    for (path, names) in [("/lifecycle", OWN_LIFECYCLE), ("/routing/allocation", &[OWN_ALLOCATION])] {
        if let Some(value) = settings.pointer_mut(path) {
            remove(value, names);
        }
    }
    settings
}

/// Returns a mapping without what only data streams have.
fn of_an_index(mut mappings: Value) -> Value {
    if let Some(object) = mappings.as_object_mut() {
        object.remove(OF_DATA_STREAMS);
    }
    mappings
}

/// Returns the first host of a client and the words of a request to it, for a person to send.
pub(super) fn curl(host: &str, path: &str, body: &Value) -> anyhow::Result<Vec<String>> {
    let body = serde_json::to_string(body).context("a request is no JSON")?;
    let words = ["curl", "-X", "POST", &format!("{host}/{path}"), "-H", "Content-Type: application/json", "-d", &body];
    Ok(words.map(str::to_string).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_an_index_s_own_are_not_copied() {
        let settings = json!({
            "uuid": "u", "creation_date": "1", "provided_name": "n", "version": {"created": "9"}, "hidden": "true", "blocks": {"write": "true"},
            "number_of_shards": "3", "mapping": {"total_fields": {"limit": "2000"}},
            "lifecycle": {"name": "logs", "indexing_complete": "true"},
            "routing": {"allocation": {"initial_recovery": {"_id": "x"}, "include": {"_tier_preference": "data_hot"}}},
        });
        let expected = json!({
            "number_of_shards": "3", "mapping": {"total_fields": {"limit": "2000"}}, "lifecycle": {"name": "logs"},
            "routing": {"allocation": {"include": {"_tier_preference": "data_hot"}}},
        });
        assert_eq!(copied(settings), expected);
        assert_eq!(
            of_an_index(json!({"_data_stream_timestamp": {"enabled": true}, "dynamic": "false"})),
            json!({"dynamic": "false"})
        );
    }

    #[test]
    fn patterns_of_templates_have_stars_anywhere() {
        for (pattern, name, expected) in [
            ("logs-*", "logs-a-b", true),
            ("logs-*-b", "logs-a-b", true),
            ("*", "x", true),
            ("logs", "logs-a", false),
            ("a*b*c", "abxc", true),
            ("a*b", "ac", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        assert!(matches_any(&json!(["a-*", "b-*"]), "b-1") && !matches_any(&json!(["a-*"]), "b-1"));
    }
}
