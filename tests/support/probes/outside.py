"""A program outside that does what it is told over a Unix socket: outside.py PATH [HOW].

Prints "up", and then each message that reached it, by a stream at PATH or by a datagram at PATH.datagram. HOW: "bound" (as it
is), "relative" (by a relative name, then gone from that folder, as daemon(3) does), "abstract" (in no file system).
"""

import os
import select
import socket
import sys

path, how = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "bound"
stream, datagram = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
names = [path, path + ".datagram"]
if how == "abstract":
    names = ["\0" + name for name in names]
elif how == "relative":
    os.chdir(os.path.dirname(path))
    names = [os.path.basename(name) for name in names]
stream.bind(names[0])
datagram.bind(names[1])
if how != "abstract":
    for name in names:
        os.chmod(name, 0o777)
stream.listen(64)
os.chdir("/")
print("up", flush=True)
while True:
    for ready in select.select([stream, datagram], [], [])[0]:
        if ready is stream:
            client = stream.accept()[0]
            client.settimeout(5)
            try:
                message = client.recv(100)
            except OSError:
                message = b"?"
            client.close()
        else:
            message = datagram.recv(100)
        print(message.decode(errors="replace"), flush=True)
