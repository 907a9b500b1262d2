"""The Linux guest under test: how it is started, what it reports, how it is moved.

Used on a host whose KVM can run Linux, or in the lab (scripts/lab). GUEST is the directory that
scripts/linux-guest prints. Nothing here is about speed: an emulated host is fifty times slower, and
the guards below only end what hangs.
"""
import ctypes
import os
import re
import socket
import struct
import subprocess
import threading
import time

import encoders
import qmp
import snapshots
import vmm as vmm_module
from vmm import Vmm

qmp.GUARD = vmm_module.GUARD = float(os.environ.get("GUARD", "240"))

GUEST = os.environ.get("GUEST", "")
GENERIC = os.environ.get("GUEST_GENERIC", "")       # the same with a kernel that has more drivers
CONSOLE = "console=ttyS0 loglevel=5 panic=-1 mitigations=off nokaslr random.trust_cpu=on"
BEAT = re.compile(r"^T (\d+) up=(\d+\.\d+) mem=(\d+) disk=(\d+) net=(\d+) err=(\d+)$")
HOST_IP, GUEST_IP, PORT = "10.77.0.1", "10.77.0.2", 7000
CLONE_NEWNET = 0x40000000
CLOCK_SLACK = 3.0  # seconds that the guest's uptime may be ahead of what passed on the host
BLOCK = 65536
SLOW_RATE = 32 << 20    # bytes a second, of a move that shall take some passes
CAPABILITIES = ("xbzrle", "compress", "multifd", "auto-converge")   # a machine keeps them when it has arrived


class Beat:
    """One report of the worker."""

    def __init__(self, match):
        n, up, *counts = match.groups()
        self.n, self.up = int(n), float(up)
        self.mem, self.disk, self.net, self.err = (int(c) for c in counts)
        self.host = time.monotonic()

    def __str__(self):
        return (f"beat {self.n}: up {self.up} s, {self.mem} pages, {self.disk} blocks, "
                f"{self.net} echoes, {self.err} faults")


class Network:
    """A network namespace for this process with a bridge, two taps, and an echo server."""

    def __init__(self):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) < 0:
            raise OSError(ctypes.get_errno(), "cannot make a network namespace")
        self.taps = ["mvtap0", "mvtap1"]
        self._ip("link set lo up")
        self._ip("link add mvbr0 type bridge")
        self._ip(f"addr add {HOST_IP}/24 dev mvbr0")
        self._ip("link set mvbr0 up")
        for tap in self.taps:
            self._ip(f"tuntap add {tap} mode tap")
            self._ip(f"link set {tap} master mvbr0 up")
        self.connections = 0
        self.server = socket.create_server((HOST_IP, PORT))
        threading.Thread(target=self._serve, daemon=True).start()

    @staticmethod
    def _ip(words):
        subprocess.run(["ip"] + words.split(), check=True, stdin=subprocess.DEVNULL)

    def _serve(self):
        while True:
            peer, _ = self.server.accept()
            self.connections += 1
            threading.Thread(target=self._echo, args=(peer,), daemon=True).start()

    @staticmethod
    def _echo(peer):
        try:
            while data := peer.recv(65536):
                peer.sendall(data)
        except OSError:
            pass


