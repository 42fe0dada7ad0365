"""One DNS question by hand: question.py udp|tcp SERVER NAME TYPE.

Prints the response code, the number of answers, and the address that the answer came from.
"""

import socket
import struct
import sys

KINDS = {"A": 1, "CNAME": 5, "NULL": 10, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "SVCB": 64, "HTTPS": 65, "ANY": 255}
transport, server, name, kind = sys.argv[1:]
labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
query = struct.pack("!6H", 0x1234, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!2H", KINDS[kind], 1)

family = socket.AF_INET6 if ":" in server else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM)
s.settimeout(5)
if transport == "udp":
    s.sendto(query, (server, 53))
    answer, peer = s.recvfrom(4096)
else:
    s.connect((server, 53))
    s.sendall(struct.pack("!H", len(query)) + query)
    stream = s.makefile("rb")
    answer, peer = stream.read(*struct.unpack("!H", stream.read(2))), s.getpeername()
_, flags, _, answers, _, _ = struct.unpack("!6H", answer[:12])
print(flags & 15, answers, peer[0])
