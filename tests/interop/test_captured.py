"""Streams that QEMU 7.2, 10.0 and 11.1 saved once (tests/data/streams) load, and their memory is that of the stream.

Nothing runs: what arrives is compared where it stands.
"""
import lzma
import os
import struct

import ram
import stream
from case import only_minivmm, table
from vmm import ROOT

DATA = os.path.join(ROOT, "tests", "data", "streams")
LEGACY = {"variant": "stock", "memory": "128M", "cpus": 2}      # most of 7.2: QEMU's own machine, and a clock
NEWER = {"variant": "own", "memory": "64M"}
CARD = ("-device", "virtio-net-device,netdev=net0")
REST = ("-device", "virtio-rng-device", "-device", "virtio-balloon-device", "-device", "virtio-serial-device",
        "-chardev", "null,id=hvc0", "-device", "virtconsole,chardev=hvc0")
SMALL = {"variant": "stock", "memory": "16M"}
NUMBERED = (*range(256, 320), 4000, 4095)       # pages that hold their number, in each word; the others nothing
EACH = ("-netdev", "user,id=net0", *CARD, *REST)        # a device of each kind
WALL_CLOCK = 0x3600000       # of the Linux guest: KVM writes it when the MSR that says where is loaded
DEVICES = {"net": True, "rng": True, "disk": 1}


def stock(more=EACH, disk=1, **properties):
    """QEMU 7.2's own machine, but for these properties."""
    machine = ",".join(["microvm", "stock=on", *(f"{k}={v}" for k, v in dict({"rtc": "on"}, **properties).items())])
    return dict(LEGACY, extra=("-M", machine, *more), disk=disk)


@only_minivmm("its streams are written for QEMU, whose machines are described in other words")
@table(
    s1=dict(name="s1", options=stock()),
    i0=dict(name="i0", options=stock(ioapic2="off")),
    irqk1=dict(name="irqk1", options=stock(ioapic2="off", kernel_irqchip="on")),
    mod=dict(name="mod", options=stock(("-global", "virtio-mmio.force-legacy=false", *EACH))),
    min=dict(name="min", options=stock((), 0, **{"pic": "off", "pit": "off", "rtc": "off", "isa-serial": "off"})),
    linux2=dict(name="linux2", options=dict(NEWER, memory="96M", cpus=2, disk=16, extra=REST), tap="net0", written=(WALL_CLOCK,)),
    q10_idle=dict(name="q10-idle", options=NEWER),
    q10_dev=dict(name="q10-dev", options=dict(NEWER, cpus=2, **DEVICES)),
    q10_active=dict(name="q10-active", options=dict(NEWER, **DEVICES)),
    q11_idle=dict(name="q11-idle", options=NEWER),
    q11_dev=dict(name="q11-dev", options=dict(NEWER, cpus=2, **DEVICES)),
    q11_active=dict(name="q11-active", options=dict(NEWER, **DEVICES)),
    q11_tap=dict(name="q11-tap", options=NEWER, tap="net0"),
    q11_mapped=dict(name="q11-mapped", options=NEWER, capabilities=("mapped-ram",)),
    q11_snapshot=dict(name="q11-snapshot", options=dict(NEWER, disk=1)),
    mapped_10=dict(name="mapped-ram-10.0", options=SMALL, capabilities=("mapped-ram",), offset=0x1000, numbered=NUMBERED),
    mapped_11=dict(name="mapped-ram-multifd-11.1", options=SMALL, capabilities=("mapped-ram", "multifd"), offset=0x1000,
                   numbered=NUMBERED),
    q11_stock=dict(name="q11-stock", options=dict(variant="stock", memory="64M")),
)
def test_captured(t, name, options, tap=None, capabilities=(), written=(), offset=0, numbered=()):
    path, options = t.path("saved"), dict(options)
    with lzma.open(os.path.join(DATA, name + ".mig.xz")) as packed, open(path, "wb") as f:
        f.write(packed.read())
    extra = tuple(options.pop("extra", ()))
    if tap:
        host = t.tap()
        options["fds"] = [host.fd]
        extra = ("-netdev", f"tap,id={tap},fd={host.fd}", *CARD, *extra)
    if options.get("disk"):
        options["disk"] = t.disk(options["disk"])
    if options.get("net"):
        options["net"] = t.net().path
    vm = t.vmm("idle", "", backend="anonymous", incoming="defer", paused=True, extra=extra, **options)
    vm.capabilities("events", *capabilities)
    vm.cmd("migrate-incoming", uri=f"file:{path},offset={offset:#x}")
    assert vm.wait_migration("completed", "failed") == "completed", vm.migration()
    assert vm.status() in ("prelaunch", "paused"), vm.status()
    if numbered:
        want = bytearray(vm.ram_bytes)
        for page in numbered:
            want[page * ram.PAGE:(page + 1) * ram.PAGE] = struct.pack("<Q", page) * (ram.PAGE // 8)
        ram.assert_equal(bytes(want), ram.read(vm), "what was saved and the guest")
    elif "mapped-ram" in capabilities:  # the pages are not among the records: see test_mapped_qemu
        pages = ram.read(vm, 16 << 20, 16 << 20)
        rounds = {pages[at:at + 8] for at in range(0, len(pages), 4096)}
        assert len(rounds) <= 2 and bytes(8) not in rounds, rounds
    else:
        assert [p for p in ram.differing_pages(stream.load(path).blocks["microvm.ram"], ram.read(vm)) if p not in written] == []
