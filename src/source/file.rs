//! Files, one line an event: read once from beginning to end, or followed as they grow.
//!
//! Following keeps a checkpoint file with, for each path, its inode and how far it is done; it is written only behind the
//! acknowledgements. What it holds is one past the start of the last line that has ended, so a restart goes to that line
//! and passes over it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::lines::{Framer, read_some};
use super::{Source, SourceContext, SourceError};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::delivery::{BatchBuilder, Origin};

/// The options of `file`.
pub const DEF: ComponentDef = ComponentDef {
    name: "file",
    summary: "Reads lines of files, once or as they grow.",
    options: &[
        option("path", Kind::Strings, Fallback::Required, "Paths; `*` and `?` in the last part stand for names."),
        option("mode", Kind::Enum(&["read", "tail"]), Fallback::Text("read"), "`read` ends at the end, `tail` follows."),
        option(
            "start_position",
            Kind::Enum(&["beginning", "end"]),
            Fallback::Text("end"),
            "Where to begin with `tail` in a file that has no checkpoint and was there at the start.",
        ),
        option("sincedb_path", Kind::Path, Fallback::Text(CHECKPOINT), "The checkpoint file of `tail`; with `/dev/null` nothing is remembered. The default of a pipeline's second file source is `logproc-sincedb-2.json`, and so on."),
        option("stat_interval", Kind::Duration, Fallback::Text("1s"), "How often `tail` looks for new lines and files."),
        option("codec", Kind::Any, Fallback::None, "How a line becomes events."),
        option("max_event_bytes", Kind::Bytes, Fallback::Text("10MiB"), "A longer line is cut and goes to the dead letters."),
    ],
    example: "[source]\ntype = \"file\"\npath = \"/var/log/nginx/access.log\"\n",
};

/// The checkpoint file where none is named.
const CHECKPOINT: &str = "logproc-sincedb.json";

const BLOCK: usize = 256 << 10;

/// The file source as configured.
#[derive(Clone, Debug)]
pub struct FileSource {
    patterns: Vec<String>,
    tail: bool,
    from_end: bool,
    /// None where nothing is remembered.
    checkpoint: Option<PathBuf>,
    interval: Duration,
    max_event_bytes: usize,
}

impl FileSource {
    /// Builds the source from its options, without opening anything.
    ///
    /// # Errors
    /// A `*` elsewhere than in the last part of a path.
    pub fn from_args(args: &Args) -> Result<Self, Vec<Diagnostic>> {
        let patterns = args.strings("path");
        let wild_folder = |pattern: &&String| Path::new(pattern).parent().is_some_and(|folder| has_wildcard(&folder.to_string_lossy()));
        if let Some(pattern) = patterns.iter().find(wild_folder) {
            let message = format!("`{pattern}`: only the last part of a path may hold `*` or `?`");
            return Err(vec![Diagnostic::error(args.span_of("path"), message)]);
        }
        Ok(FileSource {
            patterns,
            tail: args.required_text("mode") == "tail",
            from_end: args.required_text("start_position") == "end",
            checkpoint: args.text("sincedb_path").filter(|path| path != "/dev/null").map(PathBuf::from),
            interval: args.duration("stat_interval").unwrap_or(Duration::from_secs(1)),
            max_event_bytes: args.bytes("max_event_bytes").unwrap_or(10 << 20) as usize,
        })
    }

    /// Keeps the checkpoint of a pipeline's second and later file sources apart from the first one's, where it has no
    /// name of its own.
    pub(crate) fn set_apart(&mut self, earlier: usize) {
        if earlier > 0 && self.checkpoint.as_deref() == Some(Path::new(CHECKPOINT)) {
            self.checkpoint = Some(PathBuf::from(format!("logproc-sincedb-{}.json", earlier + 1)));
        }
    }

    fn paths(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = self.patterns.iter().flat_map(|pattern| expand(pattern)).collect();
        paths.sort();
        paths.dedup();
        paths
    }
}

impl Source for FileSource {
    fn run(self: Box<Self>, context: SourceContext) -> Result<(), SourceError> {
        let mut reader = Reader { builder: context.builder(), context, files: Vec::new(), source: *self };
        reader.context.readiness().set(true);
        let result = if reader.source.tail { reader.follow() } else { reader.read_once() };
        let rest = std::mem::take(&mut reader.builder);
        reader.context.deliver(rest);
        reader.context.end_input();
        while reader.source.tail && !reader.context.is_drained() {
            reader.context.hub.wait_until(Duration::from_millis(50), |ledger| ledger.open_in_all() == 0);
            std::thread::park_timeout(Duration::from_millis(5));
        }
        if reader.source.tail {
            reader.save_checkpoint()?;
        }
        result
    }
}

