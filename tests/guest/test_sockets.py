"""Sockets: who may listen where, who is let in, and peers that leave, stay silent or never come."""
import fcntl
import os
import socket
import struct
import subprocess
import termios
import time

from case import only_minivmm, table
from moves import Way, arrived, destination, goes_on, listen, machine, wait_bytes, wait_end_or_failure
from qmp import GUARD, Qmp
from vmm import PROGRAMS

BARE = ("-M", "microvm", "-m", "8M", "-nodefaults", "-S")


def client(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(path)          # without a time-out it waits for a place in the backlog
    sock.settimeout(GUARD)
    return sock


def ended(sock):
    """Has the other end closed it, with or without reading what we said?"""
    try:
        with sock:
            return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def refused(t, *options):
    """What another program says that cannot start."""
    program = PROGRAMS[t.kind]["path"]
    done = subprocess.run([program, *BARE, *options], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=GUARD)
    assert done.returncode == 1, done
    return done.stderr


@only_minivmm("QEMU 7.2 takes the socket over")
def test_live_socket_is_not_taken_over(t):
    """A second program on the same path is refused by the first one's number, and leaves it alone."""
    path = t.path("monitor")
    vm = t.vmm("idle", extra=("-qmp", f"unix:{path},server=on,wait=off"))
    said = refused(t, "-qmp", f"unix:{path},server=on,wait=off")
    assert f"{path}: it is in use by process {vm.pid}" in said, said
    assert Qmp.connect(path).cmd("query-status")["status"]
    said = refused(t, "-incoming", f"unix:{path}")
    assert f"in use by process {vm.pid}" in said, said
    said = refused(t, "-netdev", f"stream,id=n,server=on,addr.type=unix,addr.path={path}",
                   "-device", "virtio-net-device,netdev=n")
    assert f"in use by process {vm.pid}" in said, said
    vm.cmd("quit")
    assert vm.wait() == 0
    assert not os.path.exists(path)


@only_minivmm("QEMU 7.2 takes the socket over")
def test_waiting_destination_is_not_disturbed(t):
    """Whether there is a listener is found out without becoming the one connection it waits for."""
    source = machine(t)
    dest = destination(t, source, f"unix:{t.path('way')}")
    said = refused(t, "-incoming", f"unix:{t.path('way')}")
    assert f"in use by process {dest.pid}" in said, said
    source.cmd("migrate", uri=f"unix:{t.path('way')}")
    source.wait_migration("completed")
    goes_on(dest)


@only_minivmm("QEMU unlinks whatever has the name")
def test_stale_socket_is_replaced(t):
    """One that was left behind is replaced; at the end only our own is removed."""
    path = t.path("monitor")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(path)
    vm = t.vmm("idle", extra=("-qmp", f"unix:{path},server=on,wait=off"))
    assert Qmp.connect(path).cmd("query-status")["status"]
    os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(path)        # another program's now
        vm.cmd("quit")
        assert vm.wait() == 0
        assert os.path.exists(path)
    with open(t.path("file"), "w", encoding="ascii") as f:
        f.write("kept")
    said = refused(t, "-qmp", f"unix:{t.path('file')},server=on,wait=off")
    assert "something that is not a socket has this name" in said, said
    with open(t.path("file"), encoding="ascii") as f:
        assert f.read() == "kept"


def filename(vm, label):
    name, = [c["filename"] for c in vm.cmd("query-chardev") if c["label"] == label]
    return name


def port_of(vm, label):
    """The port that a chardev listens on."""
    return int(filename(vm, label).split(",")[0].rsplit(":", 1)[1])


@only_minivmm("the port of chardev's port 0 is not shown")
@table(
    both={"host": "[::]", "more": "", "four": True, "six": True},
    empty={"host": "", "more": "", "four": True, "six": True},
    six={"host": "[::]", "more": ",ipv4=off", "four": False, "six": True},
    four={"host": "", "more": ",ipv6=off", "four": True, "six": False},
    only_four={"host": "", "more": ",ipv4=on", "four": True, "six": False})
def test_families(t, host, more, four, six):
    """[::] takes IPv4 too, :PORT both, ipv4= and ipv6= choose: monitors and migration alike."""
    vm = t.vmm("idle", incoming=f"tcp:{host}:0{more}",
               extra=("-qmp", f"tcp:{host}:0,server=on,wait=off{more}"))
    address, = vm.migration()["socket-address"]
    for port in (port_of(vm, "compat_monitor0"), int(address["port"])):
        for family, there in (("127.0.0.1", four), ("::1", six)):
            try:
                socket.create_connection((family, port), GUARD).close()
                came = True
            except ConnectionRefusedError:
                came = False
            assert came == there, (family, port)


def test_burst_of_clients(t):
    """Eight at once, none of which waits, all get in."""
    path = t.path("monitor")
    vm = t.vmm("idle", extra=("-qmp", f"unix:{path},server=on,wait=off"))
    clients = []
    for _ in range(8):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.connect(path)      # BlockingIOError when the backlog is full
        clients.append(sock)
    for sock in clients:
        sock.setblocking(True)
        assert Qmp(sock).cmd("query-status")["status"]
        sock.close()
    assert vm.alive()


def waiting_bytes(sock):
    """What has come and has not been read."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))[0]


def test_deaf_monitor_client(t):
    """A client that leaves replies unread and goes away makes room for the next one."""
    path = t.path("monitor")
    vm = t.vmm("idle", extra=("-qmp", f"unix:{path},server=on,wait=off"))
    sock = client(path)
    sock.sendall(b'{"execute":"qmp_capabilities"}' + b'{"execute":"query-qmp-schema"}' * 100)
    while waiting_bytes(sock) < 100000:     # then the next one does not fit
        vm.cmd("query-status")
    vm.cmd("query-status")
    sock.close()
    for _ in range(2):
        assert Qmp.connect(path).cmd("query-status")["status"]


@only_minivmm("the port of chardev's port 0 is not shown")
def test_deaf_serial_client(t):
    """One that types more than the guest takes, and leaves, makes room for the next one."""
    vm = t.vmm("idle", serial=False, paused=True, extra=(
        "-serial", "tcp:127.0.0.1:0,server=on,wait=off"))
    first = socket.create_connection(("127.0.0.1", port_of(vm, "serial0")), GUARD)
    first.sendall(b"x" * 1000)
    first.close()
    second = socket.create_connection(("127.0.0.1", port_of(vm, "serial0")), GUARD)
    ours = f" <-> 127.0.0.1:{second.getsockname()[1]}"
    deadline = time.monotonic() + GUARD
    while not filename(vm, "serial0").endswith(ours):
        assert time.monotonic() < deadline, filename(vm, "serial0")
    second.close()


@only_minivmm("QEMU takes the first connection, whatever it is")
@table(one={"capabilities": ()}, multifd={"capabilities": ("multifd",)})
def test_silent_connections(t, capabilities):
    """300 that say nothing, and one that leaves without a word, do not keep the source out."""
    source = machine(t)
    source.capabilities(*capabilities)
    way = Way(t, "unix")
    dest = destination(t, source, capabilities=capabilities)
    listen(dest, way.incoming())
    client(way.path).close()
    silent = [client(way.path) for _ in range(300)]
    source.cmd("migrate", uri=f"unix:{way.path}")
    source.wait_migration("completed")
    goes_on(dest)
    for sock in silent:
        sock.close()


@only_minivmm("QEMU's words are others")
def test_listening_lasts_as_long_as_the_move(t):
    """Whoever comes too much is refused with a sentence, the guest arrives, and then nobody listens."""
    source, second = machine(t, "counter", "pages=1800 rate=20000"), machine(t)
    goes_on(source)
    source.cmd("migrate-set-parameters", max_bandwidth=2 << 20, downtime_limit=0)
    path = t.path("way")
    dest = destination(t, source, f"unix:{path}")
    source.cmd("migrate", uri=f"unix:{path}")
    wait_bytes(source, 100000)
    for words in (b"QEVM", b"GET /"):
        stranger = client(path)
        stranger.sendall(words)
        assert ended(stranger)
    silent = client(path)
    second.cmd("migrate", uri=f"unix:{path}")
    second.wait_migration("failed")
    goes_on(second)
    source.cmd("migrate-set-parameters", max_bandwidth=0, downtime_limit=2000)
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)
    assert "refused: it is the main stream, and that is here already" in dest.stderr(), dest.stderr()
    assert "refused: it begins with 0x47455420" in dest.stderr(), dest.stderr()
    assert ended(silent)
    assert not os.path.exists(path)     # the socket is closed first


@only_minivmm("QEMU 7.2 ends when an incoming migration fails")
def test_next_attempt_does_not_wait_for_the_last_source(t):
    """A source that reads the reason slowly keeps its connection, while the next one is awaited."""
    source = machine(t)
    dest = destination(t, source, f"unix:{t.path('one')}")
    slow = client(t.path("one"))
    slow.sendall(b"QEVM\0\0\0\3\7\0\0\0\7microvm" + b"\x08\0\1\0\0" + b"\xee")
    assert "unknown record 0xee" in wait_end_or_failure(dest)
    listen(dest, f"unix:{t.path('two')}")
    slow.sendall(b"more")       # EPIPE when it has been closed
    assert slow.recv(100) == struct.pack(">HHI", 1, 4, 1)   # SHUT: refused
    source.cmd("migrate", uri=f"unix:{t.path('two')}")
    source.wait_migration("completed")
    dest.wait_running()
    goes_on(dest)
    slow.close()


@only_minivmm("x-minivmm is ours")
@table(one={"capabilities": ()}, multifd={"capabilities": ("multifd",)})
def test_peer_never_reads(t, capabilities):
    """It accepts, and takes nothing: the phase says so, and a time-out ends it; the guest goes on."""
    source = machine(t, "counter", "pages=1900")
    source.capabilities(*capabilities)
    goes_on(source)
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer.bind(t.path("peer"))
    peer.listen(8)
    source.cmd("migrate-set-parameters", max_bandwidth=0)
    source.cmd("migrate", uri=f"unix:{t.path('peer')}")
    deadline = time.monotonic() + GUARD
    while source.migration()["x-minivmm"]["phase"] != "peer-silent":
        assert time.monotonic() < deadline, source.migration()
    assert source.migration()["x-minivmm"]["converges"] is False
    assert source.migration()["status"] == "active"
    source.cmd("migrate-set-parameters", x_minivmm_peer_timeout=1)
    source.wait_migration("failed")
    words = source.migration()["error-desc"]
    assert "the destination has read nothing for 1 s (x-minivmm-peer-timeout)" in words, words
    goes_on(source)
