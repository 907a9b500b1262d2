"""snapshot-save with x-minivmm-parent: only what was written since, page by page what it was when it is loaded."""
import json
import os
import shutil
import subprocess

import ram
import snapshots
from case import BUILD, only_minivmm, table
from moves import goes_on
from qmp import QmpError
from snapshots import check, do, guest, image, listing, run

IMG = os.path.join(BUILD, "minivmm-img")
TRIES = 20
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
            do(other, "load", tag, x_minivmm_eager=not lazy)
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
       stopped={"backend": "anonymous", "x_minivmm_stopped": True},
       dma={"append": "pages=100 rate=2000 every=16 queue=1024", "x_minivmm_stopped": True})
def test_chain(t, x_minivmm_stopped=False, **options):
    """A whole snapshot and three that stand on each other, of a guest that writes memory and disk between them.

    With so long a queue there are pages of the used ring that nobody but the device writes."""
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


def keep(t, vm, *tags):
    """A copy of the image as it is, and a program over it that has no guest at work."""
    vm.cmd("quit")
    vm.wait()
    other = snapshots.again(t, vm, paused=True)
    assert set(tags) <= set(listing(vm.images["d0"]))
    return other


@only_minivmm(REASON)
def test_at_work(t):
    """Saved while the guest writes: memory and disk of each are of one instant, also loaded lazily."""
    vm = one_disk(t, append="pages=1500 rate=20000 every=16", backend="anonymous")
    goes_on(vm)
    do(vm, "save", "base", x_minivmm_track=True)
    tags = ["base"]
    for n in range(3):
        goes_on(vm)
        before = ram.status(vm)
        do(vm, "save", f"s{n}", x_minivmm_parent=tags[-1])
        tags.append(f"s{n}")
    other = keep(t, vm, *tags)
    for tag in tags:
        for lazy in (True, False):
            do(other, "load", tag, x_minivmm_eager=not lazy)
            status = snapshots.check_instant(t, other, tag)
    assert status["generation"] >= before["generation"], (before, status)
    other.cmd("cont")
    goes_on(other)


@only_minivmm(REASON)
@table(log={}, ring={"ring": 65536})
def test_nothing_written(t, ring=None):
    """Of a guest that stands still there is nothing to save, and that is loaded, too."""
    vm = one_disk(t, backend="anonymous", ring=ring)
    goes_on(vm)
    _, memory = stopped_save(vm, "base", x_minivmm_track=True)
    ended, _ = stopped_save(vm, "still", x_minivmm_parent="base")
    assert ended.figures["memory"] == 0, ended.figures
    work(vm, rounds=1)
    vm.cmd("quit")
    vm.wait()
    check_loads(t, vm, {"still": memory})
    merge(vm, "still")
    check_loads(t, vm, {"still": memory})


@only_minivmm(REASON)
def test_zero_again(t):
    """Pages that had content and are zero at the next instant: the guest gave them back (balloon)."""
    pages_at, pages = 8 << 20, 300
    vm = guest(t, {"d0": image(t, "d0")}, append="", name="balloon", started=False, backend="anonymous",
               extra=("-device", "virtio-balloon-device,id=balloon0"))
    vm.serial.expect("ready")
    saved = {}
    _, saved["base"] = stopped_save(vm, "base", x_minivmm_track=True)
    assert any(saved["base"][pages_at:pages_at + pages * ram.PAGE])
    vm.cmd("cont")
    vm.cmd("balloon", value=(24 << 20) - pages * ram.PAGE)
    vm.serial.expect(f"balloon {pages}\n")
    _, saved["one"] = stopped_save(vm, "one", x_minivmm_parent="base")
    assert not any(saved["one"][pages_at:pages_at + pages * ram.PAGE])
    vm.cmd("quit")
    vm.wait()
    for merged in (False, True):
        if merged:
            merge(vm, "one")
        other = snapshots.again(t, vm, paused=True)
        for tag in ("one", "base", "one"):
            for lazy in (True, False):
                do(other, "load", tag, x_minivmm_eager=not lazy)
                ram.assert_equal(saved[tag], ram.read(other), f"snapshot {tag}, lazy {lazy}")
        other.cmd("quit")
        other.wait()


# ---- what else looks at dirty pages ----

def to_file(t, vm):
    vm.cmd("migrate", uri=f"file:{t.path('moved')}")
    assert vm.wait_migration("completed", "failed") == "completed", vm.migration()


def cancelled_move(t, vm):
    vm.cmd("migrate-set-parameters", max_bandwidth=4096)
    vm.cmd("migrate", uri=f"file:{t.path('moved')}")
    vm.wait_migration("active")
    vm.cmd("migrate_cancel")
    vm.wait_migration("cancelled")


def background(t, vm):
    vm.capabilities("events", "background-snapshot")
    to_file(t, vm)


