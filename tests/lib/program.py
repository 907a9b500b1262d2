"""A minivmm with a command line of the test's own."""
import os
import subprocess
import time

from qmp import GUARD, Closed, Hang, Qmp
from vmm import PROGRAMS, guest_path


def argv(*more, guest="idle"):
    kernel = ["-kernel", guest_path(guest)] if guest else []
    return [PROGRAMS["minivmm"]["path"], "-cpu", "qemu64", "-m", "24M", "-nodefaults", *kernel, *more]


def monitor(t, name="qmp", wait="off"):
    return ["-qmp", f"unix:{t.path(name)},server=on,wait={wait}"]


def start(t, args, **how):
    """A process of the test's own, killed at its end."""
    t.need("kvm")
    how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **how}
    process = subprocess.Popen(args, **how)

    class Ends:
        @staticmethod
        def close():
            if process.poll() is None:
                process.kill()
            process.wait()
    t._others.append(Ends)      # pylint: disable=protected-access
    return process


def connect(path, process=None):
    """A monitor as soon as it listens."""
    deadline = time.monotonic() + GUARD
    while True:
        try:
            return Qmp.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            if process and process.poll() is not None:
                raise Closed(f"it ended with {process.returncode}") from None
            if time.monotonic() > deadline:
                raise Hang(f"there is no listener on {path}") from None
            os.sched_yield()
