"""minivmm-ctl: shell, dirty-rate, stats, report; on a terminal and from a pipe, with minivmm and with QEMU."""
import json
import os
import re
import signal
import subprocess

import peers
from case import only_minivmm, table
from vmm import BUILD

CTL = os.path.join(BUILD, "minivmm-ctl")
ONLY = "minivmm-ctl is a program of its own; which peer it has is in the table"
PEERS = {"minivmm": {"peer": "minivmm"}, "qemu": {"peer": "7.2"}}


def monitored(t, peer="minivmm", **options):
    """A machine with one more monitor, and the path of that."""
    path = t.path("ctl.sock")
    options.setdefault("extra", ["-qmp", f"unix:{path},server=on,wait=off"])
    kind = peer if peer == "minivmm" else peers.kind(t, peer)
    return t.vmm("counter", "pages=100 rate=2000", kind=kind, **options), path


def ctl(path, *words, text=None, **options):
    return subprocess.run([CTL, "-s", path, *words], input=text, capture_output=True, text=True, check=False,
                          **options)


def shell(t, path, **options):
    """On a terminal, with a history of its own, up to the first prompt."""
    terminal = t.terminal([CTL, "-s", path, "shell"], {"XDG_STATE_HOME": t.tmp}, **options)
    terminal.expect(r"^(minivmm|qemu)> ")
    return terminal


# ---- on a terminal ----

# what a union has is known once its branch is chosen
NESTED = {
    "minivmm": [("\x15migrate channels.\t", r"channels\.0\."),
                ("addr.tr\tso\tchannels.0.addr.typ\tun\tchannels.0.addr.pa\tx",
                 r"addr.transport=socket channels.0.addr.type=unix channels.0.addr.path=x")],
    "7.2": [("\x15blockdev-add dri\tqcow2 node-n\td0 fil\t", r"file\.\s+file="),
            (".driver=fil\tfile.filen\tx", "driver=qcow2 node-name=d0 file.driver=file file.filename=x")],
}


@only_minivmm(ONLY)
@table(**{name: dict(row, nested=NESTED[row["peer"]]) for name, row in PEERS.items()})
def test_completion(t, peer, nested):
    """Commands, names, nested names and values, as that peer's schema has them."""
    _, path = monitored(t, peer)
    terminal = shell(t, path)
    terminal.type("query-mem\t")
    terminal.expect(r"query-memdev .*query-memory-size-summary\s+(minivmm|qemu)> query-mem")
    terminal.type("ory-s\t")                        # one is left: all of it, and a space
    terminal.expect("ory-size-summary ")
    terminal.type("\x15migrate-set-par\t downtime-l\t20 cpu-throttle-i\t")
    terminal.expect(r"cpu-throttle-increment=\s+cpu-throttle-initial=")
    for keys, shows in nested:
        terminal.type(keys)
        terminal.expect(shows)
    terminal.type("\x15migrate-set-capabilities capabilities.\tcap\tauto\tcapabilities.0.\ttr\t\n")
    terminal.expect(r"^\{\}")
    terminal.type('{"execute": "query-st\t')
    terminal.expect(r'"query-sta(ts)?')
    terminal.type("\x15help migrate-inc\t\n")
    terminal.expect(r"uri=\]?\s+text")
    terminal.type("\x04")
    assert terminal.wait() == 0


@only_minivmm(ONLY)
@table(**PEERS)
def test_typing_beside_events(t, peer):
    """An event stands above the line that is being typed, which is as it was."""
    vm, path = monitored(t, peer)
    terminal = shell(t, path)
    terminal.type("query-na")
    terminal.expect("query-na")
    vm.cmd("stop")
    terminal.expect(r"^-- [0-9:.]{12} STOP\n(minivmm|qemu)> query-na")
    terminal.type("me\n")
    terminal.expect(r"me\n\{")
    terminal.type("stop\n")
    terminal.expect(r"^\{\}")
    terminal.type("cont\n")
    terminal.expect(r"^\{\}\n-- [0-9:.]{12} RESUME")
    terminal.type("exit\n")
    assert terminal.wait() == 0


