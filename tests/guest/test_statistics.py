"""Every figure of query-migrate, against what a relay between the two ends has counted and kept."""
import time

import encoders
import ram
import stream
from case import only_minivmm, table
from encoders import GUEST, MODES
from moves import Way, arrived, destination, goes_on, machine, wait_bytes
from proxy import FORWARD

WHY = "QEMU 7.2 counts pages and their headers only"
GO_BYTES = 5            # what a minivmm says behind the description


def connect(t, source, mode, **options):
    """Starts a move through a relay that keeps all bytes; (destination, relay)."""
    source.capabilities(*mode.get("source", ()))
    if mode.get("params"):
        source.cmd("migrate-set-parameters", **mode["params"])
    dest = destination(t, source, f"unix:{t.path('in')}", mode.get("dest", ()), **options)
    relay = t.proxy(t.path("in"), keep=True)
    source.cmd("migrate", uri=f"unix:{relay.path}")
    return dest, relay


def ram_bytes(s, *tags):
    """Bytes of the stream's sections "ram", from tag to footer."""
    return sum(r.end - r.start for r in s.records if r.idstr == "ram" and r.tag in tags)


def check_bytes(r, s, relay):
    """transferred is the sections "ram"; nothing else is there but what is known by name."""
    parts = {tag: ram_bytes(s, tag) for tag in (stream.TAG_START, stream.TAG_PART, stream.TAG_END)}
    assert r["transferred"] == sum(parts.values()), (r, parts)
    assert r["precopy-bytes"] + r["downtime-bytes"] + r["postcopy-bytes"] == r["transferred"], r
    other = sum(x.end - x.start for x in s.records if x.idstr != "ram")
    tail = len(s.data) - s.description_start
    assert relay.passed[FORWARD] == len(s.data) == \
        len(stream.MAGIC) + r["transferred"] + other + 1 + tail, (r, other, tail)
    length = int.from_bytes(s.data[s.description_start + 1:s.description_start + 5], "big")
    assert tail == 5 + length + GO_BYTES
    return parts


