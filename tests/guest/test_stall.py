"""A disk that does not answer stalls its guest's requests, and nothing else: not the monitors, not a cancel, a
deadline, a signal or the end of the program."""
import os
import select
import signal
import time

import snapshots
import stall
from case import only_minivmm, table
from moves import Way, destination, goes_on
from qmp import GUARD, Hang, Qmp

WHY = "QEMU's monitor waits for its disks"
FUTEX = "202 "      # what a vCPU's thread waits in while it is parked


def start(t):
    """A machine whose guest has a disk, and a monitor with out-of-band commands."""
    if not os.path.exists(stall.PROGRAM):
        raise AssertionError(f"{stall.PROGRAM} is missing: run 'make guests'")
    disk = stall.Disk(t)
    path = t.path("oob")
    vm = t.vmm("disk", disk=disk.path, prefix=disk.prefix(), monitors=2,
               extra=["-qmp", f"unix:{path},server=on,wait=off"])
    vm.options = {"guest": "disk", "disk": disk.path}
    vm.capabilities("events")
    vm.serial.expect("^disk$")
    oob = Qmp.connect(path, negotiate=False)
    oob.cmd("qmp_capabilities", enable=["oob"])
    return vm, oob, disk


def stalled_write(vm, disk):
    disk.stall("io")
    vm.serial.write("w")
    disk.wait_stalled()


def vcpu_waits(vm):
    """Until the vCPU's thread is outside the guest and stays there."""
    thread, = [c["thread-id"] for c in vm.cmd("query-cpus-fast")]
    deadline = time.monotonic() + GUARD
    while True:
        with open(f"/proc/{vm.pid}/task/{thread}/syscall", encoding="ascii") as f:
            if f.read().startswith(FUTEX):
                return
        if time.monotonic() > deadline:
            raise Hang("the vCPU does not stop")
        os.sched_yield()


def out_of_band(oob):
    """It overtakes the command that waits."""
    oob.send({"exec-oob": "query-yank", "id": "oob"})
    reply = oob.reply()
    assert reply.get("id") == "oob" and {"type": "chardev", "id": "mon0"} in reply["return"], \
        reply


def all_answer(vm, oob):
    out_of_band(oob)
    for monitor in vm.monitors:
        assert monitor.cmd("query-status")["status"] in ("running", "paused"), monitor
        monitor.cmd("query-block")
        monitor.cmd("query-migrate")
        monitor.cmd("query-chardev")
        monitor.cmd("migrate_cancel")


def reply_to(qmp, wanted):
    while True:
        reply = qmp.reply()
        if reply.get("id") == wanted:
            assert "return" in reply, reply
            return


def guest_is_well(vm):
    vm.report()
    vm.serial.write("w")
    vm.serial.expect("submitted")


@only_minivmm(WHY)
@table(stop={"command": "stop", "what": "io"}, reset={"command": "system_reset", "what": "io"},
       flush={"command": "stop", "what": "flush"})
def test_command(t, command, what):
    """It waits for the disk; no other command does."""
    vm, oob, disk = start(t)
    if what == "io":
        stalled_write(vm, disk)
    else:
        disk.stall("flush")
    waiting = oob.start(command)
    if what == "flush":
        disk.wait_stalled()
    else:
        vcpu_waits(vm)
    all_answer(vm, oob)
    disk.release()
    reply_to(oob, waiting)
    if command == "stop":
        vm.qmp.event("STOP")
        vm.cmd("cont")
    else:
        vm.qmp.event("RESET")
        vm.serial.expect("^disk$")
    guest_is_well(vm)


@only_minivmm(WHY)
def test_guest_resets_device(t):
    """The vCPU that resets it waits; a stop that comes then waits for the vCPU."""
    vm, oob, disk = start(t)
    stalled_write(vm, disk)
    vm.serial.write("z")
    vm.serial.expect("resetting")
    all_answer(vm, oob)
    waiting = oob.start("stop")
    all_answer(vm, oob)
    disk.release()
    reply_to(oob, waiting)
    vm.cmd("cont")
    vm.serial.expect("^reset$")
    vm.report()


def begin_move(t, vm, disk, what, scheme):
    """Up to where the switchover waits for the disk; the destination, or None."""
    dest = None
    way = Way(t, scheme)
    if scheme == "unix":
        dest = destination(t, vm, way.incoming())
    if what == "io":
        stalled_write(vm, disk)
    else:
        disk.stall("flush")
    vm.cmd("migrate", uri=way.uri(dest))
    if what == "io":
        vcpu_waits(vm)
    else:
        disk.wait_stalled()
    return dest


MOVES = {f"{what}-{scheme}": {"what": what, "scheme": scheme}
         for what in ("io", "flush") for scheme in ("unix", "file")}


@only_minivmm(WHY)
@table(**MOVES)
def test_cancelled_move(t, what, scheme):
    """A cancel ends the wait, and the guest goes on at once, its request still under way."""
    vm, oob, disk = start(t)
    begin_move(t, vm, disk, what, scheme)
    out_of_band(oob)
    assert vm.status() == "running" and vm.migration()["status"] == "active"
    vm.cmd("migrate_cancel")
    vm.wait_migration("cancelled")
    vm.report()
    disk.release()
    guest_is_well(vm)


