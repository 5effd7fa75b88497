//! The worked cases of `docs/replay.md`, with the very commands that stand there.

use serde_json::{Value, json};

use super::replay::{PIPELINE, produce};
use super::servers::{Run, World, wait_until};

/// The commands of a case, in order.
fn commands(title: &str) -> Vec<&'static str> {
    let document = include_str!("../../docs/replay.md");
    let case =
        document.split("\n### ").find(|case| case.starts_with(title)).unwrap_or_else(|| panic!("no case {title}"));
    let commands: Vec<&str> = case.lines().filter(|line| line.starts_with("logproc ")).collect();
    assert!(!commands.is_empty(), "no command in {title}");
    commands
}

/// Runs a command to its end; what it prints on standard output.
fn run(world: &World, command: &str) -> String {
    let output = world.shell(command);
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    println!("$ {command}\n{text}");
    text
}

/// How many documents a query finds.
fn found(world: &World, index: &str, query: &Value) -> u64 {
    world.request("POST", &format!("{index}/_refresh"), "");
    let (_, body) = world.request("POST", &format!("{index}/_count"), &json!({ "query": query }).to_string());
    body["count"].as_u64().unwrap_or_else(|| panic!("{body}"))
}

#[test]
fn a_pattern_is_fixed() {
    const EVENTS: usize = 20_000;
    let mut world = World::new("case_pattern");
    let fixed = include_str!("../../pipelines/nginx.toml");
    let geo = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/geoip/");
    let fixed = fixed.replace("geoip/GeoLite2", &format!("{geo}GeoLite2"));
    let wrong = fixed.replace("HTTP/%{NUMBER:[http][version]}", "HTTP/%{NUMBER:[http][version]}(?<!2.0)");
    assert_ne!(wrong, fixed);
    world.set_pipeline(&wrong);
    world.generate(EVENTS, 0.0);
    let live = Run::start(&world);
    wait_until("the wrong documents", || world.documents() == EVENTS);
    assert!(live.stop().success());
    let stream = format!("logs-nginx.access-{}", world.namespace());
    let (lines, of_http) = (world.count(&stream) as u64, json!({"exists": {"field": "http.request.method"}}));
    let broken = found(&world, &stream, &json!({"bool": {"must_not": {"exists": {"field": "http.request.method"}}}}));
    assert!(broken > 1_000 && broken < EVENTS as u64, "{broken}");

    world.set_pipeline(&fixed);
    let [diff, plan, execute] = commands("A pattern was wrong")[..] else { panic!("three commands") };
    assert_eq!(format!("{plan} --execute"), execute);
    let text = run(&world, diff);
    let same = EVENTS as u64 - broken;
    assert!(text.contains(&format!("compared with the index: {same} same, {broken} changed, 0 not there")), "{text}");
    assert!(text.contains(&format!("{broken} [http][request][method]: (absent) -> ")), "{text}");
    let text = run(&world, plan);
    assert!(
        text.contains("documents with the same id are replaced") && text.contains("Only events with: [message]"),
        "{text}"
    );
    assert!(text.contains("at the rate that was asked for") && text.contains("0 are the same"), "{text}");
    assert_eq!(found(&world, &stream, &of_http), lines - broken, "nothing was written");
    let text = run(&world, execute);
    assert!(text.contains(&format!("({broken} replaced)")), "{text}");
    assert!(text.contains(&format!("filtered out   {same:>12}")), "{text}");
    assert_eq!(found(&world, &stream, &of_http), lines);
    assert_eq!(world.documents(), EVENTS);
    let text = run(&world, diff);
    assert!(text.contains(&format!("compared with the index: {EVENTS} same, 0 changed, 0 not there")), "{text}");
}

#[test]
fn a_new_index_takes_the_alias() {
    const EVENTS: usize = 50_000;
    let mut world = World::with_pipeline("case_alias", PIPELINE, 4);
    let (alias, old, new) = (
        format!("app-{}", world.namespace()),
        format!("app-1-{}", world.namespace()),
        format!("app-2-{}", world.namespace()),
    );
    world.write_to(&alias);
    let made = world.request("PUT", &old, &json!({"aliases": {&alias: {}}}).to_string());
    assert_eq!(made.0, 200, "{}", made.1);
    produce(&world, EVENTS);
    let live = Run::start(&world);
    wait_until("the documents in the old index", || world.count(&alias) == EVENTS);

    let mapping = json!({"mappings": {"properties": {"n": {"type": "keyword"}}}}).to_string();
    assert_eq!(world.request("PUT", &new, &mapping).0, 200);
    let began = jiff::Timestamp::now().to_string();
    let own = |command: &str| {
        let words = command.split(' ').map(|word| match word {
            "app" => alias.as_str(),
            "app-2" => &new,
            time if time.starts_with("2026-") => &began,
            other => other,
        });
        words.collect::<Vec<_>>().join(" ")
    };
    let [fill, rest] = commands("A new mapping")[..] else { panic!("two commands") };
    let text = run(&world, &own(fill));
    assert!(
        text.contains(&format!(
            "alias {alias} now points to {new} (before: {old}); {EVENTS} documents made, {EVENTS} there"
        )),
        "{text}"
    );
    // Some have come while it ran, and were written to the old index; the rest comes after the swap.
    produce(&world, 600);
    wait_until("the live pipeline to write to the new index", || world.count(&new) == EVENTS + 600);
    for id in world.ids(&new).iter().take(100) {
        world.request("DELETE", &format!("{new}/_doc/{id}"), "");
    }
    assert!(world.count(&new) < EVENTS + 600, "as if they had come before the swap");
    let text = run(&world, &own(rest));
    assert!(text.contains("records read") && text.contains(" 600\n"), "{text}");
    assert_eq!(world.count(&old), EVENTS);
    let typed = world.request("GET", &format!("{alias}/_mapping/field/n"), "").1;
    assert_eq!(typed[&new]["mappings"]["n"]["mapping"]["n"]["type"], json!("keyword"), "{typed}");
    assert!(live.stop().success());
}

#[test]
fn a_lost_index_comes_back() {
    const EVENTS: usize = 50_000;
    let mut world = World::with_pipeline("case_lost", PIPELINE, 4);
    let index = format!("lost-{}", world.namespace());
    world.write_to(&index);
    produce(&world, EVENTS);
    let live = Run::start(&world);
    wait_until("the documents", || world.count(&index) == EVENTS && world.lag() == 0);
    assert_eq!(world.request("DELETE", &index, "").0, 200);
    produce(&world, 1_000);
    wait_until("what has come since", || world.count(&index) == 1_000 && world.lag() == 0);
    let [command] = commands("Elasticsearch has lost")[..] else { panic!("one command") };
    let text = run(&world, command);
    assert!(text.contains(&format!("({EVENTS} created, 1000 skipped, being there already)")), "{text}");
    assert_eq!(world.count(&index), EVENTS + 1_000);
    assert_eq!(world.lag(), 0, "the live group is where it was");
    assert!(live.stop().success());
}
