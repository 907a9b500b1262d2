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
                 "net_errors")

# GPAs where another block may lie over the RAM: read through the machine they are not of the RAM.
OVERLAY = (0xE0000, 0x100000)


def _from_memfd(vmm):
    directory = f"/proc/{vmm.pid}/fd"
    for fd in os.listdir(directory):
        path = os.path.join(directory, fd)
        if "memfd:" in os.readlink(path) and os.stat(path).st_size == vmm.ram_bytes:
            with open(path, "rb") as f:
                return f.read()
    raise AssertionError(f"{vmm.name} has no memfd of {vmm.ram_bytes} bytes")


def _from_mapping(vmm):
    """Anonymous RAM: the writable mapping of just that size, through /proc/PID/mem."""
    with open(f"/proc/{vmm.pid}/maps", encoding="ascii", errors="replace") as maps:
        ranges = [[int(x, 16) for x in m.groups()]
                  for m in (re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line) for line in maps) if m]
    fitting = [(a, b) for a, b in ranges if b - a == vmm.ram_bytes]
    if len(fitting) != 1:
        raise AssertionError(f"{vmm.name} has {len(fitting)} mappings of {vmm.ram_bytes} bytes")
    with open(f"/proc/{vmm.pid}/mem", "rb", buffering=0) as mem:
        mem.seek(fitting[0][0])
        return mem.read(vmm.ram_bytes)


def read(vmm):
    """All of the block microvm.ram, of a machine that is stopped (or as it is at that moment)."""
    if vmm.backend == "file":
        with open(vmm.ram_path, "rb") as f:
            data = f.read()
    elif vmm.backend == "memfd":
        data = _from_memfd(vmm)
    else:
        data = _from_mapping(vmm)
    assert len(data) == vmm.ram_bytes, f"{vmm.name}: RAM has {len(data)} bytes"
    return data


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


def status(data, cpu=0):
    """The status page of a counting guest's processor."""
    words = struct.unpack_from(f"<{len(STATUS_FIELDS)}Q", data, STATUS_GPA + cpu * PAGE)
    found = dict(zip(STATUS_FIELDS, words))
    assert found["magic"] == STATUS_MAGIC, f"no counting guest: magic {found['magic']:#x}"
    return found


def stamp(data, gpa):
    generation, index = struct.unpack_from("<QQ", data, gpa)
    check, = struct.unpack_from("<Q", data, gpa + PAGE - 8)
    return generation, index, check


def check_range(data, cpu=0):
    """Proves that every page of a processor's range is of the round in progress or the one before.

    Pages below the status page's index are of round G, those above of round G - 1; the page at the
    index may be either, or half written. Between the last page of a round and the first of the next
    the guest stores two words, so with index 0 all pages may already be of round G.
    """
    s = status(data, cpu)
    now, at = s["generation"], s["index"]
    if at == 0 and stamp(data, s["base"])[0] == now and stamp(data, s["base"] + PAGE)[0] == now:
        now, at = now + 1, 0
    wrong = []
    for i in range(s["pages"]):
        want = now if i < at else now - 1
        good = (want, i, want ^ i ^ STAMP_MAGIC) if want else (0, 0, 0)
        got = stamp(data, s["base"] + i * PAGE)
        if got != good and i != at:
            wrong.append(f"page {i} of processor {cpu}: stamp {got[:2]}, round {want} expected")
    assert not wrong, f"{len(wrong)} pages: " + "; ".join(wrong[:5])
    assert s["errors"] == 0, f"the guest found {s['errors']} wrong pages"
    assert s["backwards"] == 0, f"the TSC went back {s['backwards']} times"
    return s
