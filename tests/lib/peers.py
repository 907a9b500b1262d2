"""The QEMUs that the tests take for the other end; see scripts/peer-root."""
import contextlib
import os
import subprocess

import vmm


def qemu(version):
    """(the program of that QEMU, None), fetched into the cache where this machine's is another; or (_, why not)."""
    path = vmm.PROGRAMS["qemu"]["path"]
    if os.access(path, os.X_OK):
        says = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
        if says.startswith(f"QEMU emulator version {version}."):
            return path, None
    done = subprocess.run([os.path.join(vmm.ROOT, "scripts/peer-root"), version],
                          capture_output=True, text=True, check=False)
    lines = done.stderr.strip().splitlines()
    return done.stdout.strip(), lines[-1] if done.returncode else None


@contextlib.contextmanager
def running(t, version):
    """Within it, machines of kind "qemu" are of that version; skips the test where there is none."""
    path, why = qemu(version)
    if why:
        t.skip(why)
    before, vmm.PROGRAMS["qemu"]["path"] = vmm.PROGRAMS["qemu"]["path"], path
    try:
        yield
    finally:
        vmm.PROGRAMS["qemu"]["path"] = before
