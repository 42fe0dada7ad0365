"""Small servers of what package managers and git speak, and their packages; made anew for each run.

    origins.py packages PORT CHAIN KEY ROOT   HTTPS/1.1 at https://packages.test:PORT: /git (smart protocol), /simple
                                              (pip), /npm, /crates (sparse index)
    origins.py grpc PORT CHAIN KEY            an echo over gRPC in all four kinds of call
    origins.py websocket PORT CHAIN KEY       an echo
    origins.py events PORT                    a page, and events without end
"""

import asyncio
import base64
import hashlib
import http.server
import io
import json
import os
import ssl
import subprocess
import sys
import tarfile
import zipfile

NAME, VERSION = "tiny", "1.0.0"
ORIGIN = "https://packages.test:{port}"


def tls(chain, key, protocols=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


def tarball(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


def wheel():
    out = io.BytesIO()
    info = f"{NAME}-{VERSION}.dist-info"
    files = {
        f"{NAME}.py": "word = 'from pip'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}\n"
        for name, text in files.items()
    )
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return out.getvalue()


def packages(port):
    """Path -> (type, bytes)."""
    origin = ORIGIN.format(port=port)
    file = f"{NAME}-{VERSION}-py3-none-any.whl"
    npm = tarball(
        {
            "package/package.json": json.dumps({"name": NAME, "version": VERSION, "main": "index.js"}),
            "package/index.js": "module.exports = 'from npm'\n",
        }
    )
    sri = "sha512-" + base64.b64encode(hashlib.sha512(npm).digest()).decode()
    dist = {"tarball": f"{origin}/npm/{NAME}/-/{NAME}-{VERSION}.tgz", "integrity": sri}
    document = {
        "name": NAME,
        "dist-tags": {"latest": VERSION},
        "versions": {VERSION: {"name": NAME, "version": VERSION, "main": "index.js", "dist": dist}},
    }
    crate = tarball(
        {
            f"{NAME}-{VERSION}/Cargo.toml": f'[package]\nname = "{NAME}"\nversion = "{VERSION}"\nedition = "2021"\n',
            f"{NAME}-{VERSION}/src/lib.rs": 'pub const WORD: &str = "from cargo";\n',
        }
    )
    line = {
        "name": NAME,
        "vers": VERSION,
        "deps": [],
        "cksum": hashlib.sha256(crate).hexdigest(),
        "features": {},
        "yanked": False,
    }
    text = lambda value: json.dumps(value).encode()
    return {
        f"/simple/{NAME}/": ("text/html", f'<a href="/files/{file}">{file}</a>'.encode()),
        f"/files/{file}": ("application/zip", wheel()),
        f"/npm/{NAME}": ("application/json", text(document)),
        f"/npm/{NAME}/-/{NAME}-{VERSION}.tgz": ("application/octet-stream", npm),
        "/crates/config.json": ("application/json", text({"dl": f"{origin}/dl"})),
        "/crates/ti/ny/tiny": ("text/plain", text(line) + b"\n"),
        f"/dl/{NAME}/{VERSION}/download": ("application/octet-stream", crate),
    }


class Packages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files, root = {}, ""

    def log_message(self, *words):
        pass

    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        if self.path.startswith("/git/"):
            return self.git(b"")
        kind, body = self.files.get(self.path.split("?")[0], (None, None))
        self.answer(200, kind, body) if kind else self.answer(404, "text/plain", b"no such file\n")

    do_HEAD = do_GET

    def do_POST(self):
        body = b""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.git(body) if self.path.startswith("/git/") else self.answer(404, "text/plain", b"no such thing\n")

    def git(self, body):
        path, _, query = self.path.partition("?")
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": self.root,
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path.removeprefix("/git"),
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "lab",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }
        said = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True).stdout
        head, _, body = said.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(fields.pop("Status", "200").split()[0])
        self.answer(status, fields.get("Content-Type", "text/plain"), body)


def serve_packages(port, chain, key, root):
    Packages.files, Packages.root = packages(port), root
    subprocess.run(["git", "init", "-q", "-b", "main", "--bare", f"{root}/project.git"], check=True)
    subprocess.run(["git", "-C", f"{root}/project.git", "config", "http.receivepack", "true"], check=True)
    server = http.server.ThreadingHTTPServer(("0.0.0.0", int(port)), Packages)
    server.socket = tls(chain, key).wrap_socket(server.socket, server_side=True)
    server.serve_forever()


def serve_grpc(port, chain, key):
    from concurrent import futures

    import grpc

    def unary(request, context):
        context.set_trailing_metadata([("lab-count", "1")])
        return request

    def server_stream(request, context):
        for number in range(5):
            yield request + b"%d" % number

    def client_stream(requests, context):
        return b",".join(requests)

    def both(requests, context):
        for request in requests:
            if request == b"fail":
                context.abort(grpc.StatusCode.DATA_LOSS, "as asked")
            yield request.upper()

    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "Both": grpc.stream_stream_rpc_method_handler(both),
    }
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("lab.Echo", handlers)])
    pair = (open(key, "rb").read(), open(chain, "rb").read())
    server.add_secure_port(f"0.0.0.0:{port}", grpc.ssl_server_credentials([pair]))
    server.start()
    server.wait_for_termination()


def serve_websocket(port, chain, key):
    import websockets

    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    async def main():
        async with websockets.serve(echo, "0.0.0.0", int(port), ssl=tls(chain, key)):
            await asyncio.Future()

    asyncio.run(main())


PAGE = b"""<!doctype html>
<title>lab</title>
<style>body{font:24px sans-serif;margin:40px} b{color:#060}</style>
<h1>A page through httpjail</h1>
<p>loaded by <b id=how>?</b> <p>fetch: <b id=fetch>?</b> <p>WebSocket: <b id=ws>?</b> <p>events: <b id=events>?</b>
<script>
const show = (id, text) => document.getElementById(id).textContent = text;
show('how', performance.getEntriesByType('navigation')[0].nextHopProtocol);
fetch('/word').then(r => r.text()).then(text => show('fetch', text));
const socket = new WebSocket('wss://' + location.host + '/ws');
socket.onopen = () => socket.send('ping');
socket.onmessage = event => show('ws', 'echo of ' + event.data);
socket.onerror = () => show('ws', 'error');
const heard = [], source = new EventSource('/events');
source.onmessage = event => { heard.push(event.data); show('events', heard.join(' ')); if (heard.length == 5) source.close(); };
</script>
"""


class Events(http.server.BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if self.path == "/events" else "text/html")
        self.end_headers()
        if self.path != "/events":
            return self.wfile.write(b"a word" if self.path == "/word" else PAGE)
        number = 0
        try:
            while True:
                self.wfile.write(b"data: %d\n\n" % number)
                self.wfile.flush()
                number += 1
                # An event a moment, as those who send them do; nobody waits for one of these in vain.
                self.server.pause.wait(0.1)
        except OSError:
            pass


def serve_events(port):
    import threading

    server = http.server.ThreadingHTTPServer(("0.0.0.0", int(port)), Events)
    server.pause = threading.Event()
    server.serve_forever()


KINDS = {"packages": serve_packages, "grpc": serve_grpc, "websocket": serve_websocket, "events": serve_events}
KINDS[sys.argv[1]](*sys.argv[2:])
