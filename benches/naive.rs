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
    networks: maxminddb::Reader<Vec<u8>>,
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
            networks: maxminddb::Reader::open_readfile("pipelines/geoip/GeoLite2-ASN-Test.mmdb").unwrap(),
            agents: regexes.try_into().unwrap(),
        }
    }

    fn agent(&self, agent: &str) -> Value {
        let (browser, system, device) = self.agents.extract(agent);
        json!({
            "original": agent,
            "name": browser.as_ref().map(|browser| browser.family.to_string()),
            "version": browser.as_ref().map(|browser| [browser.major, browser.minor, browser.patch].iter().flatten().copied().collect::<Vec<_>>().join(".")),
            "os": {
                "name": system.as_ref().map(|system| system.os.to_string()),
                "version": system.as_ref().and_then(|system| system.major.as_ref().map(|major| major.to_string())),
                "full": system.as_ref().map(|system| format!("{} {}", system.os, system.major.as_deref().unwrap_or(""))),
            },
            "device": { "name": device.as_ref().map(|device| device.device.to_string()) },
        })
    }

    fn geo(&self, ip: &str) -> Option<Value> {
        let address: IpAddr = ip.parse().ok()?;
        let record: Value =
            self.city.iter().find_map(|reader| reader.lookup(address).ok()?.decode::<Value>().ok()?)?;
        Some(json!({
            "city_name": record["city"], "country_iso_code": record["country_code"], "region_name": record["state1"],
            "timezone": record["timezone"], "location": { "lat": record["latitude"], "lon": record["longitude"] },
        }))
    }

    fn network(&self, ip: &str) -> Option<Value> {
        let record = self.networks.lookup(ip.parse().ok()?).ok()?.decode::<Value>().ok()??;
        Some(
            json!({ "number": record["autonomous_system_number"], "organization": { "name": record["autonomous_system_organization"] } }),
        )
    }

    fn process(&self, record: &[u8]) -> Option<Value> {
        let mut event: Value = serde_json::from_slice(record).ok()?;
        event.as_object_mut()?.remove("@metadata");
        let message = event["message"].as_str()?.to_string();
        event["event"]["created"] = event["@timestamp"].clone();
        event["event"]["ingested"] = json!(jiff::Timestamp::now().to_string());
        event["data_stream"] = json!({ "type": "logs", "dataset": event["event"]["dataset"], "namespace": "default" });
        if let Some(found) = self.access.captures(&message) {
            let text = |name: &str| found.name(name).map(|found| found.as_str().to_string()).filter(|text| text != "-");
            let time = jiff::Timestamp::strptime("%d/%b/%Y:%H:%M:%S %z", &found["time"]).ok();
            event["@timestamp"] = json!(time.map(|time| time.to_string()));
            let ip = text("ip");
            event["source"] = json!({ "ip": ip, "address": ip });
            match ip.as_ref().and_then(|ip| self.geo(ip)) {
                Some(geo) => event["source"]["geo"] = geo,
                None => event["tags"] = json!(["_geoip_lookup_failure"]),
            }
            if let Some(network) = ip.as_ref().and_then(|ip| self.network(ip)) {
                event["source"]["as"] = network;
            }
            if let Some(user) = text("user") {
                event["related"] = json!({ "user": [user] });
                event["user"] = json!({ "name": user });
            }
            if let Some(url) = text("url") {
                let (path, query) =
                    url.split_once('?').map_or((url.as_str(), None), |(path, query)| (path, Some(query)));
                event["url"] = json!({ "original": url, "path": path });
                if let Some(query) = query {
                    event["url"]["query"] = json!(query);
                }
                if let Some((_, extension)) = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')) {
                    event["url"]["extension"] = json!(extension);
                }
            }
            let status: i64 = found["status"].parse().ok()?;
            event["http"] = json!({
                "request": { "method": text("method") },
                "response": { "status_code": status, "body": { "bytes": found["bytes"].parse::<i64>().ok() } },
                "version": text("version"),
            });
            if let Some(referrer) = text("referrer") {
                event["http"]["request"]["referrer"] = json!(referrer);
            }
            if let Some(agent) = text("agent") {
                event["user_agent"] = self.agent(&agent);
            }
            event["related"]["ip"] = json!([ip]);
            event["nginx"] = json!({ "access": { "remote_ip_list": [ip] } });
            event["event"]["kind"] = json!("event");
            event["event"]["category"] = json!(["web"]);
            event["event"]["type"] = json!(["access"]);
            event["event"]["outcome"] = json!(if status < 400 { "success" } else { "failure" });
            event.as_object_mut()?.remove("message");
        } else if let Some(found) = self.error.captures(&message) {
            let time = jiff::civil::DateTime::strptime("%Y/%m/%d %H:%M:%S", &found["time"]).ok();
            event["@timestamp"] =
                json!(time.and_then(|time| time.in_tz("UTC").ok()).map(|time| time.timestamp().to_string()));
            event["log"]["level"] = json!(&found["level"]);
            event["process"] = json!({ "pid": found["pid"].parse::<i64>().ok(), "thread": { "id": found["tid"].parse::<i64>().ok() } });
            event["nginx"] = json!({ "error": { "connection_id": found.name("connection").and_then(|id| id.as_str().parse::<i64>().ok()) } });
            event["event"]["kind"] = json!("event");
            event["event"]["category"] = json!(["web"]);
            event["event"]["type"] = json!(["error"]);
            event["message"] = json!(&found["message"]);
        } else {
            event["tags"] = json!(["_grokparsefailure"]);
            event["event"]["kind"] = json!("pipeline_error");
        }
        Some(event)
    }
}

fn send(endpoint: &mut Option<TcpStream>, body: &[u8]) {
    let Some(stream) = endpoint else { return };
    let head = format!(
        "POST /_bulk HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 65_536];
    loop {
        let length = stream.read(&mut piece).unwrap();
        answer.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let expected =
            head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.trim().parse::<usize>().ok());
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
