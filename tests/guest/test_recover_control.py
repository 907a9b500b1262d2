"""Pausing and resuming a postcopy: the commands, addresses of all kinds, one end that notices nothing, wrong answers."""
import signal
import socket

import postcopy
from case import only_minivmm, table
from moves import Way, listen
from proxy import BACKWARD, FORWARD, Harm
from qmp import Qmp
from recovery import MARK, Move

OURS = "QEMU 7.2 refuses it, or waits"
MODES = {"plain": {"mode": "plain"}, "preempt": {"mode": "preempt"}}
NOT_PAUSED = "Migrate recover can only be run when postcopy is paused."
NOT_ACTIVE = "migrate-pause is currently only supported during postcopy-active state"
NOTHING_PAUSED = "Cannot resume if there is no paused migration"


def pair(t, mode="plain", capabilities=(), **options):
    capabilities = (*capabilities, *(("postcopy-preempt",) if mode == "preempt" else ()))
    source = postcopy.start(t, capabilities=capabilities)
    return source, postcopy.there(t, source, capabilities, **{"paused": True, **options})


def begin(t, mode="plain", capabilities=(), **options):
    move = Move(t, *pair(t, mode, capabilities, **options))
    move.switch()
    return move


def whole(move):
    move.finish()
    move.compare()


@table(source={"end": "source"}, dest={"end": "dest"})
def test_pause(t, end):
    """Either end cuts the connection, and both are paused; yank and query-yank know of it while there is one."""
    move = begin(t)
    vm = getattr(move, end)
    assert {"type": "migration"} in vm.cmd("query-yank"), vm.cmd("query-yank")
    vm.cmd("migrate-pause")
    move.paused()
    assert vm.qmp.fails("migrate-pause") == NOT_ACTIVE
    move.recover()
    whole(move)


@only_minivmm("QEMU 7.2 keeps the instance while it is paused")
def test_yank(t):
    """There is nothing to cut while it is paused."""
    move = begin(t)
    for vm in move.ends:
        vm.cmd("yank", instances=[{"type": "migration"}])
        move.paused()
        for each in move.ends:
            assert {"type": "migration"} not in each.cmd("query-yank"), each.cmd("query-yank")
            assert each.qmp.fails("yank", instances=[{"type": "migration"}]) == "Instance not found"
        move.recover()
    whole(move)


def test_refused(t):
    """Each command where it has no place."""
    source, dest = pair(t)
    assert source.qmp.fails("migrate-recover", uri="unix:/nowhere/x") == NOT_PAUSED
    assert source.qmp.fails("migrate-pause") == NOT_ACTIVE
    assert source.qmp.fails("migrate", uri="unix:/nowhere/x", resume=True) == NOTHING_PAUSED
    move = Move(t, source, dest)
    assert source.qmp.fails("migrate-pause") == NOT_ACTIVE
    move.switch()
    assert dest.qmp.fails("migrate-recover", uri=f"unix:{t.path('x')}") == NOT_PAUSED
    move.broken()
    assert source.qmp.fails("migrate-recover", uri=f"unix:{t.path('x')}") == NOT_PAUSED
    assert dest.qmp.fails("migrate", uri="unix:/nowhere/x", resume=True)
    move.recover()
    whole(move)


@only_minivmm("QEMU 7.2 forgets the place where it was to be resumed")
def test_addresses_that_fail(t):
    """Nobody there, or no place to listen at: both stay paused, say why, and take another one."""
    move = begin(t)
    move.broken()
    why = move.dest.qmp.fails("migrate-recover", uri="unix:/nowhere/x")
    assert "/nowhere/x" in why, why
    for uri, words in (("exec:cat", "tcp:, unix: or fd:"), ("fd:none", "'none' has not been found"), ("zz:1", "zz")):
        for vm, command in ((move.dest, "migrate-recover"), (move.source, "migrate")):
            resume = {} if command == "migrate-recover" else {"resume": True}
            why = vm.qmp.fails(command, uri=uri, **resume)
            assert words in why, why
    move.source.cmd("migrate", uri="unix:/nowhere/x", resume=True)
    assert move.source.wait_migration("postcopy-recover-setup", "postcopy-paused") == "postcopy-recover-setup"
    move.paused(move.source)
    assert "/nowhere/x" in move.source.migration()["error-desc"], move.source.migration()
    move.recover()
    whole(move)


