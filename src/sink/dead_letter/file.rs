//! Dead letters as JSON lines in a local file, synced before they count.

use std::path::{Path, PathBuf};

use super::DeadLetter;
use crate::files::append;

/// The file; it is created with its folder when the first dead letter comes.
pub(super) struct FileTarget {
    path: PathBuf,
    /// The file whose entry in its folder this process has synced. One that was found may be of a process that was killed before it did so.
    entry_synced: Option<(u64, u64)>,
}

impl FileTarget {
    pub(super) fn new(path: PathBuf) -> Self {
        FileTarget { path, entry_synced: None }
    }

    /// Appends lines and syncs them. The file is opened anew each time, so it may be moved away while the process runs.
    pub(super) async fn append<'a>(&mut self, letters: impl Iterator<Item = DeadLetter<'a>>) -> Result<(), String> {
        let mut text = Vec::new();
        for letter in letters {
            text.extend_from_slice(letter.to_json().as_bytes());
            text.push(b'\n');
        }
        let (path, entry_synced) = (self.path.clone(), self.entry_synced);
        let written = tokio::task::spawn_blocking(move || append(&path, &text, entry_synced)).await;
        match written {
            Ok(Ok(identity)) => {
                self.entry_synced = Some(identity);
                Ok(())
            }
            Ok(Err(error)) => Err(format!("{}: {error}", self.path.display())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Appends lines to the file and returns its identity; the entry of another file than `entry_synced` is synced as well.
fn append(path: &Path, text: &[u8], entry_synced: Option<(u64, u64)>) -> std::io::Result<(u64, u64)> {
    if let Some(folder) = path.parent() {
        append::create_folders(folder)?;
    }
    let file = append::open(path)?;
    append::append_lines(&file, text, true)?;
    let identity = append::identity(&file)?;
    if entry_synced != Some(identity) {
        append::sync_folder_of(path)?;
    }
    Ok(identity)
}
