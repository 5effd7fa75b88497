//! Geo databases: mapped into memory, shared by all workers, opened again when their file changes.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use maxminddb::{LookupResult, Mmap, PathElement, Reader};
use serde_json::Value;

use super::fields::{GeoField, ROWS, Row, defaults};

/// No path of the table of fields is longer.
const LONGEST_PATH: usize = 4;

/// How often a database's file is looked at for a newer one.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// One opened state of a database file.
pub struct Opened {
    reader: Reader<Mmap>,
    version: FileVersion,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FileVersion {
    modified: Option<SystemTime>,
    length: u64,
}

/// A database file that may be replaced while it is used.
pub struct Database {
    path: PathBuf,
    current: RwLock<Arc<Opened>>,
    generation: AtomicU64,
    looked: Mutex<Instant>,
}

/// Maps a database file.
///
/// A mapping is the only way to share one copy of a database of many megabytes between processes and restarts, and the
/// crate marks it unsafe because the bytes change when somebody writes into the file in place. Updaters replace the
/// file by renaming (geoipupdate, the chart's job), which leaves the mapped one untouched.
#[allow(unsafe_code)]
fn map(path: &Path) -> Result<Reader<Mmap>, String> {
    // SAFETY: the file is only read, and replaced by renaming, never rewritten in place (documented in the filter's
    // reference); the reader checks every offset that it follows.
    unsafe { Reader::open_mmap(path) }.map_err(|error| error.to_string())
}

fn open(path: &Path) -> Result<Opened, String> {
    let version = version_of(path).ok_or_else(|| "the file can't be read".to_string())?;
    Ok(Opened { reader: map(path)?, version })
}

fn version_of(path: &Path) -> Option<FileVersion> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(FileVersion { modified: metadata.modified().ok(), length: metadata.len() })
}

impl Database {
    /// Opens a database.
    ///
    /// # Errors
    /// Says in words why it can't be used.
    pub fn open(path: &Path) -> Result<Database, String> {
        let opened = open(path).map_err(|error| format!("`{}` is not a usable database: {error}", path.display()))?;
        Ok(Database {
            path: path.to_path_buf(),
            current: RwLock::new(Arc::new(opened)),
            generation: AtomicU64::new(0),
            looked: Mutex::new(Instant::now()),
        })
    }

    /// The state of the file that was opened last.
    pub fn current(&self) -> Arc<Opened> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts the times the database was replaced.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Opens the file again if it has changed, looking at it every few seconds at most. One that can't be used leaves
    /// the old one in place.
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
            Err(error) => tracing::warn!(path = %self.path.display(), %error, "changed geo database not usable, keeping the old one"),
        }
    }
}

impl Opened {
    /// What kind of database it is, such as `GeoLite2-City`.
    pub fn kind(&self) -> &str {
        &self.reader.metadata().database_type
    }

    /// Where the database keeps its record of an address; addresses of one network, and of networks that are alike,
    /// share a record. `None` where it has none.
    pub fn record_of(&self, address: IpAddr) -> Option<usize> {
        self.reader.lookup(address).ok()?.offset()
    }

    /// The chosen fields of an address (those of Logstash for this kind of database where `fields` is `None`), with
    /// what they hold; `None` where the database does not know it.
    pub fn lookup(&self, address: IpAddr, fields: Option<&[GeoField]>, ecs: bool) -> Option<Vec<(&'static Row, Value)>> {
        // An IPv4 database answers an IPv6 address with an error, which here is just "not known".
        let result = self.reader.lookup(address).ok().filter(LookupResult::has_data)?;
        let fields = fields.unwrap_or_else(|| defaults(&self.reader.metadata().database_type, ecs));
        let mut found = Vec::with_capacity(fields.len());
        for row in ROWS.iter().filter(|row| fields.contains(&row.field)) {
            if let Some(value) = read(&result, row, address) {
                found.push((row, value));
            }
        }
        // A city record that says nothing is an unknown address to Logstash; other databases still give the address.
        let nothing = found.iter().all(|(row, _)| row.field == GeoField::Ip);
        if nothing && self.reader.metadata().database_type.contains("City") { None } else { Some(found) }
    }
}

fn read(result: &LookupResult<'_, Mmap>, row: &Row, address: IpAddr) -> Option<Value> {
    match row.field {
        GeoField::Ip => Some(Value::String(java_address(address))),
        GeoField::Location => {
            let latitude = field(result, GeoField::Latitude)?;
            let longitude = field(result, GeoField::Longitude)?;
            Some(serde_json::json!({ "lat": latitude, "lon": longitude }))
        }
        GeoField::RegionIsoCode => {
            let country = field(result, GeoField::CountryCode2)?;
            let region = field(result, GeoField::RegionCode)?;
            Some(Value::String(format!("{}-{}", country.as_str()?, region.as_str()?)))
        }
        GeoField::Network => result.network().ok().map(|network| Value::String(network.to_string())),
        other => field(result, other).or_else(|| other.is_flag().then_some(Value::Bool(false))),
    }
}

fn field(result: &LookupResult<'_, Mmap>, field: GeoField) -> Option<Value> {
    let row = ROWS.iter().find(|row| row.field == field)?;
    row.paths.iter().find_map(|path| {
        let mut elements = [const { PathElement::Index(0) }; LONGEST_PATH];
        for (element, name) in elements.iter_mut().zip(*path) {
            *element = if *name == "last" { PathElement::IndexFromEnd(0) } else { PathElement::Key(name) };
        }
        let elements = &elements[..path.len()];
        let value = match field {
            GeoField::Latitude | GeoField::Longitude => coordinate(result, elements)?,
            _ => result.decode_path::<Value>(elements).ok().flatten()?,
        };
        let empty = value.as_str().is_some_and(str::is_empty);
        (!empty && !value.is_object() && !value.is_array()).then_some(value)
    })
}

/// A coordinate; DB-IP's are single precision, which would print as `8.682100296020508` where `8.6821` is meant.
fn coordinate(result: &LookupResult<'_, Mmap>, path: &[PathElement<'_>]) -> Option<Value> {
    let number = match result.decode_path::<f64>(path) {
        Ok(number) => number?,
        Err(_) => {
            let single = result.decode_path::<f32>(path).ok().flatten()?;
            single.to_string().parse().ok()?
        }
    };
    serde_json::Number::from_f64(number).map(Value::Number)
}

/// An address as Java prints it, which is what Logstash writes: IPv6 without `::`.
fn java_address(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let groups: Vec<String> = address.segments().iter().map(|group| format!("{group:x}")).collect();
            groups.join(":")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn city_of(database: &Database) -> Option<String> {
        let found = database.current().lookup("81.2.69.142".parse().unwrap(), Some(&[GeoField::CityName]), true)?;
        found.first().and_then(|(_, value)| value.as_str().map(str::to_string))
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
