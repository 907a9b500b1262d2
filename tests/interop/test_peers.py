"""Every mode of moving to and from QEMU 7.2, 10.0 and 11.1, with and without devices, on one vCPU and two.

Both ends stand still when their memory is compared: a guest that rewrites its pages would hide stale ones.
Then it runs on, and uses its devices. docs/peers.md is made from the results (scripts/peers-table).
"""
import encoders
import peers
import ram
from case import only_minivmm, pairwise, table
from moves import Way, arrived, destination, goes_on, listen, machine, several_passes, works_on
from peer_rows import ACROSS, MODES, NEEDS, ROWS

GUESTS = {"none": "drivers=0", "idle": "drivers=0", "working": "every=8 queue=1024"}


def start(t, kind, mode, devices, cpus, extra):
    """A guest that writes faster than the move is let go, and is told what the mode asks for."""
    with_devices = {} if devices == "none" else {"rng": True, "disk": t.disk(), "net": t.net().path}
    source = machine(t, "smp-counter", f"pages=300 {GUESTS[devices]}", kind=kind, cpus=cpus, extra=extra,
                     **with_devices)
    goes_on(source, cpus)
    if devices == "working":
        works_on(source)
    encoders.set_up(source, mode.get("source", ()) + mode.get("both", ()), mode.get("parameters"))
    encoders.slow(source, mode.get("rate", ACROSS))
    return source


def begin(t, source, kind, mode, extra):
    """The move, to a destination that stays stopped."""
    way = Way(t, mode.get("scheme", "unix"))
    dest = destination(t, source, None, kind=kind, extra=extra, paused=True)
    encoders.set_up(dest, mode.get("both", ()), mode.get("parameters"))
    listen(dest, way.incoming())
    way.start(source, dest)
    return dest


def at_work(source, mode):
    """What the mode is for has happened."""
    used = mode.get("source", ()) + mode.get("both", ())
    return encoders.at_work(source.migration(), {"source": used, "found": 1})


@only_minivmm("one end is QEMU, the other one is ours")
@pairwise
@table(**ROWS)
def test_move(t, release, way, mode, devices, cpus):
    """In several passes; all memory is the same to the byte, and the guest goes on."""
    kinds = {"ours": t.kind, "theirs": peers.kind(t, release)}
    here, there = ("ours", "theirs") if way == "to" else ("theirs", "ours")
    needed = NEEDS.get((mode, release, way))
    extra = {"ours": ("-global", needed) if needed else (), "theirs": ()}
    mode = MODES[mode]

    def under_way():
        source = start(t, kinds[here], mode, devices, cpus, extra[here])
        return source, begin(t, source, kinds[there], mode, extra[there])

    source, dest = several_passes(t, 3, under_way)
    encoders.fast(source)
    arrived(source, dest)
    assert at_work(source, mode), source.migration()
    ram.assert_equal(ram.read(source), ram.read(dest))
    for cpu in range(cpus):
        ram.check_range(dest, cpu)
    t.forget(source)
    dest.cmd("cont")
    goes_on(dest, cpus)
    if devices == "working":
        works_on(dest)
