"""What the kernel answers to calls that a jail must not have: answers.py NAME...

Prints "NAME=WORD" for each: the name of the errno, or "done". The arguments are such that nothing happens even where
the call is let through.
"""

import ctypes
import errno
import os
import platform
import socket
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
# Calls that are older than the common numbering.
KEYS = {"x86_64": (248, 249, 250), "aarch64": (217, 218, 219)}.get(platform.machine(), (0, 0, 0))
BPF = {"x86_64": 321, "aarch64": 280}.get(platform.machine(), 0)
TIOCSTI, TIOCLINUX = 0x5412, 0x541C


def check(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def family(number, kind=socket.SOCK_DGRAM, protocol=0):
    return lambda: socket.socket(number, kind, protocol).close()


def system_call(*arguments):
    return lambda: check(LIBC.syscall(*arguments))


def ioctl(request):
    return lambda: check(LIBC.ioctl(0, ctypes.c_ulong(request), ctypes.create_string_buffer(b"x")))


STREAM, DGRAM, RAW, SEQPACKET = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET
CALLS = {
    "tcp": family(2, STREAM), "tcp6": family(10, STREAM), "udp": family(2), "udp6": family(10), "unix": family(1),
    "netlink_route": family(16, RAW, 0), "netlink_diag": family(16, RAW, 4), "netlink_audit": family(16, RAW, 9),
    "netlink_netfilter": family(16, RAW, 12), "netlink_uevent": family(16, RAW, 15), "netlink_generic": family(16, RAW, 16),
    "sctp": family(2, STREAM, 132), "sctp_seqpacket": family(2, SEQPACKET, 132), "dccp": family(2, 6, 33),
    "udplite": family(2, DGRAM, 136), "udplite6": family(10, DGRAM, 136), "l2tp": family(2, DGRAM, 115),
    "icmp": family(2, DGRAM, 1), "icmp6": family(10, DGRAM, 58), "raw": family(2, RAW, 255), "raw6": family(10, RAW, 58),
    "packet": family(17, RAW, 0), "packet_dgram": family(17), "vsock": family(40, STREAM), "smc": family(43, STREAM),
    "xdp": family(44, RAW), "can": family(29, RAW, 1), "bluetooth": family(31, RAW, 1), "rds": family(21, SEQPACKET),
    "rxrpc": family(33, DGRAM, 2), "tipc": family(30, STREAM), "key": family(15, RAW, 2), "alg": family(38, SEQPACKET),
    "io_uring_setup": system_call(425, 0, 0), "io_uring_enter": system_call(426, -1, 0, 0, 0, 0, 0),
    "io_uring_register": system_call(427, -1, 0, 0, 0),
    "pidfd_getfd": system_call(438, -1, 0, 0), "setns": lambda: check(LIBC.setns(-1, 0)),
    "add_key": system_call(KEYS[0], 0, 0, 0, 0, 0), "request_key": system_call(KEYS[1], 0, 0, 0, 0),
    "keyctl": system_call(KEYS[2], 0xFFFF, 0, 0, 0, 0), "bpf": system_call(BPF, 0xFFFF, 0, 0),
    "tiocsti": ioctl(TIOCSTI), "tiocsti_with_high_bits": ioctl(TIOCSTI + (1 << 32)), "tioclinux": ioctl(TIOCLINUX),
}

for name in sys.argv[1:]:
    try:
        CALLS[name]()
        print(f"{name}=done")
    except OSError as error:
        print(f"{name}={errno.errorcode.get(error.errno, error)}")
