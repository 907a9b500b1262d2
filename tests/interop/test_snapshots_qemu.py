"""Snapshots with memory in qcow2 images: QEMU loads ours, and we load QEMU's, made at the moment or once."""
import os
import struct

import peers
import ram
import snapshots
from case import only_minivmm, table
from moves import goes_on
from snapshots import check, do, guest, image, listing
from vmm import ROOT

DATA = os.path.join(ROOT, "tests", "data", "qcow2")
VERSIONS = {"q" + v.replace(".", "_"): {"version": v} for v in ("7.2", "10.0", "11.1")}


LAYOUTS = {     # of the image that has the memory
    "tiny": "cluster_size=512", "large": "cluster_size=2M", "extended": "extended_l2=on,cluster_size=32k", "v2": "compat=0.10,cluster_size=4k",
    "wide": "refcount_bits=64,cluster_size=8k", "narrow": "refcount_bits=2", "lazy": "lazy_refcounts=on,compression_type=zstd",
}


def two_disks(t, layout="cluster_size=64k", **options):
    return guest(t, {"d0": image(t, "d0", 64, "-o", layout), "d1": image(t, "d1", 128, "-o", "cluster_size=4k")}, **options)


def load_there(t, vm, kind):
    """A program of another kind loads the snapshot "one" of a machine that has ended, both ways."""
    for loadvm in (True, False):
        images = {node: snapshots.copy(t, path, f"{node}-{loadvm}") for node, path in vm.images.items()}
        other = snapshots.again(t, vm, *(["-loadvm", "one"] if loadvm else []), images=images, paused=True, kind=kind)
        if not loadvm:
            do(other, "load", "one")
        snapshots.check_instant(t, other, "one")
        other.cmd("cont")
        goes_on(other)
        t.forget(other)


@only_minivmm("it is about both")
@table(**VERSIONS, **{name: {"version": "7.2", "layout": layout} for name, layout in LAYOUTS.items()})
def test_qemu_loads_ours(t, version, **layout):
    """Saved while the guest runs on; QEMU lists it and goes on with it, and deletes it."""
    kind = peers.kind(t, version)
    vm = two_disks(t, **layout)
    goes_on(vm, rounds=2)
    do(vm, "save", "one")
    goes_on(vm, rounds=2)
    vm.cmd("quit")
    vm.wait()
    load_there(t, vm, kind)
    other = snapshots.again(t, vm, paused=True, kind=kind)
    do(other, "delete", "one")
    other.cmd("quit")
    other.wait()
    for path in vm.images.values():
        check(path)
        assert listing(path) == {}


@only_minivmm("it is about both")
@table(**VERSIONS, **{name: {"version": "7.2", "layout": layout} for name, layout in LAYOUTS.items()})
def test_we_load_qemus(t, version, **layout):
    kind = peers.kind(t, version)
    vm = two_disks(t, kind=kind, **layout)
    goes_on(vm, rounds=2)
    do(vm, "save", "one")
    goes_on(vm, rounds=2)
    vm.cmd("quit")
    vm.wait()
    load_there(t, vm, "minivmm")


# ---- images that QEMU wrote once; their machine never ran ----

PAGES = (*range(512, 576), 3000, 4000)
MiB = 1 << 20
DISK = {    # (offset, bytes) of the first disk, all else is zero
    "first": {0: 0xa1, MiB: 0xa2, MiB + 65536: 0xa2},
    "second": {0: 0xc1, MiB: 0xa2, MiB + 65536: 0xa2},
}


def unpack(t, name):
    t.need("zstd")
    path = t.path(name)
    snapshots.tool("zstd", "-q", "-d", os.path.join(DATA, name + ".zst"), "-o", path)
    return path


def check_sample(t, vm, path, tag):
    number = {"first": 1, "second": 2}[tag]
    memory = ram.read(vm)
    for page in range(len(memory) // ram.PAGE):
        word = struct.pack("<Q", page | number << 56) if page in PAGES else bytes(8)
        got = memory[page * ram.PAGE:(page + 1) * ram.PAGE]
        assert got == word * (ram.PAGE // 8), f"page {page}: {got[:16].hex()}"
    vm.cmd("quit")
    vm.wait()
    disk = bytearray(16 * MiB)
    for offset, byte in DISK[tag].items():
        disk[offset:offset + 65536] = bytes([byte]) * 65536
    got = snapshots.content(t, path)
    wrong = ram.differing_pages(got, bytes(disk))
    assert not wrong, f"pages of the disk differ: {wrong[:8]}"
    check(path)


@only_minivmm("they were written by QEMU")
@table(**{f"q{v.replace('.', '_')}_{tag}_{'loadvm' if loadvm else 'job'}": {"version": v, "tag": tag, "loadvm": loadvm}
          for v in ("7.2", "11.1") for tag in ("first", "second") for loadvm in (True, False)})
def test_captured(t, version, tag, loadvm):
    """The firmware's size is the snapshot's; memory and disk are what they were."""
    path, other = unpack(t, f"snap-{version}.qcow2"), unpack(t, f"snap-{version}-second-disk.qcow2")
    extra = [*snapshots.disk("d0", path), *snapshots.disk("d1", other), "-uuid", "00112233-4455-6677-8899-aabbccddeeff"]
    vm = t.vmm("idle", memory="16M", paused=True, extra=[*extra, *(["-loadvm", tag] if loadvm else [])])
    vm.images = {"d0": path, "d1": other}
    if not loadvm:
        do(vm, "load", tag)
    snapshots.resident(vm)
    assert vm.status() == "prelaunch"
    check_sample(t, vm, path, tag)


@only_minivmm("they were written by QEMU")
def test_captured_disk_only(t):
    path, other = unpack(t, "snap-7.2.qcow2"), unpack(t, "snap-7.2-second-disk.qcow2")
    vm = t.vmm("idle", memory="16M", paused=True, extra=[*snapshots.disk("d0", path), *snapshots.disk("d1", other)])
    vm.images = {"d0": path}
    ended = snapshots.run(vm, "load", "disk-only")
    assert ended.error.startswith("This is a disk-only snapshot"), ended.error
