//! The search tree of a database, walked where it is mapped.
//!
//! A node is a pair of records, one for each value of the next bit of an address; a record is another node, or stands for
//! nothing known, or points to data. Nodes of one depth lie together in the file and those of the next far away, so each step of a
//! walk is a look into memory that nobody has asked for lately. So where the first bits of an IPv4 address lead is kept in a
//! table, which is made depth by depth, on a thread of its own, when the database is opened; walks do without until it is there.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use maxminddb::{Metadata, Mmap};

use super::mapped::Mapped;
use crate::memory::fetch;

/// Most bits of an IPv4 address whose way is kept: 4 MiB of numbers.
const MOST_KEPT: u32 = 20;
/// Zero bytes between the tree and the data.
const SEPARATOR: usize = 16;
/// What stands before a database's metadata.
const METADATA_MARK: &[u8] = b"\xab\xcd\xefMaxMind.com";

#[derive(Clone)]
pub struct Tree {
    nodes: Nodes,
    /// Where IPv4 addresses begin; nowhere in it are IPv6 ones if `is_v4`.
    v4_start: u32,
    is_v4: bool,
    /// By the first `kept_bits` bits of an IPv4 address: the node, or what ends the walk.
    kept: Arc<OnceLock<Box<[u32]>>>,
    kept_bits: u32,
    data_start: usize,
    data_end: usize,
}

#[derive(Clone)]
struct Nodes {
    bytes: Mapped,
    count: u32,
    record_bits: u16,
}

impl Tree {
    /// The tree of a database whose metadata has been checked against the file's length. `None` if it does not fit the file.
    pub fn new(bytes: Mapped, metadata: &Metadata) -> Option<Tree> {
        let count = metadata.node_count;
        let data_start = (count as usize).checked_mul(usize::from(metadata.record_size) / 4)?.checked_add(SEPARATOR)?;
        let data_end = memchr::memmem::rfind(bytes.as_ref(), METADATA_MARK)?;
        if data_start > data_end {
            return None;
        }
        let is_v4 = metadata.ip_version == 4;
        let nodes = Nodes { bytes, count, record_bits: metadata.record_size };
        let v4_start = if is_v4 { 0 } else { nodes.walk(0, 0, 96) };
        let kept_bits = count.checked_ilog2().unwrap_or(0).clamp(1, MOST_KEPT);
        let tree = Tree { nodes, v4_start, is_v4, kept: Arc::default(), kept_bits, data_start, data_end };
        if v4_start < count {
            tree.keep();
        }
        Some(tree)
    }

    /// Makes the table, in the background.
    fn keep(&self) {
        let (nodes, kept, start, bits) = (self.nodes.clone(), Arc::clone(&self.kept), self.v4_start, self.kept_bits);
        // Should there be no thread to be had, all walks are long ones.
        let _ = std::thread::Builder::new().name("logproc-geo".to_string()).spawn(move || kept.set(nodes.first_bits(start, bits)));
    }

    /// Waits until the table is there, if one is made; answers with the tree as it was before.
    #[cfg(test)]
    pub fn grow_up(&self) -> Tree {
        while self.v4_start < self.nodes.count && self.kept.get().is_none() {
            std::thread::yield_now();
        }
        Tree { kept: Arc::default(), ..self.clone() }
    }

    /// The part of the file that data is in. Offsets are relative to it.
    pub fn data(&self) -> &[u8] {
        &self.nodes.bytes.as_ref()[self.data_start..self.data_end]
    }

    /// Where the data of an address is, if there is any.
    pub fn find(&self, address: IpAddr) -> Option<usize> {
        let end = match address {
            IpAddr::V4(address) => self.walk_v4(address.to_bits()),
            IpAddr::V6(_) if self.is_v4 => return None,
            IpAddr::V6(address) => self.nodes.walk(0, address.to_bits(), 128),
        };
        // What is no further than the separator is a node, "nothing known", or an error of the file.
        let offset = (end as usize).checked_sub(self.nodes.count as usize + SEPARATOR)?;
        (offset < self.data_end - self.data_start).then_some(offset)
    }

    /// Where the walk for an IPv4 address begins, if that is kept.
    pub fn start_of(&self, address: Ipv4Addr) -> Option<u32> {
        self.kept.get()?.get(self.start_index(address)).copied()
    }

    /// Asks for what [`Tree::start_of`] will look at.
    pub fn fetch_start(&self, address: Ipv4Addr) {
        self.kept.get().and_then(|kept| kept.get(self.start_index(address))).into_iter().for_each(fetch);
    }

    /// Asks for the node where a walk begins.
    pub fn fetch_node(&self, start: u32) {
        self.nodes.fetch(start);
    }

    fn start_index(&self, address: Ipv4Addr) -> usize {
        (u64::from(address.to_bits()) >> (32 - self.kept_bits)) as usize
    }

    fn walk_v4(&self, address: u32) -> u32 {
        // A database of IPv6 networks alone has no IPv4 addresses to walk to.
        let (node, bits) = self.start_of(address.into()).map_or((self.v4_start, 0), |start| (start, self.kept_bits));
        self.nodes.walk(node, u128::from(address) << 96 << bits, 32 - bits)
    }
}

impl Nodes {
    /// Where so many first bits lead from a node, each depth made from the one before.
    fn first_bits(&self, start: u32, bits: u32) -> Box<[u32]> {
        let mut kept = vec![start];
        for _ in 0..bits {
            let deeper = |node: u32| if node < self.count { [self.record(node, false), self.record(node, true)] } else { [node, node] };
            kept = kept.into_iter().flat_map(deeper).collect();
        }
        kept.into()
    }

    /// Asks for a node.
    fn fetch(&self, node: u32) {
        let at = node as usize * (usize::from(self.record_bits) / 4);
        self.bytes.as_ref().get(at).into_iter().for_each(fetch);
    }

    /// Follows the first `count` of `bits`, the highest first, as far as there are nodes.
    fn walk(&self, mut node: u32, mut bits: u128, count: u32) -> u32 {
        for _ in 0..count {
            if node >= self.count {
                break;
            }
            node = self.record(node, bits >> 127 != 0);
            bits <<= 1;
        }
        node
    }

    /// One of a node's two records.
    fn record(&self, node: u32, right: bool) -> u32 {
        let (at, bytes) = (node as usize, self.bytes.as_ref());
        let word = |at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_be_bytes);
        let record = match self.record_bits {
            // The three bytes of the left record are read with one that follows, those of the right with one before it.
            24 if right => word(at * 6 + 2).map(|word| word & 0x00ff_ffff),
            24 => word(at * 6).map(|word| word >> 8),
            // The byte between the two has the highest bits of both.
            28 if right => word(at * 7 + 3).map(|word| word & 0x0fff_ffff),
            28 => word(at * 7).map(|word| word >> 8 | (word & 0xf0) << 20),
            _ => word(at * 8 + usize::from(right) * 4),
        };
        record.unwrap_or(self.count)
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        let mapped: &Mmap = &self.0;
        mapped
    }
}
