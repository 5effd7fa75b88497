//! Sinks that write documents as lines: to a file or to standard output.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;

use crate::codec::encode::CODEC_OPTION;
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::delivery::{DocumentBatch, Limits};
use crate::delivery::{Sink, SinkContext, SinkError, SinkFuture};
use crate::files::append;

/// Interval between checks whether standard output still has a reader.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The options of `stdout`.
pub const STDOUT_DEF: ComponentDef = ComponentDef {
    name: "stdout",
    summary: "Writes one JSON document a line to standard output.",
    options: &[CODEC_OPTION],
    example: "[[sink]]\ntype = \"stdout\"\n",
};

/// The options of `file`.
pub const FILE_DEF: ComponentDef = ComponentDef {
    name: "file",
    summary: "Appends one JSON document a line to a file.",
    options: &[
        option("path", Kind::Path, Fallback::Required, "The file; it is created if it is not there."),
        option(
            "write_behavior",
            Kind::Enum(&["append", "overwrite"]),
            Fallback::Text("append"),
            "Whether a file that is there is appended to or emptied first.",
        ),
        option(
            "fsync",
            Kind::Boolean,
            Fallback::Boolean(true),
            "Whether documents count as delivered only once the disk has them. Turned off, a power failure may lose some.",
        ),
        CODEC_OPTION,
        option(
            "linger",
            Kind::Duration,
            Fallback::Text("200ms"),
            "How long documents may wait for others before they are written.",
        ),
    ],
    example: "[[sink]]\ntype = \"file\"\npath = \"/var/log/logproc/events.ndjson\"\n",
};

/// A sink that writes lines.
#[derive(Clone, Debug)]
pub struct LinesSink {
    target: Target,
    linger: Duration,
}

#[derive(Clone, Debug)]
enum Target {
    Stdout,
    File { path: PathBuf, overwrite: bool, fsync: bool },
}

impl LinesSink {
    pub(super) fn kind(&self) -> &'static str {
        match self.target {
            Target::Stdout => "stdout",
            Target::File { .. } => "file",
        }
    }

    /// Returns a sink that writes to standard output.
    pub fn stdout() -> Self {
        LinesSink { target: Target::Stdout, linger: Duration::from_millis(50) }
    }

    /// Returns a sink that writes to a file.
    ///
    /// # Errors
    /// Never fails; the signature is common to all components.
    pub fn file(args: &Args) -> Result<Self, Vec<Diagnostic>> {
        Ok(LinesSink {
            target: Target::File {
                path: PathBuf::from(args.required_text("path")),
                overwrite: args.required_text("write_behavior") == "overwrite",
                fsync: args.flag("fsync"),
            },
            linger: args.duration("linger").unwrap_or_default(),
        })
    }
}

impl LinesSink {
    /// Returns the limits at which a batch is full.
    pub(super) fn limits(&self) -> Limits {
        Limits { max_bytes: 512 << 10, max_items: 16_384, linger: self.linger }
    }
}

impl Sink for LinesSink {
    fn run(self: Box<Self>, input: mpsc::Receiver<DocumentBatch>, context: SinkContext) -> SinkFuture {
        Box::pin(async move {
            match self.target {
                Target::Stdout => {
                    let append = |lines: &[u8]| {
                        let mut target = std::io::stdout();
                        target.write_all(lines)?;
                        target.flush()
                    };
                    let written = tokio::select! {
                        written = write(append, input, &context, "standard output") => written,
                        () = until_closed() => Err(SinkError::OutputClosed),
                    };
                    match written {
                        Err(SinkError::Write { error, .. }) if error.kind() == io::ErrorKind::BrokenPipe => {
                            Err(SinkError::OutputClosed)
                        }
                        result => result,
                    }
                }
                Target::File { path, overwrite, fsync } => {
                    let name = path.display().to_string();
                    let file = open(&path, overwrite, fsync)
                        .map_err(|error| SinkError::Write { path: name.clone(), error })?;
                    write(|lines| append::append_lines(&file, lines, fsync), input, &context, &name).await
                }
            }
        })
    }
}

/// Returns when the reader of standard output has closed it, which a write would notice only with the next document.
async fn until_closed() {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        let output = io::stdout();
        let mut watched = [PollFd::new(&output, PollFlags::empty())];
        let is_answered = poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0);
        if is_answered && watched[0].revents().contains(PollFlags::ERR) {
            return;
        }
    }
}

fn open(path: &Path, overwrite: bool, fsync: bool) -> io::Result<File> {
    let file = append::open(path)?;
    if overwrite && file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    if fsync {
        append::sync_folder_of(path)?;
    }
    Ok(file)
}

/// Writes batches. What `append` has written counts as delivered.
async fn write(
    append: impl Fn(&[u8]) -> io::Result<()>,
    mut input: mpsc::Receiver<DocumentBatch>,
    context: &SinkContext,
    name: &str,
) -> Result<(), SinkError> {
    context.set_ready(true);
    while let Some(batch) = input.recv().await {
        // A full pipe or a slow disk may block here; the runtime moves other tasks to other threads meanwhile.
        let written = tokio::task::block_in_place(|| append(batch.body()));
        written.map_err(|error| SinkError::Write { path: name.to_string(), error })?;
        context.finish(batch);
    }
    Ok(())
}
