"""Autobahn's cases by kosoku, and python's websockets as the side under test.

    serve-echo PORT OUT [CHAIN KEY]     a server that echoes
    fuzz URL [CASE..]                   kosoku as the client of it; the verdicts as JSON
    serve-fuzzer PORT OUT [CHAIN KEY]   kosoku as the server; the verdicts as JSON in OUT. Without the cases about amounts
    echo URL                            a client of it that echoes, case by case

kosoku speaks no TLS and names its own address in the handshake: where it matters, a relay in front of it does TLS and
puts the right Host.
"""

import asyncio
import json
import ssl
import sys
import urllib.parse

import kosoku
import websockets


async def echo(socket):
    try:
        async for message in socket:
            await socket.send(message)
    except websockets.ConnectionClosed:
        pass


async def copy(reader, writer):
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    except (OSError, ssl.SSLError):
        pass
    finally:
        writer.close()


async def relay(reader, writer, there, host=None):
    """Joins a connection with the one that `there` opens; with `host`, names it in the first request."""
    try:
        back, forth = await there()
        head = await reader.readuntil(b"\r\n\r\n")
    except (OSError, asyncio.IncompleteReadError):
        writer.close()
        return
    if host:
        lines = [b"Host: " + host.encode() if line.lower().startswith(b"host:") else line for line in head.split(b"\r\n")]
        head = b"\r\n".join(lines)
    forth.write(head)
    await asyncio.gather(copy(reader, forth), copy(back, writer))


def verdicts(results):
    return {
        case.case_id: f"{'passed' if case.passed else 'failed'} {case.behavior.value} {case.behavior_close.value}"
        for case in results
    }


async def results_of(awaitable):
    try:
        return verdicts(await awaitable)
    except kosoku.FailureError as failure:
        return verdicts(failure.results)


def server_tls(files):
    if not files:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


async def serve_echo(port, out, *files):
    async with websockets.serve(echo, "0.0.0.0", int(port), ssl=server_tls(files), max_size=None, ping_interval=None):
        await asyncio.Future()


async def fuzz(url, *cases):
    parts = urllib.parse.urlsplit(url)
    tls = ssl.create_default_context() if parts.scheme == "wss" else None
    there = lambda: asyncio.open_connection(parts.hostname, parts.port, ssl=tls)
    front = await asyncio.start_server(lambda r, w: relay(r, w, there, parts.netloc), "127.0.0.1", 0)
    address = "127.0.0.1:%d" % front.sockets[0].getsockname()[1] if tls else parts.netloc
    print(json.dumps(await results_of(
        kosoku.run_fuzzingclient(address, list(cases) or None, concurrency=1 if cases else 4)
    )))


async def serve_fuzzer(port, out, *files):
    async with kosoku.run_fuzzingserver(exclude_cases=["9.*", "12.*", "13.*"], host="127.0.0.1", port=0) as server:
        there = lambda: asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.start_server(lambda r, w: relay(r, w, there), "0.0.0.0", int(port), ssl=server_tls(files))
        found = await results_of(server.get_result())
        with open(out, "w") as file:
            json.dump(found, file)
        await asyncio.Future()


async def echo_client(url):
    connect = lambda path: websockets.connect(url + path, max_size=None, ping_interval=None, proxy=None)
    async with connect("getCaseCount") as socket:
        count = int(await socket.recv())
    for case in range(1, count + 1):
        async with connect(f"runCase?case={case}&agent=websockets") as socket:
            await echo(socket)
    async with connect("updateReports?agent=websockets") as socket:
        await socket.wait_closed()


asyncio.run(
    {"serve-echo": serve_echo, "fuzz": fuzz, "serve-fuzzer": serve_fuzzer, "echo": echo_client}[sys.argv[1]](*sys.argv[2:])
)
