//! The search tree of a database, traversed in the mapped file.
//!
//! A node is a pair of records, one for each value of the next bit of an address; a record refers to another node,
//! means "not found", or refers to data. Nodes of one depth are adjacent in the file and those of the next depth are
//! far away, so each step of a lookup is likely to miss the CPU caches. Therefore a table maps the first bits of an
//! IPv4 address to the node they lead to. It is built depth by depth, on a separate thread, when the database is
//! opened; lookups start at the root until it is ready.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use maxminddb::{Metadata, Mmap};

use super::mapped::Mapped;
use crate::memory::fetch;

/// Maximum number of address bits in the table's index: 4 MiB of entries.
const MOST_KEPT: u32 = 20;
/// Number of zero bytes between the tree and the data.
const SEPARATOR: usize = 16;
/// Marker before a database's metadata.
const METADATA_MARK: &[u8] = b"\xab\xcd\xefMaxMind.com";

#[derive(Clone)]
pub struct Tree {
    nodes: Nodes,
    /// Node at which IPv4 lookups start. If `is_v4`, the tree contains no IPv6 addresses.
    v4_start: u32,
    is_v4: bool,
    /// Table indexed by the first `kept_bits` bits of an IPv4 address: the node they lead to, or the record that ends
    /// the lookup.
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
    /// Returns the tree of a database whose metadata was validated against the file's length; `None` if the tree does
    /// not fit the file.
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

    /// Builds the table in the background.
    fn keep(&self) {
        let (nodes, kept, start, bits) = (self.nodes.clone(), Arc::clone(&self.kept), self.v4_start, self.kept_bits);
        // If no thread can be started, every lookup starts at the root.
        let _ = std::thread::Builder::new()
            .name("logproc-geo".to_string())
            .spawn(move || kept.set(nodes.first_bits(start, bits)));
    }

    /// Waits until the table is ready, if one is built. Returns the tree without the table.
    #[cfg(test)]
    pub fn grow_up(&self) -> Tree {
        while self.v4_start < self.nodes.count && self.kept.get().is_none() {
            std::thread::yield_now();
        }
        Tree { kept: Arc::default(), ..self.clone() }
    }

    /// Returns the file's data section, to which offsets are relative.
    pub fn data(&self) -> &[u8] {
        &self.nodes.bytes.as_ref()[self.data_start..self.data_end]
    }

    /// Returns the offset of an address's data, if there is any.
    pub fn find(&self, address: IpAddr) -> Option<usize> {
        let end = match address {
            IpAddr::V4(address) => self.walk_v4(address.to_bits()),
            IpAddr::V6(_) if self.is_v4 => return None,
            IpAddr::V6(address) => self.nodes.walk(0, address.to_bits(), 128),
        };
        // Values up to the separator are nodes, "not found", or errors in the file.
        let offset = (end as usize).checked_sub(self.nodes.count as usize + SEPARATOR)?;
        (offset < self.data_end - self.data_start).then_some(offset)
    }

    /// Returns the node at which the lookup of an IPv4 address starts, if the table is ready.
    pub fn start_of(&self, address: Ipv4Addr) -> Option<u32> {
        self.kept.get()?.get(self.start_index(address)).copied()
    }

    /// Prefetches the table entry that [`Tree::start_of`] will read.
    pub fn fetch_start(&self, address: Ipv4Addr) {
        self.kept.get().and_then(|kept| kept.get(self.start_index(address))).into_iter().for_each(fetch);
    }

    /// Prefetches the node at which a lookup starts.
    pub fn fetch_node(&self, start: u32) {
        self.nodes.fetch(start);
    }

    fn start_index(&self, address: Ipv4Addr) -> usize {
        (u64::from(address.to_bits()) >> (32 - self.kept_bits)) as usize
    }

    fn walk_v4(&self, address: u32) -> u32 {
        // A database with IPv6 networks only has no IPv4 subtree; the lookup then ends at once.
        let (node, bits) = self.start_of(address.into()).map_or((self.v4_start, 0), |start| (start, self.kept_bits));
        self.nodes.walk(node, u128::from(address) << 96 << bits, 32 - bits)
    }
}

impl Nodes {
    /// Builds the table of the records that `bits` first bits lead to from a node, each depth from the previous one.
    fn first_bits(&self, start: u32, bits: u32) -> Box<[u32]> {
        let mut kept = vec![start];
        for _ in 0..bits {
            let deeper = |node: u32| {
                if node < self.count { [self.record(node, false), self.record(node, true)] } else { [node, node] }
            };
            kept = kept.into_iter().flat_map(deeper).collect();
        }
        kept.into()
    }

    /// Prefetches a node.
    fn fetch(&self, node: u32) {
        let at = node as usize * (usize::from(self.record_bits) / 4);
        self.bytes.as_ref().get(at).into_iter().for_each(fetch);
    }

    /// Follows the first `count` of `bits`, the most significant first, until a record is not a node.
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

    /// Returns one of a node's two records.
    fn record(&self, node: u32, right: bool) -> u32 {
        let (at, bytes) = (node as usize, self.bytes.as_ref());
        let word = |at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_be_bytes);
        let record = match self.record_bits {
            // The three bytes of the left record are read with the following byte, those of the right record with the
            // preceding one.
            24 if right => word(at * 6 + 2).map(|word| word & 0x00ff_ffff),
            24 => word(at * 6).map(|word| word >> 8),
            // The byte between the records contains the upper four bits of each.
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
