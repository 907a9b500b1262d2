"""Every device, by the guest that exercises it."""
from case import table

DEVICES = ["serial", "rtc", "cmos", "fw_cfg", "ged", "pit", "pic", "lapic-timer", "tsc", "mmio", "rng", "blk",
           "blk-errors", "net", "malformed", "acpi", "smp"]


def run(t, append="", **options):
    """The guest's result lines: {name: "ok", "skip why" or "FAIL why"}."""
    vm = t.vmm("devices", append, **options)
    text = vm.serial.all()
    assert vm.wait() == 0, text
    results = {}
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word in ("ok", "skip", "FAIL"):
            name, _, why = rest.partition(" ")
            results[name] = f"{word} {why}".strip()
    assert "done " in text, text
    assert not [n for n, r in results.items() if r.startswith("FAIL")], results
    return results, text


@table(one={"cpus": 1}, two={"cpus": 2}, four={"cpus": 4})
def test_all(t, cpus):
    echo = t.net()
    results, text = run(t, "disk-id=minivmm-disk", cpus=cpus, disk=t.disk(), rng=True, net=echo.path)
    skipped = {"smp"} if cpus == 1 else set()
    assert results == {n: "skip one processor" if n in skipped else "ok" for n in DEVICES}, results
    # filled from the highest slot down, in the order of the command line: disk, network, entropy
    assert "slot 7 device 2\n" in text and "slot 6 device 1\n" in text and \
        "slot 5 device 4\n" in text, text
    assert echo.frames == 3, echo.frames


STOCK = {"rtc": "skip no clock chip", "cmos": "skip no clock chip"}
OLD = {"malformed": "skip a legacy device has no such status"}
NONE = {"pit": "skip no timer", "pic": "skip no 8259"}


@table(stock={"variant": "stock", "slot": 23, "skips": {**STOCK, **OLD}},
       legacy={"variant": "legacy", "skips": OLD},
       split={"variant": "split"},
       split_two={"variant": "split", "cpus": 2},
       ioapic2={"variant": "ioapic2", "slot": 23},
       ioapic2_two={"variant": "ioapic2", "slot": 23, "cpus": 2},
       bare={"variant": "bare", "slot": 23, "skips": {**STOCK, **OLD, **NONE}})
def test_variant(t, variant, skips=None, slot=7, cpus=1):
    """The choices of transport, IOAPICs, and where the interrupt controllers are."""
    skips = dict(skips or {}, **({"smp": "skip one processor"} if cpus == 1 else {}))
    results, text = run(t, variant=variant, cpus=cpus, disk=t.disk(), rng=True, net=t.net().path)
    assert results == {n: skips.get(n, "ok") for n in DEVICES}, results
    assert f"slot {slot} device 2\n" in text, text


def test_no_devices(t):
    results, _ = run(t)
    assert {n for n, r in results.items() if r.startswith("skip")} == \
        {"rng", "blk", "blk-errors", "net", "malformed", "smp"}, results


def test_more_memory(t):
    """RAM sizes in CMOS and fw_cfg, tables and disks with another machine."""
    results, _ = run(t, memory="200M", disk=t.disk(3))
    assert results["blk"] == "ok" and results["cmos"] == "ok", results


def test_disk_content(t):
    """What the guest wrote is in the image."""
    disk = t.disk()
    run(t, "only=blk", disk=disk)
    with open(disk, "rb") as f:
        data = f.read()
    assert any(data[:512]) and any(data[3 * 512:11 * 512]) and any(data[-512:])
    assert not any(data[16 * 512:-512])


def test_read_only_disk(t):
    """Writes are refused by the device, and nothing reaches the image."""
    disk = t.disk()
    vm = t.vmm("devices", "only=blk", extra=[
        "-drive", f"file={disk},if=none,id=d,format=raw,readonly=on",
        "-device", "virtio-blk-device,drive=d"])
    vm.serial.expect("FAIL blk a write fails")
    with open(disk, "rb") as f:
        assert not any(f.read())


@table(io_uring={"options": "aio=io_uring"}, threads={"options": "aio=threads"},
       direct={"options": "cache=none"}, unsafe={"options": "cache=unsafe"})
def test_disk_modes(t, options):
    disk = t.disk()
    vm = t.vmm("devices", "only=blk", extra=[
        "-drive", f"file={disk},if=none,id=d,format=raw,{options}",
        "-device", "virtio-blk-device,drive=d"])
    vm.serial.expect("ok blk")
    assert vm.wait() == 0


def test_blockdev(t):
    disk = t.disk()
    vm = t.vmm("devices", "only=blk", extra=[
        "-blockdev", f"driver=file,filename={disk},node-name=file0",
        "-blockdev", "driver=raw,file=file0,node-name=raw0",
        "-device", "virtio-blk-device,drive=raw0,id=vd0"])
    vm.serial.expect("ok blk")
    assert vm.wait() == 0


@table(memfd={"backend": "memfd"}, anonymous={"backend": "anonymous"})
def test_memory_backends(t, backend):
    results, _ = run(t, backend=backend, disk=t.disk(), rng=True)
    assert results["blk"] == "ok" and results["fw_cfg"] == "ok", results


def test_network_peer_leaves(t):
    """A stream netdev without a peer loses frames, not the guest."""
    vm = t.vmm("devices", "only=mmio", net=t.path("nobody"))
    vm.serial.expect("ok mmio")
    assert vm.wait() == 0


@table(file={"spec": "file:{path}"}, chardev={"spec": "chardev:f"}, null={"spec": "null"})
def test_serial_backends(t, spec):
    path = t.path("serial.txt")
    vm = t.vmm("hello", serial=False, extra=["-chardev", f"file,id=f,path={path}",
                                             "-serial", spec.format(path=path)])
    assert vm.wait() == 0
    with open(path, encoding="ascii") as f:
        text = f.read()
    assert text == ("" if spec == "null" else "hello from a tiny guest\n"), text


def test_no_serial(t):
    """Without -serial there is no UART; the guest's polling finds all ones and goes on."""
    vm = t.vmm("hello", serial=False)
    assert vm.wait() == 0
