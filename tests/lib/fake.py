"""One end of a postcopy that is a test: a destination that takes a guest and never runs it, a source that plays a
recorded stream, changed. Neither needs a thread: what is not read waits in the socket.
"""
import socket
import struct
import time

import wire
from postcopy import EARLY
from qmp import GUARD

OURS = 0x4D560000       # cookies by which two minivmms know each other


class Destination:
    """It answers as QEMU does. Everything that came is kept: stream, and all pages of RAM by (block, offset)."""

    def __init__(self, t):
        t._count += 1       # pylint: disable=protected-access
        self.path = t.path(f"fake{t._count}")   # pylint: disable=protected-access
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(8)
        self.listener.settimeout(GUARD)
        self.uri = f"unix:{self.path}"
        self.seen, self.pages = [], {}
        self.sock = self.walker = self.lane = None
        t._others.append(self)      # pylint: disable=protected-access

    def accept(self, resumed=False):
        self.sock, _ = self.listener.accept()
        self.sock.settimeout(GUARD)
        self.walker = wire.Walker(wire.Feed(read=self._read), resumed)

    def accept_lane(self):
        """The second connection of postcopy-preempt."""
        self.lane, _ = self.listener.accept()

    def _read(self, n):
        try:
            return self.sock.recv(n)
        except ConnectionResetError:
            return b""

    @property
    def data(self):
        return bytes(self.walker.feed.data[:self.walker.feed.at])

    def until(self, kind=None, number=None, answers=True):
        """Reads up to that message, or to the end (None); PINGs in front of it are answered."""
        while (message := self._next()) is not None:
            self.seen.append(message)
            if message.kind == "page":
                for i in range(0, max(len(message.payload), 2) - 1, 4096):
                    self.pages[message.block, message.offset + i] = message.payload[i:i + 4096]
            if answers and message.kind == "command" and message.number == wire.PING:
                self.try_send(wire.answer(wire.PONG, message.payload))
            if message.kind == kind and number in (None, message.number):
                return message
        return None

    def _next(self):
        try:
            return self.walker.next()
        except EOFError:        # hung up in the middle of a message
            return None

    def loaded(self, message):
        """What a destination says that has taken the package."""
        self.send(b"".join(wire.pong(cookie) for cookie in wire.pings(message.payload)))

    def send(self, data):
        self.sock.sendall(data)

    def try_send(self, data):
        """False when the other end has closed meanwhile."""
        try:
            self.send(data)
            return True
        except OSError:
            return False

    def hang_up(self):
        for s in (self.sock, self.lane):
            if s:
                s.close()

    def close(self):
        self.hang_up()
        self.listener.close()


def begin(source, fake):
    """The first pass, which is slow."""
    source.cmd("migrate-set-parameters", max_bandwidth=EARLY)
    source.cmd("migrate", uri=fake.uri)
    fake.accept()
    fake.until("page")


def wait_active(source, fake):
    """The source knows that its guest is loaded; its pages are read meanwhile."""
    deadline = time.monotonic() + GUARD
    while (status := source.migration()["status"]) in ("active", "device", "postcopy-device"):
        assert fake.until("page"), "the source has hung up"
        assert time.monotonic() < deadline, source.migration()
    assert status == "postcopy-active", (source.migration(), source.stderr())


def take_over(source, fake, loaded=True):
    """A source goes to postcopy with a fake destination: the package has come, and, if so, is said to be loaded."""
    begin(source, fake)
    source.cmd("migrate-start-postcopy")
    message = fake.until("package")
    if loaded:
        fake.loaded(message)
        wait_active(source, fake)
    return message


def record(t, source):
    """The messages of a whole postcopy, without what is said to a minivmm only."""
    fake = Destination(t)
    source.cmd("migrate-set-parameters", max_postcopy_bandwidth=0)
    take_over(source, fake)
    fake.until("eof")
    fake.send(wire.answer(wire.SHUT, bytes(4)))
    status = source.wait_migration("completed", "failed", "postcopy-paused")
    assert status == "completed", (status, source.migration(), source.stderr())
    fake.hang_up()
    return [m for m in fake.seen if not (m.kind == "command" and m.number == wire.PING and
                                         struct.unpack(">I", m.payload)[0] & 0xFFFF0000 == OURS) and
            not (m.kind == "command" and m.number >= 0x4D00)]


class Source:
    """It connects to a destination and says what it is told; answers wait in the socket."""

    def __init__(self, t, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(GUARD)
        self.sock.connect(path)
        t._others.append(self)      # pylint: disable=protected-access

    def say(self, data):
        """Some of it may not be wanted any more."""
        try:
            self.sock.sendall(data)
        except OSError:
            pass

    def end(self):
        """Nothing more comes; answers are still taken."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.sock.close()
