"""Pages over several connections: methods, numbers of channels, what breaks and what does not fit."""
import select
import socket

import ram
from case import only_minivmm, table
from moves import (Way, arrived, check_stopped, destination, goes_on, machine, wait_bytes,
                   wait_end_or_failure)

MAGIC = b"\x11\x22\x33\x44"
METHODS = ("none", "zlib", "zstd")
SCHEMES = ("unix", "tcp")
TRANSPORT = "multifd is not supported by current protocol"
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


def rows():
    return {f"{method}_{channels}_{scheme}": {"method": method, "channels": channels, "scheme": scheme}
            for method in METHODS for channels in (1, 2, 5) for scheme in SCHEMES}


@table(**rows())
def test_move(t, method, channels, scheme):
    """A counting guest goes on where it was; every page is of the last round or the one before."""
    source = machine(t)
    goes_on(source)
    dest = move(t, source, scheme, channels, method)
    left = check_stopped(source)[0]
    dest.wait_running()
    assert goes_on(dest)[0] > left["generation"]
    assert dest.report()[0]["errors"] == 0
    r = source.migration()["ram"]
    assert 0 < r["multifd-bytes"] < r["transferred"], r
    assert r["transferred"] == r["precopy-bytes"] + r["downtime-bytes"] + r["multifd-bytes"], r
    if method == "none":
        assert r["multifd-bytes"] > r["normal-bytes"], r
    else:
        assert r["multifd-bytes"] < r["normal-bytes"], r


@table(none={"method": "none"}, zlib={"method": "zlib"}, zstd={"method": "zstd"})
def test_ram_is_equal(t, method):
    source = machine(t, "smp-counter", "pages=50 rate=2000", cpus=2, disk=t.disk())
    goes_on(source, 2)
    dest = move(t, source, channels=3, method=method, paused=True)
    there = ram.read(dest)
    ram.assert_equal(ram.read(source), there)
    for cpu in range(2):
        ram.check_range(there, cpu)
    dest.cmd("cont")
    goes_on(dest, 2)


def many_passes(source):
    """Passes upon passes: pages are sent again and again over whatever channel is free."""
    while source.qmp.event("MIGRATION_PASS")["data"]["pass"] < 4:
        pass
    parameters(source, max_bandwidth=0, downtime_limit=2000)


# So slow that the guest writes in every pass; packed, a pass is little more than its sync round.
@table(none={"method": "none", "bandwidth": 8 << 20}, zlib={"method": "zlib", "bandwidth": 32 << 10},
       zstd={"method": "zstd", "bandwidth": 32 << 10})
def test_several_passes(t, method, bandwidth):
    """No older copy of a page overtakes a newer one."""
    source = machine(t, "counter", "pages=300")
    goes_on(source)
    parameters(source, max_bandwidth=bandwidth, downtime_limit=1)
    way, dest = multifd_pair(t, source, channels=4, method=method, paused=True)
    way.start(source, dest)
    many_passes(source)
    arrived(source, dest)
    ram.assert_equal(ram.read(source), ram.read(dest))
    dest.cmd("cont")
    goes_on(dest)


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
    relay = Relay(t, way.path)
    source.cmd("migrate", uri=f"unix:{relay.path}")
    relay.run(lambda first, passed: False)
    relay.close()
    arrived(source, dest)
    r = source.migration()["ram"]
    channels = [n for near, n in relay.passed.items() if relay.first[near] == MAGIC]
    assert len(channels) == 3 and sum(channels) == r["multifd-bytes"], (channels, r)
    main, = (n for near, n in relay.passed.items() if relay.first[near] == b"QEVM")
    assert r["transferred"] - r["multifd-bytes"] < main, (main, r)
    dest.wait_running()
    goes_on(dest)


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
    """The source's channels find nobody; neither end runs a guest without its pages."""
    source = machine(t)
    source.capabilities("multifd")
    dest = destination(t, source, f"unix:{t.path('in')}")
    source.cmd("migrate", uri=f"unix:{t.path('in')}")
    source.wait_migration("failed")
    assert "multifd channel" in source.migration()["error-desc"], source.migration()
    assert wait_end_or_failure(dest) != "completed"
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


def test_other_transports(t):
    source = machine(t)
    source.capabilities("multifd")
    source.cmd("migrate", uri="exec:cat > /dev/null")
    source.wait_migration("failed")
    assert source.migration()["error-desc"] == TRANSPORT, source.migration()
    goes_on(source)
    dest = destination(t, source, None, ["multifd"])
    assert dest.qmp.fails("migrate-incoming", uri="exec:cat /dev/zero") == TRANSPORT
    ours, theirs = socket.socketpair()
    dest.qmp.cmd("getfd", fds=[theirs.fileno()], fdname="in")
    assert dest.qmp.fails("migrate-incoming", uri="fd:in") == TRANSPORT
    ours.close()
    theirs.close()


