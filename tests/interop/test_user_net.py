"""-netdev user: section "slirp" between minivmm and QEMU 7.2, 10.0, 11.1, the guest's driver at work; passt."""
import os
import socket
import subprocess

import peers
import ram
from case import only_minivmm, table
from moves import GUARD, arrived, destination, goes_on, machine
from vmm import PROGRAMS

DEVICE = ["-device", "virtio-net-device,netdev=n0,mac=52:54:00:12:34:56"]
FAKE_PASST = """#!/usr/bin/python3
import os, socket, sys
open(sys.argv[0] + ".args", "w").write("\\n".join(sys.argv[1:]))
network = socket.socket(fileno=int(sys.argv[sys.argv.index("--fd") + 1]))
if os.fork():
    os._exit(0)
for fd in (0, 1, 2):
    os.close(fd)
while data := network.recv(1 << 16):
    network.sendall(data)
open(sys.argv[0] + ".ended", "w").close()
"""


def works_on(vm):
    before = ram.status(vm)
    goes_on(vm)
    while ram.status(vm)["net"] < before["net"] + 3:
        pass
    assert ram.status(vm)["net_errors"] == 0, ram.status(vm)


def kind(t, who):
    return t.kind if who == "ours" else peers.kind(t, who)


def user(*more):
    return ["-netdev", ",".join(["user,id=n0", *more]), *DEVICE]


def start(t, who="ours", extra=None, arp=1):
    vm = machine(t, "smp-counter", f"pages=50 rate=1000 every=8 arp={arp}", kind=kind(t, who),
                 extra=extra or user())
    works_on(vm)
    return vm


def move(t, source, who, extra=None):
    t._count += 1                                   # pylint: disable=protected-access
    uri = f"unix:{t.path(f'in{t._count}')}"         # pylint: disable=protected-access
    dest = destination(t, source, uri, kind=kind(t, who), **({"extra": extra} if extra else {}))
    source.cmd("migrate", uri=uri)
    return dest


@table(ours={"hops": ("ours", "ours")}, to_7_2={"hops": ("ours", "7.2")}, from_7_2={"hops": ("7.2", "ours")},
       through={"hops": ("11.1", "ours", "10.0", "ours", "11.1")})
def test_moves(t, hops):
    """The network answers at each end, and the section of either loads at the other."""
    vm = start(t, hops[0])
    for who in hops[1:]:
        dest = move(t, vm, who)
        arrived(vm, dest)
        t.forget(vm)
        dest.wait_running()
        works_on(dest)
        vm = dest


@only_minivmm("QEMU says it in other words")
@table(ours={"who": "ours", "says": "the machines differ: section 'slirp': the destination does not have it"},
       qemu={"who": "7.2", "says": "give it -netdev user, as many as the source has"})
def test_without_a_user_network(t, who, says):
    """A destination whose card is on something else says what it lacks, and the guest runs on."""
    vm = start(t, who)
    dest = move(t, vm, "ours", ["-netdev", f"stream,id=n0,server=on,addr.type=unix,addr.path={t.path('s')}", *DEVICE])
    assert dest.wait_migration("completed", "failed") == "failed"
    assert says in dest.migration()["error-desc"], dest.migration()
    if who != "ours":       # without return-path QEMU's source may say that it is done
        return
    if vm.status() != "running":
        vm.qmp.event("RESUME")
    works_on(vm)


@only_minivmm("QEMU has no other row")
def test_from_another_network(t):
    """The section is not missed: what QEMU takes, minivmm takes from a minivmm."""
    vm = machine(t, "counter", "pages=50 rate=1000", extra=["-netdev", f"stream,id=n0,server=on,addr.type=unix,"
                                                            f"addr.path={t.path('s')}", *DEVICE])
    dest = move(t, vm, "ours", user())
    arrived(vm, dest)


@only_minivmm("the port that QEMU takes is not known")
def test_hostfwd(t):
    """A port of the host is the program's own while it runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    vm = start(t, extra=user(f"hostfwd=tcp:127.0.0.1:{port}-:22"))
    with socket.create_connection(("127.0.0.1", port)):
        works_on(vm)


@only_minivmm("QEMU 7.2 has no passt")
def test_passt(t):
    """The program gets its options and a socket, frames come back through it, and it ends with the guest."""
    path = t.path("passt")
    with open(path, "w", encoding="ascii") as f:
        f.write(FAKE_PASST)
    os.chmod(path, 0o755)
    os.mkfifo(path + ".ended")
    vm = start(t, arp=0, extra=["-netdev", f"passt,id=n0,path={path},mtu=1400,search=a.b,search=c.d,tcp-ports=80,"
                                "tcp-ports=443,udp=off,ipv6=off,tcp=on,param=--pcap,param=/x", *DEVICE])
    with open(path + ".args", encoding="ascii") as f:
        args = f.read().split("\n")
    assert args[:-1] == ["--quiet", "--mtu", "1400", "--search", "a.b c.d", "--no-udp", "--ipv4-only", "--tcp-ports",
                         "80,443", "--pcap", "/x", "--fd"], args
    vm.kill()
    with open(path + ".ended", encoding="ascii"):   # opens when the other side does
        pass


@table(nothing={"path": "/nope/passt", "says": "cannot run '/nope/passt': No such file or directory"},
       fails={"path": "/bin/false", "says": "/bin/false exited with code 1, and says why itself"})
@only_minivmm("QEMU says it in other words")
def test_passt_does_not_start(t, path, says):
    t.need("kvm")
    done = subprocess.run([PROGRAMS[t.kind]["path"], "-nodefaults", "-S", "-nic", f"passt,path={path}"], check=False,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=GUARD)
    assert done.returncode == 1 and says in done.stderr, done
