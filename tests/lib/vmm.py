"""Starts minivmm or QEMU with equal options, and looks after what they leave behind.

A machine is described once (class Vmm's arguments); the table of differences between the two
programs is in PROGRAMS. Nothing here sleeps: sockets are listening before the program starts and are
handed to it as descriptors, and everything else waits for an event, a byte or an end of process.
"""
import os
import re
import signal
import socket
import subprocess
import threading
import time

import news
from qmp import GUARD, Closed, Hang, Qmp

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BUILD", os.path.join(ROOT, "build"))

MACHINE = ("microvm,acpi=on,ioapic2=off,pic=on,pit=on,rtc=on,isa-serial=on,kernel_irqchip=on")
MODERN = ("-global", "virtio-mmio.force-legacy=false")
LEGACY = ("-global", "virtio-mmio.force-legacy=true")

# The board, by variant: -M of minivmm, -M of QEMU, options of both. "stock" is QEMU as it comes.
VARIANTS = {
    "own": (MACHINE, MACHINE, MODERN),
    "stock": ("microvm,stock=on", "microvm", ()),
    "legacy": (MACHINE, MACHINE, LEGACY),
    "split": (MACHINE.replace("irqchip=on", "irqchip=split"),) * 2 + (MODERN,),
    "ioapic2": (MACHINE.replace("ioapic2=off", "ioapic2=on").replace("irqchip=on", "irqchip=split"),) * 2 + (MODERN,),
    "bare": ("microvm,stock=on,pic=off,pit=off", "microvm,pic=off,pit=off", ()),
}

# What differs between the programs: the path, options of the machine type, options.
PROGRAMS = {
    "minivmm": {
        "path": os.environ.get("MINIVMM", os.path.join(BUILD, "minivmm")),
        "machine": "",
        "options": [],
        "file_uri": True,
    },
    "qemu": {
        "path": os.environ.get("QEMU", "/usr/bin/qemu-system-x86_64"),
        "machine": ",x-option-roms=off",
        "options": ["-bios", "/usr/share/qemu/qboot.rom", "-no-user-config"],
        "file_uri": False,
    },
}


def guest_path(name):
    """The image of a tiny guest; a path is taken as it is."""
    return name if "/" in name else os.path.join(BUILD, "guests", name + ".elf")


def megabytes(text):
    return int(text.rstrip("M")) << 20


class Serial:
    """Collects what a guest prints; the tests wait for lines."""

    def __init__(self, sock):
        self.sock = sock
        self.seen = ""
        self.mark = 0       # expect() looks from here on
        self.first = None   # when the first byte came, by time.monotonic()
        self.closed = False
        self.changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            try:
                part = self.sock.recv(65536)
            except OSError:
                part = b""
            self.first = self.first or time.monotonic()
            with self.changed:
                self.seen += part.decode("ascii", "replace").replace("\r", "")
                self.closed = not part
                self.changed.notify_all()
            news.ring()
            if not part:
                return

    def write(self, text):
        self.sock.sendall(text.encode())

    def expect(self, pattern):
        """The match of the next text that fits; what is before it has been passed over."""
        deadline = time.monotonic() + GUARD
        with self.changed:
            while True:
                m = re.compile(pattern, re.MULTILINE).search(self.seen, self.mark)
                if m:
                    self.mark = m.end()
                    return m
                if self.closed:
                    raise Closed(f"the serial port closed before {pattern!r}: {self.seen[-500:]!r}")
                if not self.changed.wait(max(0, deadline - time.monotonic())) and \
                        time.monotonic() > deadline:
                    raise Hang(f"no {pattern!r} on the serial port within {GUARD:.0f} s; "
                               f"it said: {self.seen[-500:]!r}")

    def pass_over(self):
        """What it has said until now is not looked at any more."""
        with self.changed:
            self.mark = len(self.seen)

    def all(self):
        """Everything, up to the close."""
        deadline = time.monotonic() + GUARD
        with self.changed:
            while not self.closed:
                if not self.changed.wait(max(0, deadline - time.monotonic())):
                    raise Hang("the serial port was not closed")
            return self.seen


# Guests that end by themselves
BRIEF = ("hello", "devices", "cpu", "cpuid", "check-acpi", "check-platform", "check-virtio")


