"""Moving a running guest, over every channel, and everything that may come in between."""
import signal

import ram
from case import only_minivmm, table
from moves import (Way, arrived, check_running, check_stopped, destination, goes_on, machine, several_passes,
                   wait_bytes, wait_end_or_failure)


def move(t, source, scheme="unix", **options):
    way = Way(t, scheme)
    dest = destination(t, source, way.incoming(), **options)
    way.start(source, dest)
    return arrived(source, dest)


@table(tcp={"scheme": "tcp"}, unix={"scheme": "unix"}, fd={"scheme": "fd"}, exec={"scheme": "exec"})
def test_incoming_on_the_command_line(t, scheme):
    source = machine(t)
    way = Way(t, scheme)
    dest = t.vmm(incoming=way.incoming(), **source.options)
    assert dest.status() == "inmigrate"
    way.start(source, dest)
    assert source.wait_migration("completed", "failed") == "completed", source.migration()
    dest.wait_running()
    goes_on(dest)


def test_between_backends(t):
    """RAM is RAM: from anonymous to memfd to file."""
    source = machine(t, backend="anonymous")
    second = move(t, source, backend="memfd", paused=True)
    ram.assert_equal(ram.read(source), ram.read(second))
    t.forget(source)
    second.options = source.options
    second.cmd("cont")
    third = move(t, second, backend="file", paused=True)
    ram.assert_equal(ram.read(second), ram.read(third))
    third.cmd("cont")
    goes_on(third)


@table(one={"cpus": 1}, two={"cpus": 2})
def test_ten_moves_in_a_row(t, cpus):
    """With disk, entropy and network at work all the time."""
    echo = t.net()
    vm = machine(t, "smp-counter", "pages=50 rate=1000 every=16", cpus=cpus, disk=t.disk(), rng=True,
                 net=echo.path)
    for _ in range(10):
        dest = move(t, vm)
        before = check_stopped(vm, cpus)
        dest.options = vm.options
        t.forget(vm)
        vm = dest
        vm.wait_running()
        while ram.status(vm)["disk"] < before[0]["disk"] + 2:
            pass
    s = goes_on(vm, cpus) and check_running(vm, cpus)[0]
    assert s["disk"] > 10 and s["disk"] - 1 <= s["net"] <= s["rng"] <= s["disk"], s
    assert (s["disk_errors"], s["rng_errors"], s["net_errors"]) == (0, 0, 0), s


def test_events_and_statistics(t):
    source = machine(t)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    assert source.migration() == {}
    way.start(source, dest)
    seen = source.qmp.names_until("MIGRATION", status="completed")
    main = [s for s in seen if s != "MIGRATION_PASS"]
    device = ["MIGRATION device"] if source.kind == "minivmm" else []      # QEMU: since 10.0
    assert main == ["MIGRATION setup", "MIGRATION active", "STOP", *device, "MIGRATION completed"], seen
    assert seen.count("MIGRATION_PASS") >= 2 and seen.index("STOP") > seen.index("MIGRATION active")
    dest.wait_migration("completed")
    info = source.migration()
    assert info["status"] == "completed" and info["ram"]["remaining"] == 0, info
    assert {"total-time", "setup-time", "downtime"} <= set(info), info
    r = info["ram"]
    assert r["total"] >= 24 << 20 and r["page-size"] == 4096
    assert r["normal"] * 4096 == r["normal-bytes"]
    assert r["normal"] + r["duplicate"] + r["skipped"] >= r["total"] // 4096
    assert dest.migration()["status"] == "completed"
    assert source.qmp.fails("migrate", uri="unix:/nowhere") == \
        "Can't migrate the vm that was paused due to previous migration"
    dest.wait_running()
    goes_on(dest)


def test_stopped_guest_stays_stopped(t):
    source = machine(t)
    source.cmd("stop")
    dest = move(t, source)
    assert dest.status() == "paused"
    ram.assert_equal(ram.read(source), ram.read(dest))
    dest.cmd("cont")
    goes_on(dest)


def test_never_started(t):
    """A guest that has not run yet moves, and boots on the other side."""
    source = machine(t, started=False, paused=True)
    dest = move(t, source)
    assert dest.status() == "prelaunch"
    dest.cmd("cont")
    dest.serial.expect("counting on 1")
    goes_on(dest)


