//! Dead letters: records that can't be delivered, kept aside whole, with the reason.
//!
//! They go to a Kafka topic when one is configured; without one, and for what is too large for the topic, to a local file
//! of JSON lines. A record's offset is released only when its dead letter is durable. A target that is away is waited for.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::ClientConfig;
use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::delivery::bounds::PRODUCED_TOGETHER;
use crate::delivery::{DeadLetters, DeadLettersFuture, Hub, Rejected, count};
use crate::kafka::Login;
use crate::kafka::client_log::{ClientLog, WRITE};
use crate::telemetry::metrics as names;

mod file;
mod mask;
pub mod message;
mod printed;
pub mod read;
mod record;
mod report;
mod topic;

pub use mask::Mask;
pub use printed::escaped;
pub use record::DeadLetter;
use report::Report;

/// The options of `dead_letter`.
pub const DEF: ComponentDef = ComponentDef {
    name: "dead_letter",
    summary: "Where records go that can't be delivered: a Kafka topic, or a file of JSON lines.",
    options: &[
        option("bootstrap_servers", Kind::Strings, Fallback::None, "Brokers of the topic's cluster."),
        option("topic", Kind::String, Fallback::None, "The topic; without it dead letters go to the file."),
        option(
            "properties",
            Kind::Hash,
            Fallback::None,
            "Any property of librdkafka's producer, by its own name. Those that say how a consumer fetches (`fetch.max.bytes`, …) are for `logproc dlq`, which reads the topic.",
        ),
        option(
            "path",
            Kind::Path,
            Fallback::Text("logproc-dead-letters.ndjson"),
            "The file for dead letters without a topic, and for those that are too large for it.",
        ),
        option(
            "mask_fields",
            Kind::Strings,
            Fallback::None,
            "Fields of the original whose values are replaced by `***`, at the paths that they have in the record, before any filter. A path goes through lists. Of an original that is no JSON object nothing is kept, and of the error only its kind, since it may quote values.",
        ),
        option(
            "remove_fields",
            Kind::Strings,
            Fallback::None,
            "Fields of the original that are left out, in the same way.",
        ),
    ],
    example: "[dead_letter]\nbootstrap_servers = \"kafka:9092\"\ntopic = \"nginx-dead-letters\"\npath = \"/var/lib/logproc/dead-letters.ndjson\"\n",
};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Dead letters written together at most; each sync of the file serves as many.
const TOGETHER: usize = 1_024;

/// Where dead letters go, as configured.
#[derive(Clone)]
pub struct DeadLetterSpec {
    path: PathBuf,
    topic: Option<TopicSpec>,
    /// Fields that are masked or left out.
    mask: Arc<Mask>,
    keeping: Keeping,
    /// The command that shows them, for the log.
    command: Option<String>,
}

/// The treatment of dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    /// They are written to the topic or the file.
    Durable,
    /// They are printed to standard error, one line each.
    Printed,
    /// They are counted and not written.
    Counted,
}

/// A topic for dead letters.
#[derive(Clone)]
struct TopicSpec {
    topic: String,
    properties: BTreeMap<String, String>,
    login: Login,
}

impl fmt::Debug for DeadLetterSpec {
    /// Shows no property: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topic = self.topic.as_ref().map(|topic| &topic.topic);
        f.debug_struct("DeadLetterSpec").field("topic", &topic).field("path", &self.path).finish_non_exhaustive()
    }
}

