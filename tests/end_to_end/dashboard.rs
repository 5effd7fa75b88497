//! The dashboard of `deploy/kibana` on documents that the pipeline has made: each panel's search finds something in each of its
//! aggregations, and every field of the documents is one that the templates of `deploy/elasticsearch` map on purpose.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::servers::{Run, World, wait_until};

/// Lines that between them have all that the dashboard shows: each class of status, a bot, a referrer, an address that is
/// known to the database, times, upstreams, and the error log; and each field that a line may have.
const LINES: [&str; 11] = [
    r#"81.2.69.144 - - [23/Nov/2026:10:05:01 +0000] "GET /index.html?utm=a HTTP/1.1" 200 612 "https://example.org/" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36" "-" 0.012"#,
    r#"81.2.69.144 - ann [23/Nov/2026:10:05:02 +0000] "GET /old HTTP/1.1" 301 169 "https://example.org/" "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0" "198.51.100.7" 0.001"#,
    r#"175.16.199.1 - - [23/Nov/2026:10:05:03 +0000] "GET /robots.txt HTTP/1.1" 404 153 "-" "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)" "-" 0.000"#,
    r#"203.0.113.9 - - [23/Nov/2026:10:05:04 +0000] "POST /api/login HTTP/2.0" 502 157 "-" "curl/8.5.0" "-" 30.001"#,
    r#"203.0.113.9 - - [23/Nov/2026:10:05:05 +0000] "\x16\x03\x01" 400 157 "-" "-" "-" 0.100"#,
    r#"2026/11/23 10:05:06 [error] 31#7: *45 open() "/srv/x" failed (2: No such file or directory), client: 203.0.113.9"#,
    r#"2026/11/23 10:05:07 [notice] 1#1: signal process started"#,
    r#"2026/11/23 10:05:08 [error] 31#7: *46 connect() failed, client: 81.2.69.144, server: _, request: "GET /a.html?b=c HTTP/1.1", subrequest: "/auth", upstream: "http://10.1.1.1:80/auth", host: "example.org:8080", referrer: "https://example.net/""#,
    r#"81.2.69.144 - - [23/Nov/2026:10:05:08 +0000] "GET /api HTTP/1.1" 502 150 "-" "curl/8.5.0" 300 5.004 [default-web-80] [default-canary-80] 10.1.1.1:80, 10.1.1.2:80 0, 150 5.000, 0.004 504, 502 0123456789abcdef more"#,
    r#"81.2.69.144:4711 - - [23/Nov/2026:10:05:08 +0000] "GET /api HTTP/1.1" 200 150 "-" "curl/8.5.0" sn="_" rt=0.300 uct="0.001" uht="0.002" urt="0.003" ua="10.1.1.1:80" us="200" ul="150" cs=MISS rid=0123456789abcdef more"#,
    r#"{"time_local":"23/Nov/2026:10:05:08 +0000","remote_addr":"81.2.69.144","request":"GET /api HTTP/1.1","status":"200","bytes_sent":"850","request_length":"300","host":"example.org:8080","scheme":"https","ssl_protocol":"TLSv1.3"}"#,
];

/// Whether each aggregation, and each bucket that has a name, found something in at least one of the buckets that it is in.
fn look(aggregations: &Value, path: &str, found: &mut BTreeMap<String, bool>) {
    for (name, result) in aggregations.as_object().into_iter().flatten() {
        let Value::Object(parts) = result else { continue };
        let path = format!("{path} > {name}");
        let single = parts.get("values").and_then(|values| values.as_object()?.values().next()).or(parts.get("value"));
        let number = single.or(parts.get("doc_count")).and_then(Value::as_f64);
        *found.entry(path.clone()).or_default() |= number.is_some_and(|number| number > 0.0);
        match parts.get("buckets") {
            Some(Value::Array(buckets)) => {
                *found.entry(path.clone()).or_default() |= !buckets.is_empty();
                buckets.iter().for_each(|bucket| look(bucket, &path, found));
            }
            Some(named @ Value::Object(_)) => {
                look(named, &path, found);
                found.insert(path, true);
            }
            _ if single.is_none() => look(result, &path, found),
            _ => {}
        }
    }
}

/// The paths of the mapped fields, those of objects left out.
fn fields(properties: &Value, path: &str, out: &mut BTreeSet<String>) {
    for (name, field) in properties.as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match field.get("properties") {
            Some(inner) => fields(inner, &path, out),
            None => {
                out.insert(path);
            }
        }
    }
}

#[test]
fn every_panel_shows_something_and_every_field_is_mapped() {
    let world = World::new("dashboard");
    let filebeat = include_str!("../data/events/filebeat-nginx-access.json");
    world.produce_all(
        LINES
            .iter()
            .map(|line| serde_json::json!({ "message": line }).to_string())
            .chain([filebeat.trim().to_string()]),
    );
    let run = Run::start(&world);
    wait_until("all documents to arrive", || world.documents() == LINES.len() + 1);
    assert!(run.stop().success());

    let streams = format!("logs-nginx.*-{}", world.namespace());
    let mut found = BTreeMap::new();
    for line in include_str!("../../deploy/kibana/searches.ndjson").lines() {
        let panel: Value = serde_json::from_str(line).unwrap();
        let (status, answer) = world.request("POST", &format!("{streams}/_search"), &panel["search"].to_string());
        assert_eq!(status, 200, "{}: {answer}", panel["panel"]);
        let title = panel["panel"].as_str().unwrap();
        found.insert(title.to_string(), answer["hits"]["total"]["value"] != 0);
        look(&answer["aggregations"], title, &mut found);
    }
    let nothing: Vec<&String> = found.iter().filter(|(_, something)| !**something).map(|(path, _)| path).collect();
    assert!(nothing.is_empty(), "nothing is shown by {nothing:?}");
    assert!(found.len() > 50, "{found:?}");

    let template: Value =
        serde_json::from_str(include_str!("../../deploy/elasticsearch/component/logproc-ecs.json")).unwrap();
    let (mut meant, mut there) = (BTreeSet::new(), BTreeSet::new());
    fields(&template["template"]["mappings"]["properties"], "", &mut meant);
    let (_, mappings) = world.request("GET", &format!("{streams}/_mapping"), "");
    for index in mappings.as_object().unwrap().values() {
        fields(&index["mappings"]["properties"], "", &mut there);
    }
    let surprises: Vec<&String> = there.difference(&meant).collect();
    assert!(surprises.is_empty(), "fields that no template names: {surprises:?}");
}
