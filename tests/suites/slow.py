"""An attack, and an honest client beside it.

    slow.py URL "ATTACK..."   asks for URL on a new connection, again and again, while the attack's command runs;
                              {served, failed, slowest, attack} as JSON
"""

import json
import re
import shlex
import ssl
import subprocess
import sys
import time
import urllib.request

url, attack = sys.argv[1], shlex.split(sys.argv[2])
served, failed, slowest = 0, 0, 0.0
context = ssl.create_default_context()
process = subprocess.Popen(attack, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
while process.poll() is None:
    start = time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=20, context=context) as answer:
            answer.read()
        served += 1
    except OSError:
        failed += 1
    slowest = max(slowest, time.monotonic() - start)
    time.sleep(0.1)
said = re.sub(r"\x1b\[[0-9;]*m", "", process.stdout.read())
last = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in said.splitlines()) if value}
wanted = ["connected", "pending", "error", "closed", "service available", "Exit status"]
attack = ", ".join(f"{key} {last[key]}" for key in wanted if key in last)
print(json.dumps({"served": served, "failed": failed, "slowest": slowest, "attack": attack}))
