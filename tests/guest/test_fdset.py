"""Descriptor sets: a client passes descriptors, and paths name them as /dev/fdset/N (qmp-surface 1.7)."""
import os
import subprocess

import ram
from case import only_minivmm, table
from moves import destination, goes_on, machine
from qmp import Qmp, QmpError
from vmm import PROGRAMS, guest_path

ODD = 0x106cc       # where a save of libvirt's begins: aligned to nothing
MODES = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}


def opened(path, mode, flags=0):
    return os.open(path, MODES[mode] | flags, 0o600)


def add(vm, path, mode, flags=0, **arguments):
    """The file, in a set of the machine; only the machine has the descriptor then."""
    fd = opened(path, mode, flags)
    got = vm.qmp.cmd("add-fd", fds=[fd], **arguments)
    os.close(fd)
    return got


def sets(vm):
    """{set: [opaque]}"""
    return {s["fdset-id"]: [f.get("opaque") for f in s["fds"]] for s in vm.cmd("query-fdsets")}


def in_use(vm, path):
    """How many descriptors of the machine are of the file."""
    link = f"/proc/{vm.pid}/fd"
    real = os.path.realpath(path)
    return sum(os.path.realpath(os.path.join(link, fd)) == real for fd in os.listdir(link))


def test_commands(t):
    """Numbers, replies and refusals, and what the sets hold then."""
    vm = t.vmm("idle", paused=True)
    path = t.path("file")
    assert vm.cmd("query-fdsets") == []
    first = add(vm, path, "w", os.O_CREAT, opaque="o")
    assert first["fdset-id"] == 0, first
    assert add(vm, path, "r")["fdset-id"] == 1
    second = add(vm, path, "r", fdset_id=0)
    assert add(vm, path, "r", fdset_id=7, opaque="seven")["fdset-id"] == 7
    assert vm.cmd("query-fdsets")[0]["fdset-id"] in (0, 7)     # QEMU lists the newest first
    assert {k: sorted(map(str, v)) for k, v in sets(vm).items()} == {0: ["None", "o"], 1: ["None"], 7: ["seven"]}
    assert {f["fd"] for f in next(s for s in vm.cmd("query-fdsets") if s["fdset-id"] == 0)["fds"]} == {
        first["fd"], second["fd"]}
    assert vm.qmp.fails("add-fd") == "No file descriptor supplied via SCM_RIGHTS"
    fd = opened(path, "r")
    assert vm.qmp.fails("add-fd", fds=[fd], fdset_id=-1) == "Parameter 'fdset-id' expects a non-negative value"
    os.close(fd)
    assert vm.qmp.fails("remove-fd", fdset_id=3) == "File descriptor named 'fdset-id:3' not found"
    assert vm.qmp.fails("remove-fd", fdset_id=0, fd=999) == "File descriptor named 'fdset-id:0, fd:999' not found"
    vm.cmd("remove-fd", fdset_id=0, fd=first["fd"])
    vm.cmd("remove-fd", fdset_id=7)
    assert set(sets(vm)) == {0, 1, 7}       # they go when the guest runs


@only_minivmm("QEMU 7.2 removes when the next thing happens to a set")
def test_removed_when_the_guest_runs(t):
    vm = t.vmm("idle", paused=True)
    add(vm, t.path("file"), "w", os.O_CREAT)
    kept = add(vm, t.path("file"), "r", fdset_id=1)
    vm.cmd("remove-fd", fdset_id=1, fd=add(vm, t.path("file"), "r", fdset_id=1, opaque="gone")["fd"])
    vm.cmd("remove-fd", fdset_id=0)
    assert sets(vm) == {0: [None], 1: [None, "gone"]}
    assert "no descriptor that is open for writing" in vm.qmp.fails(
        "pmemsave", val=0, size=4096, filename="/dev/fdset/0")
    vm.cmd("cont")
    assert sets(vm) == {1: [None]}
    vm.cmd("remove-fd", fdset_id=1, fd=kept["fd"])
    assert sets(vm) == {}


