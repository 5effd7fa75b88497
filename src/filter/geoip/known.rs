//! The cache of address information, shared by all workers.
//!
//! An IPv4 address and the ID of its information fit in one 64-bit word, so all workers can read and write a table of
//! such words without a lock: a reader sees either the old or the new word, and both are valid. The table is 8-way
//! set-associative; the eight words of a set are one cache line. Information is only ever added. When there is no more
//! room, the whole cache is replaced by an empty one, as it is when a database is replaced.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use wide::u8x16;

use super::database::Opened;
use super::recent::Key;
use crate::event::Fragment;
use crate::memory::fetch;

/// The ID of the information about an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Code(u32);

impl Code {
    /// ID for addresses without information. The default, 0, stands for an address that is not in the cache.
    pub const NOTHING: Code = Code(1);
    const FIRST: u32 = 2;
}

const WAYS: usize = 8;
const CHUNK: usize = 512;

#[repr(align(64))]
struct Line([AtomicU64; WAYS]);

type Chunk = Box<[OnceLock<Fragment>]>;

/// A lock-free, 8-way set-associative cache of IPv4 address → information (see the module's documentation).
pub struct Known {
    /// Databases that the information comes from.
    opened: Vec<Arc<Opened>>,
    /// Sets of words, each with an address in its upper half and an ID in its lower half.
    lines: Box<[Line]>,
    chunks: Box<[OnceLock<Chunk>]>,
    /// Number of entries of information.
    count: AtomicU32,
    by_records: Mutex<HashMap<Key, Code>>,
}

impl Known {
    /// Returns an empty cache for `size` addresses, rounded up to a power of two, and as many entries of information.
    pub fn new(opened: Vec<Arc<Opened>>, size: usize) -> Known {
        let lines = size.div_ceil(WAYS).next_power_of_two();
        Known {
            opened,
            lines: (0..lines).map(|_| Line([const { AtomicU64::new(0) }; WAYS])).collect(),
            chunks: (0..(lines * WAYS).div_ceil(CHUNK)).map(|_| OnceLock::new()).collect(),
            count: AtomicU32::new(0),
            by_records: Mutex::default(),
        }
    }

    /// Returns the opened databases that the information comes from.
    pub fn opened(&self) -> &[Arc<Opened>] {
        &self.opened
    }

    /// Returns whether the information comes from exactly these opened databases.
    pub fn is_of(&self, opened: &[Arc<Opened>]) -> bool {
        self.opened.len() == opened.len() && self.opened.iter().zip(opened).all(|(own, other)| Arc::ptr_eq(own, other))
    }

    #[inline(always)]
    fn line(&self, address: u32) -> &Line {
        let hash = u64::from(address).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        &self.lines[hash as usize & (self.lines.len() - 1)]
    }

    /// Prefetches the set in which an address is looked up.
    #[inline]
    pub fn approach(&self, address: u32) {
        fetch(self.line(address));
    }

    /// Returns the ID of an address's information, if the address is in the cache.
    #[inline]
    pub fn get(&self, address: u32) -> Option<Code> {
        let mut code = 0;
        for word in &self.line(address).0 {
            let word = word.load(Ordering::Acquire);
            // An empty word stands for the address 0.0.0.0 without an ID.
            code = if (word >> 32) as u32 == address { code.max(word as u32) } else { code };
        }
        (code != 0).then_some(Code(code))
    }

    /// Stores the ID of an address's information, evicting another address if the set is full.
    pub fn put(&self, address: u32, code: Code) {
        let words = &self.line(address).0;
        let has_room = |word: &AtomicU64| {
            let word = word.load(Ordering::Relaxed);
            word == 0 || (word >> 32) as u32 == address
        };
        // The choice of the evicted word is as good as random: an address that is in frequent use is soon stored again.
        let other = (address as usize ^ self.count.load(Ordering::Relaxed) as usize ^ code.0 as usize) % WAYS;
        let place = words.iter().position(has_room).unwrap_or(other);
        words[place].store(u64::from(address) << 32 | u64::from(code.0), Ordering::Release);
    }

    /// Returns the information with an ID, if there is any.
    #[inline]
    pub fn fact(&self, code: Code) -> Option<&Fragment> {
        self.slot(code)?.get()
    }

