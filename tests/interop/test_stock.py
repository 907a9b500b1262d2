"""The machine of QEMU's own `-M microvm`: a guest that was started by such a command line, of each QEMU, is taken in
and given back.
"""
import peers
import ram
from case import only_minivmm, table
from moves import Way, arrived, check_stopped, destination, goes_on, machine

GUEST = {"guest": "smp-counter", "append": "pages=50 rate=1000 every=16", "cpus": 2, "rng": True,
         "variant": "stock"}
VERSIONS = {"7.2": {"version": "7.2"}, "10.0": {"version": "10.0"}, "11.1": {"version": "11.1"}}
FIRMWARE = {"7.2": 0x10000, "10.0": 0x20000, "11.1": 0x20000}


def qemu(t, version):
    t.need("qemu")
    path, why = peers.qemu(version)
    if why:
        t.skip(why)
    return path


def move(t, source, **options):
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming(), **options)
    way.start(source, dest)
    arrived(source, dest)
    return dest


def equal(source, dest, cpus=2):
    """All memory, before the guest runs on."""
    there = ram.read(dest)
    ram.assert_equal(ram.read(source), there)
    for cpu in range(cpus):
        ram.check_range(there, cpu)


def works(vm, cpus=2):
    """Every processor counts and every device answers."""
    before = ram.status(vm)["disk"]
    goes_on(vm, cpus)
    while ram.status(vm)["disk"] < before + 3:
        pass
    vm.cmd("stop")
    s = check_stopped(vm, cpus)[0]
    assert (s["errors"], s["disk_errors"], s["rng_errors"], s["net_errors"]) == (0, 0, 0, 0), s
    vm.cmd("cont")


@only_minivmm("it is about minivmm between two QEMUs")
@table(**VERSIONS)
def test_there_and_back(t, version):
    """QEMU, minivmm, QEMU, minivmm, with drivers at work; the firmware is the source's, nobody gives -bios."""
    program = qemu(t, version)
    vm = machine(t, kind="qemu", program=program, disk=t.disk(), net=t.net().path, **GUEST)
    goes_on(vm, 2)
    for kind in (t.kind, "qemu", t.kind):
        dest = move(t, vm, kind=kind, program=program if kind == "qemu" else None, paused=True)
        equal(vm, dest)
        t.forget(vm)
        vm = dest
        vm.cmd("cont")
        works(vm)


@only_minivmm("it is about minivmm as the first")
@table(**VERSIONS)
def test_from_here(t, version):
    """A guest that was started here; both have the same file of firmware, for its size is what QEMU wants."""
    bios = ["-bios", "/usr/share/qemu/qboot.rom"]
    # The guest's driver takes queues of 16, and 11.1 refuses more than 8 for the entropy device.
    guest = dict(GUEST, rng=version != "11.1")
    vm = machine(t, kind=t.kind, disk=t.disk(), net=t.net().path, extra=bios, **guest)
    goes_on(vm, 2)
    for kind, program in (("qemu", qemu(t, version)), (t.kind, None)):
        dest = move(t, vm, kind=kind, program=program, paused=True)
        equal(vm, dest)
        t.forget(vm)
        vm = dest
        vm.cmd("cont")
        works(vm)


@only_minivmm("QEMU has one size of its firmware, that of its file")
@table(**VERSIONS)
def test_firmware_is_adopted(t, version):
    """The block has the source's size and content, but for the kvmclock of SeaBIOS, 32 bytes that KVM writes."""
    source = machine(t, "idle", "", kind="qemu", program=qemu(t, version), variant="stock")
    dest = move(t, source, kind=t.kind, program=None, paused=True)
    for vm in (source, dest):
        vm.cmd("pmemsave", val=(1 << 32) - FIRMWARE[version], size=FIRMWARE[version], filename=t.path("firmware-" + vm.kind))
    ours, theirs = (open(t.path("firmware-" + vm.kind), "rb").read() for vm in (dest, source))
    assert len(ours) == len(theirs) and any(ours)
    differ = [i for i in range(len(ours)) if ours[i] != theirs[i]]
    assert not differ or differ[-1] - differ[0] < 32, [hex(i) for i in differ]


@only_minivmm("the words are minivmm's")
@table(ioapic={"extra": {}, "words": "ioapic2=on"},
       rtc={"extra": {"variant": "own"}, "into": "stock", "words": "rtc=on"})
def test_another_machine(t, extra, words, into="own"):
    """The refusal names the option that gives the machine what the stream is for."""
    t.need("qemu", t.kind)
    source = machine(t, "idle", "", kind="qemu", **{"variant": "stock", **extra})
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming(), kind=t.kind, variant=into,
                       extra=["-global", "migration.exit-on-error=off"])
    way.start(source, dest)
    dest.wait_migration("failed")
    assert words in dest.migration()["error-desc"], dest.migration()
