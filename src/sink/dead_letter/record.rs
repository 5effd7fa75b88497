//! What a dead letter holds: the record as it came, and why it is here.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use super::mask::{Mask, Masked, without_values};
use crate::delivery::{Hub, Rejected};

/// One dead letter, borrowed from the refused record.
#[derive(Debug)]
pub struct DeadLetter<'a> {
    rejected: &'a Rejected,
    pipeline: &'a str,
    pipeline_version: Arc<str>,
    time: String,
    /// The masked value, if fields are masked or left out.
    masked: Masked,
    /// True if the error may quote values.
    quotes_values: bool,
}

impl<'a> DeadLetter<'a> {
    pub(crate) fn of(rejected: &'a Rejected, hub: &'a Hub) -> Self {
        DeadLetter {
            rejected,
            pipeline: &hub.pipeline,
            pipeline_version: hub.pipeline_version(),
            time: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
            masked: Masked::Unchanged,
            quotes_values: true,
        }
    }

    /// Masks fields of its value, or leaves them out.
    pub(crate) fn masked(self, mask: &Mask) -> Self {
        let masked = self.value().map_or(Masked::Unchanged, |value| mask.apply(value));
        DeadLetter { masked, quotes_values: mask.is_empty(), ..self }
    }

    fn index(&self) -> usize {
        self.rejected.record as usize
    }

    /// The original key.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.rejected.raw.key(self.index())
    }

    /// The value; `None` for a record without one, and where it is left out.
    pub fn value(&self) -> Option<&[u8]> {
        match &self.masked {
            Masked::Unchanged => {}
            Masked::Fields(value) => return Some(value),
            Masked::Whole => return None,
        }
        (!self.rejected.raw.is_tombstone(self.index())).then(|| self.rejected.raw.value(self.index()))
    }

    /// The original headers.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> {
        self.rejected.raw.headers(self.index())
    }

    /// Why and from where: the names of these fields are those of the Kafka headers (with `logproc.` before them) and of
    /// the JSON lines.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let reason = &self.rejected.reason;
        let origin = self.rejected.raw.origin(self.index());
        let record = &self.rejected.raw.records()[self.index()];
        let mut facts = vec![
            ("reason", reason.kind.to_string()),
            ("error", if self.quotes_values { reason.message.clone() } else { without_values(&reason.message) }),
            ("topic", origin.topic.to_string()),
            ("partition", origin.partition.to_string()),
            ("offset", record.offset.to_string()),
            ("pipeline", self.pipeline.to_string()),
            ("pipeline_version", self.pipeline_version.to_string()),
            ("time", self.time.clone()),
        ];
        facts.extend(origin.topic_id.as_ref().map(|id| ("topic_id", id.to_string())));
        facts.extend(reason.component.as_ref().map(|component| ("component", component.to_string())));
        facts.extend(reason.status.map(|status| ("status", status.to_string())));
        match &self.masked {
            Masked::Unchanged => {}
            Masked::Fields(_) => facts.push(("masked", "fields".to_string())),
            Masked::Whole => facts.push(("masked", "whole".to_string())),
        }
        if record.timestamp_ms >= 0 {
            facts.push(("record_timestamp_ms", record.timestamp_ms.to_string()));
        }
        facts
    }

    /// One line of JSON, without its newline. What is not UTF-8 is base64 and says so.
    pub fn to_json(&self) -> String {
        let mut object = Map::new();
        for (name, value) in self.facts() {
            let value = match name {
                "partition" | "offset" | "status" | "record_timestamp_ms" => {
                    value.parse::<i64>().map_or(Value::Null, Value::from)
                }
                _ => Value::from(value),
            };
            object.insert(name.to_string(), value);
        }
        put_bytes(&mut object, "key", self.key());
        let headers: Vec<Value> = self
            .headers()
            .map(|(name, value)| {
                let mut header = Map::from_iter([("name".to_string(), json!(name))]);
                put_bytes(&mut header, "value", value);
                Value::Object(header)
            })
            .collect();
        if !headers.is_empty() {
            object.insert("headers".to_string(), Value::Array(headers));
        }
        put_bytes(&mut object, "value", self.value());
        Value::Object(object).to_string()
    }
}

fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    let value = match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)) {
        None => Value::Null,
        Some(Ok(text)) => Value::from(text),
        Some(Err(bytes)) => {
            object.insert(format!("{name}_encoding"), Value::from("base64"));
            Value::from(BASE64.encode(bytes))
        }
    };
    object.insert(name.to_string(), value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{BatchBuilder, NewRecord, Origin, Reason, Shape, Shutdown};

    #[test]
    fn a_line_holds_the_record_and_the_reason() {
        let mut builder = BatchBuilder::default();
        let origin = builder.origin("nginx", 2, || Origin::detached("nginx", 2));
        let record = NewRecord { origin, offset: 41, timestamp_ms: 9, key: None, value: b"\xff{", shape: Shape::Plain };
        builder.push(record, [("h", Some(&b"x"[..]))].into_iter());
        let reason =
            Reason { status: Some(400), ..Reason::new("rejected", Some("elasticsearch".into()), "mapper_parsing: no") };
        let rejected = Rejected { raw: Arc::new(builder.into_detached()), record: 0, reason };
        let hub = Hub::new("web", "v7", 1 << 20, Shutdown::new());
        let line: Value = serde_json::from_str(&DeadLetter::of(&rejected, &hub).to_json()).unwrap();
        assert_eq!(line["value"], "/3s=");
        assert_eq!(line["value_encoding"], "base64");
        assert_eq!((&line["topic"], &line["partition"], &line["offset"]), (&json!("nginx"), &json!(2), &json!(41)));
        assert_eq!(
            (&line["status"], &line["reason"], &line["component"]),
            (&json!(400), &json!("rejected"), &json!("elasticsearch"))
        );
        assert_eq!((&line["pipeline"], &line["pipeline_version"]), (&json!("web"), &json!("v7")));
        assert_eq!(line["headers"], json!([{"name": "h", "value": "x"}]));
        assert_eq!(line["key"], Value::Null);
    }
}
