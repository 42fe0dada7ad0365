"""The load of `cargo xtask soak`, and a server of WebSockets for it.

    load.py serve PORT CHAIN KEY   echoes what comes over a WebSocket, and prints each path that was asked for
    load.py                        in the jail: does what each line of standard input names, then prints as JSON what it
                                   asked for and what was not answered as it must be

What a path says is what must become of it: `denied`, `aborted` (allowed, and nobody waits for the end), `allowed`.
"""

import asyncio
import base64
import collections
import hashlib
import json
import re
import ssl
import subprocess
import sys

GIB = 1 << 30
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
NAMES = 100
counts, wrong = collections.Counter(), []


def expect(path, status, body=None):
    """Counts an answer, and notes a wrong one."""
    denied = "denied" in path
    counts["denied" if denied else "allowed"] += 1
    if status != (403 if denied else 200) or body is not None and not body:
        wrong.append(f"{path}: {status}")


class Connection:
    """HTTP/1.1, as little of it as is needed."""

    @classmethod
    async def open(cls, host, port=443):
        self = cls()
        self.host = host if port in (80, 443) else f"{host}:{port}"
        tls = None if port == 80 else CONTEXT
        self.reader, self.writer = await asyncio.open_connection(host, port, ssl=tls)
        return self

    def send(self, method, path, fields="", body=b""):
        self.writer.write(f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n{fields}\r\n".encode() + body)

    async def head(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        return int(head.split()[1]), head.lower()

    async def ask(self, method, path, fields="", body=b""):
        self.send(method, path, fields, body)
        status, head = await self.head()
        body = b""
        if length := re.search(r"\r\ncontent-length: (\d+)", head):
            body = await self.reader.readexactly(int(length[1]))
        else:
            while size := int(await self.reader.readline(), 16):
                body += await self.reader.readexactly(size)
                await self.reader.readline()
            await self.reader.readline()
        expect(path, status, body)
        return "\r\nconnection: close" not in head

    def abort(self):
        self.writer.transport.abort()

    async def close(self):
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass


async def h1(number, port):
    """Eight requests on a connection, or on a few if refusals end it."""
    host, connection = f"h{number % NAMES}.test", None
    for turn in range(8):
        connection = connection or await Connection.open(host, port)
        method, path, fields, body = [
            ("GET", "/x?allowed", "", b""),
            ("GET", "/x?denied", "", b""),
            ("GET", f"/bytes/{number * 997 % 200_000 + 1}?allowed", "", b""),
            ("POST", "/denied?allowed", "Content-Length: 5\r\n", b"words"),
        ][turn % 4]
        if not await connection.ask(method, path, fields, body):
            await connection.close()
            connection = None
    if connection:
        await connection.close()


async def forbidden(number):
    """A host that is denied by a rule, and two messages that are no requests."""
    connection = await Connection.open("evil.test", (80, 443)[number % 2])
    await connection.ask("GET", "/denied?allowed", "Connection: close\r\n")
    await connection.close()
    for head in (b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", b"\0\1\2 denied HTTP/1.1\r\n\r\n"):
        reader, writer = await asyncio.open_connection("ok.test", 80)
        writer.write(head)
        try:
            answer = await asyncio.wait_for(reader.read(), 1)
        except OSError:
            # Too late, or reset: TimeoutError is one too. What was refused is refused.
            answer = b""
        if answer and b" 400 " not in answer.partition(b"\r\n")[0]:
            wrong.append(f"{head}: {answer[:60]}")
        writer.transport.abort()


async def websocket(number):
    for path in ("/denied", "/allowed", "/aborted"):
        connection = await Connection.open("ws.test", 9443)
        key = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2l4dGVlbiBieXRlcyEhIQ==\r\n"
        connection.send("GET", path, key)
        status, _ = await connection.head()
        if path == "/denied":
            expect(path, status)
            await connection.close()
            continue
        counts[path[1:]] += 1
        if status != 101:
            wrong.append(f"{path}: {status}")
            continue
        for _ in range(5):
            connection.writer.write(b"\x82\x85\0\0\0\0hello")
            if await connection.reader.readexactly(7) != b"\x82\x05hello":
                wrong.append("a WebSocket's echo")
        if path == "/aborted":
            connection.abort()
            continue
        connection.writer.write(b"\x88\x80\0\0\0\0")
        await connection.reader.read()
        await connection.close()


async def events(number):
    connection = await Connection.open("events.test")
    await connection.ask("GET", "/stream/200?allowed")
    await connection.close()


async def aborts(number):
    """Clients that go away: in a head, in a body that they send, in one that they are sent, without a word."""
    upload = f"Content-Length: {GIB}\r\n"
    for method, path, fields, body in (
        ("GET", "/stream/1000000000?aborted", "", None),
        ("GET", f"/flood/{GIB}?aborted", "", None),
        ("PUT", "/count?aborted", upload, b"x" * 100_000),
    ):
        connection = await Connection.open(f"h{number % NAMES}.test")
        connection.send(method, path, fields, body or b"")
        counts["aborted"] += 1
        if body:
            await asyncio.sleep(0.1)
        else:
            await connection.head()
            await connection.reader.readexactly(20_000)
        connection.abort()
    half = await Connection.open("ok.test")
    half.writer.write(b"GET /denied-half HTTP/1.1\r\nHo")
    await half.writer.drain()
    half.abort()
    (await Connection.open("ok.test", 80)).abort()


async def run(*words):
    process = await asyncio.create_subprocess_exec(*map(str, words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return (await process.communicate())[0].decode()


async def h2_streams(count, connections, at_once):
    """Three quarters of the streams allowed, one denied."""
    urls = [f"https://ok.test/h2/{n}?{'allowed' if n < 3 else 'denied'}" for n in range(4)]
    said = await run("h2load", "-n", count, "-c", connections, "-m", at_once, *urls)
    codes = re.search(r"status codes: (\d+) 2xx, 0 3xx, (\d+) 4xx, 0 5xx", said)
    counts["allowed"] += count * 3 // 4
    counts["denied"] += count // 4
    if not codes or tuple(map(int, codes.groups())) != (count * 3 // 4, count // 4):
        wrong.append(said)


async def h2_aborts(number):
    counts["aborted"] += 1
    await run("curl", "-sS", "--http2", "-o", "/dev/null", "-m", 0.5, f"https://ok.test/stream/1000000000?aborted")


KINDS = [
    lambda number: h1(number, 443),
    lambda number: h1(number, 80),
    lambda number: h2_streams(40, 1, 8),
    forbidden,
    websocket,
    events,
    aborts,
    h2_aborts,
]


async def kind(number):
    try:
        await asyncio.wait_for(KINDS[number % len(KINDS)](number // len(KINDS)), 60)
    except Exception as error:
        wrong.append(f"kind {number % len(KINDS)}: {error!r}")


async def mixed(seconds):
    """So many of each kind a second, and no more however quick the answers are."""
    clock, tasks = asyncio.get_running_loop(), set()
    start = clock.time()
    number = 0
    while clock.time() < start + int(seconds):
        task = asyncio.create_task(kind(number))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1
        await asyncio.sleep(max(0, start + number / RATE - clock.time()))
    if tasks:
        await asyncio.wait(tasks)


RATE = 8


async def connections(count):
    """All open at once, each with one request, one in ten a denied one."""
    left, held = iter(range(int(count))), []

    async def worker():
        for number in left:
            connection = await Connection.open(f"h{number % NAMES}.test")
            held.append(connection)
            await connection.ask("GET", "/x?denied" if number % 10 == 9 else "/x?allowed")

    await asyncio.gather(*(worker() for _ in range(50)))
    await asyncio.gather(*(connection.close() for connection in held))


async def curl(path, version, *words):
    answer = "%{http_code} %{size_download} %{size_upload}"
    said = await run("curl", "-sS", f"--http{version}", "-w", "\n" + answer, *words, f"https://ok.test{path}?allowed")
    status, down, up = said.splitlines()[-1].split()
    expect(path, int(status))
    return said, int(down), int(up)


async def down(size, version):
    said, down, _ = await curl(f"/flood/{size}", version, "-o", "/dev/null")
    if down != int(size):
        wrong.append(said)


async def up(size, version):
    arrived = f"exec head -c {size} /dev/zero | curl -sS --http{version} -T - 'https://ok.test/count?allowed' -w '\\n%{{http_code}}'"
    said = (await run("sh", "-c", arrived)).split()
    expect("/count", int(said[-1]))
    if said[0] != str(size):
        wrong.append(f"arrived of {size}: {said}")


async def streams(count):
    await h2_streams(int(count), 4, 100)


STAGES = {"down": down, "up": up, "streams": streams, "connections": connections, "mixed": mixed}


def load():
    print("ready", flush=True)
    for line in sys.stdin:
        stage, *words = line.split()
        counts.clear()
        wrong.clear()
        try:
            asyncio.run(STAGES[stage](*words))
        except Exception as error:
            wrong.append(repr(error))
        print(json.dumps({"allowed": 0, "denied": 0, "aborted": 0} | counts | {"wrong": wrong}), flush=True)


async def answer(reader, writer):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        print(head.split()[1].decode(), flush=True)
        key = re.search(rb"(?i)sec-websocket-key: (\S+)", head)[1]
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        upgrade = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "
        writer.write(upgrade + accept + b"\r\n\r\n")
        while True:
            # The load's frames are short, and masked with zeros.
            kind, length = await reader.readexactly(2)
            payload = (await reader.readexactly(4 + length % 128))[4:]
            writer.write(bytes([kind, len(payload)]) + payload)
            if kind == 0x88:
                break
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def serve(port, chain, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    async with await asyncio.start_server(answer, "0.0.0.0", int(port), ssl=context, backlog=100) as server:
        await server.serve_forever()


if sys.argv[1:]:
    asyncio.run(serve(*sys.argv[2:]))
else:
    CONTEXT = ssl.create_default_context()
    load()
