"""Runs a command that inherits sockets from outside: with_sockets.py HOW COMMAND...

HOW is "numbers" (a connected TCP socket at 7, an unconnected UDP one at 8) or "stdin" (the TCP one as standard input).
"""

import os
import socket
import sys

tcp = socket.create_connection(("198.51.100.3", 9999))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if sys.argv[1] == "stdin":
    os.dup2(tcp.fileno(), 0)
else:
    # By way of high numbers: 7 or 8 may be one of the two already.
    os.dup2(tcp.fileno(), 107)
    os.dup2(udp.fileno(), 108)
    os.dup2(107, 7)
    os.dup2(108, 8)
os.execvp(sys.argv[2], sys.argv[2:])
