"""scripts/two-hosts: two network namespaces, a libvirt in each, and moves between them over TCP."""
import os
import subprocess

from case import table
from qmp import GUARD
from vmm import ROOT


def two_hosts(t, *options):
    t.need("root", "kvm", "ip", "tc")
    done = subprocess.run([os.path.join(ROOT, "scripts", "two-hosts"), *options], capture_output=True, text=True,
                          check=False, timeout=3 * GUARD)
    print(done.stdout, done.stderr)
    if "netem" in done.stderr and "qdisc kind is unknown" in done.stderr:
        t.skip("no sch_netem in this kernel")
    return done


@table(plain={"options": ()}, delay={"options": ("--delay", "20")}, loss={"options": ("--delay", "5", "--loss", "2")})
def test_moves(t, options):
    """There and back, as the script has it; over a wire that is slow or loses packets where the kernel has one."""
    done = two_hosts(t, *options)
    assert done.returncode == 0, "the script has failed"
    for host in ("beta", "alpha"):
        assert f"the guest runs on {host}: " in done.stdout, f"no guest on {host}"
