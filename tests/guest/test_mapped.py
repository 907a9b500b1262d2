"""mapped-ram: a guest saved with a place for each page, and loaded again; whole or not at all."""
import os
import resource
import struct
import subprocess

import ram
from case import only_minivmm, table
from moves import Way, arrived, destination, goes_on, interrupt_save, machine, wait_bytes
from qmp import QmpError

GUEST = {"guest": "smp-counter", "append": "pages=300 rate=3000", "cpus": 2}
MIB = 1 << 20


def set_up(vm, multifd=False, direct=False, checksum=False):
    vm.capabilities("mapped-ram", *(["multifd"] if multifd else []))
    vm.cmd("migrate-set-parameters", multifd_channels=4, direct_io=direct, x_minivmm_checksum=checksum)


def save(t, source, **how):
    path = t.path("saved")
    set_up(source, **how)
    source.cmd("migrate", uri=f"file:{path}")
    assert source.wait_migration("completed", "failed") == "completed", source.migration()
    return path


def load(t, source, path, **how):
    dest = destination(t, source, None, paused=True)
    set_up(dest, **how)
    dest.cmd("migrate-incoming", uri=f"file:{path}")
    assert dest.wait_migration("completed", "failed") == "completed", dest.migration()
    return dest


def refused(t, source, path):
    """The sentence with which a file is refused; no guest is started from it."""
    dest = destination(t, source, None)
    set_up(dest)
    dest.cmd("migrate-incoming", uri=f"file:{path}")
    assert dest.wait_loaded() == "failed", dest.migration()
    assert dest.status() == "inmigrate", dest.status()
    return dest.migration()["error-desc"]


@only_minivmm("QEMU 7.2 has no mapped-ram")
@table(plain={}, multifd={"multifd": True}, direct={"direct": True}, checksum={"checksum": True},
       all={"multifd": True, "direct": True, "checksum": True})
def test_save_and_load(t, **how):
    """A guest that writes is saved, and goes on from the file; loaded with fewer threads it is the same."""
    source = machine(t, **GUEST)
    goes_on(source, 2)
    path = save(t, source, **how)
    sent = source.migration()["ram"]
    assert sent["multifd-bytes"] == (sent["normal-bytes"] if how.get("multifd") else 0), sent
    assert sent["transferred"] == sent["precopy-bytes"] + sent["downtime-bytes"] + sent["multifd-bytes"], sent
    one = load(t, source, path, **how)
    two = load(t, source, path)
    ram.assert_equal(ram.read(source), ram.read(one))
    ram.assert_equal(ram.read(source), ram.read(two))
    t.forget(source)
    one.cmd("cont")
    goes_on(one, 2)


@only_minivmm("QEMU 7.2 has no mapped-ram")
def test_stopped_guest(t):
    source = machine(t, **GUEST)
    source.cmd("stop")
    dest = load(t, source, save(t, source, multifd=True))
    assert dest.status() == "paused"
    ram.assert_equal(ram.read(source), ram.read(dest))


@only_minivmm("QEMU 7.2 has no mapped-ram")
def test_many_passes(t):
    """The file of a guest that writes faster than it is saved does not grow with the passes, and stays sparse."""
    source = machine(t, "counter", "pages=1500 rate=40000", memory="64M")
    goes_on(source)
    source.cmd("migrate-set-parameters", max_bandwidth=64 << 20, downtime_limit=1)
    path = t.path("saved")
    set_up(source, multifd=True)
    source.cmd("migrate", uri=f"file:{path}")
    passed = source.reaches_pass(4)
    source.cmd("migrate-set-parameters", max_bandwidth=0, downtime_limit=500)
    if passed:
        assert source.wait_migration("completed", "failed") == "completed", source.migration()
    now = ram.read(source)
    content = sum(any(now[at:at + ram.PAGE]) for at in range(0, len(now), ram.PAGE)) * ram.PAGE
    info = os.stat(path)
    assert 65 * MIB < info.st_size < 68 * MIB, info
    assert info.st_blocks * 512 < content + MIB, (info, content)
    dest = load(t, source, path)
    ram.assert_equal(ram.read(source), ram.read(dest))


@only_minivmm("QEMU 7.2 has no mapped-ram")
@table(truncated={"harm": os.truncate}, truncated_multifd={"harm": os.truncate, "multifd": True},
       overwritten={"harm": lambda path, _: overwrite(path)}, private={"harm": os.truncate, "backend": "private"})
def test_file_is_not_needed_afterwards(t, harm, multifd=False, backend="anonymous"):
    """Once 'completed' is said, the guest is all in memory, whatever is done to the file that it came from."""
    source = machine(t, **GUEST, backend=backend)
    goes_on(source, 2)
    path = save(t, source, multifd=multifd)
    dest = load(t, source, path, multifd=multifd)
    harm(path, 0)
    ram.assert_equal(ram.read(source), ram.read(dest))
    t.forget(source)
    dest.cmd("cont")
    goes_on(dest, 2)


def overwrite(path):
    with open(path, "r+b") as f:
        f.write(b"\xa5" * os.stat(path).st_size)


