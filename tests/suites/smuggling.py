"""Raw HTTP/1: the sender of a corpus, and an origin that believes nothing and logs everything.

    send CORPUS HOST PORT   each case on a connection of its own; name -> statuses, as JSON
    log PORT OUT            an origin; one line in OUT for each request that arrived whole, or for what was no request
"""

import json
import re
import socket
import socketserver
import sys

PATIENCE = 20


def unescape(text):
    """The bytes of a case: \\r \\n \\t \\\\ \\xHH, and \\{N*text} for text N times."""
    many = re.compile(r"\\\{(\d+)\*(.*?)\}")
    text = many.sub(lambda found: found[2] * int(found[1]), text)
    simple = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}
    one = lambda found: chr(int(found[1], 16)) if found[1] else simple[found[2]]
    return re.sub(r"\\(?:x([0-9a-fA-F]{2})|([rnt\\]))", one, text).encode("latin-1")


def cases(path):
    for line in open(path, encoding="utf-8"):
        if line.startswith("#") or " | " not in line:
            continue
        name, _, _, text = line.rstrip("\n").split(" | ", 3)
        yield name.strip(), unescape(text)


def answers(data):
    """The statuses of the final answers in what came back."""
    found = []
    while data:
        head, end, rest = data.partition(b"\r\n\r\n")
        line = re.match(rb"HTTP/1\.[01] (\d{3})", head)
        if not line or not end:
            return found + ["?"]
        status = int(line[1])
        fields = {k.strip().lower(): v.strip() for k, _, v in (f.partition(b":") for f in head.split(b"\r\n")[1:])}
        data = rest
        if status < 200:
            continue
        found.append(str(status))
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            while True:
                size, _, data = data.partition(b"\r\n")
                if not size or int(size, 16) == 0:
                    data = data.partition(b"\r\n")[2]
                    break
                data = data[int(size, 16) + 2 :]
        elif b"content-length" in fields and not HEAD:
            data = data[int(fields[b"content-length"]) :]
        elif b"content-length" not in fields and status not in (204, 304) and not HEAD:
            data = b""
    return found


def send(corpus, host, port):
    global HEAD
    said = {}
    for name, request in cases(corpus):
        HEAD = request.startswith(b"HEAD ")
        with socket.create_connection((host, int(port)), PATIENCE) as connection:
            got = b""
            try:
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
                while piece := connection.recv(65536):
                    got += piece
            except OSError as error:
                if isinstance(error, TimeoutError):
                    got += b"HTTP/1.1 !timeout\r\n\r\n"
        said[name] = ",".join(answers(got)) or "-"
    print(json.dumps(said))


class Origin(socketserver.StreamRequestHandler):
    """Reads strictly; what it cannot read it logs as it came, and hangs up."""

    def handle(self):
        while True:
            line = self.rfile.readline(65537)
            if not line:
                return
            fields = []
            while (field := self.rfile.readline(65537)) not in (b"\r\n", b""):
                fields.append(field)
            names = {}
            for field in fields:
                name, colon, value = field.partition(b":")
                names.setdefault(name.lower(), []).append(value.strip())
            request = re.fullmatch(rb"([!-~]+ [!-~]+) HTTP/1\.1\r\n", line)
            length = names.get(b"content-length", [])
            coding = names.get(b"transfer-encoding", [])
            sound = (
                request
                and len(names.get(b"host", [])) == 1
                and len(length) + len(coding) <= 1
                and all(re.fullmatch(rb"\d+", one) for one in length)
                and all(one == b"chunked" for one in coding)
                and all(re.fullmatch(rb"[!#-'*+.0-9A-Z^-z|~-]+:[^\r\n\0]*\r\n", field) for field in fields)
            )
            if not sound:
                return self.log(b"no request: " + (line + b"".join(fields)).strip(), 400)
            if b"100-continue" in names.get(b"expect", []):
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = self.rfile.read(int(length[0])) if length else b""
            if length and len(body) < int(length[0]):
                return
            if coding and (body := self.chunks()) is None:
                return
            self.log(request[1], 200, body)
            text = b"" if line.startswith(b"HEAD ") else b"logged\n"
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n" + text)

    def chunks(self):
        body = b""
        while True:
            size = self.rfile.readline(100)
            if not re.fullmatch(rb"[0-9A-Fa-f]+\r\n", size):
                return self.log(b"no chunk: " + size.strip(), 400) if size else None
            if int(size, 16) == 0:
                while (field := self.rfile.readline(65537)) not in (b"\r\n", b""):
                    pass
                return body if field else None
            piece = self.rfile.read(int(size, 16) + 2)
            if not piece.endswith(b"\r\n"):
                return None
            body += piece[:-2]

    def log(self, what, status, body=b""):
        clean = lambda text: text.decode("latin-1").encode("unicode_escape").decode()
        with open(self.server.out, "a") as out:
            out.write(f"{clean(what)}\t{status}\t{clean(body)}\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, address):
        """A client that hangs up is its own business."""


def log(port, out):
    open(out, "w").close()
    with Server(("0.0.0.0", int(port)), Origin) as server:
        server.out = out
        server.serve_forever()


{"send": send, "log": log}[sys.argv[1]](*sys.argv[2:])
