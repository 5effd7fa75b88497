//! The databases' information about an address, serialised as JSON.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde::Serialize;

use super::database::Opened;
use super::fields::{GeoField, ROWS, Row, defaults};
use super::record::{Found, Places, Wanted};
use crate::memory::fetch;

/// A serialiser of the information about addresses, with reusable buffers.
pub struct Describer {
    databases: Vec<Database>,
    ecs: bool,
    /// Row numbers in output order, in which rows with a common parent are adjacent.
    order: Vec<usize>,
    places: Places,
    text: Vec<u8>,
}

struct Database {
    opened: Arc<Opened>,
    rows: Vec<usize>,
    wanted: Wanted,
    is_city: bool,
}

/// The value of a row.
enum Piece<'a> {
    Found(Found<'a>),
    Text(String),
    /// Latitude and longitude.
    Location(Found<'a>, Found<'a>),
}

impl Describer {
    /// Returns a describer for these databases, with the given fields, or with those that Logstash adds for each type
    /// of database.
    pub fn new(opened: &[Arc<Opened>], fields: Option<&[GeoField]>, ecs: bool) -> Describer {
        let databases = opened.iter().map(|opened| {
            let fields = fields.unwrap_or_else(|| defaults(opened.kind(), ecs));
            let chosen = |row: &Row| fields.contains(&row.field);
            let rows: Vec<usize> = (0..ROWS.len()).filter(|row| chosen(&ROWS[*row])).collect();
            // A location needs latitude and longitude; a region's ISO code needs the country's code and the region's
            // own.
            let needed = |row: &&Row| match row.field {
                GeoField::Latitude | GeoField::Longitude => chosen(row) || fields.contains(&GeoField::Location),
                GeoField::CountryCode2 | GeoField::RegionCode => {
                    chosen(row) || fields.contains(&GeoField::RegionIsoCode)
                }
                _ => chosen(row),
            };
            Database {
                opened: Arc::clone(opened),
                rows,
                wanted: Wanted::new(ROWS.iter().filter(needed)),
                is_city: opened.kind().contains("City"),
            }
        });
        let mut order: Vec<usize> = (0..ROWS.len()).filter(|row| !ecs || !ROWS[*row].ecs.is_empty()).collect();
        // Sorts by the first row of each parent.
        let first = |row: usize, depth: usize| {
            let path = ROWS[row].ecs.get(..=depth);
            path.map(|path| ROWS.iter().position(|other| other.ecs.get(..=depth) == Some(path)))
        };
        if ecs {
            order.sort_by_key(|row| (first(*row, 0), first(*row, 1), first(*row, 2)));
        }
        Describer { databases: databases.collect(), ecs, order, places: Places::default(), text: Vec::new() }
    }

    /// Appends the offset of an address's record in each database. Addresses with the same records have the same
    /// information, except for fields of the address itself.
    pub fn records_of(&self, address: IpAddr, records: &mut Vec<Option<usize>>) {
        records.extend(self.databases.iter().map(|database| database.opened.record_of(address)));
    }

    /// Prefetches the table entries at which the lookups of an address start.
    pub fn fetch_starts(&self, address: Ipv4Addr) {
        self.databases.iter().for_each(|database| database.opened.tree().fetch_start(address));
    }

    /// Prefetches the nodes at which the lookups of an address start.
    pub fn fetch_nodes(&self, address: Ipv4Addr) {
        for database in &self.databases {
            let tree = database.opened.tree();
            tree.start_of(address).into_iter().for_each(|start| tree.fetch_node(start));
        }
    }

    /// Prefetches records of any number of addresses.
    pub fn fetch_records(&self, records: &[Option<usize>]) {
        for (database, record) in self.databases.iter().cycle().zip(records) {
            record.and_then(|at| database.opened.data().get(at)).into_iter().for_each(fetch);
        }
    }

