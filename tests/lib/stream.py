"""A walker of migration streams of its own, for checks: records, RAM content, device state.

Device sections have no length in the stream; the JSON description at its end tells them, and the
footers prove it (migration-stream 1.7, 1.5). Anything that does not fit raises StreamError with the
offset.
"""
import json
import struct
import zlib
from collections import Counter
from dataclasses import dataclass

MAGIC = b"QEVM\0\0\0\3"
TAG_EOF, TAG_START, TAG_PART, TAG_END, TAG_FULL = 0, 1, 2, 3, 4
TAG_SUBSECTION, TAG_VMDESC, TAG_CONFIGURATION, TAG_COMMAND, TAG_FOOTER = 5, 6, 7, 8, 0x7E
RAM_ZERO, RAM_MEM_SIZE, RAM_PAGE, RAM_EOS, RAM_CONTINUE = 2, 4, 8, 0x10, 0x20
RAM_XBZRLE, RAM_COMPRESS, RAM_FLUSH = 0x40, 0x100, 0x200
RAM_RUN = 0x009     # minivmm's own: consecutive pages in one record
PAGE = 4096


class StreamError(Exception):
    pass


@dataclass
class Record:
    tag: int
    start: int          # offset of the tag
    end: int            # behind the footer
    section: int = -1
    idstr: str = ""
    instance: int = 0
    version: int = 0
    payload: bytes = b""
    payload_start: int = 0


class Reader:
    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def take(self, n):
        if self.at + n > len(self.data):
            raise StreamError(f"the stream ends at {len(self.data)}, {n} bytes wanted at {self.at}")
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def string(self):
        return self.take(self.number(1)).decode()


def _body_size(described):
    """Bytes of a state's fields and subsections, by its JSON description."""
    total = sum(f["size"] * f.get("array_len", 1) for f in described.get("fields", []))
    for sub in described.get("subsections", []):
        total += 6 + len(sub["vmsd_name"]) + _body_size(sub)
    return total


def _no_duplicates_lost(pairs):
    """Members may repeat; the first of each name is what sizes need."""
    out = {}
    for k, v in pairs:
        out.setdefault(k, v)
    return out


def find_description(data):
    """The JSON object behind the EOF tag: (offset of its tag, parsed).

    A sender may have said more behind it (the hand-over between two minivmms), so the last place
    that looks like it and parses is taken.
    """
    end = len(data)
    while True:
        brace = data.rfind(b"{", 0, end)
        if brace < 5:
            raise StreamError("no description at the end of the stream")
        end = brace
        length = struct.unpack_from(">I", data, brace - 4)[0]
        if data[brace - 5] != TAG_VMDESC or brace + length > len(data):
            continue
        try:
            return brace - 5, json.loads(data[brace:brace + length],
                                         object_pairs_hook=_no_duplicates_lost)
        except ValueError:
            continue


def apply_delta(page, delta):
    """The page after an XBZRLE delta: runs of equal and of changed bytes (migration-stream 3.5)."""
    page, reader, at = bytearray(page), Reader(delta), 0

    def count():
        low = reader.number(1)
        return low if low < 0x80 else low & 0x7F | reader.number(1) << 7
    while reader.at < len(delta):
        at += count()
        n = count()
        if n == 0 or at + n > len(page):
            raise StreamError(f"delta with {n} bytes for {at}")
        page[at:at + n] = reader.take(n)
        at += n
    return page


def head(data):
    """What stands in front of RAM: [(command, payload)] and the bytes that follow them."""
    reader, found = Reader(data), []
    if reader.take(8) != MAGIC or reader.number(1) != TAG_CONFIGURATION:
        raise StreamError("no QEVM version 3 header with a configuration")
    reader.take(reader.number(4))
    while reader.data[reader.at:reader.at + 1] == bytes([TAG_COMMAND]):
        reader.take(1)
        number = reader.number(2)
        found.append((number, bytes(reader.take(reader.number(2)))))
    return found, bytes(data[reader.at:])


