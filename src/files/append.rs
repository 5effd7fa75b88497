//! Appending of whole lines to a file to which other processes may append as well.
//!
//! A process that is killed while it writes leaves a line without its end, and a full disk leaves part of a line. So a
//! write starts with a newline if the file does not end with one, and a failed write is undone. Both happen under the
//! file's lock (`flock`), so what is cut off can't be another process's line.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Once;
use std::time::{Duration, Instant};

use tracing::warn;

/// Time for which a write waits for the lock of another process.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Opens a file for appending and creates it if it does not exist.
///
/// # Errors
/// Fails if the file can't be opened.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // Read access is needed to check the last byte. A pipe has none, and if it were opened for reading as well, writing
    // would not fail when its reader is gone.
    let is_readable = std::fs::metadata(path).map_or(true, |metadata| metadata.is_file());
    OpenOptions::new().create(true).append(true).read(is_readable).open(path)
}

/// Appends whole lines, preceded by a newline if the file's last line has no end. A text whose own last line has no end
/// is appended as it is. With `durable`, returns only when the data is on disk.
///
/// # Errors
/// Fails if the lines were not written, or may not be on disk. What was written of them is cut off again if possible;
/// in any case the next call starts a new line.
pub(crate) fn append_lines(file: &File, lines: &[u8], durable: bool) -> io::Result<()> {
    append_with(file, lines, durable, |mut file, bytes| file.write(bytes))
}

fn append_with(
    file: &File,
    lines: &[u8],
    durable: bool,
    mut write: impl FnMut(&File, &[u8]) -> io::Result<usize>,
) -> io::Result<()> {
    let is_regular = file.metadata()?.is_file();
    let lock = if is_regular { Lock::acquire(file)? } else { None };
    let before = file.metadata()?.len();
    let mut written = 0;
    let result = (|| {
        if is_regular && lines.ends_with(b"\n") && !ends_with_newline(file, before)? {
            write_all(file, b"\n", &mut written, &mut write)?;
        }
        write_all(file, lines, &mut written, &mut write)?;
        if durable { file.sync_data() } else { Ok(()) }
    })();
    // Data of a process that appends without the lock must not be cut off.
    if result.is_err() && lock.is_some() && file.metadata().is_ok_and(|metadata| metadata.len() == before + written) {
        let _ = file.set_len(before);
    }
    result
}

fn write_all(
    file: &File,
    mut bytes: &[u8],
    written: &mut u64,
    write: &mut impl FnMut(&File, &[u8]) -> io::Result<usize>,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(file, bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(length) => {
                *written += length as u64;
                bytes = &bytes[length..];
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn ends_with_newline(file: &File, length: u64) -> io::Result<bool> {
    let Some(last) = length.checked_sub(1) else { return Ok(true) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte == *b"\n")
}

/// The lock of a file, held until it is dropped.
struct Lock<'f>(&'f File);

impl<'f> Lock<'f> {
    /// Acquires the lock. Returns `None` if the file system does not support locks.
    fn acquire(file: &'f File) -> io::Result<Option<Lock<'f>>> {
        static NO_LOCKS: Once = Once::new();
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Lock(file))),
                Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_PATIENCE => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => {
                    let message = format!(
                        "another process has held the lock of the file for {} seconds",
                        LOCK_PATIENCE.as_secs()
                    );
                    return Err(io::Error::new(ErrorKind::WouldBlock, message));
                }
                Err(TryLockError::Error(error)) => {
                    NO_LOCKS.call_once(|| warn!(%error, "failed to lock a file that lines are appended to; only one process may write to it"));
                    return Ok(None);
                }
            }
        }
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // Closing the file releases the lock as well.
        let _ = self.0.unlock();
    }
}

/// Returns the device and inode, which distinguish a file from an earlier one at its path.
pub(crate) fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Creates a folder and its missing ancestors, and syncs them, so that they survive a crash of the system.
///
/// # Errors
/// Fails if a folder can't be created or synced.
pub(crate) fn create_folders(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        create_folders(above)?;
    }
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists || !folder.is_dir() => Err(error),
        _ => sync_folder_of(folder),
    }
}

