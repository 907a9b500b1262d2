"""Pages over several connections: methods, numbers of channels, what breaks and what does not fit."""
import os
import socket

import ram
from case import only_minivmm, table
from moves import Way, arrived, destination, goes_on, machine, wait_bytes, wait_end_or_failure
from proxy import FORWARD, Harm

MAGIC = b"\x11\x22\x33\x44"
ZERO_COPY = "Zero copy only available for non-compressed non-TLS multifd migration"


def parameters(vm, **values):
    vm.cmd("migrate-set-parameters", **values)


def multifd_pair(t, source, scheme="unix", channels=2, method="none", there=None, **options):
    """The source's destination, waiting; 'there': parameters of the destination that differ."""
    mine = {"multifd-channels": channels, "multifd-compression": method}
    way = Way(t, scheme)
    source.capabilities("multifd")
    source.qmp.cmd("migrate-set-parameters", **mine)
    dest = destination(t, source, None, ["multifd"], **options)
    dest.qmp.cmd("migrate-set-parameters", **dict(mine, **(there or {})))
    dest.cmd("migrate-incoming", uri=way.incoming())
    return way, dest


def move(t, source, *args, **kwargs):
    way, dest = multifd_pair(t, source, *args, **kwargs)
    way.start(source, dest)
    return arrived(source, dest)


def test_several_moves(t):
    """The one that has arrived moves on, over other channels each time."""
    vm = machine(t)
    for method, channels in (("none", 2), ("zstd", 3), ("zlib", 1)):
        dest = move(t, vm, method=method, channels=channels)
        t.forget(vm)
        vm = dest
        vm.wait_running()
        goes_on(vm)


def test_levels(t):
    """Every level of both compressors is kept, checked, and used."""
    source = machine(t)
    for name, most in (("multifd-zlib-level", 9), ("multifd-zstd-level", 20)):
        words = f"Parameter '{name.replace('-', '_')}' expects a value between 0 and {most}"
        assert source.qmp.fails("migrate-set-parameters", **{name: most + 1}) == words
        source.qmp.cmd("migrate-set-parameters", **{name: most})
        assert source.cmd("query-migrate-parameters")[name] == most
    for bad in (0, 256, 1000):
        assert "multifd" in source.qmp.fails("migrate-set-parameters", multifd_channels=bad)
    assert source.qmp.fails("migrate-set-parameters", multifd_compression="lz4") == \
        "Parameter 'multifd-compression' does not accept value 'lz4'"
    parameters(source, max_bandwidth=0)
    dest = move(t, source, method="zstd")
    dest.wait_running()
    goes_on(dest)


@table(none={"method": "none"}, zlib={"method": "zlib"}, zstd={"method": "zstd"})
def test_bytes_on_the_wire(t, method):
    """multifd-bytes is what a relay in between has counted on the channels."""
    source = machine(t)
    way, dest = multifd_pair(t, source, channels=3, method=method)
    relay = t.proxy(way.path, keep=True)
    source.cmd("migrate", uri=f"unix:{relay.path}")
    arrived(source, dest)
    r = source.migration()["ram"]
    assert (r["multifd-bytes"] > r["normal-bytes"]) == (method == "none"), r
    assert r["transferred"] == r["precopy-bytes"] + r["downtime-bytes"] + r["multifd-bytes"], r
    main, *channels = relay.links
    assert main.kept[FORWARD].startswith(b"QEVM")
    assert all(c.kept[FORWARD].startswith(MAGIC) for c in channels)
    channels = [c.passed[FORWARD] for c in channels]
    assert len(channels) == 3 and sum(channels) == r["multifd-bytes"], (channels, r)
    assert r["transferred"] - r["multifd-bytes"] < main.passed[FORWARD], (main.passed, r)
    dest.wait_running()
    goes_on(dest)


@table(**{f"{channels}_{zeros}": {"channels": channels == "multifd", "zeros": zeros}
          for channels in ("multifd", "plain") for zeros in ("none", "legacy", "multifd")})
