//! A database file in memory.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use maxminddb::Mmap;

/// A mapped file. A copy of this is another hold on the same mapping.
#[derive(Clone)]
pub struct Mapped(pub(super) Arc<Mmap>);

/// Maps a database file.
///
/// A mapping is the only way to share one copy of a database of many megabytes between processes and restarts, and it is
/// marked unsafe because the bytes change when somebody writes into the file in place. Updaters replace the
/// file by renaming (geoipupdate, the chart's job), which leaves the mapped one untouched.
#[allow(unsafe_code)]
pub fn map(path: &Path) -> std::io::Result<Mapped> {
    let file = File::open(path)?;
    // SAFETY: the file is only read, and replaced by renaming, never rewritten in place (documented in the filter's
    // reference); whoever reads it checks every offset that is followed.
    unsafe { Mmap::map(&file) }.map(|mapped| Mapped(Arc::new(mapped)))
}
