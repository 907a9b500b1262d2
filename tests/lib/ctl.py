"""Machines with a monitor for minivmm-ctl, and runs of it."""
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import socket
import struct
import subprocess
import termios
import threading

from qmp import GUARD, Hang
from vmm import BUILD

PROGRAM = os.environ.get("MINIVMM_CTL", os.path.join(BUILD, "minivmm-ctl"))


def machine(t, guest="counter", append="", **options):
    """t.vmm() with a second monitor at .ctl, which nobody holds."""
    t.ctl_count = getattr(t, "ctl_count", 0) + 1
    path = t.path(f"ctl{t.ctl_count}")
    extra = [*options.pop("extra", ()), "-qmp", f"unix:{path},server=on,wait=off"]
    options.setdefault("backend", "tmpfs")      # page faults of others can be resolved there
    vm = t.vmm(guest, append, extra=extra, **options)
    vm.capabilities("events")
    vm.ctl = path
    if "incoming" not in options and not options.get("paused"):
        vm.serial.expect("counting on|idle")
    return vm


class Done:
    """How a run has ended."""

    def __init__(self, argv, status, out, err):
        self.argv, self.status, self.text, self.said = argv, status, out, err.strip()
        self.out = out.splitlines()

    def json(self):
        return [json.loads(line) for line in self.out]

    def __repr__(self):
        return f"{' '.join(self.argv)}: {self.status}\n{self.text}{self.said}"


def percents(lines):
    return [int(m[1]) for line in lines if (m := re.search(r"(\d+) %", line))]


def environment(t):
    """Entries of other tests are not seen, and this one's are its own."""
    return dict(os.environ, XDG_RUNTIME_DIR=t.tmp)


def run(t, vm, *words, stdin=subprocess.DEVNULL, user=None):
    """minivmm-ctl with these words, at that machine's monitor (a path, or None: none is named)."""
    where = ["-s", vm if isinstance(vm, str) else vm.ctl] if vm else []
    argv = [PROGRAM, *where, *words]
    p = subprocess.run(argv, env=environment(t), stdin=stdin, capture_output=True, text=True, timeout=GUARD, check=False,
                       user=user)
    return Done(argv[1:], p.returncode, p.stdout, p.stderr)


class Terminal:
    """A run on a terminal of its own: what it draws, and keys."""

    def __init__(self, t, vm, *words, columns=100):
        self.text = ""
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen([PROGRAM, "-s", vm.ctl, *words], env=environment(t), stdin=slave, stdout=slave,
                                        stderr=slave, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        t._others.append(self)      # pylint: disable=protected-access

    def _read(self):
        """More of what is drawn; False at the end."""
        if not select.select([self.master], [], [], GUARD)[0]:
            raise Hang(f"nothing is drawn any more: {self.text[-500:]!r}")
        try:
            part = os.read(self.master, 65536)
        except OSError:             # the other side of a terminal is gone
            part = b""
        self.text += part.decode()
        return bool(part)

    def until(self, pattern):
        while not re.search(pattern, self.text):
            assert self._read(), f"it ended without {pattern!r}: {self.text!r}"

    def type(self, keys):
        os.write(self.master, keys.encode())

    def end(self):
        """The exit status, and all that was drawn."""
        while self._read():
            pass
        return self.process.wait(GUARD)

    def lines(self):
        """Each line that was drawn in place, without what takes it away."""
        return [line for part in re.split(r"\x1b\[K", self.text) if (line := part.split("\r")[-1]).strip()]

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)


FLOOD = object()        # for answers(): events without end


class Peer:
    """A monitor that is a test: it says what it is told to, and nothing else."""

    GREETING = b'{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}\r\n'

    def __init__(self, t, serve):
        """serve(connection) is run on a thread, once."""
        self.ctl = t.path(f"peer{len(os.listdir(t.tmp))}")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.ctl)
        self.listener.listen(1)
        self.thread = threading.Thread(target=self._run, args=(serve,), daemon=True)
        self.thread.start()

    @staticmethod
    def hold(t, path):
        """The one client that a monitor takes."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(path)
        sock.settimeout(GUARD)
        assert sock.recv(65536).startswith(b'{"QMP"')
        t._others.append(sock)      # pylint: disable=protected-access
        return sock

    def _run(self, serve):
        connection, _ = self.listener.accept()
        with connection, contextlib.suppress(OSError):
            serve(connection)


def answers(answer):
    """For Peer: greets, and answers each command with answer(name, arguments): bytes, a value, None (silence) or "die"."""
    def serve(connection):
        connection.sendall(Peer.GREETING)
        for line in connection.makefile("rb"):
            request = json.loads(line)
            name = request["execute"]
            reply = {} if name == "qmp_capabilities" else answer(name, request.get("arguments"))
            if reply == "die":
                return
            while reply is FLOOD:
                connection.sendall(b'{"event": "STOP"}' * 1000)
            if isinstance(reply, bytes):
                connection.sendall(reply)
            elif reply is not None:
                connection.sendall(json.dumps({"return": reply, "id": request["id"]}).encode() + b"\r\n")
    return serve
