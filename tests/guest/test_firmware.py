"""-bios: the file's bytes end at 4 GiB, and the processor starts in them."""
import subprocess

from vmm import PROGRAMS  # pylint: disable=import-error

MACHINE = "microvm,acpi=on,ioapic2=off,pic=on,pit=on,rtc=on,isa-serial=on,kernel_irqchip=on"


def run(t, vector, *options):
    """The exit status with a firmware of zeros but for the code at the reset vector."""
    t.need("kvm", t.kind)
    path = t.path("firmware")
    with open(path, "wb") as f:
        f.write(bytes(65536 - 16) + vector.ljust(16, b"\0"))
    argv = [PROGRAMS[t.kind]["path"], "-M", MACHINE, "-accel", "kvm", "-cpu", "qemu64", "-m", "16",
            "-bios", path, "-nodefaults", "-display", "none", *options]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60, check=False)
    print(done.stdout.decode())
    return done.returncode


def test_firmware_runs(t):
    """mov $21, %al; out %al, $0xf4"""
    status = run(t, b"\xb0\x15\xe6\xf4\xf4", "-device", "isa-debug-exit,iobase=0xf4,iosize=4")
    assert status == 21 << 1 | 1, status


def test_low_copy(t):
    """The same bytes are below 1 MiB: jump to f000:fff5, and leave from there."""
    vector = b"\xea\xf5\xff\x00\xf0" + b"\xb0\x15\xe6\xf4\xf4"
    status = run(t, vector, "-device", "isa-debug-exit,iobase=0xf4,iosize=4")
    assert status == 21 << 1 | 1, status
