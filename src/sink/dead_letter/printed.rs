//! Dead letters as lines on standard error, for trial runs: reason, origin and the first bytes of the record.

use serde_json::json;

use crate::delivery::Rejected;
use crate::telemetry::logs::{self, Format};

/// The number of bytes of a record that are printed.
const FIRST_BYTES: usize = 200;

/// Prints dead letters, and returns when standard error has them.
pub(super) async fn print(rejected: &[Rejected]) {
    let mut lines = String::new();
    for one in rejected {
        lines.push_str(&line(one, logs::format()));
        lines.push('\n');
    }
    // A standard error that stands still must not hold up the other tasks of the runtime.
    let _ = tokio::task::spawn_blocking(move || logs::print_and_wait(lines.as_bytes())).await;
}

/// Returns the line of a dead letter, in the format of the log.
fn line(rejected: &Rejected, format: Format) -> String {
    let (index, reason) = (rejected.record as usize, &rejected.reason);
    let place = rejected.raw.origin(index);
    let origin = format!("{}:{}:{}", place.topic, place.partition, rejected.raw.records()[index].offset);
    let value = rejected.raw.value(index);
    let mut first = escaped(&value[..value.len().min(FIRST_BYTES)]);
    if value.len() > FIRST_BYTES {
        first.push('…');
    }
    let component = reason.component.as_deref();
    match format {
        Format::Json => json!({
            "level": "ERROR", "message": "dead letter", "reason": reason.kind, "component": component, "error": reason.message,
            "origin": origin, "first_bytes": first,
        })
        .to_string(),
        Format::Text => {
            let component = component.map(|component| format!(" ({component})")).unwrap_or_default();
            format!("dead letter: {}{component}: {}; {origin}: {first}", reason.kind, escaped(reason.message.as_bytes()))
        }
    }
}

/// Returns bytes as text, with control characters and what is not UTF-8 escaped.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() { text.extend(character.escape_default()) } else { text.push(character) }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::delivery::{BatchBuilder, NewRecord, Origin, Reason, Shape};

    fn rejected(value: &[u8]) -> Rejected {
        let mut builder = BatchBuilder::default();
        let origin = builder.origin("nginx", 2, || Origin::detached("nginx", 2));
        builder.push(
            NewRecord { origin, offset: 41, timestamp_ms: -1, key: None, value, shape: Shape::Plain },
            std::iter::empty(),
        );
        Rejected {
            raw: Arc::new(builder.into_detached()),
            record: 0,
            reason: Reason::new("decode", Some("codec json".into()), "no\nobject"),
        }
    }

    #[test]
    fn a_dead_letter_is_one_line_with_reason_origin_and_first_bytes() {
        assert_eq!(
            line(&rejected(b"a\tb\xff"), Format::Text),
            "dead letter: decode (codec json): no\\nobject; nginx:2:41: a\\tb\\xff"
        );
        let long = line(&rejected(&[b'x'; 1_000]), Format::Text);
        assert!(long.ends_with(&format!(": {}…", "x".repeat(FIRST_BYTES))), "{long}");
        let json: serde_json::Value = serde_json::from_str(&line(&rejected(b"x"), Format::Json)).unwrap();
        assert_eq!(
            (&json["reason"], &json["origin"], &json["first_bytes"]),
            (&"decode".into(), &"nginx:2:41".into(), &"x".into())
        );
    }
}
