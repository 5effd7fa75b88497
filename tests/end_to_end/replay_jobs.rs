//! Jobs of replays as operators see them: their names, the list of them, dead letters that are open, and new indices.

use serde_json::{Value, json};

use super::replay::{PIPELINE, ended, figures, produce};
use super::servers::{Run, World, wait_until};

fn lines(world: &World, args: &[&str]) -> Vec<Value> {
    let output = world.logproc(args, &[]);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn dead_letters_are_open_until_a_replay_has_come_past_them() {
    let world = World::with_pipeline("open", PIPELINE, 4);
    world.produce_all((0..3).map(|n| format!("not json {n}")));
    let run = Run::start(&world);
    wait_until("the dead letters", || world.count_dead_letters() == 3);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    let list = || lines(&world, &["dlq", "list", "--json"]);
    let [group] = &list()[..] else { panic!("one fault is one group: {:?}", list()) };
    assert_eq!((&group["records"], &group["open"]), (&json!(3), &json!(3)), "{group}");

    // What fails again is open again; what another reason was asked for stays open.
    let replay = |job: &str, reason: &str, codec: &str| {
        let output =
            world.logproc(&["dlq", "replay", "--reason", reason, "--job", job, "--execute"], &[("CODEC", codec)]);
        assert!(output.status.success(), "{output:?}");
    };
    replay(&format!("{}-rejected", world.topic), "rejected", "plain");
    assert_eq!(list()[0]["open"], json!(3));
    replay(&format!("{}-again", world.topic), "decode", "json");
    wait_until("them to be dead letters again", || world.count_dead_letters() == 6);
    let [group] = &list()[..] else { panic!("{:?}", list()) };
    assert_eq!((&group["records"], &group["open"], &group["repeats"]), (&json!(3), &json!(3), &json!(3)), "{group}");
    replay(&format!("{}-fixed", world.topic), "decode", "plain");
    let [group] = &list()[..] else { panic!("{:?}", list()) };
    assert_eq!((&group["records"], &group["open"]), (&json!(3), &json!(0)), "{group}");
}

#[test]
fn the_same_words_later_are_another_job_and_a_job_that_is_named_goes_on_with_them() {
    let world = World::with_pipeline("words", PIPELINE, 4);
    produce(&world, 100);
    let plan = || ended(&world, &["--from", "-10m"]);
    let (first, second) = (plan(), plan());
    assert_ne!(first["job"], second["job"]);
    let command = first["command"].as_str().unwrap();
    assert!(!command.contains("-10m") && command.contains(first["job"].as_str().unwrap()), "{command}");

    let job = world.topic.as_str();
    let args = ["--job", job, "--from", "-10m", "--to-topic", &format!("{job}-copy"), "--execute"];
    assert_eq!(figures(&ended(&world, &args))["records"], json!(100));
    let again = ended(&world, &args);
    assert_eq!((&again["complete"], &again["this_process"]["records"]), (&json!(true), &json!(0)), "{again}");
    let other = world.replay(&["--job", job, "--from", "-11m", "--execute"], &[]);
    assert!(String::from_utf8_lossy(&other.stderr).contains("other arguments"), "{other:?}");

    let jobs = lines(&world, &["replay", "list", "--topic", job]);
    let [listed] = &jobs[..] else { panic!("{jobs:?}") };
    let fields = ["job", "topic", "state", "processes", "offsets_done", "offsets"].map(|name| &listed[name]);
    assert_eq!(fields, [&json!(job), &json!(job), &json!("complete"), &json!(0), &json!(100), &json!(100)]);
    assert!(lines(&world, &["replay", "list"]).iter().any(|listed| listed["job"] == json!(job)));
    assert!(world.logproc(&["replay", "cancel", "--job", job], &[]).status.success());
    assert!(lines(&world, &["replay", "list", "--topic", job]).is_empty());
}

#[test]
fn a_plan_warns_of_a_mapping_that_is_missing_and_an_index_can_be_made_like_another() {
    let world = World::with_pipeline("like", PIPELINE, 4);
    produce(&world, 20);
    let (old, new, alias) = (
        format!("old-{}", world.namespace()),
        format!("new-{}", world.namespace()),
        format!("alias-{}", world.namespace()),
    );
    let body = json!({
        "mappings": {"properties": {"url": {"type": "text"}, "n": {"type": "double"}}},
        "settings": {"number_of_replicas": 0, "index.mapping.total_fields.limit": 77},
        "aliases": {&alias: {"is_write_index": true}},
    });
    assert_eq!(world.request("PUT", &old, &body.to_string()).0, 200);
    let warnings = |plan: &Value| {
        plan["warnings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|text| text.as_str().unwrap().to_string())
            .collect::<Vec<_>>()
            .join("\n")
    };
    let plan = ended(&world, &["--sink-index", &new]);
    assert!(warnings(&plan).contains(&format!("no index template matches {new}")), "{plan}");

    // Where the pipeline itself writes, with a mapping of its own.
    let stream = format!("logs-replayed-{}", world.namespace());
    let template = json!({"index_patterns": [format!("{stream}*")], "data_stream": {}, "priority": 501,
        "template": {"mappings": {"properties": {"url": {"type": "keyword"}}}}});
    assert_eq!(world.request("PUT", &format!("_index_template/{stream}"), &template.to_string()).0, 200);
    assert_eq!(
        figures(&ended(&world, &["--job", &format!("{}-stream", world.topic), "--execute"]))["records"],
        json!(20)
    );
    let args = ["--job", &format!("{}-new", world.topic), "--sink-index", &new, "--like", &old, "--swap-alias", &alias];
    let plan = ended(&world, &args);
    assert!(
        plan["notes"][0]
            .as_str()
            .unwrap()
            .contains(&format!("Index {new} is made with the mapping and the settings of {old}")),
        "{plan}"
    );
    assert!(warnings(&plan).contains("url is keyword there and text here"), "{plan}");
    assert_eq!(world.request("GET", &new, "").0, 404, "a plan makes nothing");

    let end = ended(&world, &[&args[..], &["--execute"]].concat());
    assert_eq!(end["complete"], json!(true), "{end}");
    let made = world.request("GET", &new, "").1;
    assert_eq!(made.pointer(&format!("/{new}/mappings/properties/n/type")), Some(&json!("double")), "{made}");
    assert_eq!(
        made.pointer(&format!("/{new}/settings/index/mapping/total_fields/limit")),
        Some(&json!("77")),
        "{made}"
    );
    assert_eq!(world.count(&alias), 20);

    // The command that points the alias back does so.
    let back = end["swap_back"].as_str().unwrap();
    assert!(back.starts_with("curl -X POST http") && plan["swap_back"] == end["swap_back"], "{end}");
    let actions = back.split_once("-d '").unwrap().1.trim_end_matches('\'');
    assert_eq!(world.request("POST", "_aliases", actions).0, 200);
    let pointed = world.request("GET", &format!("_alias/{alias}"), "").1;
    assert_eq!(pointed, json!({&old: {"aliases": {&alias: {"is_write_index": true}}}}));
    let missing = world.replay(&["--sink-index", "x", "--like", "there-is-no-such-index"], &[]);
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
}
