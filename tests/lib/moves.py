"""Moving a machine: what the tests of tests/guest, tests/interop and tests/fault do alike."""
import os
import re
import select
import signal
import socket
import time

import ram
from qmp import GUARD, Closed, Hang
from vmm import PROGRAMS

SCHEMES = ("tcp", "unix", "fd", "exec")     # both ends at work at the same time
ALL_SCHEMES = SCHEMES + ("file",)


def save_uri(kind, path):
    """Where a program of that kind writes a file; QEMU 7.2 has no file:."""
    return f"file:{path}" if PROGRAMS[kind]["file_uri"] else f"exec:cat > {path}.part && mv {path}.part {path}"


def load_uri(kind, path):
    return f"file:{path}" if PROGRAMS[kind]["file_uri"] else f"exec:cat {path}"


def is_whole(kind, path):
    """Ours is there when it is complete; QEMU's, when the description ends it."""
    if kind == "minivmm" or not os.path.exists(path):
        return os.path.exists(path)
    with open(path, "rb") as f:
        f.seek(max(f.seek(0, os.SEEK_END) - 1, 0))
        return f.read() == b"}"


def wait_saved(source, path):
    """Behind "completed": QEMU says it before the last bytes, or its command, have got there."""
    while not is_whole(source.kind, path):
        os.sched_yield()


CLOCK = re.compile(rb"01040010[0-9a-f]{16}([0-9a-f]{16})")      # vmm/describe.h: DESC_CLOCK


def make_older(path, seconds):
    """As if it had been saved so many seconds before."""
    with open(path, "rb") as f:
        data = f.read()
    now = time.time()
    found = [m for m in CLOCK.finditer(data) if abs(int(m[1], 16) / 1e9 - now) < 3600]
    assert len(found) == 1, found
    older = b"%016x" % (int(found[0][1], 16) - seconds * 10 ** 9)
    with open(path, "wb") as f:
        f.write(data[:found[0].start(1)] + older + data[found[0].end(1):])


class Way:
    """One scheme of moving: what the destination is started with, what the source is told."""

    def __init__(self, t, scheme):
        self.t, self.scheme = t, scheme
        self.sockets = socket.socketpair() if scheme == "fd" else None
        t._count += 1                       # pylint: disable=protected-access
        self.path = t.path(f"way{t._count}")  # pylint: disable=protected-access
        if scheme == "exec":
            os.mkfifo(self.path)

    def incoming(self):
        """What the destination is told; a descriptor for "fd"; None: it has to wait (arrived())."""
        if self.scheme == "file":
            return None
        if self.scheme == "tcp":
            return "tcp:127.0.0.1:0"
        if self.scheme == "unix":
            return f"unix:{self.path}"
        if self.scheme == "fd":
            return self.sockets[1].fileno()
        return f"exec:cat {self.path}"

    def uri(self, dest):
        if self.scheme == "tcp":
            address, = dest.migration()["socket-address"]
            return f"tcp:127.0.0.1:{address['port']}"
        if self.scheme == "exec":
            return f"exec:cat > {self.path}"
        return f"{self.scheme}:{self.path}"

    def start(self, source, dest):
        if self.scheme == "file":
            dest.saved_at = self.path
            source.cmd("migrate", uri=save_uri(source.kind, self.path))
            return
        if self.scheme != "fd":
            source.cmd("migrate", uri=self.uri(dest))
            return
        self.sockets[1].close()
        source.qmp.cmd("getfd", fds=[self.sockets[0].fileno()], fdname="move")
        self.sockets[0].close()
        source.cmd("migrate", uri="fd:move")


def destination(t, source, incoming=None, capabilities=(), **options):
    """A machine like the source, waiting for it; without 'incoming' migrate-incoming is still to come."""
    given = dict(source.options)
    given.update(options)
    vm = t.vmm(incoming="defer", **given)
    vm.options = given
    vm.capabilities("events", *capabilities)
    listen(vm, incoming)
    return vm


def listen(vm, incoming):
    """What Way.incoming() returned, to a destination that waits for it."""
    if isinstance(incoming, int):
        vm.qmp.cmd("getfd", fds=[incoming], fdname="incoming")
        incoming = "fd:incoming"
    if incoming is not None:
        vm.cmd("migrate-incoming", uri=incoming)


def machine(t, guest="counter", append="pages=100 rate=2000", started=True, **options):
    """A source: keeps its description, so that destination() can make one like it."""
    vm = t.vmm(guest, append, **options)
    vm.options = dict(guest=guest, append=append, **options)
    vm.capabilities("events")
    if started:
        vm.serial.expect("counting on|idle")
    return vm


def arrived(source, dest):
    """Waits for the end of a move on both sides; the cause of a failure is in the message."""
    status = source.wait_migration("completed", "failed", "cancelled")
    if status != "completed":
        says = wait_end_or_failure(dest) if dest.kind == "minivmm" else ""
        raise AssertionError(f"the source says {source.migration()}, the destination: {says}\n{dest.stderr()}")
    if dest.saved_at:
        wait_saved(source, dest.saved_at)
        dest.cmd("migrate-incoming", uri=load_uri(dest.kind, dest.saved_at))
    status = dest.wait_migration("completed", "failed")
    if status != "completed":
        raise AssertionError(f"the destination says {dest.migration()}\n{dest.stderr()}")
    while source.kind.startswith("qemu") and source.status() == "finish-migrate":
        pass                    # there the event comes before the state it announces
    assert source.status() == "postmigrate", source.status()
    return dest


