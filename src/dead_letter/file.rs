//! Dead letters as JSON lines in a local file, synced before they count.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::DeadLetter;

/// The file; it is created with its folder when the first dead letter comes.
pub(super) struct FileTarget {
    path: PathBuf,
}

impl FileTarget {
    pub(super) fn new(path: PathBuf) -> Self {
        FileTarget { path }
    }

    /// Appends lines and syncs them. The file is opened anew each time, so it may be moved away while the process runs.
    pub(super) async fn append<'a>(&mut self, letters: impl Iterator<Item = DeadLetter<'a>>) -> Result<(), String> {
        let mut text = Vec::new();
        for letter in letters {
            text.extend_from_slice(letter.to_json().as_bytes());
            text.push(b'\n');
        }
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || append(&path, &text)).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("{}: {error}", self.path.display())),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn append(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let is_new = !path.exists();
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let before = file.metadata()?.len();
    if let Err(error) = file.write_all(text).and_then(|()| file.sync_data()) {
        // Half a line must not stay: all of it is written again.
        file.set_len(before)?;
        return Err(error);
    }
    if is_new {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
