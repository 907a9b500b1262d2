"""Saving a machine into a file and bringing it back: whole or not at all."""
import os
import signal

import ram
import stream
from case import only_minivmm, table
from moves import (check_stopped, destination, goes_on, load_uri, machine, save_uri, wait_bytes, wait_end_or_failure,
                   wait_saved)


def save(vm, path):
    vm.cmd("migrate", uri=save_uri(vm.kind, path))
    status = vm.wait_migration("completed", "failed")
    assert status == "completed", vm.migration()
    wait_saved(vm, path)


def load(t, source, path, **options):
    vm = destination(t, source, load_uri(t.kind, path), **options)
    assert vm.wait_loaded() == "completed", vm.migration()
    return vm


def full_machine(t, **options):
    return machine(t, "smp-counter", "pages=50 rate=1000", cpus=2, disk=t.disk(), rng=True, **options)


def test_save_and_load(t):
    source = full_machine(t)
    goes_on(source, 2)
    path = t.path("state")
    save(source, path)
    saved = check_stopped(source, 2)
    vm = load(t, source, path, paused=True)
    assert vm.status() == "paused"
    ram.assert_equal(ram.read(source), ram.read(vm))
    t.forget(source)
    vm.cmd("cont")
    now = goes_on(vm, 2)
    assert all(n > s["generation"] for n, s in zip(now, saved)), (saved, now)


def test_stream_is_well_formed(t):
    """Every record, footer and description of the file fits; its RAM is the machine's."""
    source = full_machine(t)
    goes_on(source, 2)
    path = t.path("state")
    save(source, path)
    s = stream.load(path)
    ram.assert_equal(ram.read(source), bytes(s.blocks["microvm.ram"]), "the machine and its file")
    assert "pc.bios" in s.blocks
    names = [(idstr, instance) for idstr, instance, _ in s.sections()]
    for wanted in [("timer", 0), ("fw_cfg", 0), ("cpu_common", 0), ("cpu", 0), ("apic", 0),
                   ("cpu_common", 1), ("cpu", 1), ("apic", 1), ("ioapic", 0), ("kvmclock", 0),
                   ("acpi-ged", 0), ("i8259", 0), ("i8259", 1), ("i8254", 0), ("mc146818rtc", 0),
                   ("serial", 0), ("virtio-mmio@00000000feb00e00/virtio-blk", 0),
                   ("virtio-mmio@00000000feb00c00/virtio-rng", 0), ("globalstate", 0)]:
        assert wanted in names, (wanted, names)
    assert names[-1] == ("globalstate", 0), names
    assert b"running\0" in s.section("globalstate").payload
    assert s.description["page_size"] == 4096


def test_load_twice(t):
    """A file is not used up."""
    source = machine(t)
    goes_on(source)
    path = t.path("state")
    save(source, path)
    one = load(t, source, path, paused=True)
    two = load(t, source, path, paused=True)
    ram.assert_equal(ram.read(one), ram.read(two))
    two.cmd("cont")
    goes_on(two)


def test_save_stopped(t):
    source = machine(t)
    source.cmd("stop")
    path = t.path("state")
    save(source, path)
    vm = load(t, source, path)
    assert vm.status() == "paused"
    vm.cmd("cont")
    goes_on(vm)


@only_minivmm("QEMU 7.2 has no file: scheme")
def test_offset(t):
    source = machine(t)
    path = t.path("state")
    with open(path, "wb") as f:
        f.write(b"x" * 8192)
    source.cmd("migrate", uri=f"file:{path},offset=8192")
    assert source.wait_migration("completed", "failed") == "completed", source.migration()
    with open(path, "rb") as f:
        assert f.read(8192) == b"x" * 8192
    vm = destination(t, source, f"file:{path},offset=8192")
    assert vm.wait_loaded() == "completed", vm.migration()
    goes_on(vm)


