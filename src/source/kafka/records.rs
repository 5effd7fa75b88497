//! Records, without a poll for each.
//!
//! A poll costs three looks at the clock, an event and some locks. `rd_kafka_consume_callback_queue` takes a whole queue at once and calls
//! back for each record, but can't be used on the consumer's own queue: with it, librdkafka would deal with rebalances
//! itself. So the queues of assigned partitions are forwarded to one that is only for records, and the consumer is polled for
//! everything else. What reaches it of a partition that is not forwarded (yet) is polled there, as ever.
//!
//! (`rd_kafka_consume_batch_queue` would do as well, but counts an error's offset as consumed, and a partition that is paused then
//! goes on after the record that could not be fetched.)

#![allow(unsafe_code)]

use std::any::Any;
use std::ffi::{CStr, CString, c_int, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings;
use rdkafka::client::Client;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::TopicPartitionList;

/// The queue of records of a consumer.
pub(super) struct Records<'c> {
    native: *mut bindings::rd_kafka_t,
    /// For records alone.
    queue: *mut bindings::rd_kafka_queue_t,
    /// The consumer's.
    events: *mut bindings::rd_kafka_queue_t,
    /// All of it goes before the consumer does.
    consumer: PhantomData<&'c ()>,
}

/// Called by librdkafka when the consumer's queue gets something: ends the wait for records.
unsafe extern "C" fn wake(_: *mut bindings::rd_kafka_t, queue: *mut c_void) {
    // SAFETY: `queue` is that of a `Records`, which takes this function back before it lets the queue go.
    unsafe { bindings::rd_kafka_queue_yield(queue.cast()) }
}

/// What goes through librdkafka to the calls for each record.
struct Call<'f, F> {
    native: *mut bindings::rd_kafka_t,
    each: &'f mut F,
    count: usize,
    panic: Option<Box<dyn Any + Send>>,
}

