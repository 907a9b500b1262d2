"""Lazy loading: a guest saved with mapped-ram runs at once, and its pages come from the file as it touches them."""
import os
import signal
import time

import ram
from case import only_minivmm, table
from huge import huge_pages
from moves import Way, arrived, destination, goes_on, machine
from qmp import GUARD, QmpError
from threads import end_thread, thread_named

REASON = "QEMU 7.2 has no mapped-ram"
GUEST = {"guest": "smp-counter", "append": "pages=300 rate=3000", "cpus": 2, "backend": "anonymous"}
SLOW = 4096     # bytes a second that come by themselves


def save(t, source, name="saved"):
    path = t.path(name)
    source.capabilities("mapped-ram")
    source.cmd("migrate", uri=f"file:{path}")
    assert source.wait_migration("completed", "failed") == "completed", source.migration()
    return path


def ballast(t):
    """Most of the guest's memory: it never touches this, and so it comes by itself."""
    with open(t.path("ballast"), "wb") as f:
        f.write(os.urandom(6 << 20))
    return "-initrd", t.path("ballast")


def saved(t, **options):
    """A guest that has been saved, its file, its memory."""
    source = machine(t, **{**GUEST, "extra": ballast(t), **options})
    goes_on(source, source.options["cpus"])
    path = save(t, source)
    return source, path, ram.read(source)


def load(t, source, path, rate=SLOW, paused=False, capabilities=(), **options):
    """Loaded lazily: the guest is here, its memory is still in the file."""
    params = options.pop("params", {})
    dest = destination(t, source, None, ("mapped-ram", *capabilities), paused=paused, **options)
    dest.cmd("migrate-set-parameters", x_minivmm_lazy_rate=rate, **params)
    dest.cmd("migrate-incoming", uri=f"file:{path}")
    status = dest.wait_migration("postcopy-active", "completed", "failed")
    assert status == "postcopy-active", (status, dest.migration(), dest.stderr())
    return dest


def lazy(vm):
    return vm.migration()["x-minivmm-lazy"]


def is_partly_there(vm):
    """Most of the memory is still to come."""
    now = lazy(vm)
    assert "resident-us" not in now and now["remaining"] > now["total"] // 2, now


def runs_on(vm, rounds=1):
    """Every processor goes so many rounds further, and finds no page wrong: by its own word, for what is
    not there yet cannot be read from outside."""
    before = [line["gen"] for line in vm.report()]
    deadline = time.monotonic() + GUARD
    while True:
        now = vm.report()
        assert all(line["errors"] == 0 for line in now), now
        if all(line["gen"] >= b + rounds for line, b in zip(now, before)):
            return now
        assert time.monotonic() < deadline, (before, now, vm.migration())


def complete(vm):
    vm.cmd("migrate-set-parameters", x_minivmm_lazy_rate=0)
    status = vm.wait_migration("completed", "postcopy-paused")
    assert status == "completed", vm.migration()
    now = lazy(vm)
    assert now["remaining"] == 0 and now["resident-us"] >= now["resume-us"] > 0, now


@only_minivmm(REASON)
@table(anonymous={}, memfd={"backend": "memfd"}, tmpfs={"backend": "tmpfs"}, multifd={"capabilities": ("multifd",)},
       direct={"params": {"direct_io": True}}, ring={"ring": 1024})
def test_runs_at_once(t, **how):
    """The guest goes on while its memory comes, and every page is the one that was saved or a newer one."""
    backend = how.get("backend", "anonymous")
    source, path, _ = saved(t, backend=backend)
    if how.get("params"):
        t.need_direct_io(path)
    t.forget(source)
    dest = load(t, source, path, **how)
    dest.wait_running()
    assert dest.migration()["status"] == "postcopy-active"
    runs_on(dest)
    assert lazy(dest)["faults"] > 0
    complete(dest)
    goes_on(dest, 2, rounds=2)


