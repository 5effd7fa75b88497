//! The options of Logstash's file input and output.

use super::Rule::{Idle, Refused, RefusedFlag, With};
use super::{Adapted, Rule, TUNING};
use crate::config::value::{Key, Node};

/// The options of Logstash's file output.
pub(super) const OUTPUT: &[(&str, Rule)] = &[
    ("path", With(file_path)),
    ("flush_interval", Idle("lines are written at the latest after `linger`")),
    ("stale_cleanup_interval", Idle(TUNING)),
    ("create_if_deleted", Idle("a file is made at the start")),
    ("dir_mode", Idle("the process's umask holds")),
    ("file_mode", Idle("the process's umask holds")),
    ("filename_failure", Idle("the path is the same for all events")),
    ("gzip", RefusedFlag("files are not compressed")),
];

fn file_path(adapted: &mut Adapted, key: Key, node: Node) {
    match node.single_text().is_some_and(|text| text.contains("%{")) {
        true => adapted.refuse(&key, &node, "all documents go to one file"),
        false => adapted.rename("path", key, node),
    }
}

/// The options of Logstash's file input.
pub(super) const INPUT: &[(&str, Rule)] = &[
    ("delimiter", With(delimiter)),
    ("ignore_older", With(ignore_older)),
    ("discover_interval", Idle("new files are looked for every `stat_interval`")),
    ("sincedb_write_interval", Idle("the checkpoint is written behind the acknowledgements")),
    ("sincedb_clean_after", Idle(TUNING)),
    ("max_open_files", Idle(TUNING)),
    ("close_older", Idle(TUNING)),
    ("file_chunk_count", Idle(TUNING)),
    ("file_chunk_size", Idle(TUNING)),
    ("file_sort_by", Idle("files are read in the order of their names")),
    ("file_sort_direction", Idle("files are read in the order of their names")),
    ("check_archive_validity", Idle("a packed file that is broken ends the run")),
    ("exit_after_read", Idle("`read` ends at the end of the files")),
    ("file_completed_action", Refused("files are left as they are")),
    ("file_completed_log_path", Idle("files are left as they are")),
];

fn delimiter(adapted: &mut Adapted, key: Key, node: Node) {
    if !node.single_text().is_some_and(|text| text == "\n" || text == "\\n") {
        adapted.refuse(&key, &node, "a line ends with a newline");
    }
}

fn ignore_older(adapted: &mut Adapted, key: Key, node: Node) {
    match node.single_text().as_deref() {
        Some("0") => adapted.idle(&key, &node, "every file that the path stands for is read anyway"),
        _ => adapted.refuse(&key, &node, "every file that the path stands for is read"),
    }
}
