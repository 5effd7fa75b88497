//! How far files are done, in a file of its own: what Logstash calls a sincedb.
//!
//! It is written only behind the acknowledgements. What it holds of a file is one past the start of the last line that has ended, so a
//! restart goes to that line and passes over it.

use std::fs::{File, Metadata, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::append;
use crate::source::SourceError;

/// What tells a file from others, whatever its path: its inode, and when that was made, since inodes of files that are gone are
/// given to new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Identity {
    inode: u64,
    /// Nanoseconds since 1970; null where the file system does not say.
    created: Option<u64>,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Identity {
        let since = metadata.created().ok().and_then(|created| created.duration_since(UNIX_EPOCH).ok());
        Identity { inode: metadata.ino(), created: since.and_then(|since| u64::try_from(since.as_nanos()).ok()) }
    }
}

/// How far one file is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Where it was when it was found.
    pub path: String,
    /// Which of the files that were there it is, from 0.
    pub generation: i32,
    #[serde(flatten)]
    pub identity: Identity,
    /// One past the start of the last line that has ended; 0 if none has.
    pub done_to: i64,
}

/// Makes a checkpoint this process' own, for as long as the file that is returned is open. The inner error is why that has to wait:
/// another process has it, or the disk has no room for the file beside it. What two wrote to one would be true of neither.
///
/// # Errors
/// The file beside it that is locked can't be made.
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

/// Reads a checkpoint; an empty one where there is no file.
///
/// # Errors
/// It can't be read, or is none.
pub(super) fn load(path: &Path) -> Result<Vec<Position>, SourceError> {
    let failed = |error| SourceError::File { path: path.display().to_string(), error };
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| failed(error.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

/// Writes a checkpoint beside the old one and puts it in its place, so that no crash leaves half of it.
///
/// # Errors
/// It can't be written.
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
