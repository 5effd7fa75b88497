//! Memory-mapped database files.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use maxminddb::Mmap;

/// A mapped file. Clones share the mapping.
#[derive(Clone)]
pub struct Mapped(pub(super) Arc<Mmap>);

/// Maps a database file.
///
/// Only a mapping lets processes and restarts share one copy of a database of many megabytes. Mapping is unsafe because
/// the bytes change if the file is modified in place. Updaters replace the file by renaming (geoipupdate, the chart's
/// job), which does not affect the mapped file.
#[allow(unsafe_code)]
pub fn map(path: &Path) -> std::io::Result<Mapped> {
    let file = File::open(path)?;
    // SAFETY: the file is only read, and replaced by renaming, never rewritten in place (documented in the filter's
    // reference); readers check every offset that they follow.
    unsafe { Mmap::map(&file) }.map(|mapped| Mapped(Arc::new(mapped)))
}
