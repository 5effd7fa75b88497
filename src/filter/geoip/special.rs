//! Addresses that are not public, by IANA's registries of special-purpose addresses (RFC 6890).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns whether a text is an address that is not public: private, shared, loopback, link-local, for documentation or
/// benchmarks, multicast, or reserved.
pub fn is_special(text: &str) -> bool {
    match text.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => is_special_v4(address),
        Ok(IpAddr::V6(address)) => is_special_v6(address),
        Err(_) => false,
    }
}

fn is_special_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    match (first, second, third) {
        (100, 64..=127, _) | (192, 0, 0) | (198, 18 | 19, _) => true,
        _ => {
            first == 0
                || first >= 224
                || address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_documentation()
        }
    }
}

fn is_special_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let is_documentation = (first, second) == (0x2001, 0xdb8) || (first, second & 0xf000) == (0x3fff, 0);
    is_documentation
        || address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_those_of_the_registries() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "2001:db8::2",
            "3fff:fff::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
        ] {
            assert!(is_special(text), "{text}");
        }
        for text in [
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "203.0.112.1",
            "223.255.255.255",
            "2001:db7::1",
            "2a02:cf40::1",
            "3fff:1000::1",
            "4000::1",
            "::ffff:8.8.8.8",
            "localhost",
            "",
        ] {
            assert!(!is_special(text), "{text}");
        }
    }
}
