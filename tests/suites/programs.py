"""Python's clients; see programs.sh."""

import asyncio
import os
import ssl
import sys
import traceback

CLIENT = sys.argv[1]
BASE = "https://ok.test"
BODY = b"x" * (1 << 20)
PATHS = {
    "get": "/status/200?get-",
    "post": "/echo?post-",
    "down": "/bytes/8000000?down-",
    "sse": "/stream/20?sse-",
    "denied": "/denied?denied-",
}


def good(feature, status, headers, body):
    match feature:
        case "get":
            return body == b"as asked\n"
        case "post":
            return body == BODY
        case "down":
            return len(body) == 8000000
        case "sse":
            return body.endswith(b"data: 19\n\n")
        case "denied":
            return status == 403 and headers.get("x-httpjail") == "deny"


def check(feature, work):
    try:
        assert work(), "not what was expected"
        print(feature, "ok", flush=True)
    except Exception:
        print(feature, "bad", flush=True)
        traceback.print_exc()


def each(fetch):
    for feature, path in PATHS.items():
        body = BODY if feature == "post" else None
        check(feature, lambda: good(feature, *fetch("POST" if body else "GET", BASE + path + CLIENT, body)))


def with_requests():
    import requests

    session = requests.Session()

    def fetch(method, url, body):
        response = session.request(method, url, data=body)
        return response.status_code, response.headers, response.content

    each(fetch)


def with_httpx(http2=False):
    import httpx

    with httpx.Client(http2=http2, verify=ssl.create_default_context()) as client:

        def fetch(method, url, body):
            response = client.request(method, url, content=body)
            assert response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
            return response.status_code, response.headers, response.content

        each(fetch)


def with_aiohttp():
    import aiohttp

    async def one(method, url, body):
        async with aiohttp.ClientSession() as session, session.request(method, url, data=body) as response:
            return response.status, response.headers, await response.read()

    each(lambda *words: asyncio.run(one(*words)))


def with_websockets():
    import websockets

    async def talk():
        async with websockets.connect("wss://ws.test:9443/", proxy=None) as socket:
            for message in ["ping", b"\0" * 100000, "x" * 500000]:
                await socket.send(message)
                if await socket.recv() != message:
                    return False
        return True

    async def refused():
        try:
            await websockets.connect("wss://ok.test/denied?denied-websockets", proxy=None)
        except websockets.InvalidStatus as error:
            return error.response.status_code == 403

    check("websocket", lambda: asyncio.run(talk()))
    check("denied", lambda: asyncio.run(refused()))


def with_grpc():
    import grpc

    roots = open(os.environ["LAB_CA"], "rb").read() if "LAB_CA" in os.environ else None
    channel = grpc.secure_channel("grpc.test:8446", grpc.ssl_channel_credentials(roots))

    def unary():
        answer, call = channel.unary_unary("/lab.Echo/Unary").with_call(b"word", timeout=20)
        return answer == b"word" and ("lab-count", "1") in call.trailing_metadata()

    def both():
        # Each answer is awaited before the next question is asked: nothing may be held back on the way.
        questions, asked = [b"a", b"b", b"c"], []

        async def main():
            async with grpc.aio.secure_channel("grpc.test:8446", grpc.ssl_channel_credentials(roots)) as channel:
                call = channel.stream_stream("/lab.Echo/Both")(timeout=20)
                for question in questions:
                    await call.write(question)
                    asked.append(await call.read())
                await call.done_writing()
                return asked == [b"A", b"B", b"C"] and await call.read() == grpc.aio.EOF

        return asyncio.run(main())

    def status(path, code, *questions):
        try:
            list(channel.stream_stream(path)(iter(questions), timeout=20))
        except grpc.RpcError as error:
            return error.code() == code or print(error, file=sys.stderr)

    check("get", unary)
    check("sse", lambda: list(channel.unary_stream("/lab.Echo/ServerStream")(b"n", timeout=20))[-1] == b"n4")
    check("post", lambda: channel.stream_unary("/lab.Echo/ClientStream")(iter([b"1", b"2"]), timeout=20) == b"1,2")
    check("both", both)
    check("trailers", lambda: status("/lab.Echo/Both", grpc.StatusCode.DATA_LOSS, b"x", b"fail"))
    check("denied", lambda: status("/denied.Echo/Both", grpc.StatusCode.PERMISSION_DENIED, b"x"))


{
    "aiohttp": with_aiohttp,
    "grpc": with_grpc,
    "httpx": with_httpx,
    "httpx-2": lambda: with_httpx(http2=True),
    "requests": with_requests,
    "websockets": with_websockets,
}[CLIENT]()
