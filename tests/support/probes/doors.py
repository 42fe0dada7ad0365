"""Makes a system call by another door than the machine's own: doors.py i386|x32.

Prints the answer; what ends the process for it is its parent's to see.
"""

import ctypes
import errno
import mmap
import os
import sys

if sys.argv[1] == "i386":
    # mov eax, 359 (socket); mov ebx, 40 (AF_VSOCK); mov ecx, 1; xor edx, edx; int 0x80; ret, with rbx kept.
    code = b"\x53\xb8\x67\x01\x00\x00\xbb\x28\x00\x00\x00\xb9\x01\x00\x00\x00\x31\xd2\xcd\x80\x5b\xc3"
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    answer = call()
else:
    libc = ctypes.CDLL(None, use_errno=True)
    # getpid, with the bit that makes it x32's.
    answer = libc.syscall(0x40000000 + 39)
    answer = -ctypes.get_errno() if answer < 0 else answer
print("done" if answer >= 0 else errno.errorcode.get(-answer, -answer), flush=True)
