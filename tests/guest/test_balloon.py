"""virtio-balloon: pages go in and out, back to the host, and with the guest to another process."""
import os
import shutil

import postcopy
import ram
from case import only_minivmm, table
from moves import Way, arrived, destination, machine, wait_bytes

PAGE = 4096
MEMORY = 24 << 20
PAGES_AT, FREE_AT = 8 << 20, 12 << 20       # guest-images/balloon.c
PAGES = 1024
NONE = "No balloon device has been activated"
REPORTING = "free-page-reporting=on"


def start(t, *properties, **options):
    device = ",".join(("virtio-balloon-device,id=balloon0",) + properties)
    vm = machine(t, "balloon", "", started=False, extra=("-device", device), **options)
    vm.serial.expect("ready")
    return vm


def inflate(vm, pages):
    vm.cmd("balloon", value=MEMORY - pages * PAGE)
    vm.serial.expect(f"balloon {pages}\n")
    vm.qmp.event("BALLOON_CHANGE", actual=MEMORY - pages * PAGE)
    assert vm.cmd("query-balloon")["actual"] == MEMORY - pages * PAGE


def check(vm, pages):
    """The guest's own memory is what it wrote there."""
    vm.serial.write("c")
    assert vm.serial.expect(r"checked (\d+) (\d+)\n").groups() == (str(pages), "0")


def is_zero(vm, at, pages):
    data = ram.read(vm, at, pages * PAGE)
    return not any(data)


def test_in_and_out(t):
    vm = start(t)
    assert vm.cmd("query-balloon")["actual"] == MEMORY
    inflate(vm, 300)
    check(vm, PAGES - 300)
    assert is_zero(vm, PAGES_AT, 300)
    assert ram.read(vm, PAGES_AT + 300 * PAGE, 8) != bytes(8)
    inflate(vm, 7)
    check(vm, PAGES - 7)
    inflate(vm, PAGES)
    check(vm, 0)
    assert vm.qmp.fails("balloon", value=0) == "Parameter 'target' expects a size"
    vm.cmd("balloon", value=1 << 50)
    vm.serial.expect("balloon 0\n")
    check(vm, PAGES)


def test_without_one(t):
    vm = machine(t, "idle", "")
    assert vm.qmp.fails("query-balloon") == NONE
    assert vm.qmp.fails("balloon", value=1 << 20) == NONE


def test_reports(t):
    vm = start(t, REPORTING)
    assert not is_zero(vm, FREE_AT, PAGES)
    vm.serial.write("r")
    vm.serial.expect("reported")
    assert is_zero(vm, FREE_AT, PAGES)
    vm.serial.write("w")
    vm.serial.expect("stamped")
    vm.serial.write("f")
    vm.serial.expect(f"free {PAGES} 0\n")


def anonymous(vm):
    with open(f"/proc/{vm.pid}/status", encoding="ascii") as f:
        fields = dict(line.split(":", 1) for line in f)
    return sum(int(fields[key].split()[0]) << 10 for key in ("RssAnon", "RssShmem", "RssFile"))


@only_minivmm("how much QEMU holds is its own affair")
@table(anonymous={"backend": "anonymous"}, memfd={"backend": "memfd"}, tmpfs={"backend": "tmpfs"})
def test_host_gets_it(t, backend):
    vm = start(t, backend=backend)
    before = anonymous(vm)
    inflate(vm, PAGES)
    assert anonymous(vm) <= before - PAGES * PAGE + (256 << 10)


@table(plain={"caps": ()}, xbzrle={"caps": ("xbzrle",)}, multifd={"caps": ("multifd",)})
def test_moves(t, caps):
    """The numbers go along, and the guest takes its pages out where it is then."""
    source = start(t)
    source.capabilities(*caps)
    inflate(source, 200)
    dest = destination(t, source, f"unix:{t.path('in')}", caps)
    source.cmd("migrate", uri=f"unix:{t.path('in')}")
    arrived(source, dest)
    dest.wait_running()
    assert dest.cmd("query-balloon")["actual"] == MEMORY - 200 * PAGE
    check(dest, PAGES - 200)
    inflate(dest, 500)
    inflate(dest, 0)
    check(dest, PAGES)


@only_minivmm("QEMU does not mark what the balloon discards as dirty")
@table(log={"ring": None}, ring={"ring": 4096})
def test_inflates_while_it_moves(t, ring):
    """A page that has been sent and then goes into the balloon arrives as what it is: zero."""
    source = start(t, ring=ring)
    source.cmd("migrate-set-parameters", max_bandwidth=1 << 20)
    dest = destination(t, source, f"unix:{t.path('in')}", paused=True)
    source.cmd("migrate", uri=f"unix:{t.path('in')}")
    wait_bytes(source, 5 << 20)         # what goes into the balloon has been sent, and more is to come
    inflate(source, 600)
    assert source.migration()["status"] == "active"
    source.cmd("migrate-set-parameters", max_bandwidth=0)
    arrived(source, dest)
    assert is_zero(source, PAGES_AT, 600)
    ram.assert_equal(ram.read(source), ram.read(dest))
    dest.cmd("cont")
    check(dest, PAGES - 600)


