"""Live migration peer to peer between two hosts of one libvirt, with each way that virsh has for it."""
import re

from libvirt import VERSIONS, operation, versions
from libvirt_moves import arrived, command, two_hosts
from qmp import GUARD

# name: (what virsh is told, what the emulator has to have been told, the first version of libvirt that has it)
WAYS = {
    "plain": ([], None, "9.0"),
    "auto-converge": (["--auto-converge"], '"capability":"auto-converge","state":true', "9.0"),
    "xbzrle": (["--compressed", "--comp-methods", "xbzrle"], '"capability":"xbzrle","state":true', "9.0"),
    "parallel": (["--parallel", "--parallel-connections", "2"], '"capability":"multifd","state":true', "9.0"),
    "zstd": (["--parallel", "--compressed", "--comp-methods", "zstd"], '"multifd-compression":"zstd"', "11.3"),
    "bandwidth": (["--bandwidth", "200"], '"max-bandwidth":209715200', "9.0"),
    "postcopy-after-precopy": (["--postcopy", "--postcopy-after-precopy"],
                               '"capability":"postcopy-ram","state":true', "9.0"),
}


def has(version, least):
    return VERSIONS.index(version) >= VERSIONS.index(least)


def asked(host, text):
    return text in host.text("libvirtd.log").replace(" ", "").replace('\\"', '"')


def figures(text):
    return {k.strip(): v.strip() for k, v in re.findall(r"^([\w ]+):\s+(.*)$", text, re.MULTILINE)}


def move(source, dest, way):
    options, text, _ = WAYS[way]
    before = source.report(source.serial())[0]
    source.virsh(*command(source, dest, *options))
    now = arrived(source, dest, before)
    assert text is None or asked(source, text), f"the source was not told {text}"
    return now


@versions()
def test_ways(t, version):
    """There and back, each way after the other, without a new start."""
    here, there = two_hosts(t, version)
    for way, (options, _, least) in WAYS.items():
        if not has(version, least):
            continue
        with operation(here, " ".join(["migrate --live --p2p", *options])):
            move(here, there, way)
        here, there = there, here


def sending(host, job):
    """Waits until pages are on their way; what domjobinfo says then."""
    while True:
        assert job.poll() is None, job.stdout.read()
        said = figures(host.virsh("domjobinfo", "mv"))
        if said.get("Operation") == "Outgoing migration" and float(said.get("Memory processed", "0").split()[0]) > 0:
            return said


def ended(job):
    """Its exit status and what it has said."""
    said, _ = job.communicate(timeout=GUARD)
    return job.returncode, said


@versions()
def test_figures(t, version):
    """domjobinfo while it moves and after it, setting the speed, domjobabort; then --postcopy by hand."""
    alpha, beta = two_hosts(t, version)
    before = alpha.report(alpha.serial())[0]
    with operation(alpha, "domjobinfo"):
        job = alpha.start_virsh(*command(alpha, beta, "--bandwidth", "1"))
        said = sending(alpha, job)
        assert said["Memory total"].startswith("32."), said
        assert "Expected downtime" in said and said["Iteration"] == "1", said
    with operation(alpha, "domjobabort"):
        alpha.virsh("domjobabort", "mv")
        status, said = ended(job)
        assert status != 0 and "cancel" in said, said
        assert alpha.state() == "running"
        assert alpha.report(alpha.serial())[0]["errors"] == 0
        assert "mv" not in beta.virsh("list", "--all", "--name").split()
    with operation(alpha, "migrate-setspeed", "domjobinfo --completed"):
        job = alpha.start_virsh(*command(alpha, beta, "--bandwidth", "1"))
        sending(alpha, job)
        alpha.virsh("migrate-setspeed", "mv", "1000")
        assert ended(job)[0] == 0
        before = arrived(alpha, beta, before)
        said = figures(beta.virsh("domjobinfo", "mv", "--completed"))
        assert said["Operation"] in ("Incoming migration", "Outgoing migration"), said
        assert re.match(r"\d+ +ms", said["Total downtime"]) and said["Data processed"] != "0.000 B", said
    with operation(beta, "migrate --postcopy, migrate-postcopy"):
        job = beta.start_virsh(*command(beta, alpha, "--postcopy", "--bandwidth", "1"))
        sending(beta, job)
        beta.virsh("migrate-postcopy", "mv")
        assert ended(job)[0] == 0
        arrived(beta, alpha, before)
