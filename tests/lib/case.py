"""What a test function gets and what may be written above it.

    @table(tcp={"scheme": "tcp"}, unix={"scheme": "unix"})
    def test_move(t, scheme):
        source = t.vmm("counter", "pages=100")

A test is a function test_NAME(t, ...); with a table it is run once per row. It passes when it
returns, fails when it raises, and is skipped when it calls t.skip(reason).
"""
import os
import shutil
import subprocess
import tempfile

from pairwise import choose
from proxy import EchoNet, Proxy
from tap import TapEcho
from terminal import Terminal
from vmm import BUILD, PROGRAMS, Vmm, guest_path

PACKAGES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts", "packages")


class Skip(Exception):
    pass


def table(**rows):
    """Runs the test once per row; the row's members are its arguments."""
    def mark(function):
        function.rows = rows
        return function
    return mark


def pairwise(function):
    """Of the table below only a choice runs that has every two settings together (pairwise.py); --every: all rows."""
    function.chosen = frozenset(choose(function.rows))
    return function


def only_minivmm(reason):
    """The test asks for what QEMU 7.2 does not do; it is skipped with --kind qemu."""
    def mark(function):
        function.only_minivmm = reason
        return function
    return mark


class Mount:
    """A tmpfs, or another file system in memory, until close()."""

    def __init__(self, path, options, kind="tmpfs"):
        self.path = path
        os.mkdir(path)
        done = subprocess.run(["mount", "-t", kind, "-o", options, "none", path],
                              capture_output=True, text=True, check=False)
        self.error = done.stderr if done.returncode else None

    def close(self):
        subprocess.run(["umount", "-l", self.path], check=True)


def declared_programs():
    """What the tests may need, as scripts/packages has it: so that set-up brings it."""
    with open(PACKAGES, encoding="ascii") as f:
        rows = [line.split() for line in f if not line.startswith("#")]
    return {word for row in rows if row[0] in ("check", "guest", "lab", "look") for word in row[2].split(",")}


class Test:
    """One run of one test function: its scratch directory, its machines, what it must undo."""

    def __init__(self, kind):
        self.kind = kind
        self.tmp = tempfile.mkdtemp(prefix="mv", dir="/tmp")   # socket paths must stay short
        self._machines = []
        self._others = []
        self._count = 0

    def skip(self, reason):
        raise Skip(reason)

    def need_direct_io(self, path):
        """Skips where the file system of that file has no O_DIRECT."""
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
        except OSError as e:
            self.skip(f"no O_DIRECT in {os.path.dirname(os.path.dirname(path))}: {e.strerror}")

    def need(self, *what):
        """Skips unless the machine has all of: kvm, qemu, minivmm, root, or a program by name."""
        for w in what:
            reason = self._lacks(w)
            if reason:
                self.skip(reason)

    def _lacks(self, what):
        if what == "kvm":
            return None if os.access("/dev/kvm", os.R_OK | os.W_OK) else "no usable /dev/kvm"
        if what == "root":
            return None if os.geteuid() == 0 else "not root"
        if what in PROGRAMS:
            path = PROGRAMS[what]["path"]
            return None if os.access(path, os.X_OK) else f"no {path}"
        if what not in declared_programs():
            raise AssertionError(f"scripts/packages does not say which package has {what}")
        return None if shutil.which(what) else f"no {what} (scripts/setup installs it)"

    def path(self, name):
        return os.path.join(self.tmp, name)

    def vmm(self, guest="counter", append="", kind=None, **options):
        """Starts a machine of the kind under test (or another); it is killed when the test ends."""
        kind = kind or self.kind
        self.need("kvm", kind)
        if not os.path.exists(guest_path(guest)):
            raise AssertionError(f"{guest_path(guest)} is missing: run 'make guests'")
        self._count += 1
        options.setdefault("name", f"vm{self._count}")
        machine = Vmm(kind, self.tmp, guest, append, **options)
        self._machines.append(machine)
        return machine

    def proxy(self, target, harm=None, keep=False):
        self._count += 1
        proxy = Proxy(self.path(f"proxy{self._count}"), target, harm, keep)
        self._others.append(proxy)
        return proxy

    def terminal(self, argv, env=None, columns=200):
        """A program on a terminal (terminal.py)."""
        terminal = Terminal(argv, env, columns)
        self._others.append(terminal)
        return terminal

    def net(self):
        self._count += 1
        echo = EchoNet(self.path(f"net{self._count}"))
        self._others.append(echo)
        return echo

    def tap(self):
        """A tap whose host echoes frames; needs root and /dev/net/tun."""
        self.need("root")
        echo = TapEcho()
        if echo.error:
            self.skip(f"no tap: {echo.error}")
        self._others.append(echo)
        return echo

    def disk(self, megabytes=1):
        self._count += 1
        path = self.path(f"disk{self._count}.raw")
        with open(path, "wb") as f:
            f.truncate(megabytes << 20)
        return path

    def qcow2(self, size="1M", backing=None, **options):
        """A qcow2 image as qemu-img makes it; backing=(path, format)."""
        self.need("qemu-img")
        self._count += 1
        path = self.path(f"disk{self._count}.qcow2")
        more = ["-b", backing[0], "-F", backing[1]] if backing else []
        o = ",".join(f"{k}={v}" for k, v in options.items())
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *more, *(["-o", o] if o else []), path, str(size)],
                       check=True, timeout=60)
        return path

    def tmpfs(self, kilobytes):
        """A directory with so much room and no more; needs root and the right to mount."""
        return self._mount(f"size={kilobytes}k", "tmpfs")

    def ramfs(self):
        """A directory whose files are mapped as those of a disk are, and not as memory; likewise."""
        return self._mount("mode=700", "ramfs")

    def _mount(self, options, kind):
        self.need("root", "mount")
        self._count += 1
        mount = Mount(self.path(f"{kind}{self._count}"), options, kind)
        if mount.error:
            self.skip(f"no right to mount: {mount.error}")
        self._others.append(mount)
        return mount.path

    def forget(self, machine):
        """Ends a machine that the test no longer needs."""
        machine.close()
        self._machines.remove(machine)

    def drop(self, other):
        """Ends a proxy that the test no longer needs."""
        other.close()
        self._others.remove(other)

    def explain(self):
        """After a failure: what the machines said."""
        for m in self._machines:
            state = "running" if m.alive() else f"ended with {m.process.returncode}"
            print(f"---- {m.name} ({m.kind}, pid {m.pid}, {state})")
            print("     " + " ".join(m.argv))
            print("stderr: " + m.stderr()[-3000:])
            print("serial: " + m.serial.seen[-2000:])
        for other in self._others:
            if hasattr(other, "explain"):
                other.explain()

    def close(self):
        for m in self._machines:
            m.close()
        for o in self._others:
            o.close()
        shutil.rmtree(self.tmp, ignore_errors=True)


__all__ = ["BUILD", "Skip", "Test", "only_minivmm", "pairwise", "table"]