/// Called by librdkafka for each record, or error in the place of one.
unsafe extern "C" fn call<F: FnMut(Result<Record<'_>, RecordError<'_>>) -> bool>(message: *mut bindings::rd_kafka_message_t, context: *mut c_void) {
    // SAFETY: both are alive until this returns: the message is librdkafka's, which lends it to nobody else meanwhile, the context that of
    // `Records::take`, which has lent it for the time of this call.
    let (message, context) = unsafe { (&*message, &mut *context.cast::<Call<'_, F>>()) };
    context.count += 1;
    // No panic may pass through librdkafka; this one goes on when it has returned.
    let goes_on = catch_unwind(AssertUnwindSafe(|| (context.each)(Record::or_error(message)))).unwrap_or_else(|panic| {
        context.panic = Some(panic);
        false
    });
    if !goes_on {
        // Last of all: other calls into librdkafka take it back.
        // SAFETY: the client is alive; it sets a mark of this thread, and the rest of the records stay in their queue.
        unsafe { bindings::rd_kafka_yield(context.native) }
    }
}

impl<'c> Records<'c> {
    /// An empty queue, which nothing is forwarded to.
    pub fn new<C: ConsumerContext>(client: &'c Client<C>) -> Records<'c> {
        let native = client.native_ptr();
        // SAFETY: the client is borrowed for as long as this lives, so its handle is alive. Both queues are handles of our own, which
        // are destroyed once, in `drop`. A consumer without a group has no queue, and then the pointer is null.
        unsafe {
            let queue = bindings::rd_kafka_queue_new(native);
            let events = bindings::rd_kafka_queue_get_consumer(native);
            if !events.is_null() {
                bindings::rd_kafka_queue_cb_event_enable(events, Some(wake), queue.cast());
            }
            Records { native, queue, events, consumer: PhantomData }
        }
    }

    /// Directs records of these partitions here. librdkafka takes that back when it stops reading a partition, so it is to be done
    /// whenever partitions were assigned.
    pub fn forward(&self, partitions: &TopicPartitionList) {
        for partition in partitions.elements() {
            let Ok(topic) = CString::new(partition.topic()) else { continue };
            // SAFETY: client and queue are alive, the name ends with a NUL, and the partition's handle is looked at before it is
            // used and destroyed once; librdkafka counts who uses the queues themselves.
            unsafe {
                let of_partition = bindings::rd_kafka_queue_get_partition(self.native, topic.as_ptr(), partition.partition());
                if !of_partition.is_null() {
                    bindings::rd_kafka_queue_forward(of_partition, self.queue);
                    bindings::rd_kafka_queue_destroy(of_partition);
                }
            }
        }
    }

    /// Whether the consumer has something to be polled for.
    pub fn has_events(&self) -> bool {
        // SAFETY: the queue is alive as long as this.
        !self.events.is_null() && unsafe { bindings::rd_kafka_queue_length(self.events) } > 0
    }

    /// Calls `each` for every record that is there, as long as it answers `true`; the rest stays. Without any, waits `patience` for one,
    /// or until the consumer is to be polled. Answers whether there were any. What is called must not poll the consumer.
    pub fn take<F: FnMut(Result<Record<'_>, RecordError<'_>>) -> bool>(&self, patience: Duration, mut each: F) -> bool {
        let mut context = Call { native: self.native, each: &mut each, count: 0, panic: None };
        let patience = c_int::try_from(patience.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the queue is alive, and it holds what partitions send alone: records and errors. The context outlives the call, and
        // nobody touches it meanwhile but `call`, which is made for its type.
        unsafe { bindings::rd_kafka_consume_callback_queue(self.queue, patience, Some(call::<F>), (&raw mut context).cast()) };
        if let Some(panic) = context.panic {
            resume_unwind(panic);
        }
        context.count > 0
    }
}

impl Drop for Records<'_> {
    fn drop(&mut self) {
        // SAFETY: the consumer is alive still. Once the callback is taken back, under the lock that it is called under, nobody
        // uses the queue but partitions that are forwarded to it, and librdkafka counts these.
        unsafe {
            if !self.events.is_null() {
                bindings::rd_kafka_queue_cb_event_enable(self.events, None, ptr::null_mut());
                bindings::rd_kafka_queue_destroy(self.events);
            }
            bindings::rd_kafka_queue_destroy(self.queue);
        }
    }
}

/// A record where librdkafka has it.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    message: &'a bindings::rd_kafka_message_t,
}

/// An error that comes in the place of a record.
pub(super) struct RecordError<'a> {
    /// Its partition, and the offset that it is about.
    pub place: Record<'a>,
    pub error: KafkaError,
}

impl<'a> Record<'a> {
    /// Returns the record that a message is, or the error, as `rdkafka` has them for what it polls.
    fn or_error(message: &'a bindings::rd_kafka_message_t) -> Result<Record<'a>, RecordError<'a>> {
        use bindings::rd_kafka_resp_err_t as code;
        let error = match message.err {
            code::RD_KAFKA_RESP_ERR_NO_ERROR => return Ok(Record { message }),
            code::RD_KAFKA_RESP_ERR__PARTITION_EOF => KafkaError::PartitionEOF(message.partition),
            error @ code::RD_KAFKA_RESP_ERR__FATAL => KafkaError::MessageConsumptionFatal(error.into()),
            error => KafkaError::MessageConsumption(error.into()),
        };
        Err(RecordError { place: Record { message }, error })
    }

    /// The record of a message that was polled.
    pub fn of(message: &'a BorrowedMessage<'_>) -> Record<'a> {
        // SAFETY: the message is borrowed, and alive so long; `rdkafka` gives out no message that is an error.
        Record { message: unsafe { &*message.ptr() } }
    }

    /// The topic's handle, to be compared only.
    pub fn topic_handle(self) -> usize {
        self.message.rkt as usize
    }

    pub fn topic(self) -> &'a str {
        if self.message.rkt.is_null() {
            return "";
        }
        // SAFETY: the topic's name ends with a NUL and lives as long as the topic, which the message holds on to. An error about no topic in
        // particular has none, which is looked at above.
        unsafe { CStr::from_ptr(bindings::rd_kafka_topic_name(self.message.rkt)) }.to_str().unwrap_or_default()
    }

    pub fn partition(self) -> i32 {
        self.message.partition
    }

    pub fn offset(self) -> i64 {
        self.message.offset
    }

    /// Milliseconds since 1970, -1 if unknown.
    pub fn timestamp_ms(self) -> i64 {
        let mut kind = bindings::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        unsafe { bindings::rd_kafka_message_timestamp(self.message, &mut kind) }
    }

    pub fn key(self) -> Option<&'a [u8]> {
        // SAFETY: pointer and length are of one block, which lives as long as the message.
        unsafe { bytes(self.message.key, self.message.key_len) }
    }

    pub fn value(self) -> Option<&'a [u8]> {
        // SAFETY: as above.
        unsafe { bytes(self.message.payload, self.message.len) }
    }

    /// Names and values; a value may be null.
    pub fn headers(self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive. librdkafka reads its headers now, if it has any, and keeps what it has read with the message; nobody
        // else has the message, so that changes nothing that is borrowed.
        let error = unsafe { bindings::rd_kafka_message_headers(self.message, &mut headers) };
        let count = match error {
            // SAFETY: without an error the headers are there.
            bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => unsafe { bindings::rd_kafka_header_cnt(headers) },
            _ => 0,
        };
        (0..count).filter_map(move |index| {
            let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers live as long as the message; the name ends with a NUL, and the value is one block of this length.
            unsafe {
                let error = bindings::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut length);
                let is_there = error == bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
                is_there.then(|| (CStr::from_ptr(name).to_str().unwrap_or_default(), bytes(value, length)))
            }
        })
    }
}

/// # Safety
/// `start` is null or the start of `length` bytes that live as long as `'a`.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: by the caller's promise.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), length) })
}