class Linux:
    """The guest, wherever it runs: 'vmm' is the machine that it runs in now."""

    def __init__(self, test, cpus=1, net=False, cpu=None, kernel="vmlinuz", options=(), words="",
                 variant="own", kind=None, generic=False, images=None):
        self.files = GENERIC if generic else GUEST
        if not self.files:
            test.skip(f"no {'generic ' if generic else ''}Linux guest: run scripts/linux-tests")
        test.need("root", "kvm")
        self.test = test
        self.cpus = cpus
        self.kernel = os.path.join(self.files, kernel)
        self.images = images    # {node: qcow2 file} of its disks, instead of a raw one
        self.disk = None if images else test.disk(16)
        self.net = Network() if net else None
        self.moves = 0
        self.tap = 0  # which one the guest's machine has; a destination takes the other
        self.append = f"{CONSOLE} work.disk=1 work.beat=500 {words}"
        if net:
            self.append += f" work.ip={GUEST_IP}/24 work.net={HOST_IP}"
        self.options = (["-cpu", cpu] if cpu else []) + list(options)
        self.first = self.last = None
        self.variant = variant
        self.vmm = self.machine(**({"kind": kind} if kind else {}))

    def machine(self, more=(), **how):
        """Starts a machine for this guest, with more options; with incoming=, to take it over."""
        extra = ["-initrd", os.path.join(self.files, "initrd"), *self.options, *more]
        if self.net:
            tap = self.net.taps[self.tap if "incoming" not in how else 1 - self.tap]
            extra += ["-netdev", f"tap,id=net0,ifname={tap},script=no,downscript=no,vhost=off",
                      "-device", "virtio-net-device,netdev=net0,mac=52:54:00:12:34:56"]
        for node, path in (self.images or {}).items():
            extra += snapshots.disk(node, path)
        extra += ["-device", "virtio-rng-device"]
        machine = self.test.vmm(self.kernel, self.append, memory="128M", cpus=self.cpus, variant=self.variant,
                                backend="memfd", disk=self.disk, extra=extra, **how)
        machine.capabilities("events")
        machine.images = self.images
        return machine

    # ---- what it says ----

    def started(self):
        """The guest's own account of what it has, once it is up."""
        m = self.vmm.serial.expect(r"^W cpus=(\d+) ram=(\d+) disk=(\d) net=(\d)$")
        self.first = self.last = None
        return {"cpus": int(m[1]), "ram": int(m[2]), "disk": int(m[3]), "net": int(m[4])}

    def beat(self):
        """The next report, checked: no fault, nothing went backwards, the clock did not jump."""
        b = Beat(beat_line(self.vmm))
        faults = re.findall(r"^E .*$", self.vmm.serial.seen, re.MULTILINE)
        assert not faults and b.err == 0, f"{b}; {faults}"
        if self.last:
            for what in ("n", "up", "mem", "disk", "net"):
                assert getattr(b, what) >= getattr(self.last, what), f"{what}: {self.last}; {b}"
            ahead = (b.up - self.first.up) - (b.host - self.first.host)
            assert ahead < CLOCK_SLACK, f"the guest's clock is {ahead:.1f} s ahead: {b}"
        self.first = self.first or b
        self.last = b
        return b

    def works(self, mem=64, disk=2, net=2):
        """Waits until so many more pages, blocks and echoes have been verified."""
        start = b = self.beat()
        while (b.mem < start.mem + mem or b.disk < start.disk + disk
               or (self.net and b.net < start.net + net)):
            b = self.beat()
        return b

    def ahead(self):
        """By how many seconds its time of day is ahead of the host's: at least, at most."""
        before = time.time()
        self.vmm.serial.write("d")
        now = int(self.vmm.serial.expect(r"^D (\d+)\r*\n")[1]) / 1000
        return now - time.time(), now - before

    # ---- moving ----

    def destination(self, mode=None, **how):
        """A second machine that listens, with the encoder of that mode; (machine, URI)."""
        self.moves += 1
        target = self.machine(incoming="defer", name=f"to{self.moves}", **how)
        uri = "unix:" + self.test.path(f"move{self.moves}")
        if mode:
            encoders.set_up(target, mode.get("dest", ()), mode.get("both"))
        target.cmd("migrate-incoming", uri=uri)
        return target, uri

    def move(self, mode=None, until=None, **how):
        """To another machine of the same kind; the old one is ended.

        mode: one of encoders.ENCODERS; until: what query-migrate has to show before it may end.
        """
        source, (target, uri) = self.vmm, self.destination(mode, **how)
        if mode:
            source.cmd("migrate-set-capabilities", capabilities=[
                {"capability": c, "state": c in mode["source"]} for c in CAPABILITIES])
            encoders.set_up(source, (), mode.get("both"))
            encoders.fast(source)
        if until:
            encoders.slow(source, SLOW_RATE)
        source.status()                 # reads what it has said since
        source.qmp.events.clear()       # of its own arrival
        source.cmd("migrate", uri=uri)
        if until:
            assert encoders.wait_for(source, until), f"it ended before: {source.migration()}"
            encoders.fast(source)
        state = source.wait_migration("completed", "failed")
        assert state == "completed", source.migration()
        target.wait_running()
        report = source.migration()
        while source.kind == "qemu" and source.status() == "finish-migrate":
            pass                        # there the event comes before the state it announces
        assert source.status() == "postmigrate", source.status()
        self.test.forget(source)
        self.vmm = target
        self.tap = 1 - self.tap
        return report

    def half_way(self, uri, bandwidth=1 << 20):
        """Starts a move that is slow, and returns in its middle."""
        self.vmm.cmd("migrate-set-parameters", max_bandwidth=bandwidth)
        self.vmm.cmd("migrate", uri=uri)
        self.vmm.wait_migration("active")
        while self.vmm.migration().get("ram", {}).get("transferred", 0) < 2 * bandwidth:
            self.beat()

    # ---- its disk, seen from the host ----

    def check_disk(self):
        """Every block holds the words of its number and of one generation; returns the newest."""
        newest = 0
        with open(self.disk, "rb") as f:
            for block in range(os.path.getsize(self.disk) // BLOCK):
                words = struct.unpack(f"<{BLOCK // 8}Q", f.read(BLOCK))
                generation = generation_of(words[0], block)
                assert generation is not None, f"block {block} starts with {words[0]:#x}"
                step = 1 if generation else 0
                assert all(w == (words[0] + i * step) % (1 << 64) for i, w in enumerate(words)), \
                    f"block {block} of generation {generation} is torn"
                newest = max(newest, generation)
        return newest


def generation_of(word, index):
    """Inverse of worker.c's first_word(), for the generations a test can reach; 0: never written."""
    if word == 0:
        return 0
    for generation in range(1, 10000):
        if word == (index << 40) ^ (generation * 0x9E3779B97F4A7C15 % (1 << 64)):
            return generation
    return None


def beat_line(machine):
    return machine.serial.expect(BEAT.pattern)


__all__ = ["GUEST", "Linux", "Vmm"]
