"""migrate_cancel in every state, with every encoder: the guest runs on, and can be moved afterwards."""
import os
import socket

import encoders
from case import only_minivmm, table
from encoders import ENCODERS, GUEST
from moves import Way, arrived, destination, goes_on, machine, wait_end_or_failure
from proxy import Harm

DEVICE = b"\x0bglobalstate"      # a section behind RAM
GO = b"\x08\x4d\x02\0\0"       # the command that gives it away
MODES = {name: {"mode": mode} for name, mode in ENCODERS.items()}
UNIX_MODES = {name: row for name, row in MODES.items() if name != "zero_copy"}


class TooLate(AssertionError):
    pass


def too_late(source):
    """The destination had the guest before the cancel came: it has run there, or may have."""
    move = source.migration()
    return move["status"] == "completed" or "was given the guest" in move.get("error-desc", "")


def cancel(source, times=1):
    """Cancels; the source runs on as if nothing had been."""
    for _ in range(times):
        source.cmd("migrate_cancel")
    ended = source.wait_migration("cancelled", "completed", "failed")
    if too_late(source):
        raise TooLate(source.migration())
    assert ended == "cancelled", source.migration()
    assert source.migration()["status"] == "cancelled", source.migration()
    if source.status() != "running":    # QEMU resumes after it has said so
        source.qmp.event("RESUME")
    source.report()
    goes_on(source)


def moves_afterwards(t, source, mode, scheme="unix"):
    """The next one, with the same encoder, succeeds."""
    source.cmd("migrate-set-capabilities", capabilities=[
        {"capability": "pause-before-switchover", "state": False}])
    way, dest = encoders.prepare(t, source, mode, scheme)
    encoders.fast(source)
    way.start(source, dest)
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)


def scheme_of(mode):
    return "tcp" if "zero-copy-send" in mode["source"] else "unix"


@table(**MODES)
def test_active(t, mode):
    """In the midst of the pages."""
    other_ends = () if t.kind == "minivmm" else ("completed", "failed")
    for _ in range(encoders.TRIES):
        source, dest = encoders.under_way(t, mode, scheme_of(mode))
        if other_ends and source.migration()["status"] != "active":
            continue
        try:
            cancel(source)
            break
        except TooLate:
            t.forget(source)
            t.forget(dest)
    else:
        raise AssertionError(f"{encoders.TRIES} moves were over before the cancel came")
    assert wait_end_or_failure(dest) != "completed"
    t.forget(dest)
    moves_afterwards(t, source, mode, scheme_of(mode))


@table(**MODES)
def test_pre_switchover(t, mode):
    """The guest has stopped, waits for migrate-continue, and runs again."""
    source = machine(t)
    source.capabilities("pause-before-switchover")
    way, dest = encoders.prepare(t, source, mode, scheme_of(mode))
    way.start(source, dest)
    source.wait_migration("pre-switchover")
    assert source.status() == "finish-migrate"
    cancel(source)
    assert wait_end_or_failure(dest) != "completed"
    assert source.qmp.fails("migrate-continue", state="pre-switchover") == \
        "Migration not in expected state: cancelled"
    moves_afterwards(t, source, mode, scheme_of(mode))


def held_up(t, source, mode, after):
    """A move that stands still behind these bytes of the main stream: (destination, relay)."""
    source.capabilities("pause-before-switchover")
    way, dest = encoders.prepare(t, source, mode)
    harm, relay = Harm("stall", 0, after=after), t.proxy(way.path)
    source.cmd("migrate", uri=f"unix:{relay.path}")
    source.wait_migration("pre-switchover")
    relay.arm(harm)         # the description of the machine names sections too
    source.cmd("migrate-continue", state="pre-switchover")
    source.wait_migration("device")
    assert harm.done.wait(60), "the stream does not come so far"
    return dest, relay


@only_minivmm("QEMU 7.2 has given the guest away by then")
@table(**UNIX_MODES)
def test_device(t, mode):
    """Device state is on its way, the destination has not got it all: the guest is still ours."""
    source = machine(t)
    dest, relay = held_up(t, source, mode, DEVICE)
    assert source.migration()["status"] == "device", source.migration()
    cancel(source)
    relay.release()
    assert wait_end_or_failure(dest) != "completed"
    t.forget(dest)
    moves_afterwards(t, source, mode)