class Stream:
    """All records of a complete stream, and the RAM it makes."""

    def __init__(self, data):
        self.data = data
        self.records = []
        self.blocks = {}          # name: bytearray
        self.page_offsets = []    # of every page record
        self.pages = Counter()    # page records by kind
        self.encoded = Counter()  # their bytes, behind the first word
        self.last_block = None
        self.description_start, self.description = find_description(data)
        self.sizes = {}
        for device in self.description["devices"]:
            size = device.get("size")
            self.sizes[device["name"], device["instance_id"]] = \
                _body_size(device) if size is None else size
        self._walk()

    def section(self, idstr, instance=0):
        """The FULL record of a device, or None."""
        for r in self.records:
            if r.tag == TAG_FULL and r.idstr == idstr and r.instance == instance:
                return r
        return None

    def sections(self):
        return [(r.idstr, r.instance, r.version) for r in self.records if r.tag == TAG_FULL]

    def boundaries(self):
        """Every offset at which a message begins, and the end."""
        inner = [r.payload_start for r in self.records if r.payload_start]
        return sorted({0, len(MAGIC), len(self.data)} | set(inner) |
                      {r.start for r in self.records} | {r.end for r in self.records})

    def _walk(self):
        reader = Reader(self.data)
        if reader.take(8) != MAGIC:
            raise StreamError("no QEVM version 3 header")
        ids = {}
        while True:
            record = Record(tag=reader.number(1), start=reader.at - 1, end=0)
            if record.tag == TAG_EOF:
                break
            self._record(reader, record, ids)
            record.end = reader.at
            self.records.append(record)
        if reader.at != self.description_start:
            raise StreamError(f"EOF at {reader.at}, description at {self.description_start}")

    def _record(self, reader, record, ids):
        if record.tag == TAG_CONFIGURATION:
            record.payload = reader.take(reader.number(4))
        elif record.tag == TAG_COMMAND:
            record.instance = reader.number(2)
            record.payload = reader.take(reader.number(2))
        elif record.tag in (TAG_START, TAG_FULL, TAG_PART, TAG_END):
            self._section(reader, record, ids)
        else:
            raise StreamError(f"unknown tag {record.tag:#x} at {record.start}")

    def _section(self, reader, record, ids):
        record.section = reader.number(4)
        if record.tag in (TAG_START, TAG_FULL):
            record.idstr = reader.string()
            record.instance, record.version = reader.number(4), reader.number(4)
            ids[record.section] = record.idstr
        elif record.section in ids:
            record.idstr = ids[record.section]
        else:
            raise StreamError(f"section {record.section} at {record.start} was never announced")
        record.payload_start = reader.at
        if record.idstr == "ram":
            self._ram(reader)
        else:
            key = record.idstr, record.instance
            if key not in self.sizes:
                raise StreamError(f"section {key} at {record.start} is not described")
            reader.take(self.sizes[key])
        record.payload = self.data[record.payload_start:reader.at]
        if reader.number(1) != TAG_FOOTER or reader.number(4) != record.section:
            raise StreamError(f"no footer of {record.idstr} at {reader.at - 5}, "
                              f"its section begins at {record.start}")

    def _ram(self, reader):
        while True:
            start = reader.at
            word = reader.number(8)
            flags, offset = word & (PAGE - 1), word & ~(PAGE - 1)
            if flags == RAM_EOS:
                return
            if flags == RAM_FLUSH:      # a sync round of multifd, see its channels
                continue
            if flags == RAM_MEM_SIZE:
                self._block_list(reader, offset)
                continue
            self.page_offsets.append(start)
            if not flags & RAM_CONTINUE:
                self.last_block = reader.string()
            if self.last_block not in self.blocks:
                raise StreamError(f"page record at {start} names block {self.last_block!r}")
            block = self.blocks[self.last_block]
            if offset + PAGE > len(block):
                raise StreamError(f"page record at {start} lies behind block {self.last_block}")
            kind = flags & ~RAM_CONTINUE
            if kind == RAM_RUN:
                self._run(reader, block, offset)
                continue
            block[offset:offset + PAGE] = self._page(reader, kind, block[offset:offset + PAGE])
            self.pages[kind] += 1
            self.encoded[kind] += reader.at - start - 8

    def _run(self, reader, block, offset):
        """As many PAGE records as there are pages in it."""
        n = reader.number(4)
        if n == 0 or offset + n * PAGE > len(block):
            raise StreamError(f"run of {n} pages before {reader.at} lies behind {self.last_block}")
        block[offset:offset + n * PAGE] = reader.take(n * PAGE)
        self.pages[RAM_PAGE] += n
        self.encoded[RAM_PAGE] += n * PAGE

    @staticmethod
    def _page(reader, kind, before):
        if kind == RAM_ZERO:
            return reader.take(1) * PAGE
        if kind == RAM_PAGE:
            return reader.take(PAGE)
        if kind == RAM_XBZRLE and reader.number(1) == 1:
            return apply_delta(before, reader.take(reader.number(2)))
        if kind == RAM_COMPRESS:
            page = zlib.decompress(reader.take(reader.number(4)))
            if len(page) == PAGE:
                return page
        raise StreamError(f"RAM record of kind {kind:#x} before {reader.at}")

    def _block_list(self, reader, total):
        while total > 0:
            name, length = reader.string(), reader.number(8)
            self.blocks[name] = bytearray(length)
            total -= length
        if total != 0:
            raise StreamError("the RAM block list does not add up to its total")


def load(path):
    with open(path, "rb") as f:
        return Stream(f.read())
