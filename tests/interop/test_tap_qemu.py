"""A card on a tap between minivmm and QEMU 7.2, 10.0, 11.1, its driver at work with the offloads that they know."""
import peers
import ram
from case import table
from moves import arrived, destination, goes_on, machine

USO = 0x7 << 54             # GUEST_USO4, GUEST_USO6, HOST_USO
OFFLOADS = 0x7783           # checksums, TSO, ECN, UFO; control of offloads is not among them
TUNNELS = ",host_tunnel=on,guest_tunnel=on"


def options(t, who, properties=""):
    tap = t.tap()
    return tap, {"kind": t.kind if who == "ours" else peers.kind(t, who), "extra": tap.options(properties),
                 "fds": [tap.fd]}


def works_on(vm):
    """Frames go out and come back (one that is on its way during a move may be lost, and is sent again)."""
    before = ram.status(vm)
    goes_on(vm)
    while ram.status(vm)["net"] < before["net"] + 3:
        pass
    assert ram.status(vm)["net_errors"] == 0, ram.status(vm)


def start(t, who, features, properties=""):
    tap, more = options(t, who, properties)
    if features & USO and not tap.has_uso:
        t.skip("this host's taps have no UDP segmentation")
    vm = machine(t, "smp-counter", f"pages=50 rate=1000 every=8 net={features:#x}", **more)
    works_on(vm)
    return vm


def begin(t, source, who, properties=""):
    t._count += 1                                   # pylint: disable=protected-access
    uri = f"unix:{t.path(f'in{t._count}')}"         # pylint: disable=protected-access
    dest = destination(t, source, uri, **options(t, who, properties)[1])
    source.cmd("migrate", uri=uri)
    return dest


def move(t, source, *to):
    dest = begin(t, source, *to)
    arrived(source, dest)
    t.forget(source)
    dest.wait_running()
    works_on(dest)
    return dest


@table(to_11_1={"hops": ("ours", "11.1")}, to_10_0={"hops": ("ours", "10.0")},
       from_10_0={"hops": ("10.0", "ours")}, through={"hops": ("11.1", "ours", "10.0", "ours", "11.1", "ours")})
def test_uso(t, hops):
    """The guest has taken it; the subsection that 11.1 sends and 10.0 refuses does not come out of ours."""
    vm = start(t, hops[0], OFFLOADS | USO)
    for who in hops[1:]:
        vm = move(t, vm, who)


@table(to_7_2={"hops": ("ours", "7.2")}, through={"hops": ("7.2", "ours", "11.1", "ours", "7.2")})
def test_without_uso(t, hops):
    """It is offered where it can be, and a guest that has not taken it goes everywhere."""
    vm = start(t, hops[0], OFFLOADS)
    for who in hops[1:]:
        vm = move(t, vm, who)


def test_tunnels(t):
    """With the switches on, the stream is as 11.1's."""
    vm = start(t, "ours", OFFLOADS, TUNNELS)
    for hop in (("11.1",), ("ours", TUNNELS), ("11.1",)):
        vm = move(t, vm, *hop)


@table(uso={"features": OFFLOADS | USO, "who": "7.2", "properties": "",
            "says": "QEMU 7.2 a guest must have been started with these off: guest_uso4, guest_uso6, host_uso"},
       tunnels={"features": OFFLOADS, "who": "10.0", "properties": TUNNELS,
                "says": "QEMU 7.2 and 10.0 a guest must have been started with these off: guest_tunnel, host_tunnel"})
def test_refusal_names_features(t, features, who, properties, says):
    """QEMU only closes the connection: the source says what it may be."""
    vm = start(t, "ours", features, properties)
    begin(t, vm, who)
    assert vm.wait_migration("completed", "failed") == "failed"
    assert says in vm.migration()["error-desc"], vm.migration()
    if vm.status() != "running":
        vm.qmp.event("RESUME")
    works_on(vm)


@table(ours={"who": "ours", "says": "features: guest_uso4, guest_uso6, host_uso: on at the source"},
       qemu={"who": "11.1", "says": "features that are not offered here: guest_uso4, guest_uso6, host_uso"})
def test_not_offered_here(t, who, says):
    """Ours as the destination names them, before a page is sent where the source is ours, too."""
    vm = start(t, who, OFFLOADS | USO)
    dest = begin(t, vm, "ours", ",host_uso=off,guest_uso4=off,guest_uso6=off")
    assert dest.wait_loaded() == "failed"
    assert says in dest.migration()["error-desc"], dest.migration()
    vm.wait_migration("failed", "completed")        # 11.1 had perhaps written everything


def test_offered_and_not_taken(t):
    """A destination that does not offer it is as good for a guest that does without."""
    vm = start(t, "ours", OFFLOADS)
    move(t, vm, "ours", ",host_uso=off,guest_uso4=off,guest_uso6=off")
