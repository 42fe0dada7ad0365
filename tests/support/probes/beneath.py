"""Looks for a file beneath what is mounted over it: beneath.py FOLDER NEEDLE [here].

FOLDER is mounted over; in its parent's file system it holds a file with NEEDLE in it. Prints "found by WAY" for each way
that led to it, and "tried WAY" for each. With "here" the mounts are the caller's own; else each way is gone in a user and
mount namespace of its own.
"""

import ctypes
import os
import sys
import tempfile

FOLDER, NEEDLE = sys.argv[1], sys.argv[2].encode()
PARENT, NAME = os.path.split(FOLDER)
HERE = len(sys.argv) > 3
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x00020000
MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE, MNT_DETACH = 0x1000, 0x2000, 0x4000, 1 << 18, 2
OPEN_TREE, OPEN_TREE_CLONE, MOVE_MOUNT = 428, 1, 429
AT_FDCWD = -100


def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def mount(source, target, kind=None, flags=0, options=None):
    words = [word.encode() if word else None for word in (source, target, kind)]
    check(LIBC.mount(*words, ctypes.c_ulong(flags), options.encode() if options else None))


def own_namespaces():
    uid, gid = os.getuid(), os.getgid()
    check(LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNS))
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        try:
            with open("/proc/self/" + name, "w") as file:
                file.write(text)
        except OSError:
            pass  # A jailed root may not; it has the capabilities there all the same.
    mount(None, "/", None, MS_REC | MS_PRIVATE)


def unmounted():
    check(LIBC.umount2(FOLDER.encode(), MNT_DETACH))
    return FOLDER


def parent_unmounted():
    mount(PARENT, PARENT, None, MS_BIND)
    check(LIBC.umount2(FOLDER.encode(), MNT_DETACH))
    return FOLDER


def bound():
    place = tempfile.mkdtemp()
    mount(PARENT, place, None, MS_BIND)
    return os.path.join(place, NAME)


def moved():
    mount(FOLDER, tempfile.mkdtemp(), None, MS_MOVE)
    return FOLDER


def overlaid():
    base = tempfile.mkdtemp()
    mount("none", base, "tmpfs")
    places = [os.path.join(base, part) for part in ("upper", "work", "merged")]
    for place in places:
        os.mkdir(place)
    mount("none", places[2], "overlay", 0, f"lowerdir={PARENT},upperdir={places[0]},workdir={places[1]}")
    return os.path.join(places[2], NAME)


def tree_opened():
    tree = check(LIBC.syscall(OPEN_TREE, AT_FDCWD, PARENT.encode(), OPEN_TREE_CLONE))
    return f"/proc/self/fd/{tree}/{NAME}"


def mounted_over_and_unmounted():
    mount("none", FOLDER, "tmpfs")
    check(LIBC.umount2(FOLDER.encode(), MNT_DETACH))
    check(LIBC.umount2(FOLDER.encode(), MNT_DETACH))
    return FOLDER


def folder_renamed():
    os.rename(FOLDER, FOLDER + ".away")
    return FOLDER + ".away"


def holds_the_needle(folder):
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            if NEEDLE in file.read():
                return True
    return False


for way in (unmounted, parent_unmounted, bound, moved, overlaid, tree_opened, mounted_over_and_unmounted, folder_renamed):
    child = os.fork()
    if child == 0:
        print("tried", way.__name__, flush=True)
        try:
            if HERE:
                check(LIBC.unshare(CLONE_NEWNS))
            else:
                own_namespaces()
            if holds_the_needle(way()):
                print("found by", way.__name__, flush=True)
        except OSError as error:
            print(way.__name__, error, file=sys.stderr, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