@only_minivmm("the parameter is unknown to QEMU 7.2")
def test_zero_pages(t, channels, zeros):
    """Where pages that the guest has written, and that are zero again, are found and how they go."""
    source = machine(t, "writer", "pages=512 zeros=512", started=False)
    with open(source.ram_path, "r+b", buffering=0) as f:
        for page in range(512):         # so that the guest's next store makes each of them zero
            f.seek((16 << 20) + page * 4096)
            f.write(b"x")
    source.serial.expect("writing")
    while ram.status(source)["generation"] < 3:
        os.sched_yield()
    source.cmd("stop")
    assert source.cmd("query-migrate-parameters")["zero-page-detection"] == "multifd"
    assert source.qmp.fails("migrate-set-parameters", zero_page_detection="some") == \
        "Parameter 'zero-page-detection' does not accept value 'some'"
    parameters(source, zero_page_detection=zeros)
    way = Way(t, "unix")
    if channels:
        way, dest = multifd_pair(t, source)
    else:
        dest = destination(t, source, way.incoming())
    way.start(source, dest)
    arrived(source, dest)
    r = source.migration()["ram"]
    main = r["transferred"] - r["multifd-bytes"]
    assert (r["normal"] >= 512) == (zeros == "none"), r
    assert (r["duplicate"] >= 512) == (zeros != "none"), r
    assert (main >= 512 * 9) == (zeros == "legacy" or not channels), (main, r)
    ram.assert_equal(ram.read(source), ram.read(dest))


# ---- what does not fit ----

def refused(source, dest, *words):
    """Both ends say why; the source's guest runs on."""
    source.wait_migration("failed")
    cause = wait_end_or_failure(dest)
    told = source.migration()["error-desc"]
    for word in words:
        assert word in cause, (word, cause)
        assert word in told, (word, told)
    assert source.status() == "running"
    goes_on(source)


@table(
    more={"here": {}, "there": {"multifd-channels": 3}, "words": ("multifd-channels",)},
    fewer={"here": {"channels": 5}, "there": {"multifd-channels": 2}, "words": ("multifd-channels",)},
    method={"here": {"method": "zstd"}, "there": {"multifd-compression": "zlib"},
            "words": ("multifd-compression", "zstd", "zlib")},
    plain={"here": {}, "there": {"multifd-compression": "zstd"},
           "words": ("multifd-compression", "none", "zstd")},
)
@only_minivmm("QEMU 7.2 hangs, or says it on one side only")
def test_mismatch(t, here, there, words):
    source = machine(t)
    way, dest = multifd_pair(t, source, there=there, **here)
    way.start(source, dest)
    refused(source, dest, *words)


@only_minivmm("QEMU 7.2 says it on one side only")
def test_off_at_the_destination(t):
    """The source's channels find no receiver; neither end runs a guest without its pages."""
    source = machine(t)
    source.capabilities("multifd")
    dest = destination(t, source, f"unix:{t.path('in')}")
    source.cmd("migrate", uri=f"unix:{t.path('in')}")
    source.wait_migration("failed")
    assert "multifd channel" in source.migration()["error-desc"], source.migration()
    assert wait_end_or_failure(dest) != "completed"
    assert "refused: it is a multifd channel, and with the capabilities" in dest.stderr(), dest.stderr()
    goes_on(source)


def test_off_at_the_source(t):
    """That is no mistake: everything comes over the main connection."""
    source = machine(t)
    dest = destination(t, source, f"unix:{t.path('in')}", ["multifd"])
    source.cmd("migrate", uri=f"unix:{t.path('in')}")
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)
    assert source.migration()["ram"]["multifd-bytes"] == 0


def test_switched_on_while_listening(t):
    """What counts is what is on when the source comes."""
    source = machine(t)
    source.capabilities("multifd")
    dest = destination(t, source, f"unix:{t.path('in')}")
    dest.capabilities("multifd")
    source.cmd("migrate", uri=f"unix:{t.path('in')}")
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)


