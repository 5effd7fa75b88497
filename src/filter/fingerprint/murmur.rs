//! MurmurHash3 by Austin Appleby (public domain), in its 32-bit form (seed 0) and its 128-bit form for 64-bit machines.

fn mix32(k: u32) -> u32 {
    k.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}

/// Returns up to eight bytes as a little-endian number.
fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Returns the 32-bit hash.
pub fn hash32(bytes: &[u8]) -> u32 {
    let mut hash = 0u32;
    let mut blocks = bytes.chunks_exact(4);
    for block in &mut blocks {
        hash = (hash ^ mix32(little(block) as u32)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    hash ^= mix32(little(blocks.remainder()) as u32);
    hash ^= bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

fn mix_low(k: u64) -> u64 {
    k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix_high(k: u64) -> u64 {
    k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finish64(k: u64) -> u64 {
    let k = (k ^ k >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let k = (k ^ k >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    k ^ k >> 33
}

/// Returns the 128-bit hash: its two halves, low before high, each in little-endian order.
pub fn hash128(bytes: &[u8], seed: u32) -> [u8; 16] {
    let (mut low, mut high) = (u64::from(seed), u64::from(seed));
    let mut blocks = bytes.chunks_exact(16);
    for block in &mut blocks {
        low = (low ^ mix_low(little(&block[..8])))
            .rotate_left(27)
            .wrapping_add(high)
            .wrapping_mul(5)
            .wrapping_add(0x52dc_e729);
        high = (high ^ mix_high(little(&block[8..])))
            .rotate_left(31)
            .wrapping_add(low)
            .wrapping_mul(5)
            .wrapping_add(0x3849_5ab5);
    }
    let (first, second) = blocks.remainder().split_at(blocks.remainder().len().min(8));
    high ^= mix_high(little(second));
    low ^= mix_low(little(first));
    low ^= bytes.len() as u64;
    high ^= bytes.len() as u64;
    low = low.wrapping_add(high);
    high = high.wrapping_add(low);
    low = finish64(low);
    high = finish64(high);
    low = low.wrapping_add(high);
    high = high.wrapping_add(low);
    let mut out = [0; 16];
    out[..8].copy_from_slice(&low.to_le_bytes());
    out[8..].copy_from_slice(&high.to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_the_known_ones() {
        assert_eq!(hash32(b""), 0);
        assert_eq!(hash32(b"hello"), 0x248b_fa47);
        assert_eq!(hash32(b"hello, world"), 0x149b_bb7f);
        let hex = |bytes: &[u8]| hash128(bytes, 0).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(b""), "0".repeat(32));
        assert_eq!(hex(b"hello"), "029bbd41b3a7d8cb191dae486a901e5b");
        assert_eq!(hex(b"The quick brown fox jumps over the lazy dog."), "c902e99e1f4899cde7b68789a3a15d69");
    }
}
