"""Tries to be judged as one socket and connected as another: flip.py FOREIGN TRIES.

Another process changes the address's last letter in shared memory, from that of a listener here to that of FOREIGN and back;
another thread puts a TCP socket and a Unix one under one number in turn. Says how many connections were made.
"""

import ctypes
import mmap
import os
import socket
import struct
import sys
import threading

foreign, tries = sys.argv[1], int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
own = socket.socket(socket.AF_UNIX)
own.bind(foreign[:-1] + "O")
own.listen(4096)
own.setblocking(False)
shared = mmap.mmap(-1, 4096)
address = struct.pack("=H108s", socket.AF_UNIX, foreign.encode())
shared.write(address)
place = ctypes.addressof(ctypes.c_char.from_buffer(shared))
last = 2 + len(foreign) - 1

flipper = os.fork()
if flipper == 0:
    letters = foreign[-1:].encode() + b"O"
    parent = os.getppid()
    while os.getppid() == parent:
        for _ in range(1000):
            shared[last] = letters[0]
            shared[last] = letters[1]
    os._exit(0)

made = 0
for _ in range(tries):
    s = socket.socket(socket.AF_UNIX)
    if libc.connect(s.fileno(), ctypes.c_void_p(place), len(address)) == 0:
        made += 1
        s.send(b"flipped")
    s.close()
    try:
        own.accept()[0].close()
    except BlockingIOError:
        pass
os.kill(flipper, 9)
os.wait()
print("address:", made, flush=True)

shared[last] = foreign.encode()[-1]
number, over = os.dup(0), False


def swap():
    while not over:
        for s in [socket.socket(), socket.socket(socket.AF_UNIX)]:
            os.dup2(s.fileno(), number)


made = 0
thread = threading.Thread(target=swap)
thread.start()
for _ in range(tries):
    if libc.connect(number, ctypes.c_void_p(place), len(address)) == 0:
        made += 1
        libc.send(number, b"flipped", 7, socket.MSG_NOSIGNAL)
over = True
thread.join()
print("number:", made, flush=True)
