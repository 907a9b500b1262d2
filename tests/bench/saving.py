"""A guest that is saved while it runs, beside QEMU: how long it stands still, how fast it is meanwhile, how fast
it is saved, and what the program takes beside the guest's memory.

The guest writes into every page of its memory beforehand, and goes on, so each is a 4 KiB page of the
program's page tables. Its memory is a file in /dev/shm, and so is where it is saved.
"""
import os
import subprocess
import threading
import time

import measure
import ram
import snapshots as images
from measure import MIB
from vmm import PROGRAMS, Vmm

GIB = 1 << 30
FROM = 64 * MIB         # the guest itself is below
SMALL_SET = 256 * MIB
SAMPLE_S = 0.01
DISK = "1G"


def beyond(pid):
    """Bytes resident beside the guest's memory, which is a shared file here."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        fields = dict(line.split(":", 1) for line in f)
    return sum(int(fields[k].split()[0]) * 1024 for k in ("RssAnon", "RssFile"))


def written(vm):
    s = ram.status(vm)
    return s["generation"] * s["pages"] + s["index"]


def reset_gap(vm):
    at = ram.STATUS_GPA + 8 * ram.STATUS_FIELDS.index("gap")
    with open(vm.ram_path, "r+b", buffering=0) as f:
        f.seek(at)
        f.write(bytes(8))


class Watch(threading.Thread):
    """Looks at a saving program again and again."""

    def __init__(self, vm):
        super().__init__(daemon=True)
        self.vm, self.over = vm, threading.Event()
        self.before = self.most = beyond(vm.pid)
        self.pages, self.seen = ram.status(vm)["pages"], []
        self.start()

    def run(self):
        while not self.over.wait(SAMPLE_S) and self.vm.alive():
            self.most = max(self.most, beyond(self.vm.pid))
            self.seen.append((time.monotonic(), written(self.vm)))

    def end(self):
        self.over.set()
        self.join()

    def speed(self, since, until):
        """Pages a second, until the guest has written each of its own once: what it writes then is not protected."""
        seen = [s for s in self.seen if since <= s[0] <= until] or [(until, 0)]
        done = [s for s in seen if s[1] >= seen[0][1] + self.pages][:1]
        (t0, n0), (t1, n1) = seen[0], (done or seen[-1:])[0]
        return (n1 - n0) / (t1 - t0) if t1 > t0 else 0


def ticks_per_second(vm):
    before, start = ram.status(vm)["tsc"], time.monotonic()
    time.sleep(0.2)
    return (ram.status(vm)["tsc"] - before) / (time.monotonic() - start)


def told(vm, last):
    """{event: (when it says it happened, when it came)}, up to the last one."""
    seen = {}

    def fits(e):
        status = e.get("data", {}).get("status", "")
        name = f"{e['event']} {status}".rstrip()
        stamp = e["timestamp"]
        seen.setdefault(name, (stamp["seconds"] + stamp["microseconds"] / 1e6, time.monotonic()))
        return name == last or name in ("MIGRATION failed", "JOB_STATUS_CHANGE aborting")
    vm.qmp.any_event(fits, last)
    if last not in seen:
        raise RuntimeError(f"{vm.kind}: {vm.migration()} {vm.cmd('query-jobs')}\n{vm.stderr()}")
    return seen


def saved(vm, size, begin, last):
    """A guest at work is saved: begin() starts it, the event 'last' is its end."""
    hz, full = ticks_per_second(vm), measure.dirtying(vm) / ram.PAGE
    watch = Watch(vm)
    reset_gap(vm)
    vm.qmp.events.clear()
    start = time.monotonic()
    begin()
    events = told(vm, last)
    end = time.monotonic()
    watch.end()
    speed = watch.speed(events["RESUME"][1], end)
    return {"pause_ms": (events["RESUME"][0] - events["STOP"][0]) * 1000, "gap_ms": ram.status(vm)["gap"] / hz * 1000,
            "speed": speed, "kept": 100 * speed / full, "rate": size / MIB / (end - start),
            "beyond": (watch.most - watch.before) / MIB}


def guest(kind, folder, size, pages, name, rate=0, **options):
    """It writes to so many pages (0: all) of its memory over and over, and has written all of it."""
    touch = (size - FROM) // ram.PAGE
    vm = Vmm(kind, folder, "writer", f"start={FROM} pages={pages or touch} touch={touch} rate={rate}", name=name,
             memory=f"{size // MIB}M", **options)
    vm.serial.expect("writing")
    vm.capabilities("events")
    return vm


def file_uri(vm, path):
    """QEMU 7.2 opens no file itself, and newer ones take none that is open."""
    if ":" in path:
        return path
    if PROGRAMS[vm.kind]["file_uri"]:
        return f"file:{path}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
    vm.qmp.cmd("getfd", fds=[fd], fdname="out")
    os.close(fd)
    return "fd:out"


def stream_once(bench, kind, folder, size, path, pages, to="/dev/null"):
    """Into nothing, so that only the saving counts."""
    bench.count += 1
    vm = guest(kind, folder, size, pages, f"b{bench.count}", ram=path)
    try:
        vm.capabilities("background-snapshot")
        vm.cmd("migrate-set-parameters", max_bandwidth=0)
        uri = file_uri(vm, to)
        return saved(vm, size, lambda: vm.cmd("migrate", uri=uri), "MIGRATION completed")
    finally:
        vm.close()


def image_once(bench, kind, folder, size, path, disk, pages=0, rate=0):
    bench.count += 1
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, DISK], check=True)
    vm = guest(kind, folder, size, pages, f"i{bench.count}", rate, ram=path, extra=images.disk("root", disk))
    try:
        return saved(vm, size, lambda: vm.cmd("snapshot-save", job_id="save", tag="bench", vmstate="root",
                                              devices=["root"]), "JOB_STATUS_CHANGE concluded")
    finally:
        vm.close()
        images.check(disk, leaks=True)
        os.unlink(disk)


def figures(got, name):
    return {k: [r[name] for r in v] for k, v in got.items()}


def rows(bench, name, got, gib, speeds=True):
    bench.row(f"{name}: pause, from STOP to RESUME", "ms", figures(got, "pause_ms"), 0.1 if gib == 8 else None, False,
              limit=10)
    bench.row(f"{name}: longest wait that the guest sees", "ms", figures(got, "gap_ms"), None, False)
    if speeds:
        bench.row(f"{name}: pages that the guest writes", "1/s", figures(got, "speed"), 1.5, True)
        bench.row(f"{name}: of its own speed", "%", figures(got, "kept"), None, True)
    bench.row(f"{name}: rate", "MiB/s", figures(got, "rate"), None if speeds else 1.5, True)
    bench.row(f"{name}: resident beyond RAM, more than before", "MiB", figures(got, "beyond"), None, False,
              limit=8 if gib == 8 else None)


def background(bench, folder):
    """background-snapshot of guests that write to all of their memory, and of one that writes to a part."""
    for gib, pages in ((1, 0), (4, 0), (4, SMALL_SET // ram.PAGE), (8, 0)):
        path = os.path.join(folder, "touched")
        measure.fill(path, gib * GIB, FROM, True)
        got = bench.alternate(lambda kind, g=gib, n=pages, p=path: stream_once(bench, kind, folder, g * GIB, p, n))
        os.unlink(path)
        part = ", 256 MiB at work" if pages else ""
        rows(bench, f"background-snapshot, {gib} GiB{part}", got, gib)


def snapshots(bench, folder, sizes=(1, 4)):
    """snapshot-save into a qcow2 image; QEMU's guest stands still meanwhile."""
    for gib in sizes:
        path, disk = os.path.join(folder, "touched"), os.path.join(folder, "disk.qcow2")
        measure.fill(path, gib * GIB, FROM, True)
        got = bench.alternate(lambda kind, g=gib, p=path, d=disk: image_once(bench, kind, folder, g * GIB, p, d))
        os.unlink(path)
        rows(bench, f"snapshot-save, {gib} GiB", got, gib, False)
