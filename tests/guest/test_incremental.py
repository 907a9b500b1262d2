"""snapshot-save with x-minivmm-parent: only what was written since, page by page what it was when it is loaded."""
import json
import os

import ram
import snapshots
from case import BUILD, only_minivmm, table
from moves import goes_on
from snapshots import check, do, guest, image, listing, run

IMG = os.path.join(BUILD, "minivmm-img")
REASON = "QEMU has no incremental snapshots"


def one_disk(t, **options):
    return guest(t, {"d0": image(t, "d0")}, **options)


def stopped_save(vm, tag, **more):
    """Saved while it stands still: the job, and all of its memory at that instant."""
    vm.cmd("stop")
    ended = do(vm, "save", tag, **more)
    memory = ram.read(vm)
    return ended, memory


def work(vm, rounds=2):
    vm.cmd("cont")
    goes_on(vm, rounds=rounds)


def check_loads(t, vm, saved):
    """Each tag, loaded into another program: its memory, before the guest runs."""
    images = {node: snapshots.copy(t, path, f"{node}-loaded") for node, path in vm.images.items()}
    other = snapshots.again(t, vm, images=images, paused=True)
    for tag, memory in saved.items():
        for lazy in (False, True):
            do(other, "load", tag, x_minivmm_lazy=lazy)
            ram.assert_equal(memory, ram.read(other), f"snapshot {tag}, lazy {lazy}")
    lazily = [line for line in other.stderr().splitlines() if "comes as it is touched" in line]
    if vm.backend != "file":
        assert len(lazily) == len(saved), other.stderr()
    other.cmd("cont")
    goes_on(other)
    other.cmd("quit")
    other.wait()


def img(*argv, status=0):
    return snapshots.tool(IMG, *argv, status=(status,))


def parents(path):
    """{tag: the parent's}, as minivmm-img shows it."""
    info = json.loads(img("info", "--output=json", path))
    return {s["name"]: s["x-minivmm-parent"] for s in info["snapshots"] if "x-minivmm-parent" in s}


def merge(vm, tag):
    """It stands on nothing then, and the others on what they did."""
    path = vm.images["d0"]
    before = parents(path)
    img("snapshot", "--merge", tag, path)
    check(path)
    assert before.pop(tag) and parents(path) == before


@only_minivmm(REASON)
@table(anonymous={"backend": "anonymous"}, memfd={"backend": "memfd"}, file={"backend": "file"}, ring={"ring": 65536},
       stopped={"backend": "anonymous", "x_minivmm_stopped": True})
def test_chain(t, x_minivmm_stopped=False, **options):
    """A whole snapshot and three that stand on each other, of a guest that writes memory and disk between them."""
    more = {"x_minivmm_stopped": x_minivmm_stopped}
    vm = one_disk(t, **options)
    goes_on(vm, rounds=2)
    saved = {}
    base, saved["base"] = stopped_save(vm, "base", x_minivmm_track=True, **more)
    for n, parent in enumerate(("base", "one", "two")):
        work(vm)
        tag = ("one", "two", "three")[n]
        ended, saved[tag] = stopped_save(vm, tag, x_minivmm_parent=parent, **more)
        changed = len(ram.differing_pages(saved[parent], saved[tag])) * ram.PAGE
        assert changed <= ended.figures["memory"] < base.figures["memory"], (changed, ended.figures)
        assert ended.figures["vm-state-size"] < base.figures["vm-state-size"], ended.figures
    vm.cmd("quit")
    vm.wait()
    check(vm.images["d0"])
    assert sorted(listing(vm.images["d0"])) == sorted(saved)
    check_loads(t, vm, saved)
    merge(vm, "two")
    check_loads(t, vm, saved)
    merge(vm, "three")
    for tag in ("one", "base", "two"):
        img("snapshot", "-d", tag, vm.images["d0"])
        del saved[tag]
        check(vm.images["d0"])
    check_loads(t, vm, saved)
