"""Servers of the internet that are not like others: odd_origins.py CERTIFICATE KEY SELF-CERTIFICATE SELF-KEY

9601  authentication that belongs to the connection, as NTLM's does, in cleartext
9602  the same over TLS; HTTP/2 is offered, too, but nobody gets in over it
9603  over HTTP/2 the first of each two requests is refused unread, in its first bytes
9604  one request a connection of HTTP/2, then GOAWAY
9605  over HTTP/2 the first of each two requests is refused unread after 400 KiB of its body
9606  over HTTP/2 everything is answered HTTP_1_1_REQUIRED
9607  one server's own certificate, which says that it is an authority's

Who got in is told which connection it was; whose body arrived, how long it is and its CRC. Prints "up" when all listen.
"""

import base64
import hashlib
import socket
import ssl
import struct
import sys
import threading
import time
import zlib

CERTIFICATE, KEY, SELF_CERTIFICATE, SELF_KEY = sys.argv[1:]
numbers = iter(range(1, 10**6))
refused = {}
# NTLM's second message: no target, a fixed challenge.
CHALLENGE = base64.b64encode(b"NTLMSSP\0" + struct.pack("<IIII", 2, 0, 48, 0x8201) + b"12345678" + bytes(16)).decode()
REFUSED_STREAM, HTTP_1_1_REQUIRED = 7, 13


class Peer:
    """What comes, in pieces of a wanted length."""

    def __init__(self, stream):
        self.stream, self.held, self.number = stream, b"", next(numbers)

    def more(self):
        got = self.stream.recv(65536)
        if not got:
            raise EOFError
        self.held += got

    def take(self, length):
        while len(self.held) < length:
            self.more()
        taken, self.held = self.held[:length], self.held[length:]
        return taken

    def head(self):
        while b"\r\n\r\n" not in self.held:
            self.more()
        head, self.held = self.held.split(b"\r\n\r\n", 1)
        line, *fields = head.decode("latin1").split("\r\n")
        return line.split(" ")[1], {k.lower(): v.strip() for k, _, v in (f.partition(":") for f in fields)}


def told(body):
    return f"{len(body)} {zlib.crc32(body)}"


def http1(peer, port):
    asked = known = False
    while True:
        path, fields = peer.head()
        body = peer.take(int(fields.get("content-length", 0)))
        status, more, text = "200 OK", "", told(body)
        proof = fields.get("authorization", "")
        if port in (9601, 9602):
            text = f"connection {peer.number}"
            if path == "/slow":
                time.sleep(1)
            elif path == "/open":
                pass
            elif known and "upgrade" in fields:
                accept = hashlib.sha1(fields["sec-websocket-key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
                accept = base64.b64encode(accept.digest()).decode()
                peer.stream.sendall(
                    f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                    f"Sec-WebSocket-Accept: {accept}\r\n\r\n{text}".encode()
                )
                return
            elif proof.startswith("NTLM TlRMTVNTUAAB"):
                status, more, asked, known = "401 Unauthorized", f"WWW-Authenticate: NTLM {CHALLENGE}\r\n", True, False
            elif proof.startswith("NTLM TlRMTVNTUAAD") and asked:
                known = True
            elif not known:
                status, more = "401 Unauthorized", "WWW-Authenticate: NTLM\r\n"
        peer.stream.sendall(f"HTTP/1.1 {status}\r\n{more}Content-Length: {len(text)}\r\n\r\n{text}".encode())


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def http2(peer, port):
    send = peer.stream.sendall
    peer.take(24)
    # SETTINGS with a window of 1 GiB, and as much for the connection.
    send(frame(4, 0, 0, struct.pack(">HI", 4, 1 << 30)) + frame(8, 0, 0, struct.pack(">I", 1 << 30)))
    bodies, served, unwanted = {}, [], set()

    def answer(stream):
        served.append(stream)
        if port == 9602:
            # 401 and `www-authenticate: NTLM`, both as literals.
            send(frame(1, 5, stream, b"\x08\x03401\x00\x10www-authenticate\x04NTLM"))
        else:
            send(frame(1, 4, stream, b"\x88") + frame(0, 1, stream, told(bodies[stream]).encode()))

    def refuse(stream, reason):
        send(frame(3, 0, stream, struct.pack(">I", reason)))
        del bodies[stream]

    while True:
        header = peer.take(9)
        length, kind, flags = int.from_bytes(header[:3], "big"), header[3], header[4]
        stream = int.from_bytes(header[5:], "big") & 0x7FFFFFFF
        payload = peer.take(length)
        if kind == 4 and not flags & 1:
            send(frame(4, 1, 0))
        elif kind == 6 and not flags & 1:
            send(frame(6, 1, 0, payload))
        elif kind == 1:
            bodies[stream] = b""
            if port == 9604 and served:
                # Whatever still comes is read: a reset in its place would be no word about this stream.
                send(frame(7, 0, 0, struct.pack(">II", served[-1], 0)))
                del bodies[stream]
            if port in (9603, 9605):
                refused[port] = not refused.get(port, False)
                if refused[port]:
                    unwanted.add(stream)
            if port == 9603 and stream in unwanted:
                refuse(stream, REFUSED_STREAM)
            elif port == 9606:
                refuse(stream, HTTP_1_1_REQUIRED)
        elif kind == 0 and stream in bodies:
            bodies[stream] += payload
            if stream in unwanted and len(bodies[stream]) > 400 * 1024:
                refuse(stream, REFUSED_STREAM)
        if kind in (0, 1) and flags & 1 and stream in bodies:
            answer(stream)


def serve(connection, port):
    try:
        connection.settimeout(60)
        if port != 9601:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*((SELF_CERTIFICATE, SELF_KEY) if port == 9607 else (CERTIFICATE, KEY)))
            context.set_alpn_protocols(["http/1.1"] if port == 9607 else ["h2", "http/1.1"])
            connection = context.wrap_socket(connection, server_side=True)
        chosen = connection.selected_alpn_protocol() if port != 9601 else None
        (http2 if chosen == "h2" else http1)(Peer(connection), port)
    except (EOFError, OSError):
        pass
    finally:
        connection.close()


def accept(listener, port):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, port), daemon=True).start()


for port in range(9601, 9608):
    listener = socket.create_server(("", port), backlog=64)
    threading.Thread(target=accept, args=(listener, port), daemon=True).start()
print("up", flush=True)
threading.Event().wait()
