//! The Elasticsearch sink against every kind of fault.

use std::collections::HashMap;
use std::time::Duration;

use super::support::*;
use logproc::config::Data;
use logproc::testkit::fake_cluster::{FakeCluster, Fault, ItemFate};

const LINES: usize = 2_000;

/// Runs numbered lines into a cluster and checks that each arrived or is a dead letter.
fn deliver(cluster: &FakeCluster, options: &[(&str, Data)]) -> (logproc::delivery::Summary, Vec<serde_json::Value>) {
    let folder = tempfile::tempdir().unwrap();
    let dead = folder.path().join("dead");
    let mut more = vec![("bulk_max_items", Data::Integer(100))];
    more.extend_from_slice(options);
    let sink = elasticsearch(&cluster.url(), &more);
    let summary = Running::start(plan(file_source(&lines(folder.path(), LINES), &[]), vec![sink], &dead)).wait();
    let letters = dead_letters(&dead);
    let mut numbers: Vec<u64> = cluster.stored().values().map(|stored| number(&stored.source)).collect();
    numbers.extend(letters.iter().map(|letter| number(letter["value"].as_str().unwrap())));
    numbers.sort_unstable();
    assert_eq!(numbers, (0..LINES as u64).collect::<Vec<_>>(), "each record once");
    assert_eq!(summary.unfinished, 0);
    (summary, letters)
}

fn number(source: &str) -> u64 {
    serde_json::from_str::<serde_json::Value>(source).unwrap()["n"].as_u64().unwrap()
}

#[test]
fn everything_arrives_once_when_all_is_well() {
    let cluster = FakeCluster::start().unwrap();
    let (summary, letters) = deliver(&cluster, &[]);
    assert_eq!((summary.documents, letters.len()), (LINES as u64, 0));
    assert!(cluster.stored().values().all(|stored| stored.sent == 1));
    assert_eq!(cluster.last_header("content-type").as_deref(), Some("application/x-ndjson"));
}

#[test]
fn gzip_and_credentials_are_sent() {
    let cluster = FakeCluster::start().unwrap();
    deliver(&cluster, &[("compression_level", Data::Integer(1)), ("user", text("u")), ("password", text("p"))]);
    assert_eq!(cluster.last_header("content-encoding").as_deref(), Some("gzip"));
    assert_eq!(cluster.last_header("authorization").as_deref(), Some("Basic dTpw"));
    assert!(cluster.bytes() < LINES as u64 * 30, "the bodies were compressed");
}

#[test]
fn whole_requests_are_sent_again_until_they_are_taken() {
    let cluster = FakeCluster::start().unwrap();
    cluster.fail_next([
        Fault::Status(429, "es_rejected_execution_exception"),
        Fault::Status(503, "unavailable"),
        Fault::CutAnswer,
        Fault::Gibberish,
        Fault::WrongCount,
        Fault::Disconnect,
        Fault::Delay(Duration::from_millis(50)),
        Fault::Status(401, "security_exception"),
        Fault::Status(403, "security_exception"),
        Fault::Status(404, "index_not_found_exception"),
        Fault::Status(403, "cluster_block_exception"),
        Fault::Status(502, "bad_gateway"),
    ]);
    let (summary, letters) = deliver(&cluster, &[]);
    assert_eq!((summary.documents, letters.len()), (LINES as u64, 0));
}

