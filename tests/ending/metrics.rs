//! The metrics of a running process beside those of its records.

use std::io::Write as _;
use std::process::Stdio;

use super::support::{Folder, Running, free_address, metric, until};

#[test]
fn process_build_filters_and_the_last_reload_are_in_the_metrics() {
    let http = free_address();
    let good = format!(
        "[pipeline]\nhttp_address = \"{http}\"\n[source]\ntype = \"stdin\"\n[[filter]]\ntype = \"grok\"\nid = \"words\"\n\
         match = {{ message = \"%{{WORD:a}} %{{WORD:b}}\" }}\n[sink]\ntype = \"null\"\n"
    );
    let folder = Folder::with_pipeline(&good);
    let mut running = Running::start(folder.command(&["run"]).stdin(Stdio::piped()));
    let mut input = running.0.stdin.take().unwrap();
    input.write_all("one two\n".repeat(20_000).as_bytes()).unwrap();
    until("the filter to be timed", || {
        metric(&http, "logproc_filter_seconds_total").is_some_and(|seconds| seconds > 0.0)
    });
    let value = |name: &str| metric(&http, name).unwrap_or_else(|| panic!("{name} is missing"));
    assert_eq!((value("logproc_build_info"), value("logproc_last_reload_successful")), (1.0, 1.0));
    assert!(value("process_cpu_seconds_total") >= 0.0 && value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_open_fds") > 2.0 && value("process_max_fds") > value("process_open_fds"));
    let started = value("logproc_last_reload_success_timestamp_seconds");
    assert!((value("process_start_time_seconds") - started).abs() < 60.0);
    // A reload that is refused leaves the time of the last one that was not.
    std::fs::write(folder.path("pipeline.toml"), "nonsense").unwrap();
    running.signal("HUP");
    until("the reload to be refused", || metric(&http, "logproc_last_reload_successful") == Some(0.0));
    assert_eq!(value("logproc_last_reload_success_timestamp_seconds"), started);
    std::fs::write(folder.path("pipeline.toml"), &good).unwrap();
    running.signal("HUP");
    until("the reload to be taken up", || metric(&http, "logproc_last_reload_successful") == Some(1.0));
    assert!(value("logproc_last_reload_success_timestamp_seconds") > started);
}
