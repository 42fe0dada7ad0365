"""Runs a program beneath a filter that hands calls over already, as some container engines have one: watched.py COMMAND..."""

import ctypes
import os
import struct
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
# SECCOMP_RET_ALLOW, whatever the call.
program = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000))


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_void_p)]


filter = Filter(1, ctypes.addressof(program))
libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
number = {"x86_64": 317, "aarch64": 277}[os.uname().machine]
# SECCOMP_SET_MODE_FILTER with SECCOMP_FILTER_FLAG_NEW_LISTENER.
assert libc.syscall(number, 1, 8, ctypes.byref(filter)) >= 0, ctypes.get_errno()
command = os.getpid()
if os.fork() == 0:
    while os.getppid() == command:
        time.sleep(0.2)
    os._exit(0)
os.execvp(sys.argv[1], sys.argv[1:])
