//! The form of a document for a Kafka sink: key, headers and value in one run of bytes.

/// Marks a record without a key.
const NO_KEY: u32 = u32::MAX;

/// Begins a document for this sink: the encoder appends the value right after.
pub fn frame(body: &mut Vec<u8>, key: Option<&[u8]>, headers: &[(&str, String)]) {
    body.extend_from_slice(&key.map_or(NO_KEY, |key| key.len() as u32).to_le_bytes());
    body.extend_from_slice(key.unwrap_or_default());
    body.extend_from_slice(&(headers.len() as u32).to_le_bytes());
    for text in headers.iter().flat_map(|(name, value)| [name, value.as_str()]) {
        body.extend_from_slice(&(text.len() as u32).to_le_bytes());
        body.extend_from_slice(text.as_bytes());
    }
}

/// The parts of a framed document.
#[derive(Debug, PartialEq, Eq)]
pub struct Framed<'a> {
    /// The record's key.
    pub key: Option<&'a [u8]>,
    /// The record's headers: names and values.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// The record's value.
    pub value: &'a [u8],
}

/// The parts of a framed document; `None` where it is none.
pub fn unframe(document: &[u8]) -> Option<Framed<'_>> {
    let (length, rest) = document.split_first_chunk::<4>()?;
    let (key, rest) = match u32::from_le_bytes(*length) {
        NO_KEY => (None, rest),
        length => rest.split_at_checked(length as usize).map(|(key, rest)| (Some(key), rest))?,
    };
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let mut headers = Vec::new();
    for _ in 0..u32::from_le_bytes(*count) {
        let (name, after) = sized(rest)?;
        let (value, after) = sized(after)?;
        headers.push((std::str::from_utf8(name).ok()?, value));
        rest = after;
    }
    Some(Framed { key, headers, value: rest })
}

/// A run of bytes after its length, and what follows it.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}
