"""The README's tour: its commands, as they are printed there, typed into three terminals."""
import json
import os
import pty
import re
import signal
import subprocess
import termios
import threading
import time

from case import only_minivmm

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
PROMPT = "tour$ "
BEAT = re.compile(r"^T (\d+) up=.*? err=(\d+)\r*$", re.M)      # a terminal adds a CR of its own
GUARD = float(os.environ.get("GUARD", "240"))


def listening(path):
    with open("/proc/net/unix", encoding="utf-8") as f:
        return any(line.split()[3] == "00010000" and line.endswith(f" {path}\n") for line in f)


class Terminal:
    """A shell on a terminal of its own, and all that was shown there."""

    def __init__(self, name):
        self.name = name
        self.shown = ""
        self.from_here = 0      # what was shown before belongs to an earlier command
        self.news = threading.Condition()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            mode = termios.tcgetattr(0)
            mode[3] &= ~termios.ECHO    # what is typed is not what is shown
            termios.tcsetattr(0, termios.TCSANOW, mode)
            os.chdir(TOP)
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"],
                       os.environ | {"PS1": PROMPT, "TERM": "dumb"})
        threading.Thread(target=self._listen, daemon=True).start()
        self.until(re.escape(PROMPT))

    def _listen(self):
        try:
            while data := os.read(self.fd, 4096):
                with self.news:
                    self.shown += data.decode("utf-8", "replace")
                    self.news.notify_all()
        except OSError:
            pass    # all that had the terminal open have ended

    def type(self, line):
        with self.news:
            self.from_here = len(self.shown)
        os.write(self.fd, line.encode() + b"\n")

    def until(self, pattern):
        """Waits for it in what has been shown since the last line was typed."""
        with self.news:
            if not self.news.wait_for(lambda: re.search(pattern, self.shown[self.from_here:]), GUARD):
                raise AssertionError(f"terminal {self.name} does not show {pattern!r} but {self.shown[-2000:]}")

    def beats(self):
        return [int(n) for n, _ in BEAT.findall(self.shown)]

    def close(self):
        """Ends what runs there, then the shell."""
        for _ in range(2):
            try:
                os.killpg(os.tcgetpgrp(self.fd), signal.SIGKILL)
            except OSError:
                break       # the shell has ended
        os.waitpid(self.pid, 0)
        os.close(self.fd)


class Tour:
    """The terminals of the tour; closed like the other things of a test."""

    def __init__(self, test):
        self.terminals = {name: Terminal(name) for name in ("1", "2", "3")}
        test._others.append(self)

    def close(self):
        for terminal in self.terminals.values():
            terminal.close()

    def take(self, step):
        names = self.terminals if step["terminal"] == "all" else [step["terminal"]]
        for name in names:
            for command in step["commands"]:
                self._run(self.terminals[name], command, step["until"])

    @staticmethod
    def _run(terminal, command, until):
        terminal.until(re.escape(PROMPT))
        terminal.type(command)
        sockets = re.findall(r"unix:(/\S+?)(?:,|$)", command)
        if not command.startswith("$vm"):
            terminal.until(re.escape(PROMPT))       # it has ended
            if "--wait" in command:
                terminal.until(until)
        elif until:
            terminal.until(until)
        deadline = time.monotonic() + GUARD
        while not all(listening(path) for path in sockets if command.startswith("$vm")):
            assert time.monotonic() < deadline, f"{command} does not listen on {sockets}: {terminal.shown}"
            time.sleep(0.1)


@only_minivmm("the tour is of minivmm")
def test_readme(t):
    t.need("root", "kvm")
    steps = json.loads(subprocess.run([os.path.join(TOP, "scripts", "tour"), "--list"], check=True,
                                      stdout=subprocess.PIPE, timeout=GUARD).stdout)
    tour = Tour(t)
    one, two, three = (tour.terminals[name] for name in ("1", "2", "3"))
    for step in steps:
        tour.take(step)
    assert "completed:" in three.shown and "failed:" not in three.shown, three.shown
    beats = two.beats()
    assert one.beats() and beats and beats == sorted(set(beats)), (one.shown[-1500:], two.shown[-1500:])
    assert one.beats()[-1] <= beats[0] <= one.beats()[-1] + 2, (one.beats(), beats)
    for terminal in (one, two):
        assert all(err == "0" for _, err in BEAT.findall(terminal.shown)), terminal.shown
