"""HTTP/2 as no client should speak it: frames by hyperframe, header blocks by hpack, nothing checked before it is sent.

    h2.py HOST PORT WITNESS   every case on a connection of its own over TLS, and after each an honest request for the
                              path WITNESS; [{name, wanted, got, good, witness, seconds}] as JSON

An outcome is `goaway CODE`, `reset CODE`, a status, `closed`, or `open` if nothing came of it. A case says which are
right (RFC 9113, RFC 7541). `good` is "exact" for one of those; "ended" where the connection is to end with an error and
did, by another code or with the GOAWAY lost in a reset of TCP; "tolerated" where nothing bad can come of it, and the
library that the proxy is built on lets it be; "wrong" otherwise. The first word of a case's path tells the origin's log
where a request came from.
"""

import json
import socket
import ssl
import sys
import time

import hpack
from hpack.struct import NeverIndexedHeaderTuple
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

HOST, PORT, WITNESS = sys.argv[1], int(sys.argv[2]), sys.argv[3]
CODES = [
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
]  # fmt: skip
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, ACK = 1, 4, 8, 1
# What the h2 crate lets be: the SETTINGS that the preface lacks are taken as empty, and pseudo-headers in trailers are
# thrown away, so that nothing of them arrives anywhere.
TOLERATED = {("headers before settings", "200"), ("a pseudo header in trailers", "200")}
QUIET = 3  # how long nothing must come before a connection counts as left open
CASES = []


def frame(kind, flags, stream, payload=b"", length=None):
    length = len(payload) if length is None else length
    return length.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def case(*wanted):
    def add(function):
        CASES.append((function.__name__.replace("_", " "), wanted, function))
        return function

    return add


class Connection:
    def __init__(self, preface=PREFACE + frame(SETTINGS, 0, 0)):
        context = ssl.create_default_context()
        context.set_alpn_protocols(["h2"])
        self.socket = context.wrap_socket(socket.create_connection((HOST, PORT), 20), server_hostname=HOST)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.buffer, self.log, self.ended = b"", [], False
        self.send(preface)

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            self.ended = True

    def head(self, path="/bad", drop=(), change=None, more=()):
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", path)]
        fields = [(name, (change or {}).get(name, value)) for name, value in fields if name not in drop]
        return self.encode(fields + list(more))

    def encode(self, fields):
        # Never indexed: each case's block stands alone.
        return self.encoder.encode([NeverIndexedHeaderTuple(name, value) for name, value in fields], huffman=False)

    def ask(self, path="/bad", stream=1, flags=END_STREAM | END_HEADERS, **how):
        self.send(frame(HEADERS, flags, stream, self.head(path, **how)))

    def frames(self, quiet=QUIET):
        """What comes, until nothing does for a while."""
        while not self.ended:
            while len(self.buffer) >= 9:
                length = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) < 9 + length:
                    break
                one, _ = Frame.parse_frame_header(memoryview(self.buffer[:9]))
                one.parse_body(memoryview(self.buffer[9 : 9 + length]))
                self.buffer = self.buffer[9 + length :]
                yield one
            self.socket.settimeout(quiet)
            try:
                piece = self.socket.recv(65536)
            except TimeoutError:
                return
            except OSError:
                piece = b""
            self.ended = not piece
            self.buffer += piece

    def outcome(self, stream=None, quiet=QUIET):
        """The first thing that tells; of `stream` alone if it is given, but for what ends the connection."""
        for one in self.frames(quiet):
            if isinstance(one, GoAwayFrame) and one.error_code:
                return "goaway " + CODES[one.error_code]
            if isinstance(one, GoAwayFrame) or (stream and one.stream_id != stream):
                continue
            if isinstance(one, RstStreamFrame):
                return "reset " + CODES[one.error_code]
            if isinstance(one, HeadersFrame):
                return dict(self.decoder.decode(one.data))[":status"]
        return "closed" if self.ended else "open"

    def end(self):
        """How the connection as a whole ended."""
        for one in self.frames():
            if isinstance(one, GoAwayFrame) and one.error_code:
                return "goaway " + CODES[one.error_code]
        return "closed" if self.ended else "open"


def grade(name, wanted, got):
    if got in wanted:
        return "exact"
    if any(one.startswith("goaway") for one in wanted) and (got.startswith("goaway") or got == "closed"):
        return "ended"
    return "tolerated" if (name, got) in TOLERATED else "wrong"


