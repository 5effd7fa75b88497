//! The main job through the real binary, on a real Kafka and a real Elasticsearch: `make test` starts both
//! (`dev/services up`) and says where they are. Each test has a topic, a consumer group and data streams of its own.

#![allow(clippy::unwrap_used)]

#[path = "end_to_end/dashboard.rs"]
mod dashboard;
#[path = "end_to_end/filebeat.rs"]
mod filebeat;
#[path = "end_to_end/replay.rs"]
mod replay;
#[path = "support/servers.rs"]
mod servers;

use std::time::Duration;

use servers::{Run, World, dead_letters, wait_until};

const EVENTS: usize = 20_000;

#[test]
fn every_event_is_one_document_also_when_the_process_is_killed() {
    let world = World::new("killed");
    world.generate(EVENTS, 0.0);
    for _ in 0..2 {
        let before = world.documents();
        let mut run = Run::start(&world);
        wait_until("some documents to arrive", || world.documents() > before);
        run.kill();
        assert!(world.documents() < EVENTS, "killed too late to prove anything");
    }
    let run = Run::start(&world);
    wait_until("all documents to arrive", || world.documents() >= EVENTS);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    assert_eq!(world.documents(), EVENTS);
    assert_eq!(world.distinct_ids(), EVENTS);
    assert_eq!(world.lag(), 0);
}

#[test]
fn nothing_is_lost_while_elasticsearch_is_away() {
    let world = World::new("away");
    world.generate(EVENTS, 0.0);
    let run = Run::start(&world);
    wait_until("some documents to arrive", || world.documents() > 0);
    servers::service(&["stop", "elasticsearch"]);
    world.generate(1_000, 0.0);
    servers::service(&["up", "elasticsearch"]);
    wait_until("all documents to arrive", || world.documents() >= EVENTS + 1_000);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    assert_eq!(world.documents(), EVENTS + 1_000);
}

#[test]
fn what_can_not_be_indexed_is_kept_with_its_reason_and_harms_nothing_else() {
    let world = World::new("malformed");
    world.generate(500, 0.01);
    let broken: &[&[u8]] = &[b"not json", b"{\"a\":", b"\xff\xfe\x00"];
    for record in broken {
        world.produce(Some(b"k"), Some(record));
    }
    let conflict = br#"{"event":{"module":"other","dataset":"nginx.access"},"http":{"response":{"status_code":{"not":"a number"}}}}"#;
    world.produce(None, Some(conflict));
    world.produce(Some(b"tombstone"), None);
    let illegal = br#"{"event":{"module":"other","dataset":"UPPER CASE"}}"#;
    world.produce(None, Some(illegal));
    world.generate(500, 0.01);
    let run = Run::start(&world);
    wait_until("all documents to arrive", || world.documents() >= 1_000);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    assert_eq!(world.documents(), 1_000);

    let letters = dead_letters(&world, broken.len() + 2);
    for record in broken {
        let letter = letters.iter().find(|letter| letter.value == *record).expect("the original bytes");
        assert_eq!(letter.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(letter.header("reason"), "decode", "{letter:?}");
        assert_eq!(letter.header("topic"), world.topic);
        assert_eq!(letter.header("pipeline"), "nginx");
    }
    let refused = letters.iter().find(|letter| letter.value == conflict).expect("the conflicting event");
    assert_eq!(refused.header("status"), "400");
    assert!(refused.header("error").contains("status_code"), "{refused:?}");
    let unroutable = letters.iter().find(|letter| letter.value == illegal).expect("the event without a legal index");
    assert!(unroutable.header("error").contains("not a legal name"), "{unroutable:?}");
}

#[test]
fn two_processes_share_a_group_and_hand_over() {
    let world = World::new("shared");
    world.generate(EVENTS / 2, 0.0);
    let first = Run::start(&world);
    wait_until("some documents to arrive", || world.documents() > 0);
    let second = Run::start(&world);
    world.generate(EVENTS / 2, 0.0);
    wait_until("the second to have partitions", || second.metric("logproc_assigned_partitions") > 0.0);
    assert!(first.stop().success());
    wait_until("the second to have all partitions", || second.metric("logproc_assigned_partitions") == 4.0);
    wait_until("all documents to arrive", || world.documents() >= EVENTS);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(second.stop().success());
    assert_eq!(world.documents(), EVENTS);
}

#[test]
fn a_filebeat_event_arrives_as_an_ecs_document() {
    let world = World::new("filebeat");
    let event = include_bytes!("data/events/filebeat-nginx-access.json");
    world.produce(None, Some(event.trim_ascii()));
    let run = Run::start(&world);
    wait_until("the document to arrive", || world.documents() == 1);
    let document = world.one_document();
    for (path, expected) in [
        ("/@timestamp", "2026-11-23T10:05:01.000Z"),
        ("/event/created", "2026-11-23T10:06:10.235Z"),
        ("/event/outcome", "success"),
        ("/source/ip", "81.2.69.142"),
        ("/source/geo/city_name", "London"),
        ("/url/path", "/index.html"),
        ("/url/query", "utm=a%20b"),
        ("/user_agent/name", "Chrome"),
        ("/data_stream/dataset", "nginx.access"),
    ] {
        assert_eq!(document.pointer(path).and_then(|value| value.as_str()), Some(expected), "{path} of {document}");
    }
    assert_eq!(document.pointer("/http/response/status_code").and_then(|value| value.as_i64()), Some(200));
    wait_until("readiness", || run.http_status("/readyz") == 200);
    assert_eq!(run.http_status("/livez"), 200);
    assert!(run.stop_within(Duration::from_secs(20)).success());
}

#[test]
fn memory_stays_under_its_limit_however_much_waits() {
    const WAITING: usize = 200_000;
    let world = World::with_partitions("memory", 64);
    world.generate(WAITING, 0.0);
    let run = Run::start_towards(&world, "http://127.0.0.1:1");
    wait_until("the source to hold back", || run.metric("logproc_source_paused") == 1.0);
    let mut peak = 0;
    // What is fetched and not yet counted shows within seconds of the pause, if it shows at all.
    let since = std::time::Instant::now();
    wait_until("the memory to settle", || {
        peak = peak.max(run.anonymous_memory());
        since.elapsed() > Duration::from_secs(10)
    });
    println!("peak of anonymous memory with 64 partitions: {} MiB", peak >> 20);
    assert!(peak < 256 << 20, "{peak} bytes");
    assert!(world.lag() >= WAITING as i64, "nothing was committed");
}

#[test]
fn sasl_over_tls_reads_with_every_mechanism_and_never_shows_the_password() {
    const PASSWORD: &str = "app-secret";
    let (brokers, authority) = (std::env::var("KAFKA_SASL_BROKERS").unwrap(), std::env::var("KAFKA_CA").unwrap());
    let world = World::new("sasl");
    world.generate(10, 0.0);
    let folder = tempfile::tempdir().unwrap();
    // Runs until `done` holds of what was written and what was logged; answers the log.
    let read = |name: &str, mechanism: &str, password: &str, authority: &str, done: &dyn Fn(&str, &str) -> bool| {
        let path = |kind: &str| folder.path().join(format!("{name}.{kind}"));
        std::fs::write(path("password"), format!("{password}\n")).unwrap();
        let authority = if authority.is_empty() { String::new() } else { format!("ssl_ca_location = \"{authority}\"\n") };
        let text = format!(
            "[pipeline]\nhttp_address = \"\"\n[source]\ntype = \"kafka\"\nbootstrap_servers = \"{brokers}\"\ntopics = \"{topic}\"\n\
             group_id = \"{topic}-{name}\"\nsecurity_protocol = \"SASL_SSL\"\nsasl_mechanism = \"{mechanism}\"\nsasl_username = \"app\"\n\
             sasl_password = \"${{file:{name}.password}}\"\n{authority}[sink]\ntype = \"file\"\npath = \"{out}\"\n",
            topic = world.topic,
            out = path("out").display()
        );
        std::fs::write(path("toml"), text).unwrap();
        let log = std::fs::File::create(path("log")).unwrap();
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_logproc"))
            .arg("--pipeline")
            .arg(path("toml"))
            .env("RUST_LOG", "debug")
            .stderr(log)
            .spawn()
            .unwrap();
        let text = |kind: &str| std::fs::read_to_string(path(kind)).unwrap_or_default();
        wait_until(&format!("{name} to come to its end"), || done(&text("out"), &text("log")));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!text("log").contains(password), "{name}: the password is in the log");
        text("out").lines().count()
    };
    let all = |out: &str, _: &str| out.lines().count() == 10;
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        assert_eq!(read(mechanism, mechanism, PASSWORD, &authority, &all), 10);
    }
    let refused = |_: &str, log: &str| log.contains("uthentication");
    assert_eq!(read("wrong", "PLAIN", "not-the-secret", &authority, &refused), 0);
    let distrusted = |_: &str, log: &str| log.contains("certificate verify failed") || log.contains("certificate could not be verified");
    assert_eq!(read("distrusted", "PLAIN", PASSWORD, "", &distrusted), 0, "a certificate of an unknown authority is not accepted");
}

