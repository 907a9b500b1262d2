"""A stock Debian kernel: started, used, ended, moved, saved and brought back, under verified load."""
import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import encoders  # noqa: E402  pylint: disable=wrong-import-position
import peers  # noqa: E402  pylint: disable=wrong-import-position
import snapshots  # noqa: E402  pylint: disable=wrong-import-position
from case import only_minivmm, table  # noqa: E402  pylint: disable=wrong-import-position
from moves import make_older  # noqa: E402  pylint: disable=wrong-import-position
from linux import CLOCK_SLACK, Linux  # noqa: E402  pylint: disable=wrong-import-position

OVERRIDE = ("-global", "virtio-mmio.x-override-queue-size=1024")


@table(one={"cpus": 1}, two={"cpus": 2})
def test_boot(t, cpus):
    """Every device is found and works; powered off from inside, the program ends with 0."""
    guest = Linux(t, cpus=cpus, net=True, cpu="host")
    has = guest.started()
    assert (has["cpus"], has["disk"], has["net"]) == (cpus, 1, 1) and 64 < has["ram"] <= 128, has
    guest.works()
    guest.vmm.serial.write("o")
    guest.vmm.qmp.event("SHUTDOWN", guest=True, reason="guest-shutdown")
    assert guest.vmm.wait() == 0
    assert guest.check_disk() >= 1
    assert guest.net.connections == 1


@only_minivmm("QEMU starts an ELF kernel through an option ROM")
def test_boot_elf(t):
    """The uncompressed kernel, through its PVH note."""
    guest = Linux(t, kernel="vmlinux")
    assert guest.started()["disk"] == 1
    guest.works()


def test_reboot_and_power_button(t):
    """A reboot from inside stages the boot again; the button is seen, and the guest powers off."""
    guest = Linux(t)
    guest.started()
    guest.works()
    guest.vmm.serial.write("r")
    guest.vmm.qmp.event("RESET")
    guest.started()
    guest.works()
    guest.vmm.cmd("system_powerdown")
    guest.vmm.qmp.event("POWERDOWN")
    guest.vmm.serial.expect("^B$")
    guest.vmm.qmp.event("SHUTDOWN", guest=True)
    assert guest.vmm.wait() == 0


@table(one={"cpus": 1, "times": 4}, two={"cpus": 2, "times": 8}, twenty={"cpus": 2, "times": 20})
def test_moves_in_a_row(t, cpus, times):
    """Memory, disk, clock and one TCP connection go along, again and again."""
    guest = Linux(t, cpus=cpus, net=True)
    guest.started()
    guest.works()
    for n in range(times):
        report = guest.move()
        assert report["ram"]["transferred"] > 0
        beat = guest.works()
        print(f"move {n + 1}: {report['ram']['dirty-sync-count']} passes, "
              f"{report['downtime']} ms down; {beat}", flush=True)
    assert guest.net.connections == 1, "the connection was made anew"


@only_minivmm("between releases of QEMU")
@table(large={"hops": ("7.2", "ours", ("11.1", OVERRIDE), "ours", "10.0")}, real={"hops": ("ours", "11.1", "ours", "7.2")})
def test_releases_of_qemu(t, hops):
    """Queues of 1024, which a guest of 7.2 has, and those of our own size: from release to release, at work."""
    hops = [h if isinstance(h, tuple) else (h, ()) for h in hops]
    kinds = [t.kind if who == "ours" else peers.kind(t, who) for who, _ in hops]
    guest = Linux(t, net=True, kind=kinds[0])
    guest.started()
    guest.works()
    for kind, (_, more) in zip(kinds[1:], hops[1:]):
        guest.move(kind=kind, more=more)
        print(f"{kind}: {guest.works()}", flush=True)
    assert guest.net.connections == 1, "the connection was made anew"


