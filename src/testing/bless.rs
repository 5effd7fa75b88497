//! Writing what came out back into the file of the tests, and leaving everything else in it as it is.

use serde_json::Value;
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table};

use super::case::{Case, Verdict, field};

/// The text of a test file with the expectations of these cases set to what came out. A case that expects fields expects
/// the same ones afterwards; one that expects nothing yet expects the whole document.
///
/// # Errors
/// The text is not TOML, or has not these tests.
pub fn bless(text: &str, cases: &[(&Case, &Verdict)]) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    let tests = document.get_mut("test").and_then(Item::as_array_of_tables_mut).ok_or("there is no [[test]] table")?;
    for (case, verdict) in cases {
        let table = tests.get_mut(case.number).ok_or_else(|| format!("there is no test `{}`", case.name))?;
        set(table, case, verdict);
    }
    Ok(document.to_string())
}

fn set(table: &mut Table, case: &Case, verdict: &Verdict) {
    let outputs = verdict.outputs.as_slice();
    if outputs.is_empty() {
        for option in [
            "expect",
            "document",
            "absent",
            "tags",
            "sinks",
            "sink",
            "index",
            "data_stream",
            "document_id",
            "dropped",
            "dead_letter",
        ] {
            table.remove(option);
        }
        match &verdict.dead_letter {
            Some(reason) => table.insert("dead_letter", toml_edit::value(reason)),
            None => table.insert("dropped", toml_edit::value(true)),
        };
        return;
    }
    if case.dropped == Some(true) || verdict.dropped > 0 {
        table.remove("dropped");
    }
    table.remove("dead_letter");
    let absent = |name: &&String| outputs.iter().all(|output| field(&output.event, name).is_none());
    let still: Array = case.absent.iter().filter(absent).collect();
    if still.len() < case.absent.len() {
        table.insert("absent", toml_edit::value(still));
    }
    if let (Some(_), [output, ..]) = (&case.tags, outputs) {
        let tags = output.event.get("tags").cloned().unwrap_or_else(|| Value::Array(Vec::new()));
        if let Some(tags) = to_toml(&tags) {
            table.insert("tags", Item::Value(tags));
        }
    }
    if let (Some(_), [output, ..]) = (&case.sinks, outputs) {
        table.insert("sinks", Item::Value(output.sinks().collect::<Array>().into()));
    }
    if let Some(expect) = &case.expect {
        let last = expect.last();
        let kept = outputs.iter().enumerate().map(|(number, output)| {
            let wanted = expect.get(number).or(last);
            wanted.map_or(Value::Null, |wanted| narrowed(wanted, &output.event))
        });
        put(table, "expect", kept.collect());
    }
    if let (Some(sink), [output, ..]) = (&case.sink, outputs)
        && output.sinks().all(|name| name != sink)
        && let Some(first) = output.sinks().next()
    {
        table.insert("sink", toml_edit::value(first));
    }
    for (option, expected, value_of) in case.of_destinations() {
        if expected.is_none() {
            continue;
        }
        let values = outputs.iter().map(|output| case.destinations(output).find_map(value_of).unwrap_or_default());
        let values: Vec<&str> = values.collect();
        match &values[..] {
            values if values.iter().all(|value| value.is_empty()) => table.remove(option),
            [value, more @ ..] if more.iter().all(|other| other == value) => {
                table.insert(option, toml_edit::value(*value))
            }
            _ => table.insert(option, Item::Value(values.iter().copied().collect::<Array>().into())),
        };
    }
    let others = ["expect", "tags", "sinks", "sink", "index", "data_stream", "document_id", "dropped"];
    if case.document.is_some() || others.iter().all(|option| !table.contains_key(option)) {
        let documents = outputs.iter().map(|output| {
            let mut event = output.event.clone();
            if let Value::Object(fields) = &mut event {
                fields.remove("@metadata");
            }
            event
        });
        put(table, "document", documents.collect());
    }
}

/// The values in `event` of the fields that `wanted` names.
fn narrowed(wanted: &Value, event: &Value) -> Value {
    // An empty table stands for all that is there.
    let Some(fields) = wanted.as_object().filter(|fields| !fields.is_empty()) else { return event.clone() };
    let kept = fields.iter().filter_map(|(name, wanted)| {
        let got = field(event, name)?;
        Some((name.clone(), if got.is_object() { narrowed(wanted, got) } else { got.clone() }))
    });
    Value::Object(kept.collect())
}

/// Sets an option to one event as a table, or to several as a list of tables.
fn put(table: &mut Table, option: &str, events: Vec<Value>) {
    let tables = events.iter().map(|event| {
        let mut table = Table::new();
        for (name, value) in event.as_object().into_iter().flatten() {
            if let Some(value) = to_toml(value) {
                table.insert(name, Item::Value(value));
            }
        }
        table
    });
    let mut tables: Vec<Table> = tables.collect();
    let item = if tables.len() == 1 {
        Item::Table(tables.remove(0))
    } else {
        let mut list = ArrayOfTables::new();
        tables.into_iter().for_each(|table| list.push(table));
        Item::ArrayOfTables(list)
    };
    table.remove(option);
    table.insert(option, item);
}

/// A JSON value in TOML, which has no `null`: such a field is left out.
fn to_toml(value: &Value) -> Option<toml_edit::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.into(),
            (None, Some(number)) => number.into(),
            (None, None) => return None,
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().filter_map(to_toml).collect::<Array>().into(),
        Value::Object(fields) => {
            let mut table = InlineTable::new();
            for (name, value) in fields {
                if let Some(value) = to_toml(value) {
                    table.insert(name, value);
                }
            }
            table.into()
        }
    })
}
