"""QEMU as the other end: what minivmm sends QEMU 7.2 loads and runs on, and the other way round.

With --kind qemu both ends are QEMU, which shows that the tests themselves are right.
"""
import ram
from case import table
from moves import Way, arrived, check_stopped, destination, goes_on, machine

PLAIN = {"guest": "counter", "append": "pages=100 rate=2000"}
FULL = {"guest": "smp-counter", "append": "pages=50 rate=1000 every=16", "cpus": 2, "rng": True}
DIRECTIONS = {"to_qemu": (None, "qemu"), "from_qemu": ("qemu", None)}


def start(t, options, **more):
    options = dict(options, **more)
    if options["guest"] == "smp-counter":
        options["disk"] = t.disk()
        options["net"] = t.net().path
    return machine(t, options.pop("guest"), options.pop("append"), **options)


def move(t, source, kind, scheme="unix", **more):
    way = Way(t, scheme)
    kind = kind or t.kind
    dest = destination(t, source, way.incoming(), kind=kind, **more)
    way.start(source, dest)
    return arrived(source, dest)


def rows():
    return {f"{guest}_{direction}": {"options": options, "kinds": kinds}
            for guest, options in (("plain", PLAIN), ("full", FULL))
            for direction, kinds in DIRECTIONS.items()}


@table(**rows())
def test_runs_on(t, options, kinds):
    """The guest goes on where it was: pages, timers, serial port, disk, entropy, network."""
    t.need("qemu", t.kind)
    cpus = options.get("cpus", 1)
    source = start(t, options, kind=kinds[0] or t.kind)
    goes_on(source, cpus)
    dest = move(t, source, kinds[1])
    left = check_stopped(source, cpus)
    dest.wait_running()
    now = goes_on(dest, cpus)
    assert all(n > s["generation"] for n, s in zip(now, left)), (left, now)
    report = dest.report()
    assert all(r["errors"] == 0 and r["ticks"] >= s["ticks"] for r, s in zip(report, left)), report
    if options is FULL:
        while ram.status(dest)["disk"] < left[0]["disk"] + 3:
            pass
        s = ram.status(dest)
        assert (s["disk_errors"], s["rng_errors"], s["net_errors"]) == (0, 0, 0), s


@table(**rows())
def test_ram_is_equal(t, options, kinds):
    t.need("qemu", t.kind)
    cpus = options.get("cpus", 1)
    source = start(t, options, kind=kinds[0] or t.kind)
    goes_on(source, cpus)
    dest = move(t, source, kinds[1], paused=True)
    assert dest.status() == "paused"
    there = ram.read(dest)
    ram.assert_equal(ram.read(source), there)
    for cpu in range(cpus):
        ram.check_range(there, cpu)


@table(plain={"options": PLAIN}, full={"options": FULL})
def test_there_and_back(t, options):
    """minivmm, QEMU, minivmm, QEMU, minivmm: the guest never notices."""
    t.need("qemu", t.kind)
    cpus = options.get("cpus", 1)
    vm = start(t, options, kind=t.kind)
    for kind in ("qemu", None) * 2:
        dest = move(t, vm, kind)
        t.forget(vm)
        vm = dest
        vm.wait_running()
        goes_on(vm, cpus)
    vm.cmd("stop")
    for s in check_stopped(vm, cpus):
        assert (s["disk_errors"], s["rng_errors"], s["net_errors"]) == (0, 0, 0), s


@table(to_qemu={"kinds": DIRECTIONS["to_qemu"]}, from_qemu={"kinds": DIRECTIONS["from_qemu"]})
def test_return_path(t, kinds):
    """With the capability on both sides the source learns that the destination runs."""
    t.need("qemu", t.kind)
    source = start(t, PLAIN, kind=kinds[0] or t.kind)
    source.capabilities("return-path")
    dest = destination(t, source, f"unix:{t.path('in')}", ["return-path"], kind=kinds[1] or t.kind)
    source.cmd("migrate", uri=f"unix:{t.path('in')}")
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)


