//! The `throttle` filter: marks events that occur too often, or not often enough yet.
//!
//! Events of a key are counted in time slots, which start with the key's first event; the time is that of the events.
//! The counts are shared by all workers, so that the limit is a global one; a worker holds the lock only while it
//! counts. The number of keys is bounded: the least used are evicted.

use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::unsync::Cache;

use super::{Compiled, Compiler, Context, Filter, Flow, parse_template};
use crate::config::{Args, ComponentDef, Fallback, Kind, option};
use crate::event::{Event, Template};
use crate::memory::Footprint;

pub const DEF: ComponentDef = ComponentDef {
    name: "throttle",
    summary: "Applies its common options to events that come too often: tag them, then drop what is tagged.",
    options: &[
        option("key", Kind::Template, Fallback::Required, "What is counted together: `%{[host][name]}%{message}`."),
        option(
            "before_count",
            Kind::Integer(-1, i64::MAX),
            Fallback::Integer(-1),
            "Events before this many in a period are throttled; -1 for none.",
        ),
        option(
            "after_count",
            Kind::Integer(-1, i64::MAX),
            Fallback::Integer(-1),
            "Events after this many in a period are throttled; -1 for none.",
        ),
        option(
            "period",
            Kind::Template,
            Fallback::Text("60"),
            "Seconds from the first event of a slot to the next slot; may hold `%{[field]}`.",
        ),
        option(
            "max_age",
            Kind::Integer(0, i64::MAX),
            Fallback::Integer(3_600),
            "Seconds after which a slot is forgotten.",
        ),
        option(
            "max_counters",
            Kind::Integer(-1, i64::MAX),
            Fallback::Integer(100_000),
            "The most counters to remember; -1 stands for a million here.",
        ),
    ],
    example: r#"
[[filter]]
type = "throttle"
key = "%{[host][name]}%{message}"
after_count = 3
period = "10"
add_tag = ["throttled"]

[[test]]
event = [{ message = "x" }, { message = "x" }, { message = "x" }, { message = "x", n = 4 }]
expect = [{}, {}, {}, { n = 4, tags = ["throttled"] }]
"#,
};

/// Maximum number of slots per key; the newest ones are kept.
const MOST_SLOTS: usize = 256;

/// The slots of a key.
#[derive(Default)]
struct Slots {
    /// Start of the first slot, in seconds since 1970.
    created: i64,
    /// Start and count of each slot.
    counts: Vec<(i64, i64)>,
}

impl Slots {
    /// Counts an event. Returns the count of its slot.
    fn count(&mut self, time: i64, period: i64, max_age: i64) -> i64 {
        if self.counts.is_empty() {
            self.created = time;
        }
        let slot = time - (time - self.created).rem_euclid(period);
        let count = match self.counts.iter_mut().find(|(start, _)| *start == slot) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                if self.counts.len() == MOST_SLOTS {
                    self.counts.remove(0);
                }
                self.counts.push((slot, 1));
                1
            }
        };
        let latest = self.counts.iter().map(|(start, _)| *start).max().unwrap_or(slot);
        self.counts.retain(|(start, _)| *start >= latest.saturating_sub(max_age));
        count
    }
}

#[derive(Clone)]
struct Throttle {
    key: Template,
    period: Template,
    before_count: i64,
    after_count: i64,
    max_age: i64,
    most_counters: usize,
    slots: Arc<Mutex<Cache<Box<str>, Slots>>>,
    filled: String,
}

pub fn compile(args: &Args, _: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let mut template = |name: &str| parse_template(&args.required_text(name), args.span_of(name), &mut problems);
    let (key, period) = (template("key"), template("period"));
    let (Some(key), Some(period)) = (key, period) else { return Err(problems) };
    let number = |name: &str| args.integer(name).unwrap_or(-1);
    let most = usize::try_from(number("max_counters")).ok().filter(|most| *most > 0).unwrap_or(1_000_000);
    Ok(Box::new(Throttle {
        key,
        period,
        before_count: number("before_count"),
        after_count: number("after_count"),
        max_age: number("max_age"),
        most_counters: most,
        slots: Arc::new(Mutex::new(Cache::new(most))),
        filled: String::new(),
    }))
}

/// Bytes per counter with a key of some hundred bytes and a few slots.
const COUNTER: usize = 256;

impl Filter for Throttle {
    fn footprint(&self) -> Footprint {
        Footprint { shared: self.most_counters * COUNTER, ..Footprint::default() }
    }

    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        self.filled.clear();
        self.period.render(event, &mut self.filled);
        let period = self.filled.trim().parse().ok().filter(|period| *period > 0).unwrap_or(60);
        self.filled.clear();
        self.key.render(event, &mut self.filled);
        let time = event.timestamp().unwrap_or(context.now).seconds;
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let count = match slots.get_mut(self.filled.as_str()) {
            Some(mut known) => known.count(time, period, self.max_age),
            None => {
                let mut new = Slots::default();
                let count = new.count(time, period, self.max_age);
                slots.insert(self.filled.as_str().into(), new);
                count
            }
        };
        drop(slots);
        let early = self.before_count != -1 && count < self.before_count;
        let late = self.after_count != -1 && count > self.after_count;
        if early || late { Flow::Matched } else { Flow::Passed }
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_start_with_the_first_event_and_are_forgotten() {
        let mut slots = Slots::default();
        let counts: Vec<i64> =
            [100, 105, 109, 110, 104, 129].into_iter().map(|time| slots.count(time, 10, 15)).collect();
        assert_eq!(counts, [1, 2, 3, 1, 4, 1]);
        assert_eq!(slots.counts, [(110, 1), (120, 1)]);
        for time in 0..1_000 {
            slots.count(1_000 + time, 1, i64::MAX);
        }
        assert_eq!(slots.counts.len(), MOST_SLOTS);
    }
}
