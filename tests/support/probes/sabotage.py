"""Does what it may to every process whose number it can name: sabotage.py FIRST LAST.

But its own parent. Stops it, makes it slow, leaves it no descriptors and no processor time. Prints how many took a signal.
"""

import os
import resource
import signal
import sys

first, last = int(sys.argv[1]), int(sys.argv[2])
taken = 0
for pid in range(first, last):
    if pid in (os.getpid(), os.getppid()):
        continue
    attempts = (
        lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, 3)),
        lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1)),
        lambda: os.setpriority(os.PRIO_PROCESS, pid, 19),
        lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0)),
    )
    for attempt in attempts:
        try:
            attempt()
        except OSError:
            pass
    try:
        os.kill(pid, signal.SIGSTOP)
        taken += 1
    except OSError:
        pass
print("taken", taken, flush=True)
