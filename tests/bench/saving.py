"""A guest that is saved while it runs, beside QEMU: how long it stands still, how fast it is meanwhile, how fast
it is saved, and what the program takes beside the guest's memory.

The guest writes into every page of its memory beforehand, and goes on, so each is a 4 KiB page of the
program's page tables. Its memory is a file in /dev/shm, and so is what it is saved into.
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
LOW = 2816 * MIB        # of the memory below 4 GiB
SMALL_SET = 256 * MIB
SIZES = (1, 4, 8)       # GiB
LITTLE = (4096, 12800)  # pages, and how many of them a second
NOTHING = "exec:cat > /dev/null"        # so that only the saving counts; QEMU 11.1 takes no /dev/null itself
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
    end, at = time.monotonic(), written(vm)
    watch.end()
    while written(vm) == at:        # or the guest has not noticed that it stood still
        time.sleep(0.001)
    speed = watch.speed(events["RESUME"][1], end)
    return {"pause_ms": (events["RESUME"][0] - events["STOP"][0]) * 1000, "gap_ms": ram.status(vm)["gap"] / hz * 1000,
            "speed": speed, "kept": 100 * speed / full, "rate": size / MIB / (end - start),
            "beyond": (watch.most - watch.before) / MIB}


def guest(kind, folder, size, pages, name, rate=0, **options):
    """It writes to so many pages (0: all) of its memory over and over, and has written all of it.

    It reaches what is below LOW; the rest is brought into the program's page tables from outside.
    """
    touch = (min(size, LOW) - FROM) // ram.PAGE
    vm = Vmm(kind, folder, "writer", f"start={FROM} pages={pages or touch} touch={touch} rate={rate}", name=name,
             memory=f"{size // MIB}M", **options)
    vm.serial.expect("writing")
    with open(f"/proc/{vm.pid}/mem", "rb", buffering=0) as f:
        f.seek(ram.mapping(vm) + min(size, LOW))
        for _ in range((size - min(size, LOW)) // (4 * MIB)):
            f.read(4 * MIB)
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


def stream_once(bench, kind, folder, size, path, pages, to):
    """A background snapshot to there."""
    bench.count += 1
    vm = guest(kind, folder, size, pages, f"b{bench.count}", ram=path)
    try:
        vm.capabilities("background-snapshot")
        vm.cmd("migrate-set-parameters", max_bandwidth=0)
        uri = file_uri(vm, to)
        return saved(vm, size, lambda: vm.cmd("migrate", uri=uri), "MIGRATION completed")
    finally:
        vm.close()
        if os.path.exists(to):
            os.unlink(to)


def image_once(bench, kind, folder, size, path, disk, pages=0, rate=0):
    """snapshot-save into a new image."""
    bench.count += 1
    if disk.startswith(folder):
        measure.warm_cache(disk, size)
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


def rows(bench, name, got, gib, speed=None, rate=None):
    """speed, rate: the aims."""
    large = gib == max(SIZES)
    bench.row(f"{name}: pause, from STOP to RESUME", "ms", figures(got, "pause_ms"), 0.1 if large else None, False,
              limit=10)
    bench.row("the same: longest wait that the guest sees", "ms", figures(got, "gap_ms"), None, False)
    bench.row("the same: pages that the guest writes", "1/s", figures(got, "speed"), speed, True)
    bench.row("the same: of its own speed", "%", figures(got, "kept"), None, True)
    bench.row("the same: rate", "MiB/s", figures(got, "rate"), rate, True)
    bench.row("the same: resident beyond RAM, more than before", "MiB", figures(got, "beyond"), None, False,
              limit=8 if large else None)


def background(bench, folder):
    """background-snapshot of guests that write to all of their memory, and to a part of it."""
    path, out = os.path.join(folder, "touched"), os.path.join(folder, "saved")
    small = bench.gib[0]
    works = [(gib, 0, NOTHING) for gib in bench.gib]
    if small < max(SIZES):
        works += [(small, SMALL_SET // ram.PAGE, NOTHING), (small, 0, out)]
    for gib, pages, to in works:
        def once(kind, gib=gib, pages=pages, to=to):
            if to == out:
                measure.warm_cache(out, gib * GIB)
            return stream_once(bench, kind, folder, gib * GIB, path, pages, to)
        measure.fill(path, gib * GIB, FROM, True)
        got = bench.alternate(once)
        os.unlink(path)
        how = (", 256 MiB at work" if pages else "") + (", into a file" if to == out else "")
        rows(bench, f"background-snapshot, {gib} GiB{how}", got, gib, speed=1.5)


def snapshots(bench, folder):
    """snapshot-save into a qcow2 image, of a guest at work and of one that does little; QEMU's stands still meanwhile."""
    path, disk = os.path.join(folder, "touched"), os.path.join(folder, "disk.qcow2")
    for gib in bench.gib:
        # Two files of the largest size are more than a host may have memory for; and then the disk counts.
        large = gib == max(SIZES)
        to, where = (os.path.join(bench.out, "disk.qcow2"), ", image on a disk") if large else (disk, "")
        for pages, rate in ((0, 0),) if large else ((0, 0), LITTLE):
            def once(kind, gib=gib, pages=pages, rate=rate, to=to):
                return image_once(bench, kind, folder, gib * GIB, path, to, pages, rate)
            measure.fill(path, gib * GIB, FROM, True)
            got = bench.alternate(once)
            os.unlink(path)
            name = f"snapshot-save, {gib} GiB{where}"
            if rate:
                bench.row(f"{name}, a guest that does little: rate", "MiB/s", figures(got, "rate"), 1.5, True)
            else:
                rows(bench, name, got, gib)
