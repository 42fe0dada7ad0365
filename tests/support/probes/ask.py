"""Says what it is told, byte for byte, and prints what came back: a JSON list for each conversation, one a line.

The argument names a JSON file with a list of conversations. `to` is whom to connect to (`proxy`: the one of the
environment), `relayed` by way of a relay. Where there is a `connect` it is
said first, and all else only if the answer is 200. `tls` is the server name of a handshake (empty: none is sent). Then
`h1` is said and the stream read to its end, or the requests of `h2` are opened as streams, all at once. Text is Latin-1:
a character a byte. What came back is the status codes in order, `tls` for a handshake that failed, `reset` for a stream
that was, and `closed` for one that was never answered.
"""

import json
import os
import re
import socket
import ssl
import struct
import sys
import threading
import urllib.parse

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
# Huffman codes of the digits (RFC 7541 appendix B), and the statuses of its static table (appendix A).
DIGITS = {"00000": "0", "00001": "1", "00010": "2", **{format(0b011001 + n, "06b"): str(3 + n) for n in range(7)}}
STATIC = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}


def conversation(told):
    heard = []
    to = relay(told["to"]) if "relayed" in told else told["to"]
    if to[0] == "proxy":
        proxy = urllib.parse.urlsplit(os.environ["http_proxy"])
        to = (proxy.hostname, proxy.port)
    stream = socket.create_connection(tuple(to), timeout=20)
    if "connect" in told:
        stream.sendall(told["connect"].encode("latin-1"))
        answer = b""
        while b"\r\n\r\n" not in answer:
            read = stream.recv(1)
            if not read:
                return heard + ["closed"]
            answer += read
        heard += statuses(answer)
        if heard != [200]:
            return heard
    if "tls" in told:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"] if "h2" in told else ["http/1.1"])
        try:
            stream = context.wrap_socket(stream, server_hostname=told["tls"] or None)
        except (ssl.SSLError, OSError):
            return heard + ["tls"]
    if "h2" in told:
        return heard + h2(stream, told["h2"])
    try:
        stream.sendall(told["h1"].encode("latin-1"))
        answer = b""
        while read := stream.recv(65536):
            answer += read
    except (ssl.SSLError, ConnectionError):
        pass
    return heard + (statuses(answer) or ["closed"])


def relay(to):
    """Listens for one connection and leads it on; where it listens."""
    listener = socket.create_server(("127.0.0.1", 0))

    def lead(source, sink):
        how = socket.SHUT_WR
        try:
            while read := source.recv(65536):
                sink.sendall(read)
        except OSError:
            how = socket.SHUT_RDWR
        try:
            sink.shutdown(how)
        except OSError:
            pass

    def accept():
        near, _ = listener.accept()
        far = socket.create_connection(tuple(to))
        threading.Thread(target=lead, args=(far, near), daemon=True).start()
        lead(near, far)

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()


def statuses(answer):
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def h2(connection, requests):
    """Each request is a list of fields, with the body under an empty name. No byte of a body is sent before all heads are."""
    # No dynamic table: then a status is a static index or a literal.
    out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 0))
    bodies = []
    for nth, fields in enumerate(requests):
        block = b"".join(b"\0" + text(name) + text(value) for name, value in fields if name)
        body = next((value for name, value in fields if not name), None)
        out += frame(HEADERS, 4 if body else 5, 2 * nth + 1, block)
        if body:
            bodies += [(2 * nth + 1, body.encode("latin-1"))]
    for at in range(max((len(body) for _, body in bodies), default=0)):
        for stream, body in bodies:
            if at < len(body):
                out += frame(DATA, at == len(body) - 1, stream, body[at : at + 1])
    connection.sendall(out)
    heard = {2 * nth + 1: None for nth in range(len(requests))}
    file = connection.makefile("rb")
    try:
        while None in heard.values():
            head = file.read(9)
            if len(head) < 9:
                break
            payload = file.read(int.from_bytes(head[:3], "big"))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind == HEADERS and heard.get(stream, 0) is None:
                heard[stream] = status_in(payload)
            elif kind == RESET and heard.get(stream, 0) is None:
                heard[stream] = "reset"
            elif kind in (SETTINGS, PING) and not flags & 1:
                connection.sendall(frame(kind, 1, 0, payload if kind == PING else b""))
            elif kind == GOAWAY:
                break
    except OSError:
        pass
    return [status or "closed" for status in heard.values()]


def text(value):
    value = value.encode("latin-1")
    length = len(value)
    if length < 127:
        return bytes([length]) + value
    # An integer in seven bits and more (RFC 7541 section 5.1).
    out, length = b"\x7f", length - 127
    while length >= 128:
        out, length = out + bytes([length % 128 + 128]), length // 128
    return out + bytes([length]) + value


def status_in(block):
    while block[0] & 0xE0 == 0x20:
        block = block[1:]
    if block[0] & 0x80:
        return STATIC[block[0] & 0x7F]
    length, coded = block[1] & 0x7F, block[2:]
    if not block[1] & 0x80:
        return int(coded[:length])
    bits, digits = "".join(format(byte, "08b") for byte in coded[:length]), ""
    while len(digits) < 3:
        size = 5 if bits[:5] in DIGITS else 6
        digits, bits = digits + DIGITS[bits[:size]], bits[size:]
    return int(digits)


for told in json.load(open(sys.argv[1])):
    try:
        heard = conversation(told)
    except OSError as error:
        heard = [type(error).__name__]
    print(json.dumps(heard), flush=True)