@table(to_qemu={"kinds": DIRECTIONS["to_qemu"]}, from_qemu={"kinds": DIRECTIONS["from_qemu"]})
def test_mismatch(t, kinds):
    """The other program refuses another memory size; the source runs on and knows that it failed.

    QEMU 7.2 as the source has no error-desc when the refusal comes in at the same time as its own
    write still goes through; ours always has one.
    """
    t.need("qemu", t.kind)
    source = start(t, PLAIN, kind=kinds[0] or t.kind)
    source.capabilities("return-path")
    dest = destination(t, source, f"unix:{t.path('in')}", ["return-path"], kind=kinds[1] or t.kind, memory="32M")
    source.cmd("migrate", uri=f"unix:{t.path('in')}")
    source.wait_migration("failed")
    assert source.migration().get("error-desc") or source.kind == "qemu", source.migration()
    if source.kind == "minivmm" and dest.kind == "qemu":    # what to look at there
        assert "QEMU says why on its stderr" in source.migration()["error-desc"], source.migration()
        assert "ioapic2=off" in source.migration()["error-desc"], source.migration()
    if source.status() != "running":
        source.qmp.event("RESUME")
    goes_on(source)


@table(to_qemu={"kinds": DIRECTIONS["to_qemu"]}, from_qemu={"kinds": DIRECTIONS["from_qemu"]})
def test_stopped(t, kinds):
    """A guest stopped on one side is stopped on the other, and goes on when told to."""
    t.need("qemu", t.kind)
    source = start(t, PLAIN, kind=kinds[0] or t.kind)
    source.cmd("stop")
    dest = move(t, source, kinds[1])
    assert dest.status() == "paused"
    dest.cmd("cont")
    goes_on(dest)


def cpuid(t, kind, cpus):
    """What the guest reads: {"leaf subleaf": "eax ebx ecx edx"}."""
    vm = t.vmm("devices", "cpuid only=tsc", kind=kind, cpus=cpus)
    text = vm.serial.all()
    lines = [line.split() for line in text.splitlines() if line.startswith("cpuid ")]
    assert lines, text
    return {f"{leaf} {sub}": " ".join(registers) for _, leaf, sub, *registers in lines}


@table(one={"cpus": 1}, two={"cpus": 2})
def test_cpuid(t, cpus):
    """A guest sees the same processor on both: nothing in a stream says what it was."""
    t.need("qemu", t.kind)
    ours, theirs = cpuid(t, t.kind, cpus), cpuid(t, "qemu", cpus)
    different = {leaf: (ours.get(leaf), theirs.get(leaf)) for leaf in set(ours) | set(theirs)
                 if ours.get(leaf) != theirs.get(leaf)}
    assert not different, different


@table(to_qemu={"kinds": DIRECTIONS["to_qemu"]}, from_qemu={"kinds": DIRECTIONS["from_qemu"]})
def test_shared_ram(t, kinds):
    """x-ignore-shared over one file: no page of RAM is in the stream, and the guest goes on."""
    t.need("qemu", t.kind)
    source = start(t, PLAIN, kind=kinds[0] or t.kind, ram=t.path("shared.ram"))
    goes_on(source)
    source.capabilities("x-ignore-shared")
    dest = destination(t, source, f"unix:{t.path('in')}", ["x-ignore-shared"],
                       kind=kinds[1] or t.kind)
    source.cmd("migrate", uri=f"unix:{t.path('in')}")
    arrived(source, dest)
    moved = source.migration()["ram"]
    assert moved["transferred"] < 400000 and moved["total"] < 1 << 20, moved
    dest.wait_running()
    goes_on(dest)
    assert dest.report()[0]["errors"] == 0


@table(to_qemu={"kinds": DIRECTIONS["to_qemu"]}, from_qemu={"kinds": DIRECTIONS["from_qemu"]})
def test_shared_ram_must_match(t, kinds):
    """The capability on one side only: the other one names it, whichever program it is."""
    t.need("qemu", t.kind)
    for sides in ((["x-ignore-shared"], []), ([], ["x-ignore-shared"])):
        source = start(t, PLAIN, kind=kinds[0] or t.kind)
        source.capabilities("return-path", *sides[0])
        dest = destination(t, source, f"unix:{t.path('in')}", ["return-path", *sides[1]],
                           kind=kinds[1] or t.kind)
        source.cmd("migrate", uri=f"unix:{t.path('in')}")
        source.wait_migration("failed")
        if source.status() != "running":
            source.qmp.event("RESUME")
        goes_on(source)
        t.forget(source)
        t.forget(dest)
