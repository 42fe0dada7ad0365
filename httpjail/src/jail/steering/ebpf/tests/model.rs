//! The packet programs against a model of what they are to do, on packets that nobody would send.
//!
//! The model is written from the promise: TCP or UDP right behind a plain header, on `lo`, with httpjail's own socket or one
//! of the jail's at the far end. Both judge the same frames, made by chance around what is allowed: cut short, with options,
//! extension headers, fragments, other protocols, other interfaces, ports of the jail's sockets and of strangers'. A seed
//! that disagrees is printed, so that it can be run again.

use super::lab::{Lab, in_namespace};
use crate::jail::steering::ebpf::Programs;
use crate::net::Inbound;
use crate::sys::bpf::{Map, MapDef, map_create, prog_test_run};
use aya_obj::generated::bpf_insn;
use httpjail_common::{Address, JailConfig};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::AsFd;

/// How many frames each of the two programs gets.
const FRAMES: u64 = 30_000;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const OWN_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// Has a program that reads the cgroup's storage read the first value of an array instead: the load of the map's address
/// becomes one of the value's, and the call that finds the storage a copy of that address (include/uapi/linux/bpf.h).
pub(in super::super) fn read_array(instructions: &mut [bpf_insn], storage: i32, array: i32) {
    const LOAD_IMMEDIATE: u8 = 0x18;
    const CALL: u8 = 0x85;
    const COPY: u8 = 0xbf;
    const PSEUDO_MAP_FD: u8 = 1;
    const PSEUDO_MAP_VALUE: u8 = 2;
    const GET_LOCAL_STORAGE: i32 = 81;
    for index in 0..instructions.len() {
        let instruction = &mut instructions[index];
        if instruction.code == LOAD_IMMEDIATE && instruction.src_reg() == PSEUDO_MAP_FD && instruction.imm == storage {
            instruction.set_src_reg(PSEUDO_MAP_VALUE);
            instruction.imm = array;
            instructions[index + 1].imm = 0;
        } else if instruction.code == CALL && instruction.src_reg() == 0 && instruction.imm == GET_LOCAL_STORAGE {
            instruction.code = COPY;
            instruction.set_dst_reg(0);
            instruction.set_src_reg(1);
            instruction.imm = 0;
        }
    }
}

/// Whose a socket is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Owner {
    Jail,
    Stranger,
}

/// A bound socket: TCP or UDP, IPv6 or not, its address (none for any), its port, its owner.
struct Bound {
    protocol: u8,
    v6: bool,
    address: Option<[u8; 16]>,
    port: u16,
    owner: Owner,
}

/// What the model knows of the namespace.
struct World {
    config: JailConfig,
    bound: Vec<Bound>,
    peers: Vec<Inbound>,
}

/// An address as the model compares it: IPv4 in the last four bytes of a mapped one.
fn mapped(address: Ipv4Addr) -> [u8; 16] {
    address.to_ipv6_mapped().octets()
}

fn is_localhost(address: [u8; 16], v6: bool) -> bool {
    match v6 {
        true => address == Ipv6Addr::LOCALHOST.octets(),
        false => address == mapped(Ipv4Addr::LOCALHOST),
    }
}

impl World {
    fn owner(&self, protocol: u8, address: [u8; 16], v6: bool, port: u16) -> Option<Owner> {
        let is = |bound: &&Bound| {
            (bound.protocol, bound.v6, bound.port) == (protocol, v6, port)
                && bound.address.is_none_or(|wanted| wanted == address)
        };
        self.bound.iter().find(is).map(|bound| bound.owner)
    }

    /// Whether an IP packet may pass.
    fn allows(&self, ethertype: u16, packet: &[u8], outgoing: bool, ifindex: u32) -> bool {
        headers(ethertype, packet).is_some_and(|headers| {
            self.judged(headers, packet, outgoing, ifindex).unwrap_or(false)
                || self.lets_in(headers, packet, outgoing, ifindex).unwrap_or(false)
        })
    }

    /// Whether it is loopback, or the jail's own.
    fn is_local(&self, address: [u8; 16], v6: bool) -> bool {
        let own = [self.config.own_v4, self.config.own_v6]
            .iter()
            .any(|own| own.0 == address);
        is_localhost(address, v6) || own || !v6 && address[12] == 127
    }

