"""Leaves an orphan in the background that tries to get out for ever: daemon.py CANARY.

Prints "looping" when the orphan has begun, and stays until it is killed.
"""

import os
import signal
import socket
import sys

CANARY = sys.argv[1].encode()
FORBIDDEN = ("198.51.100.3", 9999)


def tcp():
    s = socket.create_connection(FORBIDDEN, 0.2)
    s.settimeout(0.2)
    s.sendall(CANARY + b"\r\n")
    s.recv(1)


def udp():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(CANARY, FORBIDDEN)


def fast_open():
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.settimeout(0.2)
    s.sendto(CANARY + b"\r\n", socket.MSG_FASTOPEN, FORBIDDEN)


if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    print("looping", flush=True)
    while True:
        for attempt in (tcp, udp, fast_open):
            try:
                attempt()
            except OSError:
                pass
os.wait()
while True:
    signal.pause()
