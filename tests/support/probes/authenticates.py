"""Authenticates connections as NTLM does, at the servers of odd_origins.py: authenticates.py HOST

Prints a line for each of what it tried: a port and what came of it.
"""

import http.client
import sys
import threading

HOST = sys.argv[1]
# The beginnings of NTLM's first and last message.
FIRST, LAST = "NTLM TlRMTVNTUAABAAAA", "NTLM TlRMTVNTUAADAAAA"


def connect(port):
    if port == 9601:
        return http.client.HTTPConnection(HOST, port, timeout=30)
    return http.client.HTTPSConnection(HOST, port, timeout=30)


def get(client, path, authorization=None):
    client.request("GET", path, headers={"Authorization": authorization} if authorization else {})
    answer = client.getresponse()
    return answer.status, answer.read().decode()


def handshake(client, between=lambda: None):
    """The statuses of the three steps and of a request after them, and over how many connections they went from the second on."""
    steps = [get(client, "/a", None), get(client, "/a", FIRST)]
    between()
    steps += [get(client, "/a", LAST), get(client, "/b", None)]
    return " ".join(str(status) for status, _ in steps), len({where for _, where in steps[1:]})


def beside_others(port):
    """While it authenticates, another client asks for what takes a moment."""
    others = []

    def between():
        others.append(threading.Thread(target=get, args=(connect(port), "/slow")))
        others[0].start()
        get(connect(port), "/open")

    statuses, connections = handshake(connect(port), between)
    others[0].join()
    return f"{statuses} over {connections}"


def stranger(port):
    """Who asks after somebody who has authenticated and is still there, and after one who has left."""
    client = connect(port)
    handshake(client)
    during = get(connect(port), "/b")[0]
    client.close()
    return f"{during} {get(connect(port), '/b')[0]}"


def websocket(port):
    """A WebSocket on a connection that has authenticated before."""
    client = connect(port)
    statuses, _ = handshake(client)
    number = get(client, "/b")[1]
    client.sock.sendall(
        f"GET /ws HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    answer = b""
    while more := client.sock.recv(4096):
        answer += more
    return f"{statuses} {answer.split(b' ')[1].decode()} {'same' if answer.endswith(number.encode()) else answer}"


for port in (9601, 9602):
    for attempt in (beside_others, stranger, websocket):
        print(port, attempt.__name__, attempt(port), flush=True)
