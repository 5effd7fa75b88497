//! Sets of networks, grouped by prefix length, so that a lookup costs one hash per distinct length, however many
//! networks there are.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};

/// A set of IPv4 and IPv6 networks.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    /// Prefix lengths with the networks of each, as addresses in 128 bits.
    v4: Vec<(u32, HashSet<u128>)>,
    v6: Vec<(u32, HashSet<u128>)>,
}

/// A network; a single address is a network of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    bits: u128,
    /// Number of address bits, 32 or 128.
    width: u32,
    prefix: u32,
}

fn masked(bits: u128, width: u32, prefix: u32) -> u128 {
    bits & !(u128::MAX >> (128 - width)).checked_shr(prefix).unwrap_or(0)
}

impl Network {
    /// Parses a text such as `10.0.0.0/8`, `10.0.0.0/255.0.0.0`, `fe80::/64` or a single address.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.trim(), None),
        };
        let address = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
        let address = address.split_once('%').map_or(address, |(address, _)| address);
        let (bits, width) = match address.parse().ok()? {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        let prefix = match prefix {
            None => width,
            Some(prefix) => match prefix.parse::<IpAddr>() {
                Ok(IpAddr::V4(mask))
                    if width == 32 && u32::from(mask).leading_ones() == u32::from(mask).count_ones() =>
                {
                    u32::from(mask).leading_ones()
                }
                Ok(_) => return None,
                Err(_) => prefix.parse().ok().filter(|prefix| *prefix <= width)?,
            },
        };
        Some(Network { bits: masked(bits, width, prefix), width, prefix })
    }

    /// Returns the IPv4 address of an IPv4-mapped IPv6 address (`::ffff:10.0.0.1`).
    fn mapped(self) -> Option<Network> {
        let inner = Some(self).filter(|network| network.width == 128 && network.prefix == 128)?;
        let address = Ipv6Addr::from(inner.bits).to_ipv4_mapped()?;
        Some(Network { bits: u128::from(u32::from(address)), width: 32, prefix: 32 })
    }
}

impl Networks {
    /// Adds a network.
    pub fn add(&mut self, network: Network) {
        let lengths = if network.width == 32 { &mut self.v4 } else { &mut self.v6 };
        match lengths.iter_mut().find(|(prefix, _)| *prefix == network.prefix) {
            Some((_, networks)) => {
                networks.insert(network.bits);
            }
            None => lengths.push((network.prefix, HashSet::from([network.bits]))),
        }
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Returns whether an address, or a whole network, is inside one of these networks.
    pub fn contain(&self, address: Network) -> bool {
        let address = address.mapped().unwrap_or(address);
        let lengths = if address.width == 32 { &self.v4 } else { &self.v6 };
        lengths.iter().any(|(prefix, networks)| {
            *prefix <= address.prefix && networks.contains(&masked(address.bits, address.width, *prefix))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_their_networks() {
        let mut networks = Networks::default();
        for text in ["10.0.0.0/8", "192.168.1.7", "fe80::/64", "172.16.0.0/255.240.0.0"] {
            networks.add(Network::parse(text).unwrap());
        }
        for (address, within) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.168.1.7", true),
            ("192.168.1.6", false),
            ("172.31.9.9", true),
            ("::ffff:10.1.1.1", true),
            ("fe80::1%eth0", true),
            ("fe81::1", false),
            ("10.1.0.0/16", true),
            ("8.0.0.0/6", false),
        ] {
            assert_eq!(networks.contain(Network::parse(address).unwrap()), within, "{address}");
        }
        networks.add(Network::parse("0.0.0.0/0").unwrap());
        assert!(networks.contain(Network::parse("8.8.8.8").unwrap()));
        for text in ["", "10.0.0", "10.0.0.0/33", "fe80::/129", "10.0.0.0/255.0.255.0", "x/8"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
