//! Makes addresses up for names, and finds the name of such an address.
//!
//! It is one open-addressing hash table: the slot of a name *is* its address, in both families. The hash has no secret, so a name
//! keeps its address from run to run, except after collisions. Nothing is ever removed, so an address keeps its name while a
//! program may still use it. A full table refuses new names.

use crate::net::{Host, NameSource};
use crate::sync::lock;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard};

/// How many names a table takes: half of its slots, so that probes stay short.
const CAPACITY: usize = 65_536;

/// 198.18.0.0/15 (RFC 2544) has 512 blocks of 256. In each, .0 and .255 look like a network and a broadcast address.
const HOSTS: u32 = 254;
const SLOTS: u32 = 512 * HOSTS;

/// In how many slots a name is searched for. At half load the chance that all are taken is 2^-64. Names that are chosen to collide
/// harm only each other.
const PROBES: u64 = 64;

/// The upper half of the IPv6 addresses: a /64 of 2001:2::/48 (RFC 5180). It does not contain 2001:2::1, the jail's own address.
const PREFIX: [u16; 4] = [0x2001, 2, 0, 1];

/// The names that were asked for, with their addresses.
#[derive(Debug)]
pub(crate) struct SyntheticAddresses {
    ipv6: bool,
    table: Mutex<HashMap<Slot, Box<str>>>,
}

/// The table has no slot for a new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the resolver's table of names is full")]
pub(crate) struct TableFull;

/// An index of the table, from 1: slot 0 would be 198.18.0.1, the jail's own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Slot(u32);

impl SyntheticAddresses {
    /// Creates an empty table. Without `ipv6` (the jail has none), AAAA questions get no address.
    pub(crate) fn new(ipv6: bool) -> Self {
        SyntheticAddresses {
            ipv6,
            table: Mutex::default(),
        }
    }

    /// Returns true if AAAA questions get an address.
    pub(crate) fn ipv6(&self) -> bool {
        self.ipv6
    }

    /// Returns the addresses of `name` (canonical, as in [`Host::Name`]). Makes them up if the name is new.
    pub(crate) fn addresses_of(&self, name: &str) -> Result<(Ipv4Addr, Ipv6Addr), TableFull> {
        let mut table = self.table();
        for slot in slots_of(name) {
            match table.get(&slot) {
                Some(taken) if **taken == *name => return Ok(slot.addresses()),
                Some(_) => {}
                None if table.len() >= CAPACITY => return Err(TableFull),
                None => {
                    table.insert(slot, name.into());
                    return Ok(slot.addresses());
                }
            }
        }
        Err(TableFull)
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Slot, Box<str>>> {
        lock(&self.table)
    }
}

impl NameSource for SyntheticAddresses {
    fn name_of(&self, address: IpAddr) -> Option<Host> {
        let slot = Slot::of(address.to_canonical())?;
        self.table().get(&slot).map(|name| Host::Name(name.to_string()))
    }
}

/// Yields the slots of `name` in the order in which they are tried. There are two hashes, so that names with the same first slot
/// differ in the next ones.
fn slots_of(name: &str) -> impl Iterator<Item = Slot> {
    // std may change the algorithm between releases. Then addresses change once, which is harmless.
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let hash = hasher.finish();
    let (start, step) = (hash >> 32, hash & 0xffff_ffff);
    let free = u64::from(SLOTS) - 1;
    let step = 1 + step % (free - 1);
    (0..PROBES).filter_map(move |probe| u32::try_from(1 + (start + probe * step) % free).ok().map(Slot))
}

impl Slot {
    fn addresses(self) -> (Ipv4Addr, Ipv6Addr) {
        let (block, host) = (self.0 / HOSTS, 1 + self.0 % HOSTS);
        let v4 = Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + block * 256 + host);
        let [a, b, c, d] = PREFIX;
        let v6 = Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_bits() + u128::from(self.0);
        (v4, Ipv6Addr::from_bits(v6))
    }