/// How far each path is done.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Checkpoint {
    files: BTreeMap<String, Position>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Position {
    inode: u64,
    /// One past the start of the last line that has ended.
    done_to: i64,
}

struct Followed {
    name: String,
    file: File,
    inode: u64,
    position: u64,
    framer: Framer,
    origin: Origin,
    done_before: i64,
    /// The path has another file now, which is opened once all that was read of this one has ended.
    is_superseded: bool,
}

struct Reader {
    source: FileSource,
    context: SourceContext,
    builder: BatchBuilder,
    files: Vec<Followed>,
}

impl Reader {
    fn read_once(&mut self) -> Result<(), SourceError> {
        let paths = self.source.paths();
        if paths.is_empty() {
            return Err(SourceError::Nothing(format!("no file matches {}", self.source.patterns.join(", "))));
        }
        for path in paths {
            let mut followed = self.open(&path, 0)?;
            self.read_on(&mut followed)?;
            self.push_rest(&mut followed);
        }
        Ok(())
    }

    fn follow(&mut self) -> Result<(), SourceError> {
        let saved = self.load_checkpoint()?;
        let mut first = true;
        let mut saved_at = Instant::now();
        while !self.context.shutdown().is_requested() {
            for path in self.source.paths() {
                self.look_at(&path, &saved, first)?;
            }
            first = false;
            let mut files = std::mem::take(&mut self.files);
            for followed in files.iter_mut().filter(|followed| !followed.is_superseded) {
                self.read_on(followed)?;
            }
            self.files = files;
            if !self.flush() {
                break;
            }
            if saved_at.elapsed() >= Duration::from_secs(1) {
                self.save_checkpoint()?;
                saved_at = Instant::now();
            }
            let until = Instant::now() + self.source.interval;
            while Instant::now() < until && !self.context.shutdown().is_requested() {
                std::thread::park_timeout(Duration::from_millis(50).min(self.source.interval));
            }
        }
        Ok(())
    }

    /// Begins to follow a path that is new, or that has another file now.
    fn look_at(&mut self, path: &Path, saved: &Checkpoint, first: bool) -> Result<(), SourceError> {
        let name = path.display().to_string();
        let Ok(metadata) = std::fs::metadata(path) else { return Ok(()) };
        if let Some(at) = self.files.iter().position(|followed| followed.name == name) {
            let followed = &self.files[at];
            let same = followed.inode == metadata.ino();
            if !followed.is_superseded && same && metadata.len() >= followed.position {
                return Ok(());
            }
            let mut followed = self.files.swap_remove(at);
            if !followed.is_superseded {
                info!(path = name, truncated = same, "the file is another one now");
                followed.is_superseded = true;
                if !same {
                    self.read_on(&mut followed)?;
                    self.push_rest(&mut followed);
                }
                self.flush();
            }
            // The new file begins anew in the ledger, so what was read of the old one ends first; meanwhile other files go on.
            let is_drained = self.context.hub.ledger().open(&name, 0) == 0;
            let next = if is_drained { self.open(path, 0)? } else { followed };
            self.files.push(next);
            return Ok(());
        }
        let known = saved.files.get(&name).filter(|position| position.inode == metadata.ino());
        let mut opened = match known {
            Some(position) if position.done_to > 0 && position.done_to as u64 <= metadata.len() => {
                let mut opened = self.open(path, position.done_to as u64 - 1)?;
                opened.done_before = position.done_to;
                opened
            }
            None if first && self.source.from_end => self.open(path, metadata.len())?,
            _ => self.open(path, 0)?,
        };
        if opened.done_before > 0 {
            self.pass_over_line(&mut opened)?;
        }
        self.files.push(opened);
        Ok(())
    }

    fn open(&mut self, path: &Path, position: u64) -> Result<Followed, SourceError> {
        let name = path.display().to_string();
        let failed = |error| SourceError::File { path: name.clone(), error };
        let mut file = File::open(path).map_err(failed)?;
        file.seek(SeekFrom::Start(position)).map_err(failed)?;
        let inode = file.metadata().map_err(failed)?.ino();
        let origin = self.context.hub.ledger().assign(&name, 0);
        let framer = Framer::new(position, self.source.max_event_bytes);
        Ok(Followed { name, file, inode, position, framer, origin, done_before: 0, is_superseded: false })
    }

