"""What libvirt asks a running domain for: figures of its processors, disk, network and memory; its console."""
import os
import re
import select

from case import table
from libvirt import Host, domain, operation, qcow2, refused, rows
from qmp import GUARD


def figures(text):
    """'name=value' or 'name: value' or 'dev name value' lines, numbers only."""
    return {k: int(v) for k, v in re.findall(r"^\s*(?:vda |mvtap )?([\w.-]+)[ =:]+(\d+)", text, re.MULTILINE)}


def started(t, version, **options):
    """A host with a domain that runs, and its guest answers."""
    host = Host(t, "alpha", version, t.kind)
    host.define(domain(**options))
    host.virsh("start", "mv")
    return host


@table(**rows())
def test_figures(t, version):
    """domstats, domblkstat, domifstat, vcpuinfo, domblklist; what they count grows with what the guest does."""
    host = started(t, version, guest="smp-counter", append="pages=100 rate=1000 every=16", disk=qcow2(t), net=True)
    serial = host.serial()
    while host.report(serial)[0]["disk"] < 3:
        pass
    with operation(host, "domifstat"):
        stats = figures(host.virsh("domifstat", "mv", "mvtap"))
        assert "rx_bytes" in stats and "tx_packets" in stats, stats
    with operation(host, "vcpuinfo"):
        said = host.virsh("vcpuinfo", "mv")
        assert re.search(r"State:\s+running", said) and re.search(r"CPU time:\s+[\d.]+s", said), said
    with operation(host, "domblkstat"):
        if t.kind == "qemu":
            t.skip("libvirt does not find the figures of a virtio-mmio disk of QEMU's")
        stats = figures(host.virsh("domblkstat", "mv", "vda"))
        assert stats["wr_req"] >= 3 and stats["wr_bytes"] >= 3 * 512, stats
    with operation(host, "domstats"):
        stats = figures(host.virsh("domstats", "mv"))
        assert stats["block.0.wr.reqs"] >= 3 and stats["vcpu.current"] == 1 and stats["state.state"] == 1, stats
        assert stats["vcpu.0.time"] > 0, stats
        before = host.report(serial)[0]["disk"]
        while host.report(serial)[0]["disk"] < before + 3:
            pass
        assert figures(host.virsh("domstats", "mv"))["block.0.wr.reqs"] > stats["block.0.wr.reqs"]


@table(**rows())
def test_memory(t, version):
    """setmem: the guest's balloon grows and shrinks, and dommemstat says so."""
    host = started(t, version, guest="balloon", append="pages=1024", balloon=True)
    serial = host.serial()
    with operation(host, "dommemstat"):
        assert figures(host.virsh("dommemstat", "mv"))["actual"] == 32 << 10
    with operation(host, "setmem"):
        host.virsh("setmem", "mv", "30M", "--live")
        host.event("balloon.*'?mv'?: 30720|'mv': 30720")
        assert figures(host.virsh("dommemstat", "mv"))["actual"] == 30 << 10
        host.virsh("setmem", "mv", "32M", "--live")
        host.event("32768")
        serial.write("c")
        assert serial.expect(r"checked (\d+) (\d+)").group(2) == "0"
    with refused(host, "dommemstat --period", "unable to set balloon driver collection period"):
        host.virsh("dommemstat", "mv", "--period", "1", "--live")


def read_until(fd, wanted):
    said = b""
    while wanted not in said:
        ready, _, _ = select.select([fd], [], [], GUARD)
        assert ready, f"no {wanted!r} on the console: {said!r}"
        said += os.read(fd, 4096)
    return said


@table(**rows())
def test_console(t, version):
    """virsh console: what is typed reaches the guest, and its answer the terminal."""
    host = started(t, version, serial="pty")
    with operation(host, "console"):
        pid, fd = os.forkpty()
        if pid == 0:
            os.execvp("env", host.inside("virsh", "-c", host.uri, "console", "mv"))
        try:
            read_until(fd, b"Escape character")
            os.write(fd, b"r")
            said = read_until(fd, b"R end")
            assert b"R ticks=" in said, said
            os.write(fd, b"\x1d")       # the way out
            _, status = os.waitpid(pid, 0)
            pid = 0
            assert status == 0, status
        finally:
            if pid:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
            os.close(fd)