def start_fds(t, *rows):
    """-add-fd for each (set, path, mode, flags), and the descriptors to pass."""
    fds = [opened(path, mode, flags) for _, path, mode, flags in rows]
    extra = []
    for fd, (number, *_rest) in zip(fds, rows):
        extra += ["-add-fd", f"fd={fd},set={number},opaque=row {number}"]
    return fds, extra


def test_last_client(t):
    """What nothing has open goes with the last client; what is in use stays."""
    path, log = t.path("file"), t.path("log")
    fds, extra = start_fds(t, (2, path, "w", os.O_CREAT), (5, log, "w", os.O_CREAT | os.O_APPEND))
    vm = t.vmm("idle", fds=fds, monitors=2,
               extra=[*extra, "-chardev", "file,id=c,path=/dev/fdset/5,append=on"])
    for fd in fds:
        os.close(fd)
    assert sets(vm) == {2: ["row 2"], 5: ["row 5"]}
    vm.monitors[1].close()
    assert sets(vm) == {2: ["row 2"], 5: ["row 5"]}
    name = vm.qmp.sock.getpeername()
    vm.qmp.close()
    while in_use(vm, path):
        os.sched_yield()
    vm.monitors[0] = Qmp.connect(name)
    assert sets(vm) == {5: ["row 5"]}, sets(vm)


@only_minivmm("the words are ours")
@table(no_fd={"given": "set=1", "says": "fd option is required and must be non-negative"},
       standard={"given": "fd=2,set=1", "says": "fd cannot be a standard I/O stream"},
       no_set={"given": "fd=9", "says": "set option is required and must be non-negative"},
       bad_set={"given": "fd=9,set=-1", "says": "Parameter 'set' expects a number"},
       none={"given": "fd=999,set=1", "says": "fd is not valid or already in use"},
       unknown={"given": "fd=9,set=1,zz=1", "says": "Invalid parameter 'zz'"})
