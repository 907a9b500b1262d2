"""minivmm-ctl: moves, saves and loads by it, what it prints and how it ends; QEMU is in interop/test_ctl_qemu.py."""
import json
import os
import re
import signal

import ctl
from case import table
from moves import goes_on

SLOW = ("--rate", "400k", "--max-pause", "1")      # a guest that writes: it does not end by itself


def two(t, *options, **more):
    """A running guest and one that waits for it, each with a monitor for minivmm-ctl."""
    source = ctl.machine(t, "counter", "pages=100 rate=2000", **more)
    uri = f"unix:{t.path('move')}"
    dest = ctl.machine(t, incoming="defer", **more)
    dest.capabilities(*options)
    dest.cmd("migrate-incoming", uri=uri)
    return source, dest, uri


def settings(vm):
    return vm.cmd("query-migrate-parameters"), vm.cmd("query-migrate-capabilities")


@table(plain={"options": []}, limits={"options": ["--rate", "0", "--max-pause", "500", "--deadline", "50", "--or", "force"]},
       encoders={"options": ["--auto-converge", "--xbzrle-cache", "1M"]})
def test_move(t, options):
    """No terminal: a line for each event, a result, and the settings are what they were."""
    source, dest, uri = two(t)
    before = settings(source)
    done = ctl.run(t, source, "move", *options, uri)
    assert done.status == 0, done
    assert re.match(rf"moved to {uri}: the guest stood still for [\d.]+ m?s; .* in \d+ pass", done.out[-1]), done
    assert any(line.startswith("STOP: ") for line in done.out), done
    assert "\r" not in done.text and "\033" not in done.text
    dest.wait_running()
    goes_on(dest)
    assert settings(source) == before


@table(at_once={"options": ["--postcopy"]}, later={"options": ["--postcopy-after", "0", "--rate", "1M"]},
       preempt={"options": ["--postcopy", "--preempt"]})
def test_postcopy(t, options):
    more = ["postcopy-preempt"] if "--preempt" in options else []
    source, dest, uri = two(t, "postcopy-ram", *more)
    done = ctl.run(t, source, "move", *options, uri)
    assert done.status == 0, done
    dest.wait_running()
    goes_on(dest)


def test_gone(t):
    """With --wait it returns when the program is gone, and not before: the guest here takes its time."""
    vm = t.vmm("requester", extra=["-qmp", f"unix:{t.path('ctl')},server=on,wait=off"])
    vm.ctl = t.path("ctl")
    vm.serial.expect("boot")
    asked = ctl.Terminal(t, vm, "powerdown", "--wait")
    vm.serial.expect("button")
    vm.serial.write("q")
    assert asked.end() == 0, asked.lines()
    assert vm.wait() == 0
    vm = ctl.machine(t)
    done = ctl.run(t, vm, "quit", "--wait")
    assert done.status == 0, done
    assert vm.wait() == 0


def test_multifd_and_json(t):
    """With --json all is on standard output, an object a line, the result the last."""
    source, dest, uri = two(t, "multifd")
    dest.cmd("migrate-set-parameters", multifd_channels=3, multifd_compression="zstd")
    done = ctl.run(t, source, "--json", "move", "--multifd", "3:zstd", uri)
    assert (done.status, done.said) == (0, ""), done
    events, last = [e["event"] for e in done.json()[:-1]], done.json()[-1]
    assert "STOP" in events and last["result"] == "completed" and last["status"] == 0, done
    assert last["bytes"] > 0 and last["passes"] >= 1 and last["pause-ms"] >= 0, last
    dest.wait_running()


def test_save_and_load(t):
    source = ctl.machine(t, "counter", "pages=100 rate=2000")
    path = t.path("saved")
    done = ctl.run(t, source, "save", "--quit", path)
    assert done.status == 0 and done.out[-1].startswith(f"saved to {path}: "), done
    assert source.wait() == 0
    dest = ctl.machine(t, incoming="defer")
    done = ctl.run(t, dest, "load", path)
    assert done.status == 0 and done.out[-1].startswith(f"loaded from {path}"), done
    goes_on(dest)
    done = ctl.run(t, dest, "load", path)
    assert done.status == 1 and "no guest is awaited there" in done.said, done
    third = ctl.machine(t, incoming="defer")
    done = ctl.run(t, third, "load", t.path("nothing"))
    assert done.status == 1 and "nothing" in done.said, done
    assert ctl.run(t, third, "load", "--paused", path).status == 0
    assert third.status() == "paused"


def test_failure_leaves_the_guest(t):
    source = ctl.machine(t, "counter", "pages=100 rate=2000")
    before = settings(source)
    done = ctl.run(t, source, "move", "--rate", "1M", f"unix:{t.path('nobody')}")
    assert done.status == 1 and done.said.endswith("the guest runs here"), done
    done = ctl.run(t, source, "move", "--json", f"unix:{t.path('nobody')}")
    assert done.json()[-2]["status"] == 1 and done.json()[-1]["result"] == "failed", done
    done = ctl.run(t, source, "cancel")
    assert (done.status, done.said) == (1, "minivmm-ctl: no migration is under way"), done
    assert settings(source) == before
    goes_on(source)


