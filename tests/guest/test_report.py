"""What a program says of the guests that leave it and come, and how it ends when that goes wrong."""
import os
import re
import signal
import subprocess

from case import only_minivmm, table
from moves import Way, arrived, destination, goes_on, machine, wait_bytes
from qmp import Closed, QmpError

ONLY = "the words, and x-minivmm-force, are minivmm's own"
SLOW = {"max_bandwidth": 1 << 20, "downtime_limit": 0}


def lines(vm, what):
    return [line for line in vm.stderr().splitlines() if re.search(what, line)]


def garbage(t):
    path = t.path("garbage")
    with open(path, "wb") as f:
        f.write(b"this is no stream" * 100)
    return path


# ---- an incoming migration that fails ----

@only_minivmm(ONLY)
@table(default={"prefix": ""}, on={"prefix": "exit-on-error=on,"})
def test_failed_load_ends_the_program(t, prefix):
    """Without "defer" no manager can ask: status 1, and the reason on stderr."""
    vm = t.vmm(incoming=f"{prefix}exec:cat {garbage(t)}", monitors=0)
    assert vm.wait() == 1
    assert len(lines(vm, "load of migration failed: this is not a migration stream")) == 1, vm.stderr()


@only_minivmm(ONLY)
def test_failed_load_is_told_to_the_source(t):
    """The program ends, but not before the source knows why."""
    source = machine(t)
    dest = t.vmm(incoming=f"unix:{t.path('way')}", memory="32M")
    source.cmd("migrate", uri=f"unix:{t.path('way')}")
    source.wait_migration("failed")
    assert "the destination refused: the machines differ" in source.migration()["error-desc"]
    assert dest.wait() == 1
    assert lines(dest, "load of migration failed: the machines differ.*24 MiB at the source"), dest.stderr()
    goes_on(source)


@only_minivmm(ONLY)
@table(prefix={"uri": "exit-on-error=off,file:%s", "extra": []},
       globally={"uri": "file:%s", "extra": ["-global", "migration.exit-on-error=off"]},
       defer={"uri": "defer", "extra": []},
       absent={"uri": "exit-on-error=off,file:%s.absent", "extra": []})
def test_failed_load_keeps_the_program(t, uri, extra):
    """It can be asked, 'cont' says why there is no guest, and another attempt may follow."""
    source = machine(t)
    vm = t.vmm(incoming=uri % garbage(t) if "%" in uri else uri, extra=extra)
    if uri == "defer":
        vm.cmd("migrate-incoming", uri=f"file:{garbage(t)}")
    while vm.migration().get("status") != "failed":
        assert vm.alive()
    for _ in range(2):
        words = vm.qmp.fails("cont")
        assert "its load failed" in words, words
        assert ("No such file" if "absent" in uri else "this is not a migration stream") in words, words
    assert "No such file" in vm.qmp.fails("migrate-incoming", uri="file:/nope/x")
    assert vm.status() == "inmigrate"
    source.cmd("migrate", uri=f"file:{t.path('state')}")
    assert source.wait_migration("completed", "failed") == "completed"
    vm.options = source.options
    vm.cmd("migrate-incoming", uri=f"file:{t.path('state')}")
    vm.wait_running()
    goes_on(vm)


@only_minivmm("QEMU 7.2 has no such argument")
def test_exit_on_error_of_one_attempt(t):
    vm = t.vmm(incoming="defer")
    vm.capabilities("events")
    vm.cmd("migrate-incoming", uri=f"file:{garbage(t)}", exit_on_error=False)
    assert vm.wait_loaded() == "failed"
    vm.cmd("migrate-incoming", uri=f"file:{garbage(t)}", exit_on_error=True)
    assert vm.wait() == 1


# ---- the end of the program ----

def slow_save(t, path="state"):
    source = machine(t, "counter", "pages=1800 rate=20000")
    goes_on(source)
    source.cmd("migrate-set-parameters", **SLOW)
    source.cmd("migrate", uri=f"file:{t.path(path)}")
    wait_bytes(source, 100000)
    return source


