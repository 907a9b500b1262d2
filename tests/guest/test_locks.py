"""One image, one writer: byte locks on disk images, among minivmm, QEMU and qemu-img; over a move too."""
import os
import signal
import subprocess

from case import table
from moves import Way, arrived, destination, goes_on, machine

PAIRS = {"minivmm": ("minivmm", "minivmm"), "qemu_first": ("qemu", "minivmm"),
         "qemu_second": ("minivmm", "qemu")}
WRITER, READER, SHARED = ("", ""), (",readonly=on", ""), ("", ",share-rw=on")
UNLOCKED = (",file.locking=off", "")
COUNTER = {"guest": "counter", "append": "pages=50 rate=1000"}


def disk_options(path, use, n=0):
    drive, device = use
    return ["-drive", f"file.filename={path},if=none,id=d{n},format=raw{drive}",
            "-device", f"virtio-blk-device,drive=d{n}{device}"]


def user(t, kind, path, use):
    """A program with the disk that starts and stays."""
    return t.vmm("idle", kind=kind, paused=True, extra=disk_options(path, use))


def refused(t, kind, *options):
    """What a program says that does not start with these options."""
    vm = t.vmm("idle", kind=kind, paused=True, monitors=0, extra=[o for os_ in options for o in os_])
    assert vm.wait() == 1, vm.stderr()
    return vm.stderr()


def locks(vm, path):
    """The bytes of the image that the process holds locks on."""
    held, inode = set(), os.stat(path).st_ino
    for fd in os.listdir(f"/proc/{vm.pid}/fdinfo"):
        try:
            with open(f"/proc/{vm.pid}/fdinfo/{fd}", encoding="ascii") as info:
                lines = list(info)
        except FileNotFoundError:       # closed since the folder was read
            continue
        for line in lines:
            if line.startswith("lock:") and line.split()[6].endswith(f":{inode}"):
                assert line.split()[4] == "READ", line
                first, last = (int(x) for x in line.split()[7:9])
                held |= set(range(first, last + 1))
    return held


def who(vm):
    return f"process {vm.pid} ("


@table(**{f"{name}_{a}_{b}": {"kinds": kinds, "uses": uses} for name, kinds in PAIRS.items()
          for a, b, uses in (("writer", "writer", (WRITER, WRITER)), ("writer", "reader", (WRITER, READER)),
                             ("reader", "writer", (READER, WRITER)), ("writer", "shared", (WRITER, SHARED)),
                             ("shared", "writer", (SHARED, WRITER)))})
def test_second_user_is_refused(t, kinds, uses):
    """The second user is refused; minivmm names the file and the process that has it."""
    t.need(*kinds)
    path = t.disk()
    first = user(t, kinds[0], path, uses[0])
    text = refused(t, kinds[1], disk_options(path, uses[1]))
    assert "lock" in text and path in text, text
    if kinds[1] == "minivmm":
        assert who(first) in text, text


@table(**{f"{name}_{what}": {"kinds": kinds, "uses": uses} for name, kinds in PAIRS.items()
          for what, uses in (("readers", (READER, READER)), ("shared", (SHARED, SHARED)),
                             ("unlocked", (WRITER, UNLOCKED)), ("not_locked", (UNLOCKED, WRITER)))})
def test_second_user_is_welcome(t, kinds, uses):
    """Two readers, two that share, and one that does not lock, in either order."""
    t.need(*kinds)
    path = t.disk()
    first, second = (user(t, kind, path, use) for kind, use in zip(kinds, uses))
    assert first.status() == second.status() == "prelaunch"


@table(writer={"use": WRITER, "ours": {203}}, reader={"use": READER, "ours": {203}},
       shared={"use": SHARED, "ours": {203}})
def test_bytes_are_qemus(t, use, ours):
    """The same bytes as QEMU 7.2, and that the size may not change."""
    t.need("qemu")
    path, theirs = t.disk(), t.disk()
    assert locks(user(t, "minivmm", path, use), path) == \
        locks(user(t, "qemu", theirs, use), theirs) | ours


def test_same_file_twice(t):
    """Two disks of one machine over one file, also by another name."""
    path = t.disk()
    os.link(path, path + ".too")
    for second in (path, path + ".too"):
        text = refused(t, "minivmm", disk_options(path, WRITER), disk_options(second, WRITER, 1))
        assert second in text and "another disk of this machine" in text, text