def simple(name, data, *wanted):
    def send(connection):
        connection.send(data)
        return connection.outcome()

    CASES.append((name, wanted, send))


PROTOCOL, SIZE, FLOW = "goaway PROTOCOL_ERROR", "goaway FRAME_SIZE_ERROR", "goaway FLOW_CONTROL_ERROR"
COMPRESSION, CALM = "goaway COMPRESSION_ERROR", "goaway ENHANCE_YOUR_CALM"
CLOSED = ("goaway STREAM_CLOSED", "reset STREAM_CLOSED")
BAD = ("reset PROTOCOL_ERROR", PROTOCOL, "400")

# --- Frames that may not be ---
simple("data on stream 0", frame(DATA, 0, 0, b"x"), PROTOCOL)
simple("headers on stream 0", frame(HEADERS, 5, 0, b"\x82"), PROTOCOL)
simple("headers on an even stream", frame(HEADERS, 5, 2, b"\x82\x87\x84"), PROTOCOL)
simple("data on an idle stream", frame(DATA, 1, 1, b"x"), PROTOCOL, *CLOSED)
simple("reset of an idle stream", frame(RST, 0, 1, bytes(4)), PROTOCOL)
simple("reset of stream 0", frame(RST, 0, 0, bytes(4)), PROTOCOL)
simple("reset of 3 bytes", frame(RST, 0, 1, bytes(3)), SIZE)
simple("window update of an idle stream", frame(WINDOW, 0, 1, b"\0\0\0\1"), PROTOCOL)
simple("window update by 0", frame(WINDOW, 0, 0, bytes(4)), PROTOCOL)
simple("window update of 3 bytes", frame(WINDOW, 0, 0, bytes(3)), SIZE)
simple("window beyond its limit", frame(WINDOW, 0, 0, b"\x7f\xff\xff\xff") * 2, FLOW)
simple("settings of 5 bytes", frame(SETTINGS, 0, 0, bytes(5)), SIZE)
simple("settings acknowledged with a payload", frame(SETTINGS, ACK, 0, bytes(6)), SIZE)
simple("settings on a stream", frame(SETTINGS, 0, 1), PROTOCOL)
simple("settings: push is 2", frame(SETTINGS, 0, 0, b"\0\2\0\0\0\2"), PROTOCOL)
simple("settings: window too large", frame(SETTINGS, 0, 0, b"\0\4\x80\0\0\0"), FLOW)
simple("settings: frame size too small", frame(SETTINGS, 0, 0, b"\0\5\0\0\0\1"), PROTOCOL)
simple("ping of 7 bytes", frame(PING, 0, 0, bytes(7)), SIZE)
simple("ping on a stream", frame(PING, 0, 1, bytes(8)), PROTOCOL)
simple("goaway on a stream", frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL)
simple("push from a client", frame(PUSH, 4, 1, b"\0\0\0\2\x82"), PROTOCOL)
simple("priority of 4 bytes", frame(PRIORITY, 0, 1, bytes(4)), SIZE, "reset FRAME_SIZE_ERROR")
simple("priority on stream 0", frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL)
simple("continuation of nothing", frame(CONTINUATION, 4, 1, b"\x82"), PROTOCOL)
simple("headers with too much padding", frame(HEADERS, 5 | PADDED, 1, b"\xff\x82"), PROTOCOL)
simple("a frame that is too large", frame(HEADERS, 5, 1, bytes(20000)), SIZE)


@case("closed", PROTOCOL)
def headers_before_settings(_):
    connection = Connection(PREFACE)
    connection.ask("/unknown-setting")
    return connection.outcome()


@case("closed", PROTOCOL)
def a_broken_preface(_):
    return Connection(PREFACE[:-4] + b"XX\r\n" + frame(SETTINGS, 0, 0)).outcome()


@case("200")
def an_unknown_frame(connection):
    connection.send(frame(0xBB, 0xFF, 0, b"?"))
    connection.ask("/unknown-frame")
    return connection.outcome()


@case("200")
def an_unknown_setting(connection):
    connection.send(frame(SETTINGS, 0, 0, b"\xff\xff\0\0\0\1"))
    connection.ask("/unknown-setting")
    return connection.outcome()


