#!/usr/bin/python3
"""The long run: never a guest lost, doubled or reset on the wrong side.

    long_run.py [--rounds N] [--jobs N] [--seed TEXT]

Moves one tiny guest after the other and cuts, kills, resets, powers off and panics at every message
boundary, at random offsets and moments (tests/lib/ownership.py). It ends at the first thing that does
not hold, with the seed and the round that have it again.
"""
import argparse
import collections
import concurrent.futures
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))

from case import Test  # noqa: E402  pylint: disable=wrong-import-position
from ownership import long_run  # noqa: E402  pylint: disable=wrong-import-position

CHUNK = 250     # rounds on one guest's chain of processes


def chunk(seed, rounds):
    """In a process of its own: what was tried, and None or what went wrong."""
    tried = collections.Counter()

    def report(_, plan):
        tried[plan.how] += 1
        for what, side, _ in plan.asks:
            tried[f"{what} at the {side}"] += 1
    test = Test("minivmm")
    try:
        long_run(test, rounds, seed, report)
    except Exception as e:  # pylint: disable=broad-except
        return tried, f"{type(e).__name__}: {e}"
    finally:
        test.close()
    return tried, None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10000)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--seed", default=None, help="of a run, or of a chunk that went wrong (with /)")
    options = parser.parse_args()
    seed = options.seed or str(random.SystemRandom().randrange(1 << 32))
    if "/" in seed:
        tried, wrong = chunk(seed, min(options.rounds, CHUNK))
        print(wrong or f"{tried}: nothing went wrong")
        return 1 if wrong else 0
    print(f"seed {seed}", flush=True)
    seeds = [f"{seed}/{n}" for n in range(-(-options.rounds // CHUNK))]
    sizes = [min(CHUNK, options.rounds - n * CHUNK) for n in range(len(seeds))]
    total, failed, begin, done = collections.Counter(), 0, time.monotonic(), 0
    with concurrent.futures.ProcessPoolExecutor(options.jobs) as pool:
        futures = {pool.submit(chunk, s, n): n for s, n in zip(seeds, sizes)}
        for future in concurrent.futures.as_completed(futures):
            tried, wrong = future.result()
            total += tried
            done += futures[future]
            if wrong:
                failed += 1
                print(f"WRONG {wrong}", flush=True)
            print(f"{done} rounds, {time.monotonic() - begin:.0f} s, {failed} chunks with a fault",
                  flush=True)
    print(", ".join(f"{n} {what}" for what, n in total.most_common()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