#[test]
fn a_response_without_an_entry_for_each_document_delivers_none() {
    let cluster = FakeCluster::start().unwrap();
    cluster.fail_next([
        Fault::Proxy(""),
        Fault::Proxy("{}"),
        Fault::Proxy("[]"),
        Fault::Proxy("<html>OK</html>"),
        Fault::Proxy(r#"{"took":3,"errors":false}"#),
        Fault::Proxy(r#"{"errors":false,"items":[]}"#),
        Fault::Proxy(r#"{"errors":false,"items":[{"create":{"status":201}}]}"#),
        Fault::Proxy(r#"{"errors":true,"items":[{"create":{"status":400,"error":{"type":"a","reason":"b"}}}]}"#),
    ]);
    let (summary, letters) = deliver(&cluster, &[]);
    assert_eq!((summary.documents, letters.len()), (LINES as u64, 0));
    assert_eq!(cluster.stored().len(), LINES, "what no response spoke of was sent again");
}

#[test]
fn a_silent_server_is_given_up_and_asked_again() {
    let cluster = FakeCluster::start().unwrap();
    cluster.fail_next([Fault::Delay(Duration::from_secs(3_600))]);
    let (summary, _) = deliver(&cluster, &[("timeout", text("300ms"))]);
    assert_eq!(summary.documents, LINES as u64);
}

#[test]
fn only_the_documents_that_were_not_taken_are_sent_again() {
    let cluster = FakeCluster::start().unwrap();
    let mut seen: HashMap<String, u32> = HashMap::new();
    cluster.script_items(move |id, source| {
        let number = number(std::str::from_utf8(source).unwrap());
        let times = seen.entry(id.to_string()).or_default();
        *times += 1;
        match (number % 10, *times) {
            (1, 1..=2) => ItemFate::Refuse(429, "es_rejected_execution_exception"),
            (2, 1) => ItemFate::Refuse(503, "unavailable_shards_exception"),
            (3, 1) => ItemFate::Refuse(403, "cluster_block_exception"),
            (4, 1) => ItemFate::Refuse(404, "index_not_found_exception"),
            (5, 1) => ItemFate::Refuse(403, "security_exception"),
            (6, _) => ItemFate::FailureStore,
            _ => ItemFate::Take,
        }
    });
    let (summary, letters) = deliver(&cluster, &[]);
    assert_eq!((summary.documents, letters.len()), (LINES as u64, 0));
    assert!(cluster.stored().values().all(|stored| stored.sent == 1), "nothing that was taken was sent again");
}

#[test]
fn refused_documents_become_dead_letters_with_the_reason() {
    let cluster = FakeCluster::start().unwrap();
    cluster.script_items(|_, source| match number(std::str::from_utf8(source).unwrap()) % 100 {
        7 => ItemFate::Refuse(400, "document_parsing_exception"),
        8 => ItemFate::Refuse(404, "document_missing_exception"),
        _ => ItemFate::Take,
    });
    let (summary, letters) = deliver(&cluster, &[]);
    assert_eq!((summary.dead_lettered, letters.len()), (40, 40));
    assert!(letters.iter().all(|letter| letter["reason"] == "rejected" && letter["component"] == "elasticsearch"));
    let parsing = letters.iter().find(|letter| letter["status"] == 400).unwrap();
    assert_eq!(parsing["error"], "document_parsing_exception: as the script says");
}

#[test]
fn a_request_that_is_too_large_is_halved_and_a_single_document_kept_aside() {
    let cluster = FakeCluster::start().unwrap();
    cluster.set_largest_body(1_000);
    let (_, letters) = deliver(&cluster, &[]);
    assert!(letters.is_empty());
    let tiny = FakeCluster::start().unwrap();
    tiny.set_largest_body(10);
    let (summary, letters) = deliver(&tiny, &[]);
    assert_eq!((summary.documents, letters.len()), (0, LINES));
    assert!(letters.iter().all(|letter| letter["reason"] == "too_large" && letter["status"] == 413));
}

#[test]
fn a_request_that_there_is_never_room_for_is_halved_too() {
    let cluster = FakeCluster::start().unwrap();
    cluster.set_room(70_000);
    // All of it is one request otherwise.
    let (summary, letters) =
        deliver(&cluster, &[("bulk_max_items", Data::Integer(LINES as i64)), ("linger", text("1s"))]);
    assert_eq!((summary.documents, letters.len()), (LINES as u64, 0));
    assert!(cluster.bytes() > 140_000, "it was too large at first: {}", cluster.bytes());
}

#[test]
fn a_document_that_alone_keeps_failing_is_kept_aside_at_last() {
    let cluster = FakeCluster::start().unwrap();
    let mut times = 0;
    cluster.script_items(move |_, source| match number(std::str::from_utf8(source).unwrap()) {
        5 => {
            times += 1;
            ItemFate::Refuse(500, "illegal_state_exception")
        }
        // Its neighbours are still on their way when it has failed a few times.
        6 if times < 4 => ItemFate::Refuse(429, "es_rejected_execution_exception"),
        _ => ItemFate::Take,
    });
    let (_, letters) = deliver(&cluster, &[("poison_timeout", text("100ms"))]);
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0]["reason"], &letters[0]["status"]), (&"poison".into(), &500.into()));
}

/// Delivers with one document that fails a dozen times with `status` before it is taken, each time after a pause of up to
/// 40 ms, and answers the dead letters. The other documents are on their way all the while.
fn with_a_failing_document(status: u16, apart: bool) -> Vec<serde_json::Value> {
    let cluster = FakeCluster::start().unwrap();
    let mut times = 0;
    cluster.script_items(move |_, source| {
        let text = std::str::from_utf8(source).unwrap();
        let (number, alone) = (number(text), text.contains("apart"));
        match number {
            _ if alone == apart && number == 5 && times < 12 => {
                times += 1;
                ItemFate::Refuse(status, "as_the_test_wants")
            }
            // One neighbour of the same index goes on to be taken later than the first failure, whatever `apart` says.
            6 if times < 4 => ItemFate::Refuse(429, "es_rejected_execution_exception"),
            _ => ItemFate::Take,
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let (input, dead) = (folder.path().join("input"), folder.path().join("dead"));
    let line = |number| {
        if apart && number == 5 { format!("{{\"n\":{number},\"apart\":1}}\n") } else { format!("{{\"n\":{number}}}\n") }
    };
    std::fs::write(&input, (0..100).map(line).collect::<String>()).unwrap();
    let sink = elasticsearch(&cluster.url(), &[("poison_timeout", text("60ms"))]);
    let summary = Running::start(plan(file_source(&input, &[]), vec![sink], &dead)).wait();
    assert_eq!(summary.unfinished, 0);
    let letters = dead_letters(&dead);
    assert_eq!(cluster.stored().len() + letters.len(), 100);
    letters
}

#[test]
fn a_document_is_blamed_only_while_its_own_index_takes_others() {
    assert_eq!(with_a_failing_document(500, false).len(), 1, "its neighbours were taken: it is to blame");
    assert!(with_a_failing_document(500, true).is_empty(), "its index took nothing: the cluster is to blame");
}

#[test]
fn a_missing_shard_is_waited_for_however_long_it_takes() {
    assert!(with_a_failing_document(503, false).is_empty());
}

#[test]
fn what_an_operator_must_put_right_is_waited_for() {
    for (status, kind) in [
        (400, "index_closed_exception"),
        (403, "cluster_block_exception"),
        (401, "security_exception"),
        (408, "timeout"),
    ] {
        let cluster = FakeCluster::start().unwrap();
        let mut times = 0;
        cluster.script_items(move |_, source| match number(std::str::from_utf8(source).unwrap()) {
            5 if times < 8 => {
                times += 1;
                ItemFate::Refuse(status, kind)
            }
            _ => ItemFate::Take,
        });
        let (_, letters) = deliver(&cluster, &[]);
        assert!(letters.is_empty(), "{status} {kind}");
    }
}

#[test]
fn an_answering_host_without_a_cluster_rests_too() {
    let (broken, cluster) = (FakeCluster::start().unwrap(), FakeCluster::start().unwrap());
    broken.fail_always(Some(Fault::Status(503, "master_not_discovered_exception")));
    let span = logproc::config::Span::default();
    let hosts = Data::Array(
        [broken.url(), cluster.url()].map(|host| logproc::config::Node { span, data: text(host) }).to_vec(),
    );
    let (summary, _) = deliver(&cluster, &[("hosts", hosts)]);
    assert_eq!(summary.documents, LINES as u64);
    assert!(broken.requests() <= 8, "{} requests went to the broken host", broken.requests());
}

#[test]
fn a_dead_host_is_passed_over() {
    let cluster = FakeCluster::start().unwrap();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hosts = [format!("http://{gone}"), cluster.url()];
    let span = logproc::config::Span::default();
    let hosts = Data::Array(hosts.map(|host| logproc::config::Node { span, data: text(host) }).to_vec());
    let (summary, _) = deliver(&cluster, &[("hosts", hosts)]);
    assert_eq!(summary.documents, LINES as u64);
}