@only_minivmm("QEMU 7.2 has no such hand-over")
def test_given(t):
    """The destination has been told to run the guest, and the word is still under way.

    The source cannot know whether it runs: a cancel only ends the wait. GO arrives: it runs there.
    """
    source = machine(t)
    dest, relay = held_up(t, source, ENCODERS["plain"], GO)
    source.cmd("migrate_cancel")
    assert source.wait_migration("cancelled", "failed", "completed") == "failed"
    assert "did not confirm" in source.migration()["error-desc"], source.migration()
    assert source.status() == "postmigrate"
    relay.release()
    dest.wait_running()
    assert source.status() == "postmigrate"
    goes_on(dest)


@table(plain={"mode": ENCODERS["plain"]}, multifd={"mode": ENCODERS["multifd"]})
def test_connecting(t, mode):
    """The listener does not accept the connection."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = [socket.socket() for _ in range(3)]
    for s in waiting:           # the backlog's only place, and some more
        s.setblocking(False)
        s.connect_ex(listener.getsockname())
    source = machine(t)
    source.capabilities(*mode["source"])
    source.cmd("migrate", uri=f"tcp:127.0.0.1:{listener.getsockname()[1]}")
    source.wait_migration("setup")
    cancel(source)
    moves_afterwards(t, source, mode)
    for s in [listener] + waiting:
        s.close()


def silent(t):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(t.path("silent"))
    listener.listen(16)
    return listener


@table(**UNIX_MODES)
def test_setup(t, mode):
    """There is a connection, and the peer has sent nothing."""
    with silent(t):
        source = machine(t)
        source.capabilities(*mode["source"])
        source.cmd("migrate", uri=f"unix:{t.path('silent')}")
        source.wait_migration("setup")
        cancel(source)


@table(plain={"mode": ENCODERS["plain"]}, multifd={"mode": ENCODERS["multifd"]})
def test_nobody_reads(t, mode):
    """The peer takes every connection, and the pages do not go out."""
    with silent(t):
        source = machine(t, "counter", GUEST)
        source.capabilities(*mode["source"])
        source.cmd("migrate", uri=f"unix:{t.path('silent')}")
        source.wait_migration("active")
        cancel(source)
        moves_afterwards(t, source, mode)


@table(exec={"uri": "exec:cat > {path}"}, stuck={"uri": "exec:cat {fifo}"},
       file={"uri": "file:{path}"})
def test_one_way(t, uri):
    """Nothing is left of a file; a command that does not read is ended."""
    if t.kind == "qemu" and uri.startswith("file"):
        t.skip("QEMU 7.2 has no file:")
    source = machine(t, "counter", GUEST)
    encoders.slow(source)
    os.mkfifo(t.path("fifo"))           # without a reader
    source.cmd("migrate", uri=uri.format(path=t.path("saved"), fifo=t.path("fifo")))
    source.wait_migration("active")
    cancel(source)
    assert uri.startswith("exec") or not os.path.exists(t.path("saved"))
    moves_afterwards(t, source, ENCODERS["plain"])


def test_again(t):
    """Several at once are one; when nothing moves it means nothing, at either end."""
    source = machine(t)
    source.cmd("migrate_cancel")
    assert source.migration() == {}
    goes_on(source)             # has written: else the move may be over before it is cancelled
    encoders.slow(source)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    dest.cmd("migrate_cancel")
    assert dest.status() == "inmigrate"
    way.start(source, dest)
    source.wait_migration("active")
    assert source.qmp.fails("migrate", uri="unix:/x") == "There's a migration process in progress"
    cancel(source, 3)
    source.cmd("migrate_cancel")
    assert source.migration()["status"] == "cancelled"
    source.cmd("migrate", uri="unix:/nope/x")
    source.wait_migration("failed")
    source.cmd("migrate_cancel")
    assert source.migration()["status"] == "failed"
    moves_afterwards(t, source, ENCODERS["plain"])
    source.cmd("migrate_cancel")
    assert source.migration()["status"] == "completed" and source.status() == "postmigrate"