    /// Prefetches the start of the information with an ID.
    #[inline]
    pub fn approach_fact(&self, code: Code) {
        self.slot(code).into_iter().for_each(fetch);
    }

    #[inline]
    fn slot(&self, code: Code) -> Option<&OnceLock<Fragment>> {
        let number = code.0.checked_sub(Code::FIRST)? as usize;
        self.chunks.get(number / CHUNK)?.get()?.get(number % CHUNK)
    }

    /// Adds information and returns its ID. Returns the information itself if there is no more room.
    pub fn add(&self, fact: Fragment) -> Result<Code, Fragment> {
        let next = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            ((count as usize) < self.room()).then_some(count + 1)
        });
        let Ok(number) = next else { return Err(fact) };
        let chunk = self.chunks[number as usize / CHUNK].get_or_init(|| (0..CHUNK).map(|_| OnceLock::new()).collect());
        chunk[number as usize % CHUNK].set(fact).map(|()| Code(number + Code::FIRST))
    }

    /// Returns the maximum number of entries.
    fn room(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    /// Returns the ID of the information from these records of the databases, if it is in the cache.
    pub fn by_records(&self, records: &Key) -> Option<Code> {
        self.lock_records().get(records).copied()
    }

    /// Stores the ID of the information from these records.
    pub fn put_records(&self, records: Key, code: Code) {
        let mut known = self.lock_records();
        // Records without information have no entry that would limit their number.
        if known.len() < self.room() {
            known.insert(records, code);
        }
    }

    fn lock_records(&self) -> MutexGuard<'_, HashMap<Key, Code>> {
        self.by_records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A text that may be an IPv4 address: its bytes in little-endian order, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    bytes: u128,
    length: u32,
}

impl Packed {
    /// Returns the packed text, if its length is possible for an address.
    #[inline(always)]
    pub fn new(text: &[u8]) -> Option<Packed> {
        let length = text.len();
        // Two overlapping reads of fixed size are faster than a copy of variable length.
        let bytes =
            if let (Some(first), Some(last), true) = (text.first_chunk::<8>(), text.last_chunk::<8>(), length < 16) {
                u128::from(u64::from_le_bytes(*first)) | u128::from(u64::from_le_bytes(*last)) << (8 * (length - 8))
            } else if let (Some(first), Some(last), 7) = (text.first_chunk::<4>(), text.last_chunk::<4>(), length) {
                u128::from(u32::from_le_bytes(*first)) | u128::from(u32::from_le_bytes(*last)) << 24
            } else {
                return None;
            };
        Some(Packed { bytes, length: length as u32 })
    }

