"""Guest RAM on a file system that is too small for it: words, at both ends, and nothing is left behind."""
import os
import subprocess

from case import only_minivmm, table
from encoders import ENCODERS, set_up
from moves import Way, arrived, destination, goes_on, listen, machine
from qmp import QmpError
from vmm import PROGRAMS, guest_path

PIECES = {"guest": "counter", "append": "pages=1000"}   # 4 MiB
SMALL = 1024        # KiB


def free_bytes(directory):
    st = os.statvfs(directory)
    return st.f_bavail * st.f_frsize


def refused(t, backend):
    """What the program says that does not start with this memory."""
    t.need("kvm", "minivmm")
    argv = [PROGRAMS["minivmm"]["path"], "-M", "microvm,memory-backend=ram0", "-m", "24M", "-nodefaults", "-display", "none", "-S",
            "-kernel", guest_path("idle"), "-object", f"memory-backend-file,id=ram0,size=24M,{backend}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done
    return done.stderr


@table(new={"exists": False}, empty={"exists": True})
@only_minivmm("QEMU says: Bad address")
def test_prealloc(t, exists):
    """What did not fit is given back: the file is gone, or empty as it was."""
    path = os.path.join(t.tmpfs(16384), "ram")
    if exists:
        with open(path, "wb"):
            pass
    before = free_bytes(os.path.dirname(path))
    text = refused(t, f"share=on,prealloc=on,mem-path={path}")
    assert "prealloc" in text and path in text and "up to 8 MiB are missing" in text, text
    assert free_bytes(os.path.dirname(path)) == before
    assert os.path.exists(path) == exists and (not exists or os.path.getsize(path) == 0)


@table(small={"size": 6}, nearly={"size": (24 << 20) - 4096})
@only_minivmm("QEMU has other words")
def test_somebodys_file(t, size):
    """A file with something in it is neither enlarged nor written to."""
    path = t.path("letter")
    with open(path, "wb") as f:
        f.write(b"letter")
        f.truncate(size)
    text = refused(t, f"share=on,mem-path={path}")
    assert path in text and str(size) in text and "written over them" in text, text
    with open(path, "rb") as f:
        assert f.read(6) == b"letter" and os.path.getsize(path) == size


@table(shared={"share": "on"}, private={"share": "off"})
@only_minivmm("QEMU dies of SIGBUS")
def test_boot_files(t, share):
    """There is not even room for the kernel."""
    path = os.path.join(t.tmpfs(64), "ram")
    with open(os.path.join(os.path.dirname(path), "fill"), "wb") as fill:
        fill.write(bytes(free_bytes(os.path.dirname(path))))
    text = refused(t, f"share={share},mem-path={path}")
    assert path in text and "24 MiB are missing" in text, text


@only_minivmm("QEMU dies of SIGBUS")
def test_guest_runs_out(t):
    """At run time: the guest is stopped, the monitor lives on, and the log names block and file."""
    path = os.path.join(t.tmpfs(SMALL), "ram")
    vm = t.vmm(**PIECES, ram=path)
    vm.qmp.event("STOP")
    assert vm.status() == "internal-error", vm.status()
    assert "RAM 'microvm.ram'" in vm.stderr() and path in vm.stderr(), vm.stderr()


@only_minivmm("QEMU dies of SIGBUS")
def test_file_is_cut_short(t):
    """The file below a running guest is truncated: it is stopped, and the log says why."""
    vm = machine(t, **PIECES, ram=t.path("ram"))
    os.truncate(t.path("ram"), 0)
    vm.qmp.event("STOP")
    assert vm.status() == "internal-error", vm.status()
    text = vm.stderr()
    assert "RAM 'microvm.ram'" in text and t.path("ram") in text and "short" in text, text


CUTS = {"all": 0, "half": 12 << 20, "a_page": (24 << 20) - 4096}


@table(**{f"{scheme}_{name}": {"scheme": scheme, "size": size, "ignored": False}
          for scheme in ("file", "unix") for name, size in CUTS.items()},
       ignored={"scheme": "unix", "size": 0, "ignored": True})
@only_minivmm("QEMU says that it has saved the guest")
def test_file_of_a_paused_guest_is_cut_short(t, scheme, size, ignored):
    """What was in it is lost: no save and no move may pass zeroes off as the guest."""
    source = machine(t, **PIECES, ram=t.path("ram"))
    goes_on(source)
    source.cmd("stop")
    way = Way(t, scheme)
    capabilities = ["x-ignore-shared"] if ignored else []
    source.capabilities(*capabilities)
    dest = destination(t, source, way.incoming(), capabilities, ram=t.path("ram2"))
    os.truncate(t.path("ram"), size)
    way.start(source, dest)
    source.wait_migration("failed", "completed")
    words = source.migration().get("error-desc", "completed")
    assert t.path("ram") in words and f"has {size} bytes instead of {24 << 20}" in words, words
    assert source.status() == "paused", source.status()
    assert scheme != "file" or not os.path.exists(way.path)


@only_minivmm("QEMU dies of SIGBUS")
def test_memory_that_is_cut_short_is_not_dumped(t):
    vm = machine(t, **PIECES, ram=t.path("ram"))
    vm.cmd("stop")
    os.truncate(t.path("ram"), 1 << 20)
    words = vm.qmp.fails("pmemsave", val=0, size=2 << 20, filename=t.path("dump"))
    assert t.path("ram") in words and f"has {1 << 20} bytes instead of {24 << 20}" in words, words
    assert not os.path.exists(t.path("dump")) and vm.status() == "paused"


@only_minivmm("QEMU's destination runs the guest")
def test_file_of_an_arriving_guest_is_cut_short(t):
    """The destination says so while the source can still go on."""
    source = machine(t, **PIECES)
    goes_on(source)
    source.cmd("stop")          # a page more would be one that cannot be written
    source.capabilities("events", "pause-before-switchover")
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming(), ["pause-before-switchover"], ram=t.path("ram"))
    way.start(source, dest)
    source.wait_migration("pre-switchover")
    os.truncate(t.path("ram"), 0)
    source.cmd("migrate-continue", state="pre-switchover")
    source.wait_migration("failed", "completed")
    words = source.migration().get("error-desc", "completed")
    assert t.path("ram") in words and "short" in words, words
    source.cmd("cont")
    goes_on(source)


