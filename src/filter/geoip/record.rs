//! Reading of the fields of one database record, in a single pass.
//!
//! A record is a map, flat or nested, in MaxMind's encoding: a byte with type and size before each value, and pointers
//! to shared values. The data may be corrupt: invalid values are treated as missing.

use super::fields::{GeoField, Row};

/// Maximum depth of nested maps that are read or skipped.
const DEEPEST: usize = 32;

/// A value of a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found<'a> {
    Text(&'a str),
    Unsigned(u64),
    Signed(i32),
    Double(f64),
    Single(f32),
    Flag(bool),
}

/// The fields to read from the records of a database, as a tree of their keys.
#[derive(Default)]
pub struct Wanted {
    keys: Vec<Branch>,
    /// Per field and path, the number of its value.
    numbers: Vec<(GeoField, usize)>,
}

struct Branch {
    key: &'static str,
    value: Option<usize>,
    inner: Vec<Branch>,
}

/// The offsets of the wanted values in one record.
#[derive(Default)]
pub struct Places(Vec<Option<usize>>);

impl Wanted {
    /// Returns a tree with all paths of these rows.
    pub fn new<'r>(rows: impl Iterator<Item = &'r Row>) -> Wanted {
        let mut wanted = Wanted::default();
        let mut values = 0;
        for row in rows {
            for path in row.paths {
                let number = number_of(&mut wanted.keys, path, &mut values);
                wanted.numbers.push((row.field, number));
            }
        }
        wanted
    }

    /// Finds the wanted values of the record at `at`.
    pub fn find(&self, data: &[u8], at: usize, places: &mut Places) {
        places.0.clear();
        places.0.resize(self.numbers.len(), None);
        find(data, at, &self.keys, places, DEEPEST);
    }

    /// Returns the value of a field: the first non-empty one among its paths.
    pub fn value<'a>(&self, data: &'a [u8], places: &Places, field: GeoField) -> Option<Found<'a>> {
        let numbers = self.numbers.iter().filter(|(known, _)| *known == field);
        let mut values = numbers.filter_map(|(_, number)| read(data, (*places.0.get(*number)?)?));
        let is_coordinate = matches!(field, GeoField::Latitude | GeoField::Longitude);
        values.find_map(|value| if is_coordinate { coordinate(value) } else { Some(value).filter(says_something) })
    }
}