    fn of(address: IpAddr) -> Option<Slot> {
        let slot = match address {
            IpAddr::V4(v4) => {
                let offset = v4.to_bits().checked_sub(Ipv4Addr::new(198, 18, 0, 0).to_bits())?;
                let host = (offset % 256).checked_sub(1).filter(|host| *host < HOSTS)?;
                (offset / 256).checked_mul(HOSTS)?.checked_add(host)?
            }
            IpAddr::V6(v6) => {
                let [.., high, low] = v6.segments();
                (u32::from(high) << 16) | u32::from(low)
            }
        };
        let slot = Slot(slot);
        let (v4, v6) = slot.bounded()?.addresses();
        (address == v4 || address == v6).then_some(slot)
    }

    fn bounded(self) -> Option<Slot> {
        (1..SLOTS).contains(&self.0).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_address_leads_back_to_its_slot_and_no_other_does() {
        for slot in (1..SLOTS).map(Slot) {
            let (v4, v6) = slot.addresses();
            assert_eq!(Slot::of(v4.into()), Some(slot));
            assert_eq!(Slot::of(v6.into()), Some(slot));
            assert!(
                !matches!(v4.octets(), [.., 0 | 255]) && matches!(v4.octets(), [198, 18 | 19, ..]),
                "{v4}"
            );
        }
        for foreign in [
            "198.18.0.0",
            "198.18.0.1",
            "198.18.0.255",
            "198.18.7.0",
            "198.19.255.255",
            "198.20.0.1",
            "198.17.255.254",
            "127.0.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "2001:2::1",
            "2001:2:0:1::",
            "2001:2:0:1::ffff:ffff",
            "2001:2:0:1:1::5",
            "2001:2:0:2::5",
            "::1",
            "::5",
        ] {
            assert_eq!(Slot::of(foreign.parse().unwrap()), None, "{foreign}");
        }
    }

    #[test]
    fn a_name_keeps_its_address_from_run_to_run() {
        let (first, second) = (SyntheticAddresses::new(true), SyntheticAddresses::new(false));
        second.addresses_of("other.test").unwrap();
        assert_eq!(first.addresses_of("example.test"), second.addresses_of("example.test"));
        assert_eq!(first.addresses_of("example.test"), first.addresses_of("example.test"));
    }

    #[test]
    fn only_what_was_asked_for_has_a_name() {
        let names = SyntheticAddresses::new(true);
        let (v4, v6) = SyntheticAddresses::new(true).addresses_of("example.test").unwrap();
        assert_eq!((names.name_of(v4.into()), names.name_of(v6.into())), (None, None));
        names.addresses_of("example.test").unwrap();
        let host = Some(Host::Name("example.test".into()));
        for address in [IpAddr::from(v4), v6.into(), v4.to_ipv6_mapped().into()] {
            assert_eq!(names.name_of(address), host);
        }
    }

    // Proves on all: D05.
    #[test]
    fn a_full_table_refuses_new_names_and_keeps_the_old() {
        let names = SyntheticAddresses::new(true);
        let mut addresses = HashSet::new();
        for n in 0..CAPACITY {
            let (v4, v6) = names.addresses_of(&format!("n{n}.test")).unwrap();
            assert!(
                addresses.insert(IpAddr::from(v4)) && addresses.insert(v6.into()),
                "given twice"
            );
        }
        assert_eq!(names.addresses_of("one.more.test"), Err(TableFull));
        let (v4, _) = names.addresses_of("n0.test").unwrap();
        assert_eq!(names.name_of(v4.into()), Some(Host::Name("n0.test".into())));
    }

    #[test]
    fn names_that_collide_get_different_addresses() {
        // By the pigeonhole principle some of these share a first slot.
        let names = SyntheticAddresses::new(true);
        let all: Vec<String> = (0..2000).map(|n| format!("{n}.collide.test")).collect();
        let firsts: HashSet<Slot> = all.iter().filter_map(|name| slots_of(name).next()).collect();
        assert!(firsts.len() < all.len(), "no collision to be tried");
        let given: HashSet<_> = all.iter().map(|name| names.addresses_of(name).unwrap()).collect();
        assert_eq!(given.len(), all.len());
    }
}