@only_minivmm("in QEMU 7.2 the first listener keeps its address")
@table(tcp_plain={"scheme": "tcp", "mode": "plain"}, unix_preempt={"scheme": "unix", "mode": "preempt"})
def test_the_same_address(t, scheme, mode):
    """Where the move came first it may come again, and again."""
    source, dest = pair(t, mode)
    source.cmd("migrate-set-parameters", max_bandwidth=postcopy.EARLY)
    way = Way(t, scheme)
    listen(dest, way.incoming())
    uri = way.uri(dest)
    source.cmd("migrate", uri=uri)
    postcopy.switch(source, dest)
    for _ in range(2):
        source.cmd("migrate-pause")
        for vm in (source, dest):
            assert vm.wait_migration("postcopy-paused", "failed") == "postcopy-paused", vm.migration()
        dest.cmd("migrate-recover", uri=uri)
        source.cmd("migrate", uri=uri, resume=True)
        for vm in (source, dest):
            assert vm.wait_migration("postcopy-active", "postcopy-paused") == "postcopy-active", vm.migration()
    postcopy.finish(source, dest)
    postcopy.compare(source, dest)


def test_descriptors(t):
    """fd: at both ends."""
    move = begin(t)
    move.broken()
    here, there = socket.socketpair()
    for vm, sock in ((move.source, here), (move.dest, there)):
        vm.qmp.cmd("getfd", fds=[sock.fileno()], fdname="again")
        sock.close()
    move.dest.cmd("migrate-recover", uri="fd:again")
    move.source.cmd("migrate", uri="fd:again", resume=True)
    move.recovered()
    whole(move)


def test_a_port_of_its_own(t):
    """With port 0 the destination says where it listens."""
    move = begin(t)
    move.broken()
    move.dest.cmd("migrate-recover", uri="tcp:127.0.0.1:0")
    address, = move.dest.migration()["socket-address"]
    move.source.cmd("migrate", uri=f"tcp:127.0.0.1:{address['port']}", resume=True)
    move.recovered()
    whole(move)


@only_minivmm(OURS)
@table(**MODES)
def test_only_the_destination_notices(t, mode):
    """To the source the old connection is as good as ever: 'migrate' with resume cuts it."""
    move = begin(t, mode)
    for link in move.proxy.links:
        link.lose(FORWARD)
    move.paused(move.dest)
    assert move.source.migration()["status"] == "postcopy-active", move.source.migration()
    move.listen()
    move.resume()
    move.paused(move.source)
    move.recovered()
    whole(move)


@table(**MODES)
def test_only_the_source_notices(t, mode):
    """The destination waits for pages that do not come: migrate-pause there."""
    move = begin(t, mode)
    for link in move.proxy.links:
        link.lose(BACKWARD)
    move.paused(move.source)
    assert move.dest.migration()["status"] == "postcopy-active", move.dest.migration()
    move.dest.cmd("migrate-pause")
    move.paused(move.dest)
    move.recover()
    whole(move)


def oob_monitor(path):
    monitor = Qmp.connect(path, negotiate=False)
    monitor.cmd("qmp_capabilities", enable=["oob"])

    def run(command, **arguments):
        """Out of band: the error's text, or None."""
        monitor.send({"exec-oob": command, "id": command, "arguments": arguments})
        reply = monitor.reply()
        assert reply["id"] == command, reply
        return reply.get("error", {}).get("desc")
    return run


