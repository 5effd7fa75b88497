//! Parsing of bulk responses: the result of each document.

use std::fmt;

use memchr::memmem;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// Parts of a bulk response that are requested. `items.*.status` is always present, so the response has one entry per
/// document even if nothing failed (27 bytes each for `create`). A response with another number of entries does not
/// come from Elasticsearch.
pub(super) const FILTER_PATH: &str = "errors,items.*.error,items.*.status,items.*.failure_store";

/// The outcomes of delivered documents, as labels of tallies.
pub(super) mod outcome {
    /// No document with the same ID existed.
    pub const CREATED: &str = "created";
    /// An existing document with the same ID was replaced.
    pub const REPLACED: &str = "replaced";
    /// A document with the same ID existed and was kept.
    pub const SKIPPED: &str = "skipped";
    /// The document was written to a failure store instead of its target.
    pub const FAILURE_STORE: &str = "in the failure store";
}

/// A valid bulk response.
#[derive(Debug, PartialEq)]
pub(super) enum BulkAnswer {
    /// All documents were accepted. `failure_store` of them went to a failure store, and `replaced` of them replaced an
    /// older document.
    AllTaken { failure_store: usize, replaced: usize },
    /// One result per document, in the order of the request.
    Items(Vec<ItemAnswer>),
}

/// The result of one document.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ItemAnswer {
    pub status: u16,
    pub is_create: bool,
    pub error: Option<ItemError>,
    pub in_failure_store: bool,
}

/// The reason why a document was rejected.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(super) struct ItemError {
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    caused_by: Option<Box<ItemError>>,
}

/// The class of a document's result, which determines how it is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The document was written.
    Created,
    /// The document already exists: it was sent before, and the response was lost.
    Duplicate,
    /// The cluster is overloaded.
    Busy,
    /// The cluster is temporarily unable to write: a shard is missing, or a node is down. Never caused by a document.
    Unavailable,
    /// The cluster failed.
    Failing,
    /// The index is blocked for writes.
    Blocked,
    /// The credentials or privileges are insufficient.
    Denied,
    /// The index does not exist and is not created automatically.
    MissingIndex,
    /// The document is rejected permanently.
    Rejected,
}

impl Class {
    /// Returns the label for metrics and logs.
    pub(super) fn label(self) -> &'static str {
        match self {
            Class::Created => "created",
            Class::Duplicate => "duplicate",
            Class::Busy => "busy",
            Class::Unavailable => "unavailable",
            Class::Failing => "failing",
            Class::Blocked => "blocked",
            Class::Denied => "denied",
            Class::MissingIndex => "missing_index",
            Class::Rejected => "rejected",
        }
    }
}

impl ItemAnswer {
    pub(super) fn class(&self) -> Class {
        let (kind, reason) = self.error.as_ref().map_or(("", ""), |error| (error.kind.as_str(), error.reason.as_str()));
        match self.status {
            200..=299 => Class::Created,
            409 if self.is_create => Class::Duplicate,
            408 | 429 => Class::Busy,
            502..=504 => Class::Unavailable,
            500..=599 => Class::Failing,
            // An operator must fix these, although the status blames the document.
            400 if kind == "index_closed_exception" || reason.contains("shards open") => Class::Blocked,
            403 if kind == "cluster_block_exception" => Class::Blocked,
            401 | 403 => Class::Denied,
            404 if kind == "index_not_found_exception" => Class::MissingIndex,
            _ => Class::Rejected,
        }
    }

    /// Returns whether the document replaced an older one: for accepted documents, `create` and `index` return 201 if
    /// there was none, and 200 if there was.
    pub(super) fn is_replaced(&self) -> bool {
        self.status == 200
    }

    /// Returns the outcome of a delivered document as a readable label.
    pub(super) fn outcome(&self) -> &'static str {
        match self.class() {
            _ if self.in_failure_store => outcome::FAILURE_STORE,
            Class::Duplicate => outcome::SKIPPED,
            _ if self.is_replaced() => outcome::REPLACED,
            _ => outcome::CREATED,
        }
    }
}

impl fmt::Display for ItemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.reason)?;
        match &self.caused_by {
            Some(cause) => write!(f, ", caused by {cause}"),
            None => Ok(()),
        }
    }
}

