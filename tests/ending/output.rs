//! Standard error and standard output that fail, are closed, or stand still.

use std::fs::File;
use std::io::{ErrorKind, PipeReader, PipeWriter, Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use super::support::*;

const DROPPED: &str = "logproc_log_lines_dropped_total";

/// A pipe that is full.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    loop {
        match writer.write(&[b'x'; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

/// Delivers lines while standard error is `stderr` and more is written to it than waits in a queue, until lines were dropped; then stops.
#[track_caller]
fn delivers_and_ends(stderr: Stdio) {
    let folder = Folder::with_pipeline(
        "[pipeline]\nhttp_address = \"\"\nshutdown_timeout = \"5s\"\n[source]\ntype = \"file\"\npath = \"FOLDER/in\"\nmode = \"tail\"\n\
         start_position = \"beginning\"\nsincedb_path = \"FOLDER/db\"\nstat_interval = \"20ms\"\n[sink]\ntype = \"file\"\n\
         path = \"FOLDER/out\"\n",
    );
    std::fs::write(folder.path("in"), "first\n").unwrap();
    let http = free_address();
    let mut command = folder.command(&["--http-address", &http]);
    let mut running = Running::start(command.stderr(stderr));
    // What was handed over is the process's alone.
    drop(command);
    until("the first line", || folder.read("out").contains("first"));
    // More mistakes than the queue has room for, each of which is shown.
    std::fs::write(folder.path("pipeline.toml"), "[[filter]]\ntype = \"there is no such filter\"\n".repeat(8_000))
        .unwrap();
    running.signal("HUP");
    until("lines of the log to be dropped", || metric(&http, DROPPED).is_some_and(|lines| lines > 0.0));
    let mut input = File::options().append(true).open(folder.path("in")).unwrap();
    writeln!(input, "second").unwrap();
    until("the second line", || folder.read("out").contains("second"));
    running.signal("TERM");
    assert_eq!(running.end_within(Duration::from_secs(5) + SHORTLY).code(), Some(0));
}

#[test]
fn a_standard_error_on_a_full_disk_ends_nothing() {
    delivers_and_ends(File::options().write(true).open("/dev/full").unwrap().into());
}

#[test]
fn a_standard_error_that_nobody_reads_any_more_ends_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    delivers_and_ends(writer.into());
}

#[test]
fn a_standard_error_that_stands_still_holds_neither_delivery_nor_signals_up() {
    let (_reader, writer) = full_pipe();
    delivers_and_ends(writer.into());
}

#[test]
fn a_standard_error_that_stands_still_and_does_not_block_holds_nothing_up_either() {
    let (_reader, writer) = full_pipe();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    delivers_and_ends(writer.into());
}

#[test]
fn a_second_signal_ends_the_process_at_once_while_standard_error_stands_still() {
    let folder = Folder::with_pipeline(&format!(
        "[pipeline]\nhttp_address = \"\"\nshutdown_timeout = \"100s\"\n[source]\ntype = \"file\"\npath = \"FOLDER/in\"\nmode = \"tail\"\n\
         start_position = \"beginning\"\nsincedb_path = \"FOLDER/db\"\n[sink]\ntype = \"elasticsearch\"\nhosts = \"http://{}\"\n",
        server(Manner::Deaf)
    ));
    std::fs::write(folder.path("in"), "one\n").unwrap();
    let (_reader, writer) = full_pipe();
    let http = free_address();
    let mut running = Running::start(folder.command(&["--http-address", &http]).stderr(writer));
    until("records to be read", || metric(&http, "logproc_records_in_total").is_some_and(|records| records >= 1.0));
    running.signal("TERM");
    // Two signals that come before the first is seen are one: so the second is sent until it is.
    until("the end", || {
        running.signal("TERM");
        running.0.try_wait().unwrap().is_some()
    });
    assert_eq!(running.end_within(SHORTLY).code(), Some(3));
}

#[test]
fn a_standard_output_that_was_closed_ends_commands_quietly() {
    let folder = Folder::with_pipeline(
        "[source]\ntype = \"stdin\"\n[sink]\ntype = \"null\"\n[[test]]\ninput = \"x\"\nexpect = { message = \"x\" }\n",
    );
    std::fs::write(
        folder.path("dead"),
        "{\"reason\":\"decode\",\"offset\":7,\"partition\":0,\"topic\":\"in\",\"value\":\"x\"}\n",
    )
    .unwrap();
    std::fs::write(folder.path("logstash.conf"), "input { stdin {} } output { stdout {} }").unwrap();
    let (pipeline, dead, logstash) = (folder.path("pipeline.toml"), folder.path("dead"), folder.path("logstash.conf"));
    let (pipeline, dead, logstash) = (pipeline.to_str().unwrap(), dead.to_str().unwrap(), logstash.to_str().unwrap());
    let commands: [&[&str]; 13] = [
        &["--help"],
        &["--version"],
        &["check", pipeline],
        &["test", pipeline],
        &["explain", pipeline, "--line", "x"],
        &["convert", logstash],
        &["dlq", "list", "--file", dead],
        &["dlq", "show", "--file", dead],
        &["grok", "%{WORD:w}"],
        &["patterns"],
        &["schema"],
        &["completions", "bash"],
        &["--pipeline", pipeline, "--stdin", "--stdout"],
    ];
    for arguments in commands {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (mut errors, stderr) = std::io::pipe().unwrap();
        let mut command = product(arguments);
        let mut running =
            Running::start(command.env("RUST_LOG", "warn").stdin(Stdio::piped()).stdout(writer).stderr(stderr));
        drop(command);
        // A command that does not read its input closes the pipe.
        let _ = running.0.stdin.take().unwrap().write_all(b"word\n");
        let status = running.end_within(Duration::from_secs(60));
        let mut said = String::new();
        errors.read_to_string(&mut said).unwrap();
        assert_eq!((status.code(), said.as_str()), (Some(0), ""), "{arguments:?}");
    }
}
