"""Does what it is told, a line of Python at a time, and prints what came of it: a value, or the name of what was raised."""

import socket
import subprocess
import sys

space = {"socket": socket, "subprocess": subprocess}


def curl(*more):
    line = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20", *more]
    done = subprocess.run(line, capture_output=True, text=True)
    return done.stdout or done.stderr


space["curl"] = curl
socket.setdefaulttimeout(10)
print("ready", flush=True)
for line in sys.stdin:
    try:
        print(eval(line, space), flush=True)
    except SyntaxError:
        try:
            exec(line, space)
            print("done", flush=True)
        except Exception as error:
            print(type(error).__name__, flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
