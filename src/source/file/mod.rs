//! Files, one line an event: read once from beginning to end, or followed as they grow.
//!
//! To what stands behind a source a file is a topic whose name is its absolute path, with offsets in bytes. Other files that come to
//! be at that path, as logs are rotated or truncated, are further partitions of it: generations.

mod checkpoint;
mod follow;
mod pattern;

pub(crate) use pattern::expand;

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pattern::{matches, name_of};

use super::archive::unpack;
use super::lines::{Framer, read_some};
use super::{Source, SourceContext, SourceError};
use crate::config::{Args, ComponentDef, Fallback, Kind, option};
use crate::delivery::{BatchBuilder, Origin};

/// The options of `file`.
pub const DEF: ComponentDef = ComponentDef {
    name: "file",
    summary: "Reads lines of files, once or as they grow.",
    options: &[
        option("path", Kind::Strings, Fallback::Required, "Paths. `*`, `?`, `[a-z]` and `{a,b}` in any part stand for names, `**` for folders at any depth (links to folders are not followed)."),
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
        option("sincedb_path", Kind::Path, Fallback::Text(CHECKPOINT), "The checkpoint file of `tail`: how far each file is done, for one process at a time. With `/dev/null` nothing is remembered. The default of a pipeline's second file source is `logproc-sincedb-2.json`, and so on."),
        option("stat_interval", Kind::Duration, Fallback::Text("1s"), "How often `tail` looks for new lines and files."),
        option("codec", Kind::Any, Fallback::None, "How a line becomes events."),
        option(
            "ecs_compatibility",
            Kind::Enum(&["disabled", "v1", "v8"]),
            Fallback::None,
            "Which field the path of a line's file goes to: `[log][file][path]`, or `[path]` with `disabled`. The pipeline's `ecs_compatibility` by default.",
        ),
        option("max_event_bytes", Kind::Bytes, Fallback::Text("10MiB"), "A longer line is cut and goes to the dead letters."),
    ],
    example: "[source]\ntype = \"file\"\npath = \"/var/log/nginx/access.log\"\n",
};

/// The checkpoint file where none is named.
const CHECKPOINT: &str = "logproc-sincedb.json";

/// How names of packed files end. What is in them was in a file that was followed.
const PACKED: [&str; 9] = ["gz", "gzip", "bz2", "lz4", "tgz", "xz", "zip", "zst", "zstd"];

/// How much of a packed file is unpacked at once.
const BLOCK: usize = 256 << 10;

/// The file source as configured.
#[derive(Clone, Debug)]
pub struct FileSource {
    patterns: Vec<String>,
    exclude: Vec<String>,
    tail: bool,
    from_end: bool,
    /// None where nothing is remembered.
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

    /// Keeps the checkpoint of a pipeline's second and later file sources apart from the first one's, where it has no
    /// name of its own.
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

    /// The checkpoint file, if anything is remembered.
    pub(crate) fn checkpoint(&self) -> Option<&Path> {
        self.checkpoint.as_deref().filter(|_| self.tail)
    }

    /// Whether a pattern stands for this absolute path.
    pub(crate) fn covers(&self, path: &Path) -> bool {
        let mut patterns = self.patterns.iter().filter_map(|pattern| std::path::absolute(pattern).ok());
        !self.leaves_out(path) && patterns.any(|pattern| pattern::covers(&pattern, path))
    }

    fn leaves_out(&self, path: &Path) -> bool {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let is_packed = self.tail && PACKED.contains(&extension);
        is_packed || self.exclude.iter().any(|pattern| matches(pattern.as_bytes(), name_of(path).as_bytes()))
    }

    /// The files that there are now, by their absolute paths.
    fn paths(&self) -> Vec<PathBuf> {
        let found = self.patterns.iter().flat_map(|pattern| expand(pattern)).filter(|path| !self.leaves_out(path));
        let mut paths: Vec<PathBuf> = found.map(|path| std::path::absolute(&path).unwrap_or(path)).collect();
        paths.sort();
        paths.dedup();
        paths
    }
}

impl Source for FileSource {
    fn run(self: Box<Self>, context: SourceContext) -> Result<(), SourceError> {
        context.readiness().set(true);
        let reader = Reader { builder: context.builder(), context, max_event_bytes: self.max_event_bytes };
        if self.tail { follow::follow(*self, reader) } else { read_once(&self, reader) }
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
    /// The path that its lines belong to.
    name: String,
    /// Which of the files of that path it is.
    generation: i32,
    file: File,
    /// How far it has been read.
    position: u64,
    framer: Framer,
    origin: Origin,
    /// What it is unpacked to.
    unpacked: Option<Box<dyn Read>>,
}

/// Puts what files hold into batches.
struct Reader {
    context: SourceContext,
    builder: BatchBuilder,
    max_event_bytes: usize,
}

impl Reader {
    /// Begins to read a file from `position` on, as one of those of a path.
    fn open(&mut self, mut file: File, name: &str, generation: i32, position: u64) -> Result<Open, SourceError> {
        file.seek(SeekFrom::Start(position)).map_err(|error| SourceError::File { path: name.to_string(), error })?;
        let origin = self.context.hub.ledger().assign(name, generation);
        let framer = Framer::new(position, self.max_event_bytes);
        Ok(Open { name: name.to_string(), generation, file, position, framer, origin, unpacked: None })
    }

    /// Reads what there is now.
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

    /// Nothing will come any more: what has been read of a line without an end is a line.
    fn push_rest(&mut self, open: &mut Open) {
        if !self.context.shutdown().is_requested() {
            let origin = self.builder.origin(&open.name, open.generation, || open.origin.clone());
            open.framer.end(&mut self.builder, origin);
        }
    }

    /// Delivers what has been read; answers whether the run goes on.
    fn flush(&mut self) -> bool {
        let fresh = self.context.builder();
        self.context.deliver(std::mem::replace(&mut self.builder, fresh))
    }

    /// Delivers the rest; nothing more will come.
    fn end(&mut self) {
        self.flush();
        self.context.end_input();
    }
}
