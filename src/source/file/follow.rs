//! Following files as they grow, are rotated and are truncated.
//!
//! A file is tracked by its identity, not by its path. If another file appears at a path, the old one is still read
//! until it has been inactive for a while, because its writer notices the rotation later than this source. Under its
//! new name it is still the same file. A file that has become shorter was truncated, and its new content is the next
//! generation.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::checkpoint::{self, Identity, Position};
use super::{FileSource, Open, Reader, expand};
use crate::source::SourceError;
use crate::source::lines::Framer;
use crate::telemetry::metrics as names;

/// Inactivity after which a file that is no longer at its path is closed, like Filebeat's `close_inactive`.
const CLOSE_INACTIVE: Duration = Duration::from_secs(300);
/// Interval between writes of the checkpoint.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum time between log lines about a checkpoint that can't be written.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Bytes read at once while skipping a line.
const BLOCK: usize = 256 << 10;

/// Follows files until a shutdown is requested, and then waits until everything that was read has completed.
///
/// # Errors
/// Fails if a file or the checkpoint can't be read, or if the checkpoint can't be written at the end.
pub(super) fn follow(source: FileSource, mut reader: Reader) -> Result<(), SourceError> {
    let _claim = match source.checkpoint.as_deref() {
        Some(path) => claim(path, &reader)?,
        None => None,
    };
    if reader.context.shutdown().is_requested() {
        reader.end();
        return Ok(());
    }
    let saved = source.checkpoint.as_deref().map(checkpoint::load).transpose()?.unwrap_or_default();
    let mut follower = Follower {
        source,
        reader,
        files: Vec::new(),
        saved,
        written: Vec::new(),
        saved_at: Instant::now(),
        failing: None,
        unreadable: HashSet::new(),
    };
    let result = follower.run();
    follower.reader.end();
    let context = &follower.reader.context;
    while !context.is_drained() {
        context.hub.wait_until(Duration::from_millis(50), |ledger| ledger.open_in_all() == 0);
        std::thread::park_timeout(Duration::from_millis(5));
    }
    follower.save_at_the_end()?;
    result
}