@table(cancel={"key": "c", "status": 1}, leave={"key": "l", "status": 3}, twice={"key": "\x03", "status": 3})
def test_ctrl_c(t, key, status):
    """The live line goes on in its place, its percent never falls; Ctrl-C asks, and what is answered is done."""
    source, dest, uri = two(t)
    before = settings(source)
    run = ctl.Terminal(t, source, "move", *SLOW, uri)
    run.until(r"pass [23]")
    run.type("\x03")
    run.until(r"\(c\)ancel the move, \(l\)eave it running")
    run.type(key)
    assert run.end() == status, run.text
    shown = ctl.percents(run.lines())
    assert shown and shown == sorted(shown), run.text
    assert max(len(line) for line in run.lines() if "%" in line) < 100, run.lines()
    if key == "c":
        assert "cancelled: the guest runs here" in run.text, run.text
        assert settings(source) == before
        goes_on(source)
        return
    assert "it goes on without this program" in run.text, run.text
    assert source.migration()["status"] == "active"
    done = ctl.run(t, source, "cancel")
    assert done.status == 0, done
    source.wait_migration("cancelled")
    assert dest.alive()


def test_ctrl_c_another_key(t):
    """It goes on, and can be asked again; the terminal is as it was."""
    source, dest, uri = two(t)
    run = ctl.Terminal(t, source, "move", *SLOW, uri, columns=40)
    for _ in range(2):
        run.text = ""
        run.until(r"pass \d")
        run.type("\x03")
        run.until(r"any other key: go on")
        run.type("g")
    source.cmd("migrate-set-parameters", max_bandwidth=1 << 30, downtime_limit=2000)
    assert run.end() == 0, run.text
    assert "moved to" in run.text
    assert max(len(line) for line in run.lines() if " %" in line and "moved" not in line) < 40, run.lines()
    dest.wait_running()


def test_watch(t):
    source, dest, uri = two(t)
    assert ctl.run(t, source, "watch").status == 1
    done = ctl.run(t, source, "move", "--detach", *SLOW, uri)
    assert done.status == 0 and "on its way" in done.said, done
    run = ctl.Terminal(t, source, "watch")
    run.until(r"pass \d")
    source.cmd("migrate-set-parameters", max_bandwidth=1 << 30, downtime_limit=2000)
    assert run.end() == 0, run.text
    dest.wait_running()


def test_the_source_dies(t):
    """Nobody here knows who has the guest."""
    source, _, uri = two(t)
    run = ctl.Terminal(t, source, "move", *SLOW, uri)
    run.until(r"pass \d")
    source.signal(signal.SIGKILL)
    assert run.end() == 3, run.text
    assert "it is not known who has the guest" in run.text, run.text


def test_the_destination_dies(t):
    source, dest, uri = two(t)
    run = ctl.Terminal(t, source, "move", *SLOW, uri)
    run.until(r"pass \d")
    dest.signal(signal.SIGKILL)
    assert run.end() == 1, run.text
    assert "the guest runs here" in run.text, run.text
    goes_on(source)


def test_postcopy_is_paused(t):
    """The guest is there, and the rest of its memory here: 3, and what to do."""
    source, _, uri = two(t, "postcopy-ram")
    run = ctl.Terminal(t, source, "move", "--postcopy-after", "0", "--postcopy-rate", "4096", "--rate", "64k", uri)
    run.until(r"postcopy  ")
    source.cmd("migrate-pause")
    assert run.end() == 3, run.text
    assert "postcopy is paused at both ends" in run.text, run.text


def test_names(t):
    """Each with a monitor leaves an entry while it runs; one that was killed is swept."""
    one, two_ = ctl.machine(t, name="db1", disk=t.disk()), ctl.machine(t, name="db2")
    alone = t.path("minivmm")
    entries = sorted(os.listdir(alone))
    assert entries == sorted(str(vm.pid) for vm in (one, two_)), entries
    assert all(os.stat(os.path.join(alone, e)).st_mode & 0o777 == 0o600 for e in entries)
    assert os.stat(alone).st_mode & 0o777 == 0o700
    listed = {e["pid"]: e for e in ctl.run(t, None, "--json", "list").json()[0] if e["pid"] in (one.pid, two_.pid)}
    first = listed[one.pid]
    assert first["name"] == "db1" and first["ram"] == 24 << 20 and first["state"] == "running", first
    assert first["disks"] and one.ctl in first["monitors"] and abs(first["started"] - os.stat(t.tmp).st_ctime) < 3600
    for name in ("db1", str(one.pid)):
        done = ctl.run(t, None, "-n", name, "status")
        assert done.status == 0 and done.out[0].startswith("db1: running, minivmm "), done
    done = ctl.run(t, None, "-n", "nobody", "status")
    assert done.status == 1 and "has the name or pid 'nobody'" in done.said, done
    done = ctl.run(t, None, "status")
    assert done.status == 1 and "several run: " in done.said, done
    one.signal(signal.SIGKILL)
    one.wait()
    assert str(one.pid) in os.listdir(alone)
    assert "db1" not in ctl.run(t, None, "list").text
    assert os.listdir(alone) == [str(two_.pid)]
    two_.cmd("quit")
    two_.wait()
    assert not os.listdir(alone)


