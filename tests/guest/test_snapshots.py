"""snapshot-save, snapshot-load, snapshot-delete: disks and memory of one instant, in the disks' own images."""
import json
import os
import re
import shutil
import time

import ram
import snapshots
import stall
from case import only_minivmm, table
from moves import goes_on
from qmp import GUARD, QmpError
from snapshots import check, do, guest, image, listing, run
from vmm import ROOT

SAVED = {   # by x-minivmm-stopped
    True: ["created", "running", "STOP", "migration-setup", "MIGRATION_PASS", "migration-completed", "RESUME", "waiting",
           "pending", "concluded"],
    False: ["created", "running", "migration-setup", "migration-active", "STOP", "RESUME", "migration-completed", "waiting",
            "pending", "concluded"]}
LOADED = ["created", "running", "STOP", "RESUME", "waiting", "pending", "concluded"]
TRIES = 20
REFUSED = ["created", "running", "aborting", "concluded"]


def two_disks(t, **options):
    return guest(t, {"d0": image(t, "d0"), "d1": image(t, "d1", 128, "-o", "cluster_size=4k")}, **options)


def look(t, vm, tag):
    """The guest of a snapshot, loaded into a machine that does not run; it goes on after that."""
    vm.cmd("stop")
    do(vm, "load", tag)
    status = snapshots.check_instant(t, vm, tag)
    vm.cmd("cont")
    goes_on(vm)
    return status


@table(runs_on={"more": {}}, stopped={"more": {"x_minivmm_stopped": True}})
def test_there_and_back(t, more):
    """Saved at work, changed, loaded: memory and disk are of the instant, and go on from it."""
    more = {} if t.kind == "qemu" else more
    vm = two_disks(t)
    goes_on(vm, rounds=2)
    before = ram.status(vm)
    do(vm, "save", "one", **more)
    goes_on(vm, rounds=3)
    after = ram.status(vm)
    do(vm, "save", "two", **more)
    goes_on(vm, rounds=2)
    one = look(t, vm, "one")
    assert before["generation"] <= one["generation"] <= after["generation"], (before, one, after)
    two = look(t, vm, "two")
    assert two["generation"] >= after["generation"] and two["disk"] > one["disk"], (one, after, two)
    vm.cmd("quit")
    vm.wait()
    for path in vm.images.values():
        check(path)
        assert sorted(listing(path)) == ["one", "two"], listing(path)
    sizes = [listing(path)["one"] for path in vm.images.values()]
    assert sizes[0] > 0 and sizes[1] == 0, sizes


@table(own={"variant": "own"}, split={"variant": "split"}, stock={"variant": "stock"})
def test_into_another_program(t, variant):
    """-loadvm, and snapshot-load into a program that has just been started."""
    vm = two_disks(t, variant=variant)
    goes_on(vm, rounds=2)
    do(vm, "save", "one")
    vm.cmd("quit")
    vm.wait()
    for loadvm in (True, False):
        images = {node: snapshots.copy(t, path, f"{node}-{loadvm}") for node, path in vm.images.items()}
        other = snapshots.again(t, vm, *(["-loadvm", "one"] if loadvm else []), images=images, paused=True)
        if not loadvm:
            do(other, "load", "one")
        assert other.status() == "prelaunch", other.status()
        snapshots.check_instant(t, other, "one")
        other.cmd("cont")
        goes_on(other)


@only_minivmm("QEMU's -loadvm starts the guest with other words")
def test_loadvm_runs(t):
    """Without -S the guest runs at once."""
    vm = two_disks(t)
    do(vm, "save", "one")
    vm.cmd("quit")
    vm.wait()
    other = snapshots.again(t, vm, "-loadvm", "one")
    assert other.status() == "running"
    snapshots.resident(other)
    goes_on(other)


@only_minivmm("QEMU says other words")
@table(unknown={"tag": "nope", "words": "-loadvm nope: Snapshot 'nope' does not exist in one or more devices"},
       half={"tag": "half", "words": "-loadvm half: Snapshot 'half' does not exist in one or more devices ('d1' lacks it)"},
       disks={"tag": "disks", "words": "-loadvm disks: This is a disk-only snapshot"})
