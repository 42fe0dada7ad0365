"""Listens on a Unix socket at PATH that comes to be in the way HOW says, and tells everybody that they got there."""
import os
import socket
import sys

how, path = sys.argv[1:]
server = socket.socket(socket.AF_UNIX)
first = path + ".first"
if how == "plain":
    server.bind(path)
elif how == "linked":
    server.bind(first)
    os.link(first, path)
    os.unlink(first)
elif how == "renamed":
    server.bind(first)
    os.rename(first, path)
elif how == "through_a_descriptor":
    folder = os.open(os.path.dirname(path), os.O_PATH)
    server.bind(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
elif how == "line_end":
    os.chdir(os.path.dirname(path))
    server.bind(os.path.dirname(path) + "/a\nb")
    os.link("a\nb", path)
else:
    sys.exit(f"no way called {how}")
server.listen()
os.chmod(path, 0o777)
print("up", flush=True)
while True:
    client, _ = server.accept()
    client.sendall(b"reached")
    client.close()
