"""virtio-serial between minivmm and QEMU 7.2, 10.0, 11.1: idle, with an open port, with a chain in flight."""
import peers
from case import table
from moves import arrived, destination, machine
from ports import AGENT, Client, check_echoes, options, pattern, stuff

RELEASES = ("7.2", "10.0", "11.1")
BOTH_WAYS = {f"{a}_{b}".replace(".", "_"): {"hops": (a, b)} for a, b in
             [("ours", r) for r in RELEASES] + [(r, "ours") for r in RELEASES]}


def kind_of(t, who):
    return t.kind if who == "ours" else peers.kind(t, who)


def start(t, who, console=True):
    path = t.path("port")
    vm = machine(t, "ports", started=False, kind=kind_of(t, who),
                 extra=options(path, t.path("console") if console else None))
    vm.serial.expect("control event=6 port=0 value=1|control event=7 port=1")
    return vm, path


def opened(vm, path):
    vm.serial.write("o")
    vm.serial.expect("opened")
    client = Client(path)
    vm.serial.expect("control event=6 port=1 value=1")
    return client


def move(t, vm, who, path):
    """To a destination at whose port somebody is there already."""
    t._count += 1                               # pylint: disable=protected-access
    uri = f"unix:{t.path(f'in{t._count}')}"     # pylint: disable=protected-access
    there = path + "+"
    dest = destination(t, vm, uri, kind=kind_of(t, who), extra=options(there, t.path("console+")))
    client = Client(there)
    dest.cmd("query-chardev")
    vm.cmd("migrate", uri=uri)
    arrived(vm, dest)
    dest.wait_running()
    return dest, there, client


@table(**BOTH_WAYS)
def test_closed_port(t, hops):
    """The port is opened at the destination."""
    vm, path = start(t, hops[0])
    dest, _, client = move(t, vm, hops[1], path)
    t.forget(vm)
    dest.serial.expect("control event=6 port=1 value=1")
    dest.serial.write("o")
    client.echo(pattern(5000))
    dest.serial.write("h")
    dest.serial.expect("^said")


@table(**BOTH_WAYS)
def test_open_port(t, hops):
    vm, path = start(t, hops[0])
    first = opened(vm, path)
    first.echo(pattern(3000))
    dest, _, client = move(t, vm, hops[1], path)
    t.forget(vm)
    client.echo(pattern(20000))
    if hops[1] == "ours":
        assert "control" not in dest.serial.seen    # somebody is there, as before; QEMU says it all the same


@table(**BOTH_WAYS)
def test_chain_in_flight(t, hops):
    """The peer has taken a part of 64 KiB: the rest comes out at the destination, nothing is lost or twice."""
    vm, path = start(t, hops[0])
    first = opened(vm, path)
    data = pattern(1 << 20, 1 << 20)
    stuff(vm, first, data)
    vm.serial.write("s")
    vm.serial.expect("flood$")
    dest, _, client = move(t, vm, hops[1], path)
    t.forget(vm)
    check_echoes(dest, first.rest(), client, data)


@table(chain={"hops": ("7.2", "ours", "11.1", "ours", "10.0", "ours", "7.2")})
def test_all_the_way(t, hops):
    vm, path = start(t, hops[0])
    client = opened(vm, path)
    for who in hops[1:]:
        dest, path, client = move(t, vm, who, path)
        t.forget(vm)
        vm = dest
        client.echo(pattern(9000))


@table(**{r.replace(".", "_"): {"release": r} for r in RELEASES})
def test_driver_is_told_the_same(t, release):
    """Features, configuration space and control messages, in any order."""
    says = []
    for who in ("ours", release):
        vm, _ = start(t, who)
        vm.serial.expect(f"name={AGENT}")
        vm.serial.write("o")
        vm.serial.expect("opened")
        says.append(sorted(vm.serial.seen.splitlines()))
        t.forget(vm)
    assert says[0] == says[1], says
