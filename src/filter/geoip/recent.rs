//! A worker's own cache: a bounded, 4-way set-associative table with LRU replacement within each set.
//!
//! The four entries of a set are adjacent and ordered by their last use, so a lookup costs one memory access, and no
//! linked list is needed. The table grows with its content, up to its limit.

/// Number of entries per set.
const WAYS: usize = 4;
/// Number of entries of an empty table.
const AT_FIRST: usize = 1_024;

/// A key of up to 17 arbitrary bytes, of which the last is not zero.
pub type Key = (u64, u64, u8);

const EMPTY: Key = (0, 0, 0);

pub struct Recent<V> {
    places: Box<[(Key, V)]>,
    held: usize,
    limit: usize,
}

impl<V: Default> Recent<V> {
    /// Returns a table for up to `limit` keys, rounded down to a power of two.
    pub fn new(limit: usize) -> Recent<V> {
        let limit = 1 << limit.max(WAYS).ilog2();
        Recent { places: empty(limit.min(AT_FIRST)), held: 0, limit }
    }

    pub fn get(&mut self, key: &Key) -> Option<&V> {
        let places = self.places_of(key);
        let found = places.iter().position(|(held, _)| held == key)?;
        for place in (0..found).rev() {
            places.swap(place, place + 1);
        }
        places.first().map(|(_, value)| value)
    }

    /// Stores the value of a key that is not in the table.
    pub fn insert(&mut self, key: Key, value: V) {
        if self.held >= self.places.len() / 2 && self.places.len() < self.limit {
            self.grow();
        }
        let places = self.places_of(&key);
        places.rotate_right(1);
        let oldest = std::mem::replace(&mut places[0], (key, value));
        if oldest.0 == EMPTY {
            self.held += 1;
        }
    }

    fn grow(&mut self) {
        let twice = empty(self.places.len() * 2);
        let places = std::mem::replace(&mut self.places, twice);
        self.held = 0;
        // Reinserted with the oldest first, to preserve their order.
        for (key, value) in places.into_iter().rev().filter(|(key, _)| *key != EMPTY) {
            self.insert(key, value);
        }
    }

    fn places_of(&mut self, key: &Key) -> &mut [(Key, V)] {
        let start = self.place_of(key);
        &mut self.places[start..start + WAYS]
    }

    #[inline]
    fn place_of(&self, key: &Key) -> usize {
        let product =
            u128::from(key.0 ^ 0x9e37_79b9_7f4a_7c15) * u128::from(key.1 ^ u64::from(key.2) ^ 0xd6e8_feb8_6659_fd93);
        let hash = (product >> 64) as usize ^ product as usize;
        hash & (self.places.len() - WAYS)
    }
}

fn empty<V: Default>(places: usize) -> Box<[(Key, V)]> {
    (0..places).map(|_| (EMPTY, V::default())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_asked_last_and_no_more_than_its_limit() {
        let mut recent = Recent::new(4_096);
        let key = |number: u64| (number, number << 3, 1);
        for number in 0..100_000 {
            recent.insert(key(number), number);
            assert_eq!(
                recent.get(&key(7)).copied(),
                Some(7).filter(|_| number >= 7),
                "asked all the time, never forgotten"
            );
        }
        assert_eq!(recent.places.len(), 4_096);
        assert_eq!(recent.held, recent.places.iter().filter(|(key, _)| *key != EMPTY).count());
        let held = (0..100_000).filter(|number| recent.get(&key(*number)).is_some_and(|value| value == number)).count();
        assert!(held > 3_500 && held <= 4_096, "{held}");
        assert!((99_000..100_000).filter(|number| recent.get(&key(*number)).is_some()).count() > 900);
    }

    #[test]
    fn the_smallest_has_room_for_something() {
        let mut recent = Recent::new(1);
        recent.insert((1, 0, 1), "a");
        assert_eq!(recent.get(&(1, 0, 1)), Some(&"a"));
        assert_eq!(recent.get(&(1, 0, 2)), None);
    }
}
