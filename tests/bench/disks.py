"""minivmm-img beside qemu-img: converting a disk, and the cost of writes to a qcow2 image.

All files lie in memory, so that programs are compared and not what a disk does meanwhile.
"""
import os
import random
import re
import subprocess
import time

from measure import MIB
from vmm import BUILD, PROGRAMS

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


def run(*words):
    """Seconds that pass, seconds of processor time, and what it printed."""
    start = time.monotonic()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        said = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, said


def make_disk(path):
    """Half of it shrinks, a quarter is random, a quarter is not there."""
    numbers = random.Random(1)
    words = [numbers.randbytes(4).hex().encode() for _ in range(2000)]
    text = b" ".join(numbers.choice(words) for _ in range(120000))[:MIB]
    with open(path, "wb") as f:
        for i in range(DISK):
            f.seek(i * MIB)
            if i % 8 < 4:
                at = i * 977 % 65536
                f.write(text[at:] + text[:at])
            elif i % 8 < 6:
                f.write(numbers.randbytes(MIB))
        f.truncate(DISK * MIB)


def convert(bench, folder):
    source, target = os.path.join(folder, "disk.raw"), os.path.join(folder, "disk.qcow2")
    make_disk(source)
    for name, (options, aim) in CONVERT.items():
        def once(kind, options=options):
            got = run(program(kind), "convert", "-f", "raw", "-O", "qcow2", *options, source, target)
            run(program("qemu"), "compare", "-q", "-f", "raw", "-F", "qcow2", source, target)
            os.unlink(target)
            return got
        got = bench.alternate(once)
        bench.row(f"convert {name}: rate", "MiB/s", {k: [DISK / r[0] for r in v] for k, v in got.items()}, aim, True)
        bench.row("the same, CPU seconds", "s", {k: [r[1] for r in v] for k, v in got.items()}, None, False)
    os.unlink(source)


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
        bench.row(f"qcow2 writes, {name}: rate", "1/s", {k: [r[0] for r in v] for k, v in got.items()}, 1.2, True)
        bench.row("the same, CPU time of a write", "us", {k: [r[1] for r in v] for k, v in got.items()}, None, False)
