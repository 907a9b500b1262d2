"""Incremental snapshots: QEMU refuses one in words, and loads it when it has been made whole."""
import os

import peers
import snapshots
from case import BUILD, only_minivmm, table
from moves import goes_on
from snapshots import do, guest, image, run

IMG = os.path.join(BUILD, "minivmm-img")
VERSIONS = {"q" + v.replace(".", "_"): {"version": v} for v in ("7.2", "10.0", "11.1")}


def saved(t):
    """A machine that has ended, with a whole snapshot "base" and "one" on it."""
    vm = guest(t, {"d0": image(t, "d0")}, backend="anonymous")
    goes_on(vm, rounds=2)
    do(vm, "save", "base", x_minivmm_track=True)
    goes_on(vm, rounds=2)
    do(vm, "save", "one", x_minivmm_parent="base")
    goes_on(vm, rounds=2)
    vm.cmd("quit")
    vm.wait()
    return vm


@only_minivmm("it is about both")
@table(**VERSIONS)
def test_qemu(t, version):
    """No guest runs of half a snapshot; a merged one is one like any other, and the base is one."""
    kind = peers.kind(t, version)
    vm = saved(t)
    images = {"d0": snapshots.copy(t, vm.images["d0"], "refused")}
    other = snapshots.again(t, vm, images=images, paused=True, kind=kind)
    refused = run(other, "load", "one")
    assert refused.error, refused.events
    assert "x-minivmm-parent" in other.stderr() + refused.error, (other.stderr(), refused.error)
    t.forget(other)
    for tag in ("base", "one"):
        if tag == "one":
            snapshots.tool(IMG, "snapshot", "--merge", tag, vm.images["d0"])
            snapshots.tool(IMG, "snapshot", "-d", "base", vm.images["d0"])
        images = {"d0": snapshots.copy(t, vm.images["d0"], f"loaded-{tag}")}
        other = snapshots.again(t, vm, images=images, paused=True, kind=kind)
        do(other, "load", tag)
        snapshots.check_instant(t, other, tag)
        other.cmd("cont")
        goes_on(other)
        t.forget(other)
