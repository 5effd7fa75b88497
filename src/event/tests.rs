use super::*;

fn decoded(json: &str) -> Event {
    let mut event = Event::new();
    event.decode_json(json.as_bytes()).unwrap();
    event
}

/// Returns the event as JSON.
pub(crate) fn printed(event: &Event) -> String {
    let mut out = Vec::new();
    event.write_json(&mut out);
    String::from_utf8(out).unwrap()
}

fn field(text: &str) -> FieldRef {
    FieldRef::parse(text).unwrap()
}

#[test]
fn what_nobody_touches_comes_out_as_it_came() {
    for json in [
        r#"{}"#,
        r#"{"a":1,"b":2.0,"c":12345678901234567890123,"d":1e+21,"e":-0}"#,
        r#"{"z":{"y":[1,{"x":"\u00fc \"q\""}]},"a":null,"t":true,"f":false}"#,
        r#"{"k\u0065y":"tab\there"}"#,
    ] {
        let expected = json.replace("k\\u0065y", "key");
        assert_eq!(printed(&decoded(json)), expected);
    }
    assert_eq!(printed(&decoded(" {\n \"a\" : [ 1 , 2 ] , \"b\":{ } }\r\n")), r#"{"a":[1,2],"b":{}}"#);
}

#[test]
fn of_repeated_keys_in_parsed_text_the_last_counts_at_any_depth() {
    for (json, expected) in [
        (r#"{"a":{"b":1,"c":{"d":1,"d":[{"e":1,"e":2}]},"b":3}}"#, r#"{"t":{"a":{"b":3,"c":{"d":[{"e":2}]}}}}"#),
        // Without a repeated key, everything stays as it was written.
        (r#"{"a":{"b":1.00,"\u0063":[{}]}}"#, r#"{"t":{"a":{"b":1.00,"c":[{}]}}}"#),
        (r#"{"a":{"b":1.00,"c":[{ "b" : 2 }]}}"#, r#"{"t":{"a":{"b":1.00,"c":[{ "b" : 2 }]}}}"#),
    ] {
        let mut event = decoded("{}");
        let text = event.push_str(json);
        let value = event.parse_json(text).unwrap();
        event.set(&field("t"), value).unwrap();
        assert_eq!(printed(&event), expected, "{json}");
    }
}

#[test]
fn an_event_is_printed_on_one_line() {
    let spread = "{\n \"a\": {\r\n\"b\" : [1,\n2, \"x \\n\"]} }";
    let line = r#"{"a":{"b":[1,2,"x \n"]}}"#;
    assert_eq!(printed(&decoded(spread)), line);
    let mut event = decoded("{}");
    let text = event.push_str(spread);
    let value = event.parse_json(text).unwrap();
    event.set(&field("p"), value).unwrap();
    assert_eq!(printed(&event), format!("{{\"p\":{line}}}"));
}

#[test]
fn malformed_records_are_refused_with_the_place() {
    for (json, offset) in [
        ("", 0),
        ("[1]", 0),
        ("\"text\"", 0),
        ("{\"a\":1", 6),
        ("{\"a\":1}x", 7),
        ("{\"a\":01}", 7),
        ("{\"a\":\"\\x22\"}", 7),
        ("{\"a\":\"\n\"}", 6),
        ("{\"a\":{\"b\":tru}}", 10),
        ("{a:1}", 1),
        ("{\"a\":1,}", 7),
    ] {
        let error = Event::new().decode_json(json.as_bytes()).unwrap_err();
        assert_eq!(error.offset, offset, "{json}: {error}");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(Event::new().decode_json(deep.as_bytes()).unwrap_err().reason, "nested too deeply");
}

#[test]
fn a_repeated_key_keeps_its_first_place_and_last_value() {
    assert_eq!(printed(&decoded(r#"{"a":1,"b":2,"a":3}"#)), r#"{"a":3,"b":2}"#);
    let many: Vec<String> = (0..100).chain(0..100).map(|n| format!("\"k{n}\":{n}")).collect();
    let mut event = decoded(&format!("{{{}}}", many.join(",")));
    let root = event.root();
    assert_eq!(event.len_of(root), 100);
    assert_eq!(event.get(&field("k99")).and_then(|value| event.as_number(value)), Some(Number::Int(99)));
}

#[test]
fn invalid_utf8_is_repaired_byte_by_byte() {
    let mut event = Event::new();
    event.decode_json(b"{\"message\":\"a\xE2\x82b\xFF\"}").unwrap();
    assert_eq!(printed(&event), "{\"message\":\"a\u{FFFD}\u{FFFD}b\u{FFFD}\"}");
}

#[test]
fn fields_are_found_set_and_removed_by_path() {
    let mut event = decoded(r#"{"a":{"b":{"c":1},"d":[10,{"e":"x"}]},"s":"text"}"#);
    assert_eq!(event.text_of(&field("[a][b][c]")).unwrap(), "1");
    assert_eq!(event.text_of(&field("[a][d][1][e]")).unwrap(), "x");
    assert_eq!(event.text_of(&field("[a][d][-2]")).unwrap(), "10");
    assert_eq!(event.text_of(&field("[a][x]")), None);
    event.set(&field("[a][b][n]"), Value::Int(2)).unwrap();
    event.set(&field("[new][deep]"), Value::Bool(true)).unwrap();
    assert_eq!(event.set(&field("[s][x]"), Value::Null), Err(NotAnObject));
    event.remove(&field("[a][b][c]")).unwrap();
    event.remove(&field("s")).unwrap();
    assert_eq!(printed(&event), r#"{"a":{"b":{"n":2},"d":[10,{"e":"x"}]},"new":{"deep":true}}"#);
}

#[test]
fn metadata_is_readable_and_never_printed() {
    let mut event = decoded(r#"{"@metadata":{"beat":"filebeat"},"m":1}"#);
    assert_eq!(event.text_of(&field("[@metadata][beat]")).unwrap(), "filebeat");
    event.set(&field("[@metadata][x]"), Value::Int(1)).unwrap();
    assert_eq!(event.text_of(&field("[@metadata][x]")).unwrap(), "1");
    assert_eq!(printed(&event), r#"{"m":1}"#);
}

#[test]
fn a_bad_timestamp_is_kept_aside_and_tagged() {
    let mut event = decoded(r#"{"@timestamp":"yesterday"}"#);
    assert_eq!(event.timestamp(), None);
    assert_eq!(printed(&event), r#"{"_@timestamp":"yesterday","tags":["_timestampparsefailure"]}"#);
    assert_eq!(
        printed(&decoded(r#"{"@timestamp":"2026-01-01T00:00:00+01:00"}"#)),
        r#"{"@timestamp":"2025-12-31T23:00:00.000Z"}"#
    );
}

#[test]
fn tags_are_added_once_and_a_single_tag_becomes_a_list() {
    let mut event = decoded(r#"{"tags":"one"}"#);
    event.tag("two");
    event.tag("two");
    assert_eq!(printed(&event), r#"{"tags":["one","two"]}"#);
}

#[test]
fn copies_share_nothing() {
    let mut event = decoded(r#"{"a":{"b":[1]}}"#);
    let value = event.get(&field("a")).unwrap();
    event.get(&field("[a][b]"));
    let copy = event.deep_copy(value);
    event.set(&field("c"), copy).unwrap();
    event.set(&field("[c][b][0]"), Value::Int(2)).unwrap();
    assert_eq!(printed(&event), r#"{"a":{"b":[1]},"c":{"b":[2]}}"#);
}
