//! Comparison of the event with a plain model: after any sequence of sets, additions, removals and moves, both hold the
//! same.

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;

/// An operation on an event.
#[derive(Clone, Debug)]
enum Act {
    Set(Vec<&'static str>, Json),
    Add(Vec<&'static str>, Json),
    Get(Vec<&'static str>),
    Remove(Vec<&'static str>),
    Discard(Vec<&'static str>),
    Move(Vec<&'static str>, Vec<&'static str>),
    Merge(Vec<&'static str>),
}

/// Initial records: with an array on a path, with members that no operation changes, and with only members that can be
/// removed.
const STARTS: [&str; 4] = [
    r#"{"a":{"b":{"a":1},"c\"":2},"b":[1,{"a":1}]}"#,
    r#"{"z":0,"a":{"x":[{}],"b":{"a":1,"y":[2],"b":3},"a":{"a":null}},"m":"\u00e9","b":{"a":{"b":3},"b":4,"n":"\"{,"},"l":{}}"#,
    r#"{"a":{"a":{"a":{"b":1}},"b":{}},"b":{"b":"x"}}"#,
    r#"{"b":1}"#,
];

fn path() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c\"")], 1..4)
}

fn value() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(json!(1)),
        Just(json!("text")),
        Just(json!(null)),
        Just(json!({ "a": { "b": 2 } })),
        Just(json!([3]))
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (path(), value()).prop_map(|(path, value)| Act::Set(path, value)),
        (path(), value()).prop_map(|(path, value)| Act::Add(path, value)),
        path().prop_map(Act::Get),
        path().prop_map(Act::Remove),
        path().prop_map(Act::Discard),
        (path(), path()).prop_map(|(from, to)| Act::Move(from, to)),
        path().prop_map(Act::Merge),
    ]
}

fn find<'m>(model: &'m mut Map<String, Json>, path: &[&str]) -> Option<&'m mut Json> {
    let (last, parents) = path.split_last()?;
    let mut at = model;
    for name in parents {
        at = at.get_mut(*name)?.as_object_mut()?;
    }
    at.get_mut(*last)
}

/// Returns the object that contains the last step, which is created if it is absent or null.
fn parent<'m>(model: &'m mut Map<String, Json>, path: &[&str]) -> Option<&'m mut Map<String, Json>> {
    let mut at = model;
    for name in &path[..path.len() - 1] {
        let inner = at.entry(name.to_string()).or_insert(Json::Null);
        if inner.is_null() {
            *inner = json!({});
        }
        at = inner.as_object_mut()?;
    }
    Some(at)
}

fn put(model: &mut Map<String, Json>, path: &[&str], value: Json, add: bool) -> bool {
    let Some(parent) = parent(model, path) else { return false };
    let name = path[path.len() - 1];
    match parent.get_mut(name) {
        Some(Json::Array(list)) if add => list.push(value),
        Some(single) if add => *single = json!([single.take(), value]),
        Some(place) => *place = value,
        None => {
            parent.insert(name.to_string(), value);
        }
    }
    true
}

fn remove(model: &mut Map<String, Json>, path: &[&str]) -> Option<Json> {
    let (last, parents) = path.split_last()?;
    match parents {
        [] => model.remove(*last),
        _ => find(model, parents)?.as_object_mut()?.remove(*last),
    }
}

fn loaded(event: &mut Event, value: &Json) -> Value {
    let text = event.push_str(&value.to_string());
    event.parse_json(text).unwrap()
}

