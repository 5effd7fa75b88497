//! The order in which Logstash comes by the entries of a hash.
//!
//! Before a plugin sees a hash of its configuration, Logstash (since 7.x) copies it into a `java.util.HashMap`, whose order
//! follows from the keys' hash codes. It shows wherever an entry can change what the next one does: which field `grok` tries
//! first, which of two `rename`s wins. What comes out is the same in every run, so a configuration that works relies on it,
//! knowingly or not, and means here what it means there.

/// Sorts entries as a `java.util.HashMap` that they are put into one by one gives them back.
pub fn sort<T>(entries: &mut [T], key: impl Fn(&T) -> &str) {
    // The table doubles when it is three quarters full, which keeps the order within a bucket.
    let mut buckets = 16;
    while entries.len() * 4 > buckets * 3 {
        buckets *= 2;
    }
    entries.sort_by_key(|entry| spread(hash_code(key(entry))) as usize & (buckets - 1));
}

/// `String.hashCode`.
fn hash_code(text: &str) -> u32 {
    text.encode_utf16().fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)))
}

/// `HashMap.hash`: the upper bits count too.
fn spread(hash: u32) -> u32 {
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_java() {
        assert_eq!(hash_code("message"), 954_925_063);
        assert_eq!(hash_code("日本"), 835_047);
        for (given, expected) in [
            (vec!["message", "str"], vec!["str", "message"]),
            (vec!["num", "zero"], vec!["zero", "num"]),
            (vec!["[foo][0]", "[foo][1]", "[foo][2]"], vec!["[foo][2]", "[foo][1]", "[foo][0]"]),
            // "Aa" and "BB" have the same hash code.
            (vec!["BB", "Aa", "C"], vec!["BB", "Aa", "C"]),
        ] {
            let mut sorted = given.clone();
            sort(&mut sorted, |key| key);
            assert_eq!(sorted, expected);
        }
        let mut many: Vec<String> = (0..13).map(|number| format!("k{number}")).collect();
        sort(&mut many, |key| key);
        let buckets: Vec<u32> = many.iter().map(|key| spread(hash_code(key)) & 31).collect();
        assert!(buckets.is_sorted());
    }
}