@only_minivmm("QEMU 7.2 has no mapped-ram")
@table(anonymous={"backend": "anonymous"}, private={"backend": "private"})
def test_moves_on_at_once(t, backend):
    """A guest that was loaded and has not run has touched no page itself: it is moved on and saved whole all the same."""
    source = machine(t, **GUEST, backend=backend)
    goes_on(source, 2)
    path = save(t, source)
    was = ram.read(source)
    t.forget(source)
    one = load(t, source, path)
    way = Way(t, "unix")
    one.cmd("migrate-set-capabilities", capabilities=[{"capability": "mapped-ram", "state": False}])
    two = destination(t, source, way.incoming(), paused=True)
    way.start(one, two)
    arrived(one, two)
    ram.assert_equal(was, ram.read(two))
    t.forget(one)
    three = load(t, source, save(t, two, multifd=True), multifd=True)
    ram.assert_equal(was, ram.read(three))
    three.cmd("cont")
    goes_on(three, 2)


# ---- what is refused ----

@only_minivmm("QEMU 7.2 has no mapped-ram")
def test_only_into_files(t):
    source = machine(t, **GUEST)
    set_up(source)
    pipe = os.pipe()
    source.qmp.cmd("getfd", fds=[pipe[1]], fdname="pipe")
    with open(t.path("file"), "wb") as f:
        source.qmp.cmd("getfd", fds=[f.fileno()], fdname="file")
    for uri in ("unix:/nope", "tcp:127.0.0.1:1", "exec:cat > /dev/null", "fd:pipe", "fd:file"):
        try:
            source.cmd("migrate", uri=uri)
            raise AssertionError(f"{uri} is not refused")
        except QmpError as e:
            assert "Migration requires seekable transport (e.g. file)" in str(e), e
        source.wait_migration("failed")
    os.mkfifo(t.path("fifo"))
    reader = os.open(t.path("fifo"), os.O_RDONLY | os.O_NONBLOCK)
    source.cmd("migrate", uri=f"file:{t.path('fifo')}")
    source.wait_migration("failed")
    assert "seekable" in source.migration()["error-desc"]
    os.close(reader)
    goes_on(source, 2)
    dest = destination(t, source, None)
    set_up(dest)
    for uri in ("unix:" + t.path("s"), "exec:true"):
        try:
            dest.cmd("migrate-incoming", uri=uri)
            raise AssertionError(f"{uri} is not refused")
        except QmpError as e:
            assert "Migration requires seekable transport (e.g. file)" in str(e), e


@only_minivmm("QEMU 7.2 has no mapped-ram")
def test_both_ends_must_agree(t):
    source = machine(t, **GUEST)
    mapped = save(t, source)
    plain = destination(t, source, f"file:{mapped}")
    assert plain.wait_loaded() == "failed"
    assert "capability 'mapped-ram' is on at the source and off here" in plain.migration()["error-desc"]
    source.cmd("migrate-set-capabilities", capabilities=[{"capability": "mapped-ram", "state": False}])
    source.cmd("cont")
    source.cmd("migrate", uri=f"file:{t.path('plain')}")
    source.wait_migration("completed")
    assert "capability 'mapped-ram' is off at the source and on here" in refused(t, source, t.path("plain"))


@only_minivmm("QEMU 7.2 has no mapped-ram")
@table(bitmap={"at": 0x80, "value": 1 << 40, "words": "the bitmap of RAM block 'microvm.ram' is at file offset"},
       pages={"at": 0x88, "value": 1 << 40, "words": "the pages of RAM block 'microvm.ram' are at file offset"},
       cut={"at": None, "value": 3 * MIB, "words": "bytes end beyond the file of 0x300000"})
def test_hostile_file(t, at, value, words):
    source = machine(t, **GUEST)
    path = save(t, source)
    with open(path, "r+b") as f:
        header = f.read(0x200)
        start = header.index(b"\x0bmicrovm.ram") + 12 + 8
        if at is None:
            f.truncate(value)
        else:
            f.seek(start + at - 0x80 + 12)
            f.write(struct.pack(">Q", value))
    error = refused(t, source, path)
    assert words in error, error


@only_minivmm("QEMU 7.2 has no mapped-ram")
def test_damaged_page(t):
    """A page that has changed in the file is noticed, when the file has a checksum."""
    source = machine(t, **GUEST)
    path = save(t, source, multifd=True, checksum=True)
    with open(path, "r+b") as f:
        f.seek(MIB + 0xF00000 + 100)
        byte = f.read(1)
        f.seek(-1, 1)
        f.write(bytes([byte[0] ^ 4]))
    error = refused(t, source, path)
    assert f"the guest saved in file:{path} is damaged: its checksum does not match" in error, error


# ---- what goes wrong in the middle ----

def older(t, source):
    path = save(t, source)
    source.cmd("cont")
    goes_on(source)
    with open(path, "rb") as f:
        return path, f.read()


@only_minivmm("QEMU 7.2 has no mapped-ram")
@table(cancel={"how": "cancel", "multifd": False}, cancel_multifd={"how": "cancel", "multifd": True},
       kill={"how": "kill", "multifd": True})
