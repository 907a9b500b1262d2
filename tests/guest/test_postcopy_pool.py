"""The destination's pool of huge pages runs dry in the middle of a postcopy (docs/migration.md)."""
import contextlib

import postcopy
from case import only_minivmm, table
from huge import POOL, huge_pages
from recovery import Move

REASON = "QEMU 7.2 keeps no page of a connection that it gives up"
THERE = tuple(word + ",reserve=off" if word.startswith("memory-backend-memfd") else word for word in postcopy.HUGE)


@contextlib.contextmanager
def dry():
    """The host has no huge page but those in use."""
    def meminfo(name):
        with open("/proc/meminfo", encoding="ascii") as f:
            return int(next(line for line in f if line.startswith(name + ":")).split()[1])

    def resize(n):
        with open(POOL, "w", encoding="ascii") as f:
            f.write(str(n))

    had = meminfo("HugePages_Total")
    resize(had - meminfo("HugePages_Free") + meminfo("HugePages_Rsvd"))
    try:
        assert meminfo("HugePages_Free") == meminfo("HugePages_Rsvd"), "the pool does not become smaller"
        yield
    finally:
        resize(had)


@only_minivmm(REASON)
@table(plain={"mode": ()}, preempt={"mode": ("postcopy-preempt",)}, runs={"mode": (), "runs": True})
def test_pool_runs_dry(t, mode, runs=False):
    """It pauses in words, the guest waits and sees no zeroes; with pages again it is recovered, and all is there."""
    with huge_pages(t, 26):
        source = postcopy.start(t, capabilities=mode, extra=postcopy.HUGE)
        dest = postcopy.there(t, source, mode, extra=THERE, paused=not runs)
        source.cmd("migrate-set-parameters", max_postcopy_bandwidth=4096)
        move = Move(t, source, dest)
        move.switch()
        with dry():
            source.cmd("migrate-set-parameters", max_postcopy_bandwidth=0)
            move.paused()
            words = dest.migration()["error-desc"]
            assert "the host has no free huge page of 2048 KiB left for guest RAM 'microvm.ram'" in words, words
            dest.cmd("query-status")
        move.recover()
        move.finish()
        if runs:
            move.runs_on()
        else:
            move.compare()