@only_minivmm("QEMU writes into the file itself")
@table(cancel={"how": "cancel"}, kill={"how": "kill"})
def test_interrupted_save_leaves_the_older_file(t, how):
    source = machine(t, "counter", "pages=1800 rate=20000")
    goes_on(source)
    path = t.path("state")
    save(source, path)
    with open(path, "rb") as f:
        older = f.read()
    source.cmd("cont")
    goes_on(source)
    source.cmd("migrate-set-parameters", max_bandwidth=2 << 20, downtime_limit=1)
    source.cmd("migrate", uri=f"file:{path}")
    wait_bytes(source, 300000)
    if how == "cancel":
        source.cmd("migrate_cancel")
        source.wait_migration("cancelled")
        goes_on(source)
        left = [n for n in os.listdir(t.tmp) if n.startswith("state") and n != "state"]
        assert not left, f"left behind: {left}"
    else:
        source.signal(signal.SIGKILL)
        source.wait()
    with open(path, "rb") as f:
        assert f.read() == older, "the older file has been harmed"
    stream.Stream(older)


@only_minivmm("QEMU writes into the file itself")
def test_failed_save_leaves_the_older_file(t):
    """The disk is full: the cause is told, the older file and the guest are untouched."""
    t.need("root", "mount")
    import subprocess
    small = t.path("small")
    os.mkdir(small)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", small],
                      check=False).returncode:
        t.skip("tmpfs cannot be mounted")
    try:
        path = os.path.join(small, "state")
        with open(path, "wb") as f:
            f.write(b"older")
        source = machine(t, "counter", "pages=1000")
        goes_on(source)
        source.cmd("migrate", uri=f"file:{path}")
        assert source.wait_migration("completed", "failed") == "failed"
        assert "No space left on device" in source.migration()["error-desc"], source.migration()
        assert os.listdir(small) == ["state"], os.listdir(small)
        with open(path, "rb") as f:
            assert f.read() == b"older"
        if source.status() != "running":
            source.qmp.event("RESUME")
        goes_on(source)
    finally:
        subprocess.run(["umount", "-l", small], check=False)


def test_save_into_nowhere(t):
    source = machine(t)
    path = "/nope/state"
    try:
        source.cmd("migrate", uri=save_uri(source.kind, path))
    except Exception as e:      # refused at once, or told later  # pylint: disable=broad-except
        assert path in str(e), e
    else:
        source.wait_migration("failed")
        assert source.migration()["error-desc"]
    assert source.status() == "running"
    goes_on(source)


def damaged(data, how):
    s = stream.Stream(data)
    cpu = s.section("cpu")
    if how == "empty":
        return b""
    if how == "magic":
        return b"X" + data[1:]
    if how == "cut_in_ram":
        return data[:s.page_offsets[len(s.page_offsets) // 2] + 5]
    if how == "cut_in_device":
        return data[:cpu.payload_start + 100]
    if how == "section_name":
        at = s.section("mc146818rtc").start + 6
        return data[:at] + b"x" + data[at + 1:]
    if how == "version":
        return data[:cpu.payload_start - 4] + b"\0\0\0\x63" + data[cpu.payload_start:]
    if how == "footer":
        return data[:cpu.end - 1] + b"\xee" + data[cpu.end:]
    raise AssertionError(how)


@table(empty={"how": "empty"}, magic={"how": "magic"}, cut_in_ram={"how": "cut_in_ram"},
       cut_in_device={"how": "cut_in_device"}, section_name={"how": "section_name"},
       version={"how": "version"}, footer={"how": "footer"})
def test_damaged_file(t, how):
    """Refused with a cause, and no guest is started from it."""
    if t.kind == "qemu" and how == "empty":
        t.skip("QEMU 7.2 waits for ever when a command ends without output")
    source = machine(t)
    path = t.path("state")
    save(source, path)
    with open(path, "rb") as f:
        data = damaged(f.read(), how)
    with open(path, "wb") as f:
        f.write(data)
    vm = destination(t, source)
    vm.cmd("migrate-incoming", uri=load_uri(t.kind, path))
    cause = wait_end_or_failure(vm)
    assert cause != "completed"
    if cause == "dead":
        assert "load of migration failed" in vm.stderr(), vm.stderr()
    else:
        assert vm.status() == "inmigrate"
    assert "RESUME" not in [e["event"] for e in vm.qmp.events]


@only_minivmm("QEMU 7.2 waits for ever when a command ends without output")
def test_missing_file(t):
    source = machine(t)
    vm = destination(t, source)
    path = t.path("absent")
    try:
        vm.cmd("migrate-incoming", uri=load_uri(t.kind, path))
    except Exception as e:      # pylint: disable=broad-except
        assert path in str(e), e
    else:
        assert wait_end_or_failure(vm) != "completed"
