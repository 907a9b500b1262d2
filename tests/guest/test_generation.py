"""The generation ID: new for every guest that is loaded from a file, and told before it does anything; kept by a move."""
import struct
import uuid

import ram
import snapshots
import stream
from case import only_minivmm, table
from moves import Way, arrived, destination, load_uri, machine, save_uri, wait_saved

ONE = "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87"
TWO = "11111111-2222-3333-4444-555555555555"
COUNT_AT = 8 << 20      # guest-images/generation.c
ID_AT = 0xdf000         # docs/machine.md


def device(guid="auto"):
    return ("-device", f"vmgenid,guid={guid},id=generation0")


def start(t, guid="auto", **options):
    vm = machine(t, "generation", "", extra=device(guid), **options)
    vm.serial.expect("id=[0-9a-f]{32}\n")
    return vm


def guid_of(vm):
    return vm.cmd("query-vm-generation-id")["guid"]


def seen(match):
    """What the guest reads, as a UUID: the first three groups are little-endian in its memory."""
    return str(uuid.UUID(bytes_le=bytes.fromhex(match)))


def report(vm):
    """How often it has been notified, and its ID."""
    vm.serial.write("r")
    times, guid = vm.serial.expect(r"report (\d+) count=\d+ id=(\w{32})\n").groups()
    return int(times), seen(guid)


def changed(vm):
    """The notification: how many it was, the guest's count, its ID."""
    times, count, guid = vm.serial.expect(r"changed (\d+) count=(\d+) id=(\w{32})\n").groups()
    return int(times), int(count), seen(guid)


def save(t, vm):
    path = t.path("state")
    vm.cmd("migrate", uri=save_uri(vm.kind, path))
    assert vm.wait_migration("completed", "failed") == "completed", vm.migration()
    wait_saved(vm, path)
    return path


def load(t, vm, uri, **options):
    loaded = destination(t, vm, uri, **options)
    assert loaded.wait_loaded() == "completed", loaded.migration()
    return loaded


def count_in(path):
    return struct.unpack_from("<Q", stream.load(path).blocks["microvm.ram"], COUNT_AT)[0]


def test_boot_and_reset(t):
    vm = start(t, ONE)
    assert guid_of(vm) == ONE
    assert report(vm) == (0, ONE)
    assert ram.read(vm, ID_AT, 16) == uuid.UUID(ONE).bytes_le
    vm.serial.write("x")
    vm.serial.expect("counting on ")
    assert report(vm) == (0, ONE)


def test_random(t):
    one, two = guid_of(start(t)), guid_of(start(t))
    assert one != two
    for guid in (one, two):
        assert uuid.UUID(guid).version == 4, guid


def test_without_one(t):
    vm = machine(t, "idle", "")
    assert vm.qmp.fails("query-vm-generation-id") == "VM Generation ID device not found"


@only_minivmm("QEMU's microvm does not tell its guest of the device")
@table(file={"scheme": "file"}, exec={"scheme": "exec"}, mapped={"scheme": "file", "mapped": True},
       split={"scheme": "file", "variant": "stock"})
def test_every_load_is_another_guest(t, scheme, mapped=False, variant="own"):
    """Notified before anything else: the count of the file is that at the notification."""
    source = start(t, variant=variant)
    capabilities = ("mapped-ram",) if mapped else ()
    source.capabilities(*capabilities)
    before = guid_of(source)
    path = save(t, source)
    uri = load_uri("minivmm", path) if scheme == "file" else f"exec:cat {path}"
    guids = {before}
    for _ in range(2):
        vm = load(t, source, uri, capabilities=capabilities)
        times, count, guid = changed(vm)
        assert times == 1
        assert mapped or count == count_in(path)
        assert guid == guid_of(vm)
        assert report(vm) == (1, guid)
        guids.add(guid)
    assert len(guids) == 3, guids


