"""Background snapshots: the guest of one instant, in a file or elsewhere, while it runs on here."""
import os

import ram
import stall
import stream
from case import only_minivmm, table
from moves import (SCHEMES, Way, check_running, destination, generations, goes_on, load_uri, machine, save_uri, wait_saved,
                   works_on)

BACKENDS = ("anonymous", "memfd", "tmpfs")
MORE = "pages=900 rate=0"       # with two processors more than the pool of copies holds
FEW = "pages=200 rate=0"        # ... and fewer


def writer(t, append=MORE, capabilities=(), **options):
    """A guest that writes its range as fast as it can."""
    options.setdefault("backend", "anonymous")
    vm = machine(t, "smp-counter", append, **options)
    vm.capabilities("background-snapshot", *capabilities)
    return vm


def ended(vm, *wanted):
    status = vm.wait_migration("completed", "failed", "cancelled")
    assert status in wanted, vm.migration()
    return vm.migration()


def snapshot(vm, uri):
    vm.cmd("migrate", uri=uri)
    return ended(vm, "completed")


def check_saved(data, cpus=1):
    """Every page of a stream is of one instant, and each came once: the rounds that the processors were in."""
    s = stream.Stream(data)
    assert len(set(s.page_offsets)) == len(s.page_offsets), "a page came twice"
    assert not [r for r in s.records if r.tag == stream.TAG_END], "an END of RAM"
    saved = bytes(s.blocks["microvm.ram"])
    assert b"running\0" in s.section("globalstate").payload
    return [ram.check_range(saved, cpu)["generation"] for cpu in range(cpus)]


def read(path):
    with open(path, "rb") as f:
        return f.read()


@table(**{b: {"backend": b} for b in BACKENDS})
def test_one_instant(t, backend):
    """The guest writes all the time, on two processors; no saved page is younger than the instant."""
    vm = writer(t, backend=backend, cpus=2)
    goes_on(vm, 2)
    before = generations(vm, 2)
    path = t.path("state")
    snapshot(vm, save_uri(vm.kind, path))
    wait_saved(vm, path)
    saved = check_saved(read(path), 2)
    assert all(b <= s <= n for b, s, n in zip(before, saved, generations(vm, 2))), (before, saved)
    assert vm.status() == "running"
    goes_on(vm, 2)
    again = destination(t, vm, load_uri(t.kind, path), paused=True)
    assert again.wait_loaded() == "completed", again.migration()
    assert [ram.check_range(again, cpu)["generation"] for cpu in range(2)] == saved
    t.forget(vm)
    again.cmd("cont")
    goes_on(again, 2)


def test_figures(t):
    vm = writer(t, FEW)
    path = t.path("state")
    info = snapshot(vm, save_uri(vm.kind, path))
    assert info["status"] == "completed" and info["downtime"] <= info["total-time"], info
    figures = info["ram"]
    assert figures["remaining"] == 0 and figures["dirty-sync-count"] == 0, figures
    if vm.kind == "minivmm":
        assert (figures["normal"] + figures["duplicate"]) * 4096 == figures["total"], figures


def test_order_of_events(t):
    vm = writer(t, FEW)
    vm.cmd("migrate", uri=save_uri(vm.kind, t.path("state")))
    seen = []
    while not seen or seen[-1] not in ("completed", "failed"):
        e = vm.qmp.any_event(lambda e: e["event"] in ("MIGRATION", "STOP", "RESUME", "MIGRATION_PASS"), "an event")
        seen.append(e["data"]["status"] if e["event"] == "MIGRATION" else e["event"])
    assert seen == ["setup", "active", "STOP", "RESUME", "completed"], seen


@table(**{s: {"scheme": s} for s in SCHEMES})
def test_addresses(t, scheme):
    """Another machine loads it at once, and waits; the guest goes on here."""
    vm = writer(t)
    goes_on(vm)
    way = Way(t, scheme)
    dest = destination(t, vm, way.incoming(), paused=True)
    way.start(vm, dest)
    ended(vm, "completed")
    assert dest.wait_loaded() == "completed", dest.migration()
    ram.check_range(dest)
    assert (vm.status(), dest.status()) == ("running", "paused")
    goes_on(vm)
    t.forget(vm)
    dest.cmd("cont")
    goes_on(dest)


@only_minivmm("QEMU 7.2 has no mapped-ram")
def test_mapped(t):
    vm = writer(t, capabilities=("mapped-ram",), cpus=2)
    goes_on(vm, 2)
    path = t.path("state")
    vm.cmd("migrate-set-parameters", x_minivmm_checksum=True)
    snapshot(vm, f"file:{path}")
    goes_on(vm, 2)
    dest = destination(t, vm, f"file:{path}", capabilities=("mapped-ram",), paused=True)
    assert dest.wait_loaded() == "completed", dest.migration()
    for cpu in range(2):
        ram.check_range(dest, cpu)
    t.forget(vm)
    dest.cmd("cont")
    goes_on(dest, 2)


def silent_address(vm):
    """A pipe that nobody reads is what it goes to."""
    vm.qmp.events[:] = [e for e in vm.qmp.events if e["event"] != "RESUME"]     # of an earlier 'cont'
    reading, writing = os.pipe()
    vm.qmp.cmd("getfd", fds=[writing], fdname="save")
    os.close(writing)
    vm.cmd("migrate", uri="fd:save")
    vm.qmp.event("RESUME")
    return reading