    /// Whether it is a connection's that a peer begins; none where the packet ends too early.
    fn lets_in(&self, headers: Headers, packet: &[u8], outgoing: bool, ifindex: u32) -> Option<bool> {
        let (protocol, source, destination, at, v6) = headers;
        let ports = packet.get(at..at + 4)?;
        let opens = packet.get(at + 13)? & 0x12 == 0x02;
        let (far, near_port) = match outgoing {
            true => (destination, [ports[0], ports[1]]),
            false => (source, [ports[2], ports[3]]),
        };
        let is_peer = |inbound: &Inbound| {
            let network = Address::from(inbound.network).0;
            let bits = usize::from(inbound.bits) + if v6 { 0 } else { 96 };
            let same = |bit: usize| (network[bit / 8] ^ far[bit / 8]) & (0x80 >> (bit % 8)) == 0;
            inbound.port == u16::from_be_bytes(near_port) && inbound.network.is_ipv6() == v6 && (0..bits).all(same)
        };
        let peer = self.config.inbound == 1 && self.peers.iter().any(is_peer);
        let outside = ifindex != self.config.ifindex || !self.is_local(far, v6);
        Some(protocol == 6 && peer && outside && !(opens && outgoing))
    }

    /// Whether the far end is httpjail's or the jail's; none where the packet ends too early.
    fn judged(&self, headers: Headers, packet: &[u8], outgoing: bool, ifindex: u32) -> Option<bool> {
        let (protocol, source, destination, at, v6) = headers;
        let ports = packet.get(at..at + 4)?;
        let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
        let (far, far_port) = match outgoing {
            true => (destination, port(2)),
            false => (source, port(0)),
        };
        if ifindex != self.config.ifindex {
            return Some(false);
        }
        if !self.is_local(far, v6) {
            return Some(false);
        }
        let localhost = is_localhost(far, v6);
        let ports = if v6 { &self.config.v6 } else { &self.config.v4 };
        let owner = self.owner(protocol, far, v6, far_port);
        if protocol == 17 {
            return Some(owner == Some(Owner::Jail) || localhost && far_port != 0 && far_port == ports.resolver_udp);
        }
        if localhost && far_port != 0 && (far_port == ports.proxy || far_port == ports.resolver_tcp) {
            return Some(true);
        }
        let flags = packet.get(at + 13)?;
        let opens = flags & 0x12 == 0x02;
        Some(match owner {
            Some(owner) => owner == Owner::Jail,
            // Nobody is there to read it; but nobody may begin.
            None => !opens,
        })
    }
}

/// Protocol, source, destination, where the transport header starts, and whether it is IPv6.
type Headers = (u8, [u8; 16], [u8; 16], usize, bool);

/// Reads them of a plain TCP or UDP packet; none of any other.
fn headers(ethertype: u16, packet: &[u8]) -> Option<Headers> {
    let headers = match ethertype {
        0x0800 => {
            let header = packet.get(..20)?;
            let plain = header[0] == 0x45 && header[6] & 0x3f == 0 && header[7] == 0;
            if !plain {
                return None;
            }
            let address = |at: usize| {
                mapped(Ipv4Addr::new(
                    header[at],
                    header[at + 1],
                    header[at + 2],
                    header[at + 3],
                ))
            };
            (header[9], address(12), address(16), 20, false)
        }
        0x86dd => {
            let header = packet.get(..40)?;
            let address = |at: usize| <[u8; 16]>::try_from(&header[at..at + 16]).unwrap();
            let (source, destination) = (address(8), address(24));
            // The kernel's own: a segment of more than 64 KiB.
            let jumbo = header[6] == 0 && header[4..6] == [0, 0] && packet.get(40..44)? == [6, 0, 0xc2, 4];
            if Ipv6Addr::from(source).to_ipv4_mapped().is_some()
                || Ipv6Addr::from(destination).to_ipv4_mapped().is_some()
            {
                return None;
            }
            match jumbo {
                true => (6, source, destination, 48, true),
                false => (header[6], source, destination, 40, true),
            }
        }
        _ => return None,
    };
    if headers.0 != 6 && headers.0 != 17 {
        return None;
    }
    Some(headers)
}

/// Numbers by chance, the same for the same seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    fn one_in(&mut self, number: usize) -> bool {
        self.below(number) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// An Ethernet frame near what is allowed.
