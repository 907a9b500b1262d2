"""What must not get lost around a move: requests, identities, announcements, refusals."""
import os
import subprocess

from case import only_minivmm, table
from moves import Way, arrived, destination, goes_on, machine, wait_end_or_failure
from qmp import QmpError

UUID = "00112233-4455-6677-8899-aabbccddeeff"


def test_no_reset_is_lost(t):
    """A guest that does nothing but reset itself goes on doing so, move after move."""
    vm = machine(t, "hello", "exit=reset", started=False)
    vm.serial.expect("hello")
    for _ in range(4):
        way = Way(t, "unix")
        dest = destination(t, vm, way.incoming())
        way.start(vm, dest)
        arrived(vm, dest)
        t.forget(vm)
        vm = dest
        for _ in range(3):
            vm.qmp.event("RESET")
        vm.serial.expect("hello")


def test_announcements(t):
    """As many rounds as announce-rounds says after a move, and as announce-self is told."""
    net = t.net()
    source = machine(t, "smp-counter", "pages=50 rate=500 every=100000", net=net.path)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    dest.cmd("migrate-set-parameters", announce_rounds=3, announce_initial=10, announce_step=10)
    way.start(source, dest)
    arrived(source, dest)
    wait_frames(net, 3)
    dest.cmd("announce-self", initial=10, max=20, rounds=4, step=10)
    wait_frames(net, 7)
    dest.cmd("announce-self", initial=10, max=20, rounds=2, step=10, interfaces=["other"])
    dest.cmd("announce-self", initial=10, max=20, rounds=1, step=10, id="a")
    wait_frames(net, 8)


def wait_frames(net, n):
    with net.changed:
        assert net.changed.wait_for(lambda: net.announcements >= n, 60), net.announcements
        assert net.announcements == n, net.announcements


@table(same={"uuid": UUID, "moves": True}, other={"uuid": UUID[:-1] + "0", "moves": False})
def test_validate_uuid(t, uuid, moves):
    source = machine(t, extra=["-uuid", UUID])
    source.capabilities("validate-uuid")
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming(), extra=["-uuid", uuid])
    way.start(source, dest)
    if moves:
        arrived(source, dest)
        dest.wait_running()
        goes_on(dest)
    else:
        assert "UUID" in wait_end_or_failure(dest)
        source.wait_migration("failed")
        goes_on(source)


def test_late_block_activate(t):
    """A guest that arrives stopped uses its disk when it is told to go on."""
    source = machine(t, "smp-counter", "pages=50 rate=500 every=16", disk=t.disk())
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming(), ["late-block-activate"], paused=True)
    way.start(source, dest)
    arrived(source, dest)
    assert dest.status() == "paused"
    dest.cmd("cont")
    goes_on(dest)
    assert dest.report()[0]["disk_errors"] == 0


@only_minivmm("QEMU forgets it, and runs the guest at the end")
@table(moves={"moves": True}, stays={"moves": False})
def test_stop_during_the_switchover(t, moves):
    """The guest stands still already: it stays so, wherever it is in the end."""
    source = machine(t)
    source.capabilities("events", "pause-before-switchover")
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming(), ["pause-before-switchover"])
    way.start(source, dest)
    source.wait_migration("pre-switchover")
    source.cmd("stop")
    assert source.status() == "finish-migrate", source.status()
    if moves:
        source.cmd("migrate-continue", state="pre-switchover")
        here = arrived(source, dest)
    else:
        source.cmd("migrate_cancel")
        source.wait_migration("cancelled")
        here = source
    assert here.status() == "paused", here.status()
    here.cmd("cont")
    goes_on(here)


@table(**{name: {"name": name} for name in ("migrate_set_downtime", "migrate_set_speed",
                                            "migrate-set-cache-size", "query-migrate-cache-size")})
def test_removed_commands(t, name):
    vm = t.vmm("idle")
    for arguments in ({}, {"value": 1}):
        try:
            vm.cmd(name, **arguments)
            raise AssertionError(f"{name} exists")
        except QmpError as e:
            assert e.cls == "CommandNotFound", e
            assert e.desc == f"The command {name} has not been found"
    assert name not in {c["name"] for c in vm.cmd("query-commands")}


@only_minivmm("another program's words")
def test_refused_global(t):
    """The program ends with the reason."""
    vm = t.vmm("idle")
    ended = subprocess.run(vm.argv[:1] + ["-global", "migration.nosuch=on", "-S"],
                           capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1, ended
    assert "-global migration.nosuch=on: there is no such property" in ended.stderr, ended


KSM = "/sys/kernel/mm/ksm/run"


def flags(vm):
    """The kernel's flags of the mapping that is RAM."""
    found = None
    with open(f"/proc/{vm.pid}/smaps", encoding="ascii", errors="replace") as smaps:
        for line in smaps:
            if "-" in line.split(" ")[0]:
                first, last = (int(x, 16) for x in line.split(" ")[0].split("-"))
                found = last - first == vm.ram_bytes
            elif found and line.startswith("VmFlags:"):
                return line.split()[1:]
    raise AssertionError("no mapping of the RAM's size")


@only_minivmm("reads this program's mappings")
@table(default={"options": [], "dump": True, "merge": True},
       off={"options": ["-machine", "dump-guest-core=off,mem-merge=off"], "dump": False,
            "merge": False})
def test_advice_on_memory(t, options, dump, merge):
    """The kernel is told what may be merged where merging is on: it has a price (vmm/memory/merge.h)."""
    vm = t.vmm("idle", backend="anonymous", extra=options)
    assert ("dd" not in flags(vm)) == dump, flags(vm)
    if os.path.exists(KSM):
        with open(KSM, encoding="ascii") as f:
            merge = merge and f.read().strip() == "1"
        assert ("mg" in flags(vm)) == merge, flags(vm)
