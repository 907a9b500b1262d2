"""The index of pages behind a snapshot's stream: a load that need not read them, an index that is damaged, and the
working set beside the image."""
import glob
import os
import struct
import time

import ram
import snapshots
from case import only_minivmm, table
from moves import goes_on
from qmp import GUARD
from snapshots import check, do, guest, image, run

REASON = "QEMU loads all before the guest runs"
SLOW = 4096             # bytes a second that come by themselves
HEAD, TAIL = b"mvmpages", b"mvmtrail"
TRAILER = 144
WHOLE = "the snapshot is read whole first"
NONE = "the snapshot has no index of its pages"


def saved(t, ballast=6 << 20, **options):
    """A guest with memory that it never touches, its snapshot 'one', and what its memory was at that instant."""
    with open(t.path("ballast"), "wb") as f:
        f.write(os.urandom(ballast))
    vm = guest(t, {"d0": image(t, "d0")}, extra=["-initrd", t.path("ballast")], **options)
    goes_on(vm)
    vm.cmd("stop")
    do(vm, "save", "one")
    was = ram.read(vm)
    return vm, was


def lazy(vm):
    return vm.migration()["x-minivmm-lazy"]


def slowly(vm):
    vm.cmd("migrate-set-parameters", x_minivmm_lazy_rate=SLOW)


def complete(vm):
    vm.cmd("migrate-set-parameters", x_minivmm_lazy_rate=0)
    deadline = time.monotonic() + GUARD
    while (now := vm.migration())["status"] != "completed":
        assert now["status"] == "postcopy-active" and time.monotonic() < deadline, now
    assert "resident-us" in lazy(vm), lazy(vm)


def is_partly_there(vm):
    now = lazy(vm)
    assert "resident-us" not in now and now["remaining"] > now["total"] // 2, now


def ended(vm):
    vm.cmd("quit")
    vm.wait()


def place_of(path, what):
    """Where in the image file these bytes are."""
    with open(path, "rb") as f:
        at = f.read().rfind(what)
    assert at > 0, f"{path} has no {what}"
    return at


def change(path, at, data):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(data)


def entry_of(path):
    """Where in the image its only snapshot's table entry is."""
    with open(path, "rb") as f:
        header = f.read(72)
    number, offset = struct.unpack_from(">IQ", header, 60)
    assert number == 1, number
    return offset


@only_minivmm(REASON)
def test_trailer(t):
    """It is the last of the VM state, and says how long stream and index are."""
    vm, was = saved(t)
    ended(vm)
    path = vm.images["d0"]
    at = place_of(path, TAIL) + len(TAIL) - TRAILER
    with open(path, "rb") as f:
        f.seek(at)
        trailer = f.read(TRAILER)
    version, flags, stream, index, start, end = struct.unpack_from(">IIQQQQ", trailer)
    content, blocks = struct.unpack_from(">QI", trailer, 104)
    assert (version, flags, blocks) == (1, 0, 2), trailer
    assert stream + index + TRAILER == snapshots.listing(path)["one"], (stream, index)
    assert 0 < start < end < stream and 0 < content * 4096 < len(was) + (1 << 20), (start, end, content)
    check(path)


@only_minivmm(REASON)
@table(loadvm={"how": "loadvm"}, job={"how": "job"}, human={"how": "human"})
def test_lazy_by_default(t, how):
    """The guest is here before its memory, which in the end is that of the instant; -global and x-minivmm-eager have it all at once."""
    vm, was = saved(t)
    ended(vm)
    slow = ["-global", f"migration.x-minivmm-lazy-rate={SLOW}"]
    for eager in (False, True):
        more = ["-global", "migration.x-minivmm-lazy-load=false"] if eager and how != "job" else slow
        other = snapshots.again(t, vm, *more, *(["-loadvm", "one"] if how == "loadvm" else []), paused=True)
        if how == "job":
            do(other, "load", "one", wait=False, **({"x_minivmm_eager": True} if eager else {}))
        elif how == "human":
            assert other.cmd("human-monitor-command", command_line="loadvm one") == ""
        if eager:
            assert "x-minivmm-lazy" not in other.migration(), other.migration()
        else:
            is_partly_there(other)
            complete(other)
            assert WHOLE not in other.stderr() and NONE not in other.stderr(), other.stderr()
        ram.assert_equal(was, ram.read(other))
        other.cmd("cont")
        goes_on(other)
        ended(other)
    check(vm.images["d0"])


@only_minivmm(REASON)
def test_times(t):
    """The job's figures: the guest could run, and, in query-jobs too, all of its memory was there."""
    vm, _ = saved(t)
    slowly(vm)
    job = snapshots.begin(vm, "load", "one")
    vm.qmp.any_event(lambda e: e["event"] == "JOB_STATUS_CHANGE" and e["data"] == {"status": "concluded", "id": job},
                     "the load")
    figures = vm.cmd("query-jobs")[-1]["x-minivmm-snapshot"]
    assert figures["resume-us"] > 0 and "resident-us" not in figures, figures
    assert figures["resume-us"] >= figures["pause-us"], figures
    complete(vm)
    later = vm.cmd("query-jobs")[-1]["x-minivmm-snapshot"]
    assert later.pop("resident-us") == lazy(vm)["resident-us"] > figures["resume-us"] and later == figures, later
    vm.cmd("job-dismiss", id=job)
    ended = do(vm, "load", "one", x_minivmm_eager=True)
    assert ended.figures["resident-us"] == ended.figures["resume-us"], ended.figures


