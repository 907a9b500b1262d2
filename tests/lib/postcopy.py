"""Postcopy: a guest that goes before its memory does; what the tests of guest, interop and fault do alike.

Two ways to see that every page arrives. With the destination stopped (-S) the sweep brings all memory,
and both ends are compared byte for byte. With the guest running it needs pages that are not there yet,
and proves each by its generation number: a page that is missing, stale or zero is counted by the guest.
"""
import contextlib
import random

import ram
from huge import huge_pages
from moves import Way, destination, goes_on, listen, machine
from qmp import Closed

MEMORY = "24M"
GUEST, APPEND = "smp-counter", "pages=600 every=16"     # as fast as it goes
FILLED = ((4 << 20, 1 << 20), (21 << 20, 1 << 20))      # (from, bytes): pages that no guest touches
# Bytes a second. EARLY: most pages are left for postcopy; LATE: the first pass takes little time, and the guest
# still writes more than this carries; SWEEP: the rest takes long enough for the guest to ask for much of it.
EARLY, LATE, SWEEP = 1 << 20, 12 << 20, 3 << 20
PASSES = {"early": 1, "late": 2}    # the pass in which the guest goes; in the second there is much to discard
HUGE = ("-object", f"memory-backend-memfd,id=microvm.ram,size={MEMORY},hugetlb=on,hugetlbsize=2M",
        "-M", "memory-backend=microvm.ram")
BACKENDS = ("anonymous", "memfd", "tmpfs", "private", "huge")
PRE_7_2 = ("-global", "migration.x-preempt-pre-7-2=on")
NO_SWITCHOVER_START = ("-global", "migration.send-switchover-start=off")
OVER = ("completed", "failed", "cancelled", "postcopy-paused")


@contextlib.contextmanager
def room(t, backend):
    """What the host must have for a source and a destination of that kind."""
    if backend != "huge":
        yield
        return
    with huge_pages(t, 2 * (int(MEMORY.rstrip("M")) // 2)):
        yield


def memory(t, backend):
    """Options of a machine whose RAM is of that kind; page faults of all these can be had."""
    if backend == "huge":
        return {"backend": "anonymous", "extra": HUGE}
    if backend == "private":
        t._count += 1       # pylint: disable=protected-access
        return {"backend": "private", "ram": f"/dev/shm/{t.tmp[5:]}-{t._count}.private"}    # pylint: disable=protected-access
    return {"backend": backend}


def fill(vm):
    """Pages that are neither zero nor alike, and that come with the sweep alone."""
    pick = random.Random(1)
    for offset, length in FILLED:
        ram.write(vm, offset, pick.randbytes(length))


def start(t, guest=GUEST, append=APPEND, capabilities=(), **options):
    """A source that runs, and that may go by postcopy."""
    options.setdefault("backend", "anonymous")
    vm = machine(t, guest, append, memory=MEMORY, **options)
    if guest != "idle":
        goes_on(vm, options.get("cpus", 1))
    fill(vm)
    vm.capabilities("postcopy-ram", *capabilities)
    vm.cmd("migrate-set-parameters", downtime_limit=1, max_postcopy_bandwidth=SWEEP)
    return vm


def there(t, source, capabilities=(), **options):
    """A destination like it, told the same, that does not listen yet."""
    if source.backend == "private":
        options.update(memory(t, "private"))
    return destination(t, source, None, ("postcopy-ram", *capabilities), **options)


def begin(t, source, dest, scheme="unix", when="early", uri=None):
    """The precopy phase, in the pass that is wanted when this returns; uri: of a proxy in between."""
    source.cmd("migrate-set-parameters", max_bandwidth=EARLY if when == "early" else LATE)
    way = Way(t, scheme)
    listen(dest, way.incoming())
    if uri:
        source.cmd("migrate", uri=uri)
    else:
        way.start(source, dest)
    assert source.wait_migration("active", *OVER) == "active", story(source, dest)
    assert when == "early" or source.reaches_pass(PASSES[when]), story(source, dest)


def switch(source, dest):
    """The guest goes over now: both are in postcopy, or already behind it."""
    source.cmd("migrate-start-postcopy")
    for vm in (source, dest):
        status = vm.wait_migration("postcopy-active", *OVER)
        assert status in ("postcopy-active", "completed"), story(source, dest)
        if status == "completed":       # finish() waits for it, too
            vm.qmp.events.insert(0, {"event": "MIGRATION", "data": {"status": status}})


def story(source, dest):
    """What both say, for a failure."""
    said = []
    for vm in (source, dest):
        try:
            now = f"{vm.status()} {vm.migration()}"
        except Closed:
            now = "has ended"
        said.append(f"{vm.name} ({vm.kind}): {now}\n{vm.stderr()[-1500:]}")
    return "\n".join(said)


def finish(source, dest, rate=0):
    """To the end of both, without a limit from now on; the source keeps what it had, stopped."""
    source.cmd("migrate-set-parameters", max_postcopy_bandwidth=rate)
    for vm in (source, dest):
        status = vm.wait_migration(*OVER)
        assert status == "completed", story(source, dest)
    while source.kind.startswith("qemu") and source.status() == "finish-migrate":
        pass                    # there the event comes before the state it announces
    assert source.status() == "postmigrate", source.status()


def compare(source, dest, cpus=1):
    """All memory of two machines that stand still, of which one has come to its end."""
    assert dest.status() == "paused", dest.status()
    here = ram.read(dest)
    ram.assert_equal(ram.read(source), here)
    for cpu in range(cpus):
        ram.check_range(here, cpu)


def runs_on(dest, cpus=1):
    """By its generation numbers: no page was wrong when the guest came to it, and none is now."""
    goes_on(dest, cpus, rounds=2)
    assert all(line["errors"] == 0 for line in dest.report()), dest.report()


def requests(source):
    return source.migration()["ram"]["postcopy-requests"]
