"""A client of the Container Runtime Interface, version 1 (k8s.io/cri-api, pkg/apis/runtime/v1/api.proto), as far as the trials need it.

cri.py SOCKET run NAME NAMESPACE HANDLER PARENT IMAGE COUNT [KEY=VALUE..]   starts a pod with these annotations below a cgroup (`-`: in
                                                         the place of containerd's choice), and COUNT containers in it that stay;
                                                         prints the pod's id and the containers', one a line
cri.py SOCKET add POD NAME NAMESPACE HANDLER PARENT IMAGE NUMBER [KEY=VALUE..]   starts one more in it, of this number
cri.py SOCKET exec CONTAINER COMMAND..                   runs a command in it, with its output and exit status
cri.py SOCKET remove POD                                 stops and removes a pod and all of it
"""
import sys

import grpc

LIMIT = 120


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def message(fields):
    """Encodes {number: value}: a string, a number, a nested dict, or a list of these."""
    out = b""
    for number, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                out += varint(number << 3) + varint(one)
                continue
            data = message(one) if isinstance(one, dict) else one.encode()
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def decode(data):
    fields, at = {}, 0

    def number():
        nonlocal at
        total, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            total |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return total

    while at < len(data):
        key = number()
        if key & 7 == 0:
            fields[key >> 3] = number()
        else:
            length = number()
            fields[key >> 3] = data[at : at + length]
            at += length
    return fields


socket, what, *words = sys.argv[1:]
channel = grpc.insecure_channel(f"unix://{socket}")


def call(method, fields):
    try:
        return decode(channel.unary_unary(f"/runtime.v1.RuntimeService/{method}")(message(fields), timeout=LIMIT))
    except grpc.RpcError as error:
        sys.exit(f"{method}: {error.details()}")


def start(pod, number):
    config = {1: {1: f"c{number}"}, 2: {1: image}, 3: ["sleep", "infinity"], 15: {2: {3: {1: 0, 2: 1}}}}
    container = call("CreateContainer", {1: pod, 2: config, 3: pod_config})[1].decode()
    call("StartContainer", {1: container})
    print(container, flush=True)


if what in ("run", "add"):
    pod = words.pop(0) if what == "add" else None
    name, namespace, handler, parent, image, count, *annotations = words
    pod_config = {
        1: {1: name, 2: f"uid-{name}", 3: namespace},
        2: name,
        7: [{1: key, 2: value} for key, value in (pair.split("=", 1) for pair in annotations)],
        # A network for the pod, a list of processes for each container.
        8: {2: {1: {1: 0, 2: 1}}} | ({} if parent == "-" else {1: parent}),
    }
    if pod is None:
        pod = call("RunPodSandbox", {1: pod_config, 2: handler})[1].decode()
        print(pod, flush=True)
        for number in range(int(count)):
            start(pod, number)
    else:
        start(pod, count)
elif what == "exec":
    done = call("ExecSync", {1: words[0], 2: words[1:], 3: LIMIT})
    sys.stdout.write(done.get(1, b"").decode())
    sys.stderr.write(done.get(2, b"").decode())
    sys.exit(done.get(3, 0))
elif what == "remove":
    call("StopPodSandbox", {1: words[0]})
    call("RemovePodSandbox", {1: words[0]})