/// Makes the directory entry of a file or folder durable. Otherwise a file that was created and synced may be missing
/// after a power failure.
///
/// # Errors
/// Fails if the folder can't be synced.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Nothing more can be done if folders can't be read, or the file system can't sync them.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        (folder, path)
    }

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    /// Returns a writer that writes `room` bytes and then fails like a full disk.
    fn full_after(mut room: usize) -> impl FnMut(&File, &[u8]) -> io::Result<usize> {
        move |mut file, bytes| {
            let part = &bytes[..bytes.len().min(room)];
            room -= part.len();
            if part.is_empty() { Err(ErrorKind::StorageFull.into()) } else { file.write(part) }
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_continued() {
        let (_folder, path) = file();
        append_lines(&open(&path).unwrap(), b"one\n", true).unwrap();
        append_lines(&open(&path).unwrap(), b"two\n", true).unwrap();
        std::fs::write(&path, "one\ntw").unwrap();
        let appender = open(&path).unwrap();
        append_lines(&appender, b"three\n", true).unwrap();
        assert_eq!(text(&path), "one\ntw\nthree\n");
        // Another process is killed in the middle of a line while this one has the file open.
        (&open(&path).unwrap()).write_all(b"fo").unwrap();
        append_lines(&appender, b"five\n", true).unwrap();
        assert_eq!(text(&path), "one\ntw\nthree\nfo\nfive\n");
        append_lines(&appender, b"6", true).unwrap();
        append_lines(&appender, b"7", true).unwrap();
        assert_eq!(text(&path), "one\ntw\nthree\nfo\nfive\n67", "text without lines has none");
    }

    #[test]
    fn a_write_that_fails_is_taken_back_whole() {
        let (_folder, path) = file();
        for (begun, room) in [("", 0), ("", 4), ("one\n", 6), ("one\ntw", 0), ("one\ntw", 1), ("one\ntw", 3)] {
            std::fs::write(&path, begun).unwrap();
            let failed = append_with(&open(&path).unwrap(), b"three\nfour\n", true, full_after(room));
            assert_eq!(failed.unwrap_err().kind(), ErrorKind::StorageFull);
            assert_eq!(text(&path), begun, "room for {room} bytes");
        }
    }

    #[test]
    fn a_write_that_fails_cuts_nothing_off_that_came_after_it() {
        let (_folder, path) = file();
        std::fs::write(&path, "one\n").unwrap();
        let (mut full, beside) = (full_after(2), path.clone());
        let failed = append_with(&open(&path).unwrap(), b"three\n", false, |file, bytes| {
            let result = full(file, bytes);
            if result.is_err() {
                // A program that does not take the lock appends meanwhile.
                (&open(&beside).unwrap()).write_all(b"\ntheirs\n")?;
            }
            result
        });
        assert!(failed.is_err());
        assert_eq!(text(&path), "one\nth\ntheirs\n");
    }

    #[test]
    fn writers_of_one_file_wait_for_each_other() {
        let (_folder, path) = file();
        let long = |letter: char| format!("{}\n", letter.to_string().repeat(5_000));
        std::thread::scope(|scope| {
            for letter in ['a', 'b', 'c'] {
                let (path, line) = (&path, long(letter));
                scope.spawn(move || {
                    for round in 0..40 {
                        let file = open(path).unwrap();
                        // Every other write fails after half a line.
                        match round % 2 {
                            0 => {
                                append_with(&file, line.as_bytes(), false, full_after(2_500)).unwrap_err().kind()
                                    == ErrorKind::StorageFull
                            }
                            _ => append_lines(&file, line.as_bytes(), false).is_ok(),
                        };
                    }
                });
            }
        });
        let text = text(&path);
        for letter in ['a', 'b', 'c'] {
            assert_eq!(
                text.lines().filter(|line| line.len() == 5_000 && line.chars().all(|found| found == letter)).count(),
                20
            );
        }
        assert_eq!(text.lines().count(), 60, "no half line is left");
    }

    #[test]
    fn folders_are_created_and_what_is_no_file_is_written_to() {
        let (folder, _) = file();
        let path = folder.path().join("a/b/lines");
        create_folders(path.parent().unwrap()).unwrap();
        append_lines(&open(&path).unwrap(), b"one\n", true).unwrap();
        sync_folder_of(&path).unwrap();
        append_lines(&open(Path::new("/dev/null")).unwrap(), b"one\n", false).unwrap();
        let full = append_lines(&open(Path::new("/dev/full")).unwrap(), b"one\n", false);
        assert_eq!(full.unwrap_err().kind(), ErrorKind::StorageFull);
    }
}
