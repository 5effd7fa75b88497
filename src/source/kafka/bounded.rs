//! librdkafka calls that wait for brokers, with a timeout.
//!
//! A frozen broker, or one behind a network that drops packets, never responds. librdkafka's synchronous commit has no
//! timeout, and `rdkafka` closes a consumer by polling until it has left the group.

use std::ffi::CStr;
use std::ptr::NonNull;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use rdkafka::bindings;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use tracing::warn;

use crate::delivery::Shutdown;

/// Interval between checks for a forced stop.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Time after a forced stop until which a commit may take.
const FORCED_COMMIT: Duration = Duration::from_millis(400);
/// Time after a forced stop until which leaving the group may take.
const FORCED_LEAVE: Duration = Duration::from_millis(600);

/// A commit that was sent, and the queue for the brokers' response.
///
/// Must be dropped before its client, to which the queue belongs.
#[derive(Debug)]
pub(super) struct PendingCommit(NonNull<bindings::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues are protected by their own locks and are not bound to a thread.
#[allow(unsafe_code)]
unsafe impl Send for PendingCommit {}

/// The brokers' response to a commit request: the partitions whose offset was rejected.
pub(super) type Refused = Vec<(String, i32, RDKafkaErrorCode)>;

#[allow(unsafe_code)]
impl PendingCommit {
    /// Sends a commit.
    ///
    /// # Errors
    /// Fails if the client has no group.
    pub(super) fn send<C: ConsumerContext>(
        consumer: &BaseConsumer<C>,
        offsets: &TopicPartitionList,
    ) -> KafkaResult<PendingCommit> {
        let client = consumer.client().native_ptr();
        // SAFETY: the client is borrowed, so its handle is alive, and so is the list, which the callee copies. The
        // queue is destroyed once, by `drop`; librdkafka keeps its own reference for a later response.
        let (queue, code) = unsafe {
            let queue = bindings::rd_kafka_queue_new(client);
            (queue, bindings::rd_kafka_commit_queue(client, offsets.ptr(), queue, None, std::ptr::null_mut()))
        };
        let pending = NonNull::new(queue).map(PendingCommit);
        match (pending, code) {
            (Some(pending), RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR) => Ok(pending),
            (_, code) => Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::from(code))),
        }
    }

    /// Returns the response if it arrives within `timeout`.
    pub(super) fn answer(&self, timeout: Duration) -> Option<KafkaResult<Refused>> {
        // SAFETY: the queue is alive. The event is owned by this function, which destroys it once; its list lives as
        // long as the event, and the topics of its elements are NUL-terminated strings.
        unsafe {
            let event = bindings::rd_kafka_queue_poll(self.0.as_ptr(), timeout.as_millis() as i32);
            if event.is_null() {
                return None;
            }
            let code = bindings::rd_kafka_event_error(event);
            let list = bindings::rd_kafka_event_topic_partition_list(event);
            let mut refused = Refused::new();
            for index in 0..list.as_ref().map_or(0, |list| list.cnt as usize) {
                let element = &*(*list).elems.add(index);
                if element.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                    let topic = CStr::from_ptr(element.topic).to_string_lossy().into_owned();
                    refused.push((topic, element.partition, RDKafkaErrorCode::from(element.err)));
                }
            }
            bindings::rd_kafka_event_destroy(event);
            Some(match code {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(refused),
                code => Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::from(code))),
            })
        }
    }

    /// Returns the response if it arrives in time: within `timeout` or, once a stop was requested, within
    /// [`FORCED_COMMIT`] of a forced stop.
    pub(super) fn answer_within(&self, timeout: Duration, shutdown: &Shutdown) -> Option<KafkaResult<Refused>> {
        let began = Instant::now();
        loop {
            let answer = self.answer(LOOK_EVERY);
            let is_over = if shutdown.is_requested() {
                shutdown.is_forced_for(FORCED_COMMIT)
            } else {
                began.elapsed() >= timeout
            };
            if answer.is_some() || is_over {
                return answer;
            }
        }
    }
}

impl Drop for PendingCommit {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the queue is owned by this value, is destroyed once, and its client is alive.
        unsafe { bindings::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

/// Commits offsets and waits for the brokers' response: for at most `timeout` or, once a stop was requested, until
/// [`FORCED_COMMIT`] after a forced stop.
///
/// # Errors
/// Fails if the brokers reject an offset, or do not respond in time. In the latter case the commit may still be
/// executed.
pub(crate) fn commit_within<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    offsets: &TopicPartitionList,
    timeout: Duration,
    shutdown: &Shutdown,
) -> KafkaResult<()> {
    let refused = PendingCommit::send(consumer, offsets)?.answer_within(timeout, shutdown);
    match refused.unwrap_or(Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::OperationTimedOut)))?.first() {
        Some((_, _, code)) => Err(KafkaError::ConsumerCommit(*code)),
        None => Ok(()),
    }
}

/// Closes a consumer, which leaves its group, on another thread. The thread is abandoned if it takes longer than
/// `timeout`, or is still running [`FORCED_LEAVE`] after a forced stop.
pub(super) fn leave<C: ConsumerContext + 'static>(
    consumer: BaseConsumer<C>,
    shutdown: &Shutdown,
    timeout: Option<Duration>,
) {
    let began = Instant::now();
    let (left, leaving) = sync_channel::<()>(0);
    let close = move || {
        drop(consumer);
        drop(left);
    };
    if let Err(error) = std::thread::Builder::new().name("logproc-leave".to_string()).spawn(close) {
        warn!(%error, "a consumer was closed without a thread of its own");
        return;
    }
    while leaving.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        if shutdown.is_forced_for(FORCED_LEAVE) || timeout.is_some_and(|timeout| began.elapsed() >= timeout) {
            warn!(
                waited_ms = began.elapsed().as_millis() as u64,
                "brokers don't let the consumer leave its group in time; it is left behind"
            );
            return;
        }
    }
}