/// Waits until this process holds the checkpoint's lock, or a shutdown is requested.
fn claim(path: &Path, reader: &Reader) -> Result<Option<File>, SourceError> {
    let mut is_told = false;
    while !reader.context.shutdown().is_requested() {
        match checkpoint::claim(path)? {
            Ok(claimed) => return Ok(Some(claimed)),
            Err(reason) if !is_told => {
                warn!(path = %path.display(), reason, "waiting for the checkpoint");
                is_told = true;
            }
            Err(_) => {}
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    Ok(None)
}

/// A followed file.
struct Followed {
    open: Open,
    /// Identity of the file. `None` once it was truncated, because its new content is tracked as another file.
    identity: Option<Identity>,
    /// Position up to which the file was completed in an earlier run.
    done_before: i64,
    /// Time at which the file was found missing from its path, or was last read after that.
    away_since: Option<Instant>,
    /// Set when no more data is expected.
    is_closed: bool,
    /// Set when the checkpoint on disk contains this generation. The file is not read before that, because after a
    /// restart its lines would get other IDs.
    is_recorded: bool,
}

struct Follower {
    source: FileSource,
    reader: Reader,
    files: Vec<Followed>,
    /// Checkpoint entries of files that have not been found since the start.
    saved: Vec<Position>,
    /// Content of the checkpoint when it was last written.
    written: Vec<Position>,
    /// Time of the last attempt to write the checkpoint.
    saved_at: Instant,
    /// Time at which a failure to write the checkpoint was last logged; `None` if writing works.
    failing: Option<Instant>,
    /// Files that could not be read at the last attempt.
    unreadable: HashSet<PathBuf>,
}

impl Follower {
    fn run(&mut self) -> Result<(), SourceError> {
        self.look(true)?;
        while !self.reader.context.shutdown().is_requested() {
            for followed in self.files.iter_mut().filter(|followed| !followed.is_closed && followed.is_recorded) {
                let before = followed.open.position;
                self.reader.read_on(&mut followed.open)?;
                if followed.open.position > before && followed.away_since.is_some() {
                    followed.away_since = Some(Instant::now());
                }
            }
            self.close_inactive();
            if !self.reader.flush() {
                break;
            }
            if self.saved_at.elapsed() >= SAVE_INTERVAL {
                self.save();
            }
            self.pause();
            self.look(false)?;
        }
        Ok(())
    }

    fn pause(&self) {
        let until = Instant::now() + self.source.interval;
        while Instant::now() < until && !self.reader.context.shutdown().is_requested() {
            std::thread::park_timeout(Duration::from_millis(50).min(self.source.interval));
        }
    }

    /// Looks for new, rotated and truncated files.
    fn look(&mut self, first: bool) -> Result<(), SourceError> {
        let mut there = HashMap::new();
        for path in self.source.paths() {
            if let Ok(metadata) = std::fs::metadata(&path) {
                let identity = Identity::of(&metadata);
                self.look_at(&path, identity, metadata.len(), first)?;
                there.insert(path, identity);
            }
        }
        if first {
            self.find_rotated()?;
        }
        for followed in &mut self.files {
            let path = Path::new(&followed.open.name);
            // A path from the checkpoint may no longer match any pattern.
            let now = there
                .get(path)
                .copied()
                .or_else(|| std::fs::metadata(path).ok().map(|metadata| Identity::of(&metadata)));
            if now.is_some() && now == followed.identity {
                followed.away_since = None;
            } else {
                followed.away_since.get_or_insert_with(Instant::now);
            }
        }
        let there: HashSet<Identity> = there.into_values().collect();
        let ledger = self.reader.context.hub.ledger();
        let is_there = |followed: &Followed| followed.identity.is_some_and(|identity| there.contains(&identity));
        self.files.retain(|followed| {
            !followed.is_closed || is_there(followed) || ledger.open(&followed.open.name, followed.open.generation) > 0
        });
        drop(ledger);
        let is_new = self.files.iter().any(|followed| !followed.is_recorded);
        if is_new && (self.failing.is_none() || self.saved_at.elapsed() >= SAVE_INTERVAL) {
            self.save();
        }
        Ok(())
    }

    fn look_at(&mut self, path: &Path, identity: Identity, length: u64, first: bool) -> Result<(), SourceError> {
        if let Some(at) = self.files.iter().position(|followed| followed.identity == Some(identity)) {
            let followed = &mut self.files[at];
            if length >= followed.open.position {
                followed.is_closed &= length == followed.open.position;
                return Ok(());
            }
            self.reader.push_rest(&mut followed.open);
            (followed.identity, followed.is_closed) = (None, true);
            let name = followed.open.name.clone();
            let file =
                followed.open.file.try_clone().map_err(|error| SourceError::File { path: name.clone(), error })?;
            info!(path = name, "the file was truncated");
            return self.begin(file, &name, identity, 0);
        }
        let Some(file) = self.open(path, identity, first)? else { return Ok(()) };
        if let Some(at) = self.saved.iter().position(|position| position.identity == identity) {
            return self.resume(file, at, length);
        }
        let name = path.display().to_string();
        let is_known = self.generations(&name).next().is_some();
        if is_known {
            info!(path = name, "there is another file now");
        }
        let from_end = first && self.source.from_end && !is_known;
        self.begin(file, &name, identity, if from_end { length } else { 0 })
    }

    /// Opens a new file, if it is still the one at this path. A file that can't be read is an error at the start. Later
    /// it is only logged, and opening is retried.
    fn open(&mut self, path: &Path, identity: Identity, first: bool) -> Result<Option<File>, SourceError> {
        let opened = File::open(path).and_then(|file| Ok((Identity::of(&file.metadata()?), file)));
        match opened {
            Ok((found, file)) => {
                self.unreadable.remove(path);
                Ok((found == identity).then_some(file))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if first => Err(SourceError::File { path: path.display().to_string(), error }),
            Err(error) => {
                if self.unreadable.insert(path.to_path_buf()) {
                    warn!(path = %path.display(), %error, "a file can't be read; it is tried again");
                }
                Ok(None)
            }
        }
    }

    /// Continues with files that were rotated, since the checkpoint was written, to names that match no pattern.
    fn find_rotated(&mut self) -> Result<(), SourceError> {
        let (missing, others) = std::mem::take(&mut self.saved)
            .into_iter()
            .partition(|position| self.source.covers(Path::new(&position.path)));
        self.saved = missing;
        let paths = self.saved.iter().map(|position| PathBuf::from(&position.path));
        let folders = paths.flat_map(|path| [path.canonicalize().ok(), Some(path)]).flatten();
        let folders: BTreeSet<PathBuf> = folders.filter_map(|path| path.parent().map(Path::to_path_buf)).collect();
        for path in folders.iter().flat_map(|folder| expand(&folder.join("*").to_string_lossy())) {
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            let identity = Identity::of(&metadata);
            if let Some(at) = self.saved.iter().position(|position| position.identity == identity)
                && let Some(file) = self.open(&path, identity, true)?
            {
                self.resume(file, at, metadata.len())?;
            }
        }
        for gone in std::mem::replace(&mut self.saved, others) {
            warn!(
                path = gone.path,
                done_to = gone.done_to,
                "a file is gone since the last run; what had not been read of it is lost"
            );
        }
        Ok(())
    }

    /// Returns the known generations of a path.
    fn generations(&self, name: &str) -> impl Iterator<Item = i32> {
        let followed = self.files.iter().map(|followed| (&followed.open.name, followed.open.generation));
        let saved = self.saved.iter().map(|position| (&position.path, position.generation));
        followed.chain(saved).filter(move |(known, _)| *known == name).map(|(_, generation)| generation)
    }

    /// Starts reading a new file, or a truncated one as a new generation.
    fn begin(&mut self, file: File, name: &str, identity: Identity, position: u64) -> Result<(), SourceError> {
        let generation = self.generations(name).max().map_or(0, |last| last + 1);
        let open = self.reader.open(file, name, generation, position)?;
        // For a restart, the content skipped at the start counts as completed.
        let is_recorded = self.source.checkpoint.is_none();
        self.push(open, identity, i64::try_from(position).unwrap_or(i64::MAX), is_recorded);
        Ok(())
    }

    /// Continues with a file of an earlier run.
    fn resume(&mut self, file: File, saved: usize, length: u64) -> Result<(), SourceError> {
        let Position { path: name, generation, identity, done_to } = self.saved[saved].clone();
        let done = u64::try_from(done_to).unwrap_or(0);
        if done > length {
            info!(path = name, "the file was truncated");
            self.begin(file, &name, identity, 0)?;
        } else {
            let mut open = self.reader.open(file, &name, generation, done.saturating_sub(1))?;
            if done > 0 {
                self.pass_over_line(&mut open)?;
            }
            self.push(open, identity, done_to, true);
        }
        self.saved.swap_remove(saved);
        Ok(())
    }

    fn push(&mut self, open: Open, identity: Identity, done_before: i64, is_recorded: bool) {
        self.files.push(Followed {
            open,
            identity: Some(identity),
            done_before,
            away_since: None,
            is_closed: false,
            is_recorded,
        });
    }

    /// Skips the line at the current position, which has completed in an earlier run.
    fn pass_over_line(&self, open: &mut Open) -> Result<(), SourceError> {
        let failed = |error| SourceError::File { path: open.name.clone(), error };
        let mut block = vec![0; BLOCK];
        loop {
            let length = open.file.read(&mut block).map_err(failed)?;
            let newline = memchr::memchr(b'\n', &block[..length]);
            open.position += newline.map_or(length, |newline| newline + 1) as u64;
            if newline.is_some() || length == 0 {
                break;
            }
        }
        open.file.seek(SeekFrom::Start(open.position)).map_err(failed)?;
        open.framer = Framer::new(open.position, self.source.max_event_bytes);
        Ok(())
    }

    /// Closes files that are no longer at their path and have been inactive for long.
    fn close_inactive(&mut self) {
        let is_over = |followed: &Followed| followed.away_since.is_some_and(|since| since.elapsed() >= CLOSE_INACTIVE);
        for followed in
            self.files.iter_mut().filter(|followed| !followed.is_closed && followed.is_recorded && is_over(followed))
        {
            self.reader.push_rest(&mut followed.open);
            followed.is_closed = true;
        }
    }

    /// Writes the checkpoint if it has changed. If that fails, delivery continues and the next call retries: after a
    /// crash, what has completed since the last write is read again, with the same IDs. Only new files have to wait.
    fn save(&mut self) {
        let result = self.try_save();
        self.saved_at = Instant::now();
        match (result, self.failing) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => {
                info!(path = self.checkpoint_name(), "the checkpoint can be written again");
                self.failing = None;
            }
            (Err(error), logged) => {
                metrics::counter!(names::CHECKPOINT_RETRIES).increment(1);
                if logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
                    let waiting = self.files.iter().filter(|followed| !followed.is_recorded).count();
                    error!(%error, files_waiting = waiting, "failed to write the checkpoint; retrying");
                    self.failing = Some(self.saved_at);
                }
            }
        }
    }

    /// Writes the checkpoint when everything has completed, retrying until the stop is forced.
    fn save_at_the_end(&mut self) -> Result<(), SourceError> {
        loop {
            self.save();
            let shutdown = self.reader.context.shutdown();
            if self.failing.is_none() || !shutdown.is_requested() || shutdown.is_forced() {
                // Another attempt, to return its error.
                return self.try_save();
            }
            std::thread::park_timeout(SAVE_INTERVAL);
        }
    }

    fn try_save(&mut self) -> Result<(), SourceError> {
        let Some(path) = &self.source.checkpoint else { return Ok(()) };
        let ledger = self.reader.context.hub.ledger();
        let followed = self.files.iter().filter_map(|followed| {
            let open = &followed.open;
            let done_to = ledger.done_to(&open.name, open.generation).unwrap_or(followed.done_before);
            Some(Position {
                path: open.name.clone(),
                generation: open.generation,
                identity: followed.identity?,
                done_to,
            })
        });
        let positions: Vec<Position> = self.saved.iter().cloned().chain(followed).collect();
        drop(ledger);
        if positions != self.written {
            checkpoint::save(path, &positions)?;
            self.written = positions;
        }
        self.files.iter_mut().for_each(|followed| followed.is_recorded = true);
        Ok(())
    }

    fn checkpoint_name(&self) -> String {
        self.source.checkpoint.as_deref().map(|path| path.display().to_string()).unwrap_or_default()
    }
}
