"""minivmm-img beside qemu-img: converting and comparing disks, and the cost of writes to a qcow2 image.

All files lie in memory, so that programs are compared and not what a disk does meanwhile. What is left is for
the most part the kernel's copy into its page cache, which is the same for both: a note says how long that takes
with nothing but pwrite(), once for each write. No program that writes through the page cache is faster.

With REALTIME the programs run before all others of the host (SCHED_RR): on a host with other work a figure of a
second or less is else mostly a figure of the scheduler.
"""
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import time

from measure import MIB
from vmm import BUILD, PROGRAMS

REALTIME = False
DISK = 512          # MiB, a quarter of it zero
GIB = 1 << 30
CONVERT = {         # options; the aim
    "raw to qcow2": ((), 1.0),
    "raw to qcow2, zlib": (("-c",), 1.0),
    "raw to qcow2, zstd": (("-c", "-o", "compression_type=zstd"), 1.2),
}
WRITES = {          # bytes, step, how many, whether the clusters are there already
    "scattered 4 KiB, fresh clusters": (4096, 17 * 4096, 20000, False),
    "scattered 4 KiB, mapped clusters": (4096, 17 * 4096, 100000, True),
    "sequential 1 MiB, fresh clusters": (MIB, MIB, 1500, False),
    "sequential 1 MiB, mapped clusters": (MIB, MIB, 3000, True),
}


def program(kind):
    """The one that works on images, beside the one that runs guests."""
    if kind == "minivmm":
        return os.environ.get("MINIVMM_IMG", os.path.join(BUILD, "minivmm-img"))
    name = "qemu-img" if kind.startswith("qemu") else "minivmm-img"
    return os.path.join(os.path.dirname(PROGRAMS[kind]["path"]), name)


def go_first():
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def run(*words):
    """Seconds that pass, seconds of processor time, and what it printed."""
    start = time.monotonic()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                          preexec_fn=go_first if REALTIME else None) as process:
        said = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, said


def make_disk(path, holes=True):
    """Half of it shrinks, a quarter is random, a quarter is not there, or is random too."""
    numbers = random.Random(1)
    words = [numbers.randbytes(4).hex().encode() for _ in range(2000)]
    text = b" ".join(numbers.choice(words) for _ in range(120000))[:MIB]
    with open(path, "wb") as f:
        for i in range(DISK):
            f.seek(i * MIB)
            if i % 8 < 4:
                at = i * 977 % 65536
                f.write(text[at:] + text[:at])
            elif i % 8 < 6 or not holes:
                f.write(numbers.randbytes(MIB))
        f.truncate(DISK * MIB)


def convert_rows(bench, name, options, aim, source, target):
    def once(kind):
        got = run(program(kind), "convert", "-f", "raw", "-O", "qcow2", *options, source, target)
        run(program("qemu"), "compare", "-q", "-f", "raw", "-F", "qcow2", source, target)
        os.unlink(target)
        return got
    got = bench.alternate(once)
    bench.row(f"convert {name}: rate", "MiB/s", {k: [DISK / r[0] for r in v] for k, v in got.items()}, aim, True)
    bench.row("the same, CPU seconds", "s", {k: [r[1] for r in v] for k, v in got.items()}, None, False)


def convert(bench, folder):
    source, target = os.path.join(folder, "disk.raw"), os.path.join(folder, "disk.qcow2")
    make_disk(source)
    for name, (options, aim) in CONVERT.items():
        convert_rows(bench, name, options, aim, source, target)
    make_disk(source, holes=False)
    convert_rows(bench, "raw without holes to qcow2", (), 1.0, source, target)
    os.unlink(source)


def compare(bench, folder):
    """Equal disks, and the map of one in many pieces; nothing was promised of these."""
    raw, qcow2 = os.path.join(folder, "disk.raw"), os.path.join(folder, "disk.qcow2")
    make_disk(raw, holes=False)
    for name, options in (("qcow2", ()), ("qcow2, zstd", ("-c", "-o", "compression_type=zstd"))):
        run(program("qemu"), "convert", "-f", "raw", "-O", "qcow2", *options, raw, qcow2)
        got = bench.alternate(lambda kind: run(program(kind), "compare", "-f", "raw", "-F", "qcow2", raw, qcow2))
        bench.row(f"compare raw without holes with {name}: rate", "MiB/s",
                  {k: [DISK / r[0] for r in v] for k, v in got.items()}, None, True)
    os.unlink(raw)
    run(program("qemu"), "create", "-q", "-f", "qcow2", qcow2, f"{8 * GIB}")
    run(program("qemu"), "bench", "-w", "-q", "-f", "qcow2", "-t", "unsafe", "-d", "16", "-c", "60000", "-s", "4096", "-S",
        "131072", qcow2)
    got = bench.alternate(lambda kind: run(program(kind), "map", "--output=json", "-f", "qcow2", qcow2))
    bench.row("map of 120000 pieces: time", "ms", {k: [r[0] * 1000 for r in v] for k, v in got.items()}, None, False)
    os.unlink(qcow2)


def bare_writes(path, size, step, count, mapped):
    """Prints microseconds of processor time a write, of the same writes with pwrite() to a raw file."""
    data, disk = b"x" * size, (1 if mapped else 2) * GIB
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    for at in range(0, disk if mapped else 0, MIB):
        os.pwrite(fd, bytes(MIB), at)
    before = resource.getrusage(resource.RUSAGE_SELF)
    for i in range(count):
        os.pwrite(fd, data, i * step % (disk - size + 1))
    after = resource.getrusage(resource.RUSAGE_SELF)
    os.unlink(path)
    print((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e6 / count)


def bare(folder, runs, *how):
    """The median of so many runs, each in a process of its own."""
    words = [sys.executable, "-c", "import disks, sys; disks.bare_writes(sys.argv[1], *map(int, sys.argv[2:]))",
             os.path.join(folder, "bare"), *(str(int(h)) for h in how)]
    return statistics.median(float(run("env", "PYTHONPATH=" + ":".join(sys.path[:2]), *words)[2]) for _ in range(runs))


def writes(bench, folder):
    path = os.path.join(folder, "disk.qcow2")
    for name, (size, step, count, mapped) in WRITES.items():
        def once(kind, size=size, step=step, count=count, mapped=mapped):
            run(program("qemu"), "create", "-q", "-f", "qcow2", *(("-o", "preallocation=full") if mapped else ()), path,
                f"{(1 if mapped else 2) * GIB}")
            _, cpu, said = run(program(kind), "bench", "-w", "-f", "qcow2", "-t", "writeback", "-i", "io_uring", "-d", "16",
                               "-c", f"{count}", "-s", f"{size}", "-S", f"{step}", path)
            run(program("qemu"), "check", "-q", path)
            os.unlink(path)
            return count / float(re.search(r"completed in ([\d.]+) seconds", said).group(1)), cpu * 1e6 / count
        got = bench.alternate(once)
        note = f"a bare pwrite(): {bare(folder, bench.runs, size, step, count, mapped):.1f} us"
        bench.row(f"qcow2 writes, {name}: rate", "1/s", {k: [r[0] for r in v] for k, v in got.items()}, 1.2, True)
        bench.row("the same, CPU time of a write", "us", {k: [r[1] for r in v] for k, v in got.items()}, None, False,
                  note)