@table(prelaunch={"moves": False, "started": False}, paused={"moves": False, "started": True},
       postmigrate={"moves": True, "started": True})
@only_minivmm("QEMU dies of SIGBUS")
def test_reset_without_memory(t, moves, started):
    """A guest that cannot be reset says why, and says it again when it is to run."""
    vm = machine(t, **PIECES, started=started, ram=t.path("ram"), paused=not started)
    if started:
        vm.cmd("stop")
    if moves:
        vm.cmd("migrate", uri=f"file:{t.path('state')}")
        vm.wait_migration("completed")
    os.truncate(t.path("ram"), 0)
    vm.cmd("system_reset")
    text = vm.stderr()
    assert t.path("ram") in text and "transition" not in text, text
    assert vm.status() == "internal-error", vm.status()
    try:
        vm.cmd("cont")
        raise AssertionError("it runs")
    except QmpError as e:
        assert "Resetting" in e.desc, e


# unix: runs of pages; exec: single ones
WAYS = {"unix": ("unix", "plain"), "exec": ("exec", "plain"), "file": ("file", "plain"),
        **{name: ("unix", name) for name in ENCODERS if name not in ("plain", "zero_copy")}}


@table(**{name: {"scheme": scheme, "encoder": encoder} for name, (scheme, encoder) in WAYS.items()})
@only_minivmm("QEMU dies of SIGBUS")
def test_load(t, scheme, encoder):
    """The destination refuses by name and lives; a source with a return path says the same and runs on."""
    path = os.path.join(t.tmpfs(SMALL), "ram")
    mode = ENCODERS[encoder]
    source = machine(t, **PIECES)
    goes_on(source)
    way = Way(t, scheme)
    set_up(source, mode["source"], mode.get("both"), mode.get("params"))
    dest = destination(t, source, None, ram=path)
    set_up(dest, mode.get("dest", ()), mode.get("both"), mode.get("there"))
    listen(dest, way.incoming())
    way.start(source, dest)
    if scheme == "file":
        source.wait_migration("completed")
        dest.cmd("migrate-incoming", uri=f"file:{dest.saved_at}")
    dest.wait_migration("failed")
    error = dest.migration()["error-desc"]
    assert path in error and "are missing" in error and "tmpfs" in error, error
    if scheme == "unix":
        source.wait_migration("failed")
        assert error in source.migration()["error-desc"], source.migration()
        goes_on(source)


def test_load_from_qemu(t):
    """Plain pages, one by one."""
    t.need("qemu", "minivmm")
    path = os.path.join(t.tmpfs(SMALL), "ram")
    source = machine(t, **PIECES, kind="qemu")
    goes_on(source)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming(), kind="minivmm", ram=path)
    way.start(source, dest)
    dest.wait_migration("failed")
    error = dest.migration()["error-desc"]
    assert path in error and "are missing" in error, error


def test_untouched_pages_take_no_room(t):
    """A guest of 24 MiB that has touched less than there is room for arrives, and takes no more."""
    directory = t.tmpfs(2048)
    source = machine(t, "counter", "pages=50 rate=1000")
    goes_on(source)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming(), ram=os.path.join(directory, "ram"))
    way.start(source, dest)
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)