@only_minivmm(ONLY)
def test_keys_and_history(t):
    vm, path = monitored(t)
    terminal = shell(t, path)
    terminal.type("query-status\n")
    terminal.expect(r'"status": "running"')
    terminal.type("query-nothing password=x\n")
    terminal.expect(r"minivmm-ctl: .*query-nothing.*\nminivmm> ")
    terminal.type("half a line\x03")                # Ctrl-C: it is thrown away
    terminal.expect(r"\^C\nminivmm> ")
    terminal.type("query-nothing\n")
    terminal.expect(r"minivmm-ctl: The command query-nothing has not been found\nminivmm> ")
    terminal.type("exit\n")
    assert terminal.wait() == 0
    path_of = os.path.join(t.tmp, "minivmm", "ctl-history")
    with open(path_of, encoding="ascii") as f:
        assert f.read().split("\n") == ["query-status", "query-nothing", "exit", ""]
    assert os.stat(path_of).st_mode & 0o77 == 0
    terminal = shell(t, path)
    terminal.type("\x1b[A\x1b[A\x1b[A\n")           # up, up, up
    terminal.expect(r'query-status\n\{[^}]*"status": "running"')
    terminal.type("quit\n")
    assert terminal.wait() == 0                     # the peer has ended because it was told to
    assert vm.wait() == 0


@only_minivmm(ONLY)
def test_answer_that_is_not_waited_for(t):
    """Ctrl-C while the peer is silent: the prompt is back, and the late answer is nobody's."""
    vm, path = monitored(t)
    terminal = shell(t, path)
    vm.process.send_signal(signal.SIGSTOP)
    terminal.type("query-name\n")
    terminal.expect("query-name\n")
    terminal.type("\x03")
    terminal.expect(r"'query-name' was not waited for\nminivmm> ")
    vm.process.send_signal(signal.SIGCONT)
    terminal.type("query-status\n")
    terminal.expect(r'^\{\n    "status": "running"')
    terminal.type("exit\n")
    assert terminal.wait() == 0


@only_minivmm(ONLY)
def test_peer_that_dies(t):
    vm, path = monitored(t)
    terminal = shell(t, path)
    terminal.type("query-na")
    vm.kill()
    terminal.expect("minivmm-ctl: the peer has ended the connection")
    assert terminal.wait() == 3


# ---- from a pipe ----

@only_minivmm(ONLY)
@table(minivmm={"peer": "minivmm"}, **{f"qemu {v}": {"peer": v} for v in ("7.2", "10.0", "11.1")})
def test_lines_from_a_pipe(t, peer):
    """The same for each: kinds of values, nested ones, JSON, help; a failure ends it, and says where."""
    vm, path = monitored(t, peer)
    done = ctl(path, "shell", text='query-status\n\n# not this\nmigrate-set-parameters downtime-limit=77\n'
               'migrate-set-capabilities capabilities.0.capability=xbzrle capabilities.0.state=on\n'
               '{"execute": "stop"}\nhelp migrate-set-capabilities\nhelp\n')
    assert done.returncode == 0 and not done.stderr, done
    assert vm.cmd("query-migrate-parameters")["downtime-limit"] == 77
    assert {"capability": "xbzrle", "state": True} in vm.cmd("query-migrate-capabilities")
    assert vm.status() == "paused"
    assert re.search(r"^-- [0-9:.]{12} STOP", done.stdout, re.M), done.stdout
    assert re.search(r"^   capabilities.0.state= +true \| false$", done.stdout, re.M), done.stdout
    assert "\nquery-status\n" in done.stdout
    done = ctl(path, "--json", "shell", text="query-name\nmigrate-set-parameters downtime-limit=x\ncont\n")
    says = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 2 and says[1]["error"] == "downtime-limit: a whole number, not 'x'", done
    assert "line 2 failed" in says[2]["note"], says
    assert vm.status() == "paused"
    done = ctl(path, "shell", text="query-nothing")
    assert done.returncode == 1 and "query-nothing" in done.stderr, done


# ---- figures ----

