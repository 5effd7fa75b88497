//! `measure`: what draining a topic costs a process, from the kernel's own accounting of it.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;

#[derive(Args)]
pub struct Measure {
    /// Brokers
    #[arg(long, env = "KAFKA_BROKERS")]
    kafka: String,
    /// The topic that the process drains
    #[arg(long)]
    topic: String,
    /// The consumer group that it drains it with
    #[arg(long)]
    group: String,
    /// What to call it in the table
    #[arg(long)]
    label: String,
    /// Give up after this many seconds
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// What the kernel says of a process.
#[derive(Clone, Copy, Default)]
struct Usage {
    cpu_seconds: f64,
    peak_anonymous_kib: u64,
}

/// Runs the command until the group has no lag, and prints a row of a Markdown table.
pub fn run(options: &Measure) -> anyhow::Result<()> {
    let (program, arguments) = options.command.split_first().context("no command")?;
    let started = Instant::now();
    let mut child = Command::new(program).args(arguments).spawn().with_context(|| program.clone())?;
    let result = drain(options, &mut child, started);
    let stopped = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    if result.is_err() || stopped.is_err() {
        child.kill()?;
    }
    child.wait()?;
    let (usage, events, wall) = result?;
    println!(
        "| {} | {events} | {:.2} | {:.0} | {:.2} | {:.0} |",
        options.label,
        usage.cpu_seconds,
        events as f64 / usage.cpu_seconds,
        wall.as_secs_f64(),
        usage.peak_anonymous_kib as f64 / 1024.0,
    );
    Ok(())
}

fn drain(options: &Measure, child: &mut Child, started: Instant) -> anyhow::Result<(Usage, i64, Duration)> {
    let mut peak = 0;
    loop {
        std::thread::sleep(Duration::from_millis(20));
        if let Some(status) = child.try_wait()? {
            bail!("it ended by itself: {status}");
        }
        let usage = usage(child.id())?;
        peak = peak.max(usage.peak_anonymous_kib);
        let (lag, events) = super::topic::lag(&options.kafka, &options.topic, &options.group)?;
        if lag == 0 {
            return Ok((Usage { peak_anonymous_kib: peak, ..usage }, events, started.elapsed()));
        }
        if started.elapsed() > Duration::from_secs(options.timeout) {
            bail!("{lag} records are left after {} s", options.timeout);
        }
    }
}

/// Reads `/proc`: processor time of all threads, and the anonymous memory that is resident now.
fn usage(process: u32) -> anyhow::Result<Usage> {
    /// Linux counts processor time in hundredths of a second on every machine that runs this.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let anonymous =
        status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.trim().parse().ok());
    Ok(Usage { cpu_seconds: (ticks(11) + ticks(12)) / TICKS_PER_SECOND, peak_anonymous_kib: anonymous.unwrap_or(0) })
}