/// The reason why a response is invalid. The request is sent again.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum BadAnswer {
    #[error("the answer is not a whole bulk answer: {0}")]
    Unreadable(String),
    #[error("the answer speaks of {got} documents, the request had {expected}")]
    WrongCount { got: usize, expected: usize },
}

/// Parses the response to a request of `expected` documents. With `in_detail`, documents with different outcomes are
/// returned as separate items.
pub(super) fn read(body: &[u8], expected: usize, in_detail: bool) -> Result<BulkAnswer, BadAnswer> {
    if let Some((failure_store, replaced)) = all_taken(body, expected) {
        let are_alike = failure_store == 0 && (replaced == 0 || replaced == expected);
        if are_alike || !in_detail {
            return Ok(BulkAnswer::AllTaken { failure_store, replaced });
        }
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|error| BadAnswer::Unreadable(error.to_string()))?;
    if answer.items.len() != expected {
        return Err(BadAnswer::WrongCount { got: answer.items.len(), expected });
    }
    Ok(BulkAnswer::Items(answer.items))
}

/// Returns the numbers of documents in a failure store and of replaced documents, for the usual response: no errors,
/// one status per document, and not truncated. This is the fast path, without JSON parsing.
fn all_taken(body: &[u8], expected: usize) -> Option<(usize, usize)> {
    let body = body.trim_ascii();
    if !body.starts_with(b"{\"errors\":false,") || !body.ends_with(b"]}") {
        return None;
    }
    let statuses = memmem::find_iter(body, b"\"status\":").count();
    let created = memmem::find_iter(body, b"\"status\":201").count();
    let replaced = if created == expected { 0 } else { memmem::find_iter(body, b"\"status\":200").count() };
    if statuses != expected || created + replaced != expected {
        return None;
    }
    Some((memmem::find_iter(body, b"\"failure_store\":\"used\"").count(), replaced))
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "errors")]
    _errors: bool,
    items: Vec<ItemAnswer>,
}

