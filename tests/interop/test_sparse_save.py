"""libvirt's sparse save files: what `virsh save --image-format sparse` asks for, word by word, with QEMU 11.1 as one end."""
import os

import peers
import ram
from case import table
from moves import destination, goes_on, machine

GUEST = {"guest": "smp-counter", "append": "pages=400 rate=4000", "cpus": 2, "memory": "64M"}
ODD = 0x106cc       # where libvirt's own header ends
ASKED = ("xbzrle", "auto-converge", "rdma-pin-all", "postcopy-ram", "compress", "pause-before-switchover",
         "late-block-activate", "multifd", "dirty-bitmaps", "return-path", "zero-copy-send", "postcopy-preempt",
         "switchover-ack", "mapped-ram")


def prepare(vm, channels, bypass):
    """All that it knows of what is listed, off but for two; 1 channel if none are given."""
    listed = {c["capability"] for c in vm.cmd("query-migrate-capabilities")}
    vm.cmd("migrate-set-capabilities", capabilities=[
        {"capability": c, "state": c in ("multifd", "mapped-ram")} for c in ASKED if c in listed])
    vm.cmd("migrate-set-parameters", multifd_channels=channels, **({"direct_io": True} if bypass else {}))


def pass_fd(vm, path, flags, opaque):
    fd = os.open(path, os.O_WRONLY | flags)
    vm.qmp.cmd("add-fd", fds=[fd], fdset_id=1, opaque=opaque)
    os.close(fd)


def save(vm, path, channels, bypass):
    with open(path, "wb") as f:
        f.write(b"H" * ODD)
    vm.cmd("query-migrate")
    vm.cmd("stop")
    prepare(vm, channels, bypass)
    vm.cmd("query-fdsets")
    pass_fd(vm, path, 0, "saveimage")
    if bypass:
        pass_fd(vm, path, os.O_DIRECT, "saveimage-direct")
    vm.cmd("migrate", uri=f"file:/dev/fdset/1,offset={ODD:#x}")
    assert vm.wait_migration("completed", "failed") == "completed", vm.migration()
    vm.cmd("query-fdsets")
    with open(path, "rb") as f:
        assert f.read(ODD) == b"H" * ODD


def restore(t, source, path, channels, bypass, kind):
    fds = [os.open(path, os.O_RDONLY | flags) for flags in ([0, os.O_DIRECT] if bypass else [0])]
    extra = []
    for fd in fds:
        extra += ["-add-fd", f"fd={fd},set=0,opaque=saveimage"]
    dest = destination(t, source, None, paused=True, kind=kind, fds=fds, extra=extra)
    for fd in fds:
        os.close(fd)
    prepare(dest, channels, bypass)
    dest.cmd("migrate-incoming", uri=f"file:/dev/fdset/0,offset={ODD:#x}", exit_on_error=False)
    status = dest.wait_loaded()
    assert status == "completed", (dest.migration(), dest.stderr())
    return dest


@table(plain={}, channels={"channels": 4}, bypass={"bypass": True},
       bypass_channels={"channels": 4, "bypass": True})
def test_to_qemu_and_back(t, channels=1, bypass=False):
    """Saved here and restored by QEMU 11.1, saved there and restored here; all memory compared each time."""
    source = machine(t, **GUEST)
    goes_on(source, 2)
    path = t.path("saved")
    save(source, path, channels, bypass)
    there = restore(t, source, path, channels, bypass, peers.kind(t, "11.1"))
    ram.assert_equal(ram.read(source), ram.read(there), "minivmm and QEMU")
    t.forget(source)
    there.cmd("cont")
    there.wait_running()
    goes_on(there, 2)
    path = t.path("saved-there")
    save(there, path, channels, bypass)
    back = restore(t, source, path, channels, bypass, "minivmm")
    ram.assert_equal(ram.read(there), ram.read(back), "QEMU and minivmm")
    t.forget(there)
    back.cmd("cont")
    goes_on(back, 2)
    again = t.path("saved-again")
    save(back, again, channels, bypass)
    last = restore(t, source, again, channels, bypass, "minivmm")
    ram.assert_equal(ram.read(back), ram.read(last), "minivmm and minivmm")
