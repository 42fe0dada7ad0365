"""Tries to open for writing a file by which the kernel takes orders, below each folder that is named, and to mount such
file systems anew in namespaces of its own. Tells what could be opened. Nothing is written."""
import ctypes, os, sys

def first_writable(root):
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not name.isdigit() and name not in ("self", "thread-self"))
        for name in sorted(names):
            path = os.path.join(folder, name)
            try:
                if not os.path.islink(path):
                    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                    return True
            except OSError:
                pass
    return False

for root in sys.argv[1:]:
    if first_writable(root):
        print(root)

USER, NS, PID, NET = 0x10000000, 0x20000, 0x20000000, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
for kind, part in (("proc", "sys/kernel"), ("sysfs", "kernel")):
    sys.stdout.flush()
    if os.fork():
        os.wait()
        continue
    libc.unshare(USER | NS | PID | NET)
    if os.fork():
        os.wait()
        os._exit(0)
    if libc.mount(kind.encode(), b"/mnt", kind.encode(), 0, None) == 0:
        # The processes of a namespace below may be seen; what all share may not be written.
        if first_writable("/mnt/" + part):
            print(kind, "anew")
    sys.stdout.flush()
    os._exit(0)
