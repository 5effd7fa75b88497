//! Files that are read again while a pipeline runs: dictionaries, lists of networks.
//!
//! A file is looked at between batches, by whichever worker comes first after its interval; the others go on with what
//! they have. One that can't be used leaves the old content in place.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

/// Reads a file, given what was read before.
type Load<T> = Box<dyn Fn(&Path, Option<&T>) -> Result<T, String> + Send + Sync>;

/// The content of a file that may change.
pub struct Reloaded<T> {
    path: PathBuf,
    interval: Option<Duration>,
    load: Load<T>,
    current: RwLock<Arc<T>>,
    looked: Mutex<(Instant, Option<SystemTime>)>,
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

impl<T> Reloaded<T> {
    /// Reads a file that is looked at again every `interval`, or never.
    ///
    /// # Errors
    /// Names the file and says why it can't be used.
    pub fn open(
        path: PathBuf,
        interval: Option<Duration>,
        load: impl Fn(&Path, Option<&T>) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Arc<Reloaded<T>>, String> {
        let version = modified(&path);
        let first = load(&path, None).map_err(|error| format!("`{}`: {error}", path.display()))?;
        Ok(Arc::new(Reloaded {
            path,
            interval,
            load: Box::new(load),
            current: RwLock::new(Arc::new(first)),
            looked: Mutex::new((Instant::now(), version)),
        }))
    }

    /// What was read last.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the file again if its time has come and it has changed.
    pub fn refresh(&self) {
        let (Some(interval), Ok(mut looked)) = (self.interval, self.looked.try_lock()) else { return };
        if looked.0.elapsed() < interval {
            return;
        }
        let version = modified(&self.path);
        let changed = version != looked.1;
        *looked = (Instant::now(), version);
        if !changed {
            return;
        }
        match (self.load)(&self.path, Some(&self.current())) {
            Ok(content) => *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(content),
            Err(error) => tracing::warn!(path = %self.path.display(), %error, "changed file not usable, keeping the old content"),
        }
    }
}
