//! Proving who one is, to a real broker and a real cluster, and being particular about who they are. The logs, at their
//! most talkative, are searched for every secret.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::servers::{self, Process, World, wait_until};

/// A folder for pipelines, logs and secrets.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Empty while there is no such file.
    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Puts a certificate and its key where a pipeline looks for them: `own.pem` and `own.key`.
    fn show(&self, who: &str) {
        for kind in ["pem", "key"] {
            std::fs::copy(certificate(&format!("{who}.{kind}")), self.path(&format!("own.{kind}"))).unwrap();
        }
    }

    /// How often a log says this.
    fn says(&self, log: &str, text: &str) -> usize {
        self.text(log).matches(text).count()
    }

    /// Starts a pipeline whose log is `name.log`.
    fn start(&self, name: &str, pipeline: &str) -> Process {
        self.write(&format!("{name}.toml"), pipeline);
        let log = std::fs::File::create(self.path(&format!("{name}.log"))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_logproc"));
        command.arg("--pipeline").arg(self.path(&format!("{name}.toml"))).args(["--config-reload-interval", "1"]);
        Process::start(command.env("RUST_LOG", "debug").stderr(log))
    }
}

/// A file of the authority, the server's and the clients' certificates that `dev/services` has made.
fn certificate(name: &str) -> String {
    format!("{}/{name}", std::env::var("DEV_CERTIFICATES").unwrap())
}

/// Reads the world's topic with these options of the source until `done` holds of what was written and logged; answers how
/// many records came. The log must not hold the secret.
fn read(
    world: &World,
    folder: &Folder,
    name: &str,
    options: &str,
    secret: &str,
    done: impl Fn(&str, &str) -> bool,
) -> usize {
    let pipeline = format!(
        "[pipeline]\nhttp_address = \"\"\n[source]\ntype = \"kafka\"\ntopics = \"{topic}\"\ngroup_id = \"{topic}-{name}\"\n{options}\n\
         [sink]\ntype = \"file\"\npath = \"{out}\"\n",
        topic = world.topic,
        out = folder.path(&format!("{name}.out")).display()
    );
    let child = folder.start(name, &pipeline);
    let (out, log) = (format!("{name}.out"), format!("{name}.log"));
    wait_until(&format!("{name} to come to its end"), || done(&folder.text(&out), &folder.text(&log)));
    drop(child);
    assert!(secret.is_empty() || !folder.text(&log).contains(secret), "{name}: the secret is in the log");
    folder.text(&out).lines().count()
}

fn all(out: &str, _: &str) -> bool {
    out.lines().count() == 10
}

/// Options for SASL over TLS.
fn sasl(mechanism: &str, authority: &str) -> String {
    let brokers = std::env::var("KAFKA_SASL_BROKERS").unwrap();
    let authority = if authority.is_empty() { String::new() } else { format!("ssl_ca_location = \"{authority}\"\n") };
    format!(
        "bootstrap_servers = \"{brokers}\"\nsecurity_protocol = \"SASL_SSL\"\nsasl_mechanism = \"{mechanism}\"\n{authority}"
    )
}

#[test]
fn sasl_over_tls_reads_with_every_mechanism_and_never_shows_the_password() {
    const PASSWORD: &str = "app-secret";
    let authority = certificate("ca.pem");
    let world = World::new("sasl");
    world.generate(10, 0.0);
    let folder = Folder::new();
    let user = |name: &str, mechanism: &str, password: &str, authority: &str| {
        folder.write(&format!("{name}.password"), &format!("{password}\n"));
        format!(
            "sasl_username = \"app\"\nsasl_password = \"${{file:{name}.password}}\"\n{}",
            sasl(mechanism, authority)
        )
    };
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let options = user(mechanism, mechanism, PASSWORD, &authority);
        assert_eq!(read(&world, &folder, mechanism, &options, PASSWORD, all), 10);
    }
    let wrong = user("wrong", "PLAIN", "not-the-secret", &authority);
    assert_eq!(read(&world, &folder, "wrong", &wrong, "not-the-secret", |_, log| log.contains("uthentication")), 0);
    let distrusted = user("distrusted", "PLAIN", PASSWORD, "");
    let unverified = |_: &str, log: &str| {
        log.contains("certificate verify failed") || log.contains("certificate could not be verified")
    };
    let got = read(&world, &folder, "distrusted", &distrusted, PASSWORD, unverified);
    assert_eq!(got, 0, "a certificate of an unknown authority is not accepted");
}

