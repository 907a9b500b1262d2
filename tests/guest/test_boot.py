"""Starting and ending: tiny guests boot, wrong files are refused in words, every end is clean."""
import os
import signal
import struct
import subprocess

from case import only_minivmm, table
from qmp import Qmp
from vmm import PROGRAMS, guest_path


def test_hello(t):
    vm = t.vmm("hello", "say=abc")
    vm.serial.expect(r"hello from a tiny guest\nsay abc\n")
    end = vm.qmp.event("SHUTDOWN")["data"]
    assert end == {"guest": True, "reason": "guest-shutdown"}, end
    assert vm.wait() == 0


@table(zero={"code": 0}, seven={"code": 7})
def test_debug_exit(t, code):
    """isa-debug-exit ends the program with status 2 * value + 1."""
    vm = t.vmm("hello", f"exit=debug code={code}",
               extra=["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
    assert vm.wait() == 2 * code + 1


@table(reset={"how": "reset"}, triple_fault={"how": "triple"})
def test_no_reboot(t, how):
    vm = t.vmm("hello", f"exit={how}", extra=["-no-reboot"])
    end = vm.qmp.event("SHUTDOWN")["data"]
    assert end == {"guest": True, "reason": "guest-reset"}, end
    assert vm.wait() == 0
    assert vm.serial.all().count("hello") == 1


@table(reset={"how": "reset"}, triple_fault={"how": "triple"})
def test_reboot(t, how):
    """Without -no-reboot the guest boots again, as often as it resets."""
    vm = t.vmm("hello", f"exit={how}")
    for _ in range(3):
        vm.serial.expect("hello from a tiny guest")
    reset = vm.qmp.event("RESET")["data"]
    assert reset == {"guest": True, "reason": "guest-reset"}, reset
    assert vm.status() == "running"


# Says what its command line is on the serial port, if EAX is as Multiboot says, and ends with 3.
MULTIBOOT = bytes.fromhex("3d02b0ad2b 7513 8b7310 ac 84c0 7407 66baf803 ee ebf4 b003 e6f4 f4ebfd")


def multiboot_file(path):
    """A 32-bit ELF file with a Multiboot header and no note."""
    base, magic = 0x200000, 0x1BADB002
    text = struct.pack("<III", magic, 3, 2**32 - magic - 3) + MULTIBOOT
    header = struct.pack("<4sBBB9xHHIIIIIHHHHHH", b"\x7fELF", 1, 1, 1, 2, 3, 1, base + 12, 52, 0, 0,
                         52, 32, 1, 0, 0, 0)
    segment = struct.pack("<IIIIIIII", 1, 84, base, base, len(text), len(text), 7, 4)
    with open(path, "wb") as f:
        f.write(header + segment + text)
    return path


@only_minivmm("QEMU's qboot runs no option ROM")
def test_multiboot(t):
    path = multiboot_file(t.path("kernel"))
    vm = t.vmm(path, "say=abc", extra=["-device", "isa-debug-exit,iobase=0xf4,iosize=4"], paused=True)
    vm.cmd("cont")
    vm.serial.expect(f"{path} say=abc")
    assert vm.wait() == 7


def test_reset_register_and_cmos(t):
    """The devices guest reboots once; a byte of CMOS survives."""
    vm = t.vmm("devices", "reboot only=cmos")
    vm.serial.expect("first boot")
    vm.serial.expect("second boot")
    vm.serial.expect("ok cmos")
    assert vm.wait() == 0


def test_no_shutdown(t):
    vm = t.vmm("hello", extra=["-no-shutdown"])
    vm.qmp.event("SHUTDOWN")
    vm.qmp.event("STOP")
    assert vm.status() == "shutdown"
    assert vm.qmp.fails("cont") == "Resetting the Virtual Machine is required"
    vm.cmd("system_reset")
    vm.cmd("cont")
    vm.serial.expect(r"hello(.|\n)*hello")
    vm.cmd("quit")
    assert vm.wait() == 0


def test_start_paused(t):
    vm = t.vmm("hello", paused=True)
    assert vm.cmd("query-status") | {"singlestep": False} == \
        {"status": "prelaunch", "running": False, "singlestep": False}
    assert vm.serial.seen == ""
    vm.cmd("cont")
    vm.serial.expect("hello")
    assert vm.wait() == 0


@table(term={"number": signal.SIGTERM}, int={"number": signal.SIGINT},
       hup={"number": signal.SIGHUP})
def test_signal(t, number):
    vm = t.vmm("idle", extra=["-no-shutdown"])
    vm.serial.expect("idle")
    vm.signal(number)
    end = vm.qmp.event("SHUTDOWN")["data"]
    assert end == {"guest": False, "reason": "host-signal"}, end
    assert vm.wait() == 0


def test_quit(t):
    vm = t.vmm("idle")
    vm.cmd("quit")
    vm.qmp.wait_closed()
    assert vm.qmp.events[-1]["data"] == {"guest": False, "reason": "host-qmp-quit"}
    assert vm.wait() == 0


def test_power_button(t):
    vm = t.vmm("idle")
    vm.serial.expect("idle")
    vm.cmd("system_powerdown")
    vm.qmp.event("POWERDOWN")
    vm.serial.expect("button 2")
    assert vm.wait() == 0


def test_host_reset(t):
    vm = t.vmm("idle")
    vm.serial.expect("idle")
    vm.cmd("system_reset")
    assert vm.qmp.event("RESET")["data"] == {"guest": False, "reason": "host-qmp-system-reset"}
    vm.serial.expect("idle")


def test_emulation_failure(t):
    """What KVM cannot go on with stops the machine, not the program; a reset mends it."""
    vm = t.vmm("hello", "exit=badcode", extra=["-no-reboot"])
    event = vm.qmp.any_event(lambda e: e["event"] in ("STOP", "SHUTDOWN"), "STOP or SHUTDOWN")
    if event["event"] == "SHUTDOWN":
        t.skip("this /dev/kvm executes what others cannot emulate")
    assert vm.status() == "internal-error"
    assert vm.qmp.fails("cont") == "Resetting the Virtual Machine is required"


def test_panic(t):
    """A panic that the guest tells of, with -action panic=pause."""
    vm = t.vmm("hello", "exit=panic", extra=["-device", "pvpanic", "-action", "panic=pause"])
    assert vm.qmp.event("GUEST_PANICKED")["data"]["action"] == "pause"
    if "STOP" not in [e["event"] for e in vm.qmp.events]:
        vm.qmp.event("STOP")
    assert vm.status() == "guest-panicked"


# ---- wrong files ----

def refused(t, *options, name="refused"):
    """Runs the program under test to its end, which must be status 1; what it said."""
    t.need("kvm", t.kind)
    program = PROGRAMS[t.kind]
    argv = [program["path"], "-M", "microvm,ioapic2=off,rtc=on,kernel_irqchip=on" + program["machine"],
            "-accel", "kvm", "-cpu", "qemu64", "-m", "24M", "-nodefaults", "-display", "none",
            *program["options"], *options]
    with open(t.path(name), "w+b") as log:
        status = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=60,
                                check=False).returncode
        log.seek(0)
        text = log.read().decode()
    assert status == 1, f"status {status}: {text}"
    return text


def written(t, name, data):
    path = t.path(name)
    with open(path, "wb") as f:
        f.write(data)
    return path


def elf_without_note():
    with open(guest_path("hello"), "rb") as f:
        return f.read().replace(b"Xen\0", b"Xyz\0", 1)


def elf_with_wild_segment():
    with open(guest_path("hello"), "rb") as f:
        data = bytearray(f.read())
    phoff, = struct.unpack_from("<Q", data, 32)
    struct.pack_into("<Q", data, phoff + 8, 1 << 60)    # p_offset of the first segment
    return bytes(data)


WRONG_KERNELS = {
    "missing": None,
    "empty": lambda: b"",
    "text": lambda: b"this is not a kernel at all\n" * 100,
    "no_pvh_note": elf_without_note,
    "wild_segment": elf_with_wild_segment,
    "cut": lambda: open(guest_path("hello"), "rb").read(100),
}


@only_minivmm("QEMU hands some wrong files to its firmware")
@table(**{name: {"which": name} for name in WRONG_KERNELS})
def test_wrong_kernel(t, which):
    """One sentence that names the file; no guest is started."""
    make = WRONG_KERNELS[which]
    path = t.path("absent") if make is None else written(t, which, make())
    text = refused(t, "-kernel", path)
    assert path in text, text
    said = [line for line in text.splitlines() if ": warning: " not in line]
    assert len(said) == 1, text


@table(
    unknown_option={"options": ["-zz"], "words": "invalid option"},
    no_value={"options": ["-m"], "words": "requires an argument"},
    machine_property={"options": ["-M", "microvm,zz=on"], "words": "zz"},
    machine_type={"options": ["-M", "zz"], "words": "unsupported machine type"},
    memory={"options": ["-m", "zz"], "words": "size"},
    cpus={"options": ["-smp", "0x"], "words": "cpus"},
    cpu_model={"options": ["-cpu", "zz"], "words": "zz"},
    device={"options": ["-device", "zz"], "words": "'zz' is not a valid device model name"},
    drive={"options": ["-drive", "file=/nope/x,if=none,id=d,format=raw"], "words": "/nope/x"},
    chardev={"options": ["-chardev", "zz,id=c"], "words": "zz"},
    monitor={"options": ["-mon", "zz"], "words": "zz"},
    incoming={"options": ["-incoming", "zz"], "words": "zz"},
    append_alone={"options": ["-append", "x"], "words": "-append only allowed with -kernel"},
    uuid={"options": ["-uuid", "zz"], "words": "failed to parse UUID string: wrong format"},
)
def test_wrong_option(t, options, words):
    text = refused(t, *options)
    assert words in text, text


@only_minivmm("QEMU writes its tree only for boards that have one")
def test_dumpdtb(t):
    t.need("kvm", "minivmm", "dtc")
    path = t.path("tree.dtb")
    program = PROGRAMS["minivmm"]["path"]
    status = subprocess.run([program, "-M", f"microvm,ioapic2=off,rtc=on,dumpdtb={path}", "-accel",
                             "kvm", "-cpu", "qemu64", "-m", "64M", "-smp", "2", "-nodefaults",
                             "-display", "none", "-device", "virtio-rng-device"],
                            stdin=subprocess.DEVNULL, timeout=60, check=False).returncode
    assert status == 0
    text = subprocess.run(["dtc", "-I", "dtb", "-O", "dts", path], capture_output=True, text=True,
                          check=True, timeout=60).stdout
    assert "virtio" in text and "feb00e00" in text, text
    assert text.count("cpu@") == 2, text


def test_pidfile(t):
    path = t.path("pid")
    vm = t.vmm("idle", extra=["-pidfile", path])
    with open(path, encoding="ascii") as f:
        assert f.read() == f"{vm.pid}\n"
    vm.cmd("quit")
    assert vm.wait() == 0
    assert not os.path.exists(path)


def test_daemonize(t):
    """The parent ends with status 0 when the monitor listens; the child is reached through it."""
    t.need("kvm", t.kind)
    program = PROGRAMS[t.kind]
    pidfile, monitor = t.path("pid"), t.path("qmp")
    argv = [program["path"], "-M", "microvm,ioapic2=off,rtc=on,kernel_irqchip=on" + program["machine"],
            "-accel", "kvm", "-cpu", "qemu64", "-m", "24M", "-nodefaults", "-display", "none",
            *program["options"], "-kernel", guest_path("idle"), "-serial", "null", "-daemonize",
            "-pidfile", pidfile, "-qmp", f"unix:{monitor},server=on,wait=off"]
    assert subprocess.run(argv, stdin=subprocess.DEVNULL, timeout=60, check=False).returncode == 0
    with open(pidfile, encoding="ascii") as f:
        pid = int(f.read())
    try:
        qmp = Qmp.connect(monitor)
        assert qmp.cmd("query-status")["status"] == "running"
        qmp.cmd("quit")
        qmp.wait_closed()
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise


@table(version={"option": "-version"}, help={"option": "-help"})
def test_texts(t, option):
    t.need(t.kind)
    done = subprocess.run([PROGRAMS[t.kind]["path"], option], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0 and done.stdout.strip(), done