/// Returns whether both ways of printing give the content of the model.
fn same(event: &mut Event, model: &Map<String, Json>) -> bool {
    let (mut out, mut again) = (Vec::new(), Vec::new());
    event.write_json(&mut out);
    event.write_next_json(&mut again);
    out == again && serde_json::from_slice::<Json>(&out).unwrap() == Json::Object(model.clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn an_event_holds_what_the_model_holds(
        acts in proptest::collection::vec(act(), 1..24),
        start in 0..STARTS.len(),
        earlier in prop::option::of(0..STARTS.len()),
        spaced in any::<bool>(),
    ) {
        let start: Json = serde_json::from_str(STARTS[start]).unwrap();
        let mut model = start.as_object().unwrap().clone();
        let numbered = |path: &[&'static str]| {
            let field = FieldRef::from_names(path.iter().copied());
            if path.len() % 2 == 0 || path[0] == "a" { field.lasting() } else { field }
        };
        for path in [&["a", "b", "a"][..], &["a", "a", "x"], &["a", "b"], &["b", "a"], &["b", "b"]] {
            FieldRef::from_names(path.iter().copied()).lasting();
        }
        let mut event = Event::versed();
        if let Some(earlier) = earlier {
            // The fields read from an earlier record determine which objects of this one are opened when it is decoded.
            event.decode_json(STARTS[earlier].as_bytes()).unwrap();
            for path in [&["a", "b"][..], &["b", "a"], &["a", "a", "a"]] {
                event.get(&numbered(path));
            }
            event.reset();
        }
        let record = if spaced { format!("{start:#}") } else { start.to_string() };
        event.decode_json(record.as_bytes()).unwrap();
        let json = r#"{"a":{"x":1},"b":"y"}"#;
        let fragments = [Fragment::new(json, None), Fragment::new(json, Some(&numbered(&["a"]))), Fragment::new(json, Some(&numbered(&["b"])))];
        for act in acts {
            match &act {
                Act::Set(path, value) | Act::Add(path, value) => {
                    let field = numbered(path);
                    let add = matches!(act, Act::Add(..));
                    let new = loaded(&mut event, value);
                    let done = if add { event.add(&field, new) } else { event.set(&field, new) };
                    prop_assert_eq!(done.is_ok(), put(&mut model, path, value.clone(), add), "{:?}", act);
                }
                Act::Get(path) => {
                    let found = event.get(&numbered(path));
                    let mut out = Vec::new();
                    event.write_value(found.unwrap_or(Value::Null), &mut out);
                    let expected = find(&mut model, path).map(|value| value.clone()).unwrap_or(Json::Null);
                    prop_assert_eq!(serde_json::from_slice::<Json>(&out).unwrap(), expected, "{:?}", act);
                }
                Act::Remove(path) => {
                    let removed = event.remove(&numbered(path));
                    prop_assert_eq!(removed.is_some(), remove(&mut model, path).is_some(), "{:?}", act);
                }
                Act::Discard(path) => {
                    event.discard(&numbered(path));
                    remove(&mut model, path);
                }
                Act::Move(from, to) => {
                    let moved = event.remove(&numbered(from));
                    prop_assert_eq!(moved.is_some(), find(&mut model, from).is_some(), "{:?}", act);
                    if let (Some(moved), Some(expected)) = (moved, remove(&mut model, from)) {
                        let done = event.set(&numbered(to), moved);
                        prop_assert_eq!(done.is_ok(), put(&mut model, to, expected, false), "{:?}", act);
                    }
                }
                Act::Merge(path) => {
                    let fragment = match path[..] {
                        ["a"] => &fragments[1],
                        ["b"] => &fragments[2],
                        _ => &fragments[0],
                    };
                    let done = event.merge(Some(&numbered(path)), fragment);
                    let fits = match find(&mut model, path) {
                        Some(Json::Object(into)) => {
                            match into.get_mut("a") {
                                Some(Json::Object(inner)) => { inner.insert("x".into(), json!(1)); }
                                _ => { into.insert("a".into(), json!({ "x": 1 })); }
                            }
                            into.insert("b".into(), json!("y"));
                            true
                        }
                        None | Some(Json::Null) => put(&mut model, path, json!({ "a": { "x": 1 }, "b": "y" }), false),
                        Some(_) => false,
                    };
                    prop_assert_eq!(done.is_ok(), fits, "{:?}", act);
                }
            }
            prop_assert!(same(&mut event, &model), "after {:?}", act);
        }
    }
}
