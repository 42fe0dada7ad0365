"""Tries each terminal that is named: writes to it, and then reads what is typed there."""
import os, select, sys

opened = []
for name in sys.argv[1:]:
    try:
        terminal = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        os.write(terminal, b"intruder\r\n")
    except OSError:
        continue
    opened.append(terminal)
    print(name)
print("looked", flush=True)
if opened:
    ready, _, _ = select.select(opened, [], [])
    print("read", os.read(ready[0], 100))