@case(PROTOCOL)
def data_with_too_much_padding(connection):
    connection.ask("/body", flags=END_HEADERS, change={":method": "POST"})
    connection.send(frame(DATA, 1 | PADDED, 1, b"\xff x"))
    return connection.outcome()


@case(PROTOCOL)
def headers_cut_by_data(connection):
    connection.ask(flags=END_STREAM)
    connection.send(frame(DATA, 1, 1, b"x"))
    return connection.outcome()


@case(PROTOCOL)
def continuation_of_another_stream(connection):
    connection.ask(flags=END_STREAM)
    connection.send(frame(CONTINUATION, 4, 3, b"\x82"))
    return connection.outcome()


@case(PROTOCOL, *CLOSED)
def a_stream_number_that_goes_back(connection):
    connection.ask("/slow/3000", stream=5)
    connection.ask(stream=3)
    return connection.outcome(3)


@case(*CLOSED)
def data_after_the_end(connection):
    connection.ask("/slow/3000")
    connection.send(frame(DATA, 1, 1, b"x"))
    return connection.outcome()


@case(*CLOSED, PROTOCOL)
def headers_after_the_end(connection):
    connection.ask("/slow/3000")
    connection.ask("/bad")
    return connection.outcome()


@case(FLOW, "reset FLOW_CONTROL_ERROR")
def data_beyond_the_window(connection):
    connection.ask("/slow/3000", flags=END_HEADERS, change={":method": "POST"})
    for _ in range(600):
        connection.send(frame(DATA, 0, 1, bytes(16384)))
    return connection.outcome()


@case(PROTOCOL, "reset PROTOCOL_ERROR")
def a_stream_window_update_by_0(connection):
    connection.ask("/slow/3000")
    connection.send(frame(WINDOW, 0, 1, bytes(4)))
    return connection.outcome()


@case("reset FLOW_CONTROL_ERROR", FLOW)
def a_stream_window_beyond_its_limit(connection):
    connection.ask("/slow/3000")
    connection.send(frame(WINDOW, 0, 1, b"\x7f\xff\xff\xff"))
    return connection.outcome()


# --- Header blocks that may not be ---
def block(name, payload, *wanted):
    simple(name, frame(HEADERS, 5, 1, payload), *wanted)


block("hpack: index of nothing", b"\xff\xff\x7f", COMPRESSION)
block("hpack: index 0", b"\x80", COMPRESSION)
block("hpack: number without end", b"\xff" + b"\xff" * 20, COMPRESSION)
block("hpack: string beyond the block", b"\x00\x7f\x7fabc", COMPRESSION)
block("hpack: huffman padding too long", b"\x00\x82\xff\xff\x01a", COMPRESSION)
block("hpack: table larger than allowed", b"\x3f\xff\xff\x7f\x82", COMPRESSION)


def request(name, *wanted, **how):
    def ask(connection):
        connection.ask(**how)
        return connection.outcome(1)

    CASES.append((name, wanted, ask))


