"""Guests that break the rules of their devices: they stay movable, and what was saved loads."""
from case import only_minivmm, table
from moves import Way, arrived, destination, machine

NEEDS_RESET = 0x40
PORTS = ["-device", "virtio-serial-device", "-chardev", "null,id=hvc", "-device", "virtconsole,chardev=hvc",
         "-chardev", "null,id=port", "-device", "virtserialport,chardev=port"]
DEEDS = {"driver_ok": "deed=driver-ok", "jump": "deed=jump", "ff": "deed=ff",
         **{f"random{seed}": f"deed=random seed={seed}" for seed in range(1, 9)}}


def hostile(t, append, **options):
    source = machine(t, "hostile", append, started=False, disk=t.disk(), net=t.net().path, rng=True,
                     extra=PORTS, **options)
    source.serial.expect("hostile\n")
    return source


def move(t, source, scheme, **options):
    way = Way(t, scheme)
    dest = destination(t, source, way.incoming(), **options)
    way.start(source, dest)
    return arrived(source, dest)


def statuses(vm):
    vm.serial.write("r")
    line = vm.serial.expect(r"^R(( status=\d+)+)\nR end").group(1)
    return [int(word.split("=")[1]) for word in line.split()]


@only_minivmm("the interrupt of a device that breaks while QEMU loads it stops this guest")
@table(**{f"{name}_{scheme}": {"append": append, "scheme": scheme}
          for name, append in DEEDS.items() for scheme in ("unix", "file")})
def test_moves_and_runs(t, append, scheme):
    """Live and through a file; the guest goes on, with devices that need a reset."""
    dest = move(t, hostile(t, append), scheme)
    dest.wait_running()
    found = statuses(dest)
    assert len(found) == 4
    # The I/O loop looks at a device's queues when it starts, beside the guest.
    while "random" not in append and not all(status & NEEDS_RESET for status in found):
        found = statuses(dest)
    dest.serial.write("q")
    dest.wait()
