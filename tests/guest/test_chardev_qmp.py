"""Chardevs that come, go and change over QMP, breaks, ring buffers; links; what is not plugged (qmp-surface 5.4)."""
import base64
import os
import socket

from case import only_minivmm, table
from moves import machine
from qmp import QmpError

NULL = {"type": "null", "data": {}}


def unix_socket(path, **more):
    return {"type": "socket", "data": {"addr": {"type": "unix", "data": {"path": path}}, **more}}


def labels(vm):
    return {c["label"]: c["filename"] for c in vm.cmd("query-chardev")}


def test_add_and_remove(t):
    vm = t.vmm("idle")
    assert vm.cmd("chardev-add", id="c1", backend=NULL) == {}
    assert "c1" in labels(vm)
    vm.qmp.fails("chardev-add", id="c1", backend=NULL)
    vm.cmd("chardev-remove", id="c1")
    assert vm.qmp.fails("chardev-remove", id="c1") == "Chardev 'c1' not found"
    vm.cmd("chardev-add", id="f", backend={"type": "file", "data": {"out": t.path("out"), "append": True}})
    assert os.path.exists(t.path("out"))
    vm.cmd("chardev-add", id="s", backend=unix_socket(t.path("sock"), server=True, wait=False))
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(t.path("sock"))
    peer.close()
    for name in ("f", "s"):
        vm.cmd("chardev-remove", id=name)
    assert vm.qmp.fails("chardev-remove", id="mon0") == "Chardev 'mon0' is busy"
    names = {b["name"] for b in vm.cmd("query-chardev-backends")}
    assert {"null", "file", "socket", "stdio", "ringbuf"} <= names, names


def test_terminal(t):
    """A pty that is made later is told in the reply, and can be opened."""
    vm = t.vmm("idle")
    path = vm.cmd("chardev-add", id="p", backend={"type": "pty", "data": {}})["pty"]
    os.close(os.open(path, os.O_RDWR | os.O_NOCTTY))
    assert labels(vm)["p"] == f"pty:{path}"
    vm.cmd("chardev-remove", id="p")
    assert not os.path.exists(path)


def test_descriptor(t):
    """A socket that getfd has named."""
    vm = t.vmm("idle")
    ours, theirs = socket.socketpair()
    vm.qmp.cmd("getfd", fds=[theirs.fileno()], fdname="s")
    theirs.close()
    vm.cmd("chardev-add", id="c", backend={"type": "socket", "data": {
        "server": False, "addr": {"type": "fd", "data": {"str": "s"}}}})
    vm.cmd("chardev-remove", id="c")
    try:
        vm.cmd("closefd", fdname="s")
    except QmpError:        # QEMU has taken it out
        pass
    assert ours.recv(1) == b""


def test_ring(t):
    """What the guest wrote last is kept; QMP writes and reads, as text and in base64."""
    vm = t.vmm("idle", extra=["-chardev", "ringbuf,id=ring,size=8"])
    vm.cmd("ringbuf-write", device="ring", data="abc")
    assert vm.cmd("ringbuf-read", device="ring", size=2) == "ab"
    vm.cmd("ringbuf-write", device="ring", data=base64.b64encode(b"0123456789").decode(), format="base64")
    assert vm.cmd("ringbuf-read", device="ring", size=100) == "23456789"
    vm.cmd("ringbuf-write", device="ring", data="A\u00e9")
    got = vm.cmd("ringbuf-read", device="ring", size=100, format="base64")
    assert base64.b64decode(got) == "A\u00e9".encode()
    assert vm.qmp.fails("ringbuf-read", device="nope", size=1) == "Device 'nope' not found"
    assert vm.qmp.fails("ringbuf-read", device="mon0", size=1) == "mon0 is not a ringbuf device"
    assert vm.qmp.fails("ringbuf-read", device="ring", size=0) == "size must be greater than zero"
    assert "power of two" in vm.qmp.fails("chardev-add", id="r", backend={"type": "ringbuf", "data": {"size": 100}})
    vm.cmd("chardev-add", id="r", backend={"type": "ringbuf", "data": {"size": 64}})
    vm.cmd("ringbuf-write", device="r", data="x")
    assert vm.cmd("ringbuf-read", device="r", size=64, format="utf8") == "x"


def test_console_in_ring(t):
    vm = t.vmm("hello", serial=False, extra=["-chardev", "ringbuf,id=ring", "-serial", "chardev:ring", "-no-shutdown"])
    vm.qmp.event("SHUTDOWN")
    assert vm.cmd("ringbuf-read", device="ring", size=65536).strip()