request("no method", *BAD, drop=[":method"])
request("no scheme", *BAD, drop=[":scheme"])
request("no path", *BAD, drop=[":path"])
request("no authority, no host", *BAD, drop=[":authority"])
request("an empty path", *BAD, change={":path": ""})
request("a path without a slash", *BAD, change={":path": "bad"})
request("an absolute path", *BAD, change={":path": f"https://{HOST}/bad"})
request("a path with a space", *BAD, change={":path": "/bad x"})
request("method twice", *BAD, more=[(":method", "GET")])
request("authority twice", *BAD, more=[(":authority", HOST)])
request("a pseudo-header after a header", *BAD, drop=[":path"], more=[("a", "b"), (":path", "/bad")])
request("an unknown pseudo-header", *BAD, more=[(":bad", "x")])
request("a response's pseudo-header", *BAD, more=[(":status", "200")])
request("a name in upper case", *BAD, more=[("Bad", "x")])
request("a name with a space", *BAD, more=[("b ad", "x")])
request("an empty name", *BAD, more=[("", "x")])
request("a value with CR LF", *BAD, more=[("x", "a\r\nhost: evil.test")])
request("a value with NUL", *BAD, more=[("x", "a\0b")])
request("a path with CR LF", *BAD, change={":path": "/bad HTTP/1.1\r\nhost: evil.test\r\n\r\n"})
request("a method with CR LF", *BAD, change={":method": "GET / HTTP/1.1\r\n\r\nGET"})
request("connection: close", *BAD, more=[("connection", "close")])
request("keep-alive", *BAD, more=[("keep-alive", "timeout=5")])
request("proxy-connection", *BAD, more=[("proxy-connection", "keep-alive")])
request("transfer-encoding: chunked", *BAD, more=[("transfer-encoding", "chunked")])
request("upgrade: h2c", *BAD, more=[("upgrade", "h2c")])
request("te: gzip", *BAD, more=[("te", "gzip")])
request("content-length without a body", *BAD, more=[("content-length", "5")])
request("content-length twice", *BAD, more=[("content-length", "5"), ("content-length", "0")])
request("content-length: +0", *BAD, more=[("content-length", "+0")])
request("host other than authority", "421", *BAD, more=[("host", "evil.test")])
request("host twice", *BAD, drop=[":authority"], more=[("host", HOST), ("host", "evil.test")])
request("an authority other than the TLS name", "421", change={":authority": "evil.test"})
request("an authority that is allowed, but not here", "421", change={":authority": "other.test"})
request("an authority with a user", *BAD, change={":authority": f"{HOST}@evil.test"})
request("an authority with a path", *BAD, change={":authority": f"{HOST}/x"})
request("an authority with another port", "421", change={":authority": f"{HOST}:444"})
request("an empty authority", *BAD, change={":authority": ""})
request("scheme http over TLS", "421", *BAD, change={":scheme": "http"})
request("scheme ftp", "421", *BAD, change={":scheme": "ftp"})
request("a method in lower case", *BAD, change={":method": "get"})
request("CONNECT", "403", "405", *BAD, change={":method": "CONNECT"}, drop=[":scheme", ":path"])
request("CONNECT with a path", *BAD, "403", change={":method": "CONNECT"})
request("extended CONNECT, not offered", *BAD, change={":method": "CONNECT"}, more=[(":protocol", "connect-udp")])
request("a path that the rules deny", "403", path="/denied")
request("a path with dots to it", "403", path="/a/../denied")
request("host alone", "200", path="/host-alone", drop=[":authority"], more=[("host", HOST)])


@case("431", "reset PROTOCOL_ERROR", "reset REFUSED_STREAM", CALM)
def a_head_of_200_KiB(connection):
    data = connection.head(more=[(f"x-{number}", "y" * 1000) for number in range(200)])
    pieces = [data[at : at + 16384] for at in range(0, len(data), 16384)]
    connection.send(frame(HEADERS, END_STREAM, 1, pieces[0]))
    for piece in pieces[1:-1]:
        connection.send(frame(CONTINUATION, 0, 1, piece))
    connection.send(frame(CONTINUATION, END_HEADERS, 1, pieces[-1]))
    return connection.outcome()


@case("431", "400", "reset PROTOCOL_ERROR", CALM)
def a_head_of_5000_fields(connection):
    data = connection.head(more=[("a", "")] * 5000)
    connection.send(frame(HEADERS, END_STREAM, 1, data[:16384]))
    connection.send(frame(CONTINUATION, END_HEADERS, 1, data[16384:]))
    return connection.outcome()


def body(name, frames, *wanted, more=()):
    def ask(connection):
        connection.ask("/body", flags=END_HEADERS, change={":method": "POST"}, more=more)
        connection.send(frames(connection))
        return connection.outcome(1)

    CASES.append((name, wanted, ask))


BROKEN = (*BAD, "502")
body("more than content-length", lambda _: frame(DATA, 1, 1, b"four"), *BROKEN, more=[("content-length", "3")])
body("less than content-length", lambda _: frame(DATA, 1, 1, b"four"), *BROKEN, more=[("content-length", "5")])
body("trailers without an end", lambda c: frame(HEADERS, 4, 1, c.encode([("x", "y")])), *BROKEN)
body("a pseudo header in trailers", lambda c: frame(HEADERS, 5, 1, c.encode([(":path", "/")])), *BROKEN)
body("a name in upper case in trailers", lambda c: frame(HEADERS, 5, 1, c.encode([("X", "y")])), *BROKEN)
body("trailers as they may be", lambda c: frame(HEADERS, 5, 1, c.encode([("x", "y")])), "200")


