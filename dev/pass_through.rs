//! `pass-through`: delivery with a pipeline that does nothing, to measure what delivery itself costs.

use std::time::Instant;

use clap::Args;
use logproc::config::{Args as Options, ComponentDef, Data, Key, Node, Span};
use logproc::delivery::{Outputs, Processor, Processors, RawBatch, Settings, Shutdown, Verdict, run as deliver};
use logproc::runtime::PlanSpec;
use logproc::sink::dead_letter::DeadLetterSpec;
use logproc::sink::{self, SinkSpec};
use logproc::source::{self, SourceSpec};
use logproc::telemetry::health::Health;
use logproc::telemetry::{logs, metrics};

#[derive(Args)]
pub struct PassThrough {
    /// Brokers
    #[arg(long)]
    kafka: String,
    /// The topic
    #[arg(long)]
    topic: String,
    /// The consumer group
    #[arg(long)]
    group: String,
    /// An Elasticsearch address; without it documents are discarded
    #[arg(long)]
    elasticsearch: Option<String>,
    /// Stop once this many documents are delivered
    #[arg(long)]
    until: Option<u64>,
    /// Workers
    #[arg(long)]
    workers: Option<usize>,
    /// Bytes that may be in flight
    #[arg(long)]
    in_flight: Option<usize>,
    /// A further option of the source, `name=value`
    #[arg(long)]
    source_option: Vec<String>,
    /// A further option of the sink, `name=value`
    #[arg(long)]
    sink_option: Vec<String>,
    /// Where metrics are served
    #[arg(long)]
    metrics: Option<std::net::SocketAddr>,
}

/// The cheapest document: a fixed action with an id of the record's origin, and the value as it came.
struct Nothing {
    action: Vec<u8>,
}

impl Processor for Nothing {
    fn process(&mut self, batch: &RawBatch, index: usize, out: &mut Outputs) -> Verdict {
        let record = &batch.records()[index];
        for sink in 0..out.len() {
            let buffer = out.sink(sink);
            let start = buffer.begin();
            buffer.near.extend_from_slice(&self.action);
            decimal(batch.origin(index).partition.unsigned_abs().into(), &mut buffer.near);
            buffer.near.push(b'-');
            decimal(record.offset.unsigned_abs(), &mut buffer.near);
            buffer.near.extend_from_slice(b"\"}}\n");
            buffer.near.extend_from_slice(batch.value(index));
            buffer.near.push(b'\n');
            buffer.end(start);
        }
        Verdict::Done
    }
}

fn decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn options(def: &ComponentDef, entries: Vec<(String, String)>) -> anyhow::Result<Options> {
    let span = Span::default();
    let entries =
        entries.into_iter().map(|(name, text)| (Key { span, name }, Node { span, data: Data::String(text) })).collect();
    Options::check(def.name, span, entries, def.options.iter().copied()).map_err(complain)
}

fn complain(problems: Vec<logproc::config::Diagnostic>) -> anyhow::Error {
    anyhow::anyhow!(problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; "))
}

fn further(given: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let split = |text: &String| text.split_once('=').map(|(name, value)| (name.to_string(), value.to_string()));
    given.iter().map(|text| split(text).ok_or_else(|| anyhow::anyhow!("`{text}` is not `name=value`"))).collect()
}

pub fn run(given: &PassThrough) -> anyhow::Result<()> {
    logs::init(logs::Format::Text);
    let mut source = vec![
        ("bootstrap_servers".to_string(), given.kafka.clone()),
        ("topics".to_string(), given.topic.clone()),
        ("group_id".to_string(), given.group.clone()),
    ];
    source.extend(further(&given.source_option)?);
    let sink = match &given.elasticsearch {
        None => SinkSpec::from_args("null", &options(&sink::null::DEF, Vec::new())?),
        Some(url) => {
            let mut entries = vec![("hosts".to_string(), url.clone())];
            entries.extend(further(&given.sink_option)?);
            SinkSpec::from_args("elasticsearch", &options(&sink::elasticsearch::DEF, entries)?)
        }
    };
    let mut settings = Settings { in_flight_limit: given.in_flight, ..Settings::default() };
    settings.workers = given.workers.unwrap_or(settings.workers);
    let health = Health::default();
    if let Some(address) = given.metrics {
        logproc::api::serve(address, metrics::install()?, health.clone())?;
    }
    let plan = PlanSpec {
        pipeline_name: "pass-through".into(),
        sources: vec![SourceSpec::from_args("kafka", &options(&source::kafka::DEF, source)?).map_err(complain)?],
        sinks: vec![(None, sink.map_err(complain)?)],
        processors: Processors::new("0", |_| {
            Box::new(Nothing { action: b"{\"create\":{\"_index\":\"pass-through\",\"_id\":\"".to_vec() })
        }),
        dead_letter: DeadLetterSpec::file("pass-through-dead-letters.ndjson"),
        settings,
        health,
    }
    .build();
    let (shutdown, began) = (Shutdown::new(), Instant::now());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (signalled, until, lag) =
        (shutdown.clone(), given.until, (given.kafka.clone(), given.topic.clone(), given.group.clone()));
    runtime.spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            signalled.request();
        }
    });
    let counter = shutdown.clone();
    if let Some(until) = until {
        std::thread::spawn(move || {
            while super::topic::lag(&lag.0, &lag.1, &lag.2).map_or(true, |(lag, total)| total - lag < until as i64) {
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            counter.drain();
        });
    }
    let summary = deliver(plan, &shutdown)?;
    let seconds = began.elapsed().as_secs_f64();
    println!("{summary:?} in {seconds:.2} s, {:.0} a second", summary.documents as f64 / seconds);
    println!("{}", usage());
    Ok(())
}

/// Processor time and peak memory of this process, as the system counts them.
fn usage() -> String {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks =
        |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default() / 100.0;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    format!("user {:.2} s, system {:.2} s, {peak}", ticks(11), ticks(12))
}
