//! The search tree of a database, walked where it is mapped.
//!
//! A node is a pair of records, one for each value of the next bit of an address; a record is another node, or stands for
//! nothing known, or points to data. Nodes of one depth lie together in the file and those of the next far away, so each step of a
//! walk is a look into memory that nobody has asked for lately. So where the first bits of an IPv4 address lead is kept in a
//! table, which is made depth by depth when the database is opened.

use std::net::{IpAddr, Ipv4Addr};

use maxminddb::{Metadata, Mmap};

use super::mapped::Mapped;
use crate::memory::fetch;

/// Most bits of an IPv4 address whose way is kept: 4 MiB of numbers.
const MOST_KEPT: u32 = 20;
/// Zero bytes between the tree and the data.
const SEPARATOR: usize = 16;
/// What stands before a database's metadata.
const METADATA_MARK: &[u8] = b"\xab\xcd\xefMaxMind.com";

pub struct Tree {
    bytes: Mapped,
    nodes: u32,
    record_bits: u16,
    /// Where IPv4 addresses begin; nowhere in it are IPv6 ones if `is_v4`.
    v4_start: u32,
    is_v4: bool,
    /// By the first `kept_bits` bits of an IPv4 address, if there are any: the node, or what ends the walk.
    kept: Box<[u32]>,
    kept_bits: u32,
    data_start: usize,
    data_end: usize,
}

impl Tree {
    /// The tree of a database whose metadata has been checked against the file's length. `None` if it does not fit the file.
    pub fn new(bytes: Mapped, metadata: &Metadata) -> Option<Tree> {
        let nodes = metadata.node_count;
        let data_start = (nodes as usize).checked_mul(usize::from(metadata.record_size) / 4)?.checked_add(SEPARATOR)?;
        let data_end = memchr::memmem::rfind(bytes.as_ref(), METADATA_MARK)?;
        if data_start > data_end {
            return None;
        }
        let is_v4 = metadata.ip_version == 4;
        let kept = Box::default();
        let mut tree = Tree { bytes, nodes, record_bits: metadata.record_size, v4_start: 0, is_v4, kept, kept_bits: 0, data_start, data_end };
        if !is_v4 {
            tree.v4_start = tree.walk(0, 0, 96);
        }
        if tree.v4_start < nodes {
            tree.keep(nodes.ilog2().clamp(1, MOST_KEPT));
        }
        Some(tree)
    }

    /// The part of the file that data is in. Offsets are relative to it.
    pub fn data(&self) -> &[u8] {
        &self.bytes.as_ref()[self.data_start..self.data_end]
    }

    /// Where the data of an address is, if there is any.
    pub fn find(&self, address: IpAddr) -> Option<usize> {
        let end = match address {
            IpAddr::V4(address) => self.walk_v4(address.to_bits()),
            IpAddr::V6(_) if self.is_v4 => return None,
            IpAddr::V6(address) => self.walk(0, address.to_bits(), 128),
        };
        // What is no further than the separator is a node, "nothing known", or an error of the file.
        let offset = (end as usize).checked_sub(self.nodes as usize + SEPARATOR)?;
        (offset < self.data_end - self.data_start).then_some(offset)
    }

    /// Makes the table for so many bits, each depth from the one before.
    fn keep(&mut self, bits: u32) {
        let mut kept = vec![self.v4_start];
        for _ in 0..bits {
            let deeper = |node: u32| if node < self.nodes { [self.record(node, false), self.record(node, true)] } else { [node, node] };
            kept = kept.into_iter().flat_map(deeper).collect();
        }
        (self.kept, self.kept_bits) = (kept.into(), bits);
    }

    /// Where the walk for an IPv4 address begins.
    pub fn start_of(&self, address: Ipv4Addr) -> Option<u32> {
        self.kept.get(self.start_index(address)).copied()
    }

    /// Asks for what [`Tree::start_of`] will look at.
    pub fn fetch_start(&self, address: Ipv4Addr) {
        self.kept.get(self.start_index(address)).into_iter().for_each(fetch);
    }

    /// Asks for the node where a walk begins.
    pub fn fetch_node(&self, start: u32) {
        let at = start as usize * (usize::from(self.record_bits) / 4);
        self.bytes.as_ref().get(at).into_iter().for_each(fetch);
    }

    fn start_index(&self, address: Ipv4Addr) -> usize {
        (u64::from(address.to_bits()) >> (32 - self.kept_bits)) as usize
    }

    fn walk_v4(&self, address: u32) -> u32 {
        let bits = self.kept_bits;
        // A database of IPv6 networks alone has no IPv4 addresses to walk to.
        let Some(node) = self.start_of(address.into()) else { return self.v4_start };
        self.walk(node, u128::from(address) << 96 << bits, 32 - bits)
    }

    /// Follows the first `count` of `bits`, the highest first, as far as there are nodes.
    fn walk(&self, mut node: u32, mut bits: u128, count: u32) -> u32 {
        for _ in 0..count {
            if node >= self.nodes {
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
        record.unwrap_or(self.nodes)
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        let mapped: &Mmap = &self.0;
        mapped
    }
}