@only_minivmm(REASON)
@table(anonymous={}, memfd={"backend": "memfd"}, tmpfs={"backend": "tmpfs"})
def test_same_memory(t, **how):
    """A guest that does not run: all of its memory is there in the end, whether it was touched or not."""
    source, path, was = saved(t, **how)
    dest = load(t, source, path, paused=True)
    is_partly_there(dest)
    complete(dest)
    ram.assert_equal(was, ram.read(dest))
    os.truncate(path, 0)        # the file is not needed any more
    t.forget(source)
    dest.cmd("cont")
    goes_on(dest, 2)


@only_minivmm(REASON)
@table(unix={}, memfd={"backend": "memfd"}, tcp_multifd={"multifd": True})
def test_moves_on(t, multifd=False, backend="anonymous"):
    """With most of its memory still in the file a guest is moved on whole: what has not come is not "never touched"."""
    source, path, was = saved(t, backend=backend)
    one = load(t, source, path, paused=True)
    is_partly_there(one)
    one.cmd("migrate-set-capabilities", capabilities=[{"capability": "mapped-ram", "state": False},
                                                      {"capability": "multifd", "state": multifd}])
    way = Way(t, "tcp" if multifd else "unix")
    two = destination(t, source, None, ("multifd",) if multifd else (), paused=True)
    two.cmd("migrate-incoming", uri=way.incoming())
    way.start(one, two)
    arrived(one, two)
    ram.assert_equal(was, ram.read(two))
    t.forget(source)
    t.forget(one)
    two.cmd("cont")
    goes_on(two, 2)


@only_minivmm(REASON)
def test_huge_pages(t):
    """Huge pages come whole, from a file of 4 KiB pages, and go on."""
    with huge_pages(t, 48):     # twice the guest's
        extra = (*ballast(t), "-object", "memory-backend-memfd,id=microvm.ram,size=48M,hugetlb=on,hugetlbsize=2M",
                 "-M", "memory-backend=microvm.ram")
        source, path, _ = saved(t, memory="48M", extra=extra)
        was = ram.read(source, 0, 16 << 20)
        dest = load(t, source, path)
        dest.wait_running()
        runs_on(dest)
        t.forget(source)
        complete(dest)
        ram.assert_equal(was[2 << 20:12 << 20], ram.read(dest, 2 << 20, 10 << 20))     # the program is below
        goes_on(dest, 2)


@only_minivmm(REASON)
@table(mapped={"mapped": True}, stream={"mapped": False})
def test_saved_again(t, mapped):
    source, path, was = saved(t)
    one = load(t, source, path, paused=True)
    is_partly_there(one)
    one.cmd("migrate-set-capabilities", capabilities=[{"capability": "mapped-ram", "state": mapped}])
    again = t.path("again")
    one.cmd("migrate", uri=f"file:{again}")
    assert one.wait_migration("completed", "failed") == "completed", one.migration()
    two = destination(t, source, None, ("mapped-ram",) if mapped else (), paused=True)
    two.cmd("migrate-incoming", uri=f"file:{again}")
    assert two.wait_migration("completed", "failed") == "completed", two.migration()
    ram.assert_equal(was, ram.read(two))


@only_minivmm(REASON)
def test_looked_at(t):
    """pmemsave and calc-dirty-rate bring what they look at; a move that leaves shared memory out has to wait."""
    source, path, was = saved(t, backend="memfd")
    dest = load(t, source, path)
    dest.wait_running()
    dest.cmd("stop")
    is_partly_there(dest)
    out = t.path("memory")
    dest.cmd("pmemsave", val=0x400000, size=0x100000, filename=out)
    dest.cmd("calc-dirty-rate", calc_time=1)
    dest.cmd("migrate-set-capabilities", capabilities=[{"capability": "mapped-ram", "state": False},
                                                      {"capability": "x-ignore-shared", "state": True}])
    try:
        dest.cmd("migrate", uri=f"file:{t.path('again')}")
    except QmpError as e:
        assert "'x-ignore-shared' has to wait: " in str(e) and "still being loaded" in str(e), e
    else:
        raise AssertionError("memory that is not there was passed on")
    complete(dest)
    with open(out, "rb") as f:
        ram.assert_equal(f.read(), ram.read(dest, 0x400000, 0x100000))
    assert len(was) == dest.ram_bytes


