"""Postcopy of memory in huge pages of 1 GiB, which the destination is asked to take (docs/migration.md)."""
import postcopy
import ram
from case import only_minivmm, table
from huge import GIB_POOL, huge_pages
from moves import goes_on, machine
from proxy import Harm
from recovery import Move

REASON = "QEMU takes such pages without being asked"
ASK = ("-global", "migration.x-minivmm-postcopy-1g=on")
BACK = ("-object", "memory-backend-memfd,id=microvm.ram,size=1G,hugetlb=on,hugetlbsize=1G,reserve=off",
        "-M", "memory-backend=microvm.ram")
FILLED, LENGTH = (4 << 20, 1020 << 20), 250 * 4096      # which no guest touches
LISTEN = b"\x08\x00\x04\x00\x00\x04"    # the command, and the first device


def room(t):
    """For a source and a destination of which each has one page."""
    return huge_pages(t, 2, GIB_POOL, "huge pages of 1 GiB")


def begin(t, mode):
    """Both ends, in precopy that does not get far, through a relay; one that was not asked has refused before."""
    source = machine(t, postcopy.GUEST, postcopy.APPEND, memory="1024M", backend="anonymous", extra=BACK)
    goes_on(source, 1)
    for offset in FILLED:
        ram.write(source, offset, bytes(range(1, 251)) * (LENGTH // 250))
    other = t.vmm(incoming="defer", **source.options)
    words = other.qmp.fails("migrate-set-capabilities", capabilities=[{"capability": "postcopy-ram", "state": True}])
    assert "use huge pages of 2 MiB, or '-global migration.x-minivmm-postcopy-1g=on' here" in words, words
    t.forget(other)
    source.capabilities("postcopy-ram", *mode)
    source.cmd("migrate-set-parameters", downtime_limit=1)
    dest = postcopy.there(t, source, mode, extra=(*BACK, *ASK))
    move = Move(t, source, dest)
    source.cmd("migrate-set-parameters", max_bandwidth=4096)
    return source, dest, move


@only_minivmm(REASON)
@table(plain={"mode": ()}, preempt={"mode": ("postcopy-preempt",)})
def test_asked_for(t, mode):
    """The guest waits for the page that all its memory is, and finds nothing wrong in it."""
    with room(t):
        source, dest, move = begin(t, mode)
        move.switch()
        move.finish()
        assert postcopy.requests(source) > 0, source.migration()
        for offset in FILLED:
            ram.assert_equal(ram.read(source, offset, LENGTH), ram.read(dest, offset, LENGTH))
        move.runs_on()


@only_minivmm(REASON)
def test_cut_in_the_middle(t):
    """Where the devices need the page the guest is still the source's; else both ends go on, and the page comes anew."""
    with room(t):
        source, dest, move = begin(t, ())
        move.proxy.arm(Harm("cut", 1 << 20, after=LISTEN))
        source.cmd("migrate-start-postcopy")
        status = source.wait_migration("failed", "postcopy-paused", "completed", "cancelled")
        assert status in ("failed", "postcopy-paused"), postcopy.story(source, dest)
        if status == "failed":
            assert dest.wait_migration("failed", "completed", "postcopy-paused") == "failed", postcopy.story(source, dest)
            postcopy.runs_on(source)
        else:
            move.paused(dest)
            move.recover()
            move.finish()
            move.runs_on()