impl DeadLetterSpec {
    /// Dead letters to a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        DeadLetterSpec {
            path: path.into(),
            topic: None,
            mask: Arc::default(),
            keeping: Keeping::Durable,
            command: None,
        }
    }

    /// Dead letters that are counted and written nowhere, for runs that write nothing.
    pub fn discarded() -> Self {
        DeadLetterSpec { keeping: Keeping::Counted, ..DeadLetterSpec::file("") }
    }

    /// Dead letters that are printed to standard error, for trial runs.
    pub fn printed() -> Self {
        DeadLetterSpec { keeping: Keeping::Printed, ..DeadLetterSpec::file("") }
    }

    /// Sets the command that the log names for looking at them.
    pub fn set_command(&mut self, command: String) {
        self.command = Some(command);
    }

    /// Returns the command that shows them.
    fn command(&self) -> String {
        self.command.clone().unwrap_or_else(|| format!("logproc dlq list --file {}", self.path.display()))
    }

    /// What the client of the topic logs in with.
    pub fn login(&self) -> Option<&Login> {
        self.topic.as_ref().map(|topic| &topic.login)
    }

    /// The file.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// The topic and the properties of its client, if dead letters go to one.
    pub fn topic(&self) -> Option<(&str, &BTreeMap<String, String>)> {
        self.topic.as_ref().map(|topic| (topic.topic.as_str(), &topic.properties))
    }

    /// Builds the specification from its options, without connecting to anything.
    ///
    /// # Errors
    /// A topic without brokers, or properties that librdkafka refuses.
    pub fn from_args(args: &Args) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let mask = Arc::new(Mask::from_args(args, &mut problems));
        if !problems.is_empty() {
            return Err(problems);
        }
        let file = DeadLetterSpec { mask, ..DeadLetterSpec::file(args.required_text("path")) };
        let Some(topic) = args.text("topic").filter(|topic| !topic.is_empty()) else { return Ok(file) };
        let brokers = args.strings("bootstrap_servers");
        if brokers.is_empty() {
            return Err(vec![Diagnostic::error(
                args.span_of("topic"),
                "a topic for dead letters needs `bootstrap_servers`",
            )]);
        }
        let mut properties = BTreeMap::from([("bootstrap.servers".to_string(), brokers.join(","))]);
        properties.extend(args.properties("properties"));
        let all: ClientConfig = properties.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        all.create_native_config().map_err(|error| {
            let message = format!("librdkafka refuses these properties: {error}");
            vec![Diagnostic::error(args.span_of("properties"), message)]
        })?;
        let topic = TopicSpec { topic, login: Login::of(&properties), properties };
        Ok(DeadLetterSpec { topic: Some(topic), ..file })
    }
}

impl DeadLetters for DeadLetterSpec {
    fn run(self: Box<Self>, rejected: mpsc::Receiver<Vec<Rejected>>, hub: Arc<Hub>) -> DeadLettersFuture {
        Box::pin(run(*self, rejected, hub))
    }
}

async fn run(spec: DeadLetterSpec, mut letters: mpsc::Receiver<Vec<Rejected>>, hub: Arc<Hub>) {
    let mut writer = Writer {
        report: Report::new(spec.command(), !spec.mask.is_empty()),
        log: ClientLog::new("dead letters"),
        file: file::FileTarget::new(spec.path),
        topic: None,
        spec: spec.topic,
        mask: spec.mask,
        keeping: spec.keeping,
    };
    loop {
        let received = match writer.report.due() {
            None => letters.recv().await,
            Some(due) => match tokio::time::timeout_at(due.into(), letters.recv()).await {
                Ok(received) => received,
                Err(_) => {
                    writer.report.log();
                    continue;
                }
            },
        };
        let Some(mut rejected) = received else { break };
        while rejected.len() < TOGETHER
            && let Ok(more) = letters.try_recv()
        {
            rejected.extend(more);
        }
        writer.write(rejected, &hub).await;
        writer.report.log_if_due();
    }
    writer.report.log();
}

struct Writer {
    report: Report,
    log: ClientLog,
    file: file::FileTarget,
    topic: Option<topic::TopicTarget>,
    spec: Option<TopicSpec>,
    mask: Arc<Mask>,
    keeping: Keeping,
}

impl Writer {
    async fn write(&mut self, rejected: Vec<Rejected>, hub: &Hub) {
        // Several documents of one record may be refused; the record is kept once.
        let (mut open, repeated): (Vec<_>, Vec<_>) =
            rejected.into_iter().partition(|rejected| rejected.raw.mark_dead(rejected.record));
        repeated.into_iter().for_each(Rejected::settle);
        // What is written is copied, so only so much at once.
        while !open.is_empty() {
            let rest = open.split_off(first_group(&open));
            self.write_group(open, hub).await;
            open = rest;
        }
    }

