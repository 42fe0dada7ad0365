"""A server of signed policies: policy_server.py DIRECTORY CERTIFICATE KEY

It listens on 9611 by HTTPS, answers with the files of DIRECTORY and tags of their content, and appends a line to DIRECTORY/asked for
each request: path, tag, status. A file NAME.does says what it does instead: redirect, truncate, endless, hang, encode.
"""

import hashlib
import http.server
import os
import ssl
import sys
import time

DIRECTORY, CERTIFICATE, KEY = sys.argv[1:]


class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = os.path.join(DIRECTORY, os.path.basename(self.path))
        tag = self.headers.get("if-none-match", "-")
        if not os.path.exists(path):
            return self.say(404, tag, b"")
        with open(path, "rb") as file:
            body = file.read()
        does = ""
        if os.path.exists(path + ".does"):
            with open(path + ".does") as file:
                does = file.read()
        own = '"%s"' % hashlib.sha256(body).hexdigest()[:16]
        if does == "redirect":
            return self.say(302, tag, b"", location="https://policy.test:9611/web.yaml")
        if does == "truncate":
            self.say(200, tag, body[: len(body) // 2], length=len(body))
            self.close_connection = True
            return
        if does == "endless":
            self.say(200, tag, b"", length=1 << 40)
            while True:
                self.wfile.write(b"#" * 65536)
        if does == "hang":
            self.say(200, tag, body[:1], length=len(body))
            return time.sleep(60)
        if does == "encode":
            return self.say(200, tag, body, **{"content-encoding": "gzip"})
        if tag == own:
            return self.say(304, tag, b"", etag=own)
        return self.say(200, tag, body, etag=own)

    def say(self, status, tag, body, length=None, **fields):
        with open(os.path.join(DIRECTORY, "asked"), "a") as asked:
            asked.write(f"{self.path} {'tag' if tag != '-' else '-'} {status}\n")
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("content-length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
server = Quiet(("", 9611), Server)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print("up", flush=True)
server.serve_forever()