@only_minivmm(REASON)
@table(quit={"how": "quit"}, term={"how": "term"}, reset={"how": "reset"}, stop={"how": "stop"})
def test_in_the_middle(t, how):
    """Whatever is asked for while pages are missing is done, in the usual order."""
    source, path, _ = saved(t)
    dest = load(t, source, path)
    dest.wait_running()
    is_partly_there(dest)
    if how == "reset":
        dest.cmd("system_reset")
        dest.serial.expect("counting on")
        complete(dest)
        goes_on(dest, 2)
    elif how == "stop":
        for _ in range(5):
            dest.cmd("stop")
            assert dest.status() == "paused"
            dest.cmd("cont")
        runs_on(dest)
        complete(dest)
        goes_on(dest, 2)
    else:
        if how == "quit":
            dest.cmd("quit")
        else:
            dest.signal(signal.SIGTERM)
        assert dest.wait() == 0, dest.stderr()


def harmed(path, how):
    """Does it, and returns what undoes it."""
    info = os.stat(path)
    with open(path, "rb") as f:
        content = f.read()
    if how == "truncate":
        os.truncate(path, 100)
    else:
        with open(path, "r+b") as f:
            f.seek(info.st_size // 2)
            f.write(b"\xa5" * 4096)

    def restore():
        with open(path, "r+b") as f:
            f.write(content)
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    return restore


def stops(vm):
    """'stop' is taken by a guest that has stopped itself. Some KVMs let no vCPU go that waits for a page:
    there it is refused, in words, and the guest stops when it can. True: it has."""
    try:
        vm.cmd("stop")
    except QmpError as e:
        assert "a virtual CPU waits for it" in str(e), e
        return False
    return True


def wait_state(vm, state):
    deadline = time.monotonic() + GUARD
    while vm.status() != state:
        assert time.monotonic() < deadline, (vm.status(), vm.migration())
        os.sched_yield()


@only_minivmm(REASON)
@table(truncated={"how": "truncate"}, overwritten={"how": "overwrite"})
def test_file_is_changed(t, how):
    """The guest stops, in words, and never sees a zero; when the file is what it was, the guest goes on."""
    source, path, _ = saved(t)
    t.forget(source)
    dest = load(t, source, path)
    dest.wait_running()
    restore = harmed(path, how)
    assert dest.wait_migration("postcopy-paused", "completed") == "postcopy-paused"
    stopped = stops(dest)
    if stopped:
        wait_state(dest, "io-error")
    says = dest.migration()
    assert os.path.basename(path) in says["error-desc"], says
    assert ("instead of" if how == "truncate" else "was written to") in says["error-desc"], says
    assert says["x-minivmm-lazy"]["stalled"], says
    assert "so the guest is stopped" in dest.stderr()
    for refused in ("cont", "system_reset"):
        try:
            dest.cmd(refused)
        except QmpError as e:
            assert "cannot be loaded" in str(e), e
        else:
            raise AssertionError(f"{refused} was taken")
    restore()
    dest.wait_migration("postcopy-active")
    wait_state(dest, "io-error")
    dest.cmd("cont")
    runs_on(dest)
    complete(dest)
    goes_on(dest, 2)


@only_minivmm(REASON)
def test_ends_stalled(t):
    """A file that does not come back: the program ends all the same."""
    source, path, _ = saved(t)
    dest = load(t, source, path)
    dest.wait_running()
    os.truncate(path, 100)
    dest.wait_migration("postcopy-paused")
    dest.cmd("quit")
    assert dest.wait() == 0, dest.stderr()


# ---- a fault thread that is gone ----

@only_minivmm(REASON)
@table(goes_on={"ends": False}, quits={"ends": True})
def test_fault_thread_dies(t, ends):
    """Pages that nobody brings are waited for: no instruction runs on zeroes in their place."""
    source, path, was = saved(t)
    extra = (*source.options["extra"], "-name", "vm,debug-threads=on")
    dest = load(t, source, path, paused=True, extra=extra)
    tid = thread_named(dest, "lazy-fault")
    assert tid, "no fault thread"
    end_thread(tid)
    while os.path.exists(f"/proc/{dest.pid}/task/{tid}"):
        os.sched_yield()
    dest.cmd("cont")            # its first instruction is on a page that nobody brings
    dest.wait_running()
    is_partly_there(dest)
    if ends:
        dest.signal(signal.SIGTERM)
        assert dest.wait() == 0, dest.stderr()
        return
    complete(dest)              # the eager thread brings all
    t.forget(source)
    goes_on(dest, 2)
    for cpu in range(2):
        assert ram.status(dest, cpu)["generation"] > ram.status(was, cpu)["generation"]


# ---- how it is asked for, and where it is not possible ----

@only_minivmm(REASON)
@table(off={"params": {"x_minivmm_lazy_load": False}, "words": None},
       private={"backend": "private", "words": "a private copy of a file"},
       checksum={"checksum": True, "words": "has a checksum"})
def test_eager(t, words, params=None, backend="anonymous", checksum=False):
    source = machine(t, **{**GUEST, "backend": backend})
    goes_on(source, 2)
    source.cmd("migrate-set-parameters", x_minivmm_checksum=checksum)
    path = save(t, source)
    dest = destination(t, source, None, ("mapped-ram",), paused=True)
    dest.cmd("migrate-set-parameters", x_minivmm_lazy_rate=SLOW, **(params or {}))
    dest.cmd("migrate-incoming", uri=f"file:{path}")
    status = dest.wait_migration("postcopy-active", "completed", "failed")
    if words is None:
        assert status == "completed" and "x-minivmm-lazy" not in dest.migration(), dest.migration()
    elif backend == "private":      # firmware is anonymous, and so comes later
        complete(dest)
    ram.assert_equal(ram.read(source), ram.read(dest))
    assert words is None or words in dest.stderr(), dest.stderr()


@only_minivmm(REASON)
def test_working_set(t):
    """What was waited for comes first the next time; a file that is damaged is ignored, and said so."""
    source, path, was = saved(t)
    notes = path + ".working-set"
    for harm in (None, None, "damaged"):
        if harm:
            with open(notes, "r+b") as f:
                f.seek(60)
                f.write(b"\xff\xff")
        there = os.path.exists(notes)
        dest = load(t, source, path)
        dest.wait_running()
        runs_on(dest)
        complete(dest)
        assert (lazy(dest)["working-set"] > 0) == (there and not harm), lazy(dest)
        assert ("is ignored: its checksum" in dest.stderr()) == bool(harm), dest.stderr()
        goes_on(dest, 2)
        dest.close()
        t.forget(dest)
    assert os.stat(path).st_size > len(was)


@only_minivmm(REASON)
def test_all_there_at_once(t):
    """So little memory that all of it is there before the guest has arrived, or right behind: that is said last, and once."""
    source = machine(t, "idle", "", backend="anonymous", memory="64M", disk=t.qcow2("64M"))
    path = save(t, source)
    for n in range(20):
        dest = destination(t, source, None, ("mapped-ram", "events", "multifd"), paused=True)
        dest.cmd("migrate-incoming", uri=f"file:{path}")
        assert dest.wait_migration("completed", "failed") == "completed"
        assert (dest.status(), dest.migration()["status"]) == ("paused", "completed"), n
        assert not [e for e in dest.qmp.events if e["event"] == "MIGRATION"], (n, dest.qmp.events)
        dest.cmd("quit")
        assert dest.wait() == 0
        t.forget(dest)