def test_loadvm_fails(t, tag, words):
    """Exit status 1, and the reason on stderr."""
    vm = two_disks(t)
    do(vm, "save", "half", devices=["d0"])
    vm.cmd("quit")
    vm.wait()
    for path in vm.images.values():
        snapshots.tool("qemu-img", "snapshot", "-c", "disks", path)
    before = [snapshots.content(t, path) for path in vm.images.values()]
    argv = [w for w in vm.argv if not w.startswith("chardev=mon") and w not in ("-mon",)]
    del argv[argv.index("-chardev"):]
    more = [word for node, path in vm.images.items() for word in snapshots.disk(node, path)]
    import subprocess
    done = subprocess.run([*argv, *more, "-loadvm", tag], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and words in done.stderr, (done.returncode, done.stderr)
    assert before == [snapshots.content(t, path) for path in vm.images.values()]


@only_minivmm("QEMU's passes and statuses are other ones")
@table(runs_on={"stopped": False}, stopped={"stopped": True})
def test_events(t, stopped):
    """What a client is told, in this order, of a guest that runs and of one that does not."""
    vm = two_disks(t)
    saved = SAVED[stopped]
    assert do(vm, "save", "one", x_minivmm_stopped=stopped).events == saved
    assert do(vm, "load", "one").events == LOADED
    assert do(vm, "delete", "one").events == ["created", "running", "waiting", "pending", "concluded"]
    vm.cmd("stop")
    assert do(vm, "save", "two", x_minivmm_stopped=stopped).events == [e for e in saved if e not in ("STOP", "RESUME")]
    assert do(vm, "load", "two").events == [e for e in LOADED if e not in ("STOP", "RESUME")]
    assert vm.status() == "paused"
    assert run(vm, "save", "two").events == REFUSED
    vm.cmd("cont")
    goes_on(vm)


CASES = dict(
    exists=dict(what="save", tag="old", words="Snapshot 'old' already exists in one or more devices"),
    no_device=dict(what="save", tag="new", devices=["d0", "d9"], words="No block device node 'd9'"),
    none=dict(what="save", tag="new", devices=[], words="At least one device is required for snapshot"),
    no_vmstate=dict(what="save", tag="new", vmstate="d9", words="vmstate block device 'd9' does not exist"),
    not_among=dict(what="save", tag="new", devices=["d1"], words="vmstate block device 'd0' "),
    raw=dict(what="save", tag="new", devices=["d0", "d1", "raw"],
             words="Device 'raw' is writable but does not support snapshots"),
    readonly=dict(what="save", tag="new", devices=["d0", "d1", "ro"], words="Device 'ro' is "),
    complete=dict(what="save", tag="new", devices=["d0"], more={"x-minivmm-complete": True},
                  words="'d1', 'raw', which 'devices' leaves out"),
    load_unknown=dict(what="load", tag="new", words="Snapshot 'new' does not exist in one or more devices"),
    load_half=dict(what="load", tag="half", words="Snapshot 'half' does not exist in one or more devices"),
    load_disks=dict(what="load", tag="old", vmstate="d1", words="This is a disk-only snapshot"),
)


@only_minivmm("QEMU stops the guest for some of them, and says other words")
@table(**CASES)
def test_refused(t, what, tag, words, devices=None, vmstate=None, more=None):
    """Before anything is touched: the guest has not been stopped, the images are as they were."""
    raw, ro = t.disk(), image(t, "ro")
    extra = ["-blockdev", f"driver=raw,node-name=raw,file.driver=file,file.filename={raw}",
             "-device", "virtio-blk-device,drive=raw", *snapshots.disk("ro", ro, "read-only=on")]
    vm = two_disks(t, extra=extra)
    do(vm, "save", "old")
    do(vm, "save", "half", devices=["d0"])
    ended = run(vm, what, tag, devices=devices, vmstate=vmstate, **(more or {}))
    assert ended.error and words in ended.error, ended.error
    assert ended.events == REFUSED, ended.events
    assert vm.status() == "running"
    goes_on(vm)
    vm.cmd("quit")
    vm.wait()
    assert sorted(listing(vm.images["d0"])) == ["half", "old"]
    assert sorted(listing(vm.images["d1"])) == ["old"]
    for path in vm.images.values():
        check(path)


@only_minivmm("QEMU says nothing of it")
def test_left_out(t):
    """A disk that the guest can write to is left out: it is made all the same, and the log names it."""
    vm = two_disks(t)
    do(vm, "save", "one", devices=["d0"])
    assert "snapshot 'one' is made without 'd1', to which the guest can write" in vm.stderr(), vm.stderr()


@only_minivmm("QEMU 7.2 dies, 11.1 refuses")
def test_every_capability(t):
    """What is switched on for moves plays no part."""
    vm = two_disks(t)
    for c in vm.cmd("query-migrate-capabilities"):
        try:
            vm.cmd("migrate-set-capabilities", capabilities=[{"capability": c["capability"], "state": True}])
        except QmpError:
            pass        # not with what is on already, or not here
    do(vm, "save", "one")
    goes_on(vm)
    look(t, vm, "one")


def caught(vm, command, tag):
    """The job of a save that 'command' has reached in time, and if it is a pause one that is at work; else None."""
    job = snapshots.begin(vm, "save", tag)
    try:
        vm.cmd(command, id=job)
    except QmpError as e:
        assert "about to end" in str(e) or "concluded" in str(e), e
        assert snapshots.Ended(vm, job).error is None
        return None
    if command == "job-cancel":
        return job
    vm.qmp.any_event(lambda e: e["event"] == "JOB_STATUS_CHANGE" and e["data"]["status"] in ("paused", "concluded"),
                     "paused")
    info, = [j for j in vm.cmd("query-jobs") if j["id"] == job]
    if info["status"] == "paused" and info["total-progress"] > info["current-progress"]:
        return job
    if info["status"] == "paused":
        vm.cmd("job-resume", id=job)
        snapshots.Ended(vm, job)
    else:
        vm.cmd("job-dismiss", id=job)
    return None


def catch_save(vm, command):
    for n in range(TRIES):
        job = caught(vm, command, f"one{n}")
        if job:
            return job, f"one{n}"
    raise AssertionError(f"in {TRIES} saves {command} always came too late")


@only_minivmm("QEMU does not unlock it meanwhile")
def test_commands_while_it_is_saved(t):
    """A paused job holds the guest: no migration, no other snapshot."""
    vm = two_disks(t, append="pages=1500 rate=20000")
    goes_on(vm)
    job, _ = catch_save(vm, "job-pause")
    assert "There's a migration process in progress" in vm.qmp.fails("migrate", uri=f"file:{t.path('x')}")
    other = run(vm, "save", "two")
    assert "another snapshot is being saved" in other.error, other.error
    vm.cmd("job-resume", id=job)
    assert snapshots.Ended(vm, job).error is None
    goes_on(vm)


@only_minivmm("QEMU's job ends within the command")
def test_cancel(t):
    """Nothing of it is left, and the guest runs."""
    vm = two_disks(t, append="pages=1500 rate=20000")
    goes_on(vm)
    job, tag = catch_save(vm, "job-cancel")
    ended = snapshots.Ended(vm, job)
    assert ended.error == "Operation canceled", ended.error
    vm.cmd("quit")
    vm.wait()
    for path in vm.images.values():
        check(path)
        assert tag not in listing(path), listing(path)


@only_minivmm("QEMU leaves the guest stopped and the disks reverted")
@table(memory={"change": {"memory": "32M"}, "words": "RAM block 'microvm.ram'"},
       cpus={"change": {"cpus": 2}, "words": "vCPUs: 1"},
       device={"change": {"rng": True}, "words": "this machine has no such device"})
def test_other_machine(t, change, words):
    """It is not loaded, and the guest that runs there runs on, with its disks."""
    vm = two_disks(t)
    do(vm, "save", "one")
    goes_on(vm)
    vm.cmd("quit")
    vm.wait()
    other = snapshots.again(t, vm, **change)
    other.serial.expect("counting on")
    goes_on(other)
    ended = run(other, "load", "one")
    assert ended.error and words in ended.error, ended.error
    assert ended.events == REFUSED, ended.events
    goes_on(other)
    before = ram.status(other)["disk"]
    other.cmd("stop")
    status = ram.status(other)
    assert status["disk"] >= before and status["disk_errors"] == 0, status


def fill(directory):
    """Nothing more fits into its file system."""
    try:
        with open(os.path.join(directory, "fill"), "wb", buffering=0) as f:
            while True:
                f.write(bytes(4096))
    except OSError:
        pass


def on_small_disk(t, node, kilobytes, append, **options):
    """A guest of which one image is on a file system of that size; and the folder of that one."""
    small = t.tmpfs(kilobytes)
    images = {n: image(t, n, 64) for n in ("d0", "d1")}
    images[node] = shutil.move(images[node], os.path.join(small, "small.qcow2"))
    if options.pop("stalls", False):
        disk = options["disk"] = stall.Disk(t, images[node])
        options["prefix"] = disk.prefix()
    disk = options.pop("disk", None)
    vm = guest(t, images, append=append, **options)
    goes_on(vm)
    return vm, small, disk


def no_trace(vm):
    goes_on(vm)
    vm.cmd("quit")
    vm.wait()
    for path in vm.images.values():
        check(path)
        assert listing(path) == {}


@only_minivmm("QEMU removes nothing")
@table(vmstate={"node": "d0"}, other={"node": "d1"})
def test_no_space(t, node):
    """The image with the VM state, or the one that follows, is on a disk that turns out to be full: no trace in either, the guest
    runs."""
    vm, small, disk = on_small_disk(t, node, 8000 if node == "d0" else 520, "pages=1000 rate=2000 every=16", stalls=node == "d0")
    if disk:                # when all was checked
        disk.stall("io")
        job = snapshots.begin(vm, "save", "one")
        while any(j["id"] == job and not j["total-progress"] for j in vm.cmd("query-jobs")):
            pass
        fill(small)
        disk.release()
    else:                   # only what the snapshot's own tables need is missing
        fill(small)
        job = snapshots.begin(vm, "save", "one")
    ended = snapshots.Ended(vm, job)
    assert ended.error and "No space left on device" in ended.error, ended.error
    assert [e for e in ended.events if not e.startswith("migration-")][-3:] == ["RESUME", "aborting", "concluded"], ended.events
    no_trace(vm)


def disk_works(vm):
    """The guest has been served requests from now on; how many errors it has seen until then."""
    before = ram.status(vm)
    deadline = time.monotonic() + GUARD
    while (now := ram.status(vm))["disk"] < before["disk"] + 3:
        assert time.monotonic() < deadline, now
    return now["disk_errors"]


@only_minivmm("QEMU's guest stands still")
def test_guest_writes_without_space(t):
    """While a save goes on the guest's writes go to new clusters: without space for one the guest is told, and monitors are. Afterwards
    it writes where it did before."""
    small = t.tmpfs(600)
    whole = image(t, "d0", 64, "-o", "preallocation=full")      # what is there is written in place
    images = {"d0": shutil.move(whole, os.path.join(small, "small.qcow2")), "d1": image(t, "d1", 64)}
    disk = stall.Disk(t, images["d1"])
    vm = guest(t, images, append="pages=1000 rate=2000 every=16", backend="tmpfs", prefix=disk.prefix())
    goes_on(vm)
    fill(small)
    assert disk_works(vm) == 0
    disk.stall("io")
    job = snapshots.begin(vm, "save", "one", vmstate="d1")
    if vm.qmp.any_event(lambda e: e["event"] in ("RESUME", "STOP"), "the instant")["event"] == "STOP":
        vm.qmp.event("RESUME")
    told = vm.qmp.event("BLOCK_IO_ERROR", operation="write", action="report")["data"]
    assert told["nospace"], told
    disk.release()
    ended = snapshots.Ended(vm, job)
    assert ended.error and "No space left on device" in ended.error, ended.error
    errors = disk_works(vm)
    assert errors > 0 and disk_works(vm) == errors
    vm.cmd("quit")
    vm.wait()
    for path in images.values():
        check(path)


@only_minivmm("QEMU fails when the disk is full")
def test_too_small_disk(t):
    """What cannot fit is refused before anything is touched, with both numbers; memory of zeroes always fits."""
    vm, small, _ = on_small_disk(t, "d0", 1500, "pages=1000 rate=2000 every=16")
    st = os.statvfs(small)
    ended = run(vm, "save", "one")
    assert ended.events == REFUSED, ended.events
    needed, there, free = [int(word) for word in re.findall(r"(\d+)[ )]", ended.error.split("at least")[1])][:3]
    assert needed >= 1000 * 4096 > there >= free, ended.error
    assert free <= st.f_bfree * st.f_frsize, (ended.error, st)
    no_trace(vm)


@only_minivmm("QEMU fails when the disk is full")
def test_small_disk_and_memory_of_zeroes(t):
    """All of memory is populated, and little of it is anything but zero."""
    ram_file = os.path.join(t.tmpfs(32 << 10), "ram")
    with open(ram_file, "wb") as f:
        f.write(bytes(24 << 20))
    vm, _, _ = on_small_disk(t, "d0", 3000, "pages=100 rate=2000 every=16", ram=ram_file)
    do(vm, "save", "one")


def test_delete(t):
    vm = two_disks(t)
    for tag in ("one", "two"):
        do(vm, "save", tag)
    do(vm, "delete", "one")
    do(vm, "delete", "never was")
    look(t, vm, "two")
    do(vm, "delete", "two")
    goes_on(vm)
    vm.cmd("quit")
    vm.wait()
    for path in vm.images.values():
        check(path)
        assert listing(path) == {}


def test_many(t):
    """Saved ten times at work; each is loaded and is what it was."""
    vm = two_disks(t)
    low = []
    for n in range(10):
        goes_on(vm)
        low.append(ram.status(vm)["generation"])
        do(vm, "save", f"s{n}")
    for n in (3, 9, 0, 7, 5):
        status = look(t, vm, f"s{n}")
        assert status["generation"] >= low[n], (n, status, low)
        assert n == 9 or status["generation"] <= low[n + 1], (n, status, low)


@only_minivmm("QEMU's table has more columns from 10.0 on")
def test_human_monitor(t):
    """savevm, info snapshots, loadvm, delvm: all writable disks; savevm replaces one of that name."""
    def hmp(line):
        return vm.cmd("human-monitor-command", **{"command-line": line})

    vm = two_disks(t)
    goes_on(vm)
    assert hmp("info snapshots") == "List of snapshots present on all disks:\r\nNone\r\n", hmp("info snapshots")
    assert hmp("savevm one") == ""
    goes_on(vm, rounds=2)
    before = ram.status(vm)
    assert hmp("savevm one") == ""
    do(vm, "save", "half", devices=["d1"], vmstate="d1")
    lines = hmp("info snapshots").split("\r\n")
    assert lines[1].split() == ["ID", "TAG", "VM", "SIZE", "DATE", "VM", "CLOCK", "ICOUNT"], lines
    assert lines[2].split()[:2] == ["--", "one"] and lines[3] == "", lines
    assert lines[4] == "List of partial (non-loadable) snapshots on 'd1':" and lines[6].split()[1] == "half", lines
    assert hmp("loadvm nope") == "Error: Snapshot 'nope' does not exist in one or more devices ('d0' lacks it)\r\n"
    assert hmp("loadvm one") == ""
    snapshots.resident(vm)
    vm.cmd("stop")
    assert ram.check_range(vm)["generation"] >= before["generation"]
    vm.cmd("cont")
    assert hmp("delvm one") == ""
    assert hmp("delvm never") == ""
    goes_on(vm)
    vm.cmd("quit")
    vm.wait()
    assert listing(vm.images["d0"]) == {} and list(listing(vm.images["d1"])) == ["half"]
    for path in vm.images.values():
        check(path)


# ---- loaded lazily ----

SLOW = 4096     # bytes a second that come by themselves


def lazy(vm):
    return vm.migration()["x-minivmm-lazy"]


def saved_still(t):
    """A guest with memory that it never touches, its snapshot 'one', and what its memory was at that instant."""
    with open(t.path("ballast"), "wb") as f:
        f.write(os.urandom(6 << 20))
    vm = two_disks(t, extra=["-initrd", t.path("ballast")])
    goes_on(vm)
    vm.cmd("stop")
    do(vm, "save", "one")
    was = ram.read(vm)
    vm.cmd("cont")
    goes_on(vm, rounds=2)
    return vm, was


def load_slowly(vm, tag="one"):
    """It is here, and most of its memory is still in the snapshot."""
    vm.cmd("migrate-set-parameters", x_minivmm_lazy_rate=SLOW)
    events = do(vm, "load", tag, wait=False).events
    now = lazy(vm)
    assert "resident-us" not in now and now["remaining"] > now["total"] // 2, now
    assert vm.migration()["status"] == "postcopy-active", vm.migration()
    return events


def runs_on(vm):
    """A round further, by the guest's own word, which also finds no page wrong."""
    before = [line["gen"] for line in vm.report()]
    deadline = time.monotonic() + GUARD
    now = vm.report()
    while not all(line["gen"] > b for line, b in zip(now, before)):
        assert time.monotonic() < deadline, (before, now, vm.migration())
        now = vm.report()
    assert all(line["errors"] == 0 for line in now), now


def complete(vm):
    vm.cmd("migrate-set-parameters", x_minivmm_lazy_rate=0)
    snapshots.resident(vm)
    deadline = time.monotonic() + GUARD
    while vm.migration()["status"] != "completed":      # told when the session has ended, just behind
        assert time.monotonic() < deadline, vm.migration()
    now = lazy(vm)
    assert now["remaining"] == 0 and now["resident-us"] >= now["resume-us"] > 0, now


def sizes(vm):
    """Of the disks, as the monitor knows them."""
    return {n["node-name"]: n["image"]["virtual-size"] for n in vm.cmd("query-named-block-nodes") if n["node-name"] in vm.images}


@only_minivmm("QEMU resizes the image and not the guest's disk")
@table(lazy={"more": {}}, eager={"more": {"x_minivmm_eager": True}})
def test_resized_since(t, more):
    """A disk has the size of the snapshot again, larger or smaller, also where the load is refused after that was looked at."""
    vm = two_disks(t)
    goes_on(vm)
    was = sizes(vm)
    do(vm, "save", "one")
    for d0, d1 in ((128, 64), (256, 512)):
        now = {"d0": d0 << 10, "d1": d1 << 10}
        for node, size in now.items():
            vm.cmd("block_resize", node_name=node, size=size)
        vm.cmd("stop")
        assert "none" in run(vm, "load", "none").error
        assert sizes(vm) == now
        do(vm, "load", "one", **more)
        snapshots.check_instant(t, vm, "one")
        assert sizes(vm) == was
        vm.cmd("cont")
        goes_on(vm)
    vm.cmd("quit")
    vm.wait()
    for path in vm.images.values():
        check(path)


def end(vm, tags):
    vm.cmd("quit")
    vm.wait()
    for path in vm.images.values():
        check(path)
        assert sorted(listing(path)) == tags, listing(path)


@only_minivmm("QEMU loads all before the guest runs")
def test_lazily(t):
    """A guest that does not run: in the end its memory is that of the instant, whether it was touched or not."""
    vm, was = saved_still(t)
    vm.cmd("stop")
    load_slowly(vm)
    assert "busy" in vm.qmp.fails("block_resize", node_name="d0", size=1 << 20)
    complete(vm)
    ram.assert_equal(was, ram.read(vm))
    vm.cmd("block_resize", node_name="d1", size=256 << 10)
    vm.cmd("cont")
    goes_on(vm)
    end(vm, ["one"])


@only_minivmm("QEMU loads all before the guest runs")
def test_lazily_at_work(t):
    """It runs on while its memory comes and it writes to the disk from which that comes; then again, and at once."""
    vm, _ = saved_still(t)
    for _ in range(2):
        assert load_slowly(vm) == LOADED
        runs_on(vm)
        assert lazy(vm)["faults"] > 0
        complete(vm)
        goes_on(vm)
    vm.cmd("migrate-set-parameters", x_minivmm_lazy_load=False)
    do(vm, "load", "one")
    assert "x-minivmm-lazy" not in vm.migration(), vm.migration()
    vm.cmd("migrate-set-parameters", x_minivmm_lazy_load=True)
    do(vm, "load", "one", x_minivmm_eager=True)
    assert "x-minivmm-lazy" not in vm.migration(), vm.migration()
    look(t, vm, "one")
    end(vm, ["one"])


@only_minivmm("QEMU loads all before the guest runs")
@table(save={"what": "save", "tag": "two", "tags": ["one", "two"]}, delete={"what": "delete", "tag": "one", "tags": []},
       load={"what": "load", "tag": "one", "tags": ["one"]})
def test_while_pages_come(t, what, tag, tags):
    """The next job waits for them: nothing is saved that is not there, and the snapshot they come from stays so long."""
    vm, was = saved_still(t)
    vm.cmd("stop")
    load_slowly(vm)
    do(vm, what, tag, wait=False)
    if what == "save":
        load_slowly(vm, tag)
    complete(vm)
    ram.assert_equal(was, ram.read(vm))
    vm.cmd("cont")
    goes_on(vm)
    end(vm, tags)


@only_minivmm("QEMU loads all before the guest runs")
def test_quit_while_pages_come(t):
    vm, _ = saved_still(t)
    load_slowly(vm)
    end(vm, ["one"])


@only_minivmm("QEMU loads all before the guest runs")
def test_moves_on_while_pages_come(t):
    """What has not come is not "never touched": a file has all of it."""
    vm, was = saved_still(t)
    vm.cmd("stop")
    load_slowly(vm)
    path = t.path("saved")
    vm.cmd("migrate", uri=f"file:{path}")
    assert vm.wait_migration("completed", "failed") == "completed", vm.migration()
    vm.cmd("quit")
    vm.wait()
    other = snapshots.again(t, vm, "-incoming", "defer", paused=True)
    other.cmd("migrate-incoming", uri=f"file:{path}")
    assert other.wait_migration("completed", "failed") == "completed", other.migration()
    ram.assert_equal(was, ram.read(other))
    other.cmd("cont")
    goes_on(other)


@only_minivmm("the script tells what this program's jobs say")
def test_followed_by_script(t):
    """scripts/qmp --wait follows a snapshot's job, tells its end, and dismisses it."""
    path = t.path("monitor")
    vm = guest(t, {"d0": image(t, "d0")}, extra=("-qmp", f"unix:{path},server=on,wait=off"))

    def script(command, *words, status=0):
        return snapshots.tool(os.path.join(ROOT, "scripts", "qmp"), "--wait", path, f"snapshot-{command}", *words, 'devices=["d0"]',
                              status=(status,)).splitlines()[-1]

    assert script("save", "tag=one", "vmstate=d0").startswith("completed: "), vm.stderr()
    assert script("load", "tag=one", "vmstate=d0").startswith("completed: "), vm.stderr()
    assert script("load", "tag=two", "vmstate=d0", status=1).startswith("failed: Snapshot 'two' does not exist"), vm.stderr()
    assert script("delete", "tag=one") == "completed"
    assert vm.cmd("query-jobs") == []
    goes_on(vm)


@only_minivmm("QEMU loads no snapshot of an image that has a bitmap")
def test_with_bitmap(t):
    """An image with a dirty bitmap has snapshots that can be loaded; the bitmap is in order afterwards."""
    vm_image = image(t, "d0")
    snapshots.tool("qemu-img", "bitmap", "--add", vm_image, "backup")
    vm = guest(t, {"d0": vm_image})
    do(vm, "save", "one")
    goes_on(vm)
    look(t, vm, "one")
    vm.cmd("quit")
    vm.wait()
    check(vm_image)
    info = json.loads(snapshots.tool("qemu-img", "info", "--output=json", vm_image))
    bitmap, = info["format-specific"]["data"]["bitmaps"]
    assert bitmap["name"] == "backup" and bitmap["flags"] == ["auto"], bitmap


def test_info_as_qemu_tells(t):
    """info snapshots beside QEMU's: the same lines for the same images, with and without memory, on all disks and on some."""
    t.need("qemu")
    images = {n: image(t, n) for n in ("d0", "d1")}
    vm = t.vmm("idle", paused=True, kind="qemu", extra=[w for n, p in images.items() for w in snapshots.disk(n, p)])
    vm.images = images
    do(vm, "save", "whole")
    vm.cmd("quit")
    vm.wait()
    for tag, nodes in (("disks", images), ("first", ("d0",)), ("second", ("d1",)), ("n" * 40, ("d1",))):
        for n in nodes:
            snapshots.tool("qemu-img", "snapshot", "-c", tag, images[n])
    told = []
    for kind in ("minivmm", "qemu"):
        vm = t.vmm("idle", paused=True, kind=kind, extra=[w for n, p in images.items() for w in (
            "-drive", f"file={p},if=none,id={n},format=qcow2", "-device", f"virtio-blk-device,drive={n}")])
        told.append(vm.cmd("human-monitor-command", **{"command-line": "info snapshots"}))
        assert "whole" in told[-1] and "partial" in told[-1], told
        vm.cmd("quit")
        vm.wait()
    assert told[0] == told[1], told