    async fn write_group(&mut self, mut open: Vec<Rejected>, hub: &Hub) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.try_write(&mut open, hub).await {
                Ok(()) => {
                    self.log.works();
                    return;
                }
                Err(problem) => {
                    if let Some(repeated) = self.log.failed(WRITE) {
                        let client = self.log.client();
                        error!(
                            client,
                            error = problem,
                            waiting = open.len(),
                            repeated,
                            "failed to write dead letters; retrying while delivery waits"
                        );
                    }
                    metrics::counter!(names::DEAD_LETTER_RETRIES).increment(1);
                }
            }
            tokio::time::sleep(pause).await;
            // What belongs to somebody else by now is refused again there, and kept there.
            let (owned, gone): (Vec<_>, Vec<_>) = open.into_iter().partition(Rejected::is_owned);
            gone.into_iter().for_each(Rejected::settle);
            open = owned;
            if open.is_empty() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Writes what it can and settles it; what stays in `open` is to be tried again.
    async fn try_write(&mut self, open: &mut Vec<Rejected>, hub: &Hub) -> Result<(), String> {
        let unwritten = match self.keeping {
            Keeping::Durable => None,
            Keeping::Printed => {
                printed::print(open).await;
                Some("stderr")
            }
            Keeping::Counted => Some("none"),
        };
        if let Some(target) = unwritten {
            open.drain(..).for_each(|rejected| done(rejected, hub, target, None));
            return Ok(());
        }
        let mut for_file = Vec::new();
        if let Some(spec) = &self.spec {
            if self.topic.is_none() {
                self.topic = Some(topic::TopicTarget::new(spec, &self.log).map_err(|error| error.to_string())?);
            }
            let Some(topic) = &mut self.topic else { return Ok(()) };
            let outcomes = topic.write(open, hub, &self.mask).await;
            let mut problem = None;
            let mut again = Vec::new();
            for (rejected, outcome) in open.drain(..).zip(outcomes) {
                match outcome {
                    topic::Outcome::Written => done(rejected, hub, "kafka", Some(&mut self.report)),
                    topic::Outcome::TooLarge => for_file.push(rejected),
                    topic::Outcome::Failed(error) => {
                        problem = Some(error);
                        again.push(rejected);
                    }
                }
            }
            *open = again;
            if let Some(problem) = problem {
                open.append(&mut for_file);
                return Err(problem);
            }
            if !for_file.is_empty() {
                warn!(records = for_file.len(), "dead letters too large for the topic go to the file");
            }
        } else {
            for_file.append(open);
        }
        if for_file.is_empty() {
            return Ok(());
        }
        let lines = for_file.iter().map(|rejected| DeadLetter::of(rejected, hub).masked(&self.mask));
        match self.file.append(lines).await {
            Ok(()) => {
                for_file.into_iter().for_each(|rejected| done(rejected, hub, "file", Some(&mut self.report)));
                Ok(())
            }
            Err(error) => {
                open.append(&mut for_file);
                Err(error)
            }
        }
    }
}

/// Returns how many dead letters, at least one, are written together.
fn first_group(rejected: &[Rejected]) -> usize {
    let mut bytes = 0;
    let fit = rejected.iter().take_while(|rejected| {
        bytes += rejected.raw.value(rejected.record as usize).len();
        bytes <= PRODUCED_TOGETHER
    });
    fit.count().max(1)
}

fn done(rejected: Rejected, hub: &Hub, target: &'static str, report: Option<&mut Report>) {
    if let Some(report) = report {
        report.note(&rejected);
    }
    hub.totals.dead_lettered.fetch_add(1, Ordering::Relaxed);
    metrics::counter!(names::DEAD_LETTERS, "reason" => rejected.reason.kind, "target" => target).increment(1);
    rejected.raw.note(rejected.record as usize, |tally| count(&mut tally.dead_letters, rejected.reason.kind, 1));
    rejected.settle();
}
