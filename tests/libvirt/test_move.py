"""Live migration peer to peer between two hosts of one libvirt, with each way that virsh has for it."""
import os
import re
import shutil

import tls
from libvirt import VERSIONS, Refused, operation, versions
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


def certificates(t, *hosts):
    """What libvirt gives to both ends: /etc/pki/qemu of each host, of one authority."""
    t.need("openssl")
    authority = tls.Authority(t.path("ca"))
    for host in hosts:
        folder = os.path.join(host.own, "etc", "pki", "qemu")
        os.makedirs(folder)
        for end in ("server", "client"):
            made = authority.credentials(t.path(f"{host.name}-{end}"), end, names=f"DNS:{host.name}")
            for name in ("ca-cert", f"{end}-cert", f"{end}-key"):
                shutil.copy(os.path.join(made, name + ".pem"), folder)


@versions()
def test_tls(t, version):
    """--tls, one connection and several; and a destination that has another name is refused, with the guest as it was."""
    alpha, beta = two_hosts(t, version)
    certificates(t, alpha, beta)
    before = alpha.report(alpha.serial())[0]
    with operation(alpha, "migrate --live --p2p --tls"):
        alpha.virsh(*command(alpha, beta, "--tls", "--tls-destination", "beta"))
        before = arrived(alpha, beta, before)
        assert asked(beta, '"qom-type":"tls-creds-x509"'), "the destination has no credentials"
    with operation(alpha, "migrate --live --p2p --tls --parallel"):
        beta.virsh(*command(beta, alpha, "--parallel", "--tls", "--tls-destination", "alpha"))
        before = arrived(beta, alpha, before)
    try:
        alpha.virsh(*command(alpha, beta, "--tls", "--tls-destination", "gamma"))
    except Refused as e:
        assert "gamma" in str(e) or "certificate" in str(e), e
    else:
        raise AssertionError("a destination with another name was trusted")
    assert alpha.state() == "running" and alpha.report(alpha.serial())[0]["errors"] == 0


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
        assert re.match(r"[1-9]\d* +ms", said["Total downtime"]) and said["Memory remaining"] == "0.000 B", said
        assert said["Memory total"].startswith("32.") and int(said["Normal pages"]) >= 1000, said
    with operation(beta, "migrate --postcopy, migrate-postcopy"):
        job = beta.start_virsh(*command(beta, alpha, "--postcopy", "--bandwidth", "1"))
        sending(beta, job)
        beta.virsh("migrate-postcopy", "mv")
        assert ended(job)[0] == 0
        arrived(beta, alpha, before)
