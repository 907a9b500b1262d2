"""A stock Linux goes before its memory does, under load, and loses its connection three times on the way."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import postcopy  # noqa: E402  pylint: disable=wrong-import-position
from case import table  # noqa: E402  pylint: disable=wrong-import-position
from linux import Linux  # noqa: E402  pylint: disable=wrong-import-position
from recovery import Move  # noqa: E402  pylint: disable=wrong-import-position

BETWEEN = 1 << 20       # bytes that come before the connection breaks again
PREEMPT = ("postcopy-preempt",)


def go(guest, capabilities, **how):
    """The guest runs at another machine, most of its memory does not yet."""
    source = guest.vmm
    source.capabilities("postcopy-ram", *capabilities)
    source.cmd("migrate-set-parameters", max_postcopy_bandwidth=postcopy.SWEEP, downtime_limit=1)
    guest.moves += 1
    target = guest.machine(incoming="defer", name=f"to{guest.moves}", **how)
    target.capabilities("postcopy-ram", *capabilities)
    source.status()
    source.qmp.events.clear()       # of its own arrival
    move = Move(guest.test, source, target)
    move.switch()
    target.wait_running()
    guest.vmm, guest.tap = target, 1 - guest.tap
    return move


@table(preempt={"capabilities": PREEMPT, "cpus": 2, "times": 3}, plain={"capabilities": (), "cpus": 1, "times": 3})
def test_connection_lost(t, capabilities, cpus, times):
    """Memory, disk, clock and one TCP connection go along; each loss stops what needs a missing page, and no more."""
    guest = Linux(t, cpus=cpus, net=True)
    guest.started()
    guest.works()
    move = go(guest, capabilities)
    for n in range(times):
        move.broken(BETWEEN)
        print(f"loss {n + 1}: {move.source.migration()['ram']['remaining']} bytes are missing", flush=True)
        assert guest.vmm.status() == "running", guest.vmm.status()
        move.recover()
        print(f"recovered: {guest.beat()}", flush=True)
    move.finish()
    report = move.source.migration()
    t.forget(move.source)
    print(f"{report['ram']['postcopy-requests']} requests; {guest.works()}", flush=True)
    assert report["ram"]["postcopy-requests"] > 0, report
    guest.vmm.cmd("migrate-set-capabilities", capabilities=[
        {"capability": c, "state": False} for c in ("postcopy-preempt", "postcopy-ram")])
    guest.move()
    guest.works()
    assert guest.net.connections == 1, "the connection was made anew"
    assert guest.check_disk() >= 1