@only_minivmm("QEMU's snapshot holds the balloon up in another way")
def test_inflates_while_it_is_saved(t):
    """Nothing is given back meanwhile: the saved guest has all its pages, and a later inflation takes them."""
    vm = start(t, backend="memfd")
    vm.capabilities("background-snapshot")
    reading, writing = os.pipe()
    vm.qmp.cmd("getfd", fds=[writing], fdname="save")
    os.close(writing)
    vm.cmd("migrate", uri="fd:save")
    vm.qmp.event("RESUME")
    inflate(vm, 600)
    assert vm.migration()["status"] == "active"
    assert not is_zero(vm, PAGES_AT, 600)
    path = t.path("saved")
    with open(path, "wb") as saved, open(reading, "rb") as pipe:
        shutil.copyfileobj(pipe, saved)
    assert vm.wait_migration("completed", "failed") == "completed", vm.migration()
    check(vm, PAGES - 600)
    inflate(vm, 0)
    inflate(vm, 300)
    assert is_zero(vm, PAGES_AT, 300)
    dest = destination(t, vm, f"file:{path}")
    assert dest.wait_loaded() == "completed", dest.migration()
    t.forget(vm)
    dest.wait_running()
    check(dest, PAGES)


@only_minivmm("a saved guest")
def test_saved(t):
    source = start(t)
    inflate(source, 100)
    way = Way(t, "file")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    arrived(source, dest)
    dest.wait_running()
    inflate(dest, 0)
    check(dest, PAGES)


@only_minivmm("QEMU's property is set after the start")
def test_statistics_are_asked_for(t):
    """Also after a pause, which gives the chain with the numbers back."""
    vm = start(t, "guest-stats-polling-interval=1")
    vm.serial.expect("statistics")
    vm.cmd("stop")
    vm.cmd("cont")
    vm.serial.expect("statistics")
    stats = vm.cmd("query-balloon")["x-minivmm-stats"]
    assert stats["last-update"] > 0 and stats["stat-free-memory"] >= PAGE
    assert "stat-total-memory" not in stats


def hinted(t, append="", **options):
    """A source in its first pass, which has taken the guest's hints, and where it goes."""
    vm = machine(t, "balloon", append, started=False,
                 extra=("-device", "virtio-balloon-device,free-page-hint=on"), **options)
    vm.serial.expect("ready")
    vm.cmd("migrate-set-parameters", max_bandwidth=1 << 20)
    dest = destination(t, vm, f"unix:{t.path('in')}")
    vm.cmd("migrate", uri=f"unix:{t.path('in')}")
    vm.serial.expect("hinted")
    return vm, dest


def sent(vm):
    return vm.migration()["ram"]["normal"] * PAGE


def free(vm):
    vm.serial.write("f")
    return tuple(int(n) for n in vm.serial.expect(r"free (\d+) (\d+)\n").groups())


OURS = "QEMU wants an I/O thread for hints"


@only_minivmm(OURS)
@table(log={"ring": None}, ring={"ring": 4096})
def test_hinted_pages_stay_behind(t, ring):
    source, dest = hinted(t, ring=ring)
    source.cmd("migrate-set-parameters", max_bandwidth=0)
    arrived(source, dest)
    assert sent(source) < PAGES * PAGE + (2 << 20), sent(source)
    dest.wait_running()
    check(dest, PAGES)
    assert is_zero(dest, FREE_AT, PAGES)
    inflate(dest, 10)
    assert "free\n" in source.serial.seen + dest.serial.seen    # the driver has its pages again


@only_minivmm(OURS)
@table(log={"ring": None}, ring={"ring": 4096})
def test_hinted_pages_that_are_used(t, ring):
    """Written since the hints were asked for, before the hint or behind it: they arrive."""
    source, dest = hinted(t, "reuse", ring=ring)
    half = PAGES // 2
    assert free(source) == (half, half)
    source.cmd("migrate-set-parameters", max_bandwidth=0)
    arrived(source, dest)
    dest.wait_running()
    assert free(dest) == (half, half)


@only_minivmm(OURS)
@table(log={"ring": None}, ring={"ring": 4096})
def test_hinted_pages_that_are_used_again(t, ring):
    source, dest = hinted(t, ring=ring)
    source.serial.write("w")
    source.serial.expect("stamped")
    source.cmd("migrate-set-parameters", max_bandwidth=0)
    arrived(source, dest)
    dest.wait_running()
    assert free(dest) == (PAGES, 0)
    check(dest, PAGES)


@only_minivmm(OURS)
def test_cancelled_with_hints(t):
    """The driver gets its pages back, and another move asks again."""
    source, dest = hinted(t)
    source.cmd("migrate_cancel")
    source.wait_migration("cancelled")
    source.serial.expect("free\n")
    assert free(source) == (PAGES, 0)
    t.forget(dest)
    again = destination(t, source, f"unix:{t.path('again')}")
    source.cmd("migrate", uri=f"unix:{t.path('again')}")
    source.serial.expect("hinted")
    source.cmd("migrate-set-parameters", max_bandwidth=0)
    arrived(source, again)
    again.wait_running()
    check(again, PAGES)


@only_minivmm("QEMU lets no balloon discard anything in postcopy")
def test_postcopy(t):
    """What the guest gives away before it has come is zero, does not come, and may be used again."""
    source = start(t, memory=postcopy.MEMORY, backend="anonymous")
    source.capabilities("postcopy-ram")
    dest = postcopy.there(t, source)
    source.cmd("migrate-set-parameters", max_postcopy_bandwidth=4096)
    postcopy.begin(t, source, dest)
    postcopy.switch(source, dest)
    dest.wait_running()
    inflate(dest, 300)
    check(dest, PAGES - 300)
    postcopy.finish(source, dest)
    assert is_zero(dest, PAGES_AT, 300)
    check(dest, PAGES - 300)
    dest.cmd("balloon", value=MEMORY)
    dest.serial.expect("balloon 0\n")
    check(dest, PAGES)
