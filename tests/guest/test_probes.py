"""Static probes: the table of vmm/base/probes.h, the program's notes, docs/tracing.md and scripts/trace say the same."""
import os
import re
import shutil
import signal
import subprocess

from case import only_minivmm
from moves import Way, arrived, destination, machine
from vmm import PROGRAMS, ROOT

TRACE = os.path.join(ROOT, "scripts", "trace")
SCRIPTS = sorted(name for name in os.listdir(TRACE) if name.endswith(".bt"))
# What the kernel or this user may not have, in bpftrace's own words, before it traces anything.
CANNOT = re.compile(r"only supports running as the root|Operation not permitted|ermission denied|"
                    r"not supported|o such file or directory: /sys|failed to create perf")


def table():
    """{name: number of arguments} of the header."""
    with open(os.path.join(ROOT, "vmm", "base", "probes.h"), encoding="ascii") as f:
        rows = re.findall(r"\bP\((\w+), (\d), \"", f.read())
    assert len(rows) == len(dict(rows)) > 10, rows
    return {name: int(n) for name, n in rows}


def notes():
    """{name: {numbers of arguments}} of the program's file."""
    said = subprocess.run(["readelf", "-n", "-W", PROGRAMS["minivmm"]["path"]], capture_output=True, text=True,
                          check=True).stdout
    found = {}
    for name, args in re.findall(r"Provider: minivmm\n\s*Name: (\w+)\n.*\n\s*Arguments:(.*)", said):
        found.setdefault(name, set()).add(len(args.split()))
    return found


@only_minivmm("the probes are ours")
def test_notes(t):
    t.need("minivmm", "readelf")
    found = notes()
    if not found:
        with open(os.devnull, "rb") as empty:
            has = subprocess.run(["cc", "-E", "-include", "sys/sdt.h", "-xc", "-"], stdin=empty, capture_output=True,
                                 check=False).returncode == 0
        assert not has, "sys/sdt.h is there, and the program has no probe"
        t.skip("built without sys/sdt.h (scripts/setup installs it)")
    assert found == {name: {n} for name, n in table().items()}


@only_minivmm("the probes are ours")
def test_scripts_and_docs(_t):
    """Each script names probes that there are, and arguments that they have; the page has every row."""
    rows = table()
    assert SCRIPTS
    for script in SCRIPTS:
        with open(os.path.join(TRACE, script), encoding="ascii") as f:
            text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
        blocks = re.findall(r"^(?:usdt:\$1:minivmm:(\w+)|BEGIN|END)\b((?:\n/.*/)?\s*\{.*?\}$|\n\{.*?^\})", text,
                            re.M | re.S)
        assert [name for name, _ in blocks if name] == re.findall(r"minivmm:(\w+)", text), (script, blocks)
        for name, body in blocks:
            used = [int(n) for n in re.findall(r"\barg(\d)", body)]
            assert not name or name in rows, f"{script}: there is no probe {name}"
            assert all(n < rows.get(name, 0) for n in used), f"{script}: {name} has no arg{max(used)}"
    with open(os.path.join(ROOT, "docs", "tracing.md"), encoding="utf-8") as f:
        page = f.read()
    listed = {name: len([a for a in args.split(", ") if a != "-"])
              for name, args in re.findall(r"^\| `(\w+)` \| ([^|]*) \|", page, re.M)}
    assert listed == rows
    assert all(f"`scripts/trace/{script}`" in page for script in SCRIPTS), SCRIPTS


def start(script):
    """bpftrace once it traces, or why it cannot."""
    p = subprocess.Popen(["bpftrace", os.path.join(TRACE, script), PROGRAMS["minivmm"]["path"]],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = ""
    for line in p.stdout:       # BEGIN comes when all probes are attached
        said += line
        if re.match(r"tracing|MS |\s*US ", line):
            return p, None
    p.wait()
    assert CANNOT.search(said), said
    return None, said.strip().splitlines()[-1]


def end(p):
    p.send_signal(signal.SIGINT)
    said = p.stdout.read()
    assert p.wait() == 0, said
    return said


@only_minivmm("the probes are ours")
def test_bpftrace(t):
    """All scripts at once look at one move."""
    t.need("minivmm")
    if not shutil.which("bpftrace"):
        t.skip("no bpftrace (scripts/setup trace installs it)")
    if not notes():
        t.skip("built without sys/sdt.h (scripts/setup installs it)")
    source = machine(t)
    running, said = {}, {}
    try:
        for script in SCRIPTS:
            running[script], why = start(script)
            if why:
                t.skip(f"bpftrace cannot trace here: {why}")
        way = Way(t, "unix")
        dest = destination(t, source, way.incoming())
        way.start(source, dest)
        arrived(source, dest)
    finally:
        said = {script: end(p) for script, p in running.items() if p}
    for script, words in {
            "exits.bt": r"@exits\[0, \d+\]: \d+",
            "passes.bt": r"\n\d+ +1 +\d+ +\d+ +\d+\n",
            "switchover.bt": rf"begins, \d+ pages to go\n(.*\n)* *\d+ {source.pid} +released\n(.*\n)*"
                             rf" *\d+ {source.pid} +ends: 0\n",
            "faults.bt": "@faults: 0 read",
    }.items():
        assert re.search(words, said[script]), (script, said[script])
    assert set(said) == set(SCRIPTS)