def measured(t, vm):
    del t
    vm.cmd("calc-dirty-rate", calc_time=1, mode="dirty-bitmap")
    while vm.cmd("query-dirty-rate")["status"] != "measured":
        pass


def measuring(t, vm):
    del t
    vm.cmd("calc-dirty-rate", calc_time=60, mode="dirty-bitmap")


def plain(t, vm):
    del t
    do(vm, "save", "plain")


def refused_load(t, vm):
    del t
    assert run(vm, "load", "nope").error


@only_minivmm(REASON)
@table(**{f.__name__: {"between": f} for f in (cancelled_move, background, measured, measuring, plain, refused_load)})
def test_goes_on(t, between):
    """These look at dirty pages, too, or not: between two instants they take nothing away."""
    vm = one_disk(t, backend="anonymous")
    goes_on(vm)
    saved = {}
    _, saved["base"] = stopped_save(vm, "base", x_minivmm_track=True)
    work(vm, rounds=1)
    between(t, vm)
    goes_on(vm)
    _, saved["one"] = stopped_save(vm, "one", x_minivmm_parent="base")
    vm.cmd("cont")
    vm.cmd("quit")
    vm.wait()
    check_loads(t, vm, saved)


# ---- no parent ----

def reset(vm):
    vm.cmd("system_reset")
    vm.qmp.event("RESET")
    return "the guest has been reset"


def load(vm):
    do(vm, "load", "base")
    return "a snapshot has been loaded"


def deleted(vm):
    do(vm, "delete", "base")
    return "it has been deleted"


def said(vm):
    do(vm, "save", "last", x_minivmm_track=False)
    return "it was said not to be noted (x-minivmm-track)"


@only_minivmm(REASON)
@table(**{f.__name__: {"end": f} for f in (reset, load, deleted, said)})
def test_known_no_more(t, end):
    """The reason is told, nothing is saved, and a new one can be a parent again."""
    vm = one_disk(t, backend="anonymous")
    goes_on(vm)
    do(vm, "save", "base", x_minivmm_track=True)
    why = end(vm)
    error = run(vm, "save", "one", x_minivmm_parent="base").error
    assert error == f"what the guest has written since snapshot 'base' is not known any more: {why}; save without " \
                    "x-minivmm-parent", error
    if end is reset:
        vm.serial.expect("counting on")
    goes_on(vm)
    do(vm, "save", "again", x_minivmm_track=True)
    do(vm, "save", "two", x_minivmm_parent="again")


@only_minivmm(REASON)
def test_who_can_be_parent(t):
    vm = guest(t, {"d0": image(t, "d0"), "d1": image(t, "d1")}, backend="anonymous")
    goes_on(vm)
    never = "it is not known what the guest has written since snapshot '{}': only a snapshot that this program has " \
            "saved with x-minivmm-track can be the parent"
    other = "it is not known what the guest has written since snapshot '{}': only '{}' can be the parent"
    assert run(vm, "save", "one", x_minivmm_parent="base").error == never.format("base")
    do(vm, "save", "base")
    assert run(vm, "save", "one", x_minivmm_parent="base").error == never.format("base")
    do(vm, "save", "tracked", x_minivmm_track=True)
    assert run(vm, "save", "one", x_minivmm_parent="base").error == other.format("base", "tracked")
    assert run(vm, "save", "one", vmstate="d1", x_minivmm_parent="tracked").error == \
        "snapshot 'tracked' with the guest's memory is not in the image that the VM state is to go to"
    do(vm, "save", "one", x_minivmm_parent="tracked")
    assert run(vm, "save", "two", x_minivmm_parent="tracked").error == other.format("tracked", "one")
    do(vm, "save", "two", x_minivmm_parent="one")
    assert sorted(listing(vm.images["d0"])) == ["base", "one", "tracked", "two"]


@only_minivmm(REASON)
@table(cancelled={"stopped": False}, stopped={"stopped": True})
def test_in_vain(t, stopped):
    """A save that is cancelled takes nothing away from the next one with the same parent."""
    vm = one_disk(t, append="pages=1500 rate=20000 every=16", backend="anonymous")
    goes_on(vm)
    for n in range(TRIES):
        base = f"base{n}"
        saved = {base: stopped_save(vm, base, x_minivmm_track=True)[1]}
        work(vm)
        vm.cmd("stop")
        at_least = ram.differing_pages(saved[base], ram.read(vm))
        vm.cmd("cont")
        job = snapshots.begin(vm, "save", "vain", x_minivmm_parent=base, x_minivmm_stopped=stopped)
        try:
            vm.cmd("job-cancel", id=job)
        except QmpError as e:
            assert "about to end" in str(e) or "concluded" in str(e), e
        if snapshots.Ended(vm, job).error:
            break
        do(vm, "delete", "vain")        # it was too fast, and is a parent no more
    else:
        raise AssertionError(f"{TRIES} saves were over before the cancel came")
    ended, saved["one"] = stopped_save(vm, "one", x_minivmm_parent=base)
    assert ended.figures["memory"] >= len(at_least) * ram.PAGE
    vm.cmd("quit")
    vm.wait()
    check(vm.images["d0"])
    check_loads(t, vm, saved)


