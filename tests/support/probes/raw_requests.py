"""Sends raw HTTP/1 requests, each case on a connection of its own: raw_requests.py CORPUS HOST PORT

CORPUS is in the format of tests/corpus/http1.txt. Prints "NAME STATUSES" for each case: the statuses of the final
answers, with commas between, "-" if there was none. Before each case the server gets a `GET /case/NAME`, so that its log
can be told apart.
"""

import codecs
import re
import socket
import sys


def cases(path, port):
    for line in open(path, encoding="ascii"):
        if line.strip() and not line.startswith("#"):
            name, _, _, text = line.rstrip("\n").split("|", 3)
            yield name.strip(), unescaped(text[1:], port)


def unescaped(text, port):
    text = text.replace("\\{port}", "" if port == "80" else ":" + port)
    text = re.sub(r"\\\{(\d+)\*([^}]*)\}", lambda found: int(found[1]) * found[2], text)
    return codecs.escape_decode(text.encode())[0]


def exchange(place, request):
    """All that is answered to `request` until the other end closes."""
    answer = b""
    with socket.create_connection(place, timeout=30) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionError:
            pass  # Refused with a reset; what was answered before counts.
    return answer


def statuses(answer, methods):
    """The statuses of the final answers; all of them have a length or no body at all."""
    found = []
    while answer:
        head, _, answer = answer.partition(b"\r\n\r\n")
        status = head.split(b" ")[1].decode()
        if status.startswith("1"):
            continue
        bodiless = methods[:1] == [b"HEAD"] and status == "200"
        methods = methods[1:]
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if not bodiless and length:
            answer = answer[int(length[1]) :]
        found.append(status)
    return ",".join(found) or "-"


def main():
    corpus, host, port = sys.argv[1:]
    place = (socket.gethostbyname(host), int(port))
    for name, request in cases(corpus, port):
        mark = f"GET /case/{name} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        if statuses(exchange(place, mark), []) != "200":
            sys.exit(f"no answer before {name}")
        print(name, statuses(exchange(place, request), [request.split(b" ")[0]]))


main()
