//! Grouped execution: records that are decoded and filtered in groups before they are processed one by one.
//!
//! The instructions that a pipeline executes for one event exceed the processor's instruction cache, so that processing
//! events one at a time fetches nearly all of them again for each event. A group of records is therefore decoded, its
//! events pass through the filters together (see [`Program::run_together`]), and each event is written when its record
//! is processed. The output is the same.

use super::program::{Program, Traveller};
use crate::delivery::Verdict;
use crate::event::{Event, Tools};
use crate::filter::Context;

/// A group of records that have been decoded and filtered. See the module's documentation.
#[derive(Default)]
pub(super) struct Ahead {
    /// The index of each record in its batch, and its verdict if it has no documents.
    records: Vec<(usize, Option<Verdict>)>,
    /// The index in `records` of the first record that may still be processed.
    next: usize,
    /// The events of the records. There may be more events than records, which are reused later.
    events: Vec<Traveller>,
    /// The buffers with which all of these events are read and printed.
    tools: Box<Tools>,
}

impl Ahead {
    /// Removes all records.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.next = 0;
    }

    /// Fills events from records. `read` returns the verdict of a record that is not processed further as an error.
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

    /// Returns the index in the group of a record that is to be processed, or `None` if the record is not in the group.
    /// Records before it have been skipped.
    pub(super) fn find(&mut self, index: usize) -> Option<usize> {
        let found = self.next + self.records.get(self.next..)?.iter().position(|(record, _)| *record == index)?;
        self.next = found + 1;
        Some(found)
    }

    /// Returns the verdict of a record that [`Ahead::find`] found: the one recorded earlier, or the result of `write`
    /// for its event.
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
    use crate::runtime::load::{Overrides, Pipeline, load};
    use crate::testkit::traffic::Traffic;

    /// A pipeline that counts events, drops events, and creates new ones.
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
            builder.push(
                NewRecord { origin, offset, timestamp_ms: 5, key: None, value, shape: Shape::Plain },
                std::iter::empty(),
            );
        }
        Arc::new(builder.into_detached())
    }

    /// Returns the verdict of each record that is processed, and its documents.
    fn run(
        processor: &mut dyn Processor,
        batch: &Arc<RawBatch>,
        groups: &[(usize, Vec<bool>)],
    ) -> Vec<(Verdict, Vec<Vec<u8>>)> {
        let mut out = Outputs::new(1);
        out.start_batch(batch);
        let (mut from, mut ends) = (0, Vec::new());
        for (size, left_out) in groups {
            let records: Vec<usize> = (from..batch.len()).take(*size).collect();
            from += records.len();
            if *size > 1 {
                processor.look_ahead(batch, &records);
            }
            for (index, _) in
                records.iter().zip(left_out.iter().chain(std::iter::repeat(&false))).filter(|(_, left_out)| !**left_out)
            {
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

    /// Asserts that a pipeline has the same output for records in groups as for each record alone. The pipeline is
    /// loaded twice, since the workers of one pipeline share the counts of a filter.
    fn is_same(load: impl Fn() -> Pipeline, values: &[Vec<u8>], groups: &[(usize, Vec<bool>)]) {
        let batch = batch(values);
        let in_groups = run(&mut *load().processors().make(0), &batch, groups);
        let alone: Vec<(usize, Vec<bool>)> = {
            let left_out = groups
                .iter()
                .flat_map(|(size, left_out)| (0..*size).map(|at| left_out.get(at).copied().unwrap_or(false)));
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
