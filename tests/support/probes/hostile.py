"""Puts what a terminal would obey wherever httpjail may show it: in URLs, fields, server names, DNS names, program names.

Everything here is to be refused; nothing is said of how that went.
"""

import ctypes
import os
import shutil
import socket
import struct
import subprocess
import tempfile

# Colour, the same by C1, a line end and a line of its own, a bell, right-to-left, an isolate, a zero-width space.
EVIL = "\x1b[31m\x9b1m\r\nforged: line\x07\u202e\u2066\u200b"
BYTES = EVIL.encode() + b"\x9b\xff"
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "timeout": 30}


def tell(host, port, said):
    try:
        with socket.create_connection((host, port), timeout=10) as stream:
            stream.sendall(said)
            while stream.recv(65536):
                pass
    except OSError:
        pass


def ask(server, label):
    query = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0)
    query += b"".join(bytes([len(part)]) + part for part in (label[:63], b"test")) + b"\0" + struct.pack("!2H", 16, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        try:
            s.sendto(query, (server, 53))
            s.recv(4096)
        except OSError:
            pass


def hello(name):
    """A ClientHello with a server name (RFC 6066 section 3) and the one extension that it may not lack, an algorithm."""
    entry = b"\0" + struct.pack("!H", len(name)) + name
    entries = struct.pack("!H", len(entry)) + entry
    extension = struct.pack("!2H", 0, len(entries)) + entries + b"\0\x0d\0\4\0\2\4\3"
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0" + struct.pack("!H", len(extension)) + extension
    shake = b"\1" + struct.pack("!I", len(body))[1:] + body
    return b"\x16\3\1" + struct.pack("!H", len(shake)) + shake


one = EVIL.replace("\r\n", "").encode()
wide = "\u202e\u2066\u200b\u0085\u009b".encode()
for target in [
    b"/src-path-" + one,
    b"/src-path-" + BYTES,
    b"/src-path-" + wide,
    b"/src-path-%1b%9b%0d%0a%e2%80%ae",
    b"/src-query-?" + wide,
    b"/src-long-" + b"a" * 60000,
    b"http://src-authority-" + wide + b".test/",
    b"/src-malformed-%zz" + wide,
]:
    tell("evil.test", 80, b"GET " + target + b" HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n")
for field in [b"Host: src-host-" + wide, b"Host: src-host-" + one, b"Host: src-host-\x9b\xff", b"Host: evil.test\r\nX-" + one + b": y"]:
    tell("evil.test", 80, b"GET / HTTP/1.1\r\n" + field + b"\r\nConnection: close\r\n\r\n")
tell("evil.test", 80, b"SRC!" + b"!" * 27 + b" / HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n")
tell("evil.test", 80, b"CONNECT src-connect-" + wide + b".test:443 HTTP/1.1\r\nHost: x:443\r\nConnection: close\r\n\r\n")
tell("evil.test", 80, b"SSH-2.0-src" + BYTES + b"\r\n")
for name in [b"src-name-" + BYTES, b"src-name-" + wide + b".test", b"src-name\0.test", b"a" * 300, b"src-plain.test"]:
    tell("evil.test", 443, hello(name))
ask("198.51.100.2", b"src-dns-" + BYTES)
ask("198.51.100.2", b"src.dns\0\n" + wide)

# A thread's name has fifteen bytes, a program's path what a file name may have.
ctypes.CDLL(None).prctl(15, b"src\x1b[1m\n\xe2\x80\xae\x9b", 0, 0, 0)
tell("evil.test", 80, b"GET /src-comm HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n")
folder = tempfile.mkdtemp()
program = os.path.join(folder.encode(), b"src-exe-" + BYTES)
shutil.copy(shutil.which("curl"), program)
subprocess.run([b"src-argument-" + BYTES, b"-sS", b"http://evil.test/src-exe"], executable=program, **QUIET)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    try:
        s.sendto(BYTES, ("198.51.100.3", 9999))
    except OSError:
        pass
shutil.rmtree(folder)