    /// Moves past the line at the present position, which has ended in an earlier run.
    fn pass_over_line(&mut self, followed: &mut Followed) -> Result<(), SourceError> {
        let failed = |error| SourceError::File { path: followed.name.clone(), error };
        let mut block = vec![0; BLOCK];
        loop {
            let length = followed.file.read(&mut block).map_err(failed)?;
            let newline = memchr::memchr(b'\n', &block[..length]);
            followed.position += newline.map_or(length, |newline| newline + 1) as u64;
            if newline.is_some() || length == 0 {
                break;
            }
        }
        followed.file.seek(SeekFrom::Start(followed.position)).map_err(failed)?;
        followed.framer = Framer::new(followed.position, self.source.max_event_bytes);
        Ok(())
    }

    /// Reads what there is now.
    fn read_on(&mut self, followed: &mut Followed) -> Result<(), SourceError> {
        let batch_bytes = self.context.settings.batch_bytes;
        while !self.context.shutdown().is_requested() {
            let origin = self.builder.origin(&followed.name, 0, || followed.origin.clone());
            let read = followed.framer.take(&mut self.builder, origin, |data| read_some(&followed.file, data, batch_bytes));
            match read {
                Ok(0) => break,
                Ok(length) => followed.position += length as u64,
                Err(error) => return Err(SourceError::File { path: followed.name.clone(), error }),
            }
            if self.context.is_full(&self.builder) && !self.flush() {
                break;
            }
        }
        Ok(())
    }

    fn push_rest(&mut self, followed: &mut Followed) {
        if !self.context.shutdown().is_requested() {
            let origin = self.builder.origin(&followed.name, 0, || followed.origin.clone());
            followed.framer.end(&mut self.builder, origin);
        }
    }

    fn flush(&mut self) -> bool {
        let fresh = self.context.builder();
        self.context.deliver(std::mem::replace(&mut self.builder, fresh))
    }

    fn load_checkpoint(&self) -> Result<Checkpoint, SourceError> {
        let Some(path) = &self.source.checkpoint else { return Ok(Checkpoint::default()) };
        let failed = |error| SourceError::File { path: path.display().to_string(), error };
        match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| failed(error.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Checkpoint::default()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Writes the checkpoint beside the old one and puts it in its place, so that no crash leaves half of it.
    fn save_checkpoint(&self) -> Result<(), SourceError> {
        let Some(path) = &self.source.checkpoint else { return Ok(()) };
        let mut checkpoint = self.load_checkpoint().unwrap_or_else(|error| {
            warn!(%error, "the checkpoint can't be read and is written anew");
            Checkpoint::default()
        });
        for followed in &self.files {
            let done_to = self.context.hub.ledger().done_to(&followed.name, 0).unwrap_or(followed.done_before);
            // What was done of a file that is gone says nothing of the one that took its place.
            let done_to = if followed.is_superseded { 0 } else { done_to };
            checkpoint.files.insert(followed.name.clone(), Position { inode: followed.inode, done_to });
        }
        let failed = |error| SourceError::File { path: path.display().to_string(), error };
        let beside = path.with_extension("tmp");
        let text = serde_json::to_vec_pretty(&checkpoint).map_err(|error| failed(error.into()))?;
        let mut file = File::create(&beside).map_err(failed)?;
        file.write_all(&text).and_then(|()| file.sync_data()).map_err(failed)?;
        std::fs::rename(&beside, path).map_err(failed)
    }
}

fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// The files that a pattern stands for; a path without wildcards stands for itself.
pub(crate) fn expand(pattern: &str) -> Vec<PathBuf> {
    if !has_wildcard(pattern) {
        return vec![PathBuf::from(pattern)];
    }
    let path = Path::new(pattern);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let files = entries.flatten().filter(|entry| entry.path().is_file());
    files.filter(|entry| matches(name.as_bytes(), entry.file_name().to_string_lossy().as_bytes())).map(|entry| entry.path()).collect()
}

/// Whether `name` fits a pattern of `*` (any text) and `?` (any one byte).
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=name.len()).any(|skipped| matches(rest, &name[skipped..])),
        (Some((b'?', rest)), Some((_, tail))) => matches(rest, tail),
        (Some((wanted, rest)), Some((got, tail))) => wanted == got && matches(rest, tail),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [("*.log", "a.log", true), ("*.log", "a.log.1", false), ("a?c", "abc", true), ("*", "", true)] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
