"""Addresses by their members: 'channels' of migrate and migrate-incoming, and the JSON of -incoming."""
import json
import os
import socket
import subprocess

from case import only_minivmm, table
from moves import arrived, destination, goes_on, machine
from vmm import guest_path

OPTIONS = {"guest": "counter", "append": "pages=100 rate=2000"}
OURS = "QEMU 7.2 knows URIs only"


def channel(**addr):
    return {"channel-type": "main", "addr": {k.replace("_", "-"): v for k, v in addr.items()}}


def unix(path):
    return channel(transport="socket", type="unix", path=path)


def inet(port, **more):
    return channel(transport="socket", type="inet", host="127.0.0.1", port=str(port), **more)


def ends(t, kind):
    """What the destination is told, and a function that says what the source is told once it listens."""
    path = t.path("way")
    if kind == "unix":
        return unix(path), lambda dest: unix(path)
    if kind == "inet":
        return inet(0, to=0xffff, ipv4=True), lambda dest: inet(
            dest.migration()["socket-address"][0]["port"], keep_alive=True)
    if kind == "exec":
        os.mkfifo(path)
        return (channel(transport="exec", args=["/bin/cat", path]),
                lambda dest: channel(transport="exec", args=["/usr/bin/tee", path]))
    raise AssertionError(kind)


@only_minivmm(OURS)
@table(unix={"kind": "unix"}, inet={"kind": "inet"}, exec={"kind": "exec"})
def test_move(t, kind):
    source = machine(t, **OPTIONS)
    goes_on(source)
    there, here = ends(t, kind)
    dest = destination(t, source)
    dest.cmd("migrate-incoming", channels=[there])
    source.cmd("migrate", channels=[here(dest)])
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)


@only_minivmm(OURS)
def test_descriptors(t):
    """fd: a name of the monitor's, at both ends; the name is free afterwards."""
    source = machine(t, **OPTIONS)
    dest = destination(t, source)
    ours, theirs = socket.socketpair()
    named = channel(transport="socket", type="fd", str="way")
    assert source.qmp.fails("migrate", channels=[named]) == "File descriptor named 'way' has not been found"
    source.qmp.events.clear()           # of this failure
    for vm, end in ((dest, theirs), (source, ours)):
        vm.qmp.cmd("getfd", fds=[end.fileno()], fdname="way")
        end.close()
    dest.cmd("migrate-incoming", channels=[named])
    source.cmd("migrate", channels=[named])
    arrived(source, dest)
    assert source.qmp.fails("closefd", fdname="way") == "File descriptor named 'way' not found"
    dest.wait_running()
    goes_on(dest)


@only_minivmm(OURS)
def test_file(t):
    """A name that a URI could not say, and an offset."""
    path = t.path("saved,offset=7")
    saved = channel(transport="file", filename=path, offset=8192)
    with open(path, "wb") as f:
        f.write(b"in front")
    source = machine(t, **OPTIONS)
    goes_on(source)
    source.cmd("migrate", channels=[saved])
    source.wait_migration("completed")
    with open(path, "rb") as f:
        assert f.read(8) == b"in front"
        f.seek(8192)
        assert f.read(4) == b"QEVM"
    dest = destination(t, source)
    dest.cmd("migrate-incoming", channels=[saved])
    dest.wait_migration("completed")
    dest.wait_running()
    goes_on(dest)


@only_minivmm(OURS)
def test_incoming_json(t):
    """-incoming with the same object; the source says the URI."""
    source = machine(t, **OPTIONS)
    path = t.path("way")
    dest = t.vmm(**OPTIONS, incoming=json.dumps(unix(path)))
    dest.capabilities("events")
    source.cmd("migrate", uri=f"unix:{path}")
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)


NEED = "need either 'uri' or 'channels' argument"
X = unix("/nope/x")
REFUSED = {
    "neither": ({}, NEED, NEED),
    "both": ({"uri": "unix:/nope/x", "channels": [X]}, NEED, NEED),
    "empty": ({"channels": []}, NEED, NEED),
    "two": ({"channels": [X, X]}, "Channel list has more than one main entry",
            "Channel list must have only one entry, for type 'main'"),
    "cpr": ({"channels": [dict(X, **{"channel-type": "cpr"})]},
            "Parameter 'channel-type' does not accept value 'cpr'", None),
    "rdma": ({"channels": [channel(transport="rdma", host="h", port="1")]},
             "Parameter 'transport' does not accept value 'rdma'", None),
    "vsock": ({"channels": [channel(transport="socket", type="vsock", cid="1", port="1")]},
              "address type 'vsock' is not supported by minivmm: use inet, or unix and a program that connects the two", None),
    "no_addr": ({"channels": [{"channel-type": "main"}]}, "Parameter 'channels[0].addr' is missing", None),
    "no_type": ({"channels": [channel(transport="socket")]},
                "Parameter 'channels[0].addr.type' is missing", None),
    "no_path": ({"channels": [channel(transport="socket", type="unix")]},
                "Parameter 'channels[0].addr.path' is missing", None),
    "empty_path": ({"channels": [unix("")]}, "Parameter 'path' is empty", None),
    "of_another": ({"channels": [channel(transport="socket", type="unix", path="/x", host="h")]},
                   "Parameter 'channels[0].addr.host' is unexpected", None),
    "no_offset": ({"channels": [channel(transport="file", filename="/nope/x")]},
                  "Parameter 'channels[0].addr.offset' is missing", None),
    "port": ({"channels": [inet("ssh")]}, "Parameter 'port' expects a number from 0 to 65535, not 'ssh'", None),
    "high_port": ({"channels": [inet(65536)]},
                  "Parameter 'port' expects a number from 0 to 65535, not '65536'", None),
    "to": ({"channels": [inet(5, to=4)]}, "Parameter 'to' expects a number from the port to 65535", None),
    "no_family": ({"channels": [inet(5, ipv4=False, ipv6=False)]},
                  "'127.0.0.1:5' is to be reached over neither ipv4 nor ipv6", None),
    "no_args": ({"channels": [channel(transport="exec", args=[])]},
                "Parameter 'args' expects a program, and its arguments", None),
}


@only_minivmm(OURS)
def test_refused(t):
    """In one sentence, and nothing has begun."""
    source, dest = t.vmm("idle"), t.vmm("idle", incoming="defer")
    for name, (arguments, words, words_in) in REFUSED.items():
        assert source.qmp.fails("migrate", **arguments) == words, name
        assert dest.qmp.fails("migrate-incoming", **arguments) == (words_in or words), name
    assert source.migration() == dest.migration() == {}
    # an empty list is none
    assert source.cmd("migrate", uri="unix:/nope/x", channels=[]) == {}


@only_minivmm(OURS)
def test_refused_json(t):
    t.need("kvm")
    program = t.vmm("idle").argv[0]
    for text, words in (("{", "JSON parse error, premature EOI"),
                        ('{"x":1}', "Parameter 'channel-type' is missing"),
                        (json.dumps(X) + "x", "JSON parse error, 'x' follows the object"),
                        (json.dumps(dict(X, **{"channel-type": "cpr"})),
                         "Parameter 'channel-type' does not accept value 'cpr'"),
                        (json.dumps(X), "Failed to bind socket to /nope/x: No such file or directory")):
        ended = subprocess.run([program, "-M", "microvm", "-kernel", guest_path("idle"), "-display", "none",
                                "-serial", "none", "-incoming", text],
                               capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 1 and f"-incoming {text}: {words}" in ended.stderr, ended