def check_stopped(vm, cpus=1):
    """All stamped ranges of a stopped machine; their status pages."""
    return [ram.check_range(vm, cpu) for cpu in range(cpus)]


def goes_on(vm, cpus=1, rounds=1):
    """Waits until every processor has gone 'rounds' further; checks every page; it runs after that."""
    before = generations(vm, cpus)
    deadline = time.monotonic() + GUARD
    while not all(b + rounds <= n for b, n in zip(before, generations(vm, cpus))):
        if time.monotonic() > deadline:
            raise Hang(f"{vm.name} ({vm.status()}) does not go on for {GUARD:.0f} s: "
                       f"{[ram.status(vm, cpu) for cpu in range(cpus)]}, {vm.migration()}")
        os.sched_yield()
    return [s["generation"] for s in check_running(vm, cpus)]


def works_on(vm, requests=3):
    """Disk, entropy and network have each served so many more requests, without an error."""
    before = ram.status(vm)
    goes_on(vm)
    deadline = time.monotonic() + GUARD
    while any(ram.status(vm)[device] < before[device] + requests for device in ("disk", "rng", "net")):
        if time.monotonic() > deadline:
            raise Hang(f"the devices of {vm.name} stand still for {GUARD:.0f} s: {before}, {ram.status(vm)}")
        os.sched_yield()
    s = ram.status(vm)
    assert (s["disk_errors"], s["rng_errors"], s["net_errors"]) == (0, 0, 0), s


def generations(vm, cpus=1):
    return [ram.status(vm, cpu)["generation"] for cpu in range(cpus)]


def check_running(vm, cpus=1):
    vm.cmd("stop")
    found = check_stopped(vm, cpus)
    vm.cmd("cont")
    return found


def wait_bytes(vm, wanted):
    """Waits until a migration has put so many bytes of RAM on the wire."""
    while True:
        info = vm.migration()
        if info.get("ram", {}).get("transferred", 0) >= wanted:
            return
        assert info.get("status") in ("setup", "active", "device"), f"it ended before {wanted} bytes: {info}"


def interrupt_save(source, path, older, how):
    """A save over a file with these bytes ends in the middle, by "cancel" or "kill": they are all that is there."""
    source.cmd("migrate-set-parameters", max_bandwidth=2 << 20, downtime_limit=1)
    source.cmd("migrate", uri=f"file:{path}")
    wait_bytes(source, 300000)
    if how == "cancel":
        source.cmd("migrate_cancel")
        source.wait_migration("cancelled")
        goes_on(source)
        folder, name = os.path.split(path)
        left = [n for n in os.listdir(folder) if n.startswith(name) and n != name]
        assert not left, f"left behind: {left}"
    else:
        source.signal(signal.SIGKILL)
        source.wait()
    with open(path, "rb") as f:
        assert f.read() == older, "the older file has been harmed"


def wait_end_or_failure(vm):
    """A destination after a move that broke: "dead", the text it gives, or "completed".

    "dropped": the connection broke before its first byte, and it waits for another one.
    """
    poll = select.poll()
    poll.register(vm.qmp.sock, select.POLLIN)
    deadline = time.monotonic() + GUARD
    while vm.alive():
        try:
            info = vm.migration()
        except Closed:          # the monitor went with the program
            vm.wait()
            break
        if info.get("status") == "failed":
            assert info.get("error-desc"), f"{vm.name} failed without a cause: {info}"
            return info["error-desc"]
        if info.get("status") == "completed":
            return "completed"
        if "status" not in info and ("incoming migration is dropped" in vm.stderr() or
                                     "incoming migration was refused: TLS" in vm.stderr()):
            return "dropped"
        if time.monotonic() > deadline:
            raise Hang(f"{vm.name} neither completes nor fails: {info}")
        poll.poll(20)           # the next event, or have another look
    return "dead"


def slower_rate(rate, attempt):
    """Bytes a second for another attempt, after moves that were over before the guest got to write."""
    return max(rate >> attempt, 4096)


def several_passes(t, n, begin):
    """begin() starts a move, of a guest that writes, and returns both ends: here they are in pass n.

    When the guest did not get to write for a moment the move is over, and another one is begun, whose
    passes take longer.
    """
    for attempt in range(10):
        source, dest = begin()
        if attempt:
            rate = source.cmd("query-migrate-parameters")["max-bandwidth"]
            source.cmd("migrate-set-parameters", max_bandwidth=slower_rate(rate, attempt))
        if source.reaches_pass(n):
            return source, dest
        assert source.migration()["status"] == "completed", source.migration()
        t.forget(source)
        t.forget(dest)
    raise AssertionError("in 10 moves the guest never wrote fast enough")
