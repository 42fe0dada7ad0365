"""Tries to change how large a core dump may be, in every way there is; says what came of it, and waits for a line."""
import ctypes
import platform
import resource as r

libc = ctypes.CDLL(None)
SETRLIMIT, PRLIMIT64 = (160, 302) if platform.machine() == "x86_64" else (164, 261)
for value in (0, 2**64 - 1, 4096):
    r.setrlimit(r.RLIMIT_CORE, (ctypes.c_long(value).value,) * 2)
    pair = (ctypes.c_ulong * 2)(value, value)
    # The number of the resource is an int: whatever stands above it does not count.
    for resource in (r.RLIMIT_CORE, r.RLIMIT_CORE + 2**32):
        assert libc.syscall(SETRLIMIT, ctypes.c_ulong(resource), pair) == 0
        assert libc.syscall(PRLIMIT64, 0, ctypes.c_ulong(resource), pair, None) == 0
    print(*r.getrlimit(r.RLIMIT_CORE))
r.setrlimit(r.RLIMIT_NOFILE, (100, 100))
print(*r.getrlimit(r.RLIMIT_NOFILE), flush=True)
input()
