"""A terminal on 'virsh console'."""
import os
import select
import time

from qmp import GUARD


AGAIN_S = 0.5   # virsh throws away what is typed before its terminal is raw, and does not say when that is


def read_until(fd, wanted, typed=None):
    """What the terminal says, up to that; 'typed' is typed until there is an answer."""
    said, deadline = b"", time.monotonic() + GUARD
    while wanted not in said:
        assert time.monotonic() < deadline, f"no {wanted!r} on the console: {said!r}"
        if select.select([fd], [], [], AGAIN_S if typed else GUARD)[0]:
            said += os.read(fd, 4096)
        elif typed:
            os.write(fd, typed)
    return said


def type_at_console(host, name="mv"):
    """What is typed reaches the guest, its answer the terminal, and Ctrl-] leaves it."""
    pid, fd = os.forkpty()
    if pid == 0:
        argv = host.inside("virsh", "-c", host.uri, "console", name)
        os.execvp(argv[0], argv)
    try:
        read_until(fd, b"Escape character")
        said = read_until(fd, b"R end", b"r")
        assert b"R ticks=" in said, said
        os.write(fd, b"\x1d")
        _, status = os.waitpid(pid, 0)
        pid = 0
        assert status == 0, status
    finally:
        if pid:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        os.close(fd)