@table(writer={"use": WRITER, "command": ("info",), "works": True},
       writer_resize={"use": WRITER, "command": ("resize", "-f", "raw"), "works": False},
       writer_dd={"use": WRITER, "command": ("dd", "count=1"), "works": True},
       writer_convert={"use": WRITER, "command": ("convert", "-f", "raw", "-O", "raw"), "works": False},
       reader={"use": READER, "command": ("info",), "works": True},
       reader_resize={"use": READER, "command": ("resize", "-f", "raw"), "works": False},
       shared_resize={"use": SHARED, "command": ("resize", "-f", "raw"), "works": False})
def test_qemu_img(t, use, command, works):
    """qemu-img beside a running minivmm does what it does beside QEMU: a raw image may be read."""
    t.need("qemu-img")
    path = t.disk()
    user(t, "minivmm", path, use)
    copy = t.path("copy")
    behind = {"resize": ["2M"], "convert": [copy], "dd": [f"of={copy}"]}.get(command[0], [])
    argv = ["qemu-img", *command, f"if={path}" if command[0] == "dd" else path, *behind]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == works, (argv, done)
    assert works or "lock" in done.stderr, done.stderr


@table(**{name: {"kinds": kinds} for name, kinds in PAIRS.items()})
def test_move(t, kinds):
    """The source has the image until it gives the guest up, and the destination from then on."""
    t.need(*kinds)
    path = t.disk()
    source = machine(t, **COUNTER, kind=kinds[0], disk=path)
    dest = destination(t, source, kind=kinds[1])
    assert 101 in locks(source, path) and not locks(dest, path)
    way = Way(t, "unix")
    dest.cmd("migrate-incoming", uri=way.incoming())
    way.start(source, dest)
    arrived(source, dest)
    dest.wait_running()
    assert locks(dest, path) >= {100, 101, 201} and 101 not in locks(source, path), locks(source, path)
    if kinds[1] == "minivmm":
        assert 203 in locks(dest, path)
    text = refused(t, "minivmm", disk_options(path, WRITER))
    assert who(dest) in text, text
    goes_on(dest)


@table(late={"late": True}, at_once={"late": False})
def test_arrives_paused(t, late):
    """late-block-activate: the image is not locked until 'cont'; else it is taken on arrival."""
    path = t.disk()
    source = machine(t, **COUNTER, disk=path)
    dest = destination(t, source, None, ["late-block-activate"] if late else [], paused=True)
    way = Way(t, "unix")
    dest.cmd("migrate-incoming", uri=way.incoming())
    way.start(source, dest)
    arrived(source, dest)
    assert not locks(source, path) and bool(locks(dest, path)) != late
    if late:
        with_it = user(t, "minivmm", path, WRITER)
        error = dest.qmp.fails("cont")
        assert path in error and who(with_it) in error, error
        t.forget(with_it)
    dest.cmd("cont")
    assert 101 in locks(dest, path)
    goes_on(dest)


def test_destination_cannot_have_it(t):
    """The destination's image is in use: it refuses the guest, which goes on at the source."""
    path, other = t.disk(), t.disk()
    with_it = user(t, "minivmm", other, WRITER)
    source = machine(t, **COUNTER, disk=path)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming(), disk=other)
    way.start(source, dest)
    source.wait_migration("failed")
    error = source.migration()["error-desc"]
    assert other in error and who(with_it) in error, error
    goes_on(source)
    assert 101 in locks(source, path) and not locks(dest, other)


def test_cancelled_at_the_last_moment(t):
    """The destination hangs when the image has been given up: the source has it back at once."""
    path = t.disk()
    source = machine(t, **COUNTER, disk=path)
    source.capabilities("pause-before-switchover")
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    source.wait_migration("pre-switchover")
    dest.signal(signal.SIGSTOP)
    source.cmd("migrate-continue", state="pre-switchover")
    while 101 in locks(source, path):
        assert source.migration()["status"] in ("pre-switchover", "device"), source.migration()
    source.cmd("migrate_cancel")
    source.wait_migration("cancelled")
    goes_on(source)
    assert 101 in locks(source, path)