@only_minivmm(ONLY)
def test_quit_does_not_lose_a_save(t):
    source = slow_save(t)
    words = source.qmp.fails("quit")
    assert re.search(rf"being saved to file:{t.path('state')} \(\d+ %\).*x-minivmm-force", words), words
    source.cmd("migrate-set-parameters", max_bandwidth=1 << 30, downtime_limit=5000)
    assert source.wait_migration("completed", "failed") == "completed", source.migration()
    source.cmd("quit")
    assert source.wait() == 0 and os.path.exists(t.path("state"))


@only_minivmm(ONLY)
@table(forced={"how": "quit"}, term={"how": signal.SIGTERM}, int={"how": signal.SIGINT})
def test_save_given_up(t, how):
    source = slow_save(t)
    if how == "quit":
        source.cmd("quit", x_minivmm_force=True)
    else:
        source.signal(how)
    assert source.wait() == 0
    assert len(lines(source, rf"ends: the save to file:{t.path('state')} is given up at \d+ %")) == 1, \
        source.stderr()
    assert not os.path.exists(t.path("state"))


@only_minivmm(ONLY)
@table(source={"end": "source"}, destination={"end": "destination"})
def test_move_given_up(t, end):
    source = machine(t, "counter", "pages=1800 rate=20000")
    goes_on(source)
    source.cmd("migrate-set-parameters", **SLOW)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    wait_bytes(source, 100000)
    ends = source if end == "source" else dest
    ends.signal(signal.SIGTERM)
    assert ends.wait() == 0
    wanted = "the move to unix:.* is given up at" if end == "source" else \
        "the guest from unix:.* has not arrived; it stays where it was"
    assert len(lines(ends, "minivmm ends: " + wanted)) == 1, ends.stderr()
    if end == "destination":
        source.wait_migration("failed")
        goes_on(source)


# ---- the lines of a move ----

@only_minivmm(ONLY)
@table(**{"tcp": {"scheme": "tcp"}, "unix": {"scheme": "unix"}, "fd": {"scheme": "fd"}})
def test_lines_of_a_move(t, scheme):
    """A line for the start and one for the end, at both ends, with -D and on stderr."""
    log = t.path("log")
    source = machine(t, extra=["-D", log])
    way = Way(t, scheme)
    dest = destination(t, source, way.incoming(), extra=[])
    way.start(source, dest)
    arrived(source, dest)
    to = {"tcp": r"tcp:127\.0\.0\.1:\d+", "unix": f"unix:{way.path}", "fd": "fd:move"}[scheme]
    from_ = to if scheme != "fd" else "fd:incoming"
    dest.wait_running()
    with open(log, encoding="utf-8") as f:
        logged = f.read().splitlines()
    for said in (logged, source.stderr().splitlines()):
        found = [line for line in said if "the guest" in line]
        assert len(found) == 2, said
        assert re.fullmatch(rf"minivmm: the guest moves to {to}", found[0]), found
        assert re.fullmatch(rf"minivmm: the guest has moved to {to}: \d+\.\d+ s, paused for \d+ ms",
                            found[1]), found
    at = {"tcp": [r"tcp:127\.0\.0\.1:0"], "unix": [to], "fd": []}[scheme]       # where it listens
    wanted = [f"minivmm: a guest is awaited at {place}" for place in at] + [
        f"minivmm: a guest arrives from {from_}",
        rf"minivmm: the guest has arrived from {from_}: \d+\.\d+ s; run state: running"]
    found = lines(dest, " guest ")
    assert len(found) == len(wanted) and all(map(re.fullmatch, wanted, found)), found


@only_minivmm(ONLY)
def test_arrives_paused(t):
    source = machine(t)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming(), paused=True)
    way.start(source, dest)
    arrived(source, dest)
    assert lines(dest, "has arrived from .*; run state: paused, 'cont' runs it"), dest.stderr()


