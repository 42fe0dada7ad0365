"""Tries to kill what is in the cgroup named VICTIM, or with FREEZE to leave a frozen child: cgroups.py kill|freeze VICTIM FOLDER."""
import ctypes
import os
import signal
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWCGROUP, NEWUSER, INTO_CGROUP = 0x20000, 0x2000000, 0x10000000, 0x200000000
PRIVATE, CLONE3 = 0x44000, 435
what, victim, folder = sys.argv[1:]


def trees():
    with open("/proc/self/mountinfo") as table:
        return [line.split()[4] for line in table if " - cgroup2 " in line]


def kill_below(tree):
    """Writes cgroup.kill wherever a folder of that name shows."""
    for path, folders, _ in os.walk(tree):
        if victim in folders:
            try:
                with open(f"{path}/{victim}/cgroup.kill", "w") as kill:
                    kill.write("1")
                print("killed through", tree)
            except OSError as error:
                print(tree, error.strerror)


def mount_anew(kind, options=None):
    """A tree of one's own making, in namespaces of one's own."""
    if libc.unshare(NEWUSER | NEWNS | NEWCGROUP) or libc.mount(None, b"/", None, PRIVATE, None):
        return os.strerror(ctypes.get_errno())
    if libc.mount(b"none", folder.encode(), kind, 0, options):
        return os.strerror(ctypes.get_errno())
    return None


def apart(action):
    """Does it in a process of its own, for what it does to itself stays."""
    child = os.fork()
    if child == 0:
        action()
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)


def born_in(path):
    descriptor = os.open(path, os.O_PATH)
    arguments = struct.pack("11Q", INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, descriptor)
    child = libc.syscall(CLONE3, arguments, len(arguments))
    if child == 0:
        print("born in", path, open("/proc/self/cgroup").read().split("0::")[1].strip())
        if mount_anew(b"cgroup2") is None:
            kill_below(folder)
        sys.stdout.flush()
        os._exit(0)
    if child > 0:
        os.waitpid(child, 0)


def anew():
    print("anew:", mount_anew(b"cgroup2") or kill_below(folder))


if what == "kill":
    for tree in trees():
        apart(lambda: kill_below(tree))
    apart(anew)
    for tree in trees():
        for path, _, _ in os.walk(tree):
            apart(lambda: born_in(path))
else:
    failed = mount_anew(b"cgroup", b"freezer")
    print("mount:", failed, flush=True)
    os.mkdir(f"{folder}/{victim}")
    child = os.fork()
    if child == 0:
        signal.pause()
    for name, value in (("cgroup.procs", child), ("freezer.state", "FROZEN")):
        with open(f"{folder}/{victim}/{name}", "w") as file:
            file.write(str(value))
    print("frozen", flush=True)
    os._exit(7)
