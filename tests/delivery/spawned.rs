//! One record, several documents: what `clone` and `split` make goes on through the filters that follow, has an id of its
//! own, and the record has ended only when all of it has.

use std::collections::{BTreeMap, HashSet};

use super::support::*;
use logproc::runtime::load::{Overrides, load};
use logproc::telemetry::health::Health;
use logproc::testkit::fake_cluster::{FakeCluster, ItemFate};

/// Runs records through a pipeline: each is split, each piece cloned; pieces named `away` are dropped on the way.
fn deliver(cluster: &FakeCluster, records: &str) -> (logproc::delivery::Summary, Vec<serde_json::Value>) {
    let folder = tempfile::tempdir().unwrap();
    let (input, dead, file) =
        (folder.path().join("input.log"), folder.path().join("dead"), folder.path().join("pipeline.toml"));
    std::fs::write(&input, records).unwrap();
    let pipeline = format!(
        r#"
[source]
type = "file"
path = "{}"
codec = "json"

[[filter]]
type = "split"
field = "pieces"
target = "piece"

[[filter]]
type = "clone"
clones = ["copy"]

[[filter]]
if = '[piece] == "away"'
type = "drop"

[[filter]]
type = "mutate"
remove_field = ["pieces", "@timestamp", "log"]
add_field = {{ "after" = "%{{piece}}" }}

[sink]
type = "elasticsearch"
hosts = "{}"
retry_initial_interval = "5ms"
retry_max_interval = "20ms"
linger = "10ms"

[dead_letter]
path = "{}"
"#,
        input.display(),
        cluster.url(),
        dead.display()
    );
    std::fs::write(&file, pipeline).unwrap();
    let loaded = load(&file, &Overrides::default()).unwrap();
    let problems: Vec<&str> = loaded.diagnostics.iter().map(|problem| problem.message.as_str()).collect();
    let plan = loaded.pipeline.unwrap_or_else(|| panic!("{problems:?}")).into_plan(Health::default());
    let summary = Running::start(plan).wait();
    (summary, dead_letters(&dead))
}

/// The end of each id after the offset and the hash of the line, with the document.
fn by_ordinal(cluster: &FakeCluster, offset: usize) -> BTreeMap<String, serde_json::Value> {
    let mut found = BTreeMap::new();
    for (id, stored) in cluster.stored() {
        let parts: Vec<&str> = id.split(':').collect();
        if parts[3] == offset.to_string() {
            let source = serde_json::from_str(&stored.source).unwrap();
            found.insert(parts[5..].join(":"), source);
        }
    }
    found
}

#[test]
fn what_is_made_of_a_record_goes_on_and_has_ids_of_its_own() {
    let cluster = FakeCluster::start().unwrap();
    let first = "{\"pieces\":[\"a\",\"away\",\"b\"]}\n";
    let (summary, letters) = deliver(&cluster, &format!("{first}{{\"pieces\":[\"c\"]}}\n{{\"pieces\":[\"away\"]}}\n"));
    assert_eq!((summary.records, summary.documents, summary.dropped, summary.unfinished), (3, 6, 1, 0));
    assert_eq!(letters.len(), 0);
    let documents = by_ordinal(&cluster, 0);
    assert_eq!(documents.keys().collect::<Vec<_>>(), ["", "1", "2", "3"]);
    for document in documents.values() {
        assert_eq!(document["after"], document["piece"], "the filters after split and clone ran");
        assert!(document.get("pieces").is_none());
    }
    let tagged: Vec<(&str, bool)> = documents
        .values()
        .map(|document| (document["piece"].as_str().unwrap(), document.get("tags").is_some()))
        .collect();
    let distinct: HashSet<&(&str, bool)> = tagged.iter().collect();
    assert_eq!(distinct, HashSet::from([&("a", false), &("a", true), &("b", false), &("b", true)]));
    assert_eq!(by_ordinal(&cluster, first.len()).len(), 2);
}

#[test]
fn ids_are_the_same_when_a_record_comes_again() {
    let cluster = FakeCluster::start().unwrap();
    let record = "{\"pieces\":[\"a\",\"b\"]}\n";
    // Another file is another origin: what is in common is all that follows it.
    let ordinals = |cluster: &FakeCluster| by_ordinal(cluster, 0).into_iter().collect::<Vec<_>>();
    deliver(&cluster, record);
    let once = ordinals(&cluster);
    let again = FakeCluster::start().unwrap();
    deliver(&again, record);
    assert_eq!(ordinals(&again), once);
}

#[test]
fn a_record_has_ended_only_when_all_its_documents_have() {
    let cluster = FakeCluster::start().unwrap();
    let mut held_up = 5;
    cluster.script_items(move |_, source| {
        let text = String::from_utf8_lossy(source);
        if text.contains("\"late\"") && held_up > 0 {
            held_up -= 1;
            return ItemFate::Refuse(429, "es_rejected_execution_exception");
        }
        if text.contains("\"bad\"") { ItemFate::Refuse(400, "mapper_parsing_exception") } else { ItemFate::Take }
    });
    let (summary, letters) = deliver(&cluster, "{\"pieces\":[\"good\",\"bad\",\"late\"]}\n{\"pieces\":[\"fine\"]}\n");
    assert_eq!(
        (summary.documents, summary.unfinished),
        (6, 0),
        "the late ones were waited for, the refused ones kept aside"
    );
    assert_eq!(by_ordinal(&cluster, 0).len(), 4);
    assert!(!letters.is_empty() && letters.iter().all(|letter| letter["value"].as_str().unwrap().contains("bad")));
}
