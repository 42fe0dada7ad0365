"""Answers each request with what a table says, byte for byte: odd_server.py CORPUS ADDRESS CERTIFICATE KEY

CORPUS is in the format of tests/corpus/answers.txt. The row is named by the path on port 8009 (cleartext) and 8443 (TLS,
HTTP/1.1), and by the first label of the server name on port 8444 (TLS, HTTP/2). Prints "up" when it listens.
"""

import codecs
import contextlib
import re
import socket
import ssl
import struct
import sys
import threading
import time

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7


def rows(path):
    for line in open(path, encoding="ascii"):
        if line.strip() and not line.startswith("#"):
            name, *_, text = line.rstrip("\n").split("|", 4)
            yield name.strip().split("*")[0], text[1:]


def pieces(text):
    """Bytes to send, and words between them of what to do."""
    text = re.sub(r"\\\{(\d+)\*([^}]*)\}", lambda found: int(found[1]) * found[2], text)
    for at, piece in enumerate(re.split(r"\\\{(\w+)\}", text)):
        yield piece if at % 2 else codecs.escape_decode(piece.encode())[0]


def read_head(stream):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = stream.recv(1)
        if not byte:
            raise ConnectionError
        head += byte
    return head.decode("latin-1")


def close(stream, notify=True):
    """Closes; over TLS with the alert that says so (RFC 8446 section 6.1), or without."""
    with contextlib.suppress(OSError):
        if notify and isinstance(stream, ssl.SSLSocket):
            stream.setblocking(False)
            stream.unwrap()
    stream.close()


def answer(stream, text, length):
    """Whether more requests may come."""
    for piece in pieces(text):
        if isinstance(piece, bytes):
            stream.sendall(piece)
        elif piece == "pause":
            # So that what follows comes in a segment of its own.
            time.sleep(0.03)
        elif piece == "body":
            while length > 0:
                length -= len(stream.recv(65536)) or length
        elif piece == "reset":
            # Not before the client has what was sent.
            time.sleep(0.03)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.close()
            return False
        elif piece == "cut":
            close(stream, notify=False)
            return False
        elif piece == "open":
            return True
    close(stream)
    return False


def http1(stream, table):
    with contextlib.suppress(OSError):
        more = True
        while more:
            head = read_head(stream)
            length = re.search(r"(?i)\r\ncontent-length: *(\d+)", head)
            more = answer(stream, table[head.split(" ")[1].split("/")[1]], int(length[1]) if length else 0)


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def fields(words):
    """Literals without an index (RFC 7541 section 6.2.2)."""
    block = b""
    for word in words.split(","):
        name, _, value = word.partition("=")
        block += b"\0" + bytes([len(name)]) + name.encode()
        value = codecs.escape_decode(value.encode())[0]
        block += bytes([len(value)]) + value
    return block


def frames(text, stream):
    for word in text.split():
        what, _, rest = word.partition(":")
        if what in ("head", "trailers"):
            yield frame(HEADERS, 5 if what == "trailers" else 4, stream, fields(rest))
        elif what == "only":
            yield frame(HEADERS, 5, stream, fields(rest))
        elif what in ("data", "last"):
            yield frame(DATA, what == "last", stream, codecs.escape_decode(rest.encode())[0])
        elif what == "reset":
            yield frame(RESET, 0, stream, struct.pack(">I", int(rest)))
        elif what == "goaway":
            yield frame(GOAWAY, 0, 0, struct.pack(">II", stream, int(rest)))
        elif what == "pause":
            yield None
        elif what == "close":
            return


def http2(stream, table, name):
    file = stream.makefile("rb")
    with contextlib.suppress(OSError):
        file.read(24)
        stream.sendall(frame(SETTINGS, 0, 0))
        while head := file.read(9):
            payload = file.read(int.from_bytes(head[:3], "big"))
            kind, flags, number = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind in (SETTINGS, PING) and not flags & 1:
                stream.sendall(frame(kind, 1, 0, payload if kind == PING else b""))
            elif kind == HEADERS:
                for piece in frames(table[name], number):
                    if piece is None:
                        time.sleep(0.03)
                    else:
                        stream.sendall(piece)
                if table[name].endswith("close"):
                    return close(stream)


def main():
    corpus, address, certificate, key = sys.argv[1:]
    table = dict(rows(corpus))

    def context(protocol):
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(certificate, key)
        made.set_alpn_protocols([protocol])
        made.sni_callback = lambda stream, name, _: setattr(stream, "asked", (name or "").split(".")[0])
        return made

    def serve(port, sealed, talk):
        listener = socket.create_server((address, port))

        def one(stream):
            with contextlib.suppress(OSError):
                talk(sealed.wrap_socket(stream, server_side=True) if sealed else stream)

        def accept():
            while True:
                stream, _ = listener.accept()
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=one, args=(stream,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()

    serve(8009, None, lambda stream: http1(stream, table))
    serve(8443, context("http/1.1"), lambda stream: http1(stream, table))
    serve(8444, context("h2"), lambda stream: http2(stream, table, stream.asked))
    print("up", flush=True)
    sys.stdin.read()


main()
