"""Pages that the guest never touched: not read, not sent, not populated, and zero at the other end."""
import os

import ram
import stream
from case import only_minivmm, table
from huge import huge_pages
from moves import Way, arrived, destination, goes_on, machine, wait_bytes, wait_end_or_failure
from proxy import FORWARD
from qmp import Closed

MEMORY = "1024M"
GUEST = {"guest": "counter", "append": "pages=200 rate=2000"}
FEW = 16 << 20
HUGE_MB = 48
MULTIFD = {"multifd_channels": 2}


def populated(vm):
    """Bytes of guest RAM that are there in the process, or in what backs it."""
    if vm.backend == "memfd":
        return os.stat(ram._memfd_path(vm)).st_blocks * 512  # pylint: disable=protected-access
    if vm.backend == "file":
        return os.stat(vm.ram_path).st_blocks * 512
    size, found = 0, 0
    with open(f"/proc/{vm.pid}/smaps", encoding="ascii", errors="replace") as f:
        for line in f:
            word = line.split()
            if "-" in word[0] and not word[0].endswith(":"):
                first, last = (int(x, 16) for x in word[0].split("-"))
                size = last - first
            elif word[0] == "Rss:" and size == vm.ram_bytes:
                found += int(word[1]) * 1024
    return found


def move(t, source, capabilities=(), dest_options=None, paused=False):
    way = Way(t, "unix")
    source.capabilities(*capabilities)
    dest = destination(t, source, None, capabilities, paused=paused, **(dest_options or {}))
    for vm in (source, dest):
        if "multifd" in capabilities:
            vm.cmd("migrate-set-parameters", **MULTIFD)
    dest.cmd("migrate-incoming", uri=way.incoming())
    way.start(source, dest)
    return arrived(source, dest)


@only_minivmm("QEMU reads all memory that is not anonymous")
@table(**{f"{backend}_{how}": {"backend": backend, "capabilities": capabilities}
          for backend in ("anonymous", "memfd", "file")
          for how, capabilities in (("plain", ()), ("multifd", ("multifd",)))})
def test_little_is_populated(t, backend, capabilities):
    """1 GiB of which the guest has touched little: at both ends only that is there."""
    source = machine(t, **GUEST, memory=MEMORY, backend=backend)
    goes_on(source)
    dest = move(t, source, capabilities)
    r = source.migration()["ram"]
    assert r["skipped"] * 4096 > (1 << 30) - FEW and r["transferred"] < FEW, r
    assert r["duplicate"] * 4096 < FEW, r
    assert populated(source) < FEW and populated(dest) < FEW, (populated(source), populated(dest))
    dest.wait_running()
    goes_on(dest)
    assert dest.report()[0]["errors"] == 0


def fail_halfway(t, dest, other):
    """A guest that has written elsewhere dies when much of it has gone over."""
    other.cmd("migrate-set-parameters", max_bandwidth=2 << 20, downtime_limit=1)
    dest.cmd("migrate-incoming", uri=f"unix:{t.path('first')}")
    other.cmd("migrate", uri=f"unix:{t.path('first')}")
    wait_bytes(other, 1 << 20)
    other.kill()
    assert wait_end_or_failure(dest) not in ("completed", "dead")


@only_minivmm("a QEMU whose load has failed is gone")
@table(anonymous={"backend": "anonymous"}, memfd={"backend": "memfd"}, file={"backend": "file"},
       multifd={"backend": "memfd", "capabilities": ("multifd",)})
def test_what_a_failed_attempt_left(t, backend, capabilities=()):
    """Memory that another guest's pages have got into is zero where the next guest touched nothing."""
    other = machine(t, "counter", "pages=2000", backend=backend)
    goes_on(other)
    source = machine(t, "counter", "pages=10 rate=100", backend=backend)
    goes_on(source)
    dest = destination(t, source, None, paused=True)
    fail_halfway(t, dest, other)
    assert any(ram.read(dest)[0x1000000 + (100 << 12):0x1000000 + (200 << 12)]), "nothing was left"
    for vm in (source, dest):
        vm.capabilities(*capabilities)
    dest.cmd("migrate-incoming", uri=f"unix:{t.path('second')}")
    source.cmd("migrate", uri=f"unix:{t.path('second')}")
    source.wait_migration("completed")
    dest.wait_migration("completed")
    assert source.migration()["ram"]["skipped"] > 1000
    ram.assert_equal(ram.read(source), ram.read(dest))


@only_minivmm("the source's memory is read from outside")
def test_destination_file_has_content(t):
    """A file that held something else becomes the source's memory."""
    source = machine(t, **GUEST)
    goes_on(source)
    with open(t.path("used.ram"), "wb") as f:
        f.write(b"\xa5" * (24 << 20))
    dest = move(t, source, dest_options={"ram": t.path("used.ram")}, paused=True)
    ram.assert_equal(ram.read(source), ram.read(dest))