@only_minivmm(ONLY)
@table(**PEERS)
def test_dirty_rate(t, peer):
    vm, path = monitored(t, peer)
    done = ctl(path, "dirty-rate")
    assert re.fullmatch(r"[0-9.]+ ([KM]i)?B/s \(page-sampling, 1 s\)\n", done.stdout), done
    done = ctl(path, "--json", "dirty-rate", "--mode", "dirty-bitmap")
    assert json.loads(done.stdout)["status"] == "measured", done
    done = ctl(path, "dirty-rate", "--mode", "nothing")
    assert done.returncode == 1 and "nothing" in done.stderr, done
    with subprocess.Popen([CTL, "-s", path, "dirty-rate", "--watch"], stdout=subprocess.PIPE, text=True) as watch:
        lines = [watch.stdout.readline() for _ in range(2)]
        watch.send_signal(signal.SIGINT)
    assert all("B/s" in line for line in lines), lines
    assert vm.alive()


@only_minivmm(ONLY)
@table(**PEERS)
def test_stats(t, peer):
    vm, path = monitored(t, peer, disk=t.disk())
    vm.cmd("stop")
    done = ctl(path, "stats")
    assert done.returncode == 0 and done.stdout.startswith("guest      paused\n"), done
    assert re.search(r"^disk \S+\n  read .* in [0-9]+ requests, wrote", done.stdout, re.M), done.stdout
    says = json.loads(ctl(path, "stats", "--json").stdout)
    assert says["status"]["status"] == "paused" and says["migration"] == {} and says["blockstats"], says
    vm.cmd("cont")
    vm.capabilities("events")
    vm.cmd("migrate", uri=f"exec:cat >{t.path('saved')}")
    vm.wait_migration("completed")
    assert re.search(r"^migration  completed, .* passes, pause ", ctl(path, "stats").stdout, re.M)


@only_minivmm(ONLY)
@table(**PEERS)
def test_report_of_a_move(t, peer):
    """Both ends are in it: the events of each, and the pause between them."""
    vm, path = monitored(t, peer)
    beside = t.path("beside.sock")
    to = t.vmm("counter", "pages=100 rate=2000", kind=vm.kind, incoming="defer",
               extra=["-qmp", f"unix:{beside},server=on,wait=off"])
    to.cmd("migrate-incoming", uri=f"unix:{t.path('way')}")
    page = t.path("page.html")
    done = ctl(path, "move", f"unix:{t.path('way')}", "--rate", "20M", "--max-pause", "40", "--report", page, "--peer", beside)
    assert done.returncode == 0, done
    with open(page, encoding="utf-8") as f:
        text = f.read().replace("\u00a0", " ")
    assert re.search(r"<h1>The guest moved in [0-9.]+ m?s, and stood still for [0-9.]+ m?s\.</h1>", text), text[:6000]
    assert "The guest may be stopped once it is below 40 ms." in text
    for end, event in (("source", "STOP"), ("destination", "RESUME")):
        assert f"<td>{end}</td><td>{event}</td>" in text, text
    assert 'class="band"' in text and to.status() == "running"
    with open(page, "w", encoding="utf-8") as f:
        f.write("older")
    done = ctl(path, "move", "unix:/nowhere/at/all", "--report", t.path("no/page.html"))
    assert done.returncode == 2 and "cannot be written" in done.stderr, done
    with open(page, encoding="utf-8") as f:
        assert f.read() == "older"


@only_minivmm(ONLY)
def test_report_of_the_last_migration(t):
    vm, path = monitored(t)
    page, picture = t.path("page.html"), t.path("picture.svg")
    done = ctl(path, "report", page)
    assert done.returncode == 1 and "no migration has begun" in done.stderr, done
    assert not os.path.exists(page)
    done = ctl(path, "report", t.path("page.pdf"))
    assert done.returncode == 2 and "ends with neither .html nor .svg" in done.stderr, done
    vm.capabilities("events")
    vm.cmd("migrate", uri=f"exec:cat >{t.path('saved')}")
    vm.wait_migration("completed")
    for name in (page, picture):
        assert ctl(path, "report", name).returncode == 0
        with open(name, encoding="utf-8") as f:
            text = f.read()
        assert "The guest moved in" in text, text[:2000]
        assert not re.search(r"<script|https?://(?!www\.w3\.org/2000/svg)", text)
