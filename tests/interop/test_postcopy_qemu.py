"""Postcopy to and from QEMU 7.2, 10.0 and 11.1: plain, with the fast lane, behind a multifd precopy.

With --kind qemu a QEMU 7.2 stands in our place, which shows that the tests themselves are right.
"""
from itertools import product

import peers
import postcopy
from case import only_minivmm, pairwise, table
from moves import goes_on

RELEASES = ("7.2", "10.0", "11.1")
MODES = {"plain": (), "preempt": ("postcopy-preempt",), "multifd": ("multifd",),
         "both": ("multifd", "postcopy-preempt")}
MULTIFD = ("multifd", "both")
QUEUES = ("-global", "virtio-mmio.x-override-queue-size=1024")   # of a guest that began at an older QEMU
COLUMNS = ("release", "way", "mode", "when", "cpus")


def impossible(release, way, mode):
    """Why there is no such row, or None."""
    if mode in MULTIFD and release == "10.0":
        return "QEMU 10.0 refuses multifd together with postcopy-ram"
    if mode in MULTIFD and (release, way) == ("7.2", "to"):
        return "a destination of QEMU 7.2 with multifd aborts at the end of postcopy"
    if (release, mode) == ("7.2", "both"):
        return "QEMU 7.2 does not get its three connections apart"
    return None


ROWS = {"_".join(map(str, row)).replace(".", "_"): dict(zip(COLUMNS, row))
        for row in product(RELEASES, ("to", "from"), MODES, postcopy.PASSES, (1, 2)) if not impossible(*row[:3])}


class Ends:
    """Kinds and options of a source and a destination, of which one is a QEMU of some release."""

    def __init__(self, t, release, way, mode):
        self.t, self.capabilities = t, MODES[mode]
        if t.kind == "qemu" and mode in MULTIFD:
            t.skip("QEMU 7.2 is no end of postcopy with multifd")
        ours, theirs = t.kind, peers.kind(t, release)
        self.kinds = (ours, theirs) if way == "to" else (theirs, ours)
        self.old = "7.2" if t.kind == "qemu" and way == "from" else release     # at the destination
        self.needs = self._needs(release, way)
        self.there = QUEUES if t.kind == "qemu" and (release, way) == ("11.1", "to") else ()

    def _needs(self, release, way):
        """What the source must be told of a destination that is older than it."""
        if self.old != "7.2" or (release, way) == ("7.2", "from"):
            return ()
        preempt = postcopy.PRE_7_2 if "postcopy-preempt" in self.capabilities else ()
        if way == "from":
            return (*postcopy.NO_SWITCHOVER_START, *preempt)
        return preempt if self.t.kind == "minivmm" else ()

    def source(self, **options):
        return postcopy.start(self.t, kind=self.kinds[0], capabilities=self.capabilities, backend="tmpfs",
                              extra=self.needs, **options)

    def dest(self, source, **options):
        return postcopy.there(self.t, source, self.capabilities, kind=self.kinds[1], extra=self.there, **options)


@pairwise
@table(**ROWS)
def test_same_memory(t, release, way, mode, when, cpus):
    """The guest is stopped where it arrives: all its memory is the same, and it goes on when it may."""
    ends = Ends(t, release, way, mode)
    source = ends.source(cpus=cpus)
    dest = ends.dest(source, paused=True)
    postcopy.begin(t, source, dest, when=when)
    postcopy.switch(source, dest)
    postcopy.finish(source, dest)
    postcopy.compare(source, dest, cpus)
    t.forget(source)
    dest.cmd("cont")
    goes_on(dest, cpus)


@pairwise
@table(**ROWS)
def test_runs_ahead(t, release, way, mode, when, cpus):
    """The guest runs before its memory is there, with its devices, and finds nothing wrong."""
    ends = Ends(t, release, way, mode)
    source = ends.source(cpus=cpus, rng=True, disk=t.disk())
    dest = ends.dest(source)
    postcopy.begin(t, source, dest, when=when)
    postcopy.switch(source, dest)
    dest.wait_running()
    postcopy.finish(source, dest, postcopy.SWEEP)
    assert when == "late" or postcopy.requests(source) > 0, source.migration()  # a starved guest writes little
    t.forget(source)
    postcopy.runs_on(dest, cpus)
    report = dest.report()[0]
    assert report["disk"] > 0 and report["disk_errors"] == report["rng_errors"] == 0, report


def hop(t, vm, kind):
    """One move with the fast lane; the guest runs on at that kind."""
    capabilities = ("postcopy-preempt",)
    vm.capabilities("postcopy-ram", *capabilities)
    vm.cmd("migrate-set-parameters", downtime_limit=1, max_postcopy_bandwidth=postcopy.SWEEP)
    dest = postcopy.there(t, vm, capabilities, kind=kind)
    postcopy.begin(t, vm, dest)
    postcopy.switch(vm, dest)
    dest.wait_running()
    postcopy.finish(vm, dest, postcopy.SWEEP)
    t.forget(vm)
    postcopy.runs_on(dest)
    return dest


@only_minivmm("ours is the one in the middle")
@table(**{release.replace(".", "_"): {"release": release} for release in ("10.0", "11.1")})
def test_there_and_back(t, release):
    """QEMU, minivmm, QEMU, minivmm, with the fast lane on each way."""
    theirs = peers.kind(t, release)
    vm = postcopy.start(t, kind=theirs, backend="tmpfs", rng=True, disk=t.disk())
    for kind in (t.kind, theirs, t.kind):
        vm = hop(t, vm, kind)
    report = vm.report()[0]
    assert (report["disk_errors"], report["rng_errors"]) == (0, 0), report
