//! `watch` and `report`: what the demo shows a person, from the real servers.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use elasticsearch::Elasticsearch;
use elasticsearch::http::transport::Transport;
use elasticsearch::indices::IndicesRefreshParts;
use elasticsearch::{CountParts, SearchParts};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

#[derive(Args)]
pub struct Watch {
    /// The cluster
    #[arg(long, env = "ELASTICSEARCH_URL")]
    elasticsearch: String,
    /// The data streams, indices or aliases to count
    #[arg(long, default_value = "logs-nginx.*")]
    index: String,
    /// Done when there are this many documents more than at the start
    #[arg(long)]
    until: u64,
    /// Documents that were there before; by default as many as there are now
    #[arg(long)]
    before: Option<u64>,
    /// Give up after this many seconds
    #[arg(long, default_value_t = 300)]
    timeout: u64,
}

#[derive(Args)]
pub struct Report {
    /// The cluster
    #[arg(long, env = "ELASTICSEARCH_URL")]
    elasticsearch: String,
    /// The data streams, indices or aliases to look at
    #[arg(long, default_value = "logs-nginx.*")]
    index: String,
    /// Brokers
    #[arg(long, env = "KAFKA_BROKERS")]
    kafka: String,
    /// The topic
    #[arg(long)]
    topic: String,
    /// The consumer group
    #[arg(long)]
    group: String,
}

fn client(url: &str) -> anyhow::Result<Elasticsearch> {
    Ok(Elasticsearch::new(Transport::single_node(url)?))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

async fn count(client: &Elasticsearch, index: &str) -> anyhow::Result<u64> {
    client.indices().refresh(IndicesRefreshParts::Index(&[index])).ignore_unavailable(true).send().await?;
    let answer: Value = client.count(CountParts::Index(&[index])).ignore_unavailable(true).send().await?.json().await?;
    Ok(answer["count"].as_u64().unwrap_or(0))
}

async fn search(client: &Elasticsearch, index: &str, body: Value) -> anyhow::Result<Value> {
    let index = [index];
    let answer = client.search(SearchParts::Index(&index)).ignore_unavailable(true).body(body).send().await?;
    Ok(answer.json().await?)
}

/// Rows of the table over time.
const TIME_STEPS: f64 = 10.0;

/// Shows documents arriving until all are there.
pub fn watch(options: &Watch) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let client = client(&options.elasticsearch)?;
        let before = match options.before {
            Some(before) => before,
            None => count(&client, &options.index).await?,
        };
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} documents  {per_sec}  {elapsed}")?;
        let bar = ProgressBar::new(options.until).with_style(style);
        let started = Instant::now();
        loop {
            let arrived = count(&client, &options.index).await?.saturating_sub(before);
            bar.set_position(arrived.min(options.until));
            if arrived >= options.until {
                bar.finish();
                return Ok(());
            }
            if started.elapsed() > Duration::from_secs(options.timeout) {
                bail!("only {arrived} of {} documents have arrived in {} s", options.until, options.timeout);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    })
}

/// Prints counts and what the documents say, and fails where documents and events differ.
pub fn report(options: &Report) -> anyhow::Result<()> {
    let (lag, events) = super::topic::lag(&options.kafka, &options.topic, &options.group)?;
    let (documents, answer) = runtime()?.block_on(async {
        let client = client(&options.elasticsearch)?;
        let documents = count(&client, &options.index).await?;
        let terms = |field: &str| json!({ "terms": { "field": field, "size": 8 } });
        let ends = json!({ "size": 0, "aggs": {
            "first": { "min": { "field": "@timestamp" } }, "last": { "max": { "field": "@timestamp" } },
        } });
        let ends = search(&client, &options.index, ends).await?;
        let end = |name: &str| ends["aggregations"][name]["value"].as_f64().unwrap_or(0.0);
        let seconds = ((end("last") - end("first")) / 1e3 / TIME_STEPS).ceil().max(1.0);
        let body = json!({
            "size": 0,
            "aggs": {
                "datasets": terms("event.dataset"),
                "paths": terms("url.path"),
                "countries": terms("source.geo.country_iso_code"),
                "agents": terms("user_agent.name"),
                "failed": terms("tags"),
                "time": {
                    "date_histogram": { "field": "@timestamp", "fixed_interval": format!("{seconds}s"), "min_doc_count": 1 },
                    "aggs": { "status": { "range": { "field": "http.response.status_code", "ranges": [
                        { "key": "2xx", "from": 200, "to": 300 }, { "key": "3xx", "from": 300, "to": 400 },
                        { "key": "4xx", "from": 400, "to": 500 }, { "key": "5xx", "from": 500, "to": 600 },
                    ] } } },
                },
            },
        });
        anyhow::Ok((documents, search(&client, &options.index, body).await?))
    })?;
    let aggregations = answer.get("aggregations").with_context(|| format!("the search failed: {answer}"))?;
    println!("events on the topic      {events}");
    println!("documents                {documents}");
    println!("lag of the group         {lag}");
    for (title, name) in [
        ("by dataset", "datasets"),
        ("top paths", "paths"),
        ("countries", "countries"),
        ("user agents", "agents"),
        ("tags", "failed"),
    ] {
        println!("\n{title}");
        table(&aggregations[name]["buckets"]);
    }
    println!("\nstatuses over time                 2xx      3xx      4xx      5xx");
    for bucket in aggregations["time"]["buckets"].as_array().into_iter().flatten() {
        let statuses: Vec<String> = bucket["status"]["buckets"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|status| format!("{:>8}", status["doc_count"].as_u64().unwrap_or(0)))
            .collect();
        println!("  {:<26} {}", bucket["key_as_string"].as_str().unwrap_or(""), statuses.join(" "));
    }
    if lag != 0 || documents != events as u64 {
        bail!("documents and events differ: {documents} and {events}, with a lag of {lag}");
    }
    println!("\ndocuments = events, lag = 0");
    Ok(())
}

fn table(buckets: &Value) {
    let buckets = buckets.as_array().map(Vec::as_slice).unwrap_or_default();
    let most = buckets.iter().filter_map(|bucket| bucket["doc_count"].as_u64()).max().unwrap_or(1).max(1);
    for bucket in buckets {
        let count = bucket["doc_count"].as_u64().unwrap_or(0);
        let bar = "#".repeat((count * 30 / most) as usize);
        println!("  {:<34} {count:>8}  {bar}", bucket["key"].as_str().unwrap_or(""));
    }
}
