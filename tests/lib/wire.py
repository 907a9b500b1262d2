"""A migration's main connection message by message, as far as postcopy goes: for what stands in its middle or at its end.

Device state has no length on the wire, but in postcopy it travels in a package, which has. So every byte in front of
it and behind it belongs to a message that this knows. A stream that stops in precopy ends with Foreign.
"""
import struct
from dataclasses import dataclass

import stream
from stream import PAGE, RAM_CONTINUE, RAM_EOS, RAM_FLUSH, RAM_MEM_SIZE, RAM_PAGE, RAM_RUN, RAM_ZERO

OPEN_RETURN_PATH, PING, ADVISE, LISTEN, RUN, DISCARD, PACKAGED = range(1, 8)
RESUME, RECV_BITMAP, SWITCHOVER_START, GO = 9, 10, 11, 0x4D02
SHUT, PONG, REQ_PAGES_ID, REQ_PAGES, BITMAP, RESUME_ACK = range(1, 7)
LOADED = (3, 0x42)      # cookies of pings in the package: their PONGs say that the devices are there


class Foreign(Exception):
    """A message that has no place in postcopy."""


@dataclass
class Message:
    """kind: header, configuration, command, package, start, part, end, list, page, word, eos, eof."""
    kind: str
    data: bytes
    start: int
    number: int = 0         # of the command; a page's flags
    payload: bytes = b""
    block: str = ""
    offset: int = 0

    @property
    def end(self):
        return self.start + len(self.data)


class Feed:
    """Bytes that are here, or that read(n) brings; b"" is the end."""

    def __init__(self, data=b"", read=None):
        self.data, self.read, self.at = bytearray(data), read, 0

    def take(self, n):
        while len(self.data) - self.at < n:
            more = self.read(65536) if self.read else b""
            if not more:
                raise EOFError(f"{n} bytes wanted at {self.at}, {len(self.data) - self.at} are there")
            self.data += more
        self.at += n
        return bytes(self.data[self.at - n:self.at])

    def number(self, size):
        return int.from_bytes(self.take(size), "big")


class Walker:
    """Messages of a Feed, one after the other; resumed: a connection that goes on with a paused postcopy."""

    def __init__(self, feed, resumed=False):
        self.feed, self.resumed, self.block, self.in_ram = feed, resumed, "", False
        self.blocks = {}        # name: bytes

    def _done(self, kind, start, **more):
        return Message(kind, bytes(self.feed.data[start:self.feed.at]), start, **more)

    def next(self):
        """The next message, None behind the last one."""
        feed, start = self.feed, self.feed.at
        if start == 0 and not self.resumed:
            feed.take(8)
            return self._done("header", start)
        if self.in_ram:
            return self._ram(start)
        try:
            tag = feed.number(1)
        except EOFError:
            return None
        if tag == stream.TAG_EOF:
            return self._done("eof", start)
        if tag == stream.TAG_CONFIGURATION:
            return self._done("configuration", start, payload=feed.take(feed.number(4)))
        if tag == stream.TAG_COMMAND:
            number = feed.number(2)
            payload = feed.take(feed.number(2))
            if number == PACKAGED:
                return self._done("package", start, number=number, payload=feed.take(int.from_bytes(payload, "big")))
            return self._done("command", start, number=number, payload=payload)
        return self._section(tag, start)

    def _section(self, tag, start):
        feed = self.feed
        kind = {stream.TAG_START: "start", stream.TAG_PART: "part", stream.TAG_END: "end"}.get(tag)
        feed.take(4)
        if tag == stream.TAG_START:
            if feed.take(feed.number(1)) != b"ram":
                kind = None
            feed.take(8)
        if not kind:
            raise Foreign(f"tag {tag:#x} at {start}")
        self.in_ram = True
        return self._done(kind, start)

    def _ram(self, start):
        feed = self.feed
        word = feed.number(8)
        flags, offset = word & (PAGE - 1), word & ~(PAGE - 1)
        if flags == RAM_EOS:
            if feed.number(1) != stream.TAG_FOOTER:
                raise Foreign(f"no footer at {feed.at - 1}")
            feed.take(4)
            self.in_ram = False
            return self._done("eos", start)
        if flags == RAM_FLUSH:
            return self._done("word", start, number=flags)
        if flags == RAM_MEM_SIZE:
            left = offset
            while left > 0:
                name = feed.take(feed.number(1)).decode()
                self.blocks[name] = feed.number(8)
                left -= self.blocks[name]
            return self._done("list", start)
        if not flags & RAM_CONTINUE:
            self.block = feed.take(feed.number(1)).decode()
        kind = flags & ~RAM_CONTINUE
        size = {RAM_ZERO: 1, RAM_PAGE: PAGE}.get(kind)
        if kind == RAM_RUN:
            size = feed.number(4) * PAGE
        if not size:
            raise Foreign(f"page of kind {kind:#x} at {start}")
        payload = feed.take(size)
        return self._done("page", start, number=kind, payload=payload, block=self.block, offset=offset)

    def __iter__(self):
        while (message := self.next()) is not None:
            yield message


def command(number, payload=b""):
    return struct.pack(">BHH", stream.TAG_COMMAND, number, len(payload)) + payload


def package(data):
    return command(PACKAGED, struct.pack(">I", len(data))) + data


def string(name):
    data = name.encode() if isinstance(name, str) else name
    return bytes([len(data)]) + data


def discard(block, *ranges, version=0, zero=b"\0"):
    return command(DISCARD, bytes([version]) + string(block) + zero + b"".join(struct.pack(">QQ", *r) for r in ranges))


def page(block, offset, data=None, flags=None):
    """A record; without data a zero page, without a block that of the record before."""
    kind = flags if flags is not None else RAM_ZERO if data is None else RAM_PAGE
    word = offset | kind | (RAM_CONTINUE if block is None else 0)
    return struct.pack(">Q", word) + (b"" if block is None else string(block)) + (b"\0" if data is None else data)


def answer(kind, payload=b"", length=None):
    """A message on the return path."""
    return struct.pack(">HH", kind, len(payload) if length is None else length) + payload


def pong(cookie):
    return answer(PONG, struct.pack(">I", cookie))


def request(start, length, block=None):
    where = struct.pack(">QI", start, length)
    return answer(REQ_PAGES, where) if block is None else answer(REQ_PAGES_ID, where + string(block))


def pings(data):
    """Cookies of those in a package."""
    head, found, at = struct.pack(">BHH", stream.TAG_COMMAND, PING, 4), [], 0
    while (at := data.find(head, at)) >= 0:
        found.append(int.from_bytes(data[at + 5:at + 9], "big"))
        at += 9
    return found