#[test]
fn a_broker_takes_a_token_that_librdkafka_has_made() {
    let world = World::new("oauth");
    world.generate(10, 0.0);
    let folder = Folder::new();
    let bearer =
        |properties: &str| format!("{}properties = {{ {properties} }}\n", sasl("OAUTHBEARER", &certificate("ca.pem")));
    let own =
        bearer("\"enable.sasl.oauthbearer.unsecure.jwt\" = true, \"sasl.oauthbearer.config\" = \"principal=app\"");
    assert_eq!(read(&world, &folder, "own", &own, "", all), 10);
    let nameless =
        bearer("\"enable.sasl.oauthbearer.unsecure.jwt\" = true, \"sasl.oauthbearer.config\" = \"principal=\"");
    assert_eq!(read(&world, &folder, "nameless", &nameless, "", |_, log| log.contains("rincipal")), 0);
}

/// An issuer of tokens, for as long as the process lives. Whoever knows the secret gets one that lives five seconds, unless
/// the issuer is out of order.
#[derive(Default)]
struct Issuer {
    out_of_order: AtomicBool,
    issued: AtomicUsize,
    refused: AtomicUsize,
}

impl Issuer {
    const CLIENT: &'static str = "app";
    const SECRET: &'static str = "what-only-the-issuer-knows";

    /// Starts one; answers where it issues.
    fn start() -> (Arc<Issuer>, String) {
        let issuer = Arc::new(Issuer::default());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let own = issuer.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut stream = BufReader::new(connection.unwrap());
                let (mut head, mut length) = (String::new(), 0);
                while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap() > 0 {
                    let line = head.lines().last().unwrap_or_default().to_ascii_lowercase();
                    length = line.strip_prefix("content-length:").map_or(length, |value| value.trim().parse().unwrap());
                }
                stream.read_exact(&mut vec![0; length]).unwrap();
                let (status, body) = own.answer(&head);
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        (issuer, url)
    }