fn frame(chance: &mut Chance, ports: &[u16]) -> Vec<u8> {
    let v6 = chance.one_in(2);
    let protocol = match chance.one_in(8) {
        true => chance.byte(),
        false => chance.of(&[6, 17]),
    };
    let mut transport = Vec::new();
    for _ in 0..2 {
        let port = if chance.one_in(6) {
            chance.next() as u16
        } else {
            chance.of(ports)
        };
        transport.extend(port.to_be_bytes());
    }
    transport.extend((0..8).map(|_| chance.byte()));
    transport.push(0x50);
    transport.push(chance.of(&[0x02, 0x10, 0x12, 0x18, 0x04, 0x11, 0xff, 0x00]));
    transport.extend((0..chance.below(12)).map(|_| chance.byte()));

    let mut packet = Vec::new();
    if v6 {
        let addresses = [
            "::1",
            "2001:2::1",
            "::",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "fe80::1",
            "::2",
        ];
        let mut extension = Vec::new();
        let mut next = protocol;
        if chance.one_in(4) {
            extension = match chance.below(3) {
                0 => vec![6, 0, 0xc2, 4, 0, 1, 0, 0],
                1 => vec![protocol, 0, 1, 4, 0, 0, 0, 0],
                _ => vec![protocol, 0, chance.byte(), chance.byte(), 0, 0, 0, 0],
            };
            // Hop-by-hop, routing, fragment, destination options, authentication.
            next = chance.of(&[0, 0, 43, 44, 60, 51]);
        }
        let length = match chance.one_in(3) {
            true => 0,
            false => (extension.len() + transport.len()) as u16,
        };
        packet.extend([0x60, 0, 0, 0]);
        packet.extend(length.to_be_bytes());
        packet.extend([next, 64]);
        for _ in 0..2 {
            // The first are the allowed ones: more often.
            let at = chance.below(addresses.len() * 2) % (addresses.len() + 2);
            let address: Ipv6Addr = addresses.get(at).unwrap_or(&"::1").parse().unwrap();
            packet.extend(address.octets());
        }
        packet.extend(extension);
    } else {
        let addresses = [
            Ipv4Addr::LOCALHOST,
            OWN_V4,
            Ipv4Addr::new(127, 9, 9, 9),
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::new(192, 0, 2, 1),
            Ipv4Addr::new(128, 0, 0, 1),
        ];
        let options = if chance.one_in(6) { chance.below(11) } else { 0 };
        let version_and_length = if chance.one_in(12) {
            chance.byte()
        } else {
            0x45 + options as u8
        };
        packet.extend([version_and_length, 0]);
        packet.extend(((20 + options * 4 + transport.len()) as u16).to_be_bytes());
        packet.extend([0, 1]);
        // "Don't fragment", "more fragments", an offset, the reserved bit, or nothing.
        packet.extend(chance.of(&[
            [0, 0],
            [0x40, 0],
            [0, 0],
            [0x40, 0],
            [0x20, 0],
            [0, 1],
            [0x1f, 0],
            [0x80, 0],
        ]));
        packet.extend([64, protocol, 0, 0]);
        for _ in 0..2 {
            let at = chance.below(addresses.len() + 3);
            packet.extend(addresses.get(at).unwrap_or(&Ipv4Addr::LOCALHOST).octets());
        }
        packet.extend((0..options * 4).map(|_| 1));
    }
    packet.extend(transport);
    if chance.one_in(10) {
        packet.truncate(chance.below(packet.len() + 1));
    }
    if chance.one_in(10) && !packet.is_empty() {
        let at = chance.below(packet.len());
        packet[at] ^= 1 << chance.below(8);
    }
    let ethertype: u16 = match (chance.one_in(16), v6) {
        (true, _) => chance.of(&[0x0806, 0x8100, 0x0800, 0x86dd, 0x88b5]),
        (false, true) => 0x86dd,
        (false, false) => 0x0800,
    };
    let mut frame = vec![0; 12];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(packet);
    frame
}

/// Sockets of the jail: of each kind one on any address, and one on localhost.
const SOCKETS: &str = r#"
kept = []
for family, any, here in ((AF_INET, '0.0.0.0', '127.0.0.1'), (AF_INET6, '::', '::1')):
    for kind in (SOCK_STREAM, SOCK_DGRAM):
        for address in (any, here):
            s = socket(family, kind)
            if family == AF_INET6: s.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
            s.bind((address, 0))
            if kind == SOCK_STREAM: s.listen()
            kept.append(s)
listen_to_stdin(globals())
"#;

