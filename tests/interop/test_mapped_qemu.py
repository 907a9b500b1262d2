"""mapped-ram: files of minivmm in QEMU 10.0 and 11.1, theirs here, all memory compared while both ends stand still."""
import contextlib
import os

import peers
import ram
import vmm
from case import pairwise, table
from moves import destination, goes_on, machine, wait_saved

VERSIONS = ("10.0", "11.1")
GUEST = {"guest": "smp-counter", "append": "pages=400 rate=4000", "cpus": 2, "memory": "64M"}


@contextlib.contextmanager
def qemu(t, version):
    """Within, "qemu" is that version."""
    path, why = peers.qemu(version)
    if why:
        t.skip(why)
    t.need("qemu")
    before, vmm.PROGRAMS["qemu"]["path"] = vmm.PROGRAMS["qemu"]["path"], path
    try:
        yield
    finally:
        vmm.PROGRAMS["qemu"]["path"] = before


def set_up(vm, multifd, direct):
    vm.capabilities("mapped-ram", *(["multifd"] if multifd else []))
    vm.cmd("migrate-set-parameters", multifd_channels=3, direct_io=direct)


def save(t, source, multifd, direct, offset):
    path = t.path("saved")
    set_up(source, multifd, direct)
    if offset:
        with open(path, "wb") as f:
            f.write(b"h" * offset)
    uri = f"file:{path}" + (f",offset={offset}" if offset else "")
    source.cmd("migrate", uri=uri)
    assert source.wait_migration("completed", "failed") == "completed", source.migration()
    wait_saved(source, path)
    if offset:
        with open(path, "rb") as f:
            assert f.read(offset) == b"h" * offset
    return uri


def load_paused(t, source, uri, multifd, direct, **options):
    dest = destination(t, source, None, paused=True, **options)
    set_up(dest, multifd, direct)
    dest.cmd("migrate-incoming", uri=uri)
    status = dest.wait_loaded()
    assert status == "completed", (dest.migration(), dest.stderr())
    return dest


WAYS = {"plain": {}, "multifd": {"multifd": True}, "direct": {"direct": True},
        "multifd_direct": {"multifd": True, "direct": True},
        "offset": {"offset": 0x10000}, "multifd_odd_offset": {"multifd": True, "offset": 12345}}
ROWS = {f"{name}_{version.replace('.', '_')}": {"version": version, **way}
        for version in VERSIONS for name, way in WAYS.items()}


@pairwise
@table(**ROWS)
def test_to_qemu_and_back(t, version, multifd=False, direct=False, offset=0):
    """Saved while the guest writes, loaded by QEMU, saved there and loaded here; a reader need not use multifd."""
    with qemu(t, version):
        source = machine(t, **GUEST)
        goes_on(source, 2)
        uri = save(t, source, multifd, direct, offset)
        there = load_paused(t, source, uri, multifd, direct, kind="qemu")
        assert "{major}.{minor}".format(**there.cmd("query-version")["qemu"]) == version
        ram.assert_equal(ram.read(source), ram.read(there), "minivmm and QEMU")
        t.forget(source)
        there.cmd("cont")
        there.wait_running()
        goes_on(there, 2)
        uri = save(t, there, multifd, direct, offset)
        back = load_paused(t, source, uri, not multifd, direct)
        ram.assert_equal(ram.read(there), ram.read(back), "QEMU and minivmm")
        t.forget(there)
        back.cmd("cont")
        goes_on(back, 2)


def test_shared_memory_stays(t):
    """With x-ignore-shared the file has no place for RAM that both ends have, as 11.1 writes and reads it."""
    with qemu(t, "11.1"):
        source = machine(t, **GUEST)
        goes_on(source, 2)
        source.capabilities("x-ignore-shared")
        uri = save(t, source, True, False, 0)
        assert os.path.getsize(t.path("saved")) < 4 << 20
        there = destination(t, source, None, ["x-ignore-shared", "mapped-ram"], paused=True, kind="qemu",
                            ram=source.ram_path)
        there.cmd("migrate-incoming", uri=uri)
        assert there.wait_loaded() == "completed", there.stderr()
        there.cmd("cont")
        there.wait_running()
        goes_on(there, 2)
        uri = save(t, there, False, False, 0)
        back = destination(t, source, None, ["x-ignore-shared", "mapped-ram"], paused=True, ram=source.ram_path)
        back.cmd("migrate-incoming", uri=uri)
        assert back.wait_loaded() == "completed", back.migration()
        t.forget(there)
        back.cmd("cont")
        goes_on(back, 2)