def test_encoders(t):
    """One guest, its memory, disk and connection: moved with every encoder, onto a dirty ring, slowed down."""
    guest = Linux(t, cpus=2, net=True)
    guest.started()
    guest.works()
    for name in ("xbzrle", "compress", "multifd", "zlib", "zstd"):
        mode = dict(encoders.ENCODERS[name], found=1)
        how = {"ring": 4096} if name == "zlib" else {}      # which then tracks the next move
        # only deltas need a second pass
        report = guest.move(mode, (lambda info, m=mode: encoders.at_work(info, m)) if name == "xbzrle"
                            else None, **how)
        assert encoders.at_work(report, mode), report
        print(f"{name}: {report['ram']['dirty-sync-count']} passes, {report['ram']['transferred']} bytes, "
              f"{report['downtime']} ms down; {guest.works()}", flush=True)
    # A pause so short is not reached at the slow rate, however little a starved guest writes.
    guest.vmm.cmd("migrate-set-parameters", throttle_trigger_threshold=1, cpu_throttle_initial=50, downtime_limit=20)
    report = guest.move({"source": ("auto-converge",)}, lambda info: "cpu-throttle-percentage" in info)
    print(f"auto-converge: {report['ram']['dirty-sync-count']} passes; {guest.works()}", flush=True)
    assert guest.net.connections == 1, "the connection was made anew"
    assert guest.check_disk() >= 1


def test_save_and_load(t):
    """Into a file, ended, brought back: it goes on where it was."""
    guest = Linux(t, cpus=2)
    guest.started()
    guest.works()
    path = t.path("saved")
    save = "file:" + path if t.kind == "minivmm" else f"exec:cat > {path}"
    load = "file:" + path if t.kind == "minivmm" else f"exec:cat {path}"
    guest.vmm.cmd("migrate", uri=save)
    assert guest.vmm.wait_migration("completed", "failed") == "completed"
    guest.vmm.cmd("quit")
    assert guest.vmm.wait() == 0
    t.forget(guest.vmm)
    guest.moves += 1
    guest.vmm = guest.machine(incoming="defer", name="loaded")
    guest.vmm.cmd("migrate-incoming", uri=load)
    guest.vmm.wait_running()
    guest.works()
    guest.move()
    guest.works()


AGE = 1000          # seconds by which a file is made older
RESEEDED = "random: crng reseeded due to virtual machine fork"


def load(guest, path, load_clock):
    """Brings the guest back from a file, in a machine of its own."""
    guest.test.forget(guest.vmm)
    shutil.copyfile(path + ".disk", guest.disk)     # the disk that it was saved with, not the last copy's
    guest.moves += 1
    guest.vmm = guest.machine(incoming="defer", name=f"loaded{guest.moves}")
    guest.vmm.cmd("migrate-set-parameters", x_minivmm_load_clock=load_clock)
    guest.vmm.cmd("migrate-incoming", uri="file:" + path)
    guest.vmm.wait_running()
    guest.vmm.serial.expect(RESEEDED)
    guest.first = guest.last = None     # its clock may have gone on without it
    guest.works()


@only_minivmm("QEMU's microvm does not tell its guest of a generation ID")
@table(one={"cpus": 1}, two={"cpus": 2})
def test_copies(t, cpus):
    """Each load is another machine to Linux, a move is none; its clocks go on as they are asked to, and stay in step."""
    guest = Linux(t, cpus=cpus, options=("-device", "vmgenid"), words="loglevel=6", generic=True)
    guest.started()
    guest.works()
    guest.move()
    guest.works()
    assert RESEEDED not in guest.vmm.serial.seen
    least, most = guest.ahead()
    path = t.path("saved")
    guest.vmm.qmp.events.clear()        # of its own arrival
    guest.vmm.cmd("migrate", uri="file:" + path)
    assert guest.vmm.wait_migration("completed", "failed") == "completed"
    shutil.copyfile(guest.disk, path + ".disk")
    make_older(path, AGE)
    load(guest, path, "advance")
    ahead = guest.ahead()
    print(f"advance: ahead by {ahead}, before by {(least, most)}", flush=True)
    assert least + AGE - CLOCK_SLACK < ahead[1] and ahead[0] < most + AGE + CLOCK_SLACK, (ahead, least, most)
    load(guest, path, "freeze")
    ahead = guest.ahead()
    print(f"freeze: ahead by {ahead}", flush=True)
    assert ahead[0] < most + CLOCK_SLACK, (ahead, most)
    guest.move()
    guest.works()
    assert RESEEDED not in guest.vmm.serial.seen


