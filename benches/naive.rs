//! The obvious build of the nginx pipeline, kept as a yardstick: `serde_json::Value` for the event, `regex` captures for
//! the line, a full record for every address, `ua-parser` for every agent, a new buffer for every bulk: no caches. A change to
//! logproc that makes it slower shows as a worse ratio to this, whatever the machine is doing.
//!
//! Runs like logproc does: `cargo bench --bench naive -- BROKERS TOPIC GROUP [ENDPOINT]`, until it is told to stop; `dev/bench` does that.

#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::Message as _;
use regex::Regex;
use serde_json::{Value, json};

struct Naive {
    access: Regex,
    error: Regex,
    city: Vec<maxminddb::Reader<Vec<u8>>>,
    agents: ua_parser::Extractor<'static>,
}

impl Naive {
    fn new() -> Naive {
        let access = r#"^(?P<ip>\S+) - (?P<user>\S+) \[(?P<time>[^\]]+)\] "(?:(?P<method>\w+) (?P<url>\S+) HTTP/(?P<version>[\d.]+)|[^"]*)" (?P<status>\d+) (?P<bytes>\d+) "(?P<referrer>[^"]*)" "(?P<agent>[^"]*)""#;
        let error = r"^(?P<time>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[(?P<level>\w+)\] (?P<pid>\d+)#(?P<tid>\d+): (?:\*(?P<connection>\d+) )?(?P<message>.*)$";
        let geo = std::env::var("GEOIP_CITY").unwrap_or_else(|_| "pipelines/geoip/GeoLite2-City-Test.mmdb".to_string());
        let files: Vec<std::path::PathBuf> = match std::fs::read_dir(&geo) {
            Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
            Err(_) => vec![geo.into()],
        };
        let regexes = std::fs::read_to_string("src/filter/useragent/regexes.yaml").unwrap();
        let regexes: ua_parser::Regexes<'static> = serde_saphyr::from_str(&regexes).unwrap();
        Naive {
            access: Regex::new(access).unwrap(),
            error: Regex::new(error).unwrap(),
            city: files.iter().map(|file| maxminddb::Reader::open_readfile(file).unwrap()).collect(),
            agents: regexes.try_into().unwrap(),
        }
    }

    fn agent(&self, agent: &str) -> Value {
        let (browser, system, device) = self.agents.extract(agent);
        json!({
            "original": agent,
            "name": browser.as_ref().map(|browser| browser.family.to_string()),
            "version": browser.as_ref().and_then(|browser| browser.major.map(str::to_string)),
            "os": { "name": system.as_ref().map(|system| system.os.to_string()) },
            "device": { "name": device.as_ref().map(|device| device.device.to_string()) },
        })
    }

    fn geo(&self, ip: &str) -> Option<Value> {
        let address: IpAddr = ip.parse().ok()?;
        self.city.iter().find_map(|reader| reader.lookup(address).ok()?.decode::<Value>().ok()?)
    }

    fn process(&self, record: &[u8]) -> Option<Value> {
        let mut event: Value = serde_json::from_slice(record).ok()?;
        let message = event["message"].as_str()?.to_string();
        event["event"]["created"] = event["@timestamp"].clone();
        event["event"]["ingested"] = json!(jiff::Timestamp::now().to_string());
        if let Some(found) = self.access.captures(&message) {
            let text = |name: &str| found.name(name).map(|found| found.as_str().to_string()).filter(|text| text != "-");
            let time = jiff::Timestamp::strptime("%d/%b/%Y:%H:%M:%S %z", &found["time"]).ok();
            event["@timestamp"] = json!(time.map(|time| time.to_string()));
            event["source"] = json!({ "ip": text("ip"), "address": text("ip"), "geo": text("ip").and_then(|ip| self.geo(&ip)) });
            event["user"] = json!({ "name": text("user") });
            event["url"] = json!({ "original": text("url"), "path": text("url").map(|url| url.split('?').next().unwrap_or("").to_string()) });
            event["http"] = json!({
                "request": { "method": text("method"), "referrer": text("referrer") },
                "response": { "status_code": found["status"].parse::<i64>().ok(), "body": { "bytes": found["bytes"].parse::<i64>().ok() } },
                "version": text("version"),
            });
            if let Some(agent) = text("agent") {
                event["user_agent"] = self.agent(&agent);
            }
            event["related"] = json!({ "ip": [text("ip")] });
            event["event"]["category"] = json!(["web"]);
            event.as_object_mut()?.remove("message");
        } else if let Some(found) = self.error.captures(&message) {
            event["log"]["level"] = json!(&found["level"]);
            event["process"] = json!({ "pid": found["pid"].parse::<i64>().ok(), "thread": { "id": found["tid"].parse::<i64>().ok() } });
            event["message"] = json!(&found["message"]);
        } else {
            event["tags"] = json!(["_grokparsefailure"]);
        }
        Some(event)
    }
}

fn send(endpoint: &mut Option<TcpStream>, body: &[u8]) {
    let Some(stream) = endpoint else { return };
    let head = format!("POST /_bulk HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 65_536];
    loop {
        let length = stream.read(&mut piece).unwrap();
        answer.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let expected = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.trim().parse::<usize>().ok());
        if expected.is_none_or(|expected| body.len() >= expected) {
            return;
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [brokers, topic, group, rest @ ..] = arguments.as_slice() else {
        println!("naive: needs BROKERS TOPIC GROUP [HOST:PORT]; run it with `make bench`");
        return;
    };
    let mut endpoint = rest.first().map(|address| TcpStream::connect(address).unwrap());
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let naive = Naive::new();
    let (mut body, mut documents, mut last_sent) = (Vec::new(), 0, Instant::now());
    loop {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100))
            && let Some(event) = naive.process(message.payload().unwrap_or_default())
        {
            let id = format!("{}-{}-{}", message.topic(), message.partition(), message.offset());
            let action = json!({ "create": { "_index": "logs-nginx.access-default", "_id": id } });
            body.extend_from_slice(action.to_string().as_bytes());
            body.push(b'\n');
            body.extend_from_slice(event.to_string().as_bytes());
            body.push(b'\n');
            documents += 1;
        }
        if documents >= 2_000 || (documents > 0 && last_sent.elapsed() > Duration::from_millis(500)) {
            send(&mut endpoint, &body);
            let _ = consumer.commit_consumer_state(CommitMode::Async);
            (body, documents, last_sent) = (Vec::new(), 0, Instant::now());
        }
    }
}