// Proves: S04, S09, S10, S12, S13, S14, S26.
#[test]
fn a_model_and_the_programs_agree_on_every_packet() {
    in_namespace(|| {
        let array = map_create(
            "MODEL",
            &MapDef {
                map_type: BPF_MAP_TYPE_ARRAY,
                key_size: 4,
                value_size: size_of::<JailConfig>() as u32,
                max_entries: 1,
                flags: 0,
                types: None,
            },
        )
        .unwrap();
        let (programs, runnable) = Programs::load_to_run(&Programs::object().unwrap(), array.as_fd()).unwrap();
        let mut lab = Lab::around(programs);
        lab.attach();
        lab.config.armed = 1;
        lab.configure();
        let array: Map<u32, JailConfig> = Map::new(array).unwrap();
        let mut inside = lab.start(SOCKETS);
        assert_eq!(inside.hear(), "ready");

        let mut world = world(&lab, &inside.ask("' '.join(str(s.getsockname()[1]) for s in kept)"));
        let _strangers = &world.1;
        let world = &mut world.0;
        let mut ports: Vec<u16> = world.bound.iter().map(|bound| bound.port).collect();
        ports.extend([0, 80, world.config.v4.proxy, world.config.v4.resolver_udp]);
        let (mut passed, mut untold) = (0, 0);
        // Unarmed, nothing passes: the array is all zeroes yet.
        let unarmed = frame(&mut Chance(1), &ports);
        assert_eq!(prog_test_run(runnable[0].as_fd(), &unarmed, 1).unwrap(), 0);
        world
            .peers
            .iter()
            .for_each(|peers| lab.programs.peers.let_in(peers).unwrap());
        array.update(&0, &world.config).unwrap();
        for seed in 0..FRAMES {
            // The second half with peers that are let in.
            if seed == FRAMES / 2 {
                world.config.inbound = 1;
                array.update(&0, &world.config).unwrap();
            }
            let mut chance = Chance(seed);
            let frame = frame(&mut chance, &ports);
            let ethertype = u16::from_be_bytes([frame[12], frame[13]]);
            let ifindex = if chance.one_in(12) { 2 } else { 1 };
            for (program, outgoing) in runnable.iter().zip([true, false]) {
                let Ok(verdict) = prog_test_run(program.as_fd(), &frame, ifindex) else {
                    untold += 1;
                    continue;
                };
                let wanted = world.allows(ethertype, &frame[14..], outgoing, ifindex);
                assert_eq!(
                    verdict,
                    u32::from(wanted),
                    "seed {seed}, outgoing {outgoing}: {frame:02x?}"
                );
                passed += u64::from(wanted);
            }
        }
        eprintln!(
            "{} verdicts, {passed} of them to pass; {untold} frames that the kernel does not take",
            FRAMES * 2 - untold
        );
        assert!(passed > FRAMES / 20, "only {passed} are to pass: the frames say little");
        assert!(untold < FRAMES / 5, "{untold} frames were not tried");
    });
}

/// Who is bound to what, with the strangers' sockets; and an interface besides `lo`.
fn world(lab: &Lab, ports_of_the_jail: &str) -> (World, (Vec<TcpListener>, Vec<UdpSocket>)) {
    let status = std::process::Command::new("ip")
        .args(["link", "add", "other", "type", "veth", "peer", "name", "far"])
        .status()
        .unwrap();
    assert!(status.success());
    let mut of_the_jail = ports_of_the_jail.split(' ').map(|port| port.parse::<u16>().unwrap());
    let mut bound = Vec::new();
    let (mut streams, mut datagrams) = (Vec::new(), Vec::new());
    for (v6, here) in [
        (false, mapped(Ipv4Addr::LOCALHOST)),
        (true, Ipv6Addr::LOCALHOST.octets()),
    ] {
        let name = if v6 { "[::1]:0" } else { "127.0.0.1:0" };
        for protocol in [6, 17] {
            for address in [None, Some(here)] {
                let port = of_the_jail.next().unwrap();
                let owner = Owner::Jail;
                bound.push(Bound {
                    protocol,
                    v6,
                    address,
                    port,
                    owner,
                });
            }
        }
        let stream = TcpListener::bind(name).unwrap();
        let datagram = UdpSocket::bind(name).unwrap();
        for (protocol, at) in [(6, stream.local_addr()), (17, datagram.local_addr())] {
            let (address, port, owner) = (Some(here), at.unwrap().port(), Owner::Stranger);
            bound.push(Bound {
                protocol,
                v6,
                address,
                port,
                owner,
            });
        }
        streams.push(stream);
        datagrams.push(datagram);
        // httpjail's own, at addresses where they are not.
        let ports = [
            (6, lab.config.v4.proxy),
            (6, lab.config.v4.resolver_tcp),
            (17, lab.config.v4.resolver_udp),
        ];
        for (protocol, port) in ports {
            let (address, owner) = (Some(here), Owner::Stranger);
            bound.push(Bound {
                protocol,
                v6,
                address,
                port,
                owner,
            });
        }
    }
    (
        World {
            config: lab.config,
            peers: peers(&bound),
            bound,
        },
        (streams, datagrams),
    )
}

/// Who is let in: networks around the frames' addresses. No IPv6 network holds IPv4 addresses.
fn peers(bound: &[Bound]) -> Vec<Inbound> {
    let listener = |v6: bool| {
        bound
            .iter()
            .find(|bound| bound.protocol == 6 && bound.v6 == v6)
            .unwrap()
            .port
    };
    let peers = [
        ("192.0.2.0", 24, listener(false)),
        ("127.9.0.0", 16, listener(false)),
        ("128.0.0.1", 32, 80),
        ("2001:db8::", 32, listener(true)),
        ("::", 0, 80),
    ];
    let inbound = |(network, bits, port): (&str, u8, u16)| Inbound {
        network: network.parse().unwrap(),
        bits,
        port,
    };
    peers.map(inbound).to_vec()
}
