//! Batched consumption of records, without one poll per record.
//!
//! A poll reads the clock three times, allocates an event and takes several locks. `rd_kafka_consume_callback_queue`
//! consumes a whole queue in one call and invokes a callback for each record, but can't be used on the consumer's own
//! queue, because librdkafka would then handle rebalances itself. So the queues of assigned partitions are forwarded to
//! a queue for records only, and the consumer is polled for everything else. Records of a partition that is not
//! forwarded yet are received by polling the consumer.
//!
//! (`rd_kafka_consume_batch_queue` would do as well, but it counts an error's offset as consumed, so that a paused
//! partition would continue after the record that could not be fetched.)

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

/// The record queue of a consumer.
pub(super) struct Records<'c> {
    native: *mut bindings::rd_kafka_t,
    /// Queue for records only.
    queue: *mut bindings::rd_kafka_queue_t,
    /// The consumer's queue.
    events: *mut bindings::rd_kafka_queue_t,
    /// Lifetime that makes the queues be destroyed before the consumer.
    consumer: PhantomData<&'c ()>,
}

/// Ends the wait for records. librdkafka calls this when an event is added to the consumer's queue.
unsafe extern "C" fn wake(_: *mut bindings::rd_kafka_t, queue: *mut c_void) {
    // SAFETY: `queue` belongs to a `Records`, which unregisters this function before it destroys the queue.
    unsafe { bindings::rd_kafka_queue_yield(queue.cast()) }
}

/// The context that librdkafka passes to the callback for each record.
struct Call<'f, F> {
    native: *mut bindings::rd_kafka_t,
    each: &'f mut F,
    count: usize,
    panic: Option<Box<dyn Any + Send>>,
}

