"""QEMU cannot be told what was asked for meanwhile: up to EOF everything fails back to the source."""
from case import only_minivmm, table
from moves import destination, machine, wait_end_or_failure
from ownership import Watched, until
from proxy import BACKWARD, Harm

LOADED = b"\0\2\0\4\x4d\x56\x4d\3"     # the PONG behind the last section
SHUT = b"\0\1\0\4"


def begin(t):
    """A move to QEMU that has loaded every section, and whose word of that is held up."""
    t.need("qemu")
    source = machine(t, "requester", "pages=20", started=False, memory="18M")
    source.serial.expect("boot")
    dest = destination(t, source, f"unix:{t.path('in')}", kind="qemu")
    harm = Harm("stall", 1, BACKWARD, after=LOADED)
    proxy = t.proxy(t.path("in"), harm)
    source.cmd("migrate", uri=f"unix:{proxy.path}")
    until("the last section to be loaded", harm.done.is_set, source, dest)
    return source, dest, proxy


def alive(vm):
    vm.serial.write("e")
    vm.serial.expect("alive")


@only_minivmm("both kinds are in it")
@table(reset={"command": "system_reset", "event": "RESET", "says": "boot\n"},
       button={"command": "system_powerdown", "event": "POWERDOWN", "says": "button\n"})
def test_asked_before_eof(t, command, event, says):
    """The state is sent again, with what was asked for in it: once, and at QEMU."""
    source, dest, proxy = begin(t)
    source.cmd(command)
    proxy.release()
    source.qmp.event(event)
    assert source.wait_migration("completed", "failed") == "completed", source.migration()
    dest.wait_running()
    dest.serial.expect(says)
    alive(dest)
    assert (source.serial.seen + dest.serial.seen).count(says) == 1 + (says == "boot\n")
    assert "handed to unix:" in source.qmp.fails(command)
    assert source.status() == "postmigrate"


@only_minivmm("both kinds are in it")
@table(killed={"how": "kill"}, cut={"how": "cut"}, cancelled={"how": "cancel"})
def test_broken_before_eof(t, how):
    """QEMU has everything but EOF: the guest goes on at the source."""
    source, dest, proxy = begin(t)
    source.cmd("system_reset")
    if how == "kill":
        dest.kill()
    elif how == "cut":
        proxy.links[0].cut()
    else:
        source.cmd("migrate_cancel")
    proxy.release()
    watched, ends = Watched(source), "cancelled" if how == "cancel" else "failed"
    until("the end and the reset", lambda: watched.look() == (ends, "running") and watched.events("RESET"),
          source)
    assert len(watched.events("RESET")) == 1
    source.serial.expect("boot")
    alive(source)
    assert how == "kill" or wait_end_or_failure(dest) == "dead"


@only_minivmm("both kinds are in it")
def test_cut_behind_eof(t):
    """QEMU runs the guest and cannot say so: the guest stays stopped here, and the error says so."""
    source, dest, proxy = begin(t)
    harm = Harm("cut", 0, BACKWARD, after=SHUT)
    proxy.arm(harm)
    proxy.release()
    assert source.wait_migration("completed", "failed") == "failed"
    says = source.migration()["error-desc"]
    assert "did not confirm" in says and "stays stopped here" in says, says
    assert source.status() == "postmigrate"
    assert "has not confirmed" in source.qmp.fails("cont")
    dest.wait_running()
    alive(dest)