class Vmm:
    """One running program.

    guest    name of a tiny guest, or a path
    append   kernel command line
    backend  RAM: "file" (default: shared, the harness can read it), "tmpfs" (the same in /dev/shm),
             "private" (a file, share=off), "memfd", "anonymous"
    ram      path of the file behind backend "file" (default: one of its own)
    ring     entries of the dirty ring of each vCPU (default: the dirty log)
    disk     path of an image: a raw one, or NAME.qcow2
    rng      with an entropy device
    net      path of a unix socket that speaks the stream netdev's framing
    incoming URI, "defer", or a file descriptor for "fd:"
    monitors number of QMP monitors; serial=False: without the harness's serial port
    firmware path of an image to start instead of a guest
    variant  of the board: a row of VARIANTS
    program  another program of that kind than PROGRAMS says
    extra    more options; fds: descriptors that the program inherits
    """

    def __init__(self, kind, tmp, guest="counter", append="", *, name="vm", memory="24M", cpus=1,
                 backend="file", disk=None, rng=False, net=None, incoming=None, paused=False,
                 monitors=1, extra=(), fds=(), serial=True, firmware=None, ram=None, ring=None,
                 prefix=(), variant="own", program=None):
        # A guest that ends by itself must not do so before the monitors are there.
        held = guest in BRIEF and incoming is None and monitors and not paused
        self.kind, self.name, self.tmp, self.backend = kind, name, tmp, backend
        self.ram_bytes = megabytes(memory)
        self.ram_path, self.ring = ram, ring
        self.variant, self.program = variant, program or PROGRAMS[kind]["path"]
        self._unlink_ram = ram is None
        self.saved_at = None        # moves.py: the file it is to load once the source has written it
        self.monitors = []
        self._pass = list(fds)
        self.serial_ours, serial_theirs = socket.socketpair()
        self._pass.append(serial_theirs.fileno())

        argv = self._machine(memory, cpus)
        argv += ["-bios", firmware] if firmware else ["-kernel", guest_path(guest)]
        argv += ["-append", append] if append else []
        if serial:
            argv += ["-chardev", f"socket,id=serial0,fd={serial_theirs.fileno()}",
                     "-serial", "chardev:serial0"]
        argv += self._devices(disk, rng, net)
        argv += ["-incoming", self._incoming(incoming)] if incoming is not None else []
        argv += ["-S"] if paused or held else []
        clients = self._qmp_options(argv, monitors)
        argv += list(extra)

        argv = [*prefix, *argv]     # a command that executes the rest
        self.argv = argv
        self._stderr = open(os.path.join(tmp, name + ".stderr"), "w+b")
        self.process = subprocess.Popen(argv, pass_fds=self._pass, stdin=subprocess.DEVNULL,
                                        stdout=self._stderr, stderr=self._stderr,
                                        env=dict(os.environ, XDG_RUNTIME_DIR=tmp))
        serial_theirs.close()
        for listener in self._listeners:
            listener.close()        # only the program holds them now: they end with it
        self.serial = Serial(self.serial_ours)
        try:
            self.monitors = [Qmp(c) for c in clients]
        except Exception as e:
            self.kill()
            raise Closed(f"{self.name} ({self.kind}) did not start: {e}\n{self.stderr()}") from e
        if held:
            self.cmd("cont")
            for monitor in self.monitors:
                monitor.event("RESUME")

    # ---- options ----

    def _machine(self, memory, cpus):
        program = PROGRAMS[self.kind]
        stock = self.variant == "stock"
        machine = VARIANTS[self.variant][self.kind == "qemu"] + ("" if stock else program["machine"])
        objects = []
        if self.backend in ("file", "tmpfs", "private"):
            self.ram_path = self.ram_path or self._ram_file()
            share = "off" if self.backend == "private" else "on"
            objects = [f"memory-backend-file,id=microvm.ram,size={memory},share={share},"
                       f"mem-path={self.ram_path}"]
        elif self.backend == "memfd":
            objects = [f"memory-backend-memfd,id=microvm.ram,size={memory},share=on"]
        if objects:
            machine += ",memory-backend=microvm.ram"
        accel = f"kvm,dirty-ring-size={self.ring}" if self.ring else "kvm"
        argv = [self.program, "-M", machine, "-accel", accel, "-cpu", "qemu64",
                "-m", memory, "-smp", str(cpus), *VARIANTS[self.variant][2],
                "-nodefaults", "-display", "none", "-name", self.name]
        for o in objects:
            argv += ["-object", o]
        return argv + ([] if stock else program["options"])

    def _ram_file(self):
        if self.backend == "tmpfs":
            return f"/dev/shm/{os.path.basename(self.tmp)}-{self.name}.ram"
        return os.path.join(self.tmp, self.name + ".ram")

    def _devices(self, disk, rng, net):
        argv = []
        if disk:
            form = "qcow2" if disk.endswith(".qcow2") else "raw"
            argv += ["-drive", f"file={disk},if=none,id=disk0,format={form}",
                     "-device", "virtio-blk-device,drive=disk0,serial=minivmm-disk"]
        if net:
            argv += ["-netdev", f"stream,id=net0,server=off,addr.type=unix,addr.path={net}",
                     "-device", "virtio-net-device,netdev=net0,mac=52:54:00:12:34:56"]
        if rng:
            argv += ["-device", "virtio-rng-device"]
        return argv

    def _incoming(self, incoming):
        if isinstance(incoming, int):
            self._pass.append(incoming)
            return f"fd:{incoming}"
        return incoming

    def _qmp_options(self, argv, monitors):
        """A listening socket for each monitor, already connected to, so that the program does not wait for it."""
        clients = []
        self._listeners = []
        for i in range(monitors):
            path = os.path.join(self.tmp, f"{self.name}.qmp{i}")
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(path)
            listener.listen(8)
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            client.connect(path)
            clients.append(client)
            self._pass.append(listener.fileno())
            self._listeners.append(listener)
            argv += ["-chardev", f"socket,id=mon{i},fd={listener.fileno()},server=on,wait=off",
                     "-mon", f"chardev=mon{i},mode=control"]
        return clients

    # ---- talking to it ----

    @property
    def qmp(self):
        return self.monitors[0]

    @property
    def pid(self):
        return self.process.pid

    def cmd(self, name, **arguments):
        return self.qmp.cmd(name, **arguments)

    def status(self):
        return self.cmd("query-status")["status"]

    def capabilities(self, *names):
        self.cmd("migrate-set-capabilities",
                 capabilities=[{"capability": n, "state": True} for n in names])

    def report(self):
        """What a counting or idle guest answers to 'r': one dict per line."""
        self.serial.write("r")
        text = self.serial.expect(r"(?:^R [^\n]*=[^\n]*\n)+^R end\n").group(0)
        return [{k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", line)}
                for line in text.splitlines() if "=" in line]

    def migration(self):
        return self.cmd("query-migrate")

    def wait_migration(self, *wanted):
        """Waits for a MIGRATION event with one of these states (capability "events" is on)."""
        event = self.qmp.any_event(
            lambda e: e["event"] == "MIGRATION" and e["data"]["status"] in wanted,
            f"MIGRATION {'|'.join(wanted)} of {self.name}")
        return event["data"]["status"]

    def reaches_pass(self, n):
        """True once pass n of an outgoing migration has begun, False when it is over before."""
        event = self.qmp.any_event(
            lambda e: e["event"] == "MIGRATION_PASS" and e["data"]["pass"] >= n or
            e["event"] == "MIGRATION" and e["data"]["status"] in ("completed", "failed"),
            f"pass {n} of {self.name}")
        return event["event"] == "MIGRATION_PASS"

    def wait_loaded(self):
        """The same for a machine whose incoming stream may have been read before events were on."""
        status = self.migration().get("status")
        if status not in ("completed", "failed"):
            return self.wait_migration("completed", "failed")
        # Or after: what has been said stands before the reply, and is not to be taken for the next move's.
        self.qmp.events[:] = [e for e in self.qmp.events if e["event"] != "MIGRATION"]
        return status

    def wait_running(self):
        """Waits until an incoming migration has ended in a running guest."""
        if self.status() != "running":
            self.qmp.event("RESUME")

    # ---- its end ----

    def alive(self):
        return self.process.poll() is None

    def wait(self):
        """The exit status (negative: the signal)."""
        try:
            return self.process.wait(GUARD)
        except subprocess.TimeoutExpired:
            raise Hang(f"{self.name} ({self.kind}) did not end within {GUARD:.0f} s") from None

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.alive():
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self):
        self.kill()
        for monitor in self.monitors:
            monitor.close()
        self.serial_ours.close()
        self._stderr.close()
        if self._unlink_ram and self.ram_path and os.path.exists(self.ram_path):
            os.unlink(self.ram_path)

    def stderr(self):
        with open(self._stderr.name, "rb") as f:
            return f.read().decode("utf-8", "replace")
