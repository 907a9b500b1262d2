"""Drivers at work between minivmm and QEMU 7.2, 10.0, 11.1: how large their queues are, and who takes them."""
import peers
import ram
from case import table
from moves import arrived, check_stopped, destination, goes_on, machine, works_on

LARGE = {"guest": "smp-counter", "append": "pages=50 rate=1000 every=8 queue=1024", "rng": True}
OVERRIDE = ("-global", "virtio-mmio.x-override-queue-size=1024")
RELEASES = ("7.2", "10.0", "11.1")


def kind_of(t, who):
    return t.kind if who == "ours" else peers.kind(t, who)


def start(t, who, extra=(), cpus=1):
    """A guest that makes its queues as large as the device says, up to 1024."""
    vm = machine(t, **LARGE, kind=kind_of(t, who), disk=t.disk(), net=t.net().path, extra=extra,
                 cpus=cpus)
    works_on(vm)
    return vm


def begin(t, source, who, extra=(), capabilities=(), **more):
    t._count += 1                                   # pylint: disable=protected-access
    uri = f"unix:{t.path(f'in{t._count}')}"         # pylint: disable=protected-access
    dest = destination(t, source, uri, capabilities, kind=kind_of(t, who), extra=extra, **more)
    source.cmd("migrate", uri=uri)
    return dest


def move(t, source, who, extra=()):
    dest = begin(t, source, who, extra)
    arrived(source, dest)
    check_stopped(source)
    t.forget(source)
    dest.wait_running()
    works_on(dest)
    return dest


def chain(t, hops):
    """Each hop is who, or (who, options)."""
    hops = [h if isinstance(h, tuple) else (h, ()) for h in hops]
    vm = start(t, *hops[0])
    for hop in hops[1:]:
        vm = move(t, vm, *hop)
    return vm


@table(**{f"{a}_{b}".replace(".", "_"): {"hops": (a, b)} for a, b in
          [("ours", r) for r in RELEASES] + [(r, "ours") for r in RELEASES]})
def test_runs_on(t, hops):
    chain(t, hops)


@table(to_11_1={"hops": ("ours", "11.1"), "extra": ()}, from_11_1={"hops": ("11.1", "ours"), "extra": ()},
       large={"hops": ("ours", "11.1"), "extra": OVERRIDE})
def test_ram_is_equal(t, hops, extra):
    """Two vCPUs and devices at work: all of memory, byte for byte, before the guest runs on."""
    source = start(t, hops[0], extra, cpus=2)
    dest = begin(t, source, hops[1], extra, paused=True)
    arrived(source, dest)
    ram.assert_equal(ram.read(source), ram.read(dest))
    for cpu in range(2):
        ram.check_range(dest, cpu)
    t.forget(source)
    dest.cmd("cont")
    works_on(dest)


@table(small_everywhere={"hops": ("ours", "11.1", "ours", "10.0", "ours", "7.2", "ours")},
       from_11_1={"hops": ("11.1", "ours", "7.2", "ours", "11.1")},
       large_stays={"hops": ("7.2", "ours", "10.0", "ours", "7.2")},
       large_into_11_1={"hops": ("7.2", "ours", ("11.1", OVERRIDE), "ours", "10.0")},
       overridden={"hops": (("ours", OVERRIDE), "ours", ("11.1", OVERRIDE), "ours", "7.2")})
def test_chain(t, hops):
    """As far as one likes: queues of 256 go everywhere, those of 1024 to all but a plain 11.1."""
    chain(t, hops)


@table(return_path={"capabilities": ("return-path",)}, plain={"capabilities": ()})
def test_refusal_names_the_cure(t, capabilities):
    """11.1 refuses a guest that came from 7.2 with 1024: the source says what helps, and runs on."""
    vm = chain(t, ("7.2", "ours"))
    vm.capabilities(*capabilities)
    begin(t, vm, "11.1", capabilities=capabilities)
    assert vm.wait_migration("completed", "failed") == "failed"
    error = vm.migration()["error-desc"]
    assert "virtio-mmio.x-override-queue-size=1024" in error and "11.1" in error, error
    if vm.status() != "running":
        vm.qmp.event("RESUME")
    works_on(vm)
    move(t, vm, "11.1", OVERRIDE)


def test_refusal_for_another_reason(t):
    """Nothing is said of queues when the guest's are as large as everywhere."""
    vm = start(t, "ours")
    vm.capabilities("return-path")
    dest = destination(t, vm, f"unix:{t.path('in')}", ["return-path"], kind=kind_of(t, "11.1"), memory="32M")
    vm.cmd("migrate", uri=f"unix:{t.path('in')}")
    vm.wait_migration("failed")
    error = vm.migration()["error-desc"]
    assert "queue" not in error and "QEMU says why on its stderr" in error, error
    t.forget(dest)


@table(**{r.replace(".", "_"): {"release": r} for r in ("7.2", "10.0")})
def test_idle_devices(t, release):
    """No driver has touched them: 10.0 calls its queues 1024 large all the same, and 11.1 takes what ours sends."""
    vm = machine(t, "counter", "pages=50 rate=1000", kind=kind_of(t, release), rng=True, disk=t.disk(),
                 net=t.net().path)
    goes_on(vm)
    for who in ("ours", "11.1"):
        dest = begin(t, vm, who)
        arrived(vm, dest)
        t.forget(vm)
        vm = dest
        vm.wait_running()
        goes_on(vm)
