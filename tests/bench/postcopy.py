"""Postcopy beside QEMU: how long a guest waits for a page, how fast the rest comes, how soon the guest runs there,
what a large guest that touched little costs, and what the programs take beside the guest's memory.

All with postcopy-preempt. The source's memory is a file in /dev/shm, filled once with random bytes; the
destination's is anonymous. The destination's pages have been backed by the host in a run that does not count.

The guest (guest-images/toucher.c) reads each page of its memory once, at random places and as fast as it can, from
before the switch on. It keeps each touch that took longer than 10 microseconds by its own TSC; those before the source stopped, and
the one in which it did, are left out here.
"""
import mmap
import os
import statistics
import struct
import threading
import time

import measure
import ram
from measure import MIB
from qmp import QmpError
from saving import beyond
from vmm import Vmm

GIB = 1 << 30
FROM = 64 * MIB         # the guest itself is below
PAGES = GIB // ram.PAGE
TOUCHES = 32 * MIB
HEADER = struct.Struct("<4Q")
SLOW = 4 * MIB          # bytes a second before the switch, where as much as can be is to be left for behind it
WAYS = ("unix", "TCP")
CAPABILITIES = ("postcopy-ram", "postcopy-preempt")


def clear_low(path):
    """What the last guest left of itself goes: a firmware may take it for its own."""
    with open(path, "r+b") as f, mmap.mmap(f.fileno(), FROM) as view:
        view.madvise(mmap.MADV_REMOVE)


class Move:
    """A source that runs, a destination that waits for it, and all that is told of their move."""

    def __init__(self, bench, kind, folder, size, way="unix", append="", content=None, postcopy=True,
                 bandwidth=SLOW, backend="anonymous"):
        bench.count += 1
        if content:
            clear_low(content)
        how = dict(guest="toucher", append=append, memory=f"{size // MIB}M")
        self.source = Vmm(kind, folder, name=f"s{bench.count}", backend="file" if content else "anonymous",
                          ram=content, **how)
        self.dest = Vmm(kind, folder, name=f"d{bench.count}", backend=backend, incoming="defer", **how)
        caps = CAPABILITIES if postcopy else ()
        for vm in (self.source, self.dest):
            vm.capabilities("events", *caps)
        if bandwidth is not None:
            self.source.cmd("migrate-set-parameters", max_bandwidth=bandwidth)
        uri = f"unix:{folder}/p{bench.count}" if way == "unix" else "tcp:127.0.0.1:0"
        self.dest.cmd("migrate-incoming", uri=uri)
        if way != "unix":
            address, = self.dest.migration()["socket-address"]
            uri = f"tcp:127.0.0.1:{address['port']}"
        self.uri = uri
        self.hz = int(self.source.serial.expect(r"touching hz=(\d+)").group(1))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.source.close()
        self.dest.close()

    def start(self):
        self.source.cmd("migrate", uri=self.uri)
        self.source.qmp.event("MIGRATION", status="active")

    def switch(self):
        """When 'migrate-start-postcopy' was given."""
        at = time.monotonic()
        self.source.cmd("migrate-start-postcopy")
        return at

    def ended(self):
        """{event: moment} of both."""
        left = measure.until(self.source, "MIGRATION completed")
        return left, measure.until(self.dest, "MIGRATION completed", "RESUME")


def slow_touches(move, before):
    """Microseconds of each touch behind number 'before' that had to wait."""
    head = ram.read(move.dest, TOUCHES, HEADER.size)
    _, hz, touched, slow = HEADER.unpack(head)
    data = ram.read(move.dest, TOUCHES + HEADER.size, slow * 8)
    return [took / hz * 1e6 for which, took in struct.iter_unpack("<II", data) if which > before + 1], touched - before