@only_minivmm("QEMU's microvm does not tell its guest of the device")
def test_change_is_there_while_paused(t):
    """It belongs to the load, not to 'cont'; and a guest that is saved again has it."""
    source = start(t)
    path = save(t, source)
    first = load(t, source, load_uri("minivmm", path), paused=True)
    saved, guid = guid_of(source), guid_of(first)
    assert guid != saved
    assert ram.read(first, ID_AT, 16) == uuid.UUID(guid).bytes_le
    t.forget(source)
    path = t.path("again")
    first.cmd("migrate", uri=save_uri("minivmm", path))
    assert first.wait_migration("completed", "failed") == "completed", first.migration()
    second = load(t, source, load_uri("minivmm", path))
    second.cmd("cont")
    times, count, last = changed(second)
    assert (times, count) == (1, count_in(path))    # two changes before it ran are one notification
    assert last not in (guid, saved)


@only_minivmm("QEMU's microvm does not tell its guest of the device")
@table(tcp={"scheme": "tcp"}, unix={"scheme": "unix"}, fd={"scheme": "fd"})
def test_move_keeps_it(t, scheme):
    """guid= at the destination is for guests that are loaded."""
    source = start(t, ONE)
    way = Way(t, scheme)
    vm = destination(t, source, way.incoming(), extra=device(TWO))
    way.start(source, vm)
    arrived(source, vm)
    assert guid_of(vm) == ONE
    assert report(vm) == (0, ONE)
    vm.serial.write("x")
    vm.serial.expect("counting on ")
    assert report(vm) == (0, ONE)


@only_minivmm("QEMU's microvm does not tell its guest of the device")
def test_wanted_at_the_load(t):
    """guid= is what the loaded guest gets, unless it has that already."""
    source = start(t, ONE)
    path = save(t, source)
    vm = load(t, source, load_uri("minivmm", path), extra=device(TWO))
    assert changed(vm)[2] == TWO == guid_of(vm)
    vm = load(t, source, load_uri("minivmm", path))
    assert changed(vm)[2] == guid_of(vm) != ONE
    assert f"guid={ONE}" in vm.stderr()


@only_minivmm("QEMU's microvm does not tell its guest of the device")
@table(job={"how": "job"}, human={"how": "human"}, loadvm={"how": "loadvm"}, wanted={"how": "loadvm", "guid": TWO})
def test_every_snapshot_is_another_guest(t, how, guid="auto"):
    """So it is with each load of a snapshot, into the machine that has made it and into another one; a save changes nothing."""
    images = {"d0": snapshots.image(t, "d0", 1024)}
    vm = snapshots.guest(t, images, "", "generation", device())
    vm.serial.expect("id=[0-9a-f]{32}\n")
    first = guid_of(vm)
    snapshots.do(vm, "save", "one")
    assert report(vm) == (0, first)
    guids = [first]
    if how == "loadvm":
        vm.cmd("quit")
        vm.wait()
        vm.own_extra = device(guid)
    for _ in range(2):
        if how == "job":
            snapshots.do(vm, "load", "one")
        elif how == "human":
            assert vm.cmd("human-monitor-command", **{"command-line": "loadvm one"}) == ""
        else:
            vm = snapshots.again(t, vm, "-loadvm", "one")
        times, _, told = changed(vm)
        assert (times, told) == (1, guid_of(vm))
        assert report(vm) == (1, told)
        guids.append(told)
        if how == "loadvm":
            vm.cmd("quit")
            vm.wait()
    assert guids[1:] == [TWO, TWO] if guid == TWO else len(set(guids)) == 3, guids


@only_minivmm("QEMU takes a section more than it has devices for no better")
def test_file_without_the_device(t):
    """A guest that was saved without one does not fit a machine that has one, nor the other way."""
    plain = machine(t, "idle", "")
    path = save(t, plain)
    vm = destination(t, plain, load_uri("minivmm", path), extra=device())
    assert vm.wait_loaded() == "failed"
    assert "vmgenid" in vm.migration()["error-desc"], vm.migration()
