//! Records that are decoded and filtered ahead of their turn, a few at a time.
//!
//! What a pipeline does with one event takes more instructions than a core keeps near it, so that an event by itself would have nearly all
//! of them fetched anew. A few records are therefore decoded one after the other, go through the filters side by side (see
//! [`Program::run_together`]), and are written one after the other as their turn comes. What comes out is the same.

use super::program::{Program, Traveller};
use crate::delivery::Verdict;
use crate::event::{Event, Tools};
use crate::filter::Context;

/// See the module's header.
#[derive(Default)]
pub(super) struct Ahead {
    /// Of each record its number in the batch, and what became of it where it has no documents.
    records: Vec<(usize, Option<Verdict>)>,
    /// The first of them whose turn may still come.
    next: usize,
    /// Their events; there may be more of these, to be used again.
    events: Vec<Traveller>,
    /// Those with which all of them are read and printed.
    tools: Box<Tools>,
}

impl Ahead {
    /// Forgets them.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.next = 0;
    }

    /// Fills events from records; the error is what became of a record that goes no further.
    pub(super) fn read(&mut self, records: &[usize], mut read: impl FnMut(&mut Event, usize) -> Result<(), Verdict>) {
        self.clear();
        while self.events.len() < records.len() {
            self.events.push(Traveller { event: Event::versed(), remains: false });
        }
        for (index, one) in records.iter().zip(&mut self.events) {
            one.event.trade_tools(&mut self.tools);
            let read = read(&mut one.event, *index);
            one.event.trade_tools(&mut self.tools);
            one.remains = read.is_ok();
            self.records.push((*index, read.err()));
        }
    }

    /// Runs the events through the filters.
    pub(super) fn filter(&mut self, program: &mut Program, context: &mut Context) {
        let group = &mut self.events[..self.records.len()];
        program.run_together(group, context);
        for ((_, verdict), one) in self.records.iter_mut().zip(group) {
            if verdict.is_none() && !one.remains {
                *verdict = Some(Verdict::Dropped("filter"));
            }
        }
    }

    /// Where a record is whose turn has come, if it is one of these. Those before it have been left out.
    pub(super) fn find(&mut self, index: usize) -> Option<usize> {
        let found = self.next + self.records.get(self.next..)?.iter().position(|(record, _)| *record == index)?;
        self.next = found + 1;
        Some(found)
    }

    /// What became of a record that was found: what is known of it, or what `write` makes of its event.
    pub(super) fn end(&mut self, found: usize, write: impl FnOnce(&mut Event) -> Verdict) -> Verdict {
        if let Some(verdict) = self.records[found].1.take() {
            return verdict;
        }
        let event = &mut self.events[found].event;
        event.trade_tools(&mut self.tools);
        let verdict = write(event);
        event.trade_tools(&mut self.tools);
        verdict
    }
}

#[cfg(test)]
#[cfg(feature = "testkit")]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use proptest::prelude::*;

    use crate::delivery::{BatchBuilder, NewRecord, Origin, Outputs, Processor, RawBatch, Shape, Verdict};
    use crate::pipeline::load::{Overrides, Pipeline, load};
    use crate::testkit::traffic::Traffic;

    /// A pipeline that keeps count of what it has seen, drops, and makes events.
    const OWN: &str = r#"
[source]
type = "stdin"
codec = "json"

[[filter]]
if = '[kind] == "drop"'
type = "drop"
[[filter]]
else_if = '[kind] == "many"'
  [[filter.then]]
  type = "throttle"
  key = "%{kind}"
  after_count = 2
  add_tag = ["many"]
[[filter]]
else = true
  [[filter.then]]
  type = "mutate"
  replace = { kind = "%{kind} of %{[n]}", "[a][b]" = "c" }

