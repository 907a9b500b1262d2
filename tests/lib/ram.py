"""Guest RAM seen from the host: the whole of it by digest, and the stamped ranges page by page."""
import hashlib
import os
import re
import struct

PAGE = 4096
STATUS_GPA = 0xF00000
STATUS_MAGIC = 0x31746E436D76696E
STAMP_MAGIC = 0x5BD1E995C6A4A793
STATUS_FIELDS = ("magic", "cpu", "base", "pages", "generation", "index", "errors", "ticks",
                 "backwards", "tsc", "disk", "disk_errors", "rng", "rng_errors", "net",
                 "net_errors", "net_lost", "gap")



def _memfd_path(vmm):
    directory = f"/proc/{vmm.pid}/fd"
    for fd in os.listdir(directory):
        path = os.path.join(directory, fd)
        if "memfd:" in os.readlink(path) and os.stat(path).st_size == vmm.ram_bytes:
            return path
    raise AssertionError(f"{vmm.name} has no memfd of {vmm.ram_bytes} bytes")


def _joined(ranges):
    """Neighbours as one: the kernel does not always put together again what userfaultfd has cut."""
    out = []
    for first, last, what in ranges:
        if out and out[-1][1:] == (first, what):
            first = out.pop()[0]
        out.append((first, last, what))
    return out


def mapping(vmm):
    """Private RAM: where the writable mapping of just that size begins."""
    with open(f"/proc/{vmm.pid}/maps", encoding="ascii", errors="replace") as maps:
        found = [re.match(r"([0-9a-f]+)-([0-9a-f]+) (rw..) \S+ (\S+ \S+)", line) for line in maps]
    ranges = [(int(m[1], 16), int(m[2], 16), m[3] + m[4]) for m in found if m]
    fitting = {a for a, b, _ in ranges + _joined(ranges) if b - a == vmm.ram_bytes}
    if len(fitting) != 1:
        raise AssertionError(f"{vmm.name} has {len(fitting)} mappings of {vmm.ram_bytes} bytes")
    return fitting.pop()


def _place(vmm):
    """The file through which the block microvm.ram can be reached, and where in it it begins."""
    if vmm.backend == "memfd":
        return _memfd_path(vmm), 0
    if vmm.backend in ("anonymous", "private"):
        return f"/proc/{vmm.pid}/mem", mapping(vmm)
    return vmm.ram_path, 0


def write(vmm, offset, data):
    """Into the block microvm.ram, where no guest writes; no log of dirty pages tells."""
    path, base = _place(vmm)
    with open(path, "r+b", buffering=0) as f:
        f.seek(base + offset)
        assert f.write(data) == len(data), f"{vmm.name}: its RAM cannot be written at {offset:#x}"


def read(vmm, offset=0, length=None):
    """Bytes of the block microvm.ram (default: all), as they are at this moment."""
    path, base = _place(vmm)
    length = vmm.ram_bytes - offset if length is None else length
    with open(path, "rb", buffering=0) as f:
        f.seek(base + offset)
        data = f.read(length)
    assert len(data) == length, f"{vmm.name}: {len(data)} of {length} bytes of RAM at {offset:#x}"
    return data


def of(source):
    """A function (offset, length) -> bytes over a machine, or over bytes already read."""
    if isinstance(source, (bytes, bytearray)):
        return lambda offset, length: source[offset:offset + length]
    return lambda offset, length: read(source, offset, length)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def differing_pages(a, b):
    return [i for i in range(0, max(len(a), len(b)), PAGE) if a[i:i + PAGE] != b[i:i + PAGE]]


def assert_equal(a, b, what="the two machines"):
    """Fails with the first pages that differ."""
    if digest(a) == digest(b):
        return
    pages = differing_pages(a, b)
    shown = ", ".join(hex(p) for p in pages[:8])
    raise AssertionError(f"RAM of {what} differs in {len(pages)} pages: {shown}")


def status(source, cpu=0):
    """The status page of a counting guest's processor; source: a machine, or its RAM."""
    page = of(source)(STATUS_GPA + cpu * PAGE, PAGE)
    found = dict(zip(STATUS_FIELDS, struct.unpack_from(f"<{len(STATUS_FIELDS)}Q", page)))
    assert found["magic"] == STATUS_MAGIC, f"no counting guest: magic {found['magic']:#x}"
    return found


def stamp(data, index):
    """What page 'index' of a range holds."""
    at = index * PAGE
    return struct.unpack_from("<QQ", data, at) + struct.unpack_from("<Q", data, at + PAGE - 8)


def check_range(source, cpu=0):
    """Proves that every page of a processor's range is of the round in progress or the one before.

    Pages below the status page's index are of round G, those above of round G - 1; the page at the
    index may be either, or half written. Between the last page of a round and the first of the next
    the guest stores two words, so with index 0 all pages may already be of round G. In round 1 the
    pages above the index hold anything: a reset leaves RAM as it is.
    """
    s = status(source, cpu)
    data = of(source)(s["base"], s["pages"] * PAGE)
    now, at = s["generation"], s["index"]
    if at == 0 and stamp(data, 0)[0] == now and stamp(data, s["pages"] - 1)[0] == now:
        now += 1
    wrong = []
    for i in range(s["pages"] if now > 1 else at):
        want = now if i < at else now - 1
        got = stamp(data, i)
        if got != (want, i, want ^ i ^ STAMP_MAGIC) and i != at:
            wrong.append(f"page {i} of processor {cpu}: stamp {got[:2]}, round {want} expected")
    assert not wrong, f"{len(wrong)} pages: " + "; ".join(wrong[:5])
    assert s["errors"] == 0, f"the guest found {s['errors']} wrong pages"
    # QEMU writes the TSC, and KVM takes what is within a second of its own for an attempt to put vCPUs in step: a
    # guest as young as that may see it go back once, where it arrives.
    may = 1 if getattr(source, "kind", "").startswith("qemu") else 0
    assert s["backwards"] <= may, f"the TSC went back {s['backwards']} times"
    return s
