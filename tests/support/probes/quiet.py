"""quiet.py HOST KIND...: connections that say nothing, too little, something else, or everything slowly; one for each KIND."""

import socket
import ssl
import struct
import sys
import time

HOST = sys.argv[1]


def connect(port=443):
    return socket.create_connection((HOST, port), timeout=50)


def hello():
    """A ClientHello, as this client writes it."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(into, out, server_hostname=HOST)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


def shaken(*alpn):
    context = ssl.create_default_context()
    if alpn:
        context.set_alpn_protocols(alpn)
    return context.wrap_socket(connect(), server_hostname=HOST)


def told(stream):
    print(stream.recv(99))


def say(port, words):
    """Says it and waits for the end, however that comes."""
    with connect(port) as stream:
        stream.sendall(words)
        try:
            assert stream.recv(99) == b""
        except ConnectionResetError:
            pass


def reset():
    stream = connect()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()


def half_hello():
    with connect() as stream:
        stream.sendall(hello()[:50])


def only_hello():
    with connect() as stream:
        stream.sendall(hello())
        stream.recv(16)


def udp():
    family, _, _, _, address = socket.getaddrinfo(HOST, 443, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as stream:
        try:
            stream.sendto(b"quic", address)
        except PermissionError:
            pass


def slowly():
    """A request byte by byte; each comes long before the limit of a second, all together long after it."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(into, out, server_hostname=HOST)
    with connect() as stream:

        def send(pieces):
            data = out.read()
            size = max(1, len(data) // pieces)
            for at in range(0, len(data), size):
                stream.sendall(data[at : at + size])
                time.sleep(0.15)

        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                send(12)
                into.write(stream.recv(65536))
        for byte in b"GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % HOST.encode():
            tls.write(bytes([byte]))
        send(12)
        while True:
            try:
                print(tls.read(15).decode())
                return
            except ssl.SSLWantReadError:
                into.write(stream.recv(65536))


def stops():
    with connect() as stream:
        stream.sendall(hello()[:50])
        try:
            while stream.recv(99):
                pass
        except ConnectionResetError:
            pass
        print("ended")


KINDS = {
    "nothing": lambda: connect().close(),
    "reset": reset,
    "half-hello": half_hello,
    "hello": only_hello,
    "handshake": lambda: shaken("http/1.1").close(),
    "h2": lambda: shaken("h2").close(),
    "wait-3306": lambda: told(connect(3306)),
    "wait-25": lambda: told(connect(25)),
    "wait-tls": lambda: told(shaken()),
    "say-ssh": lambda: say(22, b"SSH-2.0-OpenSSH_9.2\r\n"),
    "say-git": lambda: say(9418, b"0033git-upload-pack /project.git\0host=git.ok.test\0"),
    "say-mysql": lambda: say(3306, b"\x55\0\0\1\x85\xa6\xff\1\0\0\0\1"),
    "say-udp": udp,
    "slowly": slowly,
    "stops": stops,
}
for kind in sys.argv[2:]:
    KINDS[kind]()
sys.stdout.flush()