@only_minivmm("QEMU writes into the memory of the running guest")
def test_same_file_is_refused(t):
    """Without x-ignore-shared the destination would write into the source's guest, which runs."""
    source = machine(t, **GUEST, ram=t.path("shared.ram"))
    goes_on(source)
    dest = destination(t, source, f"unix:{t.path('in')}")
    source.cmd("migrate", uri=f"unix:{t.path('in')}")
    cause = wait_end_or_failure(dest)
    assert "same file at both ends" in cause and "x-ignore-shared" in cause, cause
    source.wait_migration("failed")
    assert "same file at both ends" in source.migration()["error-desc"]
    goes_on(source)


@only_minivmm("what the source sends is the point")
@table(relay={"to": "unix"}, file={"to": "file"})
def test_who_gets_zero_records(t, to):
    """A stored stream may be loaded by any program: it has a record for every page. minivmm gets none for these."""
    source = machine(t, **GUEST, memory="64M")
    goes_on(source)
    if to == "file":
        source.cmd("migrate", uri=f"file:{t.path('saved')}")
        source.wait_migration("completed")
        with open(t.path("saved"), "rb") as f:
            s = stream.Stream(f.read())
        r = source.migration()["ram"]
        assert r["skipped"] == 0 and r["duplicate"] == s.pages[stream.RAM_ZERO] > 14000, r
        return
    dest = destination(t, source, f"unix:{t.path('in')}", paused=True)
    relay = t.proxy(t.path("in"), keep=True)
    source.cmd("migrate", uri=f"unix:{relay.path}")
    arrived(source, dest)
    s = stream.Stream(bytes(relay.kept[FORWARD]))
    r = source.migration()["ram"]
    assert r["skipped"] > 14000 and r["duplicate"] == s.pages[stream.RAM_ZERO] < 2000, r
    ram.assert_equal(ram.read(source), ram.read(dest))


@table(plain={"capabilities": ("x-ignore-shared",)}, multifd={"capabilities": ("x-ignore-shared", "multifd")})
def test_shared_with_multifd(t, capabilities):
    """Memory that both ends have is left out of channels, too."""
    source = machine(t, **GUEST, ram=t.path("shared.ram"))
    goes_on(source)
    dest = move(t, source, capabilities)
    r = source.migration()["ram"]
    assert r["total"] == 65536 and r["normal"] <= 16, r
    dest.wait_running()
    goes_on(dest)
    assert dest.report()[0]["errors"] == 0


# ---- huge pages ----

HUGE_OPTIONS = ("-object", f"memory-backend-memfd,id=microvm.ram,size={HUGE_MB}M,hugetlb=on,"
                "hugetlbsize=2M", "-M", "memory-backend=microvm.ram")
HUGE = {"memory": f"{HUGE_MB}M", "backend": "anonymous", "extra": HUGE_OPTIONS}
SMALL = {"memory": f"{HUGE_MB}M", "backend": "memfd", "extra": ()}


def huge_populated(vm):
    """Bytes of the memfd in huge pages."""
    return os.stat(ram._memfd_path(vm)).st_blocks * 512  # pylint: disable=protected-access


@only_minivmm("one side is enough")
@table(both={"here": HUGE, "there": HUGE}, from_huge={"here": HUGE, "there": SMALL},
       to_huge={"here": SMALL, "there": HUGE},
       multifd={"here": HUGE, "there": HUGE, "capabilities": ("multifd",)},
       passed={"here": HUGE, "there": HUGE, "capabilities": ("x-ignore-shared",)})
def test_huge_pages(t, here, there, capabilities=()):
    """Pages of 2 MiB at either end: written 4 KiB are what travels, and only huge pages with such are there."""
    with huge_pages(t, HUGE_MB):    # twice the guest's
        source = machine(t, **GUEST, **here)
        goes_on(source)
        dest = move(t, source, capabilities, there, paused=True)
        for vm, how in ((source, here), (dest, there)):
            if how is HUGE:
                assert 0 < huge_populated(vm) <= 12 << 20, (vm.name, huge_populated(vm))
        if not capabilities:
            assert source.migration()["ram"]["transferred"] < 8 << 20, source.migration()
        dest.cmd("cont")
        goes_on(dest)
        assert dest.report()[0]["errors"] == 0


@only_minivmm("the words are minivmm's")
def test_too_few_huge_pages(t):
    """A guest that could run out of huge pages later does not start."""
    try:
        t.vmm(**GUEST, memory="67108864M", backend="anonymous",
              extra=("-object", "memory-backend-memfd,id=huge,size=64T,hugetlb=on,hugetlbsize=2M",
                     "-M", "memory-backend=huge"))
    except Closed as e:
        assert "not enough free huge pages of 2048 KiB" in str(e), e
    else:
        raise AssertionError("it started")