    /// Returns the address, if the text is one according to the standard library: four decimal numbers without leading
    /// zeros.
    ///
    /// It is parsed without a branch per byte, because the lengths of the numbers are unpredictable.
    #[inline]
    pub fn address(self) -> Option<u32> {
        let bytes = u8x16::new(self.bytes.to_le_bytes());
        let all = (1_u32 << self.length) - 1;
        let dots = bytes.cmp_eq(u8x16::splat(b'.')).move_mask() as u32;
        // Bytes below `0` wrap around and are out of range as well.
        let digit = bytes - u8x16::splat(b'0');
        let digits = digit.min(u8x16::splat(9)).cmp_eq(digit).move_mask() as u32 & all;
        let second = dots & dots.wrapping_sub(1);
        let third = second & second.wrapping_sub(1);
        if dots | digits != all || third == 0 || third & third.wrapping_sub(1) != 0 {
            return None;
        }
        let ends = [dots.trailing_zeros(), second.trailing_zeros(), third.trailing_zeros(), self.length];
        let (mut start, mut address, mut wrong) = (0, 0, false);
        for end in ends {
            let count = end - start;
            let word = (self.bytes >> (8 * start)) as u32 & 0x0f0f_0f0f;
            // The last digit is in the highest byte; the shift removes what precedes the first one.
            let shifted = word.wrapping_shl(32_u32.wrapping_sub(8 * count));
            let number = (shifted >> 8 & 15) * 100 + (shifted >> 16 & 15) * 10 + (shifted >> 24);
            wrong |= count.wrapping_sub(1) > 2 || number > 255 || (count > 1 && word & 15 == 0);
            address = address << 8 | number;
            start = end + 1;
        }
        (!wrong).then_some(address)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn v4(text: &[u8]) -> Option<u32> {
        Packed::new(text)?.address()
    }

    #[test]
    fn texts_are_addresses_as_the_standard_library_says() {
        for text in [
            "1.2.3.4",
            "255.255.255.255",
            "0.0.0.0",
            "10.0.0.1",
            "256.1.1.1",
            "01.2.3.4",
            "1.2.3.04",
            "1.2.3",
            "1.2.3.4.",
            ".1.2.3.4",
            "1..2.3",
            "1.2.3.4.5",
            "1.2.3.4444",
            "11112.3.4",
            "a.b.c.d",
            "1.2.3.4 ",
            " 1.2.3.4",
            "1.2.3./",
            "::1.2.3.4",
            "",
            "1",
            "123456789012345",
            "1234567890123456",
            "...",
            ".......",
            "1.2.3:4",
            "100.200.30.9",
        ] {
            assert_eq!(v4(text.as_bytes()), text.parse().ok().map(Ipv4Addr::to_bits), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn any_text_is_what_the_standard_library_says(text in "[0-9.]{0,17}|[0-9]{1,3}(\\.[0-9]{1,3}){3}|([0-9]{1,3}\\.?){3,5}[0-9./:a]{0,2}") {
            prop_assert_eq!(v4(text.as_bytes()), text.parse().ok().map(Ipv4Addr::to_bits), "{}", text);
        }
    }

    fn fragment(text: &str) -> Fragment {
        Fragment::new(text, None)
    }

    #[test]
    fn what_is_remembered_is_found_again_or_forgotten() {
        let known = Known::new(Vec::new(), 1_000);
        let codes: Vec<Code> =
            (0..100).map(|number| known.add(fragment(&format!(r#"{{"n":{number}}}"#))).unwrap()).collect();
        let of = |address: u32| codes[address as usize % codes.len()];
        assert_eq!(known.get(0), None);
        for address in 0..5_000 {
            known.put(address, of(address));
            assert_eq!(known.get(address), Some(of(address)));
        }
        known.put(7, Code::NOTHING);
        known.put(7, Code::NOTHING);
        assert_eq!(known.get(7), Some(Code::NOTHING));
        assert!(known.fact(Code::NOTHING).is_none() && known.fact(Code::default()).is_none());
        let held = (8..5_000).filter_map(|address| Some((address, known.get(address)?))).collect::<Vec<_>>();
        assert!(held.len() > 900 && held.len() <= 1_024, "{}", held.len());
        assert!(held.iter().all(|(address, code)| *code == of(*address)));
        assert_eq!(known.fact(of(42)).unwrap().json(), r#"{"n":42}"#);
    }

    #[test]
    fn there_is_room_for_as_much_as_there_are_places() {
        let known = Known::new(Vec::new(), 1);
        let added = (0..CHUNK + 3).filter(|_| known.add(fragment("{}")).is_ok()).count();
        assert_eq!(added, CHUNK);
        (0..CHUNK as u64 + 3).for_each(|record| known.put_records((record, 0, 1), Code::NOTHING));
        assert_eq!((0..CHUNK as u64 + 3).filter_map(|record| known.by_records(&(record, 0, 1))).count(), CHUNK);
    }

    #[test]
    fn workers_that_write_at_once_never_read_what_belongs_to_another_address() {
        let known = Known::new(Vec::new(), 64);
        let codes: Vec<Code> =
            (0..97).map(|number| known.add(fragment(&format!(r#"{{"n":{number}}}"#))).unwrap()).collect();
        std::thread::scope(|scope| {
            for worker in 0..3_u32 {
                let (known, codes) = (&known, &codes);
                scope.spawn(move || {
                    for step in 0..100_000_u32 {
                        let address = step.wrapping_mul(2_654_435_761).rotate_left(worker) % 1_000;
                        let own = codes[address as usize % codes.len()];
                        match known.get(address) {
                            Some(code) => assert_eq!(code, own),
                            None => known.put(address, own),
                        }
                    }
                });
            }
        });
    }
}