@only_minivmm(REASON)
@table(index={"what": HEAD, "off": 40, "data": b"\xaa\x55"}, magic={"what": TAIL, "off": 0, "data": b"nothing!"},
       trailer={"what": TAIL, "off": -100, "data": b"\xaa\x55"}, head={"what": HEAD, "off": 0, "data": b"nothing!"})
def test_damaged(t, what, off, data):
    """An index that is of no use is said so, and the stream is read instead."""
    vm, was = saved(t)
    ended(vm)
    path = vm.images["d0"]
    change(path, place_of(path, what) + off, data)
    other = snapshots.again(t, vm, paused=True)
    slowly(other)
    do(other, "load", "one", wait=False)
    is_partly_there(other)
    complete(other)
    said = other.stderr()
    assert (NONE if what == TAIL and off == 0 else "checksum") in said and "read whole first" in said, said
    ram.assert_equal(was, ram.read(other))
    other.cmd("cont")
    goes_on(other)


@only_minivmm(REASON)
@table(shorter={"bytes_less": TRAILER + 1}, much={"bytes_less": 1 << 20})
def test_cut(t, bytes_less):
    """The VM state is shorter than it was: what has gone is named, or only the index was; and the guest that is here runs on."""
    vm, was = saved(t)
    size = snapshots.listing(vm.images["d0"])["one"]
    ended(vm)
    path = vm.images["d0"]
    change(path, entry_of(path) + 40, struct.pack(">Q", size - bytes_less))
    change(path, entry_of(path) + 32, struct.pack(">I", size - bytes_less))
    other = snapshots.again(t, vm)
    other.serial.expect("counting on")
    goes_on(other)
    done = run(other, "load", "one")
    assert NONE in other.stderr(), other.stderr()
    if done.error:
        assert bytes_less > TRAILER + 1 and "the stream ends at offset" in done.error, done.error
        assert "STOP" not in done.events, done.events
    else:
        other.cmd("stop")
    goes_on(other) if done.error else ram.check_range(other)


@only_minivmm(REASON)
@table(memory={"options": {"memory": "32M"}, "extra": [], "words": "RAM block 'microvm.ram' has 0x1800000 bytes at the source"},
       device={"options": {}, "extra": ["-device", "virtio-rng-device"], "words": "differ"})
def test_other_machine(t, options, extra, words):
    """Checked without a look at the pages, before the guest that runs here is touched."""
    vm, _ = saved(t, memory="24M")
    ended(vm)
    other = snapshots.again(t, vm, *extra, **options)
    other.serial.expect("counting on")
    goes_on(other)
    done = run(other, "load", "one")
    assert words in (done.error or "") and "STOP" not in done.events, (done.error, done.events)
    goes_on(other)
    check(vm.images["d0"])


@only_minivmm(REASON)
def test_looked_at(t):
    """What looks at memory that is still to come has it brought: a dump is of the instant, and a dirty rate of nothing is 0."""
    vm, was = saved(t)
    slowly(vm)
    do(vm, "load", "one", wait=False)
    vm.cmd("calc-dirty-rate", calc_time=1)
    deadline = time.monotonic() + GUARD
    while (rate := vm.cmd("query-dirty-rate"))["status"] != "measured":
        assert time.monotonic() < deadline, rate
    assert rate["dirty-rate"] == 0, rate
    is_partly_there(vm)
    path = t.path("dump")
    vm.cmd("pmemsave", val=0, size=len(was), filename=path)
    with open(path, "rb") as f:
        ram.assert_equal(was[1 << 20:], f.read()[1 << 20:])     # firmware is below


@only_minivmm(REASON)
def test_other_kinds(t):
    """Memory that cannot wait is loaded before the guest runs, and said so."""
    vm, was = saved(t)
    ended(vm)
    other = snapshots.again(t, vm, paused=True, backend="private")
    do(other, "load", "one")
    assert "read whole first" in other.stderr() and "a private copy of a file" in other.stderr(), other.stderr()
    ram.assert_equal(was, ram.read(other))


def notes(vm):
    return glob.glob(vm.images["d0"] + ".*.working-set")


@only_minivmm(REASON)
def test_working_set(t):
    """What was touched first is kept beside the image and comes first the next time, until the snapshot is deleted."""
    vm, _ = saved(t)
    vm.cmd("cont")
    for harm in (None, None, "damaged"):
        if harm:
            change(notes(vm)[0], 60, b"\xff\xff")
        there = len(notes(vm))
        slowly(vm)
        do(vm, "load", "one", wait=False)
        before = [line["gen"] for line in vm.report()]
        while not all(line["gen"] > b for line, b in zip(vm.report(), before)):
            pass
        complete(vm)
        assert (lazy(vm)["working-set"] > 0) == (bool(there) and not harm), (lazy(vm), notes(vm))
        assert ("is ignored: its checksum" in vm.stderr()) == bool(harm), vm.stderr()
        assert len(notes(vm)) == 1, notes(vm)
    do(vm, "save", "two")           # another snapshot has another one
    do(vm, "load", "two")
    assert lazy(vm)["working-set"] == 0, lazy(vm)
    do(vm, "delete", "one")
    left = notes(vm)
    do(vm, "delete", "two")
    assert len(left) <= 1 and not notes(vm), (left, notes(vm))
