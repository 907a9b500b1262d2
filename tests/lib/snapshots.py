"""Snapshots in qcow2 images: guests with such disks, jobs and their events, what judges say of the images."""
import fcntl
import json
import os
import shutil
import struct
import subprocess
import time

import ram
from moves import machine
from qmp import GUARD

SECTOR = 512
LIFE = {"JOB_STATUS_CHANGE", "STOP", "RESUME", "MIGRATION", "MIGRATION_PASS"}


def tool(*argv, status=(0,)):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode in status, f"{' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def image(t, name, kilobytes=64, *options):
    """A new qcow2 file, by qemu-img."""
    t.need("qemu-img")
    path = t.path(name + ".qcow2")
    tool("qemu-img", "create", "-q", "-f", "qcow2", *options, path, f"{kilobytes}k")
    return path


def disk(node, path, *more):
    """Options for an image as a disk, which is called like its node."""
    return ["-blockdev", ",".join([f"driver=qcow2,node-name={node},file.driver=file,file.filename={path}", *more]),
            "-device", f"virtio-blk-device,drive={node},id=disk-{node}"]


def guest(t, images, append="pages=100 rate=2000 every=16", name="smp-counter", extra=(), **options):
    """A counting guest; images: {node name: path}, of which the first is at work. Its memory has page faults to be had."""
    options.setdefault("backend", "tmpfs")
    argv = [word for node, path in images.items() for word in disk(node, path)]
    vm = machine(t, name, append, extra=[*argv, *extra], **options)
    vm.images, vm.own_extra = dict(images), tuple(extra)
    return vm


def again(t, vm, *extra, **options):
    """Another program with the same machine over the same images, or other ones (images=); it has no guest at work yet."""
    images = options.pop("images", vm.images)
    given = {k: v for k, v in vm.options.items() if k != "extra"}
    given.update(options)
    argv = [word for node, path in images.items() for word in disk(node, path)]
    other = t.vmm(extra=[*argv, *vm.own_extra, *extra], **given)
    other.options, other.images, other.own_extra = dict(given), dict(images), vm.own_extra
    other.capabilities("events")
    return other


# ---- jobs ----

def told(events):
    """Names of the events that belong to a snapshot's life; passes of one migration once."""
    names = []
    for e in events:
        if e["event"] not in LIFE:
            continue
        d = e.get("data", {})
        name = d["status"] if e["event"] in ("JOB_STATUS_CHANGE", "MIGRATION") else e["event"]
        if e["event"] == "MIGRATION":
            name = "migration-" + name
        if name != "MIGRATION_PASS" or names[-1:] != [name]:
            names.append(name)
    return names


class Ended:
    """A job that has concluded: its error (None: none), what was told meanwhile."""

    def __init__(self, vm, job):
        seen = []

        def fits(e):
            seen.append(e)
            return e["event"] == "JOB_STATUS_CHANGE" and e["data"] == {"status": "concluded", "id": job}
        vm.qmp.any_event(fits, f"concluded of {job}")
        self.events = told(seen)
        info, = [j for j in vm.cmd("query-jobs") if j["id"] == job]
        self.error, self.bytes = info.get("error"), info["total-progress"]
        assert info["current-progress"] == info["total-progress"] >= (not self.error), info
        self.figures = figures = info.get("x-minivmm-snapshot")
        if vm.kind == "minivmm" and not self.error and info["type"] != "snapshot-delete":
            assert figures["vm-state-size"] > 0 and figures["pause-us"] <= figures["total-us"], info
            assert ("resume-us" in figures) == (info["type"] == "snapshot-load"), info
            assert figures.get("resident-us", 1 << 60) >= figures.get("resume-us", 0), info
            self.figures = figures
        else:
            assert figures is None, info
        vm.cmd("job-dismiss", id=job)
        vm.qmp.event("JOB_STATUS_CHANGE", status="null")