impl<'de> Deserialize<'de> for ItemAnswer {
    /// Deserialises an item, which is a map with a single key: the action, mapped to its result.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Outcome {
            status: u16,
            #[serde(default)]
            error: Option<ItemError>,
            #[serde(default)]
            failure_store: Option<String>,
        }
        struct Item;
        impl<'de> Visitor<'de> for Item {
            type Value = ItemAnswer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the outcome of one action")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ItemAnswer, A::Error> {
                let Some((action, outcome)) = map.next_entry::<String, Outcome>()? else {
                    return Err(serde::de::Error::custom("an item without an action"));
                };
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(ItemAnswer {
                    status: outcome.status,
                    is_create: action == "create",
                    error: outcome.error,
                    in_failure_store: outcome.failure_store.as_deref() == Some("used"),
                })
            }
        }
        deserializer.deserialize_map(Item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(body: &str, expected: usize) -> Vec<Class> {
        match read(body.as_bytes(), expected, false).unwrap() {
            BulkAnswer::Items(items) => items.iter().map(ItemAnswer::class).collect(),
            BulkAnswer::AllTaken { .. } => vec![Class::Created; expected],
        }
    }

    #[test]
    fn a_good_answer_takes_the_short_way() {
        let body =
            br#"{"errors":false,"items":[{"create":{"status":201}},{"create":{"failure_store":"used","status":201}}]}"#;
        assert_eq!(all_taken(body, 2), Some((1, 0)));
        assert_eq!(read(body, 2, false), Ok(BulkAnswer::AllTaken { failure_store: 1, replaced: 0 }));
    }

    #[test]
    fn a_response_that_does_not_speak_of_each_document_counts_for_none() {
        let short = br#"{"errors":false,"items":[]}"#;
        assert_eq!(read(short, 2, false), Err(BadAnswer::WrongCount { got: 0, expected: 2 }));
        let fewer = br#"{"errors":false,"items":[{"create":{"status":201}}]}"#;
        assert_eq!(read(fewer, 2, true), Err(BadAnswer::WrongCount { got: 1, expected: 2 }));
        let more = br#"{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":429}}]}"#;
        assert_eq!(read(more, 1, false), Err(BadAnswer::WrongCount { got: 2, expected: 1 }));
        for body in [
            "",
            "{}",
            "[]",
            "null",
            "<html>OK</html>",
            r#"{"errors":false}"#,
            r#"{"took":3,"errors":false}"#,
            r#"{"items":[{"create":{"status":201}},{"create":{"status":201}}]}"#,
            r#"{"errors":false,"items":[{},{}]}"#,
            r#"{"errors":false,"items":[{"create":{}},{"create":{}}]}"#,
            r#"{"errors":false,"items":null}"#,
        ] {
            assert!(matches!(read(body.as_bytes(), 2, false), Err(BadAnswer::Unreadable(_))), "{body}");
        }
    }

    #[test]
    fn what_was_replaced_is_told_from_what_is_new_where_that_is_wanted() {
        let body = br#"{"errors":false,"items":[{"index":{"status":201}},{"index":{"status":200}},{"index":{"failure_store":"used","status":201}}]}"#;
        assert_eq!(read(body, 3, false), Ok(BulkAnswer::AllTaken { failure_store: 1, replaced: 1 }));
        let Ok(BulkAnswer::Items(items)) = read(body, 3, true) else { panic!("each has an outcome of its own") };
        assert_eq!(
            items.iter().map(ItemAnswer::outcome).collect::<Vec<_>>(),
            ["created", "replaced", "in the failure store"]
        );
        let alike = br#"{"errors":false,"items":[{"index":{"status":200}},{"index":{"status":200}}]}"#;
        assert_eq!(read(alike, 2, true), Ok(BulkAnswer::AllTaken { failure_store: 0, replaced: 2 }));
        let conflict = br#"{"errors":true,"items":[{"create":{"status":409}}]}"#;
        let Ok(BulkAnswer::Items(items)) = read(conflict, 1, true) else { panic!("an item") };
        assert_eq!(items[0].outcome(), "skipped");
    }

    #[test]
    fn an_answer_that_is_cut_or_counts_wrong_is_not_believed() {
        let body = br#"{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":201}}]}"#;
        assert_eq!(read(body, 3, false), Err(BadAnswer::WrongCount { got: 2, expected: 3 }));
        for end in 0..body.len() {
            assert!(matches!(read(&body[..end], 2, false), Err(BadAnswer::Unreadable(_))), "cut at {end}");
        }
        assert!(matches!(read(b"<html>502</html>", 1, false), Err(BadAnswer::Unreadable(_))));
    }

    #[test]
    fn each_document_has_its_own_class() {
        let body = r#"{"errors":true,"items":[
            {"create":{"status":201}},
            {"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"exists"}}},
            {"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"full"}}},
            {"create":{"status":503,"error":{"type":"unavailable_shards_exception","reason":"no primary"}}},
            {"create":{"status":500,"error":{"type":"illegal_state_exception","reason":"oops"}}},
            {"create":{"status":400,"error":{"type":"index_closed_exception","reason":"closed"}}},
            {"create":{"status":400,"error":{"type":"validation_exception","reason":"cluster currently has [9]/[9] maximum normal shards open;"}}},
            {"create":{"status":403,"error":{"type":"cluster_block_exception","reason":"read-only"}}},
            {"create":{"status":403,"error":{"type":"security_exception","reason":"no"}}},
            {"create":{"status":404,"error":{"type":"index_not_found_exception","reason":"no such index"}}},
            {"create":{"status":400,"error":{"type":"document_parsing_exception","reason":"bad","caused_by":{"type":"x","reason":"y"}}}},
            {"index":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"newer"}}}]}"#;
        use Class::{Blocked, Busy, Created, Denied, Duplicate, Failing, MissingIndex, Rejected, Unavailable};
        let expected = [
            Created,
            Duplicate,
            Busy,
            Unavailable,
            Failing,
            Blocked,
            Blocked,
            Blocked,
            Denied,
            MissingIndex,
            Rejected,
            Rejected,
        ];
        assert_eq!(classes(body, expected.len()), expected);
        let Ok(BulkAnswer::Items(items)) = read(body.as_bytes(), expected.len(), false) else { panic!("items") };
        assert_eq!(items[10].error.as_ref().unwrap().to_string(), "document_parsing_exception: bad, caused by x: y");
    }
}
