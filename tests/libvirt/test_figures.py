"""What libvirt asks a running domain for: figures of its processors, disk, network and memory."""
import re

from libvirt import Host, domain, operation, qcow2, refused, versions


def figures(text):
    """'name=value' or 'name: value' or 'dev name value' lines, numbers only."""
    return {k: int(v) for k, v in re.findall(r"^\s*(?:vda |mvtap )?([\w.-]+)[ =:]+(\d+)", text, re.MULTILINE)}


def started(t, version, **options):
    """A host with a domain that runs, and its guest answers."""
    host = Host(t, "alpha", version, t.kind)
    host.define(domain(**options))
    host.virsh("start", "mv")
    return host


def write(serial, n):
    """The guest writes so many sectors, one after the other."""
    for _ in range(n):
        serial.write("w")
        serial.expect("^submitted")
        done = -1
        while done != write.done + 1:
            serial.write("p")
            done = int(serial.expect(r"^done (\d+)\n").group(1))
        write.done = done


write.done = 0


@versions()
def test_figures(t, version):
    """domstats, domblkstat, domifstat, vcpuinfo, domblklist; what they count grows with what the guest does."""
    host = started(t, version, guest="disk", disk=qcow2(t), net=True)
    serial = host.serial()
    write(serial, 3)
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
        write(serial, 2)
        assert figures(host.virsh("domstats", "mv"))["block.0.wr.reqs"] > stats["block.0.wr.reqs"]


@versions()
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
