//! Calls of librdkafka that wait for brokers, with a bound on the time that they take.
//!
//! A broker that is frozen, or behind a network that swallows packets, returns nothing. librdkafka's synchronous commit has no timeout,
//! and `rdkafka` closes a consumer by polling until the group has been left.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use rdkafka::bindings;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use tracing::warn;

use crate::delivery::Shutdown;

/// How often it is looked whether everything was let go.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// After everything was let go, a commit may take until this time,
const FORCED_COMMIT: Duration = Duration::from_millis(400);
/// and leaving the group until this one.
const FORCED_LEAVE: Duration = Duration::from_millis(600);

/// Commits offsets and waits for the brokers' answer: at most `timeout` or, while the run stops, until some time after everything was
/// let go.
///
/// # Errors
/// The brokers refuse, or return nothing in time; then the commit may still arrive.
#[allow(unsafe_code)]
pub(crate) fn commit_within<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    offsets: &TopicPartitionList,
    timeout: Duration,
    shutdown: &Shutdown,
) -> KafkaResult<()> {
    let client = consumer.client().native_ptr();
    let began = Instant::now();
    // SAFETY: the client is borrowed, so its handle is alive, and so is the list; the callee copies the list. The queue is ours and is
    // destroyed once, after its last use; librdkafka keeps a reference of its own for an answer that comes later. An event is ours to
    // read and to destroy, once.
    let code = unsafe {
        let queue = bindings::rd_kafka_queue_new(client);
        let mut code = bindings::rd_kafka_commit_queue(client, offsets.ptr(), queue, None, std::ptr::null_mut());
        while code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            let event = bindings::rd_kafka_queue_poll(queue, LOOK_EVERY.as_millis() as i32);
            if !event.is_null() {
                code = bindings::rd_kafka_event_error(event);
                bindings::rd_kafka_event_destroy(event);
                break;
            }
            let is_over = if shutdown.is_requested() { shutdown.is_forced_for(FORCED_COMMIT) } else { began.elapsed() >= timeout };
            if is_over {
                code = RDKafkaRespErr::RD_KAFKA_RESP_ERR__TIMED_OUT;
            }
        }
        bindings::rd_kafka_queue_destroy(queue);
        code
    };
    match code {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::from(code))),
    }
}

/// Closes a consumer, which leaves its group: on another thread, which is left behind when it takes longer than `timeout` or goes on
/// for some time after everything was let go.
pub(super) fn leave<C: ConsumerContext + 'static>(consumer: BaseConsumer<C>, shutdown: &Shutdown, timeout: Option<Duration>) {
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
            warn!(waited_ms = began.elapsed().as_millis() as u64, "brokers don't let the consumer leave its group in time; it is left behind");
            return;
        }
    }
}