/// Handles one record, or an error in place of one. Called by librdkafka.
unsafe extern "C" fn call<F: FnMut(Result<Record<'_>, RecordError<'_>>) -> bool>(
    message: *mut bindings::rd_kafka_message_t,
    context: *mut c_void,
) {
    // SAFETY: both are alive until this returns. The message belongs to librdkafka, which gives nothing else access to
    // it meanwhile; the context is the one of `Records::take`, lent for the duration of this call.
    let (message, context) = unsafe { (&*message, &mut *context.cast::<Call<'_, F>>()) };
    context.count += 1;
    // A panic must not unwind through librdkafka; it is resumed when librdkafka has returned.
    let goes_on =
        catch_unwind(AssertUnwindSafe(|| (context.each)(Record::or_error(message)))).unwrap_or_else(|panic| {
            context.panic = Some(panic);
            false
        });
    if !goes_on {
        // This must be the last call into librdkafka here, because other calls reset the flag.
        // SAFETY: the client is alive; the call sets a thread-local flag, and the remaining records stay in their
        // queue.
        unsafe { bindings::rd_kafka_yield(context.native) }
    }
}

impl<'c> Records<'c> {
    /// Creates an empty queue, to which nothing is forwarded.
    pub fn new<C: ConsumerContext>(client: &'c Client<C>) -> Records<'c> {
        let native = client.native_ptr();
        // SAFETY: the client is borrowed for as long as this value lives, so its handle is alive. Both queues are
        // handles owned by this value, destroyed once, in `drop`. A consumer without a group has no queue, and then the
        // pointer is null.
        unsafe {
            let queue = bindings::rd_kafka_queue_new(native);
            let events = bindings::rd_kafka_queue_get_consumer(native);
            if !events.is_null() {
                bindings::rd_kafka_queue_cb_event_enable(events, Some(wake), queue.cast());
            }
            Records { native, queue, events, consumer: PhantomData }
        }
    }

    /// Forwards the queues of these partitions to the record queue. librdkafka undoes this when it stops fetching a
    /// partition, so it must be repeated after every assignment.
    pub fn forward(&self, partitions: &TopicPartitionList) {
        for partition in partitions.elements() {
            let Ok(topic) = CString::new(partition.topic()) else { continue };
            // SAFETY: client and queue are alive, the name is NUL-terminated, and the partition's handle is checked
            // before use and destroyed once; librdkafka counts the references to the queues themselves.
            unsafe {
                let of_partition =
                    bindings::rd_kafka_queue_get_partition(self.native, topic.as_ptr(), partition.partition());
                if !of_partition.is_null() {
                    bindings::rd_kafka_queue_forward(of_partition, self.queue);
                    bindings::rd_kafka_queue_destroy(of_partition);
                }
            }
        }
    }

    /// Returns whether the consumer's queue has events to be polled.
    pub fn has_events(&self) -> bool {
        // SAFETY: the queue lives as long as this value.
        !self.events.is_null() && unsafe { bindings::rd_kafka_queue_length(self.events) } > 0
    }

    /// Calls `each` for every available record until it returns `false`; the remaining records stay in the queue. If
    /// there is none, waits up to `patience` for one, or until the consumer must be polled. Returns whether there were
    /// any. `each` must not poll the consumer.
    pub fn take<F: FnMut(Result<Record<'_>, RecordError<'_>>) -> bool>(&self, patience: Duration, mut each: F) -> bool {
        let mut context = Call { native: self.native, each: &mut each, count: 0, panic: None };
        let patience = c_int::try_from(patience.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the queue is alive, and it holds only what partitions enqueue: records and errors. The context
        // outlives the call, and is accessed meanwhile only by `call`, which is instantiated for its type.
        unsafe {
            bindings::rd_kafka_consume_callback_queue(self.queue, patience, Some(call::<F>), (&raw mut context).cast())
        };
        if let Some(panic) = context.panic {
            resume_unwind(panic);
        }
        context.count > 0
    }
}

impl Drop for Records<'_> {
    fn drop(&mut self) {
        // SAFETY: the consumer is still alive. Once the callback is unregistered, under the lock under which it is
        // called, only the partitions forwarded to the queue use it, and librdkafka counts their references.
        unsafe {
            if !self.events.is_null() {
                bindings::rd_kafka_queue_cb_event_enable(self.events, None, ptr::null_mut());
                bindings::rd_kafka_queue_destroy(self.events);
            }
            bindings::rd_kafka_queue_destroy(self.queue);
        }
    }
}

/// A record in librdkafka's memory.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    message: &'a bindings::rd_kafka_message_t,
}

/// An error that arrives in place of a record.
pub(super) struct RecordError<'a> {
    /// Message that carries the partition, and the offset that the error is about.
    pub place: Record<'a>,
    pub error: KafkaError,
}

impl<'a> Record<'a> {
    /// Converts a message to a record or an error, in the same way as `rdkafka` does for polled messages.
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

    /// Returns the record of a polled message.
    pub fn of(message: &'a BorrowedMessage<'_>) -> Record<'a> {
        // SAFETY: the message is borrowed, so it stays alive; `rdkafka` returns no message that is an error.
        Record { message: unsafe { &*message.ptr() } }
    }

    /// Returns the address of the topic's handle, for comparison only.
    pub fn topic_handle(self) -> usize {
        self.message.rkt as usize
    }

    pub fn topic(self) -> &'a str {
        if self.message.rkt.is_null() {
            return "";
        }
        // SAFETY: the topic's name is NUL-terminated and lives as long as the topic, which the message references. An
        // error that concerns no particular topic has none, which is checked above.
        unsafe { CStr::from_ptr(bindings::rd_kafka_topic_name(self.message.rkt)) }.to_str().unwrap_or_default()
    }

    pub fn partition(self) -> i32 {
        self.message.partition
    }

    pub fn offset(self) -> i64 {
        self.message.offset
    }

    /// Returns the timestamp in milliseconds since 1970; -1 if unknown.
    pub fn timestamp_ms(self) -> i64 {
        let mut kind = bindings::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        unsafe { bindings::rd_kafka_message_timestamp(self.message, &mut kind) }
    }

    pub fn key(self) -> Option<&'a [u8]> {
        // SAFETY: pointer and length belong to one block, which lives as long as the message.
        unsafe { bytes(self.message.key, self.message.key_len) }
    }

    pub fn value(self) -> Option<&'a [u8]> {
        // SAFETY: pointer and length belong to one block, which lives as long as the message.
        unsafe { bytes(self.message.payload, self.message.len) }
    }

    /// Returns the names and values of the headers; a value may be null.
    pub fn headers(self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive. librdkafka parses its headers now, if it has any, and stores the result with
        // the message; nothing else has access to the message, so this changes nothing that is borrowed.
        let error = unsafe { bindings::rd_kafka_message_headers(self.message, &mut headers) };
        let count = match error {
            // SAFETY: without an error the headers exist.
            bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => unsafe {
                bindings::rd_kafka_header_cnt(headers)
            },
            _ => 0,
        };
        (0..count).filter_map(move |index| {
            let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers live as long as the message; the name is NUL-terminated, and the value is one block
            // of this length.
            unsafe {
                let error = bindings::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut length);
                let is_there = error == bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
                is_there.then(|| (CStr::from_ptr(name).to_str().unwrap_or_default(), bytes(value, length)))
            }
        })
    }
}

/// # Safety
/// `start` is null or points to `length` bytes that live as long as `'a`.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: guaranteed by the caller.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), length) })
}
