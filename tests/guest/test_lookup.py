"""A name server that does not answer holds up nothing."""
import os
import signal
import socket
import subprocess

from case import Skip, only_minivmm, table
from moves import goes_on, machine
from qmp import GUARD
from vmm import PROGRAMS, guest_path

PRIVATE = ("unshare", "-m", "sh", "-c", "mount --bind {conf} /etc/resolv.conf && exec \"$@\"", "sh")


def silent_server(t):
    """One that takes questions, and the command in front of a program that asks it only."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.settimeout(GUARD)
    address = f"127.77.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"     # several may run
    server.bind((address, 53))
    conf = t.path("resolv.conf")
    with open(conf, "w", encoding="ascii") as f:
        f.write(f"nameserver {address}\noptions timeout:30 attempts:5\n")
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


@only_minivmm("QEMU dies of the signal, and leaves its sockets")
@table(chardev={"option": ["-chardev", "socket,id=c,host=far.example,port=1"]},
       netdev={"option": ["-netdev", "stream,id=n,server=off,addr.type=inet,addr.host=far.example,addr.port=1"]})
def test_signal_while_a_name_is_looked_up(t, option):
    """Before the guest runs: the program ends at once, and removes its sockets."""
    t.need("root", "unshare", "kvm", "minivmm")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        raise Skip("no mount namespaces")
    server, prefix = silent_server(t)
    path = t.path("qmp")
    argv = prefix + [PROGRAMS["minivmm"]["path"], "-cpu", "qemu64", "-nodefaults", "-kernel", guest_path("idle"),
                     "-qmp", f"unix:{path},server=on,wait=off", *option]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        server.recvfrom(4096)
        assert os.path.exists(path)
        process.send_signal(signal.SIGTERM)
        words = process.communicate(timeout=GUARD)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1 and "ended by signal 15 while" in words and "looks its host up" in words, words
    assert not os.path.exists(path)


@only_minivmm("QEMU has one thread for both")
def test_look_up_of_listener(t):
    """The name that a destination listens at is looked up beside the monitor, not by it."""
    t.need("root", "unshare")
    server, prefix = silent_server(t)
    dest = t.vmm("idle", incoming="defer", prefix=prefix)
    dest.cmd("migrate-incoming", uri="tcp:far.example:0")
    server.recvfrom(4096)           # the question: it is under way
    assert dest.status() == "inmigrate"
    dest.cmd("quit")
    assert dest.wait() == 0
    server.close()


@only_minivmm("QEMU has one thread for both")
def test_look_ups_and_disk(t):
    """Many look-ups without an answer leave a disk with aio=threads its threads."""
    t.need("root", "unshare")
    server, prefix = silent_server(t)
    vm = t.vmm("devices", "only=blk", paused=True, prefix=prefix, extra=(
        "-drive", f"file={t.disk()},format=raw,if=none,id=d,aio=threads",
        "-device", "virtio-blk-device,drive=d"))
    vm.capabilities("events")
    for _ in range(6):      # libuv's pool has four threads
        vm.cmd("migrate", uri="tcp:far.example:1")
        server.recvfrom(4096)
        vm.cmd("migrate_cancel")
        vm.wait_migration("cancelled")
    vm.cmd("cont")
    vm.serial.expect("ok blk")
    server.close()
