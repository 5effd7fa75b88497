//! Geo databases: memory-mapped, shared by all workers, reopened when their file changes.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use maxminddb::Reader;

use super::mapped::{Mapped, map};
use super::tree::Tree;

/// Minimum time between checks for a newer database file.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// An opened version of a database file.
pub struct Opened {
    reader: Reader<Mapped>,
    tree: Tree,
    version: FileVersion,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FileVersion {
    modified: Option<SystemTime>,
    length: u64,
}

/// A database file that may be replaced while it is in use.
pub struct Database {
    path: PathBuf,
    current: RwLock<Arc<Opened>>,
    generation: AtomicU64,
    looked: Mutex<Instant>,
}

fn open(path: &Path) -> Result<Opened, String> {
    let version = version_of(path).ok_or_else(|| "the file can't be read".to_string())?;
    let mapped = map(path).map_err(|error| error.to_string())?;
    let reader = Reader::from_source(mapped.clone()).map_err(|error| error.to_string())?;
    let tree = Tree::new(mapped, reader.metadata()).ok_or("its parts do not fit its length")?;
    Ok(Opened { reader, tree, version })
}

fn version_of(path: &Path) -> Option<FileVersion> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(FileVersion { modified: metadata.modified().ok(), length: metadata.len() })
}

impl Database {
    /// Opens a database.
    ///
    /// # Errors
    /// Returns a message if the file can't be used as a database.
    pub fn open(path: &Path) -> Result<Database, String> {
        let opened = open(path).map_err(|error| format!("`{}` is not a usable database: {error}", path.display()))?;
        Ok(Database {
            path: path.to_path_buf(),
            current: RwLock::new(Arc::new(opened)),
            generation: AtomicU64::new(0),
            looked: Mutex::new(Instant::now()),
        })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the version of the file that was opened last.
    pub fn current(&self) -> Arc<Opened> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the number of times the database was replaced.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Reopens the file if it has changed, checking it at most every five seconds. If the new file can't be used, the
    /// old one stays in use.
    pub fn refresh(&self) {
        let Ok(mut looked) = self.looked.try_lock() else { return };
        if looked.elapsed() >= LOOK_EVERY {
            *looked = Instant::now();
            self.look();
        }
    }

    fn look(&self) {
        let version = version_of(&self.path);
        if version.is_none() || version.as_ref() == Some(&self.current().version) {
            return;
        }
        match open(&self.path) {
            Ok(opened) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(opened);
                self.generation.fetch_add(1, Ordering::Release);
                tracing::info!(path = %self.path.display(), "geo database replaced");
            }
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "changed geo database not usable, keeping the old one")
            }
        }
    }
}

impl Opened {
    /// Returns the type of the database, such as `GeoLite2-City`.
    pub fn kind(&self) -> &str {
        &self.reader.metadata().database_type
    }

    /// Returns whether this is one of the small databases with made-up data that MaxMind publishes for tests.
    pub fn is_for_tests(&self) -> bool {
        self.reader.metadata().description.values().any(|text| text.contains("Test Database"))
    }

    /// Returns the offset of an address's record; `None` if there is none. Addresses of one network, and of networks
    /// with equal data, share a record.
    pub fn record_of(&self, address: IpAddr) -> Option<usize> {
        self.tree.find(address)
    }

    /// Returns the search tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Returns the data section, which contains the records.
    pub fn data(&self) -> &[u8] {
        self.tree.data()
    }

    /// Returns the network that an address's record covers.
    pub fn network_of(&self, address: IpAddr) -> Option<String> {
        let network = self.reader.lookup(address).ok()?.network().ok()?;
        Some(network.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::describe::Describer;
    use super::super::fields::GeoField;
    use super::*;

    fn city_of(database: &Database) -> Option<String> {
        let address = "81.2.69.142".parse().unwrap();
        let mut describer = Describer::new(&[database.current()], Some(&[GeoField::CityName]), false);
        let mut records = Vec::new();
        describer.records_of(address, &mut records);
        let found: serde_json::Value = serde_json::from_str(describer.describe(address, &records)?).unwrap();
        found["city_name"].as_str().map(str::to_string)
    }

    #[test]
    fn a_replaced_file_is_opened_again_and_a_broken_one_is_not() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/geoip");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("geo.mmdb");
        let replace_with = |bytes: &[u8]| {
            let fresh = folder.path().join("fresh");
            std::fs::write(&fresh, bytes).unwrap();
            std::fs::rename(&fresh, &path).unwrap();
        };
        replace_with(&std::fs::read(data.join("GeoLite2-ASN-Test.mmdb")).unwrap());
        let database = Database::open(&path).unwrap();
        assert_eq!(city_of(&database), None);

        replace_with(b"no database");
        database.look();
        assert_eq!(database.generation(), 0);

        replace_with(&std::fs::read(data.join("GeoLite2-City-Test.mmdb")).unwrap());
        database.look();
        assert_eq!(database.generation(), 1);
        assert_eq!(city_of(&database).as_deref(), Some("London"));

        database.look();
        assert_eq!(database.generation(), 1);
    }
}
