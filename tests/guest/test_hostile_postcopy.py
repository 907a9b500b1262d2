"""The other end of a postcopy lies: what it asks for, what it sends, what it says on the fast lane.

A source whose guest has gone pauses; one whose guest has not keeps it. A destination whose guest does not run
yet fails; one whose guest runs pauses. None of them ends, stands still, or takes a byte beside guest memory.
"""
import contextlib
import os
import random
import signal
import struct

import fake
import postcopy
import wire
from case import only_minivmm, table
from moves import goes_on
from qmp import Hang, QmpError

BLOCK = "microvm.ram"
SIZE = 24 << 20
PAGE = 4096

# What is no answer of a destination, anywhere.
LIES = {
    "start_outside": wire.request(SIZE, PAGE, BLOCK),
    "end_outside": wire.request(SIZE - PAGE, 2 * PAGE, BLOCK),
    "end_wraps": wire.request((1 << 64) - PAGE, 2 * PAGE, BLOCK),
    "start_unaligned": wire.request(0x10, PAGE, BLOCK),
    "length_unaligned": wire.request(0, PAGE + 8, BLOCK),
    "length_zero": wire.request(0, 0, BLOCK),
    "unknown_block": wire.request(0, PAGE, "nothing.ram"),
    "no_block": wire.request(0, PAGE, ""),
    "name_too_long": wire.answer(wire.REQ_PAGES_ID, struct.pack(">QI", 0, PAGE) + b"\xff" + BLOCK.encode()),
    "name_too_short": wire.answer(wire.REQ_PAGES_ID, struct.pack(">QI", 0, PAGE) + b"\x02" + BLOCK.encode()),
    "nameless": wire.request(0, PAGE),
    "short": wire.answer(wire.REQ_PAGES, bytes(11)),
    "too_long": wire.answer(wire.REQ_PAGES_ID, bytes(513)),
    "unknown": wire.answer(99, bytes(4)),
    "bitmap": wire.answer(wire.BITMAP, wire.string(BLOCK)) + struct.pack(">Q", SIZE // PAGE // 8) + bytes(768) +
              bytes.fromhex("0123456789abcdef"),
    "ack": wire.answer(wire.RESUME_ACK, struct.pack(">I", 1)),
    "shut": wire.answer(wire.SHUT, struct.pack(">I", 1)),
}
LATER = "QEMU 7.2 looks at a wrong answer when the move is over, if at all"


@contextlib.contextmanager
def named(name):
    """Which of many it was, in front of what went wrong."""
    try:
        yield
    except (AssertionError, Hang, QmpError) as e:
        raise AssertionError(f"{name}: {e}") from e


def words(vm, phrase=""):
    """It says what was wrong."""
    told = vm.migration().get("error-desc")
    assert told and phrase in told, vm.migration()


@only_minivmm(LATER)
@table(**{name: {"name": name} for name in LIES})
def test_source_pauses(t, name):
    """The guest is with the liar, who alone has its state: the source keeps what it has, stopped."""
    source = postcopy.start(t)
    peer = fake.Destination(t)
    fake.take_over(source, peer)
    peer.send(LIES[name])
    assert source.wait_migration(*postcopy.OVER) == "postcopy-paused", source.migration()
    words(source, "the destination")
    assert source.status() == "finish-migrate", source.status()
    for command in ("cont", "system_reset"):
        assert "migrate-recover" in source.qmp.fails(command), command


@only_minivmm(LATER)
@table(**{name: {"name": name} for name in ("start_outside", "unknown_block", "nameless", "short", "unknown", "bitmap",
                                            "ack", "shut")})
def test_source_keeps_its_guest(t, name):
    """In precopy nothing is lost: the migration fails and the guest runs on."""
    source = postcopy.start(t)
    peer = fake.Destination(t)
    fake.begin(source, peer)
    peer.send(LIES[name])
    assert source.wait_migration(*postcopy.OVER) == "failed", source.migration()
    words(source, "the destination")
    if source.status() != "running":
        source.qmp.event("RESUME")
    goes_on(source)


@only_minivmm("QEMU 7.2 gives its guest away with the package")
def test_source_takes_it_back(t):
    """The package could not be loaded, says the destination: the guest runs on where it was."""
    source = postcopy.start(t)
    peer = fake.Destination(t)
    fake.take_over(source, peer, loaded=False)
    peer.send(LIES["shut"])
    assert source.wait_migration(*postcopy.OVER) == "failed", source.migration()
    words(source, "the destination")
    if source.status() != "running":
        source.qmp.event("RESUME")
    goes_on(source)


def resident(vm):
    with open(f"/proc/{vm.pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * PAGE


def ends_well(source, peer):
    """All pages come, to the last one."""
    source.cmd("migrate-set-parameters", max_postcopy_bandwidth=0)
    assert peer.until("eof"), "the source has hung up"
    peer.send(wire.answer(wire.SHUT, bytes(4)))
    assert source.wait_migration(*postcopy.OVER) == "completed", source.migration()


FLOODS = {
    "one_page": lambda pick: wire.request(0, PAGE, BLOCK) * 100000,
    "every_page": lambda pick: b"".join(wire.request(pick.randrange(SIZE // PAGE) * PAGE, PAGE, BLOCK)
                                        for _ in range(100000)),
    "whole_block": lambda pick: wire.request(0, SIZE, BLOCK) * 2000,
}


@table(**{name: {"name": name} for name in FLOODS})
def test_flood_of_requests(t, name):
    """By a destination that does not read what it asks for: no memory is used up, and it is served or refused."""
    source = postcopy.start(t)
    peer = fake.Destination(t)
    fake.take_over(source, peer)
    before = resident(source)
    served = peer.try_send(FLOODS[name](random.Random(1)))
    grown = resident(source) - before
    assert t.kind == "qemu" or grown < 16 << 20, f"{grown >> 20} MiB for requests"
    if not served and t.kind == "minivmm":
        assert source.wait_migration(*postcopy.OVER) == "postcopy-paused", source.migration()
        words(source, "the destination asks for more than")
    elif served:
        ends_well(source, peer)


def test_requests_without_end(t):
    """A guest that asks all the time does not keep the source from hearing that it runs."""
    source = postcopy.start(t)
    peer = fake.Destination(t)
    message = fake.take_over(source, peer, loaded=False)
    asks = os.fork()        # a thread would share its time with the one that reads
    if asks == 0:
        peer.loaded(message)
        while peer.try_send(wire.request(0, PAGE, BLOCK) * 50000):
            pass
        os._exit(0)
    try:
        fake.wait_active(source, peer)
    finally:
        os.kill(asks, signal.SIGKILL)
        os.waitpid(asks, 0)


@table(nothing={"more": b""}, request={"more": wire.request(0, PAGE, BLOCK)},
       shut={"more": LIES["shut"]}, noise={"more": b"\xff" * 1000})
def test_after_shut(t, more):
    """The last message comes in the middle of the sweep, with more behind it."""
    source = postcopy.start(t)
    peer = fake.Destination(t)
    fake.take_over(source, peer)
    peer.send(wire.answer(wire.SHUT, bytes(4)) + more)
    source.cmd("migrate-set-parameters", max_postcopy_bandwidth=0)
    peer.until("eof")
    peer.hang_up()
    assert source.wait_migration(*postcopy.OVER) in ("completed", "postcopy-paused"), source.migration()
    assert source.status() in ("postmigrate", "finish-migrate"), source.status()


# ---- a source that lies ----

WORDS = struct.Struct(">Q")
ADVISE = struct.Struct(">QQ")


class Played:
    """A recorded postcopy, in parts that can be changed."""

    def __init__(self, t):
        source = postcopy.start(t, "idle", "")
        self.messages = fake.record(t, source)
        t.forget(source)
        self.package = next(m for m in self.messages if m.kind == "package")
        at = self.messages.index(self.package)
        self.before, self.behind = self.messages[:at], self.messages[at + 1:]
        self.pages = [m for m in self.behind if m.kind == "page" and m.block == BLOCK]

    def stream(self, before=None, package=None, behind=None):
        """before: bytes in front of the package; package: its content; behind: what takes the place of the sweep."""
        parts = [m.data for m in self.before] if before is None else [before]
        parts.append(wire.package(self.package.payload if package is None else package))
        parts += [m.data for m in self.behind] if behind is None else [behind]
        return b"".join(parts)

    def head(self, change=lambda m: m.data):
        """What stands in front of the package; change: the bytes of each message, b"" for none."""
        return b"".join(change(m) for m in self.before)

    def commands(self, number, *instead):
        """The head, with others in the place of the first of these; the rest of these are left out."""
        left = [b"".join(instead)]
        return self.head(lambda m: m.data if m.number != number or m.kind != "command" else left.pop() if left else b"")

    def _sweep(self):
        """Up to and with the first page, and what follows."""
        at = self.behind.index(self.pages[0]) + 1
        return (b"".join(m.data for m in self.behind[:at]), b"".join(m.data for m in self.behind[at:]))

    def sweep(self, record):
        """With a record between its pages."""
        good, rest = self._sweep()
        return good + record + rest

    def cut(self, record=b""):
        """It ends with this."""
        return self._sweep()[0] + record

    def rest(self):
        return b"".join(m.data for m in self.behind)

    def early_end(self):
        """END and EOF, and most pages have not been sent."""
        return b"".join(m.data for m in self.behind if m.kind != "page")


ADVISED = wire.command(wire.ADVISE, ADVISE.pack(PAGE, PAGE))
LISTENING = wire.command(wire.LISTEN)

# Before the guest runs: what changes of a good stream p. The destination fails, as in precopy.
EARLY = {
    "advise_twice": lambda p: p.stream(p.commands(wire.ADVISE, ADVISED, ADVISED)),
    "advise_other_pages": lambda p: p.stream(p.commands(wire.ADVISE, wire.command(wire.ADVISE, ADVISE.pack(8192, PAGE)))),
    "advise_huge_pages": lambda p: p.stream(p.commands(wire.ADVISE,
                                                       wire.command(wire.ADVISE, ADVISE.pack(2 << 20, PAGE)))),
    "advise_other_guest_pages": lambda p: p.stream(p.commands(wire.ADVISE,
                                                              wire.command(wire.ADVISE, ADVISE.pack(PAGE, 8192)))),
    "advise_short": lambda p: p.stream(p.commands(wire.ADVISE, wire.command(wire.ADVISE, bytes(8)))),
    "advise_empty": lambda p: p.stream(p.commands(wire.ADVISE, wire.command(wire.ADVISE))),
    "not_advised": lambda p: p.stream(p.commands(wire.ADVISE)),
    "discard_first": lambda p: p.stream(p.commands(wire.ADVISE, wire.discard(BLOCK, (0, PAGE)), ADVISED)),
    "listen_first": lambda p: p.stream(p.commands(wire.ADVISE, LISTENING, ADVISED)),
    "run_first": lambda p: p.stream(p.commands(wire.ADVISE, ADVISED, wire.command(wire.RUN))),
    "resume_first": lambda p: p.stream(p.commands(wire.ADVISE, ADVISED, wire.command(wire.RESUME))),
    "bitmap_first": lambda p: p.stream(p.commands(wire.ADVISE, ADVISED,
                                                  wire.command(wire.RECV_BITMAP, wire.string(BLOCK)))),
    "discard_outside": lambda p: p.stream(p.head() + wire.discard(BLOCK, (SIZE, PAGE))),
    "discard_end_outside": lambda p: p.stream(p.head() + wire.discard(BLOCK, (SIZE - PAGE, 2 * PAGE))),
    "discard_wraps": lambda p: p.stream(p.head() + wire.discard(BLOCK, ((1 << 64) - PAGE, 2 * PAGE))),
    "discard_unaligned": lambda p: p.stream(p.head() + wire.discard(BLOCK, (8, PAGE))),
    "discard_length_unaligned": lambda p: p.stream(p.head() + wire.discard(BLOCK, (0, PAGE + 8))),
    "discard_unknown_block": lambda p: p.stream(p.head() + wire.discard("nothing", (0, PAGE))),
    "discard_version": lambda p: p.stream(p.head() + wire.discard(BLOCK, (0, PAGE), version=1)),
    "discard_no_end_of_name": lambda p: p.stream(p.head() + wire.discard(BLOCK, (0, PAGE), zero=b"x")),
    "discard_nothing": lambda p: p.stream(p.head() + wire.discard(BLOCK)),
    "discard_half": lambda p: p.stream(p.head() + wire.command(wire.DISCARD, b"\0" + wire.string(BLOCK) + bytes(9))),
    "discard_name_too_long": lambda p: p.stream(p.head() + wire.command(wire.DISCARD, b"\0\xff" + bytes(20))),
    "package_endless": lambda p: p.head() + wire.command(wire.PACKAGED, b"\xff" * 4) + bytes(100000),
    "package_cut": lambda p: p.head() + wire.package(p.package.payload)[:-100],
    "package_half": lambda p: p.stream(package=p.package.payload[:-100]),
    "package_empty": lambda p: p.stream(package=b""),
    "package_of_zeroes": lambda p: p.stream(package=bytes(1000)),
    "package_in_package": lambda p: p.stream(package=wire.package(p.package.payload)),
    "package_without_listen": lambda p: p.stream(package=p.package.payload.replace(LISTENING, b"", 1)),
    "listen_twice": lambda p: p.stream(package=LISTENING + p.package.payload),
    "listen_with_more": lambda p: p.stream(package=p.package.payload.replace(
        LISTENING, wire.command(wire.LISTEN, bytes(4)), 1)),
    "discard_in_package": lambda p: p.stream(package=LISTENING + wire.discard(BLOCK, (0, PAGE))),
    "devices_wrong": lambda p: p.stream(package=p.package.payload.replace(b"timer", b"tiner", 1)),
}

# While the guest runs: what stands where the sweep does. The guest's state is here alone: the destination pauses.
LATE = {
    "unknown_block": lambda p: p.sweep(wire.page("nothing", 0, bytes(PAGE))),
    "no_block": lambda p: p.sweep(wire.page("", 0, bytes(PAGE))),
    "outside": lambda p: p.sweep(wire.page(BLOCK, SIZE, bytes(PAGE))),
    "far_outside": lambda p: p.sweep(wire.page(BLOCK, (1 << 64) - PAGE, bytes(PAGE))),
    "zero_outside": lambda p: p.sweep(wire.page(BLOCK, SIZE)),
    "zero_of_ones": lambda p: p.sweep(wire.page(BLOCK, p.pages[1].offset, b"\1", flags=2)),
    "xbzrle": lambda p: p.sweep(wire.page(BLOCK, p.pages[1].offset, b"\1\0\2\0\0", flags=0x40)),
    "compressed": lambda p: p.sweep(wire.page(BLOCK, p.pages[1].offset, b"\0\0\0\4abcd", flags=0x100)),
    "unknown_kind": lambda p: p.sweep(wire.page(BLOCK, p.pages[1].offset, bytes(PAGE), flags=0x800)),
    "all_kinds": lambda p: p.sweep(wire.page(BLOCK, p.pages[1].offset, bytes(PAGE), flags=0xfff)),
    "list_again": lambda p: p.sweep(WORDS.pack(SIZE | 4) + wire.string(BLOCK) + WORDS.pack(SIZE)),
    "half_a_page": lambda p: p.cut(wire.page(BLOCK, p.pages[1].offset, bytes(PAGE))[:-1]),
    "no_footer": lambda p: p.sweep(WORDS.pack(0x10) + b"\1\2\3\4\5"),
    "end_too_early": lambda p: p.early_end(),
    "cut": lambda p: p.cut(),
    "package_again": lambda p: wire.package(p.package.payload) + p.rest(),
    "listen_again": lambda p: LISTENING + p.rest(),
    "run_again": lambda p: wire.command(wire.RUN) + p.rest(),
    "advise_again": lambda p: ADVISED + p.rest(),
    "discard_again": lambda p: wire.discard(BLOCK, (0, PAGE)) + p.rest(),
    "resume": lambda p: wire.command(wire.RESUME) + p.rest(),
    "bitmap": lambda p: wire.command(wire.RECV_BITMAP, wire.string(BLOCK)) + p.rest(),
    "go": lambda p: wire.command(wire.GO, bytes(16)) + p.rest(),
    "header_again": lambda p: b"QEVM\0\0\0\3" + p.rest(),
    "noise": lambda p: random.Random(1).randbytes(100000) + p.rest(),
    "eof_alone": lambda p: b"\0" + p.rest(),
}


def idle(t, *capabilities):
    """A destination for what was recorded; where it listens."""
    dest = t.vmm("idle", memory=postcopy.MEMORY, incoming="defer", backend="anonymous")
    dest.capabilities("events", "postcopy-ram", *capabilities)
    path = t.path(dest.name)
    dest.cmd("migrate-incoming", uri=f"unix:{path}")
    return dest, path


def play(t, data):
    """A destination that is sent such a stream, to its end; the guest that was recorded does nothing."""
    dest, path = idle(t)
    peer = fake.Source(t, path)
    peer.say(data)
    peer.end()
    return dest


def ends(vm, status, run_state):
    """How it must end, and that it says why."""
    assert vm.wait_migration(*postcopy.OVER) == status, vm.migration()
    words(vm)
    assert vm.status() == run_state, vm.status()


def parts(lies, count):
    """One recording serves many streams."""
    return {f"part{i}": {"names": list(lies)[i::count]} for i in range(count)}


def test_played(t):
    """What is not changed is taken: the guest runs, with all its memory."""
    dest = play(t, Played(t).stream())
    assert dest.wait_migration(*postcopy.OVER) == "completed", dest.migration()
    assert dest.report() is not None


@only_minivmm("QEMU 7.2 ends, or aborts")
@table(**parts(EARLY, 4))
def test_destination_fails(t, names):
    """Its guest has not run: the program waits, and says what was wrong."""
    recorded = Played(t)
    for name in names:
        with named(name):
            dest = play(t, EARLY[name](recorded))
            ends(dest, "failed", "inmigrate")
            t.forget(dest)


@only_minivmm("QEMU 7.2 ends, or aborts")
@table(**parts(LATE, 4))
def test_destination_pauses(t, names):
    """The guest runs, and has nobody else: it goes on with what it has, and may be resumed."""
    recorded = Played(t)
    for name in names:
        with named(name):
            dest, path = idle(t)
            peer = fake.Source(t, path)
            peer.say(recorded.stream(behind=b""))
            dest.wait_running()
            peer.say(LATE[name](recorded))
            peer.end()
            ends(dest, "postcopy-paused", "running")
            dest.cmd("migrate-recover", uri=f"unix:{t.path('again')}")
            t.forget(dest)


# ---- a stranger on the fast lane ----

LANE = {
    "unknown_block": lambda p: wire.page("nothing", 0, bytes(PAGE)),
    "outside": lambda p: wire.page(BLOCK, SIZE, bytes(PAGE)),
    "half_a_page": lambda p: wire.page(BLOCK, p.pages[-1].offset, bytes(PAGE))[:-1],
    "no_block": lambda p: wire.page(None, p.pages[-1].offset, bytes(PAGE)),
    "xbzrle": lambda p: wire.page(BLOCK, p.pages[-1].offset, b"\1\0\2\0\0", flags=0x40),
    "list": lambda p: WORDS.pack(SIZE | 4) + wire.string(BLOCK) + WORDS.pack(SIZE),
    "noise": lambda p: random.Random(1).randbytes(100000),
}
HARMLESS = {
    "nothing": lambda p: b"",
    "end": lambda p: WORDS.pack(0x10),
    "page": lambda p: wire.page(BLOCK, p.pages[-1].offset, p.pages[-1].payload.ljust(PAGE, b"\0")),
}


def play_lane(t, make):
    """The same with the fast lane: the main connection stands still behind some pages until the lane has ended."""
    recorded = Played(t)
    dest, path = idle(t, "postcopy-preempt")
    peer = fake.Source(t, path)
    peer.say(recorded.head())
    lane = fake.Source(t, path)
    peer.say(wire.package(recorded.package.payload) + recorded.cut())
    assert dest.wait_migration("postcopy-active", *postcopy.OVER) == "postcopy-active", dest.migration()
    lane.say(make(recorded))
    lane.end()
    return recorded, dest, peer, path


@only_minivmm("QEMU 7.2 ends, or aborts")
@table(**{name: {"name": name} for name in LANE})
def test_lane_pauses(t, name):
    """What is wrong there is as wrong as on the main connection."""
    dest = play_lane(t, LANE[name])[1]
    ends(dest, "postcopy-paused", "running")


@only_minivmm("a lane of QEMU 7.2 ends otherwise")
@table(**{name: {"name": name} for name in HARMLESS})
def test_lane_ends(t, name):
    """A lane may end before the main connection does, with a mark or without, used or not."""
    recorded, dest, peer, _ = play_lane(t, HARMLESS[name])
    used = {"page": [recorded.pages[-1]]}.get(name, [])
    at = recorded.behind.index(recorded.pages[0]) + 1
    peer.say(b"".join(m.data for m in recorded.behind[at:] if m not in used))
    assert dest.wait_migration(*postcopy.OVER) == "completed", dest.migration()


@only_minivmm("QEMU 7.2 counts connections")
def test_lane_twice(t):
    """A third connection is no channel of this migration: refused, and the guest arrives."""
    recorded, dest, peer, path = play_lane(t, lambda p: b"")
    third = fake.Source(t, path)
    third.say(wire.page(BLOCK, 0, b"x" * PAGE))
    third.end()
    at = recorded.behind.index(recorded.pages[0]) + 1
    peer.say(b"".join(m.data for m in recorded.behind[at:]))
    assert dest.wait_migration(*postcopy.OVER) == "completed", dest.migration()
