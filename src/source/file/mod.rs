//! The file source: one event per line, from files that are read once or followed as they grow.
//!
//! To the rest of the pipeline a file is a topic whose name is its absolute path, with offsets in bytes. If another
//! file appears at the path, because logs were rotated or truncated, it is a further partition of the topic: a
//! generation.

mod checkpoint;
mod follow;

use crate::files::glob::expand;

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::files::glob::{matches, name_of};

use super::SourceError;
use super::archive::unpack;
use super::lines::{Framer, read_some};
use crate::config::{Args, ComponentDef, Fallback, Kind, option};
use crate::delivery::{BatchBuilder, Origin};
use crate::delivery::{Source, SourceContext, SourceFailure};

/// The options of `file`.
pub const DEF: ComponentDef = ComponentDef {
    name: "file",
    summary: "Reads lines of files, once or as they grow.",
    options: &[
        option(
            "path",
            Kind::Strings,
            Fallback::Required,
            "Paths. `*`, `?`, `[a-z]` and `{a,b}` in any part stand for names, `**` for folders at any depth (links to folders are not followed).",
        ),
        option(
            "exclude",
            Kind::Strings,
            Fallback::None,
            "Names of files to leave out, without their folders; `*` and `?` stand for anything and for one character.",
        ),
        option(
            "mode",
            Kind::Enum(&["read", "tail"]),
            Fallback::Text("read"),
            "`read` ends at the end and unpacks files whose names end in `.gz` or `.zst`; `tail` follows, and leaves packed files out, so that a \
             path may cover the names that logs are rotated to.",
        ),
        option(
            "start_position",
            Kind::Enum(&["beginning", "end"]),
            Fallback::Text("end"),
            "Where to begin with `tail` in a file that was there at the start and whose path is not in the checkpoint.",
        ),
        option(
            "sincedb_path",
            Kind::Path,
            Fallback::Text(CHECKPOINT),
            "The checkpoint file of `tail`: how far each file is done, for one process at a time. With `/dev/null` nothing is remembered. The default of a pipeline's second file source is `logproc-sincedb-2.json`, and so on.",
        ),
        option(
            "stat_interval",
            Kind::Duration,
            Fallback::Text("1s"),
            "How often `tail` looks for new lines and files.",
        ),
        option("codec", Kind::Any, Fallback::None, "How a line becomes events."),
        option(
            "ecs_compatibility",
            Kind::Enum(&["disabled", "v1", "v8"]),
            Fallback::None,
            "Which field the path of a line's file goes to: `[log][file][path]`, or `[path]` with `disabled`. The pipeline's `ecs_compatibility` by default.",
        ),
        option(
            "max_event_bytes",
            Kind::Bytes,
            Fallback::Text("10MiB"),
            "A longer line is cut and goes to the dead letters.",
        ),
    ],
    example: "[source]\ntype = \"file\"\npath = \"/var/log/nginx/access.log\"\n",
};

/// Default name of the checkpoint file.
const CHECKPOINT: &str = "logproc-sincedb.json";

/// Extensions of compressed files. Their content was in a file that was followed before it was rotated.
const PACKED: [&str; 9] = ["gz", "gzip", "bz2", "lz4", "tgz", "xz", "zip", "zst", "zstd"];

/// Maximum number of bytes decompressed at once.
const BLOCK: usize = 256 << 10;

/// The configured file source.
#[derive(Clone, Debug)]
pub struct FileSource {
    patterns: Vec<String>,
    exclude: Vec<String>,
    tail: bool,
    from_end: bool,
    /// Path of the checkpoint file; `None` if positions are not stored.
    checkpoint: Option<PathBuf>,
    interval: Duration,
    max_event_bytes: usize,
}

impl FileSource {
    /// Builds the source from its options, without opening anything.
    pub fn from_args(args: &Args) -> Self {
        FileSource {
            patterns: args.strings("path"),
            exclude: args.strings("exclude"),
            tail: args.required_text("mode") == "tail",
            from_end: args.required_text("start_position") == "end",
            checkpoint: args.text("sincedb_path").filter(|path| path != "/dev/null").map(PathBuf::from),
            interval: args.duration("stat_interval").unwrap_or(Duration::from_secs(1)),
            max_event_bytes: args.bytes("max_event_bytes").unwrap_or(10 << 20) as usize,
        }
    }

    /// Gives a pipeline's second and later file sources a checkpoint file of their own, if they use the default name.
    /// `earlier` is the number of file sources before this one.
    pub(crate) fn set_apart(&mut self, earlier: usize) {
        if earlier > 0 && self.checkpoint.as_deref() == Some(Path::new(CHECKPOINT)) {
            self.checkpoint = Some(PathBuf::from(format!("logproc-sincedb-{}.json", earlier + 1)));
        }
    }

    /// Makes it remember nothing, and begin where `start_position` says.
    pub(crate) fn detach(&mut self) {
        self.checkpoint = None;
    }

    /// Whether it goes on at the end of its files.
    pub(crate) fn follows(&self) -> bool {
        self.tail
    }