    fn answer(&self, head: &str) -> (&'static str, String) {
        let known = format!("Basic {}", STANDARD.encode(format!("{}:{}", Issuer::CLIENT, Issuer::SECRET)));
        if self.out_of_order.load(Ordering::Relaxed) || !head.contains(&known) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return ("401 Unauthorized", r#"{"error":"invalid_client"}"#.to_string());
        }
        self.issued.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let part = |json: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json);
        let claims = format!(r#"{{"sub":"app","iat":{now},"exp":{}}}"#, now + 5);
        let token = format!("{}.{}.", part(r#"{"alg":"none"}"#), part(&claims));
        ("200 OK", format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":5}}"#))
    }

    fn issued(&self) -> usize {
        self.issued.load(Ordering::Relaxed)
    }
}

#[test]
fn tokens_are_fetched_from_an_issuer_renewed_and_waited_for() {
    let (issuer, url) = Issuer::start();
    let world = World::new("oidc");
    world.generate(9, 0.0);
    world.produce(None, Some(b"no JSON"));
    let folder = Folder::new();
    folder.write("client.secret", "of-last-month");
    let properties = format!(
        "\"sasl.oauthbearer.method\" = \"oidc\", \"sasl.oauthbearer.token.endpoint.url\" = \"{url}\", \
         \"sasl.oauthbearer.client.id\" = \"{}\", \"sasl.oauthbearer.client.secret\" = \"${{file:client.secret}}\"",
        Issuer::CLIENT
    );
    let authority = certificate("ca.pem");
    let source = format!("{}codec = \"json\"\nproperties = {{ {properties} }}\n", sasl("OAUTHBEARER", &authority));
    let letters = format!(
        "[dead_letter]\nbootstrap_servers = \"{}\"\ntopic = \"{}\"\nproperties = {{ {properties}, \"security.protocol\" = \"SASL_SSL\", \
         \"sasl.mechanism\" = \"OAUTHBEARER\", \"ssl.ca.location\" = \"{authority}\" }}\n",
        std::env::var("KAFKA_SASL_BROKERS").unwrap(),
        world.dead_letter_topic(),
    );
    // While the issuer knows another secret, or is out of order, nothing is read; it is said, and asked again.
    issuer.out_of_order.store(true, Ordering::Relaxed);
    let refused = || issuer.refused.load(Ordering::Relaxed);
    let replaced = std::cell::Cell::new(0);
    let done = |out: &str, log: &str| {
        if replaced.get() == 0 && log.contains("401") && log.contains("kafka client has failed") {
            folder.write("client.secret", Issuer::SECRET);
            replaced.set(refused());
        }
        // A new client has asked with the new secret.
        if replaced.get() > 0 && refused() > replaced.get() && log.contains("a new client takes over") {
            issuer.out_of_order.store(false, Ordering::Relaxed);
        }
        out.lines().count() == 9 && world.count_dead_letters() == 1 && issuer.issued() >= 6
    };
    assert_eq!(read(&world, &folder, "oidc", &format!("{source}{letters}"), Issuer::SECRET, done), 9);
}

#[test]
fn a_broker_that_asks_for_a_certificate_is_shown_one() {
    let world = World::new("mtls");
    world.generate(10, 0.0);
    let folder = Folder::new();
    let brokers = std::env::var("KAFKA_MTLS_BROKERS").unwrap();
    let authority = certificate("ca.pem");
    let shown = |who: &str| {
        let own = match who {
            "" => String::new(),
            who => format!(
                "ssl_certificate_location = \"{}\"\nssl_key_location = \"{}\"\n",
                certificate(&format!("{who}.pem")),
                certificate(&format!("{who}.key"))
            ),
        };
        format!(
            "bootstrap_servers = \"{brokers}\"\nsecurity_protocol = \"SSL\"\nssl_ca_location = \"{authority}\"\n{own}"
        )
    };
    assert_eq!(read(&world, &folder, "client", &shown("client"), "", all), 10);
    let refused = |_: &str, log: &str| {
        log.contains("SSL handshake failed") || log.contains("alert") || log.contains("Disconnected")
    };
    assert_eq!(read(&world, &folder, "nobody", &shown(""), "", refused), 0, "no certificate, no records");
    assert_eq!(
        read(&world, &folder, "stranger", &shown("stranger"), "", refused),
        0,
        "another authority's certificate is none"
    );
}

#[test]
fn elasticsearch_with_tls_users_and_client_certificates_is_written_to_and_a_changed_password_is_taken_up() {
    servers::service(&["up", "elasticsearch-tls"]);
    let url = std::env::var("ELASTICSEARCH_TLS_URL").unwrap();
    let folder = Folder::new();
    let authority = format!("ssl_certificate_authorities = \"{}\"\n", certificate("ca.pem"));
    let own = |who: &str| {
        let (pem, key) = (certificate(&format!("{who}.pem")), certificate(&format!("{who}.key")));
        format!("ssl_certificate = \"{pem}\"\nssl_key = \"{key}\"\n")
    };
    folder.write("input", "one\ntwo\n");
    let start = |name: &str, trust: &str| {
        let pipeline = format!(
            "[pipeline]\nhttp_address = \"\"\nshutdown_timeout = \"1s\"\n[source]\ntype = \"file\"\npath = \"{input}\"\n[sink]\n\
             type = \"elasticsearch\"\nhosts = \"{url}\"\nindex = \"{name}\"\nuser = \"elastic\"\npassword = \"${{file:password}}\"\n{trust}",
            input = folder.path("input").display(),
        );
        folder.start(name, &pipeline)
    };
    let logged = |name: &str, text: &str| folder.text(&format!("{name}.log")).contains(text);
    let arrives = |name: &str, mut run: Process| {
        let mut status = None;
        wait_until(&format!("{name}: the file to end"), || {
            status = run.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success());
        assert!(logged(name, "documents=2"), "both records have arrived");
    };

    folder.write("password", "elastic-secret\n");
    let other = Sha256::digest(b"another certificate").iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let pin = |digits: &str| format!("ca_trusted_fingerprint = \"{digits}\"\n{}", own("client"));
    for (name, trust) in [
        ("distrusted", own("client")),
        ("mispinned", pin(&other)),
        ("unshown", authority.clone()),
        ("stranger", format!("{authority}{}", own("stranger"))),
    ] {
        let run = start(name, &trust);
        wait_until(&format!("{name} to be refused"), || logged(name, "failed to reach elasticsearch"));
        drop(run);
        assert!(!logged(name, "elasticsearch is reachable"), "{name}");
    }

    folder.show("stranger");
    let (pem, key) = (folder.path("own.pem"), folder.path("own.key"));
    let exchanged = format!("ssl_certificate = \"{}\"\nssl_key = \"{}\"\n", pem.display(), key.display());
    let run = start("exchanged", &format!("{authority}{exchanged}"));
    wait_until("the stranger to be refused", || logged("exchanged", "failed to reach elasticsearch"));
    folder.show("client");
    arrives("exchanged", run);

    folder.write("password", "not-the-secret\n");
    let run = start("users", &format!("{authority}{}", own("client")));
    wait_until("the password to be refused", || logged("users", "elasticsearch refuses all bulk requests"));
    folder.write("password", "elastic-secret\n");
    arrives("users", run);
    for secret in ["elastic-secret", "not-the-secret"] {
        assert!(!logged("users", secret), "a password is in the log");
    }

    let pem = std::fs::read_to_string(certificate("ca.pem")).unwrap();
    let text: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let digest = Sha256::digest(STANDARD.decode(text).unwrap());
    let digits: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    arrives("pinned", start("pinned", &pin(&digits.join(":"))));
    servers::service(&["stop", "elasticsearch-tls"]);
}

#[test]
fn kafkas_password_is_read_anew_when_its_file_changes() {
    let world = World::new("rotated");
    world.generate(10, 0.0);
    let folder = Folder::new();
    folder.write("rotated.password", "of-last-month\n");
    let login = "sasl_username = \"app\"\nsasl_password = \"${file:rotated.password}\"\n";
    let options = format!("{login}{}", sasl("SCRAM-SHA-256", &certificate("ca.pem")));
    // The broker refuses it, until the file has the right one.
    let replaced = std::cell::Cell::new(false);
    let got = read(&world, &folder, "rotated", &options, "of-last-month", |out, log| {
        if log.contains("uthentication") && !replaced.replace(true) {
            folder.write("rotated.password", "app-secret\n");
        }
        all(out, log)
    });
    assert_eq!(got, 10);
    assert!(folder.text("rotated.log").contains("the next connections use the new ones"));
}

/// A member whose source, sink and dead letters show `own.pem` to the broker, and one beside it that shows none. Records flow all the
/// while.
#[test]
fn certificates_of_kafkas_clients_are_exchanged_while_records_flow() {
    const TAKES_OVER: &str = "a new client takes over";
    const REFUSED: &str = "the old ones stay in use";
    let world = World::new("exchanged");
    let folder = Folder::new();
    let (brokers, authority) = (std::env::var("KAFKA_MTLS_BROKERS").unwrap(), certificate("ca.pem"));
    let (pem, key) = (folder.path("own.pem"), folder.path("own.key"));
    let written = format!("{}-written", world.topic);
    let member = |name: &str, options: &str, dead_letter: &str, sinks: &str| {
        format!(
            "[pipeline]\nhttp_address = \"\"\n[source]\ntype = \"kafka\"\ntopics = \"{topic}\"\ngroup_id = \"{topic}\"\n\
             group_instance_id = \"{name}\"\ncodec = \"json\"\n{options}\n[[sink]]\ntype = \"file\"\npath = \"{out}\"\n{sinks}\n[dead_letter]\n{dead_letter}\n",
            topic = world.topic,
            out = folder.path(&format!("{name}.out")).display(),
        )
    };
    let properties = format!(
        "properties = {{ \"security.protocol\" = \"SSL\", \"ssl.ca.location\" = \"{authority}\", \"ssl.certificate.location\" = \"{}\", \
         \"ssl.key.location\" = \"{}\" }}\n",
        pem.display(),
        key.display()
    );
    let target = format!("bootstrap_servers = \"{brokers}\"\n{properties}");
    let own = member(
        "own",
        &target,
        &format!("topic = \"{}\"\n{target}", world.dead_letter_topic()),
        &format!("[[sink]]\ntype = \"kafka\"\ntopic_id = \"{written}\"\n{target}"),
    );
    let aside = folder.path("aside").display().to_string();
    let plain = format!("bootstrap_servers = \"{}\"\n", std::env::var("KAFKA_BROKERS").unwrap());
    let beside = member("beside", &plain, &format!("path = \"{aside}\""), "");

    // The broker refuses a stranger; what is exchanged for it, it takes.
    folder.show("stranger");
    let run = folder.start("own", &own);
    let log = "own.log";
    let refused =
        |log: &str| log.contains("SSL handshake failed") || log.contains("alert") || log.contains("Disconnected");
    wait_until("the stranger to be refused", || refused(&folder.text(log)));
    folder.show("client");
    wait_until("the known client to be a member", || folder.says(log, "partitions assigned") > 0);
    let other = folder.start("beside", &beside);
    // While partitions are shared out nothing can be committed, and what was read is read again.
    let shares = || {
        ["own.log", "beside.log"].map(|log| {
            folder.text(log).lines().rfind(|line| line.contains("assigned")).unwrap_or_default().contains("owned=2")
        })
    };
    wait_until("both to have their share", || shares() == [true, true]);

    let good = |numbers: std::ops::Range<usize>| world.produce_all(numbers.map(|number| format!("{{\"n\":{number}}}")));
    let broken = || world.produce_all((0..4).map(|_| "no JSON".to_string()));
    // Of four records on four partitions, two are those of the member that is watched.
    let letters = |expected: usize| wait_until("the dead letters", || world.count_dead_letters() == expected);
    let moved = || folder.says("beside.log", "partitions assigned") + folder.says("beside.log", "partitions revoked");
    let arrived = || {
        let lines = format!("{}{}", folder.text("own.out"), folder.text("beside.out"));
        lines
            .lines()
            .map(|line| line.split("\"n\":").nth(1).unwrap().split([',', '}']).next().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    good(0..100);
    broken();
    letters(2);
    let before = (folder.says(log, TAKES_OVER), moved());
    let client =
        |name: &str| folder.text(log).lines().filter(|line| line.contains(TAKES_OVER) && line.contains(name)).count();
    let source = client("source");

    // Another certificate, in the midst of it.
    std::thread::scope(|scope| {
        scope.spawn(|| (1..40).for_each(|hundred| good(hundred * 100..(hundred + 1) * 100)));
        folder.show("successor");
        wait_until("another client to take over", || client("source") > source);
    });
    good(4_000..4_100);
    broken();
    letters(4);
    wait_until("the producers to be others too", || client("sink") > 0 && client("dead letters") > 0);
    assert!(folder.says(log, TAKES_OVER) >= before.0 + 3);

    // And one that is none: said, and the one before goes on.
    folder.write("own.pem", "no certificate\n");
    wait_until("it to be refused", || {
        folder.text(log).lines().any(|line| line.contains(REFUSED) && line.contains("source"))
    });
    good(4_100..4_200);
    broken();
    letters(6);
    wait_until("all records to arrive", || arrived().len() >= 4_200);
    let mut numbers: Vec<usize> = arrived().iter().map(|number| number.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(
        numbers.into_iter().eq(0..4_200),
        "each once: what was read was finished and committed before the group was left"
    );
    assert_eq!(moved(), before.1, "a member with a name keeps its partitions meanwhile");
    drop((run, other));
}