def test_source_may_take_it_back(t):
    """After a success the source still has its guest; a forced cont runs it (the other is killed first)."""
    source = machine(t)
    dest = move(t, source, paused=True)
    t.forget(dest)
    if t.kind == "minivmm":
        for command in ("cont", "system_reset", "system_powerdown"):
            says = source.qmp.fails(command)
            assert "was handed to unix:" in says and "x-minivmm-force" in says, says
        assert source.status() == "postmigrate"
        source.cmd("cont", x_minivmm_force=True)
    else:
        source.cmd("cont")
    source.qmp.event("RESUME")
    goes_on(source)
    if t.kind == "minivmm":
        source.cmd("system_reset")
        source.serial.expect("counting on 1")


def test_reset_after_the_move(t):
    source = machine(t)
    dest = move(t, source)
    dest.wait_running()
    dest.cmd("system_reset")
    dest.serial.expect("counting on 1")
    goes_on(dest)


def slow(vm, bytes_per_second=2 << 20):
    vm.cmd("migrate-set-parameters", max_bandwidth=bytes_per_second, downtime_limit=0)


def busy_machine(t, **options):
    """Enough pages that are not zero for a move to take seconds at two megabytes a second."""
    vm = machine(t, "counter", "pages=1800 rate=20000", **options)
    goes_on(vm)
    slow(vm)
    return vm


def test_parameters_in_flight(t):
    """The limits take effect at once: a move that would last forever ends."""
    source = busy_machine(t)
    slow(source, 65536)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    wait_bytes(source, 50000)
    source.cmd("migrate-set-parameters", max_bandwidth=0, downtime_limit=2000)
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)


def test_several_passes(t):
    """With no downtime allowed and a guest that writes, passes follow on passes until it may end."""
    def begin():
        source = machine(t, "counter", "pages=300")
        goes_on(source)
        source.cmd("migrate-set-parameters", max_bandwidth=512 << 10, downtime_limit=1)
        way = Way(t, "unix")
        dest = destination(t, source, way.incoming())
        way.start(source, dest)
        return source, dest
    source, dest = several_passes(t, 4, begin)
    source.cmd("migrate-set-parameters", max_bandwidth=0, downtime_limit=2000)
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)


@only_minivmm("the parameter is there since QEMU 8.2")
@table(more={"first": 0, "then": 1 << 30}, less={"first": 4096, "then": 0})
def test_avail_switchover_bandwidth(t, first, then):
    """What is left is judged by it: a slow move ends, and a fast one does not."""
    def begin():
        source = machine(t, "counter", "pages=300")
        goes_on(source)
        source.cmd("migrate-set-parameters", avail_switchover_bandwidth=first,
                   max_bandwidth=(8 if first else 2) << 20)
        way = Way(t, "unix")
        dest = destination(t, source, way.incoming())
        way.start(source, dest)
        return source, dest
    source, dest = several_passes(t, 5, begin)
    assert source.migration()["status"] == "active"
    assert not first or source.migration()["expected-downtime"] > 300, source.migration()
    source.cmd("migrate-set-parameters", avail_switchover_bandwidth=then)
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)


def test_pause_before_switchover(t):
    source = machine(t)
    source.capabilities("pause-before-switchover")
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    source.wait_migration("pre-switchover")
    assert source.status() == "finish-migrate"
    assert source.qmp.fails("migrate-continue", state="active") == \
        "Migration not in expected state: pre-switchover"
    assert source.qmp.fails("cont") == "Migration is not finalized yet"
    source.cmd("migrate-continue", state="pre-switchover")
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)


def test_return_path(t):
    source = machine(t)
    source.capabilities("return-path")
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming(), ["return-path"])
    way.start(source, dest)
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)


def test_incoming_defer(t):
    source = machine(t)
    dest = destination(t, source)
    assert dest.status() == "inmigrate"
    assert dest.qmp.fails("migrate-incoming", uri="zz:x").startswith("unknown migration protocol")
    assert "/nope" in dest.qmp.fails("migrate-incoming", uri="unix:/nope/x")
    dest.cmd("migrate-incoming", uri=f"unix:{t.path('in')}")
    assert dest.qmp.fails("migrate-incoming", uri=f"unix:{t.path('in2')}") == \
        "The incoming migration has already been started"
    assert dest.qmp.fails("migrate", uri="unix:/x") == "Guest is waiting for an incoming migration"
    source.cmd("migrate", uri=f"unix:{t.path('in')}")
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)


def test_incoming_not_asked_for(t):
    vm = machine(t)
    assert vm.qmp.fails("migrate-incoming", uri="unix:/x") == \
        "'-incoming' was not specified on the command line"


