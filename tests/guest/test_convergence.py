"""A guest that rewrites memory, moved with every encoder: it converges, and the pause is as foretold.

The guest goes over the same pages again and again, with 100,000 pages a second; what they hold
besides its stamps is put there from outside, so that they shrink, or do not, or both.
"""
import os
import statistics

import encoders
import ram
from case import only_minivmm, table
from encoders import ENCODERS, MODES
from moves import arrived, machine

WHY = "what QEMU 7.2 foretells is another matter"
RATE = 100000           # pages a second, less where the host gives the guest less
FLOOR_MS = 25           # a pause has more in it than pages: devices, two ways, waking up
PASSES = 6              # to have a look at, of a move that must not end
LIMIT_MS = 1000         # then: long enough for what is left on a busy host, too
MOVES = (1, 3, 5)       # the host has moods: so many moves, and the median of all
# A figure and the pause are within that factor of each other. 2 is what a host with nothing else to do
# shows (FORETOLD_FACTOR=2, one job); beside other tests an encoder's threads get what is left of it.
FACTOR = float(os.environ.get("FORETOLD_FACTOR", "10"))


def fill(vm, first, end):
    """Random bytes behind the stamps of these pages."""
    base = ram.status(vm)["base"]
    with open(vm.ram_path, "r+b", buffering=0) as f:
        for page in range(first, end):
            f.seek(base + page * ram.PAGE + 8)
            f.write(os.urandom(ram.PAGE - 8))


def writing(t, pages, random=(0, 0), zeros=0):
    """A machine whose guest has been over all its pages."""
    vm = machine(t, "writer", f"pages={pages} rate={RATE} zeros={zeros}", started=False,
                 memory="128M", backend="tmpfs")
    vm.serial.expect("writing")
    fill(vm, *random)
    before = ram.status(vm)["generation"]
    while ram.status(vm)["generation"] < before + 2:
        pass
    return vm


def check_content(source, dest):
    """What has arrived is what was left behind; the guests stand still."""
    s = ram.status(source)
    ram.assert_equal(ram.read(source, s["base"], s["pages"] * ram.PAGE),
                     ram.read(dest, s["base"], s["pages"] * ram.PAGE))


def move(t, mode, **guest):
    """(foretold while it went on, foretold when the guest was stopped, real pause) in ms."""
    source = writing(t, **guest)
    source.cmd("migrate-set-parameters", max_bandwidth=0, downtime_limit=1)
    way, dest = encoders.prepare(t, source, mode, paused=True)
    seen = []
    way.start(source, dest)

    def look(info):
        if info["x-minivmm"]["phase"] == "pass" and info["x-minivmm"]["pass"] > 2:
            seen.append(info["x-minivmm"]["predicted-downtime"])
        return info["x-minivmm"]["pass"] >= PASSES
    if encoders.wait_for(source, look):
        source.cmd("migrate-set-parameters", downtime_limit=LIMIT_MS)
    arrived(source, dest)
    info = source.migration()
    check_content(source, dest)
    t.forget(source)
    t.forget(dest)
    foretold = info["x-minivmm"]["predicted-downtime"]
    return statistics.median(seen[-5:]) if seen else foretold, foretold, info["downtime"]


def ratio(foretold, real):
    return max(foretold, FLOOR_MS) / max(real, FLOOR_MS)


def rows():
    """Every encoder by what the pages hold; so many pages that the pause is worth foretelling."""
    modes = {
        # encoder: (mode, pages that shrink, pages that do not)
        "none": ({"source": ()}, 16384, 16384),
        "xbzrle": (dict(MODES["xbzrle"], params={"xbzrle_cache_size": 256 << 20}), 12288, 12288),
        "xbzrle_misses": (MODES["xbzrle_small"], 12288, 12288),
        "compress": (MODES["compress"], 8192, 1024),
        "multifd": (ENCODERS["multifd"], 16384, 16384),
        "zlib": (ENCODERS["zlib"], 4096, 1024),
        "zstd": (ENCODERS["zstd"], 8192, 4096),
    }
    out = {}
    for name, (mode, small, large) in modes.items():
        out[f"{name}_shrinks"] = {"mode": mode, "pages": small}
        out[f"{name}_random"] = {"mode": mode, "pages": large, "random": (0, large)}
    out["zero"] = {"mode": {"source": ()}, "pages": 16384, "zeros": 16384}
    # at the end of a pass there is nothing but what goes fast
    out["zlib_mixed"] = {"mode": ENCODERS["zlib"], "pages": 8192, "random": (0, 1024), "zeros": 4096}
    out["compress_mixed"] = {"mode": MODES["compress"], "pages": 8192, "random": (0, 1024), "zeros": 4096}
    return out


@only_minivmm(WHY)
@table(**rows())
def test_foretold(t, mode, **guest):
    """The move ends, and both figures are within FACTOR of the pause that it has then."""
    moves = []
    for n in MOVES:
        while len(moves) < n:
            moves.append(move(t, mode, **guest))
        ratios = [statistics.median(ratio(m[which], m[2]) for m in moves) for which in (0, 1)]
        if all(1 / FACTOR <= r <= FACTOR for r in ratios):
            print(f"foretold while it went on, at the end, and real, ms: {moves}")
            return
    raise AssertionError(f"foretold while it went on, at the end, and real, ms: {moves}")
