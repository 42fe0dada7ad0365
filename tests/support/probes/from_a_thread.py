"""Starts a command from a thread that ends when the command has said a line, then writes one to it: from_a_thread.py COMMAND...

A signal on the parent's death comes when the thread ends, for that is the parent (prctl(2), PR_SET_PDEATHSIG).
"""

import os
import subprocess
import sys
import threading
import time

children = []


def start():
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    children.append(child)
    child.stdout.readline()


thread = threading.Thread(target=start)
thread.start()
thread.join()
while len(os.listdir("/proc/self/task")) > 1:
    time.sleep(0.001)
said = b""
try:
    said, _ = children[0].communicate(b"go\n")
except BrokenPipeError:
    pass
sys.stdout.write(said.decode())
sys.stdout.flush()
code = children[0].wait()
sys.exit(code if code >= 0 else 128 - code)
