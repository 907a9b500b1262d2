"""Images of the qemu-img of each release, made with each of its options, are read and changed here; ours are read there."""
import os
import subprocess

import peers
from case import table
from images import Result, ok, raw_disk, run

OPTIONS = {
    "plain": "", "v2": "compat=0.10", "tiny": "cluster_size=512", "huge": "cluster_size=2M", "narrow": "refcount_bits=2",
    "wide": "refcount_bits=64,cluster_size=4k", "extended": "extended_l2=on", "extended_2m": "extended_l2=on,cluster_size=2M",
    "lazy": "lazy_refcounts=on", "zstd": "compression_type=zstd,cluster_size=128k", "metadata": "preallocation=metadata",
    "falloc": "preallocation=falloc,extended_l2=on", "full": "preallocation=full,cluster_size=32k",
}


def theirs(program, *words):
    """That release's qemu-img, which is beside its QEMU."""
    done = Result(subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL))
    assert done.status == 0, f"{words}: {done}"
    return done.out


def same(a, b):
    with open(a, "rb") as one, open(b, "rb") as other:
        assert one.read() == other.read(), f"{a} and {b} differ"


def check_made_there(t, qemu, options, packed):
    """Clean, read whole, and changed: a snapshot, its bitmap kept, other content, back again; they find it in order."""
    image, back = t.path("theirs.qcow2"), t.path("back")
    theirs(qemu, "convert", "-f", "raw", "-O", "qcow2", *packed, *(["-o", options] if options else []), t.path("one"), image)
    if "0.10" not in options:
        theirs(qemu, "bitmap", "--add", image, "b0")
    ok("minivmm", "check", "-f", "qcow2", image)
    ok("minivmm", "info", "-f", "qcow2", image)
    ok("minivmm", "convert", "-f", "qcow2", image, back)
    same(back, t.path("one"))
    ok("minivmm", "snapshot", "-c", "first", image)
    ok("minivmm", "convert", "-n", "-f", "raw", "-O", "qcow2", t.path("two"), image)
    for disk, words in (("two", ()), ("one", ("-l", "snapshot.name=first"))):
        theirs(qemu, "check", "-q", "-f", "qcow2", image)
        theirs(qemu, "convert", *words, "-f", "qcow2", "-O", "raw", image, back)
        same(back, t.path(disk))
    ok("minivmm", "snapshot", "-a", "first", image)     # theirs does not while there are bitmaps
    ok("minivmm", "convert", "-f", "qcow2", image, back)
    same(back, t.path("one"))
    ok("minivmm", "snapshot", "-d", "first", image)
    theirs(qemu, "check", "-q", "-f", "qcow2", image)


def check_made_here(t, qemu, options, packed):
    image, back = t.path("ours.qcow2"), t.path("back")
    ok("minivmm", "convert", "-f", "raw", "-O", "qcow2", *packed, *(["-o", options] if options else []), t.path("one"), image)
    ok("minivmm", "snapshot", "-c", "first", image)
    theirs(qemu, "check", "-q", "-f", "qcow2", image)
    theirs(qemu, "convert", "-f", "qcow2", "-O", "raw", image, back)
    same(back, t.path("one"))


@table(**{f"q{v.replace('.', '_')}_{name}": {"version": v, "options": options}
          for v in ("7.2", "10.0", "11.1") for name, options in OPTIONS.items()})
def test_options(t, version, options):
    t.need("qemu-img")
    program, why = peers.qemu(version)
    if why:
        t.skip(why)
    qemu = os.path.join(os.path.dirname(program), "qemu-img")
    for number, name in enumerate(("one", "two")):
        raw_disk(t.path(name), 4, seed=number + 1)
    for packed in ((), ("-c",)) if "preallocation" not in options and "refcount_bits=2" not in options else ((),):
        check_made_there(t, qemu, options, packed)
        check_made_here(t, qemu, options, packed)


@table(**{f"q{v.replace('.', '_')}": {"version": v} for v in ("7.2", "10.0", "11.1")})
def test_data_file(t, version):
    """What no release's image may be: one with its data in another file, which is refused by name."""
    t.need("qemu-img")
    program, why = peers.qemu(version)
    if why:
        t.skip(why)
    theirs(os.path.join(os.path.dirname(program), "qemu-img"), "create", "-q", "-f", "qcow2", "-o", f"data_file={t.path('data')}",
           t.path("split"), "1M")
    done = run("minivmm", "check", "-f", "qcow2", t.path("split"))
    assert done.status == 1 and "data file" in done.err, done
