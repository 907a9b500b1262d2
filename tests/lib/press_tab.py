#!/usr/bin/python3
"""press_tab - what a real bash or zsh makes of a line when the tabulator key is pressed

press_tab.py bash|zsh SCRIPT [SCRIPT]... <LINES

The scripts are sourced by an interactive shell on a terminal of its own. Each line of standard input is "TYPED => EXPECTED": what
is typed before the key, and the line that is there behind it (blanks at its end aside); "=> LIST a b": the key pressed
twice lists these words, among others. Exit status 1, and a line for each that differs.
"""
import os
import pty
import re
import select
import shlex
import signal
import sys
import time

GUARD = 60      # seconds without a byte: it hangs
END = "--end--"
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"],
             "bind 'set bell-style none'; bind 'set enable-bracketed-paste off'; bind 'set completion-query-items 0'; "
             "bind 'set page-completions off'; PS1='> '"),
    "zsh": (["zsh", "-f", "-i"],
            "unset zle_bracketed_paste; unsetopt beep; LISTMAX=0; autoload -Uz compinit; compinit -D -u; PS1='> '"),
}


class Shell:
    def __init__(self, kind, scripts):
        argv, self.prepare = SHELLS[kind]
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="dumb", LC_ALL="C.UTF-8", HOME="/nonexistent", HISTFILE="", COLUMNS="250", LINES="200")
            os.execvp(argv[0], argv)
        # What is typed before the shell reads by keys must not be taken back by the terminal itself.
        self.run("stty cols 250 rows 200 kill undef")
        self.run(self.prepare)
        for script in scripts:
            said = self.run(f"source {shlex.quote(script)}")
            assert "error" not in said and "not found" not in said, said

    def until(self, pattern):
        said, deadline = "", time.monotonic() + GUARD
        while not re.search(pattern, said):
            ready, _, _ = select.select([self.fd], [], [], deadline - time.monotonic())
            if not ready:
                raise AssertionError(f"no {pattern!r} in {said!r}")
            said += os.read(self.fd, 65536).decode(errors="replace").replace("\r", "")
        return said

    def type(self, text):
        os.write(self.fd, text.encode())

    def run(self, command):
        self.type(f"{command}\necho {END[:2]}'{END[2:]}'\n")      # the echo of what is typed is no end
        return self.until(rf"(?m)^{END}$")

    def complete(self, typed):
        """The line behind the key: it is made the argument of echo, which is the same in both shells."""
        self.type(typed + "\t\x01echo \":='\x05'\"\n" + f"echo {END[:2]}'{END[2:]}'\n")
        said = self.until(rf"(?m)^{END}$")
        return re.search(r"(?m)^:='(.*?) *'$", said)[1]

    def listed(self, typed, words):
        """What is listed until all of these are; then the line is dropped."""
        self.type(typed + "\t\t")
        said = self.until("".join(rf"(?s)(?=.*\s{re.escape(word)}\s)"[0 if not n else 4:] for n, word in enumerate(words)))
        self.run("\x15")
        return said.split()

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def main():
    shell = Shell(sys.argv[1], sys.argv[2:])
    failed = n = 0
    try:
        for line in sys.stdin.read().splitlines():
            typed, expected = line.split(" => ")
            if expected.startswith("LIST "):
                words = expected.split()[1:]
                got = shell.listed(typed, words)
                good = set(words) <= set(got)
            else:
                got = shell.complete(typed)
                good = got == expected
            n += 1
            if not good:
                failed += 1
                print(f"{sys.argv[1]}: '{typed}' becomes '{got}', not '{expected}'")
    finally:
        shell.close()
    assert n, "no lines"
    return 1 if failed else 0


sys.exit(main())
