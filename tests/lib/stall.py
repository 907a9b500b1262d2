"""A disk that stops answering, and answers again, when a test says so (stall.c)."""
import fcntl
import os
import select

from qmp import GUARD, Hang
from vmm import PROGRAMS

PROGRAM = os.path.join(os.path.dirname(PROGRAMS["minivmm"]["path"]), "tests", "minivmm-stall")


class Disk:
    """io: reads and writes; flush: flushes. What it stalls is held from stall() to release()."""

    def __init__(self, t, path=None):
        self.path = path or t.disk()
        self.gate = self.path + ".gate"
        os.mkfifo(self.gate + ".told")
        self.told = os.open(self.gate + ".told", os.O_RDWR | os.O_NONBLOCK)
        self.locks = {}
        for which in ("io", "flush"):
            self.locks[which] = os.open(f"{self.gate}.{which}", os.O_RDWR | os.O_CREAT, 0o600)

    def prefix(self):
        """The command in front of a machine: another program takes the place of minivmm."""
        return ("sh", "-c", f"shift; STALL_DISK={self.path} STALL_GATE={self.gate} exec {PROGRAM} \"$@\"",
                "sh")

    def stall(self, which):
        fcntl.flock(self.locks[which], fcntl.LOCK_EX)

    def wait_stalled(self, which=None):
        """Until a system call waits at that gate; None: at any."""
        told = b""
        while not told or (which and which[0].encode() not in told):
            if not select.select([self.told], [], [], GUARD)[0]:
                raise Hang("nothing is asked of the disk")
            told = os.read(self.told, 4096)

    def release(self, *which):
        for gate in which or self.locks:
            fcntl.flock(self.locks[gate], fcntl.LOCK_UN)