#[test]
fn elasticsearch_with_tls_and_users_is_written_to_and_a_changed_password_is_taken_up() {
    servers::service(&["up", "elasticsearch-tls"]);
    let (url, authority) = (std::env::var("ELASTICSEARCH_TLS_URL").unwrap(), std::env::var("KAFKA_CA").unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let run = |name: &str, authority: &str| {
        let authority = if authority.is_empty() { String::new() } else { format!("ssl_certificate_authorities = \"{authority}\"\n") };
        let text = format!(
            "[pipeline]\nhttp_address = \"\"\nshutdown_timeout = \"1s\"\n[source]\ntype = \"file\"\npath = \"{input}\"\n[sink]\n\
             type = \"elasticsearch\"\nhosts = \"{url}\"\nindex = \"{name}\"\nuser = \"elastic\"\npassword = \"${{file:password}}\"\n{authority}",
            input = path("input").display(),
        );
        std::fs::write(path("pipeline.toml"), text).unwrap();
        let log = std::fs::File::create(path(name)).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_logproc"));
        command.arg("--pipeline").arg(path("pipeline.toml")).args(["--config-reload-interval", "1"]);
        command.env("RUST_LOG", "debug").stderr(log).spawn().unwrap()
    };
    let logged = |name: &str, text: &str| std::fs::read_to_string(path(name)).unwrap().contains(text);
    std::fs::write(path("input"), "one\ntwo\n").unwrap();

    std::fs::write(path("password"), "elastic-secret\n").unwrap();
    let mut distrusted = run("distrusted", "");
    wait_until("the certificate to be refused", || logged("distrusted", "elasticsearch does not answer"));
    distrusted.kill().unwrap();
    distrusted.wait().unwrap();

    std::fs::write(path("password"), "not-the-secret\n").unwrap();
    let mut run = run("users", &authority);
    wait_until("the password to be refused", || logged("users", "delivery waits until this is put right"));
    std::fs::write(path("password"), "elastic-secret\n").unwrap();
    let mut status = None;
    wait_until("the right password to be taken up and the file to end", || {
        status = run.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success());
    assert!(logged("users", "documents=2"), "both records have arrived");
    for secret in ["elastic-secret", "not-the-secret"] {
        assert!(!logged("users", secret), "a password is in the log");
    }
    servers::service(&["stop", "elasticsearch-tls"]);
}
