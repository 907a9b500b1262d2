"""The domain of docs/libvirt.md, as it stands there but for its paths and its guest."""
import os
import re

from libvirt import Host, operation, qcow2, versions
from libvirt_console import type_at_console
from vmm import ROOT

PAGE = os.path.join(ROOT, "docs", "libvirt.md")
PATHS = {"/srv/vm/vmlinux": "/mv/idle.elf", "/srv/vm/disk.qcow2": "/mv/disk.qcow2", "/usr/bin/minivmm": "/own/emulator"}


def page_domain():
    with open(PAGE, encoding="utf-8") as f:
        xml, *_ = re.findall(r"^```xml\n(.*?)^```", f.read(), re.MULTILINE | re.DOTALL)
    for there, here in PATHS.items():
        assert there in xml, f"{there} is not in the page's domain"
        xml = xml.replace(there, here)
    return xml


@versions()
def test_domain(t, version):
    """It is defined, started, and answers at its console."""
    host = Host(t, "alpha", version, t.kind)
    qcow2(t)
    with operation(host, "define", "start"):
        host.define(page_domain())
        host.virsh("start", "mv")
    with operation(host, "console"):
        type_at_console(host)
