//! Trial runs beside a live group, and the commands of the pages that need servers.

use rdkafka::consumer::Consumer as _;

use super::servers::{PATIENCE, Run, World, wait_until};

/// The offsets that the live group has committed, by partition.
fn committed(world: &World) -> Vec<(i32, String)> {
    world
        .committed()
        .elements()
        .iter()
        .map(|element| (element.partition(), format!("{:?}", element.offset())))
        .collect()
}

#[test]
fn a_trial_beside_the_live_group_reads_everything_and_changes_nothing() {
    let world = World::new("trial");
    world.generate(2_000, 0.0);
    let live = Run::start(&world);
    wait_until("the lag to be zero", || world.lag() == 0);
    let (offsets, documents) = (committed(&world), world.documents());
    let output = world.shell("logproc --pipeline pipelines/nginx.toml --stdout --http-address off | head -n 1500");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        output.stdout.iter().filter(|byte| **byte == b'\n').count(),
        1_500,
        "from the beginning, while the group is at the end"
    );
    assert_eq!(live.metric("logproc_assigned_partitions"), 4.0, "no partition was taken from the live member");
    assert_eq!((committed(&world), world.documents()), (offsets, documents));
    let groups = world.client_of_group("looks").fetch_group_list(None, PATIENCE).unwrap();
    let others: Vec<&str> =
        groups.groups().iter().map(|group| group.name()).filter(|name| name.contains("detached")).collect();
    assert!(others.is_empty(), "no group is left behind: {others:?}");
    assert!(live.stop().success());
}

#[test]
fn dead_letters_of_a_trial_are_not_the_pipelines() {
    let world = World::new("trial_letters");
    world.generate(10, 0.0);
    world.produce(None, Some(b"no json"));
    world.generate(10, 0.0);
    let output = world.shell("logproc --pipeline pipelines/nginx.toml --stdout --http-address off | head -n 20");
    assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 20);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.lines().any(|line| line.starts_with("dead letter: decode ") && line.ends_with(": no json")),
        "{errors}"
    );
    assert_eq!((world.count_dead_letters(), world.documents()), (0, 0));
}

#[test]
fn commands_of_the_pages_run_on_servers() {
    let world = World::new("pages");
    world.generate(20, 0.0);
    let conflict = br#"{"event":{"module":"other","dataset":"nginx.access"},"http":{"response":{"status_code":{"not":"a number"}}}}"#;
    world.produce(None, Some(conflict));
    let live = Run::start(&world);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(live.stop().success());
    for (page, command, shown) in [
        (include_str!("../../docs/runbook.md"), "logproc dlq list --pipeline pipelines/nginx.toml", "rejected"),
        (
            include_str!("../../docs/runbook.md"),
            "logproc dlq show --pipeline pipelines/nginx.toml --reason rejected --limit 3",
            "status: 400",
        ),
        (
            include_str!("../../docs/replay.md"),
            "logproc dlq replay --pipeline nginx.toml --reason rejected",
            "logproc dlq replay",
        ),
        (
            include_str!("../../docs/replay.md"),
            "logproc replay --pipeline nginx.toml --from -3d --mode overwrite",
            "--execute",
        ),
        (
            include_str!("../../docs/trying.md"),
            "logproc --pipeline pipelines/nginx.toml --stdout | head",
            "\"@timestamp\"",
        ),
        (include_str!("../../README.md"), "logproc setup --pipeline FILE", "component/logproc-ecs"),
    ] {
        assert!(page.contains(command), "the page does not have {command}");
        let output = world.shell(&command.replace("FILE", "nginx.toml"));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains(shown),
            "{command}: {text}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
