//! `logproc-dev`: what one needs to try and to measure logproc. Traffic, topics, and an endpoint that takes everything.

mod chaos;
mod generate;
mod measure;
mod pass_through;
mod report;
mod topic;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use logproc::testkit::fake_cluster::FakeCluster;

#[derive(Parser)]
#[command(name = "logproc-dev", about = "Tools to try and to measure logproc")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes nginx traffic in Filebeat's envelope; the same seed gives the same bytes
    Generate(generate::Options),
    /// Creates, deletes and looks at topics
    #[command(subcommand)]
    Topic(topic::Command),
    /// Delivers a topic through a pipeline that does nothing, to measure what delivery costs
    PassThrough(pass_through::PassThrough),
    /// Drains a topic with a command and prints what that cost it
    Measure(measure::Measure),
    /// Shows documents arriving until all are there
    Watch(report::Watch),
    /// Prints counts and aggregations; fails where documents and events differ
    Report(report::Report),
    /// Torments a few processes in one group and proves that nothing was lost or doubled
    Chaos(chaos::Chaos),
    /// An Elasticsearch endpoint that takes every bulk request and counts
    BulkSink {
        /// Where to listen
        #[arg(long, default_value = "127.0.0.1")]
        host: std::net::IpAddr,
        /// The port, 0 for a free one
        #[arg(long, default_value_t = 9200)]
        port: u16,
        /// Seconds between lines about what came; 0 for none
        #[arg(long, default_value_t = 1)]
        report: u64,
        /// End once this many documents have come
        #[arg(long)]
        until: Option<u64>,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Generate(options) => generate::run(&options),
        Command::Topic(command) => topic::run(&command),
        Command::PassThrough(given) => pass_through::run(&given),
        Command::Measure(options) => measure::run(&options),
        Command::Watch(options) => report::watch(&options),
        Command::Report(options) => report::report(&options),
        Command::Chaos(options) => chaos::run(&options),
        Command::BulkSink { host, port, report, until } => bulk_sink(SocketAddr::new(host, port), report, until),
    }
}

fn bulk_sink(address: SocketAddr, report: u64, until: Option<u64>) -> anyhow::Result<()> {
    let cluster = FakeCluster::bind(address, false)?;
    eprintln!("taking everything at {}", cluster.url());
    let (mut before, mut reported) = (0, Instant::now());
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let documents = cluster.documents();
        let over = until.is_some_and(|until| documents >= until);
        if over || (report > 0 && reported.elapsed() >= Duration::from_secs(report)) {
            let rate = (documents - before) as f64 / reported.elapsed().as_secs_f64();
            if documents != before || over {
                println!(
                    "documents={documents} requests={} bytes={} per_second={rate:.0}",
                    cluster.requests(),
                    cluster.bytes()
                );
            }
            (before, reported) = (documents, Instant::now());
        }
        if over {
            return Ok(());
        }
    }
}
