"""Under libvirt 9.0 (scripts/libvirt-root): its probe of the program, the start of a domain, figures that are asked for all the time."""
import os
import shutil
import socket
import subprocess
import threading
import time

import case
import libvirt
from qmp import GUARD

VERSION = "9.0"
POLL_S = 0.1
WINDOW_S = 2        # of a measured rate
SETTLE_S = 0.5
WINDOWS = 6         # with polling and without, of each run


class Managed:
    """A host of each kind of emulator; within it."""

    def __init__(self, *kinds):
        self.kinds = kinds
        self.tests, self.hosts = {}, {}

    def __enter__(self):
        try:
            for kind in self.kinds:
                t = self.tests[kind] = case.Test(kind)
                self.hosts[kind] = libvirt.Host(t, "alpha", VERSION, kind, quiet=True)
        except (case.Skip, Exception) as e:
            self.__exit__()
            raise RuntimeError(f"no libvirt {VERSION}: {e}") from e
        return self.hosts

    def __exit__(self, *_):
        for t in self.tests.values():
            t.close()


def timed(function, *arguments):
    begin = time.monotonic()
    function(*arguments)
    return (time.monotonic() - begin) * 1000


def probe_ms(host, count=[0]):      # pylint: disable=dangerous-default-value
    """What virsh waits longer for the capabilities of a program that libvirt sees for the first time."""
    count[0] += 1
    name = f"emulator{count[0]}"
    path = os.path.join(host.own, name)
    if os.path.islink(os.path.join(host.own, "emulator")):
        os.symlink(os.readlink(os.path.join(host.own, "emulator")), path)
    else:
        shutil.copy(os.path.join(host.own, "emulator"), path)
    ask = ("domcapabilities", "--emulatorbin", f"/own/{name}", "--machine", "microvm", "--virttype", "kvm")
    first = timed(host.virsh, *ask)
    return first - timed(host.virsh, *ask)


def start_ms(host):
    """From 'virsh start' to the first word of the guest."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path = os.path.join(host.own, "serial")
    listener.bind(path)
    listener.listen(1)
    listener.settimeout(GUARD)
    begin = time.monotonic()
    virsh = host.start_virsh("start", "mv")
    connection, _ = listener.accept()
    said = b""
    while b"idle" not in said:
        part = connection.recv(4096)
        if not part:
            raise RuntimeError(f"the guest ended: {said!r}, {virsh.communicate()[0]}")
        said += part
    took = (time.monotonic() - begin) * 1000
    virsh.communicate()
    host.virsh("destroy", "mv")
    connection.close()
    listener.close()
    os.unlink(path)
    return took


def probe(bench):
    with Managed("minivmm", "qemu") as hosts:
        for host in hosts.values():
            probe_ms(host)      # its files are in the page cache then
        got = bench.alternate(lambda kind: probe_ms(hosts[kind]) if kind in hosts else None)
        bench.row(f"libvirt {VERSION}: the probe", "ms", {k: got[k] for k in hosts}, 1 / 3, False)


def start(bench):
    with Managed("minivmm", "qemu") as hosts:
        for host in hosts.values():
            host.define(libvirt.domain().replace("mode='bind'", "mode='connect'"))
            start_ms(host)
        got = bench.alternate(lambda kind: start_ms(hosts[kind]) if kind in hosts else None)
        bench.row(f"libvirt {VERSION}: virsh start to the guest's first byte", "ms", {k: got[k] for k in hosts}, 1 / 2, False)


class Poller:
    """One virsh that asks for domstats again and again."""

    def __init__(self, host):
        self.process = subprocess.Popen(host.inside("virsh", "-q", "-c", host.uri), stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def run(self, seconds, asks):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if asks:
                self.process.stdin.write("domstats mv\n")
                self.process.stdin.flush()
            time.sleep(POLL_S)      # the rate is what is measured

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def place(host, serial, pages):
    r = host.report(serial)[0]
    return r["gen"] * pages + r["index"], time.monotonic()


def domstats(bench):
    """A move that its bandwidth does not let end; windows with polling and without it follow each other."""
    pages = 1000
    with Managed("minivmm") as hosts:
        host = hosts["minivmm"]
        other = libvirt.Host(host.t, "beta", VERSION, "minivmm", quiet=True)
        host.define(libvirt.domain("counter", f"pages={pages}"))
        other.watch()
        host.virsh("start", "mv")
        serial, poller = host.serial(), Poller(host)
        move = host.start_virsh("migrate", "--live", "--p2p", "--bandwidth", "1", "mv",
                                f"qemu+unix:///system?socket=/mv/{other.name}/libvirt-sock", "--migrateuri",
                                "unix:///mv/m.sock", "--unsafe")
        while "Outgoing migration" not in host.virsh("domjobinfo", "mv"):
            pass
        rates = {True: [], False: []}
        for i in range(2 * WINDOWS * bench.runs):
            asks = (i + i // 2) % 2 == 0
            poller.run(SETTLE_S, asks)
            before, since = place(host, serial, pages)
            poller.run(WINDOW_S, asks)
            after, until = place(host, serial, pages)
            rates[asks].append((after - before) / (until - since) / pages)
        poller.close()
        if move.poll() is not None:
            raise RuntimeError(f"the move ended: {move.communicate()[0]}")
        host.virsh("domjobabort", "mv")
        move.communicate()
    bench.row("generations a second, domstats each 100 ms during a move", "1/s", {"minivmm": rates[True], "qemu": rates[False]},
              0.99, True, "second figure: without asking")
