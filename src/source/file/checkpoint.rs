//! The checkpoint file with the positions of followed files, which Logstash calls a sincedb.
//!
//! It is written only after the acknowledgements. Per file it holds one past the start of the last line that has
//! completed, so a restart seeks to that line and skips it.

use std::fs::{File, Metadata, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::files::append;
use crate::source::SourceError;

/// The identity of a file, independent of its path: its inode and its creation time, because inodes of deleted files
/// are reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Identity {
    inode: u64,
    /// Creation time in nanoseconds since 1970; `None` if the file system does not record it.
    created: Option<u64>,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Identity {
        let since = metadata.created().ok().and_then(|created| created.duration_since(UNIX_EPOCH).ok());
        Identity { inode: metadata.ino(), created: since.and_then(|since| u64::try_from(since.as_nanos()).ok()) }
    }
}

/// The position of one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Path at which the file was found.
    pub path: String,
    /// Number of the file, from 0, among those that have had this path.
    pub generation: i32,
    #[serde(flatten)]
    pub identity: Identity,
    /// One past the start of the last line that has completed; 0 if none has.
    pub done_to: i64,
}

/// Acquires the lock of a checkpoint for this process, held as long as the returned file is open. The inner error is
/// the reason to wait: another process holds the lock, or the disk has no room for the lock file. Two processes that
/// write to one checkpoint would make it wrong for both.
///
/// # Errors
/// Fails if the lock file can't be created for another reason.
pub(super) fn claim(path: &Path) -> Result<Result<File, String>, SourceError> {
    let beside = path.with_extension("lock");
    let file = match File::create(&beside) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            return Ok(Err(format!("{}: {error}", beside.display())));
        }
        Err(error) => return Err(SourceError::File { path: beside.display().to_string(), error }),
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(Err("another process follows files with this checkpoint".to_string())),
        Ok(()) => Ok(Ok(file)),
        Err(TryLockError::Error(error)) => {
            warn!(path = %beside.display(), %error, "a lock can't be had here: no two processes may follow with this checkpoint");
            Ok(Ok(file))
        }
    }
}

/// Reads a checkpoint. Returns an empty one if the file does not exist.
///
/// # Errors
/// Fails if the file can't be read or is invalid.
pub(super) fn load(path: &Path) -> Result<Vec<Position>, SourceError> {
    let failed = |error| SourceError::File { path: path.display().to_string(), error };
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| failed(error.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

/// Writes a checkpoint to a temporary file and renames it, so that a crash never leaves a partial one.
///
/// # Errors
/// Fails if the file can't be written.
pub(super) fn save(path: &Path, positions: &[Position]) -> Result<(), SourceError> {
    let write = || {
        let beside = path.with_extension("tmp");
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(positions)?)?;
        file.sync_data()?;
        std::fs::rename(&beside, path)?;
        append::sync_folder_of(path)
    };
    write().map_err(|error| SourceError::File { path: path.display().to_string(), error })
}
