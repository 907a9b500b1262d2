"""A terminal on 'virsh console'."""
import os
import select

from qmp import GUARD


def read_until(fd, wanted):
    said = b""
    while wanted not in said:
        ready, _, _ = select.select([fd], [], [], GUARD)
        assert ready, f"no {wanted!r} on the console: {said!r}"
        said += os.read(fd, 4096)
    return said


def type_at_console(host, name="mv"):
    """What is typed reaches the guest, its answer the terminal, and Ctrl-] leaves it."""
    pid, fd = os.forkpty()
    if pid == 0:
        argv = host.inside("virsh", "-c", host.uri, "console", name)
        os.execvp(argv[0], argv)
    try:
        read_until(fd, b"Escape character")
        os.write(fd, b"r")
        said = read_until(fd, b"R end")
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
