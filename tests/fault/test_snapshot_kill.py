"""minivmm is killed while it saves, loads or deletes a snapshot: no image is harmed, and what was saved before is there."""
import random
import signal

import snapshots
from case import only_minivmm, table
from moves import goes_on
from qmp import Closed, QmpError
from snapshots import do, guest, image, listing

ROUNDS = 6


@only_minivmm("QEMU's job ends within the command")
@table(save={"what": "save", "tag": "new"}, load={"what": "load", "tag": "old"}, delete={"what": "delete", "tag": "extra"},
       stopped={"what": "save", "tag": "new", "more": {"x_minivmm_stopped": True}})
def test_killed(t, what, tag, more=None):
    """At random places of the work; then the images are checked, and the older snapshot is loaded and is what it was."""
    rng = random.Random(what)
    vm = guest(t, {"d0": image(t, "d0"), "d1": image(t, "d1", 128, "-o", "cluster_size=4k")},
               append="pages=600 rate=4000 every=16")
    goes_on(vm)
    for older in ("old", "extra"):
        do(vm, "save", older)
    for _ in range(ROUNDS):
        try:
            job = snapshots.begin(vm, what, tag, **(more or {}))
            snapshots.reaches(vm, job, rng.random())
            vm.signal(signal.SIGKILL)
        except (Closed, QmpError):
            pass
        vm.kill()
        for path in vm.images.values():
            snapshots.check(path, leaks=True)
            snapshots.tool("qemu-img", "check", "-q", "-r", "leaks", path, status=(0, 3))
            assert "old" in listing(path), listing(path)
        before = vm
        vm = snapshots.again(t, before, "-loadvm", "old", paused=True)
        t.forget(before)
        snapshots.check_instant(t, vm, "old")
        vm.cmd("cont")
        goes_on(vm)
        if what != "load":      # wherever the last one got to
            do(vm, "delete", tag)
        if what == "delete":
            do(vm, "save", "extra")
