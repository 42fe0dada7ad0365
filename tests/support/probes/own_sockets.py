"""What programs do with Unix sockets among themselves. Prints a line for each thing that works: own_sockets.py"""

import asyncio
import errno
import multiprocessing

import os
import resource
import signal
import socket
import struct
import tempfile
import threading


def listener(name, kind=socket.SOCK_STREAM, backlog=8):
    s = socket.socket(socket.AF_UNIX, kind)
    s.bind(name)
    s.listen(backlog)
    return s


def client(name, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_UNIX, kind)
    s.connect(name)
    return s


def talk(server, name, kind=socket.SOCK_STREAM):
    one = client(name, kind)
    other = server.accept()[0]
    one.send(b"x")
    assert other.recv(9) == b"x"
    return other


def names():
    s = listener("a")
    os.link("a", "second")
    os.mkdir("folder")
    os.rename("a", "folder/a")
    os.rename("folder", "renamed")
    os.symlink("renamed/a", "link")
    folder = os.open("renamed", os.O_RDONLY)
    for name in ["second", "renamed/a", "link", os.getcwd() + "/renamed/../second"]:
        talk(s, name)
    talk(s, f"/proc/self/fd/{folder}/a")
    talk(s, f"/proc/{os.getpid()}/fd/{folder}/a")
    talk(listener("\0" + os.getcwd()), "\0" + os.getcwd())
    talk(listener("packets", socket.SOCK_SEQPACKET), "packets", socket.SOCK_SEQPACKET)


def credentials():
    ends = talk(listener("credentials"), "credentials")
    _, uid, gid = struct.unpack("3i", ends.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    assert (uid, gid) == (os.geteuid(), os.getegid()), (uid, gid)


def errors():
    for name, error in [("nowhere", FileNotFoundError), ("file", ConnectionRefusedError), ("closed", ConnectionRefusedError)]:
        open("file", "w").close()
        if name == "closed":
            listener("closed").close()
        try:
            client(name)
        except error:
            continue
        raise AssertionError(name)
    kept = listener("kind")
    try:
        client("kind", socket.SOCK_SEQPACKET)
        raise AssertionError("connected")
    except OSError as error:
        assert error.errno == errno.EPROTOTYPE, error
    kept.close()


class Alarm(Exception):
    pass


def waiting():
    s = listener("full", backlog=0)
    first = client("full")
    impatient = socket.socket(socket.AF_UNIX)
    impatient.setblocking(False)
    limited = socket.socket(socket.AF_UNIX)
    limited.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 200000))
    for one in [impatient, limited]:
        try:
            one.connect("full")
            raise AssertionError("connected")
        except BlockingIOError:
            pass

    def ring(*_):
        raise Alarm

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        client("full")
        raise AssertionError("connected")
    except Alarm:
        pass
    waits = threading.Thread(target=lambda: client("full"))
    waits.start()
    s.accept()
    waits.join()
    return first


def datagrams():
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.send(b"first")
    one.send(b"second")
    assert other.recv(99) == b"first" and other.recv(99) == b"second"
    assert socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).fileno() > 2


def no_room():
    # Of a pair that fails nothing stays: there is room for one, and there is afterwards.
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
    kept = []
    try:
        while True:
            kept.append(os.dup(0))
    except OSError as error:
        assert error.errno == errno.EMFILE, error
    os.close(kept.pop())
    for _ in range(3):
        try:
            socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            raise AssertionError("made")
        except OSError as error:
            assert error.errno == errno.EMFILE, error
    kept.append(os.dup(0))
    for number in kept:
        os.close(number)
    datagrams()
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def descriptors():
    one, other = socket.socketpair(socket.AF_UNIX)
    kept = listener("sent")
    socket.send_fds(one, [b"x"], [kept.fileno()])
    kept.close()
    sent = socket.socket(fileno=socket.recv_fds(other, 1, 1)[1][0])
    talk(sent, "sent")


def event_loop():
    async def act():
        async def answer(reader, writer):
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()

        server = await asyncio.start_unix_server(answer, "loop")
        reader, writer = await asyncio.open_unix_connection("loop")
        writer.write(b"line\n")
        assert await reader.readline() == b"line\n"
        server.close()

    asyncio.run(act())


def double(number):
    return 2 * number


def processes():
    for method in ["fork", "forkserver", "spawn"]:
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(double, [1, 2]) == [2, 4]
    with multiprocessing.Manager() as manager:
        assert list(manager.list([1, 2])) == [1, 2]


def many():
    # More than are waited for at once, and more than there are descriptors in a first sweep.
    for number in range(300):
        name = f"many{number}"
        talk(listener(name), name)
        if number % 2:
            os.unlink(name)


def at_once():
    s = listener("at-once", backlog=0)
    first = client("at-once")
    waits = [threading.Thread(target=lambda: client("at-once")) for _ in range(40)]
    for thread in waits:
        thread.start()
    talk(listener("meanwhile"), "meanwhile")
    for _ in range(41):
        s.accept()
    for thread in waits:
        thread.join()
    return first


if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp(dir=os.environ.get("OWN_SOCKETS")))
    for work in [
        names, credentials, errors, waiting, datagrams, no_room, descriptors, event_loop, processes, many, at_once,
    ]:
        work()
        print(work.__name__, flush=True)
