# What every probe has at hand. Runs inside the jail.
import errno, os, socket, struct, sys, threading
from socket import *

def case(expression):
    try:
        print(expression(), flush=True)
    except OSError as error:
        print(errno.errorcode.get(error.errno, error), flush=True)

# Evaluates each line of stdin.
def listen_to_stdin(names):
    print('ready', flush=True)
    for line in sys.stdin:
        case(lambda: eval(line, names))

def read_all(s):
    data = b''
    while True:
        chunk = s.recv(4096)
        if not chunk:
            return data.decode().strip()
        data += chunk

def show(address):
    return f'[{address[0]}]:{address[1]}' if ':' in address[0] else f'{address[0]}:{address[1]}'

# What the far end says, and the peer that the program sees.
def tcp(host, port, family=None, bind=None, first=b'x'):
    with socket(family or (AF_INET6 if ':' in host else AF_INET), SOCK_STREAM) as s:
        if bind:
            s.bind((bind, 0))
        s.settimeout(10)
        s.connect((host, port))
        peer = show(s.getpeername())
        s.sendall(first)
        return told(read_all(s)) + f' peer {peer}'

# "proxy ADDRESS COMM PID": the comm and the pid must be ours.
def told(line):
    if not line:
        return 'closed'
    who, address, comm, pid = line.split(' ')
    assert comm == 'python3' and int(pid) == os.getpid(), line
    return f'{who} {address}'

# TCP fast open: the connection comes with the data.
def fast_open(host, port):
    with socket(AF_INET6 if ':' in host else AF_INET, SOCK_STREAM) as s:
        s.sendto(b'x', MSG_FASTOPEN, (host, port))
        return told(read_all(s))

TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_NO_COOKIE = 30, 34
def fast_open_connect(host, port):
    with socket(AF_INET6 if ':' in host else AF_INET, SOCK_STREAM) as s:
        s.settimeout(10)
        s.setsockopt(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
        s.setsockopt(IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1)
        s.connect((host, port))
        s.sendall(b'x')
        return told(read_all(s))

# The answer to a datagram, and from whom it seems to come.
def udp(host, port, family=None, bind=None):
    with socket(family or (AF_INET6 if ':' in host else AF_INET), SOCK_DGRAM) as s:
        s.settimeout(10)
        if bind:
            s.bind((bind, 0))
        s.sendto(b'hello', (host, port))
        data, peer = s.recvfrom(100)
        return f'{data.decode()} from {show(peer)}'

def udp_connected(host, port, family=None):
    with socket(family or (AF_INET6 if ':' in host else AF_INET), SOCK_DGRAM) as s:
        s.settimeout(10)
        s.connect((host, port))
        s.send(b'hello')
        data, peer = s.recvfrom(100)
        return f'{data.decode()} from {show(peer)} peer {show(s.getpeername())}'

def opened(*arguments):
    socket(*arguments).close()
    return 'opened'

def option(family, kind, level, name, value):
    with socket(family, kind) as s:
        s.setsockopt(level, name, value)
    return 'set'
