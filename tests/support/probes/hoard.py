"""Makes the proxy hold as much as it will: hoard.py HOW COUNT HOST PORT

HOW is what each of COUNT connections does, and then does not: "uploads" sends bodies over HTTP/2 that nobody reads, "heads"
sends heads of HTTP/1 that do not end, "downloads" asks for answers over HTTP/2 and reads none. Then an honest client asks,
ten times, and what it got is said in one line of JSON; all is held until stdin ends.
"""

import json
import resource
import socket
import ssl
import struct
import sys
import time

HOW, COUNT, HOST, PORT = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
STREAMS = 20
FRAME = 16384
ROUNDS = 4

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def frame(kind, flags, stream, payload):
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def literal(name, value):
    """A field without indexing (RFC 7541 section 6.2.2), lengths below 127."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def head(method, scheme, path):
    fields = [(b":method", method), (b":scheme", scheme), (b":path", path), (b":authority", AUTHORITY)]
    return b"".join(literal(*field) for field in fields)


AUTHORITY = (HOST if PORT in (80, 443) else f"{HOST}:{PORT}").encode()
SETTINGS, WINDOW_UPDATE, DATA, HEADERS = 4, 8, 0, 1


class Http2:
    """A client that sends what the windows permit."""

    def __init__(self, stream, method, path, scheme, window):
        self.stream = stream
        self.heard = b""
        self.connection, self.streams, self.initial = 65535, [0] * STREAMS, 65535
        said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        said += frame(SETTINGS, 0, 0, struct.pack("!HI", 4, window))
        said += frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", 0x7FFFFFFF - 65535))
        ends = 0 if method == b"POST" else 1
        for number in range(STREAMS):
            said += frame(HEADERS, 4 | ends, 2 * number + 1, head(method, scheme, path))
        self.unsent = said

    def hear(self):
        try:
            while more := self.stream.recv(65536):
                self.heard += more
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        while len(self.heard) >= 9:
            length = struct.unpack("!I", b"\0" + self.heard[:3])[0]
            if len(self.heard) < 9 + length:
                break
            kind, flags = self.heard[3], self.heard[4]
            stream = struct.unpack("!I", self.heard[5:9])[0]
            payload, self.heard = self.heard[9 : 9 + length], self.heard[9 + length :]
            if kind == SETTINGS and not flags & 1:
                for at in range(0, length, 6):
                    name, value = struct.unpack("!HI", payload[at : at + 6])
                    if name == 4:
                        self.initial = value
                self.unsent += frame(SETTINGS, 1, 0, b"")
            elif kind == WINDOW_UPDATE and stream == 0:
                self.connection += struct.unpack("!I", payload)[0]

    def say(self):
        while True:
            if not self.unsent:
                for number in range(STREAMS):
                    room = min(self.connection, self.initial - self.streams[number], FRAME)
                    if room > 0:
                        self.connection -= room
                        self.streams[number] += room
                        self.unsent += frame(DATA, 0, 2 * number + 1, bytes(room))
            if not self.unsent:
                return
            try:
                sent = self.stream.send(self.unsent)
            except (BlockingIOError, ssl.SSLWantWriteError):
                return
            self.unsent = self.unsent[sent:]


def connect():
    stream = socket.create_connection((HOST, PORT), timeout=60)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return stream


def hoard():
    if HOW == "heads":
        stream = connect()
        stream.sendall(b"GET / HTTP/1.1\r\nHost: " + AUTHORITY + b"\r\nX: " + b"x" * 60000)
        return stream
    if HOW == "uploads":
        stream = connect()
        stream.setblocking(False)
        return Http2(stream, b"POST", b"/", b"http", 65535)
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2"])
    stream = context.wrap_socket(connect(), server_hostname=HOST)
    stream.setblocking(False)
    client = Http2(stream, b"GET", b"/flood/100000000", b"https", 0x7FFFFFFF)
    client.connection = 0
    return client


def ask():
    try:
        with socket.create_connection(("ok.test", 80), timeout=120) as stream:
            stream.sendall(b"GET /bytes/5 HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n")
            answer = b""
            while more := stream.recv(65536):
                answer += more
    except OSError as error:
        return str(error)
    return answer[:12].decode() + " " + answer[-5:].decode()


held, lost, asked = [], 0, []
for number in range(COUNT):
    try:
        held.append(hoard())
    except OSError:
        lost += 1
for _ in range(ROUNDS if HOW != "heads" else 0):
    for client in list(held):
        try:
            if HOW == "uploads":
                client.hear()
            client.say()
        except OSError:
            held.remove(client)
            lost += 1
    time.sleep(0.2)
for _ in range(10):
    # A busy machine's servers and resolvers are late: that is not what is tried here.
    answers = (ask() for _ in range(5))
    asked.append(next((answer for answer in answers if not answer.startswith(("HTTP/1.1 502", "HTTP/1.1 504"))), "never"))
print(json.dumps({"held": len(held), "lost": lost, "asked": asked}), flush=True)
sys.stdin.read()
