//! Kafka's topic IDs (KIP-516): a topic that is deleted and created again has another ID.
//!
//! The ID is stored with each committed offset (in Kafka's commit metadata), together with the cluster's ID. If offsets
//! are copied to another cluster with their metadata, as MirrorMaker does, the topics there have other IDs although
//! they are the same.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings;
use rdkafka::client::Client;
use serde::{Deserialize, Serialize};

/// The commit metadata of an offset.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    logproc_topic_id: String,
}

/// Returns the commit metadata for offsets of the topic with this ID.
pub(crate) fn note(id: &str) -> String {
    // A structure of one text always serialises to JSON.
    serde_json::to_string(&Note { logproc_topic_id: id.to_string() }).unwrap_or_default()
}

/// Returns the ID of the topic that an offset was committed for; `None` if another client has committed it.
pub(crate) fn noted(text: &str) -> Option<String> {
    serde_json::from_str(text).ok().map(|note: Note| note.logproc_topic_id)
}

/// The property that identifies a topic in document IDs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopicIdentity {
    /// Kafka's topic ID.
    #[default]
    TopicId,
    /// The topic's name.
    Name,
}

/// Returns the topic ID from `CLUSTER/ID`.
pub(crate) fn id_of(topic: &str) -> &str {
    topic.split_once('/').map_or(topic, |(_, id)| id)
}

/// Returns a topic ID as Kafka's tools print it, converted from librdkafka's form, which uses another base64 alphabet.
pub(crate) fn as_kafka_prints_it(id: &str) -> String {
    id.replace('+', "-").replace('/', "_")
}

/// Returns whether two topics, given as `CLUSTER/ID`, are different topics of one cluster.
pub(crate) fn is_another(then: &str, now: &str) -> bool {
    let cluster = |id: &str| id.split_once('/').map(|(cluster, _)| cluster.to_string());
    then != now && cluster(then).is_some() && cluster(then) == cluster(now)
}

/// Returns the topics that exist, each as `CLUSTER/ID`, or `None` if the brokers give it no ID (as those older than
/// 2.8).
///
/// # Errors
/// Fails if the brokers do not respond in time.
pub(crate) fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    topics: &[String],
    timeout: Duration,
) -> Result<HashMap<String, Option<String>>, String> {
    let names: Result<Vec<CString>, _> = topics.iter().map(|topic| CString::new(topic.as_str())).collect();
    let names = names.map_err(|_| "the name of a topic holds a NUL".to_string())?;
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let ids = describe(client, &names, c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX))?;
    // Brokers that have just responded and return no cluster ID don't have one.
    let cluster = client.fetch_cluster_id(timeout).unwrap_or_default();
    Ok(ids.into_iter().map(|(topic, id)| (topic, id.map(|id| format!("{cluster}/{id}")))).collect())
}

/// Requests descriptions of topics from the brokers.
///
/// librdkafka supports this since 2.3. `rdkafka` has no function for it, and no other way to get a topic's ID.
#[allow(unsafe_code)]
fn describe<C: ClientContext>(
    client: &Client<C>,
    names: &[CString],
    timeout_ms: c_int,
) -> Result<HashMap<String, Option<String>>, String> {
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let native = client.native_ptr();
    // SAFETY: the client is borrowed, so its handle is alive. Names are NUL-terminated, live until the end and are
    // copied by the callee. What is created here (collection, options, queue, event) is destroyed here, once;
    // descriptions belong to the event and are read before it is destroyed; IDs belong to their descriptions. Both
    // texts that are read are NUL-terminated.
    unsafe {
        let collection = bindings::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let options = bindings::rd_kafka_AdminOptions_new(
            native,
            bindings::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        // If librdkafka rejects the timeout, its default stays in effect; the poll below has the same timeout.
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

/// Returns the topic IDs in the response to a request for descriptions.
///
/// # Safety
/// `event` is null or an event that has not been destroyed.
#[allow(unsafe_code)]
unsafe fn read(event: *mut bindings::rd_kafka_event_t) -> Result<HashMap<String, Option<String>>, String> {
    if event.is_null() {
        return Err("the brokers don't answer".to_string());
    }
    // SAFETY: guaranteed by the caller; counts belong to the arrays that they are returned with, and every pointer is
    // checked before it is dereferenced.
    unsafe {
        let error = bindings::rd_kafka_event_error_string(event);
        let result = bindings::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null()
            || bindings::rd_kafka_event_error(event) != bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return Err(if error.is_null() {
                String::new()
            } else {
                CStr::from_ptr(error).to_string_lossy().into_owned()
            });
        }
        let mut count = 0;
        let topics = bindings::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let mut ids = HashMap::new();
        for index in 0..if topics.is_null() { 0 } else { count } {
            let topic = *topics.add(index);
            let (name, id) =
                (bindings::rd_kafka_TopicDescription_name(topic), bindings::rd_kafka_TopicDescription_topic_id(topic));
            let error = bindings::rd_kafka_error_code(bindings::rd_kafka_TopicDescription_error(topic));
            if name.is_null() || error != bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                continue;
            }
            let text = |text: *const c_char| CStr::from_ptr(text).to_string_lossy().into_owned();
            let is_none = id.is_null()
                || (bindings::rd_kafka_Uuid_most_significant_bits(id) == 0
                    && bindings::rd_kafka_Uuid_least_significant_bits(id) == 0);
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
        assert_eq!(
            (id_of("cluster/uGeS7_hE"), id_of("/uGeS7_hE"), id_of("uGeS7_hE")),
            ("uGeS7_hE", "uGeS7_hE", "uGeS7_hE")
        );
    }

    #[test]
    fn a_topic_is_another_only_within_its_cluster() {
        for (then, now, another) in
            [("c/a", "c/a", false), ("c/a", "c/b", true), ("c/a", "d/b", false), ("a", "b", false)]
        {
            assert_eq!(is_another(then, now), another, "{then} {now}");
        }
    }

    #[test]
    fn brokers_that_do_not_answer_are_an_error() {
        let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", "127.0.0.1:1").create().unwrap();
        assert!(topic_ids(client.client(), &["one".to_string()], Duration::from_millis(50)).is_err());
    }
}