@only_minivmm(WHY)
@table(**MOVES)
def test_deadline(t, what, scheme):
    vm, oob, disk = start(t)
    vm.cmd("migrate-set-parameters", x_minivmm_deadline=1)
    begin_move(t, vm, disk, what, scheme)
    vm.wait_migration("failed")
    assert "the deadline of 1 s" in vm.migration()["error-desc"]
    out_of_band(oob)
    vm.report()
    disk.release()
    guest_is_well(vm)


@only_minivmm(WHY)
@table(**MOVES)
def test_move_that_waited(t, what, scheme):
    """The disk answers after all: the move is completed, and what was written arrives."""
    vm, _, disk = start(t)
    dest = begin_move(t, vm, disk, what, scheme)
    disk.release()
    vm.wait_migration("completed")
    if dest:
        dest.wait_running()
        dest.report()


ENDS = ("quit", "signal")


@only_minivmm(WHY)
@table(**{f"{how}-{what}": {"how": how, "what": what} for how in ENDS
          for what in ("idle", "stop", "reset", "device", "flush", "io-unix", "flush-unix")})
def test_end(t, how, what):
    """The program ends, whatever waits for the disk."""
    vm, oob, disk = start(t)
    if what in MOVES:
        begin_move(t, vm, disk, **MOVES[what])
    elif what == "flush":
        disk.stall("flush")
        oob.start("stop")
        disk.wait_stalled()
    else:
        stalled_write(vm, disk)
        if what == "stop":
            oob.start("stop")
        elif what == "reset":
            oob.start("system_reset")
        elif what == "device":
            vm.serial.write("z")
            vm.serial.expect("resetting")
        if what in ("stop", "reset"):
            vcpu_waits(vm)
    if how == "quit":
        vm.monitors[1].cmd("quit")
    else:
        vm.signal(signal.SIGTERM)
    vm.qmp.event("SHUTDOWN")
    # the requests are still under way: the process ends without them
    assert vm.wait() == 0
    assert not os.path.exists(t.path("oob"))
    assert select.select([vm.qmp.sock], [], [], GUARD)[0]


# ---- qcow2 ----

def start_qcow2(t, stalls):
    """A counting guest at work on disk d0, with another one, d1, which is idle; the one that stalls."""
    if not os.path.exists(stall.PROGRAM):
        raise AssertionError(f"{stall.PROGRAM} is missing: run 'make guests'")
    images = {name: snapshots.image(t, name) for name in ("d0", "d1")}
    disk = stall.Disk(t, images[stalls])
    vm = snapshots.guest(t, images, prefix=disk.prefix())
    goes_on(vm)
    return vm, disk


def loads_well(t, vm, tag):
    """What the program has left: leaks at most, and the snapshot of before."""
    for path in vm.images.values():
        snapshots.check(path, leaks=True)
    t.forget(vm)
    after = snapshots.again(t, vm, "-loadvm", tag, paused=True)
    snapshots.check_instant(t, after, tag)
    after.cmd("cont")
    goes_on(after)


def save_stalls(vm, disk, at):
    """The memory goes to an idle disk, of which nothing else is asked."""
    disk.stall("io")
    snapshots.begin(vm, "save", "new", vmstate="d1")
    disk.wait_stalled("io")
    if at == "commit":
        disk.stall("flush")
        disk.release("io")
        disk.wait_stalled("flush")


@only_minivmm(WHY)
@table(**{f"{how}-{at}": {"how": how, "at": at} for how in ENDS for at in ("write", "commit", "guest")})
def test_end_of_save(t, how, at):
    """The program ends while an image does not answer: at a page of a save, at its commit, at what the guest has written."""
    vm, disk = start_qcow2(t, "d0" if at == "guest" else "d1")
    snapshots.do(vm, "save", "old")
    if at == "guest":
        disk.stall("flush")
        disk.wait_stalled("flush")
    else:
        save_stalls(vm, disk, at)
    if how == "quit":
        vm.cmd("quit")
    else:
        vm.signal(signal.SIGTERM)
    assert vm.wait() == 0
    disk.release()
    loads_well(t, vm, "old")


@only_minivmm(WHY)
@table(quit={"how": "quit"}, signal={"how": "signal"})
def test_end_of_delete(t, how):
    """What has begun in one image is done in all, also when the program is to end meanwhile."""
    vm, disk = start_qcow2(t, "d1")
    snapshots.do(vm, "save", "old", vmstate="d1")
    disk.stall("flush")
    snapshots.begin(vm, "delete", "old")
    disk.wait_stalled("flush")
    if how == "quit":
        vm.cmd("quit")
    else:
        vm.signal(signal.SIGTERM)
    vm.qmp.event("SHUTDOWN")
    disk.release()
    assert vm.wait() == 0
    for path in vm.images.values():
        snapshots.check(path)
        assert not snapshots.listing(path)
