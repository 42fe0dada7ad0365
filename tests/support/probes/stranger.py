"""Another program of the host, busy with things of its own: network namespaces as ip-netns(8) makes them, cgroups, Unix
sockets. Makes and removes them for as long as it is told to, two minutes at most, and leaves nothing.

stranger.py MARK: a word that its names have in them. Ends when its standard input does."""

import ctypes
import os
import select
import socket
import subprocess
import sys
import time

mark = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
# The machine that it is busy on is a mount namespace: the names of network namespaces are mounts there.
if libc.unshare(0x00020000) or libc.mount(None, b"/", None, 0x40000 | 0x4000, None):
    raise OSError(ctypes.get_errno(), "a mount namespace")
os.makedirs("/run/netns", exist_ok=True)
if libc.mount(b"/run/netns", b"/run/netns", None, 0x1000, None):
    raise OSError(ctypes.get_errno(), "a place for names")
cgroups = next(line.split()[4] for line in open("/proc/self/mountinfo") if " - cgroup2 " in line)
folder = f"/run/{mark}"
os.mkdir(folder)
os.chdir(folder)


def once(number):
    space, cgroup, name = f"{mark}-{number}", f"{cgroups}/{mark}-{number}", f"{folder}/{number}.sock"
    subprocess.run(["ip", "netns", "add", space], check=True)
    os.mkdir(cgroup)
    sockets = []
    for at in [name, f"{number}.relative", f"\0{mark}-{number}"]:
        sockets.append(socket.socket(socket.AF_UNIX))
        sockets[-1].bind(at)
        sockets[-1].listen()
    yield
    for made in sockets:
        made.close()
    os.unlink(name)
    os.unlink(f"{number}.relative")
    os.rmdir(cgroup)
    subprocess.run(["ip", "netns", "del", space], check=True)


end = time.monotonic() + 120
alive = []
number = 0
try:
    while time.monotonic() < end and not select.select([sys.stdin], [], [], 0.02)[0]:
        number += 1
        # Many at a time: each stays for a second or two.
        alive.append(once(number))
        next(alive[-1])
        if number == 1:
            print("busy", flush=True)
        if len(alive) > 60:
            list(alive.pop(0))
finally:
    for one in alive:
        list(one)
    os.rmdir(folder)
print(number)
