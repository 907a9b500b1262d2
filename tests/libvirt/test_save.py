"""Saving a domain and snapshots of it: the guest goes on where it was."""
import os

from libvirt import Host, domain, operation, qcow2, versions

COUNTER = {"guest": "counter", "append": "pages=500 rate=5000"}


def started(t, version, **options):
    host = Host(t, "alpha", version, t.kind)
    host.define(domain(**(COUNTER | options)))
    host.virsh("start", "mv")
    return host


def counted(host, serial=None):
    """How many pages the guest has stamped, of which none was wrong."""
    first = host.report(serial)[0]
    assert first["errors"] == 0, first
    return first["gen"]


def goes_on(host, before):
    """It has not begun anew, and counts."""
    serial = host.serial()
    now = counted(host, serial)
    assert now >= before, (now, before)
    while counted(host, serial) <= now:
        pass
    return now


@versions()
def test_save(t, version):
    """save, restore; managedsave, start."""
    host = started(t, version, disk=qcow2(t))
    before = counted(host)
    with operation(host, "save"):
        host.virsh("save", "mv", "/own/saved")
        host.event("'mv': Stopped")
    with operation(host, "restore"):
        host.virsh("restore", "/own/saved")
        before = goes_on(host, before)
    with operation(host, "managedsave"):
        host.virsh("managedsave", "mv")
        assert "managed" not in host.virsh("list", "--name")
        assert os.path.exists(os.path.join(host.own, "var/lib/libvirt/qemu/save/mv.save"))
    with operation(host, "start (managedsave)"):
        host.virsh("start", "mv")
        goes_on(host, before)


def save_sparse(t, version, direct):
    host = started(t, version, disk=qcow2(t))
    before = counted(host)
    more = ["--bypass-cache", "--parallel-channels", "2"] if direct else []
    if direct:
        t.need_direct_io(os.path.join(host.shared, "disk.qcow2"))
    with operation(host, " ".join(["save --image-format sparse", *more])):
        host.virsh("save", "mv", "/own/saved", "--image-format", "sparse", *more)
    with operation(host, " ".join(["restore (sparse)", *more])):
        host.virsh("restore", "/own/saved", *more)
        goes_on(host, before)


@versions("12.9")
def test_sparse(t, version):
    """save --image-format sparse: mapped RAM at an offset of a descriptor set's file."""
    save_sparse(t, version, False)


@versions("12.9")
def test_sparse_direct(t, version):
    """The same with a second descriptor in the set, for direct I/O, and two channels."""
    save_sparse(t, version, True)


@versions()
def test_snapshots(t, version):
    """Internal snapshots of a qcow2 disk: made, listed, gone back to, deleted."""
    host = started(t, version, disk=qcow2(t))
    first = counted(host)
    with operation(host, "snapshot-create-as"):
        host.virsh("snapshot-create-as", "mv", "s1")
        serial = host.serial()
        at = counted(host, serial)
        assert at >= first
        while counted(host, serial) < at + 5:
            pass
        host.virsh("snapshot-create-as", "mv", "s2")
    with operation(host, "snapshot-list"):
        assert host.virsh("snapshot-list", "mv", "--name").split() == ["s1", "s2"]
        assert host.virsh("snapshot-current", "mv", "--name") == "s2"
    with operation(host, "snapshot-revert"):
        host.virsh("snapshot-revert", "mv", "s1")
        again = counted(host)
        assert first <= again, (first, again)
        assert host.state() == "running"
    with operation(host, "snapshot-delete"):
        for name in ("s2", "s1"):
            host.virsh("snapshot-delete", "mv", name)
        assert not host.virsh("snapshot-list", "mv", "--name")
