"""Snapshots in a qcow2 file, loaded: how long until the guest runs, and until all of its memory is there."""
import os
import subprocess
import time

import measure
from measure import MIB
from vmm import Vmm

RANDOM_FROM = 64 * MIB      # the guest's own memory is below
DISK_MIB = 64


def disk(path):
    return ["-blockdev", f"driver=qcow2,node-name=disk,file.driver=file,file.filename={path}",
            "-device", "virtio-blk-device,drive=disk,id=disk0"]


def job(vm, what):
    """Runs snapshot-WHAT to its end; the seconds until it was concluded, and until the guest ran if it did before."""
    vm.jobs = getattr(vm, "jobs", 0) + 1
    name = f"{what}{vm.jobs}"
    vm.qmp.events.clear()
    runs, start = [], time.monotonic()

    def ended(e):
        if e["event"] == "RESUME":
            runs.append(time.monotonic() - start)
        return e["event"] == "JOB_STATUS_CHANGE" and e["data"] == {"status": "concluded", "id": name}
    vm.cmd(f"snapshot-{what}", job_id=name, tag="bench", vmstate="disk", devices=["disk"])
    vm.qmp.any_event(ended, f"the end of {name}")
    took = time.monotonic() - start
    info, = [j for j in vm.cmd("query-jobs") if j["id"] == name]
    if "error" in info:
        raise RuntimeError(f"{vm.kind}: snapshot-{what}: {info['error']}")
    vm.cmd("job-dismiss", id=name)
    return took, runs[-1] if runs else None


def resident(vm, otherwise):
    """Seconds from the load's begin until all memory is there, by its own account; 'otherwise': it was loaded at once."""
    while True:
        lazy = vm.migration().get("x-minivmm-lazy") if vm.kind != "qemu" else None
        if not lazy:
            return otherwise
        if "resident-us" in lazy:
            return lazy["resident-us"] / 1e6
        time.sleep(0.01)


def save(bench, tmp, gib):
    """A guest with so much random memory in an image, saved by minivmm; QEMU loads it, too."""
    path, size = f"{tmp}/saved{gib}.qcow2", (gib << 30) + RANDOM_FROM
    content = f"{tmp}/content"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, f"{DISK_MIB}M"], check=True)
    measure.fill(content, size, RANDOM_FROM, True)
    bench.count += 1
    vm = Vmm("minivmm", tmp, "idle", "", name=f"save{bench.count}", memory=f"{size // MIB}M", ram=content, extra=disk(path))
    try:
        vm.serial.expect("idle")
        job(vm, "save")
    finally:
        vm.close()
        os.unlink(content)
    return path


def load_once(bench, tmp, kind, path, gib):
    """-loadvm in a new process, then snapshot-load into that running guest, all of whose memory was touched."""
    bench.count += 1
    got, start = {}, time.monotonic()
    vm = Vmm(kind, tmp, "idle", "", name=f"load{bench.count}", memory=f"{((gib << 30) + RANDOM_FROM) // MIB}M",
             backend="anonymous", extra=[*disk(path), "-loadvm", "bench"])
    try:
        while vm.status() != "running":
            time.sleep(0.001)
        got["start_s"] = time.monotonic() - start
        got["start_resident_s"] = resident(vm, got["start_s"])
        took, got["again_s"] = job(vm, "load")
        got["again_resident_s"] = resident(vm, took)
    finally:
        vm.close()
    return got


def loads(bench, tmp):
    for gib in (1, 4, 8):
        path = save(bench, tmp, gib)
        got = bench.alternate(lambda kind, p=path, g=gib: load_once(bench, tmp, kind, p, g))
        os.unlink(path)
        name = f"{gib} GiB random, qcow2 snapshot"
        least = 1 / 20 if gib == 8 else None

        def figures(key, scale=1000, got=got):
            return {k: [r[key] * scale for r in v] for k, v in got.items()}

        def rates(key, got=got, gib=gib):
            return {k: [gib * 1024 / r[key] for r in v] for k, v in got.items()}
        bench.row(f"{name}, -loadvm, process start until it runs", "ms", figures("start_s"), least, False,
                  "with the start of the process")
        bench.row(f"{name}, -loadvm, until all is there: rate", "MiB/s", rates("start_resident_s"), 1, True)
        bench.row(f"{name}, snapshot-load, memory touched, until it runs", "ms", figures("again_s"), least, False,
                  "to reach: 10 ms at each size")
        bench.row(f"{name}, snapshot-load, until all is there: rate", "MiB/s", rates("again_resident_s"), 1, True)
