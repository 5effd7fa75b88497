//! Watches the group's committed offsets while faults go on: none may go back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::bail;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const EVERY: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(5);

/// A thread that looks at committed offsets until it is stopped.
pub struct OffsetWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl OffsetWatch {
    /// Starts to watch these topics, each with the number of its partitions.
    pub fn start(kafka: &str, group: &str, topics: &[(String, usize)]) -> anyhow::Result<OffsetWatch> {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", kafka).set("group.id", group).create()?;
        let mut wanted = TopicPartitionList::new();
        for (topic, partitions) in topics {
            wanted.add_partition_range(topic, 0, *partitions as i32 - 1);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut highest = Highest::default();
            let mut problems = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                // Brokers that are away, or load the group's state, return an error.
                if let Ok(committed) = consumer.committed_offsets(wanted.clone(), TIMEOUT) {
                    for element in committed.elements() {
                        if let Offset::Offset(offset) = element.offset() {
                            problems.extend(highest.look(element.topic(), element.partition(), offset));
                        }
                    }
                }
                std::thread::sleep(EVERY);
            }
            problems
        });
        Ok(OffsetWatch { stop, thread })
    }

    /// Stops watching. Returns a line for each time that an offset has gone back.
    pub fn finish(self) -> anyhow::Result<Vec<String>> {
        self.stop.store(true, Ordering::SeqCst);
        match self.thread.join() {
            Ok(problems) => Ok(problems),
            Err(_) => bail!("the thread that watches offsets panicked"),
        }
    }
}

/// The last offset of each partition.
#[derive(Default)]
struct Highest(HashMap<(String, i32), i64>);

impl Highest {
    fn look(&mut self, topic: &str, partition: i32, offset: i64) -> Option<String> {
        let before = self.0.insert((topic.to_string(), partition), offset).filter(|before| *before > offset)?;
        Some(format!("the committed offset of {topic}, partition {partition}, went back from {before} to {offset}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_that_goes_back_is_a_problem() {
        let mut highest = Highest::default();
        let mut look = |partition, offset| highest.look("t", partition, offset).is_some();
        assert_eq!(
            [(0, 116), (1, 3), (0, 116), (0, 120), (0, 76), (0, 80)].map(|(partition, offset)| look(partition, offset)),
            [false, false, false, false, true, false]
        );
    }
}
