"""Machines with a monitor for minivmm-ctl, and runs of it."""
import json
import os
import subprocess

from moves import machine as moves_machine
from vmm import BUILD, GUARD

PROGRAM = os.environ.get("MINIVMM_CTL", os.path.join(BUILD, "minivmm-ctl"))


def machine(t, guest="counter", append="", **options):
    """t.vmm() with a second monitor at .ctl, which nobody holds."""
    t.ctl_count = getattr(t, "ctl_count", 0) + 1
    path = t.path(f"ctl{t.ctl_count}")
    extra = [*options.pop("extra", ()), "-qmp", f"unix:{path},server=on,wait=off"]
    vm = t.vmm(guest, append, extra=extra, **options)
    vm.capabilities("events")
    vm.ctl = path
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


def environment(t):
    """Entries of other tests are not seen, and this one's are its own."""
    return dict(os.environ, XDG_RUNTIME_DIR=t.tmp)


def run(t, vm, *words, stdin=subprocess.DEVNULL):
    """minivmm-ctl with these words, at that machine's monitor (a path, or None: none is named)."""
    where = ["-s", vm if isinstance(vm, str) else vm.ctl] if vm else []
    argv = [PROGRAM, *where, *words]
    p = subprocess.run(argv, env=environment(t), stdin=stdin, capture_output=True, text=True, timeout=GUARD, check=False)
    return Done(argv[1:], p.returncode, p.stdout, p.stderr)