def check_pages(r, s):
    assert r["normal"] == s.pages[stream.RAM_PAGE], (r, s.pages)
    assert r["duplicate"] == s.pages[stream.RAM_ZERO], (r, s.pages)
    assert r["normal-bytes"] == r["normal"] * stream.PAGE
    assert r["total"] == sum(len(b) for b in s.blocks.values()), r
    assert r["page-size"] == stream.PAGE and r["remaining"] == 0 and r["dirty-pages-rate"] == 0, r
    assert 0 < r["skipped"] <= (r["total"] // stream.PAGE - 50), r
    for name in ("postcopy-bytes", "postcopy-requests", "multifd-bytes",
                 "dirty-sync-missed-zero-copy"):
        assert r[name] == 0, (name, r)


def check_times(info, wall_ms):
    assert info["setup-time"] + info["downtime"] <= info["total-time"] + 2 <= wall_ms + 3, (info, wall_ms)
    sending = info["total-time"] - info["setup-time"]
    bits = info["ram"]["transferred"] * 8 / 1000
    assert bits / (sending + 2) <= info["ram"]["mbps"], info
    assert sending <= 2 or info["ram"]["mbps"] <= bits / (sending - 2), info


def check_encoders(info, mode, s):
    used = mode.get("source", ())
    assert ("xbzrle-cache" in info, "compression" in info) == ("xbzrle" in used, "compress" in used), info
    if "xbzrle" in used:
        x, deltas = info["xbzrle-cache"], s.pages[stream.RAM_XBZRLE]
        assert x["cache-size"] == mode.get("params", {}).get("xbzrle_cache_size", 64 << 20), x
        assert x["bytes"] == s.encoded[stream.RAM_XBZRLE] + x["overflow"] * stream.PAGE, (x, s.encoded)
        assert x["pages"] >= deltas + x["overflow"] and deltas > 0, (x, deltas)
        assert x["overflow"] <= s.pages[stream.RAM_PAGE] and x["cache-miss"] <= s.pages[stream.RAM_PAGE]
        assert 0 <= x["cache-miss-rate"] <= 1 and x["encoding-rate"] >= 0, x
    if "compress" in used:
        c, packed = info["compression"], s.pages[stream.RAM_COMPRESS]
        assert c["pages"] == packed > 0 and c["compressed-size"] == s.encoded[stream.RAM_COMPRESS], c
        assert 0 <= c["busy-rate"] <= 1 and c["compression-rate"] >= 0, c
        if mode.get("params", {}).get("compress_wait_thread", True):
            assert c["busy"] == c["busy-rate"] == 0, c


@only_minivmm(WHY)
@table(plain={"mode": {}}, **{name: {"mode": mode} for name, mode in MODES.items()})
def test_counted_on_the_wire(t, mode):
    """A move in several passes: bytes, pages, passes and times; the stream itself says what RAM is."""
    used = dict(mode, source=mode.get("source", ()))
    for attempt in range(encoders.TRIES):
        source = machine(t, "counter", GUEST)
        goes_on(source)
        rates = encoders.slower(mode, attempt)
        encoders.first_pass(source, rates)
        begin = time.monotonic()
        dest, relay = connect(t, source, mode, paused=True)
        encoders.later_passes(source, rates)
        if encoders.wait_for(source, lambda i: encoders.at_work(i, used)
                             and i["ram"]["dirty-sync-count"] > 3):
            break
        t.forget(source)
        t.forget(dest)
    else:
        raise AssertionError(f"{encoders.TRIES} moves were over before they had begun")
    encoders.fast(source)
    passes = source.qmp.names_until("MIGRATION", status="completed").count("MIGRATION_PASS")
    wall_ms = (time.monotonic() - begin) * 1000
    dest.wait_migration("completed")
    info = source.migration()
    s = stream.Stream(bytes(relay.kept[FORWARD]))
    parts = check_bytes(info["ram"], s, relay)
    assert info["ram"]["downtime-bytes"] == parts[stream.TAG_END], (info, parts)
    check_pages(info["ram"], s)
    check_times(info, wall_ms)
    assert info["ram"]["dirty-sync-count"] == passes, (info, passes)
    check_encoders(info, mode, s)
    ram.assert_equal(bytes(s.blocks["microvm.ram"]), ram.read(dest), "the stream and the destination")


@only_minivmm(WHY)
def test_stopped_guest(t):
    """Every page goes once: at every moment what is done and what is left is the whole."""
    source = machine(t, "counter", "pages=1000")
    goes_on(source)
    source.cmd("stop")
    source.cmd("migrate-set-parameters", max_bandwidth=4 << 20)
    dest, relay = connect(t, source, {})
    looks, last = 0, 0
    while True:
        info = source.migration()
        r = info.get("ram")
        if r:
            assert r["downtime-bytes"] == r["transferred"] and r["precopy-bytes"] == 0, r
            assert (r["normal"] + r["duplicate"] + r["skipped"]) * 4096 + r["remaining"] == r["total"], r
            assert r["transferred"] >= last
            looks, last = looks + 1, r["transferred"]
        if info["status"] == "completed":
            break
        assert info["status"] in ("setup", "active", "device"), info
    arrived(source, dest)
    s = stream.Stream(bytes(relay.kept[FORWARD]))
    check_bytes(info["ram"], s, relay)
    check_pages(info["ram"], s)
    assert looks > 3


@only_minivmm(WHY)
def test_stopped_and_continued(t):
    """Bytes count by whether the guest runs when they go out."""
    source = machine(t, "counter", "pages=1000")
    goes_on(source)
    encoders.slow(source)
    dest, relay = connect(t, source, {}, paused=True)
    wait_bytes(source, 300000)
    source.cmd("stop")
    before = source.migration()["ram"]
    wait_bytes(source, before["transferred"] + 600000)
    source.cmd("cont")
    between = source.migration()["ram"]
    assert between["downtime-bytes"] >= before["downtime-bytes"] + 300000, (before, between)
    assert encoders.wait_for(source, lambda i: i["ram"]["precopy-bytes"] > between["precopy-bytes"])
    encoders.finish(source, dest)
    check_bytes(source.migration()["ram"], stream.Stream(bytes(relay.kept[FORWARD])), relay)


def pages_written(vm):
    s = ram.status(vm)
    return s["generation"] * s["pages"] + s["index"]


def test_dirty_pages_rate(t):
    """Pages that became dirty during a pass, a second: what the guest itself says it wrote.

    The first pass has all pages to send and lasts for seconds, in which no page is written twice.
    """
    source = machine(t, "counter", "pages=1500 rate=400")
    goes_on(source)
    source.cmd("migrate-set-parameters", max_bandwidth=2 << 20, downtime_limit=0)
    source.cmd("migrate", uri="exec:cat > /dev/null")
    source.wait_migration("active")
    assert source.migration()["expected-downtime"] == 0
    source.cmd("migrate-set-parameters", downtime_limit=500)
    wrote, since = pages_written(source), time.monotonic()
    encoders.wait_for(source, lambda i: i["ram"]["dirty-sync-count"] >= 2)
    rate = source.migration()["ram"]["dirty-pages-rate"]
    real = (pages_written(source) - wrote) / (time.monotonic() - since)
    assert 0.5 * real <= rate <= 2 * real, (rate, real)
    source.cmd("migrate_cancel")


def test_limits_and_estimates(t):
    """max-bandwidth is kept on average, and the figures in flight say so."""
    limit = 2 << 20
    source = machine(t, "counter", "pages=1500 rate=20000")
    goes_on(source)
    source.cmd("migrate-set-parameters", max_bandwidth=limit, downtime_limit=77)
    source.cmd("migrate", uri="exec:cat > /dev/null")
    source.wait_migration("active")
    first = source.migration()
    assert first["expected-downtime"] == 77 and first["ram"]["dirty-sync-count"] == 1, first
    wait_bytes(source, 4 << 20)
    info = source.migration()
    seconds = (info["total-time"] - info["setup-time"]) / 1000
    assert info["ram"]["transferred"] <= limit * (seconds + 0.2) * 1.1 + (64 << 12), info
    assert 0 < info["ram"]["mbps"] < 4 * limit * 8 / 1e6, info
    assert 0 < info["ram"]["pages-per-second"], info
    source.cmd("migrate_cancel")
    source.wait_migration("cancelled")


def test_pause_counts_as_downtime(t):
    source = machine(t)
    source.capabilities("pause-before-switchover")
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    source.wait_migration("pre-switchover")
    begin = source.migration()["total-time"]
    while source.migration()["total-time"] < begin + 150:
        pass
    source.cmd("migrate-continue", state="pre-switchover")
    arrived(source, dest)
    info = source.migration()
    assert 150 <= info["downtime"] <= info["total-time"], info


def shown(info):
    return {k for k in info if not k.startswith("x-")}


def test_what_is_shown_when(t):
    """The members that each status has; xbzrle-cache and compression by the capabilities."""
    times = {"status", "ram", "total-time", "setup-time"}
    source = machine(t, "counter", GUEST)
    goes_on(source)
    assert source.migration() == {}
    encoders.slow(source)
    source.cmd("migrate", uri="unix:/nope/x")
    source.wait_migration("failed")
    assert shown(source.migration()) == {"status", "error-desc"}
    source.cmd("migrate", uri="exec:cat > /dev/null")
    source.wait_migration("active")
    assert shown(source.migration()) == times | {"expected-downtime"}
    source.cmd("migrate_cancel")
    source.wait_migration("cancelled")
    assert shown(source.migration()) == {"status"}
    source.capabilities("xbzrle", "compress")
    source.cmd("migrate", uri="exec:cat > /dev/null")
    source.wait_migration("active")
    assert shown(source.migration()) == times | {"expected-downtime", "xbzrle-cache", "compression"}
    encoders.fast(source)
    source.wait_migration("completed")
    assert shown(source.migration()) == times | {"downtime", "xbzrle-cache", "compression"}
    source.cmd("migrate-set-capabilities", capabilities=[{"capability": "compress", "state": False}])
    assert shown(source.migration()) == times | {"downtime", "xbzrle-cache"}


@table(tcp={"scheme": "tcp"}, unix={"scheme": "unix"})
def test_socket_address(t, scheme):
    """Where a destination listens, until the source has connected."""
    source = machine(t)
    way = Way(t, scheme)
    dest = destination(t, source, way.incoming())
    assert shown(dest.migration()) == {"socket-address"}
    address, = dest.migration()["socket-address"]
    if scheme == "tcp":
        assert address["type"] == "inet" and address["host"] == "127.0.0.1", address
        assert int(address["port"]) > 0
    else:
        assert address == {"type": "unix", "path": way.path}, address
    way.start(source, dest)
    arrived(source, dest)
    assert shown(dest.migration()) == {"status"}