def test_out_of_band(t):
    """The destination is paused, and waits again, without its main loop."""
    path = t.path("oob")
    source, dest = pair(t, extra=["-qmp", f"unix:{path},server=on,wait=off"])
    oob = oob_monitor(path)
    assert oob("migrate-pause") == NOT_ACTIVE
    assert oob("migrate-recover", uri="tcp:127.0.0.1:0") == NOT_PAUSED
    move = Move(t, source, dest)
    move.switch()
    assert oob("migrate-pause") is None
    move.paused()
    if t.kind == "minivmm":
        assert "as a number" in oob("migrate-recover", uri="tcp:localhost:0")
        assert "out of band" in oob("migrate-recover", uri="fd:again")
    move.proxy.target = move.address()
    assert oob("migrate-recover", uri=f"unix:{move.proxy.target}") is None
    move.resume()
    move.recovered()
    whole(move)


@only_minivmm(OURS)
@table(size={"offset": 16, "words": "bytes instead of"}, name={"offset": 6, "words": "which it was asked for"},
       mark={"offset": 7, "after": MARK, "words": "does not end with its mark"},
       kind={"offset": 1, "words": "unknown message"},
       ack={"offset": 7, "after": b"\0\6\0\4\0\0\0\1", "words": "instead of 1"})
def test_wrong_answers(t, offset, words, after=None):
    """A byte of what the destination says of its pages is wrong: the source says so, and both wait again."""
    move = begin(t)
    move.broken(5000)
    move.listen()
    move.resume(Harm("corrupt", offset, BACKWARD, after=after, xor=0x41))
    move.paused()
    assert words in move.source.migration()["error-desc"], move.source.migration()
    move.recover()
    whole(move)


@only_minivmm("QEMU 7.2 ends")
@table(tag={"offset": 0}, command={"offset": 2}, length={"offset": 4}, name={"offset": 6})
def test_wrong_questions(t, offset):
    """A byte of the source's first command is wrong; where both wait for each other then, migrate-pause ends that."""
    move = begin(t)
    move.broken(5000)
    move.listen()
    move.resume(Harm("corrupt", offset, FORWARD, xor=0x41))
    if offset == 4:                     # a name longer than what comes
        assert move.dest.wait_migration("postcopy-recover", "postcopy-paused") == "postcopy-recover"
        move.dest.cmd("migrate-pause")
    if offset == 0:                     # nobody that the destination knows: it waits on
        move.paused(move.source)
    else:
        move.paused()
        assert move.dest.migration()["error-desc"], move.dest.migration()
    move.recover()
    whole(move)


@only_minivmm(OURS)
def test_multifd_before(t):
    """The channels of the precopy phase are lost as well, and not missed."""
    move = begin(t, capabilities=("multifd",))
    for _ in range(2):
        move.broken(5000)
        move.recover()
    whole(move)


def says_so(vm, end):
    """What only the other one had is lost, and its place is known."""
    if end == "dest":
        assert vm.wait_migration("failed") == "failed"
        assert vm.status() == "postmigrate", vm.status()
        words = "the destination's program has ended, and the guest with it"
    else:
        vm.wait_migration("postcopy-paused")
        words = "the source's program has ended, and"
    assert words in vm.migration()["error-desc"], vm.migration()


@table(**{f"{end}_{name}": {"end": end, "number": number}
          for end in ("source", "dest")
          for name, number in (("quit", None), ("term", signal.SIGTERM), ("kill", signal.SIGKILL))})
def test_ends_while_paused(t, end, number):
    """A program that waits for the other end can be ended; the other one says what is lost with it."""
    if t.kind == "qemu" and end == "dest":
        t.skip("QEMU 7.2 does not end while its guest waits for a page")
    source, dest = pair(t, paused=False)
    postcopy.begin(t, source, dest)
    postcopy.switch(source, dest)
    dest.wait_running()
    source.cmd("migrate-pause")
    for vm in (source, dest):
        assert vm.wait_migration("postcopy-paused", "failed") == "postcopy-paused", vm.migration()
    vm, other = (source, dest) if end == "source" else (dest, source)
    forced = {"x_minivmm_force": True} if t.kind == "minivmm" else {}
    if number:
        vm.signal(number)
    else:
        vm.cmd("quit", **forced)
    assert vm.wait() == (-signal.SIGKILL if number == signal.SIGKILL else 0), vm.stderr()
    if t.kind == "minivmm":
        says_so(other, end)
    else:
        assert other.migration()["status"] == "postcopy-paused", other.migration()
