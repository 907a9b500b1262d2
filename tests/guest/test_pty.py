"""A serial port on a pseudoterminal."""
import os
import select
import tty

import ram
from case import only_minivmm
from qmp import GUARD


def terminal(vm):
    """The program's terminal, opened."""
    chardev, = [c for c in vm.cmd("query-chardev") if c["label"] == "line"]
    kind, path = chardev["filename"].split(":")
    assert kind == "pty", chardev
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(fd)
    return fd


def answer(fd):
    os.write(fd, b"r")
    said = b""
    while b"R end" not in said:
        assert select.select([fd], [], [], GUARD)[0], f"no answer: {said!r}"
        said += os.read(fd, 4096)
    return said


def machine(t):
    vm = t.vmm("counter", "pages=100 rate=2000", serial=False,
               extra=["-chardev", "pty,id=line", "-serial", "chardev:line"])
    fd = terminal(vm)
    answer(fd)
    os.close(fd)
    return vm


@only_minivmm("it is about minivmm's terminal")
def test_opened_again(t):
    """Each program that opens it is answered; what the guest says in between is lost, and it waits for nobody."""
    vm = machine(t)
    for _ in range(3):
        fd = terminal(vm)
        assert b"R cpu=0" in answer(fd)
        os.close(fd)
        now = ram.status(vm)["generation"]
        while ram.status(vm)["generation"] < now + 2:
            pass


@only_minivmm("it is about minivmm's terminal")
def test_nobody_reads(t):
    """A program that does not read stops the guest's output, and with it the guest; when it leaves the guest goes on."""
    vm = machine(t)
    fd = terminal(vm)
    for _ in range(200):
        os.write(fd, b"r")
    os.close(fd)
    now = ram.status(vm)["generation"]
    while ram.status(vm)["generation"] < now + 2:
        pass
    fd = terminal(vm)
    assert b"R end" in answer(fd)
    os.close(fd)
