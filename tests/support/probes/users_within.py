"""Root of a jail and a user in it, of whom neither is to be taken for the other: users_within.py FOLDER UID

Prints how many names led the user to root's listener in a folder that is closed to him, and whose listener his is.
"""

import os
import socket
import struct
import sys

folder, uid = sys.argv[1], int(sys.argv[2])


def listener(name):
    s = socket.socket(socket.AF_UNIX)
    s.bind(name)
    s.listen(99)
    return s


def reaches(name):
    try:
        socket.socket(socket.AF_UNIX).connect(name)
        return True
    except OSError:
        return False


def as_user(act):
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        os._exit(act())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


os.mkdir(folder + "/closed", 0o700)
closed = listener(folder + "/closed/s")
os.chmod(folder + "/closed/s", 0o666)
# Those through `self` are the process's that asks, not those of who looks for it.
ways = [way for n in range(64) for way in (f"/proc/1/fd/{n}", f"/proc/./self/fd/{n}", f"/proc/self/../1/fd/{n}")]
ways += [folder + "/closed/s", "/proc/1/root" + folder + "/closed/s", "/proc/self/../.." + folder + "/closed/s"]
print("closed", as_user(lambda: sum(map(reaches, ways))), flush=True)

os.mkdir(folder + "/users")
os.chown(folder + "/users", uid, uid)
name = folder + "/users/s"
go, told = os.pipe()


def serve():
    s = listener(name)
    os.write(told, b"x")
    s.accept()
    return 0


server = os.fork()
if server == 0:
    os._exit(as_user(serve))
os.read(go, 1)
s = socket.socket(socket.AF_UNIX)
s.connect(name)
print("listener", struct.unpack("3i", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1], flush=True)
os.waitpid(server, 0)
