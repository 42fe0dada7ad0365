"""Tries to reach a program outside in each way that a Unix socket has: reach.py MESSAGE NAME...

`@` at the start of a NAME stands for a name in no file system; "wait:FILE" waits until that file is there. Says how each try
ended, for the reader of a failed test: what reached the program outside, it tells itself.
"""

import os
import socket
import sys
import time

message = sys.argv[1].encode()


def attempt(what, act):
    try:
        act()
        print(what, "done", flush=True)
    except OSError as error:
        print(what, error, flush=True)


def stream(name, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_UNIX, kind)
    s.settimeout(10)
    s.connect(name)
    s.sendall(message)


def relative(name):
    os.chdir(os.path.dirname(name))
    stream(os.path.basename(name))


def by_descriptor(name):
    folder = os.open(os.path.dirname(name), os.O_RDONLY)
    stream(f"/proc/self/fd/{folder}/{os.path.basename(name)}")


def datagram(name, kind=socket.SOCK_DGRAM):
    socket.socket(socket.AF_UNIX, kind).sendto(message, name + ".datagram")


def connected_datagram(name):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.connect(name + ".datagram")
    s.send(message)


def one_of_a_pair(name):
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    other.setblocking(False)
    one.sendto(message, name + ".datagram")
    one.sendmsg([message], [], 0, name + ".datagram")


print("trying", flush=True)
for name in sys.argv[2:]:
    if name.startswith("wait:"):
        while not os.path.exists(name[5:]):
            time.sleep(0.02)
        continue
    if name.startswith("@"):
        name = "\0" + name[1:]
    attempt("stream", lambda: stream(name))
    attempt("datagram", lambda: datagram(name))
    attempt("raw", lambda: datagram(name, socket.SOCK_RAW))
    attempt("connected datagram", lambda: connected_datagram(name))
    attempt("pair", lambda: one_of_a_pair(name))
    if not name.startswith("\0"):
        attempt("descriptor", lambda: by_descriptor(name))
        attempt("relative", lambda: relative(name))
