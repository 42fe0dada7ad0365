"""A process outside the jail that hands fresh sockets to whoever asks: accomplice.py PATH ABSTRACT-NAME.

Prints the number of a UDP socket that it holds itself, when both listeners are ready.
"""

import array
import os
import select
import socket
import sys

listeners = []
for address in (sys.argv[1], "\0" + sys.argv[2]):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen()
    listeners.append(listener)
os.chmod(sys.argv[1], 0o777)
held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print(held.fileno(), flush=True)
while True:
    for listener in select.select(listeners, [], [])[0]:
        connection, _ = listener.accept()
        fresh = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        connection.sendmsg([b"!"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fresh.fileno()]))])
        connection.close()
        fresh.close()