def test_refused_at_start(t, given, says):
    t.need("kvm", "minivmm")
    done = subprocess.run([PROGRAMS["minivmm"]["path"], "-nodefaults", "-S", "-add-fd", given], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 1 and says in done.stderr and f"-add-fd {given}: " in done.stderr, done


def test_console_of_a_set(t):
    """The guest's output goes to a file, behind what it holds, and to a pipe."""
    log = t.path("log")
    with open(log, "w", encoding="ascii") as f:
        f.write("before\n")
    fds, extra = start_fds(t, (0, log, "w", os.O_APPEND))
    vm = t.vmm("hello", fds=fds, serial=False, paused=True,
               extra=[*extra, "-chardev", "file,id=c,path=/dev/fdset/0,append=on", "-serial", "chardev:c",
                      "-no-shutdown"])
    os.close(fds[0])
    vm.cmd("cont")
    vm.qmp.event("SHUTDOWN")
    with open(log, encoding="ascii") as f:
        text = f.read()
    assert text.startswith("before\n") and len(text) > len("before\n"), text


@table(raw={}, qcow2={"form": "qcow2"}, backing={"form": "qcow2", "backing": True}, direct={"direct": True})
def test_disks(t, form="raw", backing=False, direct=False):
    """A disk by descriptors of its own set, and what is below it by those of another; opened again it is the same."""
    base = t.disk()
    path = base if form == "raw" else t.qcow2(backing=(base, "raw") if backing else None)
    flags = os.O_DIRECT if direct else 0
    if direct:
        t.need_direct_io(path)
    rows = [(1, path, "rw", flags), (1, path, "r", flags)] + [(2, base, "r", 0)] * backing
    fds, extra = start_fds(t, *rows)
    lower = ['{"driver":"file","filename":"/dev/fdset/2","node-name":"low","read-only":true}'] * backing
    cache = ',"cache":{"direct":true,"no-flush":false}' if direct else ""
    upper = f'{{"driver":"file","filename":"/dev/fdset/1","node-name":"prot"{cache}}}'
    top = f'{{"driver":"{form}","file":"prot","node-name":"disk"{cache}' + \
        (',"backing":"low"' if backing else "") + "}"
    for node in [*lower, upper, top]:
        extra += ["-blockdev", node]
    vm = t.vmm("devices", "only=blk", fds=fds, extra=[*extra, "-device", "virtio-blk-device,drive=disk,serial=minivmm-disk",
                                          "-no-shutdown"])
    for fd in fds:
        os.close(fd)
    assert "disk" in str(vm.cmd("query-named-block-nodes")), vm.cmd("query-named-block-nodes")
    vm.serial.expect(r"ok blk\n(?:.*\n)*done \d+ failed 0\n")


@only_minivmm("the words are ours")
def test_disk_refused(t):
    """What a set lacks is said, and nothing is left open."""
    path = t.disk()
    vm = t.vmm("idle")
    add(vm, path, "r", fdset_id=3)
    node = {"driver": "raw", "node-name": "d", "file": {"driver": "file", "filename": "/dev/fdset/3"}}
    assert "the set has no descriptor that is open for reading and writing" in vm.qmp.fails("blockdev-add", **node)
    node["file"]["filename"] = "/dev/fdset/4"
    assert "there is no such descriptor set" in vm.qmp.fails("blockdev-add", **node)
    node["file"]["filename"] = "/dev/fdset/3x"
    assert "there is no such descriptor set" in vm.qmp.fails("blockdev-add", **node)
    assert in_use(vm, path) == 1
    node = {"driver": "raw", "node-name": "d", "read-only": True,
            "file": {"driver": "file", "filename": "/dev/fdset/3", "read-only": True}}
    vm.cmd("blockdev-add", **node)
    assert in_use(vm, path) == 2
    vm.cmd("remove-fd", fdset_id=3)
    assert sets(vm) == {3: []}
    vm.cmd("blockdev-del", node_name="d")
    assert sets(vm) == {} and in_use(vm, path) == 0


@only_minivmm("QEMU takes no set there")
def test_kernel_initrd_and_memory(t):
    """The other places that take a path."""
    saved = t.path("saved")
    fds, extra = start_fds(t, (1, guest_path("counter"), "r", 0), (2, guest_path("idle"), "r", 0))
    vm = machine(t, fds=fds, extra=[*extra, "-kernel", "/dev/fdset/1", "-initrd", "/dev/fdset/2"])
    with open(saved, "wb") as f:
        f.write(b"x" * 100)
    add(vm, saved, "w", fdset_id=9)
    vm.cmd("stop")
    vm.cmd("pmemsave", val=0, size=8192, filename="/dev/fdset/9")
    assert os.stat(saved).st_size == 8192
    vm.cmd("pmemsave", val=0, size=4096, filename="/dev/fdset/9")
    assert os.stat(saved).st_size == 4096


# ---- saved guests ----

GUEST = {"guest": "smp-counter", "append": "pages=300 rate=3000", "cpus": 2}


def way_of(vm, mapped, channels, direct):
    vm.capabilities(*(["mapped-ram"] * mapped), *(["multifd"] * bool(channels)))
    vm.cmd("migrate-set-parameters", multifd_channels=channels or 2, **({"direct_io": True} if direct else {}))


def header(path):
    """As libvirt leaves it: its own header, up to where the emulator's part begins."""
    with open(path, "wb") as f:
        f.write(b"H" * ODD)
    return path


def save_to_set(vm, path, direct=False):
    add(vm, path, "w", fdset_id=1, opaque="save")
    if direct:
        add(vm, path, "w", os.O_DIRECT, fdset_id=1, opaque="save-direct")
    vm.cmd("migrate", uri=f"file:/dev/fdset/1,offset={ODD:#x}")
    return vm.wait_migration("completed", "failed")


@only_minivmm("QEMU 7.2 has no file:")
@table(plain={}, mapped={"mapped": True}, channels={"mapped": True, "channels": 3},
       direct={"mapped": True, "channels": 2, "direct": True},
       permitted={"mapped": True, "channels": 2, "direct": True, "one_each": False})
def test_save_and_restore(t, mapped=False, channels=0, direct=False, one_each=True):
    """A guest saved behind a header into a set, over what an older save has left, and restored from one."""
    source = machine(t, **GUEST)
    path = header(t.path("saved"))
    if direct:
        t.need_direct_io(path)
    with open(path, "ab") as f:
        f.write(b"old" * 20_000_000)
    goes_on(source, 2)
    way_of(source, mapped, channels, direct)
    assert save_to_set(source, path, direct and one_each) == "completed", source.migration()
    with open(path, "rb") as f:
        assert f.read(ODD) == b"H" * ODD and f.read(4) == b"QEVM"
        assert mapped or b"oldold" not in f.read()
    fds, extra = start_fds(t, (0, path, "r", 0), *[(0, path, "r", os.O_DIRECT)] * (direct and one_each))
    dest = destination(t, source, None, paused=True, fds=fds, extra=extra)
    way_of(dest, mapped, channels, direct)
    dest.cmd("migrate-incoming", uri=f"file:/dev/fdset/0,offset={ODD:#x}")
    assert dest.wait_migration("completed", "failed") == "completed", dest.migration()
    ram.assert_equal(ram.read(source), ram.read(dest))
    t.forget(source)
    dest.cmd("cont")
    goes_on(dest, 2)


@only_minivmm("QEMU 7.2 has no file:")
def test_failed_save_is_no_guest(t):
    """A save that is cancelled leaves a header and nothing that could be restored; the guest goes on."""
    source = machine(t, **GUEST)
    path = header(t.path("saved"))
    source.cmd("migrate-set-parameters", max_bandwidth=65536)
    add(source, path, "w", fdset_id=1)
    source.cmd("migrate", uri=f"file:/dev/fdset/1,offset={ODD:#x}")
    source.wait_migration("active")
    source.cmd("migrate_cancel")
    assert source.wait_migration("cancelled", "failed", "completed") == "cancelled"
    goes_on(source)
    with open(path, "rb") as f:
        assert f.read(ODD) == b"H" * ODD
        assert f.read(4) in (b"", bytes(4))
    dest = destination(t, source, None)
    fd = opened(path, "r")
    dest.qmp.cmd("add-fd", fds=[fd], fdset_id=0)
    os.close(fd)
    dest.cmd("migrate-incoming", uri=f"file:/dev/fdset/0,offset={ODD:#x}")
    assert dest.wait_loaded() == "failed", dest.migration()


@only_minivmm("QEMU 7.2 has no file:")
@table(plain={}, mapped={"mapped": True})
def test_full_disk(t, mapped=False):
    """A save for which there is no room says so, leaves no guest, and the next one, elsewhere, succeeds."""
    source = machine(t, **GUEST)
    goes_on(source, 2)      # all its pages have content
    path = header(os.path.join(t.tmpfs(512), "saved"))
    way_of(source, mapped, 0, False)
    assert save_to_set(source, path) == "failed"
    assert "No space left on device" in source.migration()["error-desc"], source.migration()
    with open(path, "rb") as f:
        assert f.read(ODD) == b"H" * ODD and f.read(4) in (b"", bytes(4))
    goes_on(source, 2)
    source.cmd("remove-fd", fdset_id=1)
    while sets(source):     # what the failed save had open is closed behind "failed"
        os.sched_yield()
    assert save_to_set(source, header(t.path("other"))) == "completed", source.migration()


@only_minivmm("QEMU 7.2 has no file:")
def test_save_refused(t):
    source = machine(t, **GUEST)
    path = header(t.path("saved"))
    add(source, path, "r", fdset_id=1)
    for uri, says in ((f"file:/dev/fdset/1,offset={ODD}", "the set has no descriptor that is open for writing"),
                      ("file:/dev/fdset/2", "there is no such descriptor set")):
        try:
            source.cmd("migrate", uri=uri)
            assert source.wait_migration("failed", "completed") == "failed"
            got = source.migration()["error-desc"]
        except QmpError as e:
            got = e.desc
        assert says in got, got
    goes_on(source)
    assert os.stat(path).st_size == ODD
