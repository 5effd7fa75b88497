//! Kafka's ids of topics (KIP-516): a topic that is deleted and created again has another id.
//!
//! The id stands beside each committed offset (Kafka's commit metadata), together with the cluster's id: where offsets are carried over to
//! another cluster with their metadata, as MirrorMaker does, topics have other ids and are none the less the same.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings;
use rdkafka::client::Client;
use serde::{Deserialize, Serialize};

/// What stands beside a committed offset.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    logproc_topic_id: String,
}

/// The text to put beside a committed offset of the topic with this id.
pub(super) fn note(id: &str) -> String {
    // A structure of one text always becomes JSON.
    serde_json::to_string(&Note { logproc_topic_id: id.to_string() }).unwrap_or_default()
}

/// The id of the topic that an offset was committed for; `None` for what another client has committed.
pub(super) fn noted(text: &str) -> Option<String> {
    serde_json::from_str(text).ok().map(|note: Note| note.logproc_topic_id)
}

/// The property of a topic that tells its documents from those of other topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopicIdentity {
    /// Kafka's id of the topic.
    #[default]
    TopicId,
    /// The topic's name.
    Name,
}

/// Returns the topic's own id of `CLUSTER/ID`.
pub(super) fn id_of(topic: &str) -> &str {
    topic.split_once('/').map_or(topic, |(_, id)| id)
}

/// Returns an id of a topic as Kafka's tools print it, from librdkafka's form of it, which is another kind of base64.
pub(super) fn as_kafka_prints_it(id: &str) -> String {
    id.replace('+', "-").replace('/', "_")
}

/// Returns whether two topics, as `CLUSTER/ID`, are different ones of one cluster.
pub(super) fn is_another(then: &str, now: &str) -> bool {
    let cluster = |id: &str| id.split_once('/').map(|(cluster, _)| cluster.to_string());
    then != now && cluster(then).is_some() && cluster(then) == cluster(now)
}

/// Returns those of the topics that exist, each as `CLUSTER/ID`, or `None` where brokers give it no id (as those older than 2.8).
///
/// # Errors
/// The brokers don't answer in time.
pub(super) fn topic_ids<C: ClientContext>(client: &Client<C>, topics: &[String], timeout: Duration) -> Result<HashMap<String, Option<String>>, String> {
    let names: Result<Vec<CString>, _> = topics.iter().map(|topic| CString::new(topic.as_str())).collect();
    let names = names.map_err(|_| "the name of a topic holds a NUL".to_string())?;
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let ids = describe(client, &names, c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX))?;
    // Brokers that have just answered and do not tell the cluster's id never will.
    let cluster = client.fetch_cluster_id(timeout).unwrap_or_default();
    Ok(ids.into_iter().map(|(topic, id)| (topic, id.map(|id| format!("{cluster}/{id}")))).collect())
}

/// Asks the brokers for descriptions of topics.
///
/// librdkafka has had this since 2.3; `rdkafka` has no function for it, and tells no topic's id in any other way.
#[allow(unsafe_code)]
fn describe<C: ClientContext>(client: &Client<C>, names: &[CString], timeout_ms: c_int) -> Result<HashMap<String, Option<String>>, String> {
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let native = client.native_ptr();
    // SAFETY: the client is borrowed, so its handle is alive. Names end with a NUL, are alive until the end and are copied by the callee.
    // What is made here (collection, options, queue, event) is destroyed here, once; descriptions belong to the event and are
    // read before it goes; ids belong to their descriptions. Both texts that are read end with a NUL.
    unsafe {
        let collection = bindings::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let options = bindings::rd_kafka_AdminOptions_new(native, bindings::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        // A time that it refuses leaves its own in place; the poll below has the same.
        bindings::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, ptr::null_mut(), 0);
        let queue = bindings::rd_kafka_queue_new(native);
        bindings::rd_kafka_DescribeTopics(native, collection, options, queue);
        let event = bindings::rd_kafka_queue_poll(queue, timeout_ms);
        let found = read(event);
        if !event.is_null() {
            bindings::rd_kafka_event_destroy(event);
        }
        bindings::rd_kafka_queue_destroy(queue);
        bindings::rd_kafka_AdminOptions_destroy(options);
        bindings::rd_kafka_TopicCollection_destroy(collection);
        found
    }
}

/// The ids in the answer to a request for descriptions.
///
/// # Safety
/// `event` is null or an event that has not been destroyed.
#[allow(unsafe_code)]
unsafe fn read(event: *mut bindings::rd_kafka_event_t) -> Result<HashMap<String, Option<String>>, String> {
    if event.is_null() {
        return Err("the brokers don't answer".to_string());
    }
    // SAFETY: by the caller's promise; counts are those of the arrays that they come with, and every pointer is looked at before
    // it is followed.
    unsafe {
        let error = bindings::rd_kafka_event_error_string(event);
        let result = bindings::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() || bindings::rd_kafka_event_error(event) != bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(if error.is_null() { String::new() } else { CStr::from_ptr(error).to_string_lossy().into_owned() });
        }
        let mut count = 0;
        let topics = bindings::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let mut ids = HashMap::new();
        for index in 0..if topics.is_null() { 0 } else { count } {
            let topic = *topics.add(index);
            let (name, id) = (bindings::rd_kafka_TopicDescription_name(topic), bindings::rd_kafka_TopicDescription_topic_id(topic));
            let error = bindings::rd_kafka_error_code(bindings::rd_kafka_TopicDescription_error(topic));
            if name.is_null() || error != bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                continue;
            }
            let text = |text: *const c_char| CStr::from_ptr(text).to_string_lossy().into_owned();
            let is_none = id.is_null()
                || (bindings::rd_kafka_Uuid_most_significant_bits(id) == 0 && bindings::rd_kafka_Uuid_least_significant_bits(id) == 0);
            let id = if is_none { ptr::null() } else { bindings::rd_kafka_Uuid_base64str(id) };
            ids.insert(text(name), (!id.is_null()).then(|| as_kafka_prints_it(&text(id))));
        }
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};

    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_and_other_texts_are_none() {
        assert_eq!(noted(&note("q7VZ")), Some("q7VZ".to_string()));
        for text in ["", "x", r#"{"logproc_replay":1,"start":1,"end":2,"purpose":""}"#] {
            assert_eq!(noted(text), None, "{text}");
        }
    }

    #[test]
    fn the_id_of_a_topic_is_what_kafka_prints() {
        assert_eq!(as_kafka_prints_it("uGeS7/hETGy5+dCzycdSWg"), "uGeS7_hETGy5-dCzycdSWg");
        assert_eq!((id_of("cluster/uGeS7_hE"), id_of("/uGeS7_hE"), id_of("uGeS7_hE")), ("uGeS7_hE", "uGeS7_hE", "uGeS7_hE"));
    }

    #[test]
    fn a_topic_is_another_only_within_its_cluster() {
        for (then, now, another) in [("c/a", "c/a", false), ("c/a", "c/b", true), ("c/a", "d/b", false), ("a", "b", false)] {
            assert_eq!(is_another(then, now), another, "{then} {now}");
        }
    }

    #[test]
    fn brokers_that_do_not_answer_are_an_error() {
        let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", "127.0.0.1:1").create().unwrap();
        assert!(topic_ids(client.client(), &["one".to_string()], Duration::from_millis(50)).is_err());
    }
}
