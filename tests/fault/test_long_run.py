"""Cuts, kills, resets, power-offs, panics, errors and presses of the button, at random places and moments.

tests/fault/long_run.py runs more of them. TEST_SEED, which a failure prints, has a chunk again.
"""
from case import only_minivmm, table
from faults import seeded
from ownership import long_run

CHUNKS, CHOSEN, ROUNDS = 10, 5, 50


@only_minivmm("QEMU 7.2 loses and doubles guests and resets")
@table(**{f"chunk{n}": {"n": n} for n in range(CHUNKS)})
def test_random(t, n):
    long_run(t, ROUNDS, f"{seeded().randrange(1 << 32)}/{n}")


test_random.chosen = frozenset(f"chunk{n}" for n in range(CHOSEN))
