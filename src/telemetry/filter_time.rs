//! The time that filters take, from samples: a counter of seconds with a fraction, which the collector of the other metrics does not have.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::metrics::FILTER_SECONDS;

/// Pipeline and filter.
type Label = (Arc<str>, Arc<str>);

static TIMES: Mutex<BTreeMap<Label, Duration>> = Mutex::new(BTreeMap::new());

/// Adds time that a filter took.
pub fn add(pipeline: &Arc<str>, filter: &Arc<str>, time: Duration) {
    let mut times = TIMES.lock().unwrap_or_else(PoisonError::into_inner);
    *times.entry((Arc::clone(pipeline), Arc::clone(filter))).or_default() += time;
}

/// Appends the metric in the text format of Prometheus.
pub fn render(out: &mut String) {
    let times = TIMES.lock().unwrap_or_else(PoisonError::into_inner);
    if times.is_empty() {
        return;
    }
    let _ = write!(
        out,
        "# HELP {FILTER_SECONDS} Time that events spent in a filter, extrapolated from samples.\n# TYPE {FILTER_SECONDS} counter\n"
    );
    for ((pipeline, filter), time) in times.iter() {
        let _ = writeln!(
            out,
            "{FILTER_SECONDS}{{pipeline=\"{}\",filter=\"{}\"}} {}",
            label(pipeline),
            label(filter),
            time.as_secs_f64()
        );
    }
    out.push('\n');
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_add_up_for_each_filter() {
        let (pipeline, filter) = (Arc::from("a \"pipeline\""), Arc::from("grok[0]"));
        add(&pipeline, &filter, Duration::from_millis(1_500));
        add(&pipeline, &filter, Duration::from_millis(250));
        let mut out = String::new();
        render(&mut out);
        assert!(
            out.contains("logproc_filter_seconds_total{pipeline=\"a \\\"pipeline\\\"\",filter=\"grok[0]\"} 1.75\n"),
            "{out}"
        );
    }
}
