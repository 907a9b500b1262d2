"""virtio-serial: ports and consoles, what the guest is told, pressure back in both directions, and moves."""
import os

from case import only_minivmm, table
from moves import arrived, destination, machine
from ports import AGENT, Client, check_echoes, options, pattern, stuff


def start(t, append="", console=False, **more):
    path = t.path("port")
    out = t.path("console") if console else None
    vm = machine(t, "ports", append, started=False, extra=options(path, out), **more)
    vm.serial.expect(r"ports 31")
    return vm, path


def in_use(vm):
    """What query-chardev says of the guest's end."""
    return next(c["frontend-open"] for c in vm.cmd("query-chardev") if c["label"] == "agent")


def opened(vm, path):
    """A peer at a port that the guest has opened."""
    vm.serial.expect(rf"control event=7 port=1 value=1 name={AGENT}")
    vm.serial.write("o")
    vm.serial.expect("opened")
    client = Client(path)
    vm.serial.expect("control event=6 port=1 value=1")
    return client


@table(own={"variant": "own"}, legacy={"variant": "legacy"}, ioapic2={"variant": "ioapic2"})
def test_echo(t, variant):
    vm, path = start(t, variant=variant)
    assert not in_use(vm)
    client = opened(vm, path)
    assert vm.qmp.event("VSERPORT_CHANGE")["data"] == {"id": "port1", "open": True}
    assert in_use(vm)
    for n in (1, 511, 512, 513, 4096, 4097, 100000):
        client.echo(pattern(n))
    vm.serial.write("c")
    vm.serial.expect("closed")
    assert vm.qmp.event("VSERPORT_CHANGE")["data"] == {"id": "port1", "open": False}
    assert not in_use(vm)
    vm.serial.write("o")
    client.echo(b"once more")


def test_what_the_guest_is_told(t):
    """Of every port: that it is there, its name, whether it is a console, whether somebody is there."""
    vm, path = start(t, console=True)
    vm.serial.expect("control event=1 port=1 value=1")
    vm.serial.expect("control event=1 port=0 value=1")
    vm.serial.expect(rf"control event=7 port=1 value=1 name={AGENT}")
    vm.serial.expect("control event=4 port=0 value=1")
    vm.serial.expect("control event=6 port=0 value=1")
    client = Client(path)
    vm.serial.expect("control event=6 port=1 value=1")
    client.close()
    vm.serial.expect("control event=6 port=1 value=0")
    client = Client(path)
    vm.serial.expect("control event=6 port=1 value=1")
    vm.serial.write("o")
    client.echo(pattern(3000))


def test_console(t):
    vm, _ = start(t, console=True)
    vm.serial.expect("control event=6 port=0 value=1")
    vm.serial.write("h")
    vm.serial.expect("^said")
    vm.serial.write("w")
    vm.serial.expect("written")
    with open(t.path("console"), "rb") as f:
        while (said := f.read()) != b"hello from the console\n!":
            f.seek(0)
            assert b"hello from the console\n!".startswith(said), said


def test_without_multiport(t):
    """Such a driver has port 0 alone, and need not open it."""
    path = t.path("port")
    vm = machine(t, "ports", "port=0", started=False, extra=[
        "-device", "virtio-serial-device,max_ports=1",
        "-chardev", f"socket,id=c,path={path},server=on,wait=off", "-device", "virtconsole,chardev=c"])
    vm.serial.expect("ports 1$")
    Client(path).echo(pattern(5000))


def test_reset(t):
    """The device is set up anew, the machine is reset: the port is closed, and works again."""
    vm, path = start(t)
    client = opened(vm, path)
    client.echo(b"before")
    for command in "zx":
        vm.serial.write(command)
        vm.serial.expect("ports 31")
        vm.serial.expect("control event=6 port=1 value=1")
        vm.serial.write("o")
        client.echo(b"again")


