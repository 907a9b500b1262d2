"""A postcopy that loses its connection: both ends pause, and go on over another one, as often as it takes."""
from itertools import product

import postcopy
from case import only_minivmm, table
from recovery import HANDSHAKE, Move, handshake_cut

CAPABILITIES = {"plain": (), "preempt": ("postcopy-preempt",)}
MODES = {mode: {"mode": mode} for mode in CAPABILITIES}


def begin(t, mode="plain", **options):
    """In postcopy; the destination stays stopped unless it is told to run."""
    capabilities = CAPABILITIES[mode]
    source = postcopy.start(t, capabilities=capabilities)
    dest = postcopy.there(t, source, capabilities, **{"paused": True, **options})
    move = Move(t, source, dest)
    move.switch()
    return move


@table(**{f"{mode}_{after}": {"mode": mode, "after": after}
          for mode, after in product(CAPABILITIES, (0, 20000, 400003))})
def test_cut_in_the_sweep(t, mode, after):
    """At a random place: the pages on their way are lost, and sent again."""
    move = begin(t, mode)
    move.broken(after)
    move.recover()
    move.finish()
    move.compare()


@table(**MODES)
def test_three_times(t, mode):
    """Once, twice, thrice; then to the end."""
    move = begin(t, mode)
    move.broken(5000)
    for more in (40000, 70000):
        move.listen()
        move.resume(handshake_cut("behind_resume", more))
        move.paused()
    move.recover()
    move.finish()
    move.compare()


@table(**MODES)
def test_the_guest_runs(t, mode):
    """It runs before, between and after; what it needs is asked for anew."""
    move = begin(t, mode, paused=False)
    for after in (0, 10000, 30000):
        move.broken(after)
        assert move.dest.status() == "running", move.dest.status()
        move.recover()
    move.finish()
    move.runs_on()


@only_minivmm("a source of QEMU 7.2 waits for ever when the connection breaks while it recovers")
@table(**{f"{mode}_{place}": {"mode": mode, "place": place} for mode, place in product(CAPABILITIES, HANDSHAKE)})
def test_cut_while_it_recovers(t, mode, place):
    """At every message of the handshake: both ends are paused again, and the next attempt succeeds."""
    move = begin(t, mode)
    move.broken(5000)
    move.listen()
    move.resume(handshake_cut(place))
    move.paused()
    move.recover()
    move.finish()
    move.compare()


# With two connections the rest goes the way of one; --every: all rows.
test_cut_while_it_recovers.chosen = frozenset(
    name for name, row in test_cut_while_it_recovers.rows.items()
    if row["mode"] == "plain" or row["place"] in ("at_the_first_byte", "in_a_bitmap", "before_resume", "behind_resume",
                                                  "in_the_first_page"))
