//! Files followed as they grow, are rotated and are truncated.
//!
//! A file is known by its identity, not by its path. When another file comes to be at a path, the old one is read on until nothing has come
//! for a while: who writes to it learns of the rotation later than we do. Under its new name it is still the same file. A file that
//! has become shorter was truncated, and what it holds now is the next generation.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::checkpoint::{self, Identity, Position};
use super::{FileSource, Open, Reader, expand};
use crate::observe::metrics as names;
use crate::source::SourceError;
use crate::source::lines::Framer;

/// For how long nothing must have come of a file that is no longer at its path for it to be closed: Filebeat's `close_inactive`.
const CLOSE_INACTIVE: Duration = Duration::from_secs(300);
/// How often the checkpoint is written.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the log says at most that the checkpoint can't be written.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// How much of a line is read at once to pass over it.
const BLOCK: usize = 256 << 10;

/// Follows files until the order to stop, and then until all that was read has ended.
///
/// # Errors
/// A file can't be read, or the checkpoint can't be read, or can't be written at the end.
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
    let mut follower =
        Follower { source, reader, files: Vec::new(), saved, written: Vec::new(), saved_at: Instant::now(), failing: None, unreadable: HashSet::new() };
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

/// Waits until the checkpoint is this process' own, or for the order to stop.
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

/// One file.
struct Followed {
    open: Open,
    /// `None` once it has been truncated: then it is another one.
    identity: Option<Identity>,
    /// How far it was done in an earlier run.
    done_before: i64,
    /// Since when it is no longer at its path, or something last came of it there.
    away_since: Option<Instant>,
    /// Nothing more is expected of it.
    is_closed: bool,
    /// The checkpoint on disk holds its generation. Before that nothing is read of it: a restart would give its lines other ids.
    is_recorded: bool,
}

struct Follower {
    source: FileSource,
    reader: Reader,
    files: Vec<Followed>,
    /// What the checkpoint says of files that have not been found since the start.
    saved: Vec<Position>,
    /// What was last written to the checkpoint.
    written: Vec<Position>,
    /// When the checkpoint was last written, or could not be.
    saved_at: Instant,
    /// The log says that the checkpoint can't be written, since this time.
    failing: Option<Instant>,
    /// Files that could not be read when they were last tried.
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

    /// Finds out what files there are.
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
            // A name from the checkpoint may be one that no pattern stands for any more.
            let now = there.get(path).copied().or_else(|| std::fs::metadata(path).ok().map(|metadata| Identity::of(&metadata)));
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
            let file = followed.open.file.try_clone().map_err(|error| SourceError::File { path: name.clone(), error })?;
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

    /// Opens a file that is new, if it is still the one at this path. One that can't be read is an error at the start; later others
    /// go on without it, and it is tried again.
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

    /// Goes on with files that have been rotated since the checkpoint was written, to names that no pattern stands for.
    fn find_rotated(&mut self) -> Result<(), SourceError> {
        let (missing, others) = std::mem::take(&mut self.saved).into_iter().partition(|position| self.source.covers(Path::new(&position.path)));
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
            warn!(path = gone.path, done_to = gone.done_to, "a file is gone since the last run; what had not been read of it is lost");
        }
        Ok(())
    }

    /// The generations of a path that are known.
    fn generations(&self, name: &str) -> impl Iterator<Item = i32> {
        let followed = self.files.iter().map(|followed| (&followed.open.name, followed.open.generation));
        let saved = self.saved.iter().map(|position| (&position.path, position.generation));
        followed.chain(saved).filter(move |(known, _)| *known == name).map(|(_, generation)| generation)
    }

    /// Begins with a file that is new, or has become shorter than it was.
    fn begin(&mut self, file: File, name: &str, identity: Identity, position: u64) -> Result<(), SourceError> {
        let generation = self.generations(name).max().map_or(0, |last| last + 1);
        let open = self.reader.open(file, name, generation, position)?;
        // What is passed over at the start has ended, as far as a restart is concerned.
        let is_recorded = self.source.checkpoint.is_none();
        self.push(open, identity, i64::try_from(position).unwrap_or(i64::MAX), is_recorded);
        Ok(())
    }

    /// Goes on with a file of an earlier run.
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
        self.files.push(Followed { open, identity: Some(identity), done_before, away_since: None, is_closed: false, is_recorded });
    }

    /// Moves past the line at the present position, which has ended in an earlier run.
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

    /// Closes files that are away and of which nothing has come for long.
    fn close_inactive(&mut self) {
        let is_over = |followed: &Followed| followed.away_since.is_some_and(|since| since.elapsed() >= CLOSE_INACTIVE);
        for followed in self.files.iter_mut().filter(|followed| !followed.is_closed && followed.is_recorded && is_over(followed)) {
            self.reader.push_rest(&mut followed.open);
            followed.is_closed = true;
        }
    }

    /// Writes the checkpoint if it has changed. Where that fails, delivery goes on and the next call tries again: what has ended since is
    /// read again after a crash, with the same ids. Only files that are new wait.
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

    /// Writes the checkpoint when everything has ended, and tries until the order to let go.
    fn save_at_the_end(&mut self) -> Result<(), SourceError> {
        loop {
            self.save();
            let shutdown = self.reader.context.shutdown();
            if self.failing.is_none() || !shutdown.is_requested() || shutdown.is_forced() {
                // One attempt more, for its error.
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
            Some(Position { path: open.name.clone(), generation: open.generation, identity: followed.identity?, done_to })
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
