//! Filebeat itself, with the configuration of `deploy/filebeat`: lines in nginx's log files become documents, by way of Kafka.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::servers::{Process, Run, World, wait_until};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program, built from its Go module (once on a machine).
fn program() -> PathBuf {
    let built = Command::new(root().join("dev/filebeat/build")).stderr(Stdio::inherit()).output().unwrap();
    assert!(built.status.success(), "Filebeat could not be built");
    PathBuf::from(String::from_utf8(built.stdout).unwrap().trim())
}

/// A file of `deploy/filebeat`.
fn configuration(name: &str) -> PathBuf {
    root().join("deploy/filebeat").join(name)
}

/// A running Filebeat.
struct Filebeat {
    _process: Process,
    log: PathBuf,
}

impl Filebeat {
    fn start(program: &Path, configuration: &Path, work: &Path, variables: &[(&str, &str)]) -> Filebeat {
        let log = work.join("filebeat.log");
        let mut command = Command::new(program);
        command.args(["-e", "--strict.perms=false", "-c"]).arg(configuration).arg("--path.home").arg(work);
        command.envs(variables.iter().copied()).stderr(std::fs::File::create(&log).unwrap());
        Filebeat { _process: Process::start(&mut command), log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

#[test]
fn lines_of_nginxs_files_become_documents_by_way_of_filebeat() {
    let program = program();
    let world = World::new("realbeat");
    let work = tempfile::tempdir().unwrap();
    let logs = work.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    // Filebeat takes a file for another one's copy until it has 1,024 bytes to tell them apart by.
    let access: String = (0..40)
        .map(|number| format!("81.2.69.144 - - [23/Nov/2026:10:05:01 +0000] \"GET /page/{number}?a=b HTTP/1.1\" 200 612 \"-\" \"curl/8.5.0\" \"-\" 0.012\n"))
        .collect();
    let error: String = (0..20)
        .map(|number| {
            format!(
                "2026/11/23 10:05:06 [error] 31#7: *{number} open() \"/srv/x\" failed (2: No such file or directory)\n"
            )
        })
        .collect();
    std::fs::write(logs.join("access.log"), access).unwrap();
    std::fs::write(logs.join("error.log"), error).unwrap();
    let brokers = std::env::var("KAFKA_BROKERS").unwrap();
    let logs = logs.to_str().unwrap().to_string();
    let variables = [("KAFKA_BROKERS", brokers.as_str()), ("KAFKA_TOPIC", &world.topic), ("NGINX_LOGS", &logs)];
    let _filebeat = Filebeat::start(&program, &configuration("filebeat.yml"), work.path(), &variables);
    let run = Run::start(&world);
    wait_until("the documents of both files", || world.documents() >= 60);
    // What is written later comes too.
    let mut file = std::fs::OpenOptions::new().append(true).open(Path::new(&logs).join("access.log")).unwrap();
    file.write_all(b"203.0.113.9 - - [23/Nov/2026:10:05:09 +0000] \"GET /late HTTP/1.1\" 404 1 \"-\" \"-\"\n").unwrap();
    wait_until("the late line", || world.documents() == 61);
    assert!(run.stop().success());
    for (stream, count) in [("nginx.access", 41), ("nginx.error", 20)] {
        assert_eq!(world.count(&format!("logs-{stream}-{}", world.namespace())), count, "{stream}");
    }
    let query = r#"{"query":{"term":{"event.kind":"pipeline_error"}}}"#;
    let (_, failed) = world.request("POST", &format!("logs-*-{}/_search", world.namespace()), query);
    assert_eq!(failed["hits"]["total"]["value"], 0, "{failed}");
}

/// Without a cluster Filebeat reads the whole of the configuration and ends where it would ask for pods.
#[test]
fn filebeat_takes_the_clusters_configuration() {
    let program = program();
    let work = tempfile::tempdir().unwrap();
    let variables = [("NODE_NAME", "node-1"), ("KAFKA_BROKERS", "127.0.0.1:1")];
    let filebeat = Filebeat::start(&program, &configuration("kubernetes.yml"), work.path(), &variables);
    wait_until("Filebeat to end", || filebeat.log().contains("Exiting: "));
    assert!(filebeat.log().contains("unable to build kube config"), "{}", filebeat.log());
}

/// What the configuration for a cluster makes of a pod that it finds, on a container's log file as containerd writes it.
#[test]
fn lines_of_a_container_become_documents_by_way_of_filebeat() {
    let program = program();
    let world = World::new("containerbeat");
    let work = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(configuration("kubernetes.yml")).unwrap();
    let inputs = text.split_once("          config:\n").unwrap().1.split_once("\nprocessors:").unwrap();
    let logs = work.path().to_str().unwrap();
    let found = inputs.0.replace("${data.kubernetes.container.id}", "0a1b").replace("/var/log/containers", logs);
    let of_a_pod = work.path().join("pod.yml");
    std::fs::write(&of_a_pod, format!("filebeat.inputs:\n{found}\nprocessors:{}", inputs.1)).unwrap();
    let mut lines = String::new();
    for number in 0..30 {
        lines += &format!(
            "2026-11-23T10:05:09.120456789Z stdout F 81.2.69.144 - - [23/Nov/2026:10:05:09 +0000] \"GET /{number} HTTP/1.1\" 200 6 \"-\" \"-\" \"-\" 0.012\n"
        );
        lines += &format!(
            "2026-11-23T10:05:09.130456789Z stderr F 2026/11/23 10:05:09 [error] 31#7: *{number} open() failed\n"
        );
    }
    // A line longer than the engine writes in one piece.
    lines += "2026-11-23T10:05:10.1Z stdout P 203.0.113.9 - - [23/Nov/2026:10:05:10 +0000] \"GET /in-\n";
    lines += "2026-11-23T10:05:10.1Z stdout F parts HTTP/1.1\" 404 1 \"-\" \"-\"\n";
    std::fs::write(work.path().join("nginx-7d9c_web_nginx-0a1b.log"), lines).unwrap();
    let brokers = std::env::var("KAFKA_BROKERS").unwrap();
    let filebeat = Filebeat::start(
        &program,
        &of_a_pod,
        work.path(),
        &[("KAFKA_BROKERS", &brokers), ("KAFKA_TOPIC", &world.topic)],
    );
    let run = Run::start(&world);
    wait_until("the documents of both streams", || world.documents() >= 61);
    assert!(run.stop().success());
    for (stream, count) in [("nginx.access", 31), ("nginx.error", 30)] {
        assert_eq!(world.count(&format!("logs-{stream}-{}", world.namespace())), count, "{stream}: {}", filebeat.log());
    }
    let query = r#"{"query":{"term":{"url.path":"/in-parts"}}}"#;
    let (_, joined) = world.request("POST", &format!("logs-*-{}/_search", world.namespace()), query);
    assert_eq!(joined["hits"]["total"]["value"], 1, "{joined}");
}