def begin(vm, what, tag, devices=None, vmstate=None, **more):
    """Starts snapshot-WHAT; the id of its job."""
    vm.jobs = getattr(vm, "jobs", 0) + 1
    job = f"{what}{vm.jobs}"
    names = list(vm.images) if devices is None else devices
    arguments = {"job_id": job, "tag": tag, "devices": names, **more}
    if what != "delete":
        arguments["vmstate"] = vmstate or list(vm.images)[0]
    vm.qmp.events.clear()
    vm.cmd(f"snapshot-{what}", **arguments)
    return job


def resident(vm):
    """Waits until all memory of a guest that was loaded lazily is there: before that it cannot be looked at from outside."""
    deadline = time.monotonic() + GUARD
    while vm.kind == "minivmm" and "resident-us" not in (now := vm.migration()).get("x-minivmm-lazy", {"resident-us": 0}):
        assert now["status"] == "postcopy-active" and time.monotonic() < deadline, now


def run(vm, what, tag, wait=True, **more):
    """wait: for all memory of a guest that is loaded, too."""
    ended = Ended(vm, begin(vm, what, tag, **more))
    if wait and what == "load" and not ended.error:
        resident(vm)
    return ended


def do(vm, what, tag, **more):
    """The same, of one that has to succeed."""
    ended = run(vm, what, tag, **more)
    assert ended.error is None, ended.error
    return ended


def reaches(vm, job, part):
    """True once the job has done that part of its work; False when it has ended before."""
    while True:
        for j in vm.cmd("query-jobs"):
            if j["id"] != job:
                continue
            if j["status"] == "concluded":
                return False
            if j["total-progress"] and j["current-progress"] >= part * j["total-progress"]:
                return True


# ---- images ----

def await_locks(path):
    """The io_uring of a killed program keeps its files, and writes, for a moment after it has been waited for."""
    with open(path, "r+b") as f:
        fcntl.fcntl(f, fcntl.F_OFD_SETLKW, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 100, 104, 0))


def check(path, leaks=False):
    """qemu-img finds nothing wrong with it; a killed program may leave leaks."""
    if leaks:
        await_locks(path)
    tool("qemu-img", "check", "-q", "-U", path, status=(0, 3) if leaks else (0,))


def listing(path):
    """{tag: bytes of VM state}, as qemu-img sees it."""
    info = json.loads(tool("qemu-img", "info", "-U", "--output=json", path))
    return {s["name"]: s["vm-state-size"] for s in info.get("snapshots", ())}


def content(t, path, tag=None):
    """The bytes of a disk: as it is now, or as it was."""
    raw = t.path("content.raw")
    snapshot = ["-l", f"snapshot.name={tag}"] if tag else []
    tool("qemu-img", "convert", "-U", *snapshot, "-f", "qcow2", "-O", "raw", path, raw)
    with open(raw, "rb") as f:
        return f.read()


def copy(t, path, name):
    to = t.path(name + ".qcow2")
    shutil.copyfile(path, to)
    return to


def written(number):
    """The sector that a counting guest writes at its request of that number."""
    return struct.pack("<64Q", *(number ^ i ^ ram.STAMP_MAGIC for i in range(64)))


def check_disk(data, requests):
    """Every sector is of the last of so many requests to it; the request that follows may be under way."""
    sectors = len(data) // SECTOR
    wrong = []
    for k in range(sectors):
        last = (requests - 1 - k) // sectors * sectors + k if requests > k else None
        wants = [written(last) if last is not None else bytes(SECTOR)]
        if k == requests % sectors:
            wants.append(written(requests))
        if data[k * SECTOR:(k + 1) * SECTOR] not in wants:
            first, = struct.unpack_from("<Q", data, k * SECTOR)
            wrong.append(f"sector {k}: request {first ^ ram.STAMP_MAGIC}, {last} expected of {requests}")
    assert not wrong, f"{len(wrong)} sectors: " + "; ".join(wrong[:5])


def check_instant(t, vm, tag):
    """A paused machine with a counting guest, just loaded: memory of one instant, and its disk too."""
    resident(vm)
    status = ram.check_range(vm)
    first = list(vm.images.values())[0]
    check_disk(content(t, first, tag), status["disk"])
    assert status["disk_errors"] == 0, status
    return status
