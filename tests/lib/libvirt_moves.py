"""Moving a domain between two hosts of libvirt."""
from libvirt import Host, domain, qcow2

COUNTER = {"guest": "smp-counter", "append": "pages=1000 rate=20000 every=64"}


def two_hosts(t, version, other=None, kinds=None, **options):
    kinds = kinds or (t.kind, t.kind)
    alpha = Host(t, "alpha", version, kinds[0])
    beta = Host(t, "beta", other or version, kinds[1])
    alpha.define(domain(disk=qcow2(t), **(COUNTER | options)))
    beta.watch()
    alpha.virsh("start", "mv")
    return alpha, beta


def command(source, dest, *options):
    """The arguments of virsh that move the domain; memory goes through a unix socket in the shared directory."""
    parallel = "--parallel" in options
    return ("migrate", "--live", "--p2p", "mv", f"qemu+unix:///system?socket=/mv/{dest.name}/libvirt-sock",
            "--migrateuri", f"unix:///mv/{dest.name}-{'p' if parallel else 'm'}.sock", "--unsafe", "--persistent",
            "--undefinesource", *options)


def arrived(source, dest, before):
    """The guest is there and not here, has not begun anew, and goes on without an error."""
    assert "mv" not in source.virsh("list", "--name").split(), source.virsh("list")
    assert dest.state() == "running", dest.state()
    serial = dest.serial()
    first = dest.report(serial)[0]
    assert first["gen"] >= before["gen"] and first["disk"] >= before["disk"], (before, first)
    now = first
    while now["gen"] <= first["gen"] or now["disk"] <= first["disk"]:
        now = dest.report(serial)[0]
    assert (now["errors"], now["disk_errors"]) == (0, 0), now
    return now
