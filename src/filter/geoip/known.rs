//! What all workers together remember of addresses.
//!
//! An IPv4 address and the number of what is known of it fit one word, so a table of such words can be read and written by all workers at
//! once without a lock: whoever comes late finds the word before or the word after, and both are right. Eight words are a line of the
//! cache, and an address can be in any of one line's. What is known is only ever added to; when there is no more room, everything is
//! forgotten: the table is given up for an empty one, as it is when a database is replaced.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use wide::u8x16;

use super::database::Opened;
use super::recent::Key;
use crate::event::Fragment;
use crate::memory::fetch;

/// What stands for what is known of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Code(u32);

impl Code {
    /// Nothing is known of it. The default stands for an address that is not remembered.
    pub const NOTHING: Code = Code(1);
    const FIRST: u32 = 2;
}

const WAYS: usize = 8;
const CHUNK: usize = 512;

#[repr(align(64))]
struct Line([AtomicU64; WAYS]);

type Chunk = Box<[OnceLock<Fragment>]>;

/// See the module's header.
pub struct Known {
    /// The databases that it is known from.
    opened: Vec<Arc<Opened>>,
    /// In each word an address and, below it, its code.
    lines: Box<[Line]>,
    chunks: Box<[OnceLock<Chunk>]>,
    /// What is known, in number.
    count: AtomicU32,
    by_records: Mutex<HashMap<Key, Code>>,
}

impl Known {
    /// Room for `size` addresses, rounded up to a power of two, and for as much that is known of them.
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

    /// The databases that it is known from, as they were opened.
    pub fn opened(&self) -> &[Arc<Opened>] {
        &self.opened
    }

    /// Whether it is known from these databases, as they were opened.
    pub fn is_of(&self, opened: &[Arc<Opened>]) -> bool {
        self.opened.len() == opened.len() && self.opened.iter().zip(opened).all(|(own, other)| Arc::ptr_eq(own, other))
    }

    #[inline(always)]
    fn line(&self, address: u32) -> &Line {
        let hash = u64::from(address).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        &self.lines[hash as usize & (self.lines.len() - 1)]
    }

    /// Asks memory for where an address is looked for.
    #[inline]
    pub fn approach(&self, address: u32) {
        fetch(self.line(address));
    }

    /// The code of an address, if it is remembered.
    #[inline]
    pub fn get(&self, address: u32) -> Option<Code> {
        let mut code = 0;
        for word in &self.line(address).0 {
            let word = word.load(Ordering::Acquire);
            // An empty word is one of the address 0.0.0.0, without a code.
            code = if (word >> 32) as u32 == address { code.max(word as u32) } else { code };
        }
        (code != 0).then_some(Code(code))
    }

    /// Remembers the code of an address, in the place of any other where there is no more room.
    pub fn put(&self, address: u32, code: Code) {
        let words = &self.line(address).0;
        let has_room = |word: &AtomicU64| {
            let word = word.load(Ordering::Relaxed);
            word == 0 || (word >> 32) as u32 == address
        };
        // Which one goes is as good as random: what is asked for often comes back at once.
        let other = (address as usize ^ self.count.load(Ordering::Relaxed) as usize ^ code.0 as usize) % WAYS;
        let place = words.iter().position(has_room).unwrap_or(other);
        words[place].store(u64::from(address) << 32 | u64::from(code.0), Ordering::Release);
    }

    /// What a code stands for, if anything is known.
    #[inline]
    pub fn fact(&self, code: Code) -> Option<&Fragment> {
        self.slot(code)?.get()
    }

    /// Asks memory for the beginning of that.
    #[inline]
    pub fn approach_fact(&self, code: Code) {
        self.slot(code).into_iter().for_each(fetch);
    }

    #[inline]
    fn slot(&self, code: Code) -> Option<&OnceLock<Fragment>> {
        let number = code.0.checked_sub(Code::FIRST)? as usize;
        self.chunks.get(number / CHUNK)?.get()?.get(number % CHUNK)
    }

    /// The code for what is known from now on; given back where there is no more room.
    pub fn add(&self, fact: Fragment) -> Result<Code, Fragment> {
        let next = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            ((count as usize) < self.room()).then_some(count + 1)
        });
        let Ok(number) = next else { return Err(fact) };
        let chunk = self.chunks[number as usize / CHUNK].get_or_init(|| (0..CHUNK).map(|_| OnceLock::new()).collect());
        chunk[number as usize % CHUNK].set(fact).map(|()| Code(number + Code::FIRST))
    }

    /// How much may be known.
    fn room(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    /// The code of what these records of the databases say, if it is remembered.
    pub fn by_records(&self, records: &Key) -> Option<Code> {
        self.lock_records().get(records).copied()
    }

    /// Remembers the code of what these records say.
    pub fn put_records(&self, records: Key, code: Code) {
        let mut known = self.lock_records();
        // Records that say nothing have no fact that would bound their number.
        if known.len() < self.room() {
            known.insert(records, code);
        }
    }

    fn lock_records(&self) -> MutexGuard<'_, HashMap<Key, Code>> {
        self.by_records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A text that may be an IPv4 address: its bytes, the first of them the lowest, and how many they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    bytes: u128,
    length: u32,
}

impl Packed {
    /// The text, if it is no shorter and no longer than addresses are.
    #[inline(always)]
    pub fn new(text: &[u8]) -> Option<Packed> {
        let length = text.len();
        // Two pieces that overlap are copied faster than one of any length.
        let bytes = if let (Some(first), Some(last), true) = (text.first_chunk::<8>(), text.last_chunk::<8>(), length < 16) {
            u128::from(u64::from_le_bytes(*first)) | u128::from(u64::from_le_bytes(*last)) << (8 * (length - 8))
        } else if let (Some(first), Some(last), 7) = (text.first_chunk::<4>(), text.last_chunk::<4>(), length) {
            u128::from(u32::from_le_bytes(*first)) | u128::from(u32::from_le_bytes(*last)) << 24
        } else {
            return None;
        };
        Some(Packed { bytes, length: length as u32 })
    }

    /// The address, if it is one as the standard library reads it: four decimal numbers without zeros before them.
    ///
    /// It is read without a branch for each of its bytes, since the lengths of numbers can't be foretold.
    #[inline]
    pub fn address(self) -> Option<u32> {
        let bytes = u8x16::new(self.bytes.to_le_bytes());
        let all = (1_u32 << self.length) - 1;
        let dots = bytes.cmp_eq(u8x16::splat(b'.')).move_mask() as u32;
        // What is less than `0` wraps and is too much as well.
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
            // The last of its digits is the highest byte; nothing stands before the first.
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
            "1.2.3.4", "255.255.255.255", "0.0.0.0", "10.0.0.1", "256.1.1.1", "01.2.3.4", "1.2.3.04", "1.2.3", "1.2.3.4.", ".1.2.3.4", "1..2.3", "1.2.3.4.5",
            "1.2.3.4444", "11112.3.4", "a.b.c.d", "1.2.3.4 ", " 1.2.3.4", "1.2.3./", "::1.2.3.4", "", "1", "123456789012345", "1234567890123456", "...", ".......",
            "1.2.3:4", "100.200.30.9",
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
        let codes: Vec<Code> = (0..100).map(|number| known.add(fragment(&format!(r#"{{"n":{number}}}"#))).unwrap()).collect();
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
        let codes: Vec<Code> = (0..97).map(|number| known.add(fragment(&format!(r#"{{"n":{number}}}"#))).unwrap()).collect();
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