@only_minivmm("QEMU 7.2 knows it only for -incoming on the command line")
def test_transport_at_set_time(t):
    ours, theirs = socket.socketpair()
    vm = t.vmm(incoming=theirs.fileno())
    assert vm.qmp.fails("migrate-set-capabilities",
                        capabilities=[{"capability": "multifd", "state": True}]) == TRANSPORT
    ours.close()
    theirs.close()


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


@only_minivmm("QEMU 7.2 takes it, and copies")
def test_zero_copy_needs_tcp(t):
    source = machine(t)
    source.capabilities("multifd", "zero-copy-send")
    way, dest = multifd_pair(t, source, "unix")
    way.start(source, dest)
    source.wait_migration("failed")
    assert "zero-copy-send" in source.migration()["error-desc"], source.migration()
    assert wait_end_or_failure(dest) != "completed"
    goes_on(source)


# ---- what breaks ----

def busy_pair(t, method="none", channels=2):
    source = machine(t, "counter", "pages=1800 rate=20000")
    goes_on(source)
    parameters(source, max_bandwidth=2 << 20, downtime_limit=0)
    way, dest = multifd_pair(t, source, channels=channels, method=method)
    return source, way, dest


@table(none={"method": "none"}, zlib={"method": "zlib"}, zstd={"method": "zstd"})
def test_cancel_in_flight(t, method):
    source, way, dest = busy_pair(t, method)
    if method != "none":    # there is not much left of these pages
        parameters(source, max_bandwidth=50000)
    way.start(source, dest)
    wait_bytes(source, 200000 if method == "none" else 20000)
    source.cmd("migrate_cancel")
    source.wait_migration("cancelled")
    assert source.status() == "running"
    assert wait_end_or_failure(dest) != "completed"
    source.report()
    goes_on(source)
    parameters(source, max_bandwidth=0, downtime_limit=300)
    goes_on(move(t, source, method=method))


def test_cancel_when_a_channel_stalls(t):
    """The peer takes every connection and reads nothing."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(t.path("silent"))
    listener.listen(8)
    source = machine(t, "counter", "pages=1800 rate=20000")
    goes_on(source)
    source.capabilities("multifd")
    parameters(source, max_bandwidth=0, downtime_limit=0)
    source.cmd("migrate", uri=f"unix:{t.path('silent')}")
    source.wait_migration("active")
    source.cmd("migrate_cancel")
    source.wait_migration("cancelled")
    goes_on(source)
    listener.close()


class Relay:
    """Between a source and a destination, connection by connection: channels can be told apart."""

    def __init__(self, t, target):
        self.path, self.target = t.path("relay"), target
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(16)
        self.other, self.passed, self.first = {}, {}, {}

    def connect(self):
        near, _ = self.listener.accept()
        far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        far.connect(self.target)
        self.other[near], self.other[far] = far, near
        self.passed[near] = 0

    def drop(self, near):
        for s in (near, self.other.pop(near)):
            self.other.pop(s, None)
            s.close()

    def run(self, judge):
        """Passes everything on until judge(first bytes, bytes so far) says cut, and all is closed."""
        while self.other or not self.passed:
            ready, _, _ = select.select([self.listener, *self.other], [], [])
            for s in ready:
                if s is self.listener:
                    self.connect()
                elif s in self.other:
                    self.relay(s, judge)

    def relay(self, s, judge):
        near = s if s in self.passed else self.other[s]
        try:
            data = s.recv(65536)
            if data:
                self.other[s].sendall(data)
        except OSError:
            data = b""
        if s is near:
            self.first.setdefault(near, data[:4])
            self.passed[near] += len(data)
        if not data or judge(self.first.get(near, b""), self.passed[near]):
            self.drop(near)

    def close(self):
        self.listener.close()
        for s in self.other:
            s.close()


@table(
    at_once={"after": 64},
    in_a_header={"after": 64 + 1344 + 700},
    in_a_page={"after": 64 + 1344 * 2 + 5000},
    later={"after": 400000},
)
def test_channel_cut(t, after):
    """One channel of two is cut: both ends fail with a cause, nobody loses the guest."""
    source, way, dest = busy_pair(t)
    relay = Relay(t, way.path)
    source.cmd("migrate", uri=f"unix:{relay.path}")
    cut = []

    def judge(first, passed):
        if not cut and first == MAGIC and passed >= after:
            cut.append(passed)
            return True
        return False

    relay.run(judge)
    relay.close()
    assert cut
    source.wait_migration("failed")
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
