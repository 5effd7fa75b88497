//! What the tests share: options from a few words, a pipeline that passes records through, waiting with a deadline.

use std::io::Write as _;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use logproc::config::{Args, ComponentDef, Data, Key, Node, Span};
use logproc::delivery::{
    Outputs, Processor, Processors, RawBatch, Reason, RunFailure, Settings, Shutdown, Summary, Verdict, run,
};
use logproc::runtime::PlanSpec;
use logproc::sink::dead_letter::DeadLetterSpec;
use logproc::sink::{self, SinkSpec};
use logproc::source::{self, SourceSpec};
use logproc::telemetry::health::Health;

pub fn text(value: impl Into<String>) -> Data {
    Data::String(value.into())
}

pub fn args(def: &ComponentDef, entries: &[(&str, Data)]) -> Args {
    let span = Span::default();
    let entries =
        entries.iter().map(|(name, data)| (Key { span, name: (*name).into() }, Node { span, data: data.clone() }));
    Args::check(def.name, span, entries.collect(), def.options.iter().copied()).unwrap()
}

pub fn elasticsearch(url: &str, more: &[(&str, Data)]) -> SinkSpec {
    let mut entries = vec![
        ("hosts", text(url)),
        ("retry_initial_interval", text("5ms")),
        ("retry_max_interval", text("40ms")),
        ("linger", text("10ms")),
    ];
    entries.retain(|(name, _)| more.iter().all(|(given, _)| given != name));
    entries.extend_from_slice(more);
    SinkSpec::from_args("elasticsearch", &args(&sink::elasticsearch::DEF, &entries)).unwrap()
}

pub fn file_source(path: &Path, more: &[(&str, Data)]) -> SourceSpec {
    let mut entries = vec![("path", text(path.to_string_lossy()))];
    entries.extend_from_slice(more);
    SourceSpec::from_args("file", &args(&source::file::DEF, &entries)).unwrap()
}

/// A source that follows files from their beginnings, with a checkpoint.
pub fn followed(path: &Path, sincedb: &str) -> SourceSpec {
    let more =
        [("mode", "tail"), ("start_position", "beginning"), ("stat_interval", "20ms"), ("sincedb_path", sincedb)];
    file_source(path, &more.map(|(name, value)| (name, text(value))))
}

/// A sink that writes to a file.
pub fn file_sink(path: &Path) -> SinkSpec {
    SinkSpec::from_args("file", &args(&sink::lines::FILE_DEF, &[("path", text(path.to_string_lossy()))])).unwrap()
}

/// The documents that such a sink has written, without their actions.
pub fn written(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().skip(1).step_by(2).map(str::to_string).collect()
}

/// Makes a create action of each record, with an id from its origin. The values `drop` and `refuse` get what they say.
pub struct PassThrough;

impl Processor for PassThrough {
    fn process(&mut self, batch: &RawBatch, index: usize, out: &mut Outputs) -> Verdict {
        let value = batch.value(index);
        panic_if_asked(value);
        if value == b"drop" {
            return Verdict::Dropped("test");
        }
        let origin = batch.origin(index);
        let offset = batch.records()[index].offset;
        for sink in 0..out.len() {
            let buffer = out.sink(sink);
            let start = buffer.begin();
            let index = if value.ends_with(b"\"apart\":1}") { "apart" } else { "i" };
            let action = format!(
                "{{\"create\":{{\"_index\":\"{index}\",\"_id\":\"{}-{}-{offset}\"}}}}\n",
                origin.topic, origin.partition
            );
            buffer.near.extend_from_slice(action.as_bytes());
            buffer.near.extend_from_slice(value);
            buffer.near.push(b'\n');
            buffer.end(start);
        }
        match value {
            b"refuse" => Verdict::DeadLetter(Reason::new("decode", Some("test".into()), "as it asks for")),
            _ => Verdict::Done,
        }
    }

    fn look_ahead(&mut self, batch: &RawBatch, records: &[usize]) {
        records.iter().for_each(|index| panic_if_asked(batch.value(*index)));
    }
}

fn panic_if_asked(value: &[u8]) {
    assert!(!value.ends_with(b"\"panic\":1}"), "as it asks for");
}

pub fn plan(source: SourceSpec, sinks: Vec<SinkSpec>, dead_letters: &Path) -> PlanSpec {
    PlanSpec {
        pipeline_name: "test".into(),
        sources: vec![source],
        sinks: sinks.into_iter().map(|sink| (None, sink)).collect(),
        processors: Processors::new("1", |_| Box::new(PassThrough)),
        dead_letter: DeadLetterSpec::file(dead_letters),
        settings: Settings { workers: 2, ..Settings::default() },
        health: Health::default(),
    }
}

pub struct Running {
    pub shutdown: Shutdown,
    thread: Option<JoinHandle<Result<Summary, RunFailure>>>,
}

impl Running {
    pub fn start(plan: PlanSpec) -> Self {
        logproc::telemetry::logs::init(logproc::telemetry::logs::Format::Text);
        let shutdown = Shutdown::new();
        let handle = shutdown.clone();
        Running { shutdown, thread: Some(std::thread::spawn(move || run(plan.build(), &handle))) }
    }

    pub fn wait(mut self) -> Summary {
        self.thread.take().unwrap().join().unwrap().unwrap()
    }

    pub fn result(mut self) -> Result<Summary, RunFailure> {
        self.thread.take().unwrap().join().unwrap()
    }

    pub fn stop(self) -> Summary {
        self.shutdown.drain();
        self.wait()
    }
}

impl Running {
    /// Ends at once, whatever is under way.
    pub fn crash(mut self) {
        self.shutdown.force();
        let _ = self.thread.take().unwrap().join();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.force();
    }
}

/// Waits until `holds`; panics after three minutes.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(180);
    while !holds() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

pub fn dead_letters(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Adds to a file's end, as those do who write logs: at no moment is there less of it than before.
pub fn append(path: &Path, text: &str) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Writes `count` numbered lines and returns the file's path.
pub fn lines(folder: &Path, count: usize) -> std::path::PathBuf {
    let path = folder.join("input.log");
    let text: String = (0..count).map(|number| format!("{{\"n\":{number}}}\n")).collect();
    std::fs::write(&path, text).unwrap();
    path
}
