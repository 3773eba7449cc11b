//! PURE. Which addresses a cluster takes on this machine: a /24 for the bridge and its nodes, a /16 for pods.
//!
//! What is wanted (the flag, or the last start's choice) is taken if it is free; else the first free range. Node `n<i>`
//! has the address `.10+i` and the i-th /24 of the pod range.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// Nodes are `.11` and above; `.250` and above stay free.
pub const MAX_NODE: u32 = 239;
/// Where nodes begin on the bridge.
const FIRST_NODE: u32 = 10;
/// Second number of the ranges that are tried, `10.<n>.0.0`. 10.96 to 10.111 are left for Services.
const BRIDGES: std::ops::Range<u8> = 88..96;
const PODS: std::ops::Range<u8> = 42..74;

/// A range of IPv4 addresses, `10.88.0.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Range {
    first: Ipv4Addr,
    prefix: u8,
}

/// Why a range cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It cannot be read.
    #[error("{0:?} is not a range of IPv4 addresses such as 10.88.0.0/24")]
    NotARange(String),
    /// A bridge has 24 bits.
    #[error("{0} is not a /24, which the bridge of the nodes needs")]
    NotABridge(Range),
    /// Something of this machine lies there.
    #[error("{wanted} is in use on this machine (it overlaps {taken}); choose another with --bridge-network")]
    Taken {
        /// What was asked for.
        wanted: Range,
        /// What is there.
        taken: Range,
    },
    /// All ranges that are tried are in use.
    #[error("no range of addresses is free on this machine; name one with --bridge-network")]
    NoneFree,
}

/// The addresses of one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Nodes, and this machine as `.1`.
    pub bridge: Range,
    /// Pods of all nodes.
    pub pods: Range,
}

impl Network {
    /// This machine, seen from the nodes.
    pub fn gateway(&self) -> Ipv4Addr {
        self.bridge.at(1)
    }

    /// A node.
    pub fn node(&self, number: u32) -> Ipv4Addr {
        self.bridge.at(FIRST_NODE + number)
    }

    /// The pods of a node.
    pub fn pods_of(&self, number: u32) -> Range {
        Range { first: self.pods.at(number << 8), prefix: 24 }
    }
}

/// Chooses addresses. `asked` comes from the user and is taken or refused; `last` is taken if it is still free.
pub fn choose(asked: Option<Range>, last: Option<Network>, taken: &[Range]) -> Result<Network, AddressError> {
    let conflict = |range: &Range| taken.iter().find(|taken| taken.overlaps(range)).copied();
    let free = |range: &Range| conflict(range).is_none();
    let bridge = match asked {
        Some(range) if range.prefix != 24 => return Err(AddressError::NotABridge(range)),
        Some(wanted) => match conflict(&wanted) {
            Some(taken) => return Err(AddressError::Taken { wanted, taken }),
            None => Some(wanted),
        },
        None => last.map(|last| last.bridge).filter(free).or_else(|| ranges(BRIDGES, 24).find(free)),
    };
    let bridge = bridge.ok_or(AddressError::NoneFree)?;
    let free = |range: &Range| conflict(range).is_none() && !range.overlaps(&bridge);
    let pods = last.map(|last| last.pods).filter(free).or_else(|| ranges(PODS, 16).find(free));
    Ok(Network { bridge, pods: pods.ok_or(AddressError::NoneFree)? })
}

fn ranges(seconds: std::ops::Range<u8>, prefix: u8) -> impl Iterator<Item = Range> {
    seconds.map(move |second| Range { first: Ipv4Addr::new(10, second, 0, 0), prefix })
}

impl Range {
    /// The range of all addresses: a default route.
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }

    /// The length of its prefix.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    fn at(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first.to_bits().wrapping_add(offset))
    }

    fn overlaps(&self, other: &Self) -> bool {
        let mask = mask(self.prefix.min(other.prefix));
        self.first.to_bits() & mask == other.first.to_bits() & mask
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl FromStr for Range {
    type Err = AddressError;

    /// A lone address is a range of one.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError::NotARange(text.into());
        let (first, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let first: Ipv4Addr = first.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32).ok_or_else(wrong)?;
        Ok(Self { first: Ipv4Addr::from_bits(first.to_bits() & mask(prefix)), prefix })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl TryFrom<String> for Range {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Range> for String {
    fn from(range: Range) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check(asked: Option<&str>, last: Option<(&str, &str)>, taken: &[&str], expected: &str) {
        let last = last.map(|(bridge, pods)| Network { bridge: range(bridge), pods: range(pods) });
        let taken: Vec<Range> = taken.iter().map(|t| range(t)).collect();
        let answer = match choose(asked.map(range), last, &taken) {
            Ok(network) => format!("{} {}", network.bridge, network.pods),
            Err(error) => error.to_string(),
        };
        assert_eq!(answer, expected);
    }

    #[test]
    fn the_first_free_ranges_are_taken() {
        check(None, None, &["192.0.2.0/24"], "10.88.0.0/24 10.42.0.0/16");
        check(None, None, &["10.88.0.5/32", "10.42.3.0/24"], "10.89.0.0/24 10.43.0.0/16");
        let none = "no range of addresses is free on this machine; name one with --bridge-network";
        check(None, None, &["10.0.0.0/8"], none);
    }

    #[test]
    fn the_last_choice_is_kept_while_it_is_free() {
        check(None, Some(("10.91.0.0/24", "10.50.0.0/16")), &[], "10.91.0.0/24 10.50.0.0/16");
        let taken = ["10.91.0.1/32"];
        check(None, Some(("10.91.0.0/24", "10.50.0.0/16")), &taken, "10.88.0.0/24 10.50.0.0/16");
    }

    #[test]
    fn what_the_user_asks_for_is_taken_or_refused() {
        check(Some("172.20.0.0/24"), None, &[], "172.20.0.0/24 10.42.0.0/16");
        check(Some("10.42.7.0/24"), None, &[], "10.42.7.0/24 10.43.0.0/16");
        let wrong = "172.20.0.0/16 is not a /24, which the bridge of the nodes needs";
        check(Some("172.20.0.0/16"), None, &[], wrong);
        let taken = "172.20.0.0/24 is in use on this machine (it overlaps 172.16.0.0/12); \
                     choose another with --bridge-network";
        check(Some("172.20.0.0/24"), None, &["172.16.0.0/12"], taken);
    }

    #[test]
    fn a_node_has_its_number_in_its_address_and_in_its_pods() {
        let network = Network { bridge: range("10.88.0.0/24"), pods: range("10.42.0.0/16") };
        assert_eq!(network.gateway().to_string(), "10.88.0.1");
        assert_eq!(network.node(3).to_string(), "10.88.0.13");
        assert_eq!(network.pods_of(3).to_string(), "10.42.3.0/24");
        assert_eq!(network.node(MAX_NODE).to_string(), "10.88.0.249");
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "10.88.0.0/33", "10.88.0/24", "fd00::/64", "x"] {
            assert_eq!(text.parse::<Range>(), Err(AddressError::NotARange(text.into())));
        }
    }
}
