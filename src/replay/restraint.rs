//! Holding back for others: for an Elasticsearch that has too much to do, and for the live group when its lag grows.
//!
//! The share of its speed that a replay uses is halved when one of them suffers and grows by a little when neither does, so
//! it settles where both still keep up.

use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::{info, warn};

use super::gauge::FULL_SPEED;
use super::range::LOOK_UP_TIMEOUT;
use crate::kafka::client_log::LookUpClient;
use crate::telemetry::failures::FailureLog;

/// The slowest a replay gets: it must still find out whether others feel better.
const SLOWEST: u32 = 10;
/// Lag of the live group that is no reason to hold back.
const HARMLESS_LAG: i64 = 1_000;

/// What has been seen of others, and the speed that follows from it.
#[derive(Debug)]
pub struct Restraint {
    fastest: u32,
    speed: u32,
    busy: u64,
    lag: Option<i64>,
    growing: u32,
}

impl Restraint {
    /// Leaves `headroom` percent of what Elasticsearch takes to others.
    pub fn new(headroom: u32) -> Restraint {
        let fastest = FULL_SPEED - headroom.min(99) * FULL_SPEED / 100;
        Restraint { fastest, speed: fastest, busy: 0, lag: None, growing: 0 }
    }

    /// The speed after another look: how often Elasticsearch has been too busy since the start, and the live group's lag,
    /// where it is known. One growth of a lag is noise; three in a row are not.
    pub fn look(&mut self, busy: u64, lag: Option<i64>) -> u32 {
        let is_busy = busy > self.busy;
        self.busy = busy;
        let grows = matches!((lag, self.lag), (Some(now), Some(before)) if now > before && now > HARMLESS_LAG);
        self.growing = if grows { self.growing + 1 } else { 0 };
        self.lag = lag;
        let suffers = is_busy || self.growing >= 3;
        let speed = if suffers { self.speed / 2 } else { self.speed + self.fastest / 20 };
        let before = std::mem::replace(&mut self.speed, speed.clamp(SLOWEST, self.fastest));
        if before < self.fastest && self.speed == self.fastest {
            info!(percent = self.speed / 10, "the replay holds back no longer");
        }
        if suffers {
            info!(percent = self.speed / 10, elasticsearch_is_busy = is_busy, live_lag = lag, "the replay holds back");
        }
        self.speed
    }
}

/// The live group, looked at and never touched.
pub struct LiveGroup {
    client: LookUpClient,
    group: String,
    topic: String,
    failures: FailureLog,
}

impl LiveGroup {
    /// Looks at the group of this client, which is no member of it.
    pub fn new(client: LookUpClient, group: &str, topic: &str) -> LiveGroup {
        LiveGroup { client, group: group.to_string(), topic: topic.to_string(), failures: FailureLog::default() }
    }

    /// Records that the group has not committed; `None` where it has no members, has never committed, or
    /// can't be looked at.
    pub fn lag(&self) -> Option<i64> {
        match self.look() {
            Ok(lags) => (!lags.is_empty()).then(|| lags.iter().sum()),
            Err(error) => {
                if let Some(repeated) = self.failures.failed("look_up") {
                    warn!(%error, repeated, "failed to look up the lag of the live group; retrying");
                }
                None
            }
        }
    }

    fn look(&self) -> rdkafka::error::KafkaResult<Vec<i64>> {
        // The lag of a pipeline that does not run is not ours to spare.
        let groups = self.client.fetch_group_list(Some(&self.group), LOOK_UP_TIMEOUT)?;
        if groups.groups().iter().all(|group| group.members().is_empty()) {
            return Ok(Vec::new());
        }
        let metadata = self.client.fetch_metadata(Some(&self.topic), LOOK_UP_TIMEOUT)?;
        let mut list = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            list.add_partition(&self.topic, partition.id());
        }
        let mut lags = Vec::new();
        for element in self.client.committed_offsets(list, LOOK_UP_TIMEOUT)?.elements() {
            if let Offset::Offset(offset) = element.offset() {
                let (_, high) = self.client.fetch_watermarks(&self.topic, element.partition(), LOOK_UP_TIMEOUT)?;
                lags.push((high - offset).max(0));
            }
        }
        Ok(lags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_halves_for_a_busy_cluster_and_comes_back_to_what_headroom_leaves() {
        let mut restraint = Restraint::new(20);
        assert_eq!(restraint.look(0, None), 800);
        assert_eq!(restraint.look(3, None), 400);
        assert_eq!(restraint.look(4, None), 200);
        assert_eq!(restraint.look(4, None), 240);
        for _ in 0..100 {
            restraint.look(4, None);
        }
        assert_eq!(restraint.speed, 800);
        for busy in 5..100 {
            restraint.look(busy, None);
        }
        assert_eq!(restraint.speed, SLOWEST);
    }

    #[test]
    fn a_lag_that_goes_on_growing_counts_and_one_that_is_small_or_falls_does_not() {
        let mut restraint = Restraint::new(0);
        let mut after = |lags: &[i64]| {
            restraint = Restraint::new(0);
            lags.iter().fold(None, |_, lag| Some(restraint.look(0, Some(*lag))))
        };
        assert_eq!(after(&[10, 20, 30, 40, 50]), Some(1_000));
        assert_eq!(after(&[5_000, 6_000, 7_000, 6_500]), Some(1_000));
        assert_eq!(after(&[5_000, 6_000, 7_000, 8_000]), Some(500));
        assert_eq!(after(&[5_000, 6_000, 7_000, 8_000, 9_000]), Some(250));
    }
}
