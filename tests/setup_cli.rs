//! `logproc setup` against a cluster that keeps templates and refuses those that it is told to.

#![allow(clippy::unwrap_used)]

#[path = "support/command.rs"]
mod command;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use command::{logproc, text};
use serde_json::{Value, json};

/// A cluster's templates by their paths, and the path that it refuses to take.
#[derive(Default)]
struct Cluster {
    kept: BTreeMap<String, Value>,
    refused: Option<&'static str>,
    puts: usize,
}

/// Starts a cluster; its threads end with the process.
fn cluster() -> (String, Arc<Mutex<Cluster>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let cluster = Arc::new(Mutex::new(Cluster::default()));
    let shared = Arc::clone(&cluster);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || while answer(&stream, &shared).is_some() {});
        }
    });
    (address, cluster)
}

fn answer(stream: &TcpStream, cluster: &Mutex<Cluster>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let (method, path) = {
        let mut words = line.split(' ');
        (words.next()?.to_string(), words.next()?.to_string())
    };
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
        if header.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (status, body) = respond(&mut cluster.lock().unwrap(), &method, &path, &body);
    let body = body.to_string();
    write!(
        &mut &*stream,
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()
}

/// A template with the dates that Elasticsearch adds and does not take back.
fn dated(mut template: Value) -> Value {
    template["created_date_millis"] = json!(1);
    template["modified_date_millis"] = json!(2);
    template
}

fn respond(cluster: &mut Cluster, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
    let name = path.rsplit('/').next().unwrap();
    match method {
        "GET" if path.starts_with("/_data_stream/") => (200, json!({"data_streams": [{"name": "logs-shop-default"}]})),
        "GET" => match cluster.kept.get(path).cloned().map(dated) {
            None => (404, json!({"error": "not there"})),
            Some(kept) if path.starts_with("/_ilm") => (200, json!({name: {"version": 1, "policy": kept["policy"]}})),
            Some(kept) if path.starts_with("/_component") => {
                (200, json!({"component_templates": [{"name": name, "component_template": kept}]}))
            }
            Some(kept) => (200, json!({"index_templates": [{"name": name, "index_template": kept}]})),
        },
        "PUT" if cluster.refused == Some(path) || String::from_utf8_lossy(body).contains("_date_millis") => {
            (400, json!({"error": "no such component"}))
        }
        "PUT" => {
            cluster.puts += 1;
            cluster.kept.insert(path.to_string(), serde_json::from_slice(body).unwrap());
            (200, json!({"acknowledged": true}))
        }
        _ => {
            cluster.kept.remove(path);
            (200, json!({"acknowledged": true}))
        }
    }
}

/// A folder with a pipeline for a cluster, and its templates.
fn pipeline(address: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        (
            "a.toml",
            format!(
                "[pipeline]\ntemplates = [\"t\"]\n[source]\ntype = \"stdin\"\n[sink]\ntype = \"elasticsearch\"\nhosts = \"http://{address}\"\n"
            ),
        ),
        ("t/ilm/shop.json", r#"{"policy": {"phases": {"hot": {"actions": {}}}}}"#.to_string()),
        ("t/component/shop.json", r#"{"template": {"settings": {"index.refresh_interval": "5s"}}}"#.to_string()),
        (
            "t/index/shop.json",
            r#"{"index_patterns": ["logs-shop-*"], "data_stream": {}, "composed_of": ["shop"]}"#.to_string(),
        ),
    ] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

fn setup(folder: &tempfile::TempDir, more: &[&str]) -> (Option<i32>, String, String) {
    let file = folder.path().join("a.toml").display().to_string();
    let output = logproc(&[&["setup", "--pipeline", &file], more].concat(), "");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

const NOTE: &str = "data streams that exist keep their settings and mappings until they roll over (POST NAME/_rollover): logs-shop-default\n";

#[test]
fn a_dry_run_shows_the_difference_and_changes_nothing() {
    let (address, cluster) = cluster();
    let folder = pipeline(&address);
    let shown = setup(&folder, &["--dry-run"]);
    assert_eq!(
        (shown.0, shown.1),
        (Some(0), format!("new ilm/shop\nnew component/shop\nnew index/shop\n{NOTE}")),
        "{}",
        shown.2
    );
    assert_eq!(cluster.lock().unwrap().puts, 0);
    assert_eq!(
        setup(&folder, &[]).1,
        format!("installed ilm/shop\ninstalled component/shop\ninstalled index/shop\n{NOTE}")
    );
    assert_eq!(cluster.lock().unwrap().puts, 3);
    // Once more changes nothing.
    assert_eq!(setup(&folder, &[]).1, "unchanged ilm/shop\nunchanged component/shop\nunchanged index/shop\n");
    assert_eq!(cluster.lock().unwrap().puts, 3);
    std::fs::write(
        folder.path().join("t/component/shop.json"),
        r#"{"template": {"settings": {"refresh_interval": "10s"}}}"#,
    )
    .unwrap();
    let diff =
        "  - template.settings.index.refresh_interval: \"5s\"\n  + template.settings.index.refresh_interval: \"10s\"\n";
    let expected = format!("unchanged ilm/shop\nchanged component/shop\n{diff}unchanged index/shop\n{NOTE}");
    assert_eq!(setup(&folder, &["--dry-run"]).1, expected);
    assert_eq!(cluster.lock().unwrap().puts, 3);
}

#[test]
fn nothing_is_left_half_installed() {
    let (address, cluster) = cluster();
    let folder = pipeline(&address);
    let before = json!({"template": {"settings": {"index.refresh_interval": "1s"}}});
    cluster.lock().unwrap().kept.insert("/_component_template/shop".to_string(), before.clone());
    cluster.lock().unwrap().refused = Some("/_index_template/shop");
    let (code, out, err) = setup(&folder, &[]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.contains(
            "nothing has been changed: index `shop`: the cluster returns 400: {\"error\":\"no such component\"}"
        ),
        "{err}"
    );
    assert_eq!(cluster.lock().unwrap().kept, BTreeMap::from([("/_component_template/shop".to_string(), before)]));
    // A file that can't be read is found before anything is sent.
    cluster.lock().unwrap().refused = None;
    let puts = cluster.lock().unwrap().puts;
    std::fs::write(folder.path().join("t/index/broken.json"), "{").unwrap();
    let (code, _, err) = setup(&folder, &[]);
    assert!(code == Some(1) && err.contains("broken.json"), "{err}");
    assert_eq!(cluster.lock().unwrap().puts, puts);
}