fn number_of(keys: &mut Vec<Branch>, path: &[&'static str], values: &mut usize) -> usize {
    let Some((key, rest)) = path.split_first() else { return *values };
    let known = keys.iter().position(|branch| branch.key == *key);
    let at = known.unwrap_or_else(|| {
        keys.push(Branch { key, value: None, inner: Vec::new() });
        keys.len() - 1
    });
    if !rest.is_empty() {
        return number_of(&mut keys[at].inner, rest, values);
    }
    *keys[at].value.get_or_insert_with(|| {
        *values += 1;
        *values - 1
    })
}

fn says_something(value: &Found<'_>) -> bool {
    match value {
        Found::Text(text) => !text.is_empty(),
        Found::Double(number) => number.is_finite(),
        Found::Single(number) => number.is_finite(),
        _ => true,
    }
}

fn coordinate(value: Found<'_>) -> Option<Found<'_>> {
    match value {
        Found::Text(_) | Found::Flag(_) => None,
        Found::Unsigned(number) => Some(Found::Double(number as f64)),
        Found::Signed(number) => Some(Found::Double(f64::from(number))),
        number => Some(number).filter(says_something),
    }
}

const POINTER: u8 = 1;
const TEXT: u8 = 2;
const DOUBLE: u8 = 3;
const BYTES: u8 = 4;
const SIGNED: u8 = 8;
const MAP: u8 = 7;
const ARRAY: u8 = 11;
const END: u8 = 13;
const FLAG: u8 = 14;
const SINGLE: u8 = 15;

/// The header of a value.
#[derive(Clone, Copy)]
struct Head {
    kind: u8,
    /// Number of bytes, or of entries of a map or an array; for a pointer its target, for a boolean its value.
    size: usize,
    /// Offset of the first byte after the header.
    after: usize,
}

fn head(data: &[u8], at: usize) -> Option<Head> {
    let control = *data.get(at)?;
    let mut after = at + 1;
    let mut kind = control >> 5;
    if kind == POINTER {
        let more = usize::from(control >> 3 & 3) + 1;
        let low = number(data.get(after..after + more)?);
        let high = u64::from(control & 7) << (8 * more);
        let to = match more {
            1 => high | low,
            2 => (high | low) + 2_048,
            3 => (high | low) + 526_336,
            _ => low,
        };
        return Some(Head { kind, size: to as usize, after: after + more });
    }
    if kind == 0 {
        kind = data.get(after)?.checked_add(7)?;
        after += 1;
    }
    let size = usize::from(control & 31);
    let (more, least) = match size {
        29 => (1, 29),
        30 => (2, 285),
        31 => (3, 65_821),
        _ => (0, size),
    };
    let size = least + number(data.get(after..after + more)?) as usize;
    Some(Head { kind, size, after: after + more })
}

/// Returns the header of a value, following a pointer.
fn follow(data: &[u8], at: usize) -> Option<Head> {
    let first = head(data, at)?;
    if first.kind != POINTER {
        return Some(first);
    }
    head(data, first.size).filter(|head| head.kind != POINTER)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn read(data: &[u8], at: usize) -> Option<Found<'_>> {
    let head = follow(data, at)?;
    if head.kind == FLAG {
        return Some(Found::Flag(head.size != 0)).filter(|_| head.size < 2);
    }
    let bytes = data.get(head.after..head.after.checked_add(head.size)?)?;
    match head.kind {
        TEXT => std::str::from_utf8(bytes).ok().map(Found::Text),
        DOUBLE => bytes.try_into().ok().map(|bytes| Found::Double(f64::from_be_bytes(bytes))),
        SINGLE => bytes.try_into().ok().map(|bytes| Found::Single(f32::from_be_bytes(bytes))),
        SIGNED if bytes.len() <= 4 => Some(Found::Signed(number(bytes) as u32 as i32)),
        // Unsigned integers of 16, 32, 64 and 128 bits.
        5 | 6 | 9 | 10 if bytes.len() <= 16 => {
            let (high, low) = bytes.split_at(bytes.len().saturating_sub(8));
            high.iter().all(|byte| *byte == 0).then(|| Found::Unsigned(number(low)))
        }
        _ => None,
    }
}

/// Returns the offset of the next value.
fn skip(data: &[u8], at: usize, deepest: usize) -> Option<usize> {
    let head = head(data, at)?;
    match head.kind {
        POINTER | FLAG | END => Some(head.after),
        MAP | ARRAY => {
            let deepest = deepest.checked_sub(1)?;
            let values = if head.kind == MAP { head.size.checked_mul(2)? } else { head.size };
            (0..values).try_fold(head.after, |at, _| skip(data, at, deepest))
        }
        _ => head.after.checked_add(head.size).filter(|after| *after <= data.len()),
    }
}

fn key(data: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let first = head(data, at)?;
    let (text, after) = match first.kind {
        POINTER => (head(data, first.size)?, first.after),
        _ => (first, first.after.checked_add(first.size)?),
    };
    let bytes = data.get(text.after..text.after.checked_add(text.size)?)?;
    matches!(text.kind, TEXT | BYTES).then_some((bytes, after))
}

fn find(data: &[u8], at: usize, wanted: &[Branch], places: &mut Places, deepest: usize) -> Option<()> {
    let head = follow(data, at)?;
    let deepest = deepest.checked_sub(1)?;
    match head.kind {
        MAP => {
            let mut at = head.after;
            let mut seen = 0_u64;
            for _ in 0..head.size {
                let (name, value) = key(data, at)?;
                if let Some(number) = wanted.iter().position(|branch| branch.key.as_bytes() == name) {
                    // A key is followed only once, so that a corrupt file can't have the same map traversed for each of
                    // its entries.
                    if seen >> number & 1 == 0 {
                        found(data, value, &wanted[number], places, deepest);
                    }
                    seen |= 1 << number;
                }
                at = skip(data, value, deepest)?;
            }
        }
        ARRAY => {
            let branch = wanted.iter().find(|branch| branch.key == "last")?;
            let last = head.size.checked_sub(1)?;
            let at = (0..last).try_fold(head.after, |at, _| skip(data, at, deepest))?;
            found(data, at, branch, places, deepest);
        }
        _ => {}
    }
    Some(())
}

fn found(data: &[u8], at: usize, branch: &Branch, places: &mut Places, deepest: usize) {
    if let Some(place) = branch.value.and_then(|number| places.0.get_mut(number)) {
        *place = place.or(Some(at));
    }
    if !branch.inner.is_empty() {
        find(data, at, &branch.inner, places, deepest);
    }
}
