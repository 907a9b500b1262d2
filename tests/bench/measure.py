"""What a benchmark reads of a process, and how a move is timed."""
import mmap
import os
import socket
import time

import ram
from qmp import GUARD

TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20


def cpu_seconds(pid):
    """User and system time of all threads so far."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def scheduled_seconds(pid):
    """The same of the threads that live, to the nanosecond: for what takes less than a tick."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total / 1e9


def resident(pid, ram_bytes):
    """(bytes resident beyond guest RAM, bytes of guest RAM resident)

    Guest RAM is every mapping of at least a sixteenth of it that is writable; nothing else in these
    programs is that large.
    """
    beyond = ram = size = 0
    is_ram = False
    with open(f"/proc/{pid}/smaps", encoding="ascii") as f:
        for line in f:
            word, *rest = line.split()
            if "-" in word and not word.endswith(":"):
                lo, hi = (int(x, 16) for x in word.split("-"))
                size = hi - lo
                is_ram = rest[0].startswith("rw") and size >= ram_bytes // 16 and size >= 32 * MIB
            elif word == "Rss:":
                if is_ram:
                    ram += int(rest[0]) * 1024
                else:
                    beyond += int(rest[0]) * 1024
    return beyond, ram


def blocks(size):
    """Random bytes in pieces of 4 MiB; each differs, or a host that merges or compresses would gain."""
    block = os.urandom(4 * MIB)
    for n in range(size // len(block)):
        yield n.to_bytes(8, "little") + block[8:]


def fill(path, total, first, random):
    """A file of 'total' bytes, sparse up to 'first': random bytes from there, or zeros that are there."""
    with open(path, "w+b") as f:
        f.truncate(total)
        with mmap.mmap(f.fileno(), total) as view:      # hugetlbfs has no write()
            at = first
            for block in blocks(total - first):
                view[at:at + len(block)] = block if random else bytes(len(block))
                at += len(block)


def write_memory(vm, first, size):
    """Random bytes into a machine's memory, from outside: the guest would take minutes."""
    with open(f"/proc/{vm.pid}/mem", "r+b", buffering=0) as f:
        f.seek(ram.mapping(vm) + first)
        for block in blocks(size):
            f.write(block)


def dirtying(vm):
    """Waits until a counting guest has written all its pages; bytes per second that it writes."""
    deadline = time.monotonic() + GUARD
    while ram.status(vm)["generation"] < 2:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the guest does not get through its pages: {ram.status(vm)}")
        time.sleep(0.01)
    before, start = ram.status(vm), time.monotonic()
    time.sleep(0.5)
    after, took = ram.status(vm), time.monotonic() - start
    stamped = (after["generation"] - before["generation"]) * after["pages"] + after["index"] - before["index"]
    return stamped * ram.PAGE / took


def fill_behind_stamps(vm, pages):
    """Random bytes behind the first word of the pages that a writing guest goes over; none: -1."""
    base = ram.status(vm)["base"]
    with open(vm.ram_path, "r+b", buffering=0) as f:
        for page in range(pages):
            f.seek(base + page * ram.PAGE + 8)
            f.write(os.urandom(ram.PAGE - 8))


def patient_move(source, dest, uri, patience_s):
    """A move that may have no end, which is given up then: how long it took, and whether it was that."""
    start = time.monotonic()
    source.cmd("migrate", uri=uri)
    while source.migration()["status"] not in ("completed", "failed"):
        if time.monotonic() - start > patience_s:
            source.cmd("migrate_cancel")
            return {"seen_s": patience_s, "given_up": True}
        time.sleep(0.001)
    if source.migration()["status"] == "failed":
        raise RuntimeError(f"{source.kind}: {source.migration()}\n{dest.stderr()}")
    return {"seen_s": time.monotonic() - start, "given_up": False}


def warm_cache(path, size):
    """So much memory that the host below has backed is free, for the page cache of a file: see memory.py."""
    with open(path, "wb", buffering=0) as f:
        for block in blocks(size):
            f.write(block)
    os.unlink(path)


def save(source, path):
    """Seconds from 'migrate' to the end that the source tells; the file is whole when this returns."""
    start = time.monotonic()
    source.cmd("migrate", uri=f"file:{path}")
    if source.wait_migration("completed", "failed") != "completed":
        raise RuntimeError(f"{source.kind}: {source.migration()}")
    took = time.monotonic() - start
    while source.status() != "postmigrate":
        time.sleep(0.001)       # QEMU writes its last bytes behind the event
    return took


def load(dest, path):
    start = time.monotonic()
    dest.cmd("migrate-incoming", uri=f"file:{path}")
    if dest.wait_migration("completed", "failed") != "completed":
        raise RuntimeError(f"{dest.kind}: {dest.migration()}\n{dest.stderr()}")
    return time.monotonic() - start


def load_and_run(dest, path):
    """Seconds from 'migrate-incoming' until the guest runs, and until all of its memory is there."""
    start = time.monotonic()
    dest.cmd("migrate-incoming", uri=f"file:{path}")
    dest.qmp.event("RESUME")
    runs = time.monotonic() - start
    if dest.wait_migration("completed", "failed", "postcopy-paused") != "completed":
        raise RuntimeError(f"{dest.kind}: {dest.migration()}\n{dest.stderr()}")
    return runs, time.monotonic() - start


def raw_copy(path, first, other):
    """Bytes per second of the same bytes from one mapping to another through a plain socket pair."""
    size = os.stat(path).st_size - first
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        with open(other, "w+b") as f:
            f.truncate(size)
            view = memoryview(mmap.mmap(f.fileno(), size))
            at = 0
            while at < size:
                at += theirs.recv_into(view[at:at + MIB])
        theirs.send(b"!")
        os._exit(0)
    theirs.close()
    with open(path, "rb") as f:
        view = memoryview(mmap.mmap(f.fileno(), first + size, prot=mmap.PROT_READ))[first:]
        start = time.monotonic()
        for at in range(0, size, MIB):
            ours.sendall(view[at:at + MIB])
        ours.recv(1)
        took = time.monotonic() - start
    os.waitpid(pid, 0)
    ours.close()
    os.unlink(other)
    return size / took


def until(vm, *names):
    """{event: moment}, MIGRATION ones as 'MIGRATION status', until all of these have come, or a failure."""
    seen = {}

    def fits(e):
        name = e["event"] + (" " + e["data"]["status"] if e["event"] == "MIGRATION" else "")
        seen.setdefault(name, e["timestamp"]["seconds"] + e["timestamp"]["microseconds"] / 1e6)
        return "MIGRATION failed" in seen or all(n in seen for n in names)
    vm.qmp.any_event(fits, " and ".join(names))
    if "MIGRATION failed" in seen:
        raise RuntimeError(f"{vm.kind}: {vm.migration()}\n{vm.stderr()}")
    return seen


def move(source, dest, uri):
    """Moves source to dest, both ready; what their events, query-migrate and the kernel say of it."""
    before = cpu_seconds(source.pid), cpu_seconds(dest.pid)
    start = time.monotonic()
    source.cmd("migrate", uri=uri)
    left = until(source, "MIGRATION completed")
    seen = time.monotonic() - start
    info = source.migration()
    arrived = until(dest, "MIGRATION completed", "RESUME")
    dest_info = resident(dest.pid, dest.ram_bytes)
    return {
        "seen_s": seen,
        "pause_ms": (arrived["RESUME"] - left["STOP"]) * 1000,
        "downtime_ms": info["downtime"],
        "transferred": info["ram"]["transferred"],
        "passes": info["ram"]["dirty-sync-count"],
        "cpu_s": cpu_seconds(source.pid) - before[0] + cpu_seconds(dest.pid) - before[1],
        "source_beyond": resident(source.pid, source.ram_bytes)[0],
        "dest_beyond": dest_info[0],
        "dest_ram": dest_info[1],
    }