def test_interrupted_save_leaves_the_older_file(t, how, multifd):
    source = machine(t, "counter", "pages=1800 rate=20000")
    goes_on(source)
    path, was = older(t, source)
    set_up(source, multifd=multifd)
    interrupt_save(source, path, was, how)


@only_minivmm("QEMU 7.2 has no mapped-ram")
@table(full={"multifd": False}, full_multifd={"multifd": True})
def test_disk_full(t, multifd):
    small = t.tmpfs(6 << 10)
    source = machine(t, "counter", "pages=2500", memory="32M")
    goes_on(source)
    path = os.path.join(small, "state")
    with open(path, "wb") as f:
        f.write(b"older")
    set_up(source, multifd=multifd)
    source.cmd("migrate", uri=f"file:{path}")
    assert source.wait_migration("completed", "failed") == "failed"
    assert "No space left on device" in source.migration()["error-desc"], source.migration()
    assert os.listdir(small) == ["state"], os.listdir(small)
    with open(path, "rb") as f:
        assert f.read() == b"older"
    if source.status() != "running":
        source.qmp.event("RESUME")
    goes_on(source)


@only_minivmm("QEMU 7.2 has no mapped-ram")
@table(plain={"multifd": False}, multifd={"multifd": True})
def test_file_size_limit(t, multifd):
    """RLIMIT_FSIZE ends the save in the middle of pages, with a short write before it; the guest runs on."""
    source = machine(t, "counter", "pages=2500", memory="32M")
    goes_on(source)
    resource.prlimit(source.pid, resource.RLIMIT_FSIZE, (20 * MIB + 123, resource.RLIM_INFINITY))
    set_up(source, multifd=multifd)
    source.cmd("migrate", uri=f"file:{t.path('state')}")
    assert source.wait_migration("completed", "failed") == "failed"
    assert "Unable to write to file: File too large" in source.migration()["error-desc"], source.migration()
    assert not os.path.exists(t.path("state"))
    if source.status() != "running":
        source.qmp.event("RESUME")
    goes_on(source)
    resource.prlimit(source.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    dest = load(t, source, save(t, source, multifd=multifd))
    ram.assert_equal(ram.read(source), ram.read(dest))


@only_minivmm("QEMU 7.2 has no mapped-ram")
@table(shared={"backend": "file"}, anonymous={"backend": "anonymous"})
def test_a_second_attempt(t, backend):
    """A file that was refused has left pages in memory: what comes next is whole all the same."""
    source = machine(t, **GUEST, backend=backend)
    goes_on(source, 2)
    path = save(t, source)
    with open(path, "rb") as f:
        data = f.read()
    with open(t.path("cut"), "wb") as f:
        f.write(data[:data.index(b"kvmclock")])
    dest = destination(t, source, None, paused=True)
    set_up(dest, multifd=True)
    dest.cmd("migrate-incoming", uri=f"file:{t.path('cut')}")
    assert dest.wait_migration("completed", "failed") == "failed", dest.migration()
    dest.cmd("migrate-incoming", uri=f"file:{path}")
    assert dest.wait_migration("completed", "failed") == "completed", dest.migration()
    ram.assert_equal(ram.read(source), ram.read(dest))


@only_minivmm("QEMU 7.2 has no mapped-ram")
@table(mapped={"mapped": True}, stream={"mapped": False})
def test_cancelled_save_on_a_disk(t, mapped):
    """A disk is written in place; with the end of an older save behind it, what a cancelled one left looks whole."""
    t.need("root", "losetup")
    image = t.path("image")
    with open(image, "wb") as f:
        f.truncate(64 * MIB)
    made = subprocess.run(["losetup", "-f", "--show", image], capture_output=True, text=True, check=False)
    if made.returncode:
        t.skip(f"no loop device: {made.stderr}")
    disk = made.stdout.strip()
    try:
        source = machine(t, "counter", "pages=1800 rate=20000")
        goes_on(source)
        capabilities = ["mapped-ram"] if mapped else []
        source.capabilities(*capabilities)
        source.cmd("migrate", uri=f"file:{disk}")
        source.wait_migration("completed")
        dest = destination(t, source, f"file:{disk}", capabilities, paused=True)
        assert dest.wait_loaded() == "completed", dest.migration()
        ram.assert_equal(ram.read(source), ram.read(dest))
        t.forget(dest)
        source.cmd("cont")
        source.cmd("migrate-set-parameters", max_bandwidth=2 << 20, downtime_limit=1)
        source.cmd("migrate", uri=f"file:{disk}")
        wait_bytes(source, 300000)
        source.cmd("migrate_cancel")
        source.wait_migration("cancelled")
        goes_on(source)
        dest = destination(t, source, f"file:{disk}", capabilities)
        assert dest.wait_loaded() == "failed", dest.migration()
        assert "this is not a migration stream" in dest.migration()["error-desc"], dest.migration()
        t.forget(dest)
        t.forget(source)
    finally:
        subprocess.run(["losetup", "-d", disk], check=True)
