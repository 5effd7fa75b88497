//! Logs: to standard error, as text for people or JSON for machines, filtered by `RUST_LOG`.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::error;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

use super::fold::Fold;
use super::log_writer::LogWriter;
pub use super::log_writer::Overflow;

/// How long the end of the process waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_millis(200);

static WRITER: OnceLock<LogWriter> = OnceLock::new();
/// Folds the lines of processes that deliver.
static FOLD: OnceLock<Fold> = OnceLock::new();
static FORMAT: OnceLock<Format> = OnceLock::new();

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging; later calls change nothing. Without `RUST_LOG`, `info` and above are shown.
pub fn init(format: Format) {
    init_at(format, "info", Overflow::Wait);
}

/// The same with another level where `RUST_LOG` says none, and with what happens to lines that standard error does not take.
pub fn init_at(format: Format, level: &str, overflow: Overflow) {
    // Not through `Stderr`: its lock is held during a write that hangs, and others would wait for it.
    let Ok(stderr) = std::io::stderr().as_fd().try_clone_to_owned() else { return };
    if WRITER.get().is_none()
        && let Ok(writer) = LogWriter::start(File::from(stderr), overflow)
    {
        let _ = WRITER.set(writer);
    }
    let _ = FORMAT.set(format);
    let Some(writer) = WRITER.get() else { return };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let layer = fmt::layer().with_writer(|| writer.clone()).log_internal_errors(false);
    let layer = match format {
        Format::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        Format::Json => layer.json().flatten_event(true).boxed(),
    };
    let fold = (overflow == Overflow::Drop).then(|| FOLD.get_or_init(Fold::default).clone());
    // A second start (tests, a library user's own subscriber) leaves the first in place.
    let _ = tracing_subscriber::registry().with(layer).with(filter).with(fold).try_init();
}

/// Writes a line to standard error, in its turn among the log lines.
pub fn print_line(text: &str) {
    match WRITER.get() {
        Some(writer) => writer.push(format!("{text}\n").as_bytes()),
        // Standard error is closed: there is no place left for a message.
        None => drop(writeln!(std::io::stderr(), "{text}")),
    }
}

/// Returns how log lines look.
pub fn format() -> Format {
    FORMAT.get().copied().unwrap_or_default()
}

/// Writes lines to standard error in their turn, none of which is dropped for want of room, and waits until they are written.
pub fn print_and_wait(lines: &[u8]) {
    match WRITER.get() {
        Some(writer) => writer.push_and_wait(lines),
        // Standard error is closed: there is no place left for a message.
        None => drop(std::io::stderr().write_all(lines)),
    }
}

/// Logs panics as errors. The standard hook writes to standard error itself, which may hang.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text =
            payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let backtrace = std::backtrace::Backtrace::capture();
        let backtrace =
            (backtrace.status() == std::backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string());
        error!(thread = thread.name(), location, backtrace, "panicked: {}", text.unwrap_or_default());
    }));
}

/// Logs how often lines were repeated in the last ten seconds; for calling now and again.
pub(crate) fn report_repeats() {
    if let Some(fold) = FOLD.get() {
        fold.report(false);
    }
}

/// Waits for the last lines to be written: a moment, or for as long as it takes where [`Overflow::Wait`] holds.
pub fn flush() {
    if let Some(fold) = FOLD.get() {
        fold.report(true);
    }
    if let Some(writer) = WRITER.get() {
        writer.flush((writer.overflow() == Overflow::Drop).then_some(LAST_LINES));
    }
}

/// Waits a moment for the last lines to be written.
pub fn flush_briefly() {
    if let Some(writer) = WRITER.get() {
        writer.flush(Some(LAST_LINES));
    }
}

/// Returns how many log lines were dropped so far.
pub fn dropped_lines() -> u64 {
    WRITER.get().map_or(0, LogWriter::dropped)
}