def faults_once(bench, kind, folder, way, content):
    with Move(bench, kind, folder, FROM + GIB, way, f"start={FROM} pages={PAGES}", content) as move:
        move.start()
        move.source.serial.write("g")
        move.switch()
        left, arrived = move.ended()
        before = HEADER.unpack(ram.read(move.source, TOUCHES, HEADER.size))[2]
        move.dest.serial.write("s")
        move.dest.serial.expect(r"touched \d+")
        took, touched = slow_touches(move, before)
        if len(took) < 100:
            raise RuntimeError(f"{kind}: {len(took)} faults of {touched} touches are too few to tell anything")
        took.sort()
        return {"p50": statistics.median(took), "p99": took[len(took) * 99 // 100], "worst": took[-1],
                "faults": len(took), "all_s": arrived["MIGRATION completed"] - left["STOP"]}


def figures(got, name, scale=1):
    return {k: [r[name] * scale for r in v] for k, v in got.items()}


def faults(bench, folder):
    """A guest that touches missing pages while the sweep brings the others."""
    content = os.path.join(folder, "content")
    measure.fill(content, FROM + GIB, FROM, True)
    for way in WAYS:
        got = bench.alternate(lambda kind, w=way: faults_once(bench, kind, folder, w, content))
        count = "faults: " + ", ".join(f"{statistics.median(r['faults'] for r in v):.0f}" for v in got.values())
        name = f"postcopy-preempt, {way}, a fault that the guest feels"
        bench.row(f"{name}: p50", "us", figures(got, "p50"), 0.5, False, count, limit=100)
        bench.row("the same: p99", "us", figures(got, "p99"), 0.5, False)
        bench.row("the same: worst", "us", figures(got, "worst"), None, False)
        bench.row("the same: from STOP until all is there", "ms", figures(got, "all_s", 1000), None, False)
    os.unlink(content)


def sweep_once(bench, kind, folder, way, content):
    """MiB a second of postcopy, and of precopy between the same two."""
    with Move(bench, kind, folder, FROM + 2 * GIB, way, content=content) as move:
        move.start()
        move.switch()
        left, arrived = move.ended()
        sweep = 2048 / (arrived["MIGRATION completed"] - left["STOP"])
    with Move(bench, kind, folder, FROM + 2 * GIB, way, content=content, postcopy=False, bandwidth=0) as move:
        start = time.monotonic()
        move.start()
        move.ended()
        return {"sweep": sweep, "precopy": 2048 / (time.monotonic() - start)}


def sweep(bench, folder):
    content = os.path.join(folder, "content")
    measure.fill(content, FROM + 2 * GIB, FROM, True)
    for way in WAYS:
        sweep_once(bench, "minivmm", folder, way, content)      # the host backs the pages; not counted
        got = bench.alternate(lambda kind, w=way: sweep_once(bench, kind, folder, w, content))
        bench.row(f"2 GiB random, postcopy, {way}, from STOP until all is there: rate", "MiB/s", figures(got, "sweep"), 1.5, True)
        bench.row("the same: over its own precopy", "", {
            k: [r["sweep"] / r["precopy"] for r in v] for k, v in got.items()}, None, True, "aim: at least 1")
    os.unlink(content)


def start_once(bench, kind, folder, content, bandwidth):
    """Milliseconds from 'migrate-start-postcopy' to RESUME and to the first byte that the guest prints there."""
    with Move(bench, kind, folder, FROM + GIB, content=content, bandwidth=bandwidth) as move:
        move.source.serial.write("t")
        move.source.serial.expect(r"\.\.\.")
        move.start()
        for _ in range(20):
            move.source.migration()
        at = move.switch()
        wall = time.time() - time.monotonic()
        left, arrived = move.ended()
        return {"runs": (arrived["RESUME"] - wall - at) * 1000, "byte": (move.dest.serial.first - at) * 1000,
                "pause": (arrived["RESUME"] - left["STOP"]) * 1000}


def start(bench, folder):
    content = os.path.join(folder, "content")
    measure.fill(content, FROM + GIB, FROM, True)
    for name, bandwidth in (("default bandwidth", None), ("64 MiB/s", 64 * MIB)):
        got = bench.alternate(lambda kind, b=bandwidth: start_once(bench, kind, folder, content, b))
        bench.row(f"migrate-start-postcopy, {name}: until the guest's first byte there", "ms", figures(got, "byte"), 0.5, False,
                  limit=10)
        bench.row("the same: until RESUME there", "ms", figures(got, "runs"), None, False)
        bench.row("the same: pause, from STOP to RESUME", "ms", figures(got, "pause"), None, False)
    os.unlink(content)


def sparse_once(bench, kind, folder, gib):
    with Move(bench, kind, folder, gib * GIB, bandwidth=None) as move:
        measure.write_memory(move.source, FROM, 64 * MIB)
        begin = time.monotonic()
        move.start()
        try:
            move.switch()
        except QmpError:
            if move.source.migration()["status"] != "completed":
                raise
        move.ended()
        return (time.monotonic() - begin) * 1000


def sparse(bench, folder):
    """Most of the guest's memory was never touched."""
    for gib in (1, 8):
        got = bench.alternate(lambda kind, g=gib: sparse_once(bench, kind, folder, g))
        bench.row(f"{gib} GiB, 64 MiB touched, whole postcopy move: time", "ms", got, 0.2 if gib == 8 else None, False,
                  "" if gib == 8 else "aim: the same for each size")


class Watch(threading.Thread):
    """The most that both ends have beside the guest's memory, looked at again and again."""

    def __init__(self, move):
        super().__init__(daemon=True)
        self.vms, self.over = (move.source, move.dest), threading.Event()
        self.most = [0, 0]
        self.start()

    def run(self):
        while not self.over.wait(0.005):
            self.most = [max(m, beyond(vm.pid)) for m, vm in zip(self.most, self.vms)]

    def end(self):
        self.over.set()
        self.join()
        return [m / MIB for m in self.most]


def memory_once(bench, kind, folder, way, content):
    with Move(bench, kind, folder, FROM + 2 * GIB, way, content=content, backend="memfd") as move:
        watch = Watch(move)
        move.start()
        move.switch()
        move.ended()
        return dict(zip(("source", "dest"), watch.end()))


def memory(bench, folder):
    content = os.path.join(folder, "content")
    measure.fill(content, FROM + 2 * GIB, FROM, True)
    for way in WAYS:
        got = bench.alternate(lambda kind, w=way: memory_once(bench, kind, folder, w, content))
        bench.row(f"2 GiB random, postcopy, {way}, most resident beyond RAM, source", "MiB", figures(got, "source"), 0.25, False, limit=8)
        bench.row("the same, destination", "MiB", figures(got, "dest"), 0.25, False, limit=8)
    os.unlink(content)
