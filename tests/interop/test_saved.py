"""Files with a description of the machine: every QEMU loads them, and a machine that differs refuses them."""

import peers
import vmm
from case import table
from moves import destination, goes_on, machine

FULL = {"guest": "smp-counter", "append": "pages=50 rate=1000 every=16", "cpus": 2, "rng": True}
MARK = b'"x-minivmm": {"machine": "'


def save(t, source, scheme="file", checksum=False):
    path = t.path("saved")
    source.cmd("migrate-set-parameters", x_minivmm_checksum=checksum)
    source.cmd("migrate", uri=f"file:{path}" if scheme == "file" else f"exec:cat > {path}")
    source.wait_migration("completed")
    return path


def described(path):
    with open(path, "rb") as f:
        return MARK in f.read()[-262144:]


@table(**{version.replace(".", "_") + name: {"version": version, "checksum": bool(name)}
          for version in ("7.2", "10.0", "11.1") for name in ("", "_checksum")})
def test_qemu_loads_it(t, version, checksum):
    """Description and checksum are in places that QEMU skips: the guest goes on there."""
    path, why = peers.qemu(version)
    if why:
        t.skip(why)
    t.need("qemu")
    source = machine(t, "counter", "pages=100 rate=2000")
    goes_on(source)
    saved = save(t, source, checksum=checksum)
    assert described(saved)
    for uri in (f"exec:cat {saved}", f"file:{saved}")[:1 if version == "7.2" else 2]:
        before, vmm.PROGRAMS["qemu"]["path"] = vmm.PROGRAMS["qemu"]["path"], path
        try:
            dest = destination(t, source, None, kind="qemu")
        finally:
            vmm.PROGRAMS["qemu"]["path"] = before
        assert "{major}.{minor}".format(**dest.cmd("query-version")["qemu"]) == version
        dest.cmd("migrate-incoming", uri=uri)
        dest.wait_migration("completed")
        dest.wait_running()
        goes_on(dest)
        t.forget(dest)


@table(memory={"change": {"memory": "32M"}, "words": "RAM block 'microvm.ram': 24 MiB at the source, 32 MiB"},
       cpus={"change": {"cpus": 1}, "words": "vCPUs: 2 at the source, 1 at the destination"},
       device={"change": {"rng": False}, "words": "missing at the destination"})
def test_other_machine(t, change, words):
    """Refused before anything is loaded, with all that differs."""
    source = machine(t, **FULL)
    saved = save(t, source)
    dest = destination(t, source, f"file:{saved}", **change)
    assert dest.wait_loaded() == "failed"
    error = dest.migration()["error-desc"]
    assert words in error and "the saved machine and this one differ" in error, error


def test_cpu_differs_in_a_pipe(t):
    """What no section shows, another CPU model, is found at the end of a pipe as well as in a file."""
    source = machine(t, "counter", "pages=50 rate=1000", extra=["-cpu", "qemu64,-cx16"])
    saved = save(t, source, "exec")
    assert described(saved)
    for uri in (f"file:{saved}", f"exec:cat {saved}"):
        dest = destination(t, source, uri, extra=["-cpu", "qemu64,-cx16,-lahf_lm"])
        status = dest.wait_loaded()
        print(uri, status, dest.migration())
        assert status == "failed" and "the saved machine and this one differ" in dest.migration()["error-desc"]


def test_without_description(t):
    """Files of an older minivmm and of QEMU have none: they load as ever."""
    source = machine(t, "counter", "pages=50 rate=1000", extra=["-machine", "suppress-vmdesc=on"])
    saved = save(t, source)
    assert not described(saved)
    for uri in (f"file:{saved}", f"exec:cat {saved}"):
        dest = destination(t, source, uri)
        assert dest.wait_loaded() == "completed"
        dest.wait_running()
        goes_on(dest)
