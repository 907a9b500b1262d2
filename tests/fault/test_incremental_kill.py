"""Killed, or out of room, while an incremental snapshot is saved or made whole: what was there before is there."""
import os
import random
import shutil
import signal
import subprocess

import ram
import snapshots
from case import BUILD, only_minivmm
from moves import goes_on
from qmp import Closed, QmpError
from snapshots import check, do, guest, image, listing

IMG = os.path.join(BUILD, "minivmm-img")
ROUNDS = 6
REASON = "QEMU has no incremental snapshots"


def chain(t):
    """A machine that has ended, "one" on "base", and the memory of both."""
    vm = guest(t, {"d0": image(t, "d0")}, append="pages=600 rate=4000 every=16", backend="anonymous")
    saved = {}
    for tag, more in (("base", {"x_minivmm_track": True}), ("one", {"x_minivmm_parent": "base"})):
        goes_on(vm)
        vm.cmd("stop")
        do(vm, "save", tag, **more)
        saved[tag] = ram.read(vm)
        vm.cmd("cont")
    vm.cmd("quit")
    vm.wait()
    return vm, saved


def check_loads(t, vm, path, saved):
    images = {"d0": snapshots.copy(t, path, "loaded")}
    other = snapshots.again(t, vm, images=images, paused=True)
    for tag, memory in saved.items():
        do(other, "load", tag)
        ram.assert_equal(memory, ram.read(other), f"snapshot {tag}")
    t.forget(other)
    other.kill()


@only_minivmm(REASON)
def test_save_killed(t):
    rng = random.Random("incremental")
    vm = guest(t, {"d0": image(t, "d0")}, append="pages=600 rate=4000 every=16", backend="anonymous")
    for n in range(ROUNDS):
        goes_on(vm)
        base = f"base{n}"
        do(vm, "save", base, x_minivmm_track=True)
        goes_on(vm)
        try:
            job = snapshots.begin(vm, "save", "new", x_minivmm_parent=base)
            snapshots.reaches(vm, job, rng.random())
            vm.signal(signal.SIGKILL)
        except (Closed, QmpError):
            pass
        vm.kill()
        path = vm.images["d0"]
        check(path, leaks=True)
        snapshots.tool("qemu-img", "check", "-q", "-r", "leaks", path, status=(0, 3))
        tags = listing(path)
        assert base in tags, tags
        before = vm
        vm = snapshots.again(t, before, "-loadvm", base, paused=True)
        t.forget(before)
        snapshots.check_instant(t, vm, base)
        if "new" in tags:       # it was faster
            do(vm, "load", "new")
            snapshots.check_instant(t, vm, "new")
            do(vm, "delete", "new")
        vm.cmd("cont")


@only_minivmm(REASON)
def test_merge_killed(t):
    """At random places: the chain is what it was, or the snapshot is whole; and it can be done again."""
    rng = random.Random("merge")
    vm, saved = chain(t)
    undone = 0
    for n in range(ROUNDS):
        path = snapshots.copy(t, vm.images["d0"], f"killed{n}")
        with subprocess.Popen([IMG, "snapshot", "--merge", "one", "-p", path], stdout=subprocess.PIPE) as p:
            p.stdout.read(rng.randrange(200))
            p.kill()
        check(path, leaks=True)
        shown = subprocess.run([IMG, "info", "--output=json", path], capture_output=True, text=True, check=True).stdout
        undone += "x-minivmm-parent" in shown
        check_loads(t, vm, path, saved)
        snapshots.tool("qemu-img", "check", "-q", "-r", "leaks", path, status=(0, 3))
        snapshots.tool(IMG, "snapshot", "--merge", "one", path)
        check(path, leaks=True)     # refcounts of clusters behind the file's end are none that qemu-img repairs
        snapshots.tool("qemu-img", "snapshot", "-d", "base", path)
        check_loads(t, vm, path, {"one": saved["one"]})
        os.remove(path)
    assert undone, "none of them was killed before its end"


@only_minivmm(REASON)
def test_merge_without_room(t):
    """It fails in words, the image has what it had, and nothing is leaked; with a little more each time, until it is enough."""
    vm, saved = chain(t)
    size = os.stat(vm.images["d0"]).st_size
    failed = 0
    for room in range(0, 2 * size, size // 6):
        small = t.tmpfs((size + room) // 1024 + 64)
        path = os.path.join(small, "small.qcow2")
        shutil.copyfile(vm.images["d0"], path)
        done = subprocess.run([IMG, "snapshot", "--merge", "one", path], capture_output=True, text=True, check=False)
        check(path)
        check_loads(t, vm, path, saved)
        if done.returncode == 0:
            break
        failed += 1
        assert "No space left on device" in done.stderr and "Could not merge snapshot 'one'" in done.stderr, done.stderr
    assert failed and done.returncode == 0, (failed, done)
