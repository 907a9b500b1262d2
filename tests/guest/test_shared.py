"""x-ignore-shared: RAM that both ends have stays where it is; over a unix socket it is passed itself."""
import os
import signal

import ram
from case import only_minivmm, table
from moves import (SCHEMES, Way, arrived, check_stopped, destination, goes_on, machine,
                   wait_end_or_failure)

PIECES = {"guest": "counter", "append": "pages=1000"}
IGNORE = "x-ignore-shared"


def move(t, source, scheme="unix", **options):
    way = Way(t, scheme)
    dest = destination(t, source, way.incoming(), [IGNORE], **options)
    source.capabilities(IGNORE)
    way.start(source, dest)
    return dest


def inode(vm):
    """What backs the guest's RAM, as the process maps it."""
    with open(f"/proc/{vm.pid}/maps", encoding="ascii", errors="replace") as maps:
        for line in maps:
            place, _, _, device, number = line.split()[:5]
            first, last = (int(x, 16) for x in place.split("-"))
            if last - first == vm.ram_bytes and number != "0":
                return device, number
    raise AssertionError(f"{vm.name} maps no file of {vm.ram_bytes} bytes")


def few_bytes(source):
    """Only the 64 KiB of firmware went over."""
    info = source.migration()["ram"]
    assert info["total"] == 65536 and info["transferred"] < 100000, info


@table(**{s: {"scheme": s} for s in SCHEMES})
def test_same_file(t, scheme):
    """Both ends map one file; its pages are not in the stream, whatever carries it."""
    source = machine(t, **PIECES, ram=t.path("shared.ram"))
    goes_on(source)
    dest = move(t, source, scheme)
    arrived(source, dest)
    few_bytes(source)
    dest.wait_running()
    goes_on(dest)
    assert dest.report()[0]["errors"] == 0


@table(unix={"scheme": "unix"}, fd={"scheme": "fd"})
def test_memory_is_passed(t, scheme):
    """RAM is a memfd that only the source has: the destination maps it in place of its own."""
    source = machine(t, **PIECES, backend="memfd")
    goes_on(source)
    dest = destination(t, source, None, [IGNORE])
    way = Way(t, scheme)
    if scheme == "fd":
        dest.qmp.cmd("getfd", fds=[way.incoming()], fdname="in")
        dest.cmd("migrate-incoming", uri="fd:in")
    else:
        dest.cmd("migrate-incoming", uri=way.incoming())
    assert inode(source) != inode(dest)
    source.capabilities(IGNORE)
    way.start(source, dest)
    arrived(source, dest)
    few_bytes(source)
    assert inode(source) == inode(dest)
    dest.wait_running()
    goes_on(dest)
    # the memory is the other one's now
    words = "The guest's memory was handed to the destination of a migration"
    assert source.qmp.fails("cont") == words
    assert source.qmp.fails("system_reset") == words
    assert source.status() == "postmigrate"
    t.forget(source)
    goes_on(dest)
    assert dest.report()[0]["errors"] == 0


@table(one={"cpus": 1}, two={"cpus": 2})
def test_upgrade_in_place(t, cpus):
    """Ten processes one after the other on the same memory, with all devices at work."""
    vm = machine(t, "smp-counter", "pages=50 rate=1000 every=16", cpus=cpus, disk=t.disk(), rng=True,
                 net=t.net().path, backend="memfd")
    first = inode(vm)
    for _ in range(10):
        dest = move(t, vm)
        arrived(vm, dest)
        before = ram.status(vm)["disk"]
        dest.options = vm.options
        t.forget(vm)
        vm = dest
        vm.wait_running()
        while ram.status(vm)["disk"] < before + 2:
            pass
    assert inode(vm) == first
    vm.cmd("stop")
    for s in check_stopped(vm, cpus):
        assert (s["disk_errors"], s["rng_errors"], s["net_errors"]) == (0, 0, 0), s


def test_large_memory(t):
    """The same few bytes for 8 GiB."""
    source = machine(t, "counter", "pages=1000 rate=2000", backend="memfd", memory="8192M")
    dest = move(t, source)
    arrived(source, dest)
    few_bytes(source)
    dest.wait_running()
    dest.report()


@table(there={"source": True, "dest": False}, here={"source": False, "dest": True})
def test_both_must_agree(t, source, dest):
    s = machine(t, ram=t.path("shared.ram"))
    d = destination(t, s, f"unix:{t.path('in')}", [IGNORE] if dest else [])
    if source:
        s.capabilities(IGNORE)
    s.cmd("migrate", uri=f"unix:{t.path('in')}")
    cause = wait_end_or_failure(d)
    assert IGNORE in (d.stderr() if cause == "dead" else cause), cause
    s.wait_migration("failed")
    goes_on(s)