    /// Returns the checkpoint file, if positions are stored.
    pub(crate) fn checkpoint(&self) -> Option<&Path> {
        self.checkpoint.as_deref().filter(|_| self.tail)
    }

    /// Whether a pattern stands for this absolute path.
    pub(crate) fn covers(&self, path: &Path) -> bool {
        let mut patterns = self.patterns.iter().filter_map(|pattern| std::path::absolute(pattern).ok());
        !self.leaves_out(path) && patterns.any(|pattern| crate::files::glob::covers(&pattern, path))
    }

    fn leaves_out(&self, path: &Path) -> bool {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let is_packed = self.tail && PACKED.contains(&extension);
        is_packed || self.exclude.iter().any(|pattern| matches(pattern.as_bytes(), name_of(path).as_bytes()))
    }

    /// Returns the absolute paths of the existing files that the patterns match.
    fn paths(&self) -> Vec<PathBuf> {
        let found = self.patterns.iter().flat_map(|pattern| expand(pattern)).filter(|path| !self.leaves_out(path));
        let mut paths: Vec<PathBuf> = found.map(|path| std::path::absolute(&path).unwrap_or(path)).collect();
        paths.sort();
        paths.dedup();
        paths
    }
}

impl Source for FileSource {
    fn reads_once(&self) -> bool {
        !self.follows()
    }

    fn run(self: Box<Self>, context: SourceContext) -> Result<(), SourceFailure> {
        context.readiness().set(true);
        let reader = Reader { builder: context.builder(), context, max_event_bytes: self.max_event_bytes };
        Ok(if self.tail { follow::follow(*self, reader) } else { read_once(&self, reader) }?)
    }
}

fn read_once(source: &FileSource, mut reader: Reader) -> Result<(), SourceError> {
    let paths = source.paths();
    let mut read = || {
        if paths.is_empty() {
            return Err(SourceError::Nothing(format!("no file matches {}", source.patterns.join(", "))));
        }
        paths.iter().try_for_each(|path| {
            let name = path.display().to_string();
            let opened = File::open(path).and_then(|file| Ok((unpack(path, &file)?, file)));
            let (unpacked, file) = opened.map_err(|error| SourceError::File { path: name.clone(), error })?;
            let mut open = Open { unpacked, ..reader.open(file, &name, 0, 0)? };
            reader.read_on(&mut open)?;
            reader.push_rest(&mut open);
            Ok(())
        })
    };
    let result = read();
    reader.end();
    result
}

/// A file that is being read.
struct Open {
    /// Path that the lines belong to.
    name: String,
    /// Number of the file among those that have had this path.
    generation: i32,
    file: File,
    /// Offset in bytes up to which the file has been read.
    position: u64,
    framer: Framer,
    origin: Origin,
    /// Decompressed content, if the file is compressed.
    unpacked: Option<Box<dyn Read>>,
}

/// A reader that adds the content of files to batches.
struct Reader {
    context: SourceContext,
    builder: BatchBuilder,
    max_event_bytes: usize,
}

impl Reader {
    /// Opens a file for reading from `position` on, as generation `generation` of path `name`.
    fn open(&mut self, mut file: File, name: &str, generation: i32, position: u64) -> Result<Open, SourceError> {
        file.seek(SeekFrom::Start(position)).map_err(|error| SourceError::File { path: name.to_string(), error })?;
        let origin = self.context.hub.ledger().assign(name, generation);
        let framer = Framer::new(position, self.max_event_bytes);
        Ok(Open { name: name.to_string(), generation, file, position, framer, origin, unpacked: None })
    }

    /// Reads what is available now.
    fn read_on(&mut self, open: &mut Open) -> Result<(), SourceError> {
        let batch_bytes = self.context.settings.batch_bytes;
        while !self.context.shutdown().is_requested() {
            let origin = self.builder.origin(&open.name, open.generation, || open.origin.clone());
            let read = open.framer.take(&mut self.builder, origin, |data| match &mut open.unpacked {
                None => read_some(&open.file, data, batch_bytes),
                Some(unpacked) => unpacked.take(BLOCK as u64).read_to_end(data),
            });
            match read {
                Ok(0) => break,
                Ok(length) => open.position += length as u64,
                Err(error) => return Err(SourceError::File { path: open.name.clone(), error }),
            }
            if self.context.is_full(&self.builder) && !self.flush() {
                break;
            }
        }
        Ok(())
    }

    /// Adds an unterminated last line as a record, because no more data will follow.
    fn push_rest(&mut self, open: &mut Open) {
        if !self.context.shutdown().is_requested() {
            let origin = self.builder.origin(&open.name, open.generation, || open.origin.clone());
            open.framer.end(&mut self.builder, origin);
        }
    }

    /// Delivers what has been read. Returns `false` when the run is over.
    fn flush(&mut self) -> bool {
        let fresh = self.context.builder();
        self.context.deliver(std::mem::replace(&mut self.builder, fresh))
    }

    /// Delivers the remaining records and closes the input.
    fn end(&mut self) {
        self.flush();
        self.context.end_input();
    }
}
