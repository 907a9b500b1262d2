"""The life of a domain on one host: from define to destroy, and what libvirt asks about it in between."""
import re

from libvirt import Host, domain, operation, qcow2, versions


def started(t, version, **options):
    """A host with a domain that runs, and its guest answers."""
    host = Host(t, "alpha", version, t.kind)
    with operation(host, "define"):
        host.define(domain(**options))
    with operation(host, "start"):
        host.virsh("start", "mv")
        host.event("'mv': Started")
    return host, host.serial()


@versions()
def test_life(t, version):
    """define, start, suspend, resume, reset, reboot, shutdown by the power button, start again, destroy."""
    host, serial = started(t, version, disk=qcow2(t))
    host.report(serial)
    with operation(host, "suspend"):
        host.virsh("suspend", "mv")
        assert host.state() == "paused", host.state()
    with operation(host, "resume"):
        host.virsh("resume", "mv")
        host.report(serial)
    with operation(host, "reset"):
        serial.pass_over()
        host.virsh("reset", "mv")
        serial.expect("^idle")
        host.report(serial)
    with operation(host, "reboot"):
        host.virsh("reboot", "mv", "--mode", "acpi")
        serial.expect("^button ")
        serial.expect("^idle")
        host.report(serial)
        assert host.state() == "running", host.state()
    with operation(host, "shutdown"):
        host.virsh("shutdown", "mv", "--mode", "acpi")
        serial.expect("^button ")
        host.event("'mv': Stopped")
        assert host.state() == "shut off", host.state()
    with operation(host, "start"):
        host.virsh("start", "mv")
        host.event("'mv': Started")
        host.report()
    with operation(host, "destroy"):
        host.virsh("destroy", "mv")
        host.event("'mv': Stopped")
        host.virsh("undefine", "mv")
        assert not host.virsh("list", "--all", "--name"), host.virsh("list", "--all")