@only_minivmm("QEMU takes the first connection, whoever that is")
def test_switched_on_while_a_stranger_waits(t):
    """A connection that says nothing does not fix what is expected."""
    source = machine(t)
    source.capabilities("multifd")
    dest = destination(t, source, f"unix:{t.path('in')}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
        stranger.connect(t.path("in"))
        assert dest.status() == "inmigrate"     # it has been accepted
        dest.capabilities("multifd")
        source.cmd("migrate", uri=f"unix:{t.path('in')}")
        arrived(source, dest)
    dest.wait_running()
    goes_on(dest)


# ---- zero copy ----

def test_zero_copy(t):
    """On loopback the kernel copies after all, and that is counted; the guest arrives."""
    source = machine(t)
    source.capabilities("multifd", "zero-copy-send")
    dest = move(t, source, "tcp")
    dest.wait_running()
    goes_on(dest)
    r = source.migration()["ram"]
    assert r["dirty-sync-missed-zero-copy"] > 0, r


def test_zero_copy_conflicts(t):
    vm = machine(t)

    def set_both(multifd, zero):
        return [{"capability": "multifd", "state": multifd},
                {"capability": "zero-copy-send", "state": zero}]

    assert vm.qmp.fails("migrate-set-capabilities", capabilities=set_both(False, True)) == ZERO_COPY
    vm.cmd("migrate-set-capabilities", capabilities=set_both(True, True))
    assert vm.qmp.fails("migrate-set-parameters", multifd_compression="zlib") == ZERO_COPY
    assert vm.cmd("query-migrate-parameters")["multifd-compression"] == "none"
    assert vm.qmp.fails("migrate-set-capabilities", capabilities=set_both(False, True)) == ZERO_COPY
    vm.cmd("migrate-set-capabilities", capabilities=set_both(True, False))
    parameters(vm, multifd_compression="zlib")
    assert vm.qmp.fails("migrate-set-capabilities", capabilities=set_both(True, True)) == ZERO_COPY


# ---- what breaks ----

def busy_pair(t, method="none", channels=2):
    source = machine(t, "counter", "pages=1800 rate=20000")
    goes_on(source)
    parameters(source, max_bandwidth=2 << 20, downtime_limit=0)
    way, dest = multifd_pair(t, source, channels=channels, method=method)
    return source, way, dest


@table(
    at_once={"after": 64},
    in_a_header={"after": 64 + 1344 + 700},
    in_a_page={"after": 64 + 1344 * 2 + 5000},
    later={"after": 400000},
)
def test_channel_cut(t, after):
    """One channel of two is cut: both ends fail with a cause, and the guest runs on."""
    source, way, dest = busy_pair(t)
    harm = Harm("cut", after, link=1)
    source.cmd("migrate", uri=f"unix:{t.proxy(way.path, harm).path}")
    source.wait_migration("failed")
    assert harm.done.is_set()
    assert "multifd channel" in source.migration()["error-desc"], source.migration()
    cause = wait_end_or_failure(dest)
    assert cause != "completed"
    # It may not have looked at its channels yet when the source had given up.
    assert "multifd channel" in cause or cause == "dead" or "stream ends" in cause, cause
    assert source.status() == "running"
    goes_on(source)


@only_minivmm("QEMU 7.2 takes the second connection for a channel, whatever it is")
def test_strangers(t):
    """Others connect before, between and after: the guest arrives."""
    source, way, dest = busy_pair(t)
    strangers = []

    def stranger(words):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.connect(way.path)
        s.sendall(words)
        strangers.append(s)

    stranger(b"")
    stranger(b"QE")
    way.start(source, dest)
    wait_bytes(source, 100000)
    stranger(b"GET / HTTP/1.0\r\n\r\n")
    stranger(b"QEVM")
    parameters(source, max_bandwidth=0, downtime_limit=2000)
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)
    for s in strangers:
        s.close()