@only_minivmm(REASON)
def test_no_space(t):
    """The image is full: no trace, and what was written is in the next one."""
    small = t.tmpfs(6000)
    path = os.path.join(small, "small.qcow2")
    shutil.move(image(t, "d0"), path)
    vm = guest(t, {"d0": path}, append="pages=300 rate=2000 every=16", backend="anonymous")
    goes_on(vm)
    saved = {}
    _, saved["base"] = stopped_save(vm, "base", x_minivmm_track=True)
    work(vm)
    fill = os.path.join(small, "fill")
    try:
        with open(fill, "wb", buffering=0) as f:
            while True:
                f.write(bytes(4096))
    except OSError:
        pass
    ended = run(vm, "save", "one", x_minivmm_parent="base")
    assert ended.error and "No space left on device" in ended.error, ended.error
    os.remove(fill)
    _, saved["one"] = stopped_save(vm, "one", x_minivmm_parent="base")
    vm.cmd("quit")
    vm.wait()
    check(path)
    assert sorted(listing(path)) == ["base", "one"]
    check_loads(t, vm, saved)


# ---- parents and children ----

def chain_of_three(t):
    vm = one_disk(t, backend="anonymous")
    goes_on(vm)
    do(vm, "save", "base", x_minivmm_track=True)
    do(vm, "save", "one", x_minivmm_parent="base")
    do(vm, "save", "two", x_minivmm_parent="one")
    return vm


NEEDED = "snapshot '{}' is needed by '{}', which has only what was written since: delete that first, or make it whole " \
         "(minivmm-img snapshot --merge)"


@only_minivmm(REASON)
def test_needed(t):
    """A parent is not deleted, by whatever command, and not replaced."""
    vm = chain_of_three(t)

    def hmp(line):
        return vm.cmd("human-monitor-command", **{"command-line": line}).strip()
    for parent, child in (("base", "one"), ("one", "two")):
        needed = NEEDED.format(parent, child)
        assert run(vm, "delete", parent).error == needed
        assert hmp(f"delvm {parent}") == f"Error: {needed}"
        assert hmp(f"savevm {parent}") == f"Error: {needed}"
    assert sorted(listing(vm.images["d0"])) == ["base", "one", "two"]
    vm.cmd("quit")
    vm.wait()
    path = vm.images["d0"]
    assert parents(path) == {"one": "base", "two": "one"}
    rows = [line.split() for line in img("snapshot", "-l", path).splitlines()]
    assert rows[1][-1] == "PARENT" and [row[-1] for row in rows[3:]] == ["base", "one"], rows
    done = subprocess.run([IMG, "snapshot", "-d", "base", path], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done
    assert done.stderr == f"minivmm-img: Could not delete snapshot 'base': {NEEDED.format('base', 'one')}\n", done.stderr
    for tag in ("two", "one", "base"):
        img("snapshot", "-d", tag, path)
    check(path)
    assert listing(path) == {}


@only_minivmm(REASON)
@table(gone={"replace": False}, replaced={"replace": True})
def test_parent_is_missing(t, replace):
    """Another program has deleted it: the snapshot is refused by name, and the guest runs on."""
    vm = chain_of_three(t)
    vm.cmd("quit")
    vm.wait()
    path = vm.images["d0"]
    snapshots.tool("qemu-img", "snapshot", "-d", "one", path)
    vm = snapshots.again(t, vm)
    vm.serial.expect("counting on")
    goes_on(vm)
    if replace:
        do(vm, "save", "one")
    error = run(vm, "load", "two").error
    missing = "which is not there any more" if not replace else "and the one of that name that is here now is another"
    assert error == f"snapshot 'two' has only what was written since 'one', {missing}", error
    goes_on(vm)
    do(vm, "load", "base")
    do(vm, "delete", "two")
    vm.cmd("quit")
    vm.wait()
    check(path)


@only_minivmm(REASON)
def test_out_of_its_image(t):
    """The stream alone is refused where its parent cannot be."""
    raw = t.path("state")
    with open(raw, "wb") as f:
        f.write(b"QEVM\0\0\0\3\7\0\0\0\7microvm")
        f.write(b"\4MVMp\x10x-minivmm-parent\0\0\0\0\0\0\0\1\4base" + bytes(16) + b"\x7eMVMp")
    vm = t.vmm("smp-counter", incoming="defer")
    vm.capabilities("events")
    vm.cmd("migrate-incoming", uri=f"file:{raw}", exit_on_error=False)
    vm.wait_migration("failed")
    assert "the stream has only what was written since snapshot 'base'" in vm.migration()["error-desc"], vm.migration()