def test_entries_of_others(t):
    """What stands there and is no entry: nothing hangs, nothing is listed, and what is not stale stays."""
    folder = t.path("minivmm")
    os.mkdir(folder)
    os.mkfifo(os.path.join(folder, "1"))
    os.symlink("/dev/zero", os.path.join(folder, "2"))
    for name, text in (("3", "{}"), ("4", "[" * 5000), ("5", "\0"), ("note", "x")):
        with open(os.path.join(folder, name), "w", encoding="ascii") as f:
            f.write(text)
    done = ctl.run(t, None, "--json", "list")
    assert done.status == 0, done
    assert not [e for e in done.json()[0] if e["monitors"][0].startswith(t.tmp)], done
    assert sorted(os.listdir(folder)) == ["1", "2", "note"]


def test_one_command_each(t):
    vm = ctl.machine(t)
    for command, event in (("pause", "STOP"), ("cont", "RESUME"), ("reset", "RESET"), ("powerdown", "POWERDOWN")):
        done = ctl.run(t, vm, command)
        assert (done.status, done.text, done.said) == (0, "", ""), done
        vm.qmp.event(event)
    assert json.loads(ctl.run(t, vm, "qmp", "query-name").text) == {"name": vm.name}
    done = ctl.run(t, vm, "--json", "qmp", '{"execute": "query-name"}')
    assert done.json() == [{"name": vm.name}], done
    done = ctl.run(t, vm, "qmp", "query-block", '{"x": 1}')
    assert (done.status, done.said) == (1, "minivmm-ctl: Parameter 'x' is unexpected"), done
    assert ctl.run(t, vm, "quit").status == 0
    assert vm.wait() == 0


def test_two_clients(t):
    """A monitor takes one: the other waits, and says whom for."""
    vm = ctl.machine(t)
    first = ctl.Peer.hold(t, vm.ctl)
    done = ctl.run(t, vm, "--timeout", "1", "status")
    assert done.status == 1, done
    assert f"(pid {os.getpid()}) holds the monitor, which takes one at a time" in done.said, done
    listed, = [e for e in ctl.run(t, None, "--json", "list").json()[0] if e["pid"] == vm.pid]
    assert listed["state"] == "busy", listed       # the test itself has the other monitor
    first.close()
    assert ctl.run(t, vm, "status").status == 0


def test_snapshots(t):
    vm = ctl.machine(t, "counter", "pages=100 rate=2000", disk=t.qcow2("16M"))
    done = ctl.run(t, vm, "snapshot", "save", "monday")
    assert done.status == 0 and done.out[-1].startswith("saved as monday: the guest stood still for "), done
    done = ctl.run(t, vm, "snapshot", "list")
    assert done.status == 0 and done.out[1].startswith("monday "), done
    assert ctl.run(t, vm, "--json", "snapshot", "list").json()[0][0]["snapshot"]["name"] == "monday"
    done = ctl.run(t, vm, "snapshot", "load", "monday")
    assert done.status == 0 and done.out[-1].startswith("loaded monday"), done
    goes_on(vm)
    assert ctl.run(t, vm, "snapshot", "load", "tuesday").status == 1
    assert ctl.run(t, vm, "snapshot", "delete", "monday").status == 0
    done = ctl.run(t, vm, "snapshot", "list")
    assert (done.status, done.said) == (0, "minivmm-ctl: there are no snapshots"), done
    assert vm.cmd("query-jobs") == []
    raw = ctl.machine(t, disk=t.disk())
    done = ctl.run(t, raw, "snapshot", "save", "x")
    assert done.status == 1 and "is raw, which holds no snapshots" in done.said, done


def test_usage(t):
    """Nothing is asked of a peer: there is none."""
    for words, text in (((), "it needs a command"), (("fly",), "there is no command 'fly'"),
                        (("--fly", "status"), "there is no option '--fly'"),
                        (("move",), "move: it needs URI"), (("move", "a", "b"), "unexpected argument: b"),
                        (("move", "x:", "--fly"), "move: there is no option '--fly'"),
                        (("move", "x:", "--rate", "fast"), "--rate fast: a number of bytes"),
                        (("move", "x:", "--multifd", "0"), "--multifd 0: a number of channels"),
                        (("move", "x:", "--or", "force"), "there is none"),
                        (("move", "x:", "--deadline", "1", "--or", "x"), "--or x: force, cancel or postcopy"),
                        (("--timeout", "x", "status"), "--timeout x: a number of seconds"),
                        (("move", "x:", "--peer"), "--peer needs an argument"),
                        (("snapshot", "take"), "save, load, delete or list, not 'take'"),
                        (("snapshot", "save"), "it needs a tag"), (("qmp", "{"), "qmp: ")):
        done = ctl.run(t, t.path("none"), *words)
        assert done.status == 2 and text in done.said and not done.text, done
    for words in (("--help",), ("help",), ("move", "--help"), ("--version",)):
        done = ctl.run(t, None, *words)
        assert done.status == 0 and done.text and not done.said, done
