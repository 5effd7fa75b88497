//! Files that are reloaded while a pipeline runs: dictionaries, lists of networks.
//!
//! A file is checked between batches by the first worker after its interval has passed; the others continue with the
//! current content. If the new content can't be used, the old content stays in use.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

/// A function that loads a file, given the previous content.
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
    /// Loads a file that is checked again every `interval`, or never if it is `None`.
    ///
    /// # Errors
    /// Returns a message with the file's path if it can't be used.
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

    /// Returns the content that was loaded last.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reloads the file if its interval has passed and it has changed.
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
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "changed file not usable, keeping the old content")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_when_it_has_changed_and_can_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let write = |text: &str, age: u64| {
            std::fs::write(&path, text).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(age)).unwrap();
        };
        let load = |path: &Path, old: Option<&u32>| {
            let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
            let number: u32 = text.parse().map_err(|_| "no number".to_string())?;
            Ok(number + old.copied().unwrap_or(0))
        };
        write("1", 100);
        let file = Reloaded::open(path.clone(), Some(Duration::ZERO), load).unwrap();
        let never = Reloaded::open(path.clone(), None, load).unwrap();
        file.refresh();
        assert_eq!(*file.current(), 1, "unchanged");
        write("20", 200);
        file.refresh();
        never.refresh();
        assert_eq!((*file.current(), *never.current()), (21, 1), "the old content is known to what reads the new");
        write("x", 300);
        file.refresh();
        assert_eq!(*file.current(), 21, "what can't be used changes nothing");
        assert!(Reloaded::open(folder.path().join("none"), None, load).is_err_and(|error| error.contains("none")));
    }
}