    /// Returns the fields of an address with these records as the text of a JSON object; `None` if nothing is known.
    pub fn describe(&mut self, address: IpAddr, records: &[Option<usize>]) -> Option<&str> {
        let Describer { databases, ecs, order, places, text } = self;
        let mut pieces: [Option<Piece<'_>>; ROWS.len()] = [const { None }; ROWS.len()];
        let mut any = false;
        for (database, record) in databases.iter().zip(records) {
            let Some(at) = *record else { continue };
            let data = database.opened.data();
            database.wanted.find(data, at, places);
            let value = |field| database.wanted.value(data, places, field);
            let piece = |row: &usize| piece_of(&database.opened, &value, ROWS[*row].field, address);
            // Logstash treats an empty city record as an unknown address; other databases still add the address.
            let says_something = |row: &usize| ROWS[*row].field != GeoField::Ip && piece(row).is_some();
            if database.is_city && !database.rows.iter().any(says_something) {
                continue;
            }
            for row in &database.rows {
                if let Some(piece) = piece(row) {
                    any |= !*ecs || !ROWS[*row].ecs.is_empty();
                    pieces[*row] = Some(piece);
                }
            }
        }
        if !any {
            return None;
        }
        text.clear();
        text.push(b'{');
        let mut parents: &[&str] = &[];
        for row in order.iter() {
            let Some(piece) = &pieces[*row] else { continue };
            let path: &[&str] = if *ecs { ROWS[*row].ecs } else { std::slice::from_ref(&ROWS[*row].legacy) };
            let Some((name, above)) = path.split_last() else { continue };
            // Coordinates are written as part of the location if that is present as a whole.
            let is_inside = matches!(ROWS[*row].field, GeoField::Latitude | GeoField::Longitude) && *ecs;
            if is_inside
                && ROWS.iter().zip(&pieces).any(|(row, piece)| row.field == GeoField::Location && piece.is_some())
            {
                continue;
            }
            let shared = parents.iter().zip(above).take_while(|(one, other)| one == other).count();
            text.resize(text.len() + parents.len() - shared, b'}');
            for parent in &above[shared..] {
                begin(text, parent);
                text.push(b'{');
            }
            parents = above;
            begin(text, name);
            piece.print(text);
        }
        text.resize(text.len() + parents.len() + 1, b'}');
        std::str::from_utf8(text).ok()
    }
}

fn piece_of<'a>(
    opened: &Opened,
    value: &dyn Fn(GeoField) -> Option<Found<'a>>,
    field: GeoField,
    address: IpAddr,
) -> Option<Piece<'a>> {
    match field {
        GeoField::Ip => Some(Piece::Text(java_address(address))),
        GeoField::Location => Some(Piece::Location(value(GeoField::Latitude)?, value(GeoField::Longitude)?)),
        GeoField::RegionIsoCode => match (value(GeoField::CountryCode2)?, value(GeoField::RegionCode)?) {
            (Found::Text(country), Found::Text(region)) => Some(Piece::Text(format!("{country}-{region}"))),
            _ => None,
        },
        GeoField::Network => opened.network_of(address).map(Piece::Text),
        other => value(other).or_else(|| other.is_flag().then_some(Found::Flag(false))).map(Piece::Found),
    }
}

impl Piece<'_> {
    fn print(&self, text: &mut Vec<u8>) {
        match self {
            Piece::Found(found) => print(text, found),
            Piece::Text(value) => write(text, value),
            Piece::Location(latitude, longitude) => {
                text.extend_from_slice(b"{\"lat\":");
                print(text, latitude);
                text.extend_from_slice(b",\"lon\":");
                print(text, longitude);
                text.push(b'}');
            }
        }
    }
}

fn print(text: &mut Vec<u8>, found: &Found<'_>) {
    match found {
        Found::Text(value) => write(text, value),
        Found::Unsigned(value) => write(text, value),
        Found::Signed(value) => write(text, value),
        Found::Double(value) => write(text, value),
        // DB-IP's coordinates are single precision: as a double, `8.6821` would print as `8.682100296020508`.
        Found::Single(value) => write(text, value),
        Found::Flag(value) => write(text, value),
    }
}

fn write(text: &mut Vec<u8>, value: impl Serialize) {
    let length = text.len();
    if serde_json::to_writer(&mut *text, &value).is_err() {
        text.truncate(length);
        text.extend_from_slice(b"null");
    }
}

/// Writes the comma before an entry, unless it is the first one, and its name.
fn begin(text: &mut Vec<u8>, name: &str) {
    if text.last() != Some(&b'{') {
        text.push(b',');
    }
    write(text, name);
    text.push(b':');
}

/// Returns an address in the form in which Java prints it, which Logstash writes: IPv6 without `::`.
fn java_address(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let groups: Vec<String> = address.segments().iter().map(|group| format!("{group:x}")).collect();
            groups.join(":")
        }
    }
}