[sink]
type = "elasticsearch"
hosts = "http://127.0.0.1:1"
index = "i-%{[kind]}"
"#;

    const MAKING: &str = "[[filter]]\ntype = \"clone\"\nclones = [\"one\"]\n\n[sink]";

    fn pipeline(text: &str) -> Pipeline {
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(file.path(), &Overrides::default()).unwrap().pipeline.unwrap()
    }

    fn batch(values: &[Vec<u8>]) -> Arc<RawBatch> {
        let mut builder = BatchBuilder::default();
        for (offset, value) in (0..).zip(values) {
            let origin = builder.origin("t", 0, || Origin::detached("t", 0));
            builder.push(NewRecord { origin, offset, timestamp_ms: 5, key: None, value, shape: Shape::Plain }, std::iter::empty());
        }
        Arc::new(builder.into_detached())
    }

    /// What becomes of each record that is processed, and the documents.
    fn run(processor: &mut dyn Processor, batch: &Arc<RawBatch>, groups: &[(usize, Vec<bool>)]) -> Vec<(Verdict, Vec<Vec<u8>>)> {
        let mut out = Outputs::new(1);
        out.start_batch(batch);
        let (mut from, mut ends) = (0, Vec::new());
        for (size, left_out) in groups {
            let records: Vec<usize> = (from..batch.len()).take(*size).collect();
            from += records.len();
            if *size > 1 {
                processor.look_ahead(batch, &records);
            }
            for (index, _) in records.iter().zip(left_out.iter().chain(std::iter::repeat(&false))).filter(|(_, left_out)| !**left_out) {
                out.start_record(*index);
                let verdict = processor.process(batch, *index, &mut out);
                ends.push((verdict, out.take_documents(0)));
            }
        }
        processor.end_of_batch();
        ends
    }

    fn without_time(ends: Vec<(Verdict, Vec<Vec<u8>>)>) -> Vec<(Verdict, Vec<String>)> {
        let timeless = |document: Vec<u8>| {
            let text = String::from_utf8(document).unwrap();
            text.split(',').filter(|part| !part.contains("\"ingested\":")).collect::<Vec<_>>().join(",")
        };
        ends.into_iter().map(|(verdict, documents)| (verdict, documents.into_iter().map(timeless).collect())).collect()
    }

    /// Whether a pipeline makes the same of records in groups as of each by itself. It is loaded twice, since workers of one share what
    /// a filter has counted.
    fn is_same(load: impl Fn() -> Pipeline, values: &[Vec<u8>], groups: &[(usize, Vec<bool>)]) {
        let batch = batch(values);
        let in_groups = run(&mut *load().processors().make(0), &batch, groups);
        let alone: Vec<(usize, Vec<bool>)> = {
            let left_out = groups.iter().flat_map(|(size, left_out)| (0..*size).map(|at| left_out.get(at).copied().unwrap_or(false)));
            left_out.map(|left_out| (1, vec![left_out])).collect()
        };
        let alone = run(&mut *load().processors().make(0), &batch, &alone);
        assert_eq!(without_time(in_groups), without_time(alone));
    }

    #[test]
    fn nginx_lines_in_groups_come_out_as_each_by_itself() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/nginx.toml");
        let nginx = || load(&file, &Overrides::default()).unwrap().pipeline.unwrap();
        let mut traffic = Traffic::new(3, 0.05);
        let mut values: Vec<Vec<u8>> = (0..400).map(|_| traffic.next_event().as_bytes().to_vec()).collect();
        for broken in (0..values.len()).step_by(37) {
            values[broken].truncate(100);
        }
        let groups = [1, 16, 3, 8, 2].map(|size| (size, vec![false, true, false]));
        is_same(nginx, &values, &groups.iter().cycle().take(60).cloned().collect::<Vec<_>>());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn groups_of_any_size_come_out_as_each_record_by_itself(
            kinds in prop::collection::vec(prop::sample::select(vec!["drop", "many", "other", "UPPER", "{"]), 1..40),
            sizes in prop::collection::vec(1usize..9, 1..20),
            makes_events in any::<bool>(),
        ) {
            let text = if makes_events { OWN.replace("[sink]", MAKING) } else { OWN.to_string() };
            let values: Vec<Vec<u8>> = kinds.iter().enumerate().map(|(n, kind)| match *kind {
                "{" => b"{".to_vec(),
                kind => format!(r#"{{"kind":"{kind}","n":{n}}}"#).into_bytes(),
            }).collect();
            let groups: Vec<(usize, Vec<bool>)> = sizes.into_iter().map(|size| (size, Vec::new())).collect();
            is_same(|| pipeline(&text), &values, &groups);
        }
    }
}
