"""How long a question takes from the start of the client to its end: minivmm-ctl, and what else there is."""
import os
import shutil
import subprocess
import time

import ctl
import vmm

QMP_SHELL = shutil.which("qmp-shell")
SCRIPT = os.path.join(vmm.ROOT, "scripts", "qmp")


def status(bench, tmp):
    """query-status by minivmm-ctl of minivmm, and by qmp-shell (or scripts/qmp, which does less) of QEMU; the best of 10."""
    def once(kind):
        bench.count += 1
        path = f"{tmp}/c{bench.count}"
        vm = vmm.Vmm(kind, tmp, "idle", "", name=f"c{bench.count}", paused=True, backend="anonymous",
                     extra=("-qmp", f"unix:{path},server=on,wait=off"))
        try:
            return min(ask(kind, path) for _ in range(10))
        finally:
            vm.close()
    got = bench.alternate(once)
    bench.row("query-status by minivmm-ctl; by " + ("qmp-shell" if QMP_SHELL else "scripts/qmp (there is no qmp-shell here)"),
              "ms", {k: [s * 1000 for s in v] for k, v in got.items()}, 0.2, False)


def ask(kind, path):
    """Seconds."""
    if kind == "minivmm":
        argv, text = [ctl.PROGRAM, "-s", path, "qmp", "query-status"], None
    elif QMP_SHELL:
        argv, text = [QMP_SHELL, path], b"query-status\n"
    else:
        argv, text = ["/usr/bin/python3", SCRIPT, path, "query-status"], None
    begin = time.monotonic()
    done = subprocess.run(argv, input=text, stdout=subprocess.PIPE, check=True, timeout=60)
    took = time.monotonic() - begin
    assert b"prelaunch" in done.stdout, done.stdout
    return took
