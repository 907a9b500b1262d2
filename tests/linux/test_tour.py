"""The README's tour: its commands, as they are printed there, typed into three terminals."""
import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import termios
import threading
import time

from case import BUILD, only_minivmm

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
PROMPT = r"\[(\d+)\] tour\$ "       # with the status of what has ended
BEAT = re.compile(r"^T (\d+) up=.*? err=(\d+)\r*$", re.M)      # a terminal adds a CR of its own
OF_MAKE = ("BUILD", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL")    # a new user's shell has none of them
GUARD = float(os.environ.get("GUARD", "240"))


class Terminal:
    """A shell on a terminal of its own, and all that was shown there."""

    def __init__(self, name):
        self.name = name
        self.shown = ""
        self.typed_at = 0       # what was shown before belongs to an earlier command
        self.ended = False      # nobody has the terminal open any more
        self.news = threading.Condition()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            self._become_shell()
        threading.Thread(target=self._listen, daemon=True).start()

    @staticmethod
    def _become_shell():
        mode = termios.tcgetattr(0)
        mode[3] &= ~termios.ECHO    # what is typed is not what is shown
        termios.tcsetattr(0, termios.TCSANOW, mode)
        os.chdir(TOP)
        env = os.environ | {"PS1": "[$?] tour$ ", "TERM": "dumb"}
        for name in OF_MAKE:
            env.pop(name, None)
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"], env)

    def _listen(self):
        data = b""
        try:
            while data := os.read(self.fd, 4096):
                self._add(data)
        except OSError:
            pass    # all that had the terminal open have ended
        with self.news:
            self.ended = True
            self.news.notify_all()

    def _add(self, data):
        with self.news:
            self.shown += data.decode("utf-8", "replace")
            self.news.notify_all()

    def type(self, line):
        with self.news:
            self.typed_at = len(self.shown)
        os.write(self.fd, line.encode() + b"\n")

    def until(self, pattern, since):
        """The match in a line that is shown behind 'since', once it is there."""
        wanted, line = re.compile(pattern), since
        deadline = time.monotonic() + GUARD
        with self.news:
            while not (match := wanted.search(self.shown, line)):
                line = max(line, self.shown.rfind("\n") + 1)    # the ones before it need no second look
                left = deadline - time.monotonic()
                assert not self.ended and left > 0, \
                    f"terminal {self.name} does not show {pattern!r} but {self.shown[since:][-2000:]}"
                self.news.wait(left)
            return match

    def free(self):
        """Waits for the shell: what was typed last has ended, and well."""
        status = self.until(PROMPT, self.typed_at)[1]
        assert status == "0", f"terminal {self.name}: status {status}: {self.shown[-2000:]}"

    def run(self, commands, until):
        """One after the other; the last one may run on, once the terminal shows what it shall."""
        self.free()
        begin = len(self.shown)
        for command in commands:
            self.free()
            self.type(command)
        if not until:
            self.free()
        elif not re.search(until, self.shown[begin:]):
            found = self.until(f"(?:{until})|{PROMPT}", self.typed_at)
            assert re.search(until, found[0]), f"terminal {self.name}: it ended: {self.shown[begin:]}"

    def beats(self):
        return [int(n) for n, _ in BEAT.findall(self.shown)]

    def close(self):
        """Ends what runs there, and the shell, which may have the terminal back or not."""
        try:
            os.killpg(os.tcgetpgrp(self.fd), signal.SIGKILL)
        except OSError:
            pass            # it has ended by itself
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


class Tour:
    """The terminals of the tour; closed like the other things of a test."""

    def __init__(self, test):
        self.terminals = {name: Terminal(name) for name in ("1", "2", "3")}
        self.paths = set()      # of the sockets and the file that the commands make
        test._others.append(self)       # pylint: disable=protected-access

    def close(self):
        for terminal in self.terminals.values():
            terminal.close()
        for path in self.paths:
            pathlib.Path(path).unlink(missing_ok=True)

    def take(self, step):
        begin = time.monotonic()
        self.paths.update(re.findall(r"(?:unix|file):(/tmp/\w+)", " ".join(step["commands"])))
        for name in self.terminals if step["terminal"] == "all" else [step["terminal"]]:
            self.terminals[name].run(step["commands"], step["until"])
        print(f"{time.monotonic() - begin:.1f} s in terminal {step['terminal']}: {step['commands']}", flush=True)


@only_minivmm("the tour is of minivmm")
def test_readme(t):
    t.need("root", "kvm")
    if os.path.realpath(BUILD) != os.path.join(TOP, "build"):
        t.skip(f"the tour makes and runs build/minivmm, and BUILD is {BUILD}")
    steps = json.loads(subprocess.run([os.path.join(TOP, "scripts", "tour"), "--list"], check=True,
                                      stdout=subprocess.PIPE, timeout=GUARD).stdout)
    tour = Tour(t)
    one, two, three = (tour.terminals[name] for name in ("1", "2", "3"))
    for step in steps:
        tour.take(step)
    assert len(re.findall(r"^.*(?:moved|saved) to \S+: the guest stood still for ", three.shown, re.M)) == 2, three.shown
    beats = two.beats()
    assert one.beats() and beats and beats == sorted(set(beats)), (one.shown[-1500:], two.shown[-1500:])
    assert one.beats()[-1] <= beats[0] <= one.beats()[-1] + 2, (one.beats(), beats)
    for terminal in (one, two):
        assert all(err == "0" for _, err in BEAT.findall(terminal.shown)), terminal.shown
