//! Documents as lines: to a file or to standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Sink, SinkContext, SinkError, SinkFuture};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::delivery::{DocumentBatch, Limits};
use crate::pipeline::encode::CODEC_OPTION;

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
        option("linger", Kind::Duration, Fallback::Text("200ms"), "How long documents may wait for others before they are written."),
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

    /// Lines to standard output.
    pub fn stdout() -> Self {
        LinesSink { target: Target::Stdout, linger: Duration::from_millis(50) }
    }

    /// Lines to a file.
    ///
    /// # Errors
    /// None so far; the signature is that of every component.
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

impl Sink for LinesSink {
    fn limits(&self) -> Limits {
        Limits { max_bytes: 512 << 10, max_items: 16_384, linger: self.linger }
    }

    fn run(self: Box<Self>, input: mpsc::Receiver<DocumentBatch>, context: SinkContext) -> SinkFuture {
        Box::pin(async move {
            match self.target {
                Target::Stdout => match write(std::io::stdout(), input, &context, "standard output", |_| Ok(())).await {
                    Err(SinkError::Write { error, .. }) if error.kind() == io::ErrorKind::BrokenPipe => Err(SinkError::OutputClosed),
                    result => result,
                },
                Target::File { path, overwrite, fsync } => {
                    let name = path.display().to_string();
                    let mut options = OpenOptions::new();
                    options.create(true).write(true).append(!overwrite).truncate(overwrite);
                    let file = options.open(&path).map_err(|error| SinkError::Write { path: name.clone(), error })?;
                    let sync = |file: &File| if fsync { file.sync_data() } else { Ok(()) };
                    write(file, input, &context, &name, sync).await
                }
            }
        })
    }
}

/// Writes batches; `sync` brings them to where they count as delivered.
async fn write<W: Write + Send>(
    mut target: W,
    mut input: mpsc::Receiver<DocumentBatch>,
    context: &SinkContext,
    name: &str,
    sync: impl Fn(&W) -> io::Result<()>,
) -> Result<(), SinkError> {
    context.set_ready(true);
    while let Some(batch) = input.recv().await {
        // A full pipe or a slow disk may hold this up; other tasks of the runtime move to other threads meanwhile.
        let written = tokio::task::block_in_place(|| {
            target.write_all(batch.body())?;
            target.flush()?;
            sync(&target)
        });
        written.map_err(|error| SinkError::Write { path: name.to_string(), error })?;
        context.finish(batch);
    }
    Ok(())
}