def test_stop_and_cont_before_arrival(t):
    """On a waiting destination they only say what to do at the end."""
    source = machine(t)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    dest.cmd("stop")
    assert dest.status() == "inmigrate"
    way.start(source, dest)
    arrived(source, dest)
    assert dest.status() == "paused"


@table(
    unknown={"uri": "zz", "words": "valid migration protocol"},
    tcp_empty={"uri": "tcp:", "words": "error parsing address ''"},
    tcp_port={"uri": "tcp:1", "words": "error parsing address '1'"},
    unix_empty={"uri": "unix:", "words": "invalid Unix socket address"},
    fd={"uri": "fd:zz", "words": "File descriptor named 'zz' has not been found"},
)
def test_refused_address(t, uri, words):
    source = machine(t)
    assert words in source.qmp.fails("migrate", uri=uri)
    goes_on(source)


@table(
    unix={"uri": "unix:/nope/x", "words": "/nope/x"},
    tcp={"uri": "tcp:127.0.0.1:1", "words": "Connection refused"},
    exec={"uri": "exec:exit 3", "words": "Broken pipe (the command ended with status 3)"},
)
def test_failed_connect(t, uri, words):
    """The command is accepted, the cause is in error-desc, the guest runs on."""
    source = machine(t)
    source.cmd("migrate", uri=uri)
    source.wait_migration("failed")
    info = source.migration()
    assert info["status"] == "failed" and words in info["error-desc"], info
    assert source.status() == "running"
    goes_on(source)


def test_destination_killed_in_flight(t):
    source = busy_machine(t, disk=t.disk(), rng=True)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    wait_bytes(source, 300000)
    dest.signal(signal.SIGKILL)
    source.wait_migration("failed")
    assert source.migration()["error-desc"]
    assert source.status() == "running"
    goes_on(source)
    source.cmd("migrate-set-parameters", max_bandwidth=0, downtime_limit=300)
    goes_on(move(t, source))


def test_source_killed_in_flight(t):
    """The destination says what happened, and never runs."""
    source = busy_machine(t)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    wait_bytes(source, 300000)
    source.kill()
    assert wait_end_or_failure(dest) != "completed"
    assert "RESUME" not in [e["event"] for e in dest.qmp.events]


@table(
    memory={"options": {"memory": "32M"}, "words": "microvm.ram"},
    disk={"options": {"disk": None}, "words": "virtio"},
    cpus={"options": {"cpus": 1}, "words": "CPU"},
)
def test_mismatch(t, options, words):
    """A destination unlike the source refuses and names what differs; the source runs on."""
    source = machine(t, "smp-counter", "pages=50 rate=1000", cpus=2, disk=t.disk())
    source.capabilities("return-path")
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming(), ["return-path"], **options)
    way.start(source, dest)
    cause = wait_end_or_failure(dest)
    assert cause != "completed"
    assert words in (dest.stderr() if cause == "dead" else cause), (cause, dest.stderr())
    source.wait_migration("failed")
    if source.status() != "running":
        source.qmp.event("RESUME")
    goes_on(source, 2)


@only_minivmm("QEMU 7.2 ends when an incoming migration fails")
def test_failed_destination_can_be_asked(t):
    source = machine(t)
    dest = destination(t, source, f"unix:{t.path('in')}")
    garbage = t.path("garbage")
    with open(garbage, "wb") as f:
        f.write(b"this is no stream" * 100)
    import socket
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s, open(garbage, "rb") as f:
        s.connect(t.path("in"))
        s.sendall(f.read())
        cause = wait_end_or_failure(dest)
    assert cause not in ("dead", "completed"), cause
    assert dest.status() == "inmigrate"
    assert dest.cmd("query-name")["name"]


def test_announce(t):
    """After arrival the network hears of it."""
    echo = t.net()
    source = machine(t, "smp-counter", "pages=50 rate=1000", net=echo.path)
    assert echo.announcements == 0
    dest = move(t, source)
    dest.wait_running()
    assert echo.wait_announcement(60), "no announcement after the move"
    dest.cmd("announce-self", initial=50, max=550, rounds=2, step=100)
    goes_on(dest)


@table(file={"backend": "file"}, memfd={"backend": "memfd"}, anonymous={"backend": "anonymous"})
def test_first_touches_while_moving(t, backend):
    """Pages that the guest touches for the first time while it is being moved arrive."""
    source = machine(t, append="pages=3000", memory="48M", backend=backend)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    arrived(source, dest)
    dest.wait_running()
    check_running(dest)
