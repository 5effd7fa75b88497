//! Memory: the process stays below `memory_limit`, a limit that can't hold is refused, and a small container survives.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::servers::{ControlGroup, Run, World, service, wait_until};

const MIB: u64 = 1 << 20;
const NOBODY: &str = "http://127.0.0.1:1";

/// Waits until the budget is full, then watches the process and returns its peak of anonymous memory.
fn peak_when_full(run: &Run) -> u64 {
    let mut peak = 0;
    let mut watch = || {
        peak = peak.max(run.anonymous_memory());
        run.metric("logproc_in_flight_bytes") >= run.metric("logproc_in_flight_limit_bytes")
            && run.metric("logproc_in_flight_limit_bytes") > 0.0
    };
    wait_until("the budget to be full", &mut watch);
    // What is fetched and not yet counted shows within seconds, if it shows at all.
    let since = Instant::now();
    wait_until("the memory to settle", || {
        watch();
        since.elapsed() > Duration::from_secs(10)
    });
    peak
}

#[test]
fn memory_stays_under_its_limit_however_much_waits() {
    const WAITING: usize = 200_000;
    let mut world = World::with_partitions("memory", 64);
    world.generate(WAITING, 0.0);
    world.set_settings("");
    let peak = peak_when_full(&Run::start_towards(&world, NOBODY));
    println!("peak of anonymous memory with 64 partitions: {} MiB", peak / MIB);
    assert!(peak < 256 * MIB, "{peak} bytes");
    assert!(world.lag() >= WAITING as i64, "nothing was committed");
}

#[test]
fn the_least_limit_that_is_accepted_holds() {
    const WAITING: usize = 50_000;
    // A pipeline's message names the least, which is where the next limit is taken from.
    let of = |limit: u64| {
        let mut world = World::with_partitions("least-memory", 64);
        world.set_settings(&format!("memory_limit = \"{limit}MiB\""));
        world
    };
    let refused = of(8).run_to_end();
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{message}");
    assert!(
        message.contains(".toml:5:16: error: `memory_limit` = 8MiB is below what this pipeline needs: "),
        "{message}"
    );
    let least = message
        .split("needs: ")
        .nth(1)
        .and_then(|rest| rest.split("MiB").next())
        .and_then(|number| number.parse().ok())
        .unwrap();
    assert_eq!(of(least - 1).run_to_end().status.code(), Some(2), "{least} MiB is the least");
    for limit in [least, least + 16] {
        let world = of(limit);
        world.generate(WAITING, 0.0);
        let peak = peak_when_full(&Run::start_towards(&world, NOBODY));
        println!("peak of anonymous memory with a limit of {limit} MiB: {} MiB", peak / MIB);
        assert!(peak < limit * MIB, "{peak} bytes with a limit of {limit} MiB");
    }
}

/// A control group, or a line on standard error that says that the test proves nothing: where groups can't be made, by another user than
/// root or inside a container, there is no other way to bound a process's memory.
fn control_group(name: &str, limit: u64) -> Option<ControlGroup> {
    let group = ControlGroup::new(name, limit);
    if let Err(error) = &group {
        // Not by `eprintln!`, which the test harness keeps to itself.
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: `{name}` needs a control group, which can't be made here: {error}");
    }
    group.ok()
}

#[test]
fn a_container_of_96_mib_survives_large_records_while_elasticsearch_is_away() {
    const RECORDS: usize = 150;
    let Some(group) = control_group("large-records", 96 * MIB) else { return };
    let world = World::with_source("large-records", "", "");
    // Half of them are batches that become 250 times as large when they are unpacked.
    let of = |number: usize| match number % 2 {
        0 => format!(r#"{{"n":{number},"words":"{}"}}"#, "word ".repeat(990_000 / 5)),
        _ => format!(
            r#"{{"n":{number},"words":"{}"}}"#,
            (0..990_000 / 9).map(|word| format!("{:08x} ", word * 0x9e37 + number)).collect::<String>()
        ),
    };
    world.produce_all_compressed("lz4", (0..RECORDS).map(of));
    service(&["stop", "elasticsearch"]);
    let run = Run::start_within(&group, &world);
    let peak = peak_when_full(&run);
    println!("peak of anonymous memory in a group of 96 MiB: {} MiB", peak / MIB);
    service(&["up", "elasticsearch"]);
    wait_until("all documents to arrive", || world.documents() >= RECORDS);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert_eq!(group.killed(), 0);
    assert!(run.stop().success());
    assert_eq!((world.documents(), world.distinct_ids()), (RECORDS, RECORDS));
}

#[test]
fn a_container_that_is_too_small_is_refused_at_the_start() {
    let Some(group) = control_group("too-small", 32 * MIB) else { return };
    let world = World::with_source("too-small", "", "");
    assert_eq!(Run::start_within(&group, &world).end().code(), Some(2));
    assert_eq!(group.killed(), 0);
}