@only_minivmm("the words are ours")
@table(stdio={"backend": {"type": "stdio", "data": {}}, "says": "stdio is the program's own"},
       udp={"backend": {"type": "udp", "data": {}}, "says": "use socket, file, pty, ringbuf or null"},
       wait={"backend": unix_socket("/tmp/nobody", wait=True), "says": "'wait' would hold the monitor up"},
       telnet={"backend": unix_socket("/tmp/nobody", telnet=True), "says": "telnet=on is not supported"},
       nobody={"backend": unix_socket("/nope/x", server=False), "says": "Failed to connect to '/nope/x'"},
       input={"backend": {"type": "file", "data": {"out": "/dev/null", "in": "/dev/null"}},
              "says": "'input-path' is not supported"},
       fd={"backend": {"type": "socket", "data": {"addr": {"type": "fd", "data": {"str": "no"}}}},
           "says": "File descriptor named 'no' not found"},
       name={"backend": {"type": "socket", "data": {"server": False, "addr": {
           "type": "inet", "data": {"host": "nobody.example", "port": "1"}}}}, "says": "nobody.example"})
def test_refused(t, backend, says):
    """Nothing waits, and nothing is left."""
    vm = t.vmm("idle")
    before, fds = labels(vm), len(os.listdir(f"/proc/{vm.pid}/fd"))
    got = vm.qmp.fails("chardev-add", id="c", backend=backend)
    assert says in got, got
    assert labels(vm) == before and len(os.listdir(f"/proc/{vm.pid}/fd")) == fds
    assert "expects an identifier" in vm.qmp.fails("chardev-add", id="1", backend=NULL)


def test_change(t):
    """The console goes on at another place; a monitor stays where it is; what cannot be made changes nothing."""
    vm = machine(t, "counter", "pages=100 rate=2000")
    first = vm.serial_ours
    assert vm.report()
    path = t.path("console")
    vm.cmd("chardev-change", id="serial0", backend=unix_socket(path, server=True, wait=False))
    assert first.recv(1 << 16) == b"" or first.recv(1 << 16) == b""
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    peer.sendall(b"r")
    text = b""
    while b"R end" not in text:
        text += peer.recv(4096)
    try:
        vm.cmd("chardev-change", id="serial0", backend=unix_socket("/nope/x", server=True, wait=False))
        raise AssertionError("changed")
    except QmpError:
        pass
    peer.sendall(b"r")
    text = b""
    while b"R end" not in text:
        text += peer.recv(4096)
    assert "hotswap" in vm.qmp.fails("chardev-change", id="mon0", backend=NULL)
    assert vm.qmp.fails("chardev-change", id="nope", backend=NULL) == "Chardev 'nope' does not exist"


@only_minivmm("QEMU says nothing when nobody hears it")
def test_break(t):
    vm = t.vmm("idle", extra=["-chardev", "null,id=n"])
    vm.cmd("chardev-send-break", id="serial0")
    assert vm.qmp.fails("chardev-send-break", id="nope") == "Chardev 'nope' not found"
    assert "no serial line behind it" in vm.qmp.fails("chardev-send-break", id="n")
    vm.cmd("stop")
    assert "the guest does not run" in vm.qmp.fails("chardev-send-break", id="serial0")


# ---- devices ----

def fails_as(vm, command, **arguments):
    try:
        vm.cmd(command, **arguments)
    except QmpError as e:
        return e.cls, e.desc
    raise AssertionError(command)


def test_no_hotplug(t):
    vm = t.vmm("idle", rng=True)
    cls, desc = fails_as(vm, "device_add", driver="virtio-rng-device", id="d")
    assert cls == "GenericError" and "does not support hotplugging" in desc, (cls, desc)
    cls, desc = fails_as(vm, "device_add", driver="zz")
    assert (cls, desc) == ("GenericError", "'zz' is not a valid device model name")
    for name in ("device_del", "netdev_del"):
        assert fails_as(vm, name, id="zz") == ("DeviceNotFound", "Device 'zz' not found"), name
    assert fails_as(vm, "set_link", name_="zz", up=True) == ("DeviceNotFound", "Device 'zz' not found")


def test_link(t):
    """A cable that is out: the guest is told, and so is a machine that it is moved to."""
    vm = machine(t, "idle", "", net=t.net().path)
    vm.cmd("set_link", name_="net0", up=False)
    vm.cmd("set_link", name_="net0", up=True)
    assert [f["main-mac"] for f in vm.cmd("query-rx-filter")] == ["52:54:00:12:34:56"]
    assert vm.qmp.fails("query-rx-filter", name_="zz") == "invalid net client name: zz"
