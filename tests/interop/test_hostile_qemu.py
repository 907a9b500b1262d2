"""Guests that break the rules of their devices move between minivmm and QEMU too.

QEMU loads them; that the guest answers is asked of minivmm only. QEMU 7.2 raises the interrupt of a
device that is broken while the machine is being loaded, and this guest does not answer again, whatever
the source is. QEMU also sends what the guest wrote to a disk's capacity, which minivmm takes for
another disk: that guest leaves the configuration space alone.
"""
from case import table
from moves import Way, arrived, destination, machine

DEEDS = {"driver_ok": "deed=driver-ok", "jump": "deed=jump", "ff": "deed=ff",
         **{f"random{seed}": f"deed=random seed={seed}" for seed in range(1, 9)}}
DIRECTIONS = {"to_qemu": (None, "qemu"), "from_qemu": ("qemu", None)}


@table(**{f"{name}_{direction}": {"append": append, "kinds": kinds}
          for name, append in DEEDS.items() for direction, kinds in DIRECTIONS.items()})
def test_moves(t, append, kinds):
    t.need("qemu", t.kind)
    source = machine(t, "hostile", f"{append} config=0", started=False, disk=t.disk(), rng=True,
                     kind=kinds[0] or t.kind)
    source.serial.expect("hostile\n")
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming(), kind=kinds[1] or t.kind)
    way.start(source, dest)
    arrived(source, dest)
    dest.wait_running()
    if dest.kind == "minivmm":
        dest.serial.write("r")
        dest.serial.expect(r"^R( status=\d+)+\nR end")