def test_peer_that_does_not_read(t):
    """What the guest sends waits in its ring, and comes whole when it is asked for."""
    vm, path = start(t)
    client = opened(vm, path)
    data = pattern(1 << 20)
    sent = stuff(vm, client, data)
    assert sent < len(data)
    assert client.take(sent) == data[:sent]
    client.echo(data[sent:sent + 1000])


def test_peer_that_leaves(t):
    """What it did not take is gone, and the next one gets its own bytes."""
    vm, path = start(t)
    client = opened(vm, path)
    stuff(vm, client, pattern(1 << 20))
    vm.serial.write("s")
    vm.serial.expect("flood$")
    assert "flooded" not in vm.serial.seen
    client.close()
    vm.serial.expect("^flooded|control event=6 port=1 value=0")
    vm.serial.expect("^flooded|control event=6 port=1 value=0")
    client = Client(path)
    vm.serial.expect("control event=6 port=1 value=1")
    client.echo(pattern(2000, 77))


def go(t, vm, path, **options_of_dest):
    """Moves the guest; the peer of the destination is at another path."""
    t._count += 1                       # pylint: disable=protected-access
    uri = f"unix:{t.path(f'in{t._count}')}"  # pylint: disable=protected-access
    there = path + "+"
    dest = destination(t, vm, uri, **{"extra": options(there), **options_of_dest})
    vm.cmd("migrate", uri=uri)
    arrived(vm, dest)
    dest.wait_running()
    return dest, there


def test_move_with_an_open_port(t):
    vm, path = start(t, monitors=2)
    client = opened(vm, path)
    client.echo(pattern(1000))
    for _ in range(3):
        dest, path = go(t, vm, path)
        client.close()
        t.forget(vm)
        vm = dest
        vm.serial.expect("control event=6 port=1 value=0")
        client = Client(path)
        vm.serial.expect("control event=6 port=1 value=1")
        client.echo(pattern(10000))
    assert vm.monitors[1].event("VSERPORT_CHANGE")["data"] == {"id": "port1", "open": True}


@only_minivmm("QEMU drops what no peer is there for")
def test_no_byte_is_lost_or_twice(t):
    """A chain of 64 KiB that the peer has taken in part: the rest comes out at the destination."""
    vm, path = start(t)
    client = opened(vm, path)
    data = pattern(1 << 20, 1 << 20)
    stuff(vm, client, data)
    vm.serial.write("s")
    vm.serial.expect("flood$")
    dest, path = go(t, vm, path)
    t.forget(vm)
    check_echoes(dest, client.rest(), Client(path), data)


@table(closed={"connected": False}, connected={"connected": True})
def test_state_at_the_destination(t, connected):
    """A peer that is there before the guest is, is no news to a guest that had one."""
    vm, path = start(t)
    client = opened(vm, path)
    there = path + "+"
    t._count += 1                       # pylint: disable=protected-access
    dest = destination(t, vm, f"unix:{t.path('in')}", extra=options(there))
    if connected:
        second = Client(there)
        dest.cmd("query-chardev")
    vm.cmd("migrate", uri=f"unix:{t.path('in')}")
    arrived(vm, dest)
    client.close()
    dest.wait_running()
    if not connected:
        dest.serial.expect("control event=6 port=1 value=0")
        second = Client(there)
        dest.serial.expect("control event=6 port=1 value=1")
    second.echo(pattern(3000))
    if connected and t.kind == "minivmm":       # QEMU says it once more
        assert "control" not in dest.serial.seen


@only_minivmm("QEMU does not say which port differs, nor at the source")
def test_ports_that_differ(t):
    """Refused in words, and the source runs on."""
    vm, path = start(t)
    client = opened(vm, path)
    uri = f"unix:{t.path('in')}"
    dest = destination(t, vm, uri, extra=options(path + "+", console=os.devnull)[:2])
    vm.capabilities("return-path")
    vm.cmd("migrate", uri=uri)
    assert vm.wait_migration("completed", "failed") == "failed"
    assert "port" in vm.migration()["error-desc"], vm.migration()
    client.echo(b"still here")
    t.forget(dest)