# --- Too much of what may be ---
@case(CALM)
def rapid_reset(connection):
    for number in range(2000):
        if connection.ended:
            break
        connection.ask("/reset", stream=2 * number + 1)
        connection.send(frame(RST, 0, 2 * number + 1, (8).to_bytes(4, "big")))
    return connection.end()


@case(CALM, PROTOCOL)
def resets_that_we_provoke(connection):
    for number in range(2000):
        if connection.ended:
            break
        connection.ask("/slow/30000", stream=2 * number + 1)
        connection.send(frame(WINDOW, 0, 2 * number + 1, bytes(4)))
    return connection.end()


@case(CALM)
def continuation_flood(connection):
    connection.ask(flags=END_STREAM)
    for _ in range(20000):
        if connection.ended:
            break
        connection.send(frame(CONTINUATION, 0, 1, connection.encode([("x", "y" * 100)])))
    return connection.outcome()


@case(CALM)
def empty_continuation_flood(connection):
    connection.ask(flags=END_STREAM)
    for _ in range(20000):
        if connection.ended:
            break
        connection.send(frame(CONTINUATION, 0, 1))
    return connection.outcome()


@case("431", "reset PROTOCOL_ERROR", "reset REFUSED_STREAM", CALM)
def hpack_bomb(connection):
    # One field of 4,000 bytes in the table, and then named by one byte 16,000 times: 64 MB.
    connection.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, connection.head("/bomb") + b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000))
    connection.send(frame(HEADERS, END_STREAM | END_HEADERS, 3, connection.head("/bomb") + b"\xbe" * 16000))
    return connection.outcome(3)


def flood(name, data, times, *wanted):
    def send(connection):
        for _ in range(times // 100):
            if connection.ended:
                break
            connection.send(data * 100)
        connection.ask("/after-flood")
        return connection.outcome(1)

    CASES.append((name, wanted, send))


flood("settings flood", frame(SETTINGS, 0, 0), 20000, "200", CALM)
flood("ping flood", frame(PING, 0, 0, bytes(8)), 20000, "200", CALM)
flood("priority flood", frame(PRIORITY, 0, 1, bytes(5)), 20000, "200", CALM)
flood("window update flood", frame(WINDOW, 0, 0, b"\0\0\0\1"), 20000, "200", CALM)
flood("unknown frame flood", frame(0xBB, 0, 0, bytes(100)), 20000, "200", CALM)


@case("200", CALM)
def empty_data_flood(connection):
    connection.ask("/empty-data", flags=END_HEADERS, change={":method": "POST"})
    for _ in range(200):
        if connection.ended:
            break
        connection.send(frame(DATA, 0, 1) * 100)
    connection.send(frame(DATA, END_STREAM, 1))
    return connection.outcome(1)


@case("reset REFUSED_STREAM", CALM)
def more_streams_than_allowed(connection):
    for number in range(400):
        connection.ask("/slow/5000", stream=2 * number + 1)
    return connection.outcome()


@case("open", "200")
def a_window_of_0_and_256_large_answers(_):
    connection = Connection(PREFACE + frame(SETTINGS, 0, 0, b"\0\4\0\0\0\0"))
    for number in range(250):
        connection.ask("/bytes/1000000", stream=2 * number + 1)
    HELD.append(connection)
    return connection.outcome()


@case("open", "200")
def a_window_of_1_byte(_):
    connection = Connection(PREFACE + frame(SETTINGS, 0, 0, b"\0\4\0\0\0\1"))
    connection.ask("/bytes/1000000")
    HELD.append(connection)
    return connection.outcome()


@case("open")
def nothing_after_the_preface(connection):
    HELD.append(connection)
    return connection.outcome()


HELD = []


def witness():
    start = time.monotonic()
    connection = Connection()
    connection.ask(WITNESS)
    return connection.outcome(1, quiet=20), time.monotonic() - start


def main():
    results = []
    for name, wanted, function in CASES:
        connection = Connection()
        got = function(connection)
        status, seconds = witness()
        if connection not in HELD:
            connection.socket.close()
        good = grade(name, wanted, got)
        about = {"name": name, "wanted": wanted, "got": got, "good": good, "witness": status, "seconds": seconds}
        results.append(about)
    print(json.dumps(results))


main()