@only_minivmm(ONLY)
@table(failed={"how": "failed"}, cancelled={"how": "cancelled"})
def test_line_of_a_failure(t, how):
    source = machine(t, "counter", "pages=1800 rate=20000")
    goes_on(source)
    source.cmd("migrate-set-parameters", **SLOW)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    wait_bytes(source, 100000)
    if how == "failed":
        dest.kill()
    else:
        source.cmd("migrate_cancel")
    source.wait_migration(how)
    goes_on(source)
    reason = {"failed": "; reason: .*" + re.escape(source.migration().get("error-desc", "")),
              "cancelled": ""}[how]
    assert len(lines(source, rf"the move to unix:{way.path} (was )?{how} after \d+\.\d+ s, paused for "
                             rf"\d+ ms; run state here: running{reason}$")) == 1, source.stderr()


# ---- named pipes and links ----

@only_minivmm("QEMU 7.2 has no file: scheme")
def test_pipe_waits_for_its_reader(t):
    source = machine(t)
    path = t.path("pipe")
    os.mkfifo(path)
    source.cmd("migrate", uri=f"file:{path}")
    assert source.status() == "running" and source.migration()["status"] == "setup"
    dest = destination(t, source, f"file:{path}")
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)


@only_minivmm("QEMU 7.2 has no file: scheme")
def test_pipe_waits_for_its_writer(t):
    source = machine(t)
    path = t.path("pipe")
    os.mkfifo(path)
    dest = destination(t, source, f"file:{path}")
    assert dest.status() == "inmigrate" and dest.migration().get("status") != "failed"
    source.cmd("migrate", uri=f"file:{path}")
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)


@only_minivmm("QEMU 7.2 has no file: scheme")
def test_waiting_pipes_can_be_left(t):
    source = machine(t)
    path = t.path("pipe")
    os.mkfifo(path)
    source.cmd("migrate", uri=f"file:{path}")
    source.cmd("migrate_cancel")
    source.wait_migration("cancelled")
    goes_on(source)
    dest = destination(t, source, f"file:{path}")
    dest.cmd("quit")
    assert dest.wait() == 0


@only_minivmm("QEMU 7.2 has no file: scheme")
@table(relative={"to": "real"}, absolute={"to": "/"}, twice={"to": "second"})
def test_dangling_link_is_followed(t, to):
    source = machine(t)
    os.symlink(t.path("real") if to == "/" else to, t.path("link"))
    os.symlink("real", t.path("second"))
    source.cmd("migrate", uri=f"file:{t.path('link')}")
    assert source.wait_migration("completed", "failed") == "completed", source.migration()
    assert os.path.islink(t.path("link")) and os.path.isfile(t.path("real"))


@only_minivmm(ONLY)
def test_shared_pipe_keeps_its_flags(t):
    """A pipe that is given to migrate is not made non-blocking for the programs that share it."""
    source = machine(t)
    ours, theirs = os.pipe()
    source.qmp.cmd("getfd", fds=[theirs], fdname="p")
    reader = subprocess.Popen(["cat"], stdin=ours, stdout=subprocess.DEVNULL)
    source.cmd("migrate", uri="fd:p")
    assert source.wait_migration("completed", "failed") == "completed", source.migration()
    assert os.get_blocking(theirs)
    os.close(theirs)
    os.close(ours)
    assert reader.wait() == 0


# ---- network interfaces ----

@only_minivmm(ONLY)
@table(multi_queue={"mode": ["tap", "multi_queue"], "words": "multi_queue"},
       tun={"mode": ["tun"], "words": "tun interface"})
def test_interface_of_another_kind(t, mode, words):
    t.need("root", "ip", "unshare")
    if not os.path.exists("/dev/net/tun"):
        t.skip("no /dev/net/tun")
    script = "ip tuntap add mode {} name mv0 {} && mount -t sysfs none /sys && exec \"$@\"".format(
        mode[0], " ".join(mode[1:]))
    vm = None
    try:
        vm = t.vmm("idle", prefix=["unshare", "-n", "-m", "sh", "-c", script, "sh"], monitors=0,
                   paused=True, extra=["-netdev", "tap,id=n,ifname=mv0,script=no,downscript=no"])
        vm.wait()
    except (Closed, QmpError):
        pass
    if "Operation not permitted" in vm.stderr():
        t.skip("no network namespace can be made")
    assert "mv0" in vm.stderr() and words in vm.stderr(), vm.stderr()