def round_of_files(guest):
    """The guest has written one file more and read them all."""
    return int(guest.vmm.serial.expect(r"^F (\d+)$")[1])


@only_minivmm("QEMU stops the guest for the whole save")
@table(three={"times": 3}, ten={"times": 10})
def test_snapshots(t, times):
    """Saved under load into its disks, two of qcow2 and one of them with ext4: each snapshot goes on where it was."""
    t.need("mkfs.ext4", "e2fsck", "qemu-img")
    work, files, raw = snapshots.image(t, "work", 16 << 10), t.path("files.qcow2"), t.disk(32)
    snapshots.tool("mkfs.ext4", "-q", raw)
    snapshots.tool("qemu-img", "convert", "-O", "qcow2", raw, files)
    guest = Linux(t, cpus=2, images={"work": work, "files": files}, words="work.files=1")
    guest.started()
    saved = {}
    for n in range(times):
        beat = guest.works(mem=16, disk=1)
        round_of_files(guest)
        snapshots.do(guest.vmm, "save", f"s{n}")
        saved[f"s{n}"] = (beat, round_of_files(guest))
    for tag, (beat, newest) in reversed(saved.items()):
        snapshots.do(guest.vmm, "load", tag)
        guest.vmm.serial.pass_over()
        guest.first = guest.last = None
        assert round_of_files(guest) <= newest + 1, tag
        back = guest.works(mem=16, disk=1)
        print(f"{tag}: saved after {beat}; loaded, {back}", flush=True)
    guest.vmm.cmd("quit")
    assert guest.vmm.wait() == 0
    for path in (work, files):
        snapshots.check(path)
    for tag in saved:
        snapshots.tool("qemu-img", "convert", "-l", f"snapshot.name={tag}", "-O", "raw", files, raw)
        snapshots.tool("e2fsck", "-fy", raw, status=(0, 1))     # its journal
        snapshots.tool("e2fsck", "-fn", raw)


def test_cancel_in_flight(t):
    """The guest goes on where it is, and can be moved afterwards."""
    guest = Linux(t, net=True)
    guest.started()
    guest.works()
    target, uri = guest.destination()
    guest.half_way(uri)
    guest.vmm.cmd("migrate_cancel")
    assert guest.vmm.wait_migration("cancelled", "completed", "failed") == "cancelled"
    t.forget(target)
    assert guest.vmm.status() == "running"
    guest.works()
    guest.vmm.cmd("migrate-set-parameters", max_bandwidth=1 << 30)
    guest.move()
    guest.works()
    assert guest.net.connections == 1


def test_destination_killed_in_flight(t):
    """The source says why it failed, keeps the guest running, and can try again."""
    guest = Linux(t, cpus=2, net=True)
    guest.started()
    guest.works()
    target, uri = guest.destination()
    guest.half_way(uri)
    target.kill()
    assert guest.vmm.wait_migration("failed", "completed", "cancelled") == "failed"
    t.forget(target)
    if t.kind == "minivmm":
        assert guest.vmm.migration()["error-desc"]
    assert guest.vmm.status() == "running"
    guest.works()
    guest.vmm.cmd("migrate-set-parameters", max_bandwidth=1 << 30)
    guest.move()
    guest.works()
    assert guest.net.connections == 1


@only_minivmm("it is about minivmm and QEMU")
@table(one={"cpus": 1, "kind": "minivmm"}, from_qemu={"cpus": 2, "kind": "qemu"})
def test_stock_machine(t, cpus, kind):
    """QEMU's own machine: legacy transports on the second IOAPIC, no clock chip; to the other program and back."""
    guest = Linux(t, cpus=cpus, variant="stock", kind=kind)
    guest.started()
    guest.works()
    for to in ("minivmm", "qemu", "minivmm"):
        if to != guest.vmm.kind:
            guest.move(kind=to)
            guest.works()
    assert guest.check_disk() >= 1
