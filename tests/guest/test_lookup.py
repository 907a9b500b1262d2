"""A name server that does not answer holds up nothing."""
import socket
import subprocess

from case import Skip, only_minivmm
from moves import goes_on, machine
from qmp import GUARD

PRIVATE = ("unshare", "-m", "sh", "-c", "mount --bind {conf} /etc/resolv.conf && exec \"$@\"", "sh")


def silent_server(t):
    """One that takes questions, and the command in front of a program that asks it only."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.settimeout(GUARD)
    server.bind(("127.77.53.1", 53))
    conf = t.path("resolv.conf")
    with open(conf, "w", encoding="ascii") as f:
        f.write("nameserver 127.77.53.1\noptions timeout:30 attempts:5\n")
    return server, [word.format(conf=conf) for word in PRIVATE]


@only_minivmm("QEMU looks names up in its main loop")
def test_silent_name_server(t):
    """The monitor answers, the guest runs, a cancelled move is cancelled, the program ends."""
    t.need("root", "unshare")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        raise Skip("no mount namespaces")
    server, prefix = silent_server(t)
    source = machine(t, prefix=prefix)
    source.cmd("migrate", uri="tcp:far.example:1")
    server.recvfrom(4096)           # the question: it is under way
    assert source.migration()["status"] == "setup"
    goes_on(source)
    source.cmd("migrate_cancel")
    source.wait_migration("cancelled")
    goes_on(source)
    source.cmd("migrate", uri="tcp:farther.example:1")
    source.cmd("quit")
    assert source.wait() == 0
    server.close()