@only_minivmm("QEMU leaves the memory out and says nothing")
@table(tcp={"scheme": "tcp"}, exec={"scheme": "exec"})
def test_memory_that_cannot_be_passed(t, scheme):
    """Leaving it out would lose it: refused before anything has happened."""
    source = machine(t, **PIECES, backend="memfd")
    dest = move(t, source, scheme)
    source.wait_migration("failed")
    assert "microvm.ram" in source.migration()["error-desc"], source.migration()
    goes_on(source)
    if scheme == "tcp":     # the command's destination may still wait for the other end of its pipe
        assert wait_end_or_failure(dest) != "completed"


def test_relay_on_the_way(t):
    """Descriptors do not pass a relay; both ends say so, and the guest goes on."""
    source = machine(t, **PIECES, backend="memfd")
    dest = destination(t, source, f"unix:{t.path('in')}", [IGNORE])
    source.capabilities(IGNORE)
    source.cmd("migrate", uri=f"unix:{t.proxy(t.path('in')).path}")
    cause = wait_end_or_failure(dest)
    assert "did not come" in cause, cause
    source.wait_migration("failed")
    assert "did not come" in source.migration()["error-desc"], source.migration()
    goes_on(source)


@table(private={"options": {"backend": "anonymous"}, "words": "private"},
       size={"options": {"memory": "32M"}, "words": "24 MiB"})
def test_unlike_memory(t, options, words):
    source = machine(t, **PIECES, backend="memfd")
    dest = move(t, source, **options)
    cause = wait_end_or_failure(dest)
    assert words in cause and "microvm.ram" in cause, cause
    source.wait_migration("failed")
    assert words in source.migration()["error-desc"], source.migration()
    goes_on(source)


def test_destination_dies(t):
    """The memory was passed, the guest was not: it goes on in the source."""
    source = machine(t, **PIECES, backend="memfd")
    source.capabilities("pause-before-switchover")
    dest = move(t, source)
    source.wait_migration("pre-switchover")
    assert inode(source) == inode(dest)
    dest.signal(signal.SIGKILL)
    source.cmd("migrate-continue", state="pre-switchover")
    source.wait_migration("failed")
    if source.status() != "running":
        source.qmp.event("RESUME")
    goes_on(source)
    # and arrives with the next one
    dest = move(t, source)
    source.wait_migration("pre-switchover")
    source.cmd("migrate-continue", state="pre-switchover")
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)


def test_nothing_is_left_of_a_failed_one(t):
    """After a hand-over that failed the destination does not touch the source's memory."""
    source = machine(t, **PIECES, backend="memfd")
    source.capabilities("pause-before-switchover")
    dest = move(t, source)
    source.wait_migration("pre-switchover")
    assert inode(dest) == inode(source)
    source.cmd("migrate_cancel")
    source.wait_migration("cancelled")
    assert wait_end_or_failure(dest) not in ("completed", "dead")
    assert inode(dest) != inode(source)
    # this time the pages travel: into the destination's own memory
    off = [{"capability": c, "state": False} for c in (IGNORE, "pause-before-switchover")]
    source.cmd("migrate-set-capabilities", capabilities=off)
    dest.cmd("migrate-set-capabilities", capabilities=off[:1])
    dest.cmd("migrate-incoming", uri=f"unix:{t.path('again')}")
    source.cmd("migrate", uri=f"unix:{t.path('again')}")
    source.wait_migration("completed")
    dest.wait_running()
    assert inode(dest) != inode(source)
    goes_on(dest)
    check_stopped(source)


def test_saved_devices(t):
    """RAM stays in its file, the rest goes into another: together they are the guest."""
    source = machine(t, **PIECES, ram=t.path("shared.ram"))
    goes_on(source)
    source.cmd("stop")
    source.capabilities(IGNORE)
    source.cmd("migrate", uri=f"file:{t.path('saved')}")
    source.wait_migration("completed")
    assert os.path.getsize(t.path("saved")) < 200000
    left = check_stopped(source)[0]
    t.forget(source)
    dest = destination(t, source, f"file:{t.path('saved')}", [IGNORE])
    assert dest.wait_loaded() == "completed", dest.migration()
    dest.cmd("cont")
    assert goes_on(dest)[0] > left["generation"]
    assert dest.report()[0]["errors"] == 0