def read_all(fd):
    parts = []
    while True:
        part = os.read(fd, 1 << 20)
        if not part:
            os.close(fd)
            return b"".join(parts)
        parts.append(part)


@only_minivmm("QEMU 7.2 holds each page until it is sent")
def test_released_when_copied(t):
    """The address takes nothing, and the guest goes through all of its range again and again."""
    vm = writer(t, FEW, cpus=2)
    goes_on(vm, 2)
    fd = silent_address(vm)
    goes_on(vm, 2, rounds=3)
    assert vm.migration()["status"] == "active"
    check_saved(read_all(fd), 2)
    ended(vm, "completed")
    goes_on(vm, 2)


@only_minivmm("QEMU 7.2 holds each page until it is sent")
def test_stop_meanwhile(t):
    """The address takes nothing and the pool is full of what the guest has written: 'stop' returns all the same."""
    vm = writer(t, MORE, cpus=2)
    goes_on(vm, 2)
    fd = silent_address(vm)
    vm.cmd("stop")
    vm.qmp.event("STOP")
    assert vm.status() == "paused"
    vm.cmd("cont")
    check_saved(read_all(fd), 2)
    ended(vm, "completed")
    goes_on(vm, 2)


@table(few={"append": FEW}, more={"append": MORE})
def test_cancel(t, append):
    """In the middle, with writes that wait for the address: they go on, nothing is lost, and another one is made."""
    vm = writer(t, append, cpus=2)
    goes_on(vm, 2)
    fd = silent_address(vm)
    vm.cmd("migrate_cancel")
    ended(vm, "cancelled")
    os.close(fd)
    assert vm.status() == "running"
    goes_on(vm, 2, rounds=2)
    path = t.path("state")
    snapshot(vm, save_uri(vm.kind, path))
    wait_saved(vm, path)
    check_saved(read(path), 2)


def test_address_fails(t):
    """The reader goes away in the middle: failed, and the guest goes on."""
    vm = writer(t, MORE, cpus=2)
    goes_on(vm, 2)
    os.close(silent_address(vm))
    info = ended(vm, "failed")
    assert "error-desc" in info, info
    goes_on(vm, 2, rounds=2)


def test_paused_guest(t):
    """It stays paused, without events; the file says so."""
    vm = writer(t, FEW)
    vm.cmd("stop")
    vm.qmp.event("STOP")
    vm.qmp.events.clear()
    path = t.path("state")
    snapshot(vm, save_uri(vm.kind, path))
    wait_saved(vm, path)
    assert vm.status() == "paused"
    assert not [e for e in vm.qmp.events if e["event"] in ("STOP", "RESUME")], vm.qmp.events
    s = stream.load(path)
    ram.assert_equal(ram.read(vm), bytes(s.blocks["microvm.ram"]))
    assert b"paused\0" in s.section("globalstate").payload
    vm.cmd("cont")
    goes_on(vm)


def test_refused(t):
    vm = machine(t, "smp-counter", FEW, backend="file", ram=os.path.join(t.ramfs(), "ram"))
    on = [{"capability": "background-snapshot", "state": True}]
    says = vm.qmp.fails("migrate-set-capabilities", capabilities=on)
    assert says.startswith("Background-snapshot is not compatible with guest memory configuration"), says
    assert vm.kind != "minivmm" or "'microvm.ram'" in says and vm.ram_path in says, says
    says = vm.qmp.fails("migrate-set-capabilities", capabilities=on + [{"capability": "multifd", "state": True}])
    assert says == "Background-snapshot is not compatible with multifd", says


def test_devices_busy(t):
    """Disk, network and entropy write into memory meanwhile; what was saved works on, and so does this one."""
    vm = writer(t, "pages=300 rate=0", cpus=2, disk=t.disk(), rng=True, net=t.net().path)
    works_on(vm)
    path = t.path("state")
    snapshot(vm, save_uri(vm.kind, path))
    wait_saved(vm, path)
    works_on(vm)
    assert generations(vm, 2) >= check_saved(read(path), 2)
    options = dict(vm.options)
    t.forget(vm)
    vm.options = dict(options, net=t.net().path)
    dest = destination(t, vm, load_uri(t.kind, path))
    assert dest.wait_loaded() == "completed", dest.migration()
    works_on(dest)


@only_minivmm("the program is ours, with a fault thread that dies")
def test_fault_thread_dies(t):
    """With faults pending: the snapshot fails in words, and the guest's memory is what the guest has written."""
    dead = t.path("dead")
    prefix = ("sh", "-c", f"shift; STALL_FAULTS={dead} exec {stall.PROGRAM} \"$@\"", "sh")
    vm = writer(t, MORE, cpus=2, prefix=prefix)
    goes_on(vm, 2)
    fd = silent_address(vm)
    with open(dead, "w", encoding="ascii"):
        pass
    info = ended(vm, "failed")
    os.close(fd)
    assert "page faults of the guest cannot be resolved" in info["error-desc"], info
    check_running(vm, 2)
    goes_on(vm, 2, rounds=2)
