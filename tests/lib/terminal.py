"""A program on a terminal of its own: keys go in, what its screen shows is waited for."""
import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

from qmp import GUARD, Hang

SEQUENCE = re.compile(r"\x1b\[([0-9;?]*)([@-~])|\x1b[=>]|\x1b\][^\x07]*\x07")


class Screen:
    """The lines that were shown, as they stand: what editors of one line need of a terminal."""

    def __init__(self):
        self.lines, self.column, self.rest = [""], 0, ""
        self.mark = (0, 0)      # line, column: what is behind it is new, also when it was written over

    def feed(self, text):
        text, self.rest = self.rest + text, ""
        at = 0
        while at < len(text):
            if text[at] != "\x1b":
                self._char(text[at])
                at += 1
                continue
            m = SEQUENCE.match(text, at)
            if not m:
                self.rest = text[at:]   # the rest of it is still to come
                return
            if m.group(2):
                self._control(m.group(2), int(re.sub(r"\D.*", "", m.group(1)) or 1))
            at = m.end()

    def _put(self, line):
        self.lines[-1] = line
        if self.mark[0] == len(self.lines) - 1:
            self.mark = (self.mark[0], min(self.mark[1], self.column))

    def _char(self, c):
        line = self.lines[-1].ljust(self.column)
        if c == "\r":
            self.column = 0
        elif c == "\n":
            self.lines.append("")
            self.column = 0
        elif c == "\b":
            self.column = max(0, self.column - 1)
        elif c >= " ":
            self._put(line[:self.column] + c + line[self.column + 1:])
            self.column += 1

    def _control(self, what, n):
        line = self.lines[-1].ljust(self.column)
        before, behind = line[:self.column], line[self.column:]
        if what == "C":
            self.column += n
        elif what == "D":
            self.column = max(0, self.column - n)
        elif what in "KJ":
            self._put(before)
        elif what == "P":
            self._put(before + behind[n:])
        elif what == "@":
            self._put(before + " " * n + behind)


class Terminal:
    """argv on a terminal of so many columns, which is the one that it is controlled by; env replaces variables."""

    def __init__(self, argv, env=None, columns=200):
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs,
                                        start_new_session=True, preexec_fn=self._own,
                                        env={**os.environ, "TERM": "xterm", **(env or {})})
        os.close(theirs)
        self.screen, self.decoder = Screen(), codecs.getincrementaldecoder("utf-8")("replace")

    @staticmethod
    def _own():
        """In the new process: so that Ctrl-C is a signal."""
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def type(self, keys):
        os.write(self.ours, keys.encode())

    def shown(self):
        """The lines behind the mark."""
        line, column = self.screen.mark
        return "\n".join([self.screen.lines[line][column:], *self.screen.lines[line + 1:]])

    def _read(self):
        """Takes in what comes within a second; False when the terminal was closed."""
        if not select.select([self.ours], [], [], 1)[0]:
            return True
        try:
            part = os.read(self.ours, 65536)
        except OSError:         # nobody has its other end any more
            return False
        self.screen.feed(self.decoder.decode(part))
        return True

    def expect(self, pattern):
        """Waits until the screen shows it behind the mark, and sets the mark to its end."""
        deadline = time.monotonic() + GUARD
        while True:
            text = self.shown()
            m = re.compile(pattern, re.MULTILINE).search(text)
            if m:
                over = text[:m.end()].split("\n")
                line, column = self.screen.mark
                self.screen.mark = (line + len(over) - 1, len(over[-1]) + (column if len(over) == 1 else 0))
                return m
            if time.monotonic() > deadline:
                raise Hang(f"no {pattern!r} on the terminal, which shows: {text[-1500:]!r}")
            if not self._read():
                raise AssertionError(f"it ended before {pattern!r}; the terminal shows: {text[-1500:]!r}")

    def wait(self):
        """Its exit status, once it has ended and all that it said is there."""
        deadline = time.monotonic() + GUARD
        while self._read():
            if time.monotonic() > deadline:
                raise Hang(f"it does not end; the terminal shows: {self.shown()[-1500:]!r}")
        return self.process.wait(GUARD)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.ours)
