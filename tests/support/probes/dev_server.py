"""A development server: dev_server.py ADDRESS PORT.

Greets each connection, then sends back what it hears; when the client has said all, says how much that was.
"""

import socket
import sys
import threading

address, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
listener = socket.create_server((address, port), family=family)


def serve(connection):
    connection.sendall(b"hello\n")
    heard = 0
    while data := connection.recv(65536):
        heard += len(data)
        connection.sendall(data)
    connection.sendall(b"heard %d" % heard)
    connection.close()


while True:
    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
