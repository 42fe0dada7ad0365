//! One form for every address: sixteen bytes in network order, IPv4 as v4-mapped (RFC 4291 §2.5.5.2). So keys of the kernel
//! and of the proxy are equal byte for byte, whichever family the socket has.

/// An IP address: IPv6 unchanged, IPv4 as `::ffff:a.b.c.d`. All zeroes mean no address.
/// It is aligned so that the BPF programs, which may not load or store across a boundary, copy words and not single bytes.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address(pub [u8; 16]);

const _: () = assert!(size_of::<Address>() == 16);

impl Address {
    /// `::`, also "no address".
    pub const UNSPECIFIED: Address = Address([0; 16]);
    /// `0.0.0.0`.
    pub const UNSPECIFIED_V4: Address = Address::v4([0, 0, 0, 0]);
    /// `::1`.
    pub const LOCALHOST_V6: Address = Address([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    /// `127.0.0.1`.
    pub const LOCALHOST_V4: Address = Address::v4([127, 0, 0, 1]);

    /// Returns the form of an IPv4 address.
    #[inline(always)]
    pub const fn v4(o: [u8; 4]) -> Self {
        Address([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, o[0], o[1], o[2], o[3]])
    }

    /// Returns the address as four words, with the bytes in network order, as the kernel stores `in6_addr`.
    #[inline(always)]
    pub const fn words(self) -> [u32; 4] {
        let b = self.0;
        [
            u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
            u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
            u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
        ]
    }

    /// The inverse of [`Address::words`].
    #[inline(always)]
    pub const fn from_words(w: [u32; 4]) -> Self {
        let (a, b, c, d) = (
            w[0].to_ne_bytes(),
            w[1].to_ne_bytes(),
            w[2].to_ne_bytes(),
            w[3].to_ne_bytes(),
        );
        Address([
            a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3],
        ])
    }
}

#[cfg(feature = "user")]
mod user {
    use super::Address;
    use std::fmt;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    impl From<IpAddr> for Address {
        fn from(ip: IpAddr) -> Self {
            match ip {
                IpAddr::V4(v4) => v4.into(),
                IpAddr::V6(v6) => v6.into(),
            }
        }
    }

    impl From<Ipv4Addr> for Address {
        fn from(ip: Ipv4Addr) -> Self {
            Address::v4(ip.octets())
        }
    }

    impl From<Ipv6Addr> for Address {
        fn from(ip: Ipv6Addr) -> Self {
            Address(ip.octets())
        }
    }

    impl From<Address> for IpAddr {
        /// A v4-mapped address becomes IPv4: a program that connects to `::ffff:192.0.2.1` means the IPv4 host.
        fn from(address: Address) -> Self {
            Ipv6Addr::from(address.0).to_canonical()
        }
    }

    impl fmt::Debug for Address {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Display::fmt(&IpAddr::from(*self), f)
        }
    }
}

#[cfg(all(test, feature = "user"))]
mod tests {
    use super::Address;
    use std::net::IpAddr;

    #[test]
    fn addresses_keep_their_meaning_and_their_bytes() {
        let check = |text: &str, bytes: [u8; 16]| {
            let ip: IpAddr = text.parse().unwrap();
            let address = Address::from(ip);
            assert_eq!(address.0, bytes, "{text}");
            assert_eq!(IpAddr::from(address), ip, "{text}");
            assert_eq!(Address::from_words(address.words()), address, "{text}");
        };
        check("127.0.0.1", Address::LOCALHOST_V4.0);
        check("0.0.0.0", Address::UNSPECIFIED_V4.0);
        check("::1", Address::LOCALHOST_V6.0);
        check("::", Address::UNSPECIFIED.0);
        check("192.0.2.7", [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 7]);
        check("2001:db8::7", [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn a_mapped_address_reads_as_ipv4() {
        let mapped: std::net::Ipv6Addr = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(
            IpAddr::from(Address::from(mapped)),
            "192.0.2.7".parse::<IpAddr>().unwrap()
        );
    }
}
