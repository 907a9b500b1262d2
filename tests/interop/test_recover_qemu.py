"""A postcopy to and from QEMU 7.2, 10.0 and 11.1 that loses its connection, twice, and goes on."""
from itertools import product

import peers
import postcopy
from case import only_minivmm, table
from recovery import Move, handshake_cut

RELEASES = ("7.2", "10.0", "11.1")
MODES = {"plain": (), "preempt": ("postcopy-preempt",)}
COLUMNS = ("release", "way", "mode")
ROWS = {"_".join(row).replace(".", "_"): dict(zip(COLUMNS, row))
        for row in product(RELEASES, ("to", "from"), MODES)}
OURS = "one end is QEMU, the other one is ours"


def begin(t, release, way, mode, **options):
    """In postcopy, with a QEMU at one end."""
    theirs = peers.kind(t, release)
    here, there = (t.kind, theirs) if way == "to" else (theirs, t.kind)
    needs = postcopy.PRE_7_2 if (release, way, mode) == ("7.2", "to", "preempt") else ()
    source = postcopy.start(t, kind=here, capabilities=MODES[mode], backend="tmpfs", extra=needs)
    dest = postcopy.there(t, source, MODES[mode], kind=there, extra=(), **options)
    move = Move(t, source, dest)
    move.switch()
    return move


@only_minivmm(OURS)
@table(**ROWS)
def test_cut_twice(t, release, way, mode):
    """In the sweep, and again when it has gone on; all memory is the same in the end."""
    move = begin(t, release, way, mode, paused=True)
    for after in (0, 300007):
        move.broken(after)
        move.recover()
    move.finish()
    move.compare()


@only_minivmm(OURS)
@table(**ROWS)
def test_the_guest_runs(t, release, way, mode):
    """It runs on while there is no connection, and what it needs then is asked for anew."""
    move = begin(t, release, way, mode)
    move.broken(10000)
    assert move.dest.status() == "running", move.dest.status()
    move.recover()
    move.finish()
    move.runs_on()


def survives(release, way, mode):
    """A source of QEMU 7.2 waits for ever then; a destination with preempt may die in the next migrate-recover."""
    return (release, way) != ("7.2", "from") and (way, mode) != ("to", "preempt")


@only_minivmm(OURS)
@table(**{name: row for name, row in ROWS.items() if survives(**row)})
def test_cut_while_it_recovers(t, release, way, mode):
    """Behind RESUME: both ends are paused again, and the next attempt succeeds."""
    move = begin(t, release, way, mode, paused=True)
    move.broken(5000)
    move.listen()
    move.resume(handshake_cut("behind_resume"))
    move.paused()
    move.recover()
    move.finish()
    move.compare()
