"""minivmm-img convert and bench: the target holds the disk, says qemu-img, and lies as it should."""
import os
import re
import shutil

from case import table
from images import MIB, clean, io, ok, raw_disk, run, same_disk, sample


@table(
    plain=dict(options=()),
    threads_1=dict(options=("-m", "1")),
    threads_16=dict(options=("-m", "16", "-W")),
    zlib=dict(options=("-c",)),
    zstd=dict(options=("-c", "-o", "compression_type=zstd")),
    zstd_threads=dict(options=("-c", "-m", "16", "-o", "compression_type=zstd")),
    zlib_any_order=dict(options=("-c", "-W", "-m", "8")),
    small=dict(options=("-o", "cluster_size=512")),
    small_packed=dict(options=("-c", "-o", "cluster_size=4k")),
    large=dict(options=("-o", "cluster_size=2M")),
    large_packed=dict(options=("-c", "-o", "cluster_size=2M")),
    version_2=dict(options=("-o", "compat=0.10")),
    extended=dict(options=("-o", "extended_l2=on")),
    extended_packed=dict(options=("-c", "-o", "extended_l2=on")),
    lazy=dict(options=("-o", "lazy_refcounts=on")),
    refcounts=dict(options=("-o", "refcount_bits=1")),
    metadata=dict(options=("-o", "preallocation=metadata")),
    full=dict(options=("-o", "preallocation=full")),
    all_written=dict(options=("-S", "0")),
    sparse=dict(options=("-S", "512")),
    dense=dict(options=("-S", "1M")),
    direct=dict(options=("-t", "none", "-T", "none")),
    flushed=dict(options=("-t", "writeback")),
)
def test_to_qcow2(t, options):
    """Out of a raw file, and back into one with the other program."""
    t.need("qemu-img")
    raw = raw_disk(t.path("raw"), 8)
    os.truncate(raw, 8 * MIB + 1000)        # it ends in the middle of a sector
    ok("minivmm", "convert", "-f", "raw", "-O", "qcow2", *options, raw, t.path("out"))
    clean(t.path("out"))
    same_disk(raw, "raw", t.path("out"), "qcow2")
    ok("minivmm", "compare", "-f", "raw", "-F", "qcow2", raw, t.path("out"))
    ok("minivmm", "convert", "-f", "qcow2", "-O", "raw", t.path("out"), t.path("back"))
    same_disk(raw, "raw", t.path("back"), "raw")


def test_order(t):
    """With any number of threads the clusters lie in the order of the disk, and packed ones one behind the other."""
    t.need("qemu-img")
    raw = raw_disk(t.path("raw"), 24, 7)
    for options in ((), ("-c",)):
        for threads in (1, 16):
            ok("minivmm", "convert", "-m", threads, "-f", "raw", "-O", "qcow2", *options, raw, t.path(f"out{threads}"))
        one, many = (open(t.path(f"out{n}"), "rb").read() for n in (1, 16))
        assert one == many, "the image depends on the number of threads"
    ok("minivmm", "convert", "-f", "raw", "-O", "qcow2", raw, t.path("out"))
    at = [e["offset"] for e in ok("qemu", "map", "--output=json", t.path("out")).json() if e["data"]]
    assert at == sorted(at), at


def test_holes(t):
    """What is zero takes no space: holes, and zeroes that are written, down to -S."""
    raw = raw_disk(t.path("raw"), 8)
    used = {}
    for size in ("4k", "64k", "1M", "0"):
        ok("minivmm", "convert", "-f", "raw", "-S", size, raw, t.path("out"))
        used[size] = os.stat(t.path("out")).st_blocks
        with open(raw, "rb") as a, open(t.path("out"), "rb") as b:
            assert a.read() == b.read()
    assert used["4k"] < used["64k"] < used["1M"] <= used["0"] == 8 * MIB // 512, used


@table(raw=dict(fmt="raw"), qcow2=dict(fmt="qcow2"))
def test_onto_existing(t, fmt):
    """-n: what was there goes, also where the source is zero; --target-is-zero believes the user."""
    t.need("qemu-img", "qemu-io")
    raw = raw_disk(t.path("raw"), 4)
    ok("qemu", "create", "-f", fmt, t.path("out"), "4M")
    io(t.path("out"), "write -P 0xee 0 4M", fmt=fmt)
    ok("minivmm", "convert", "-n", "-f", "raw", "-O", fmt, raw, t.path("out"))
    same_disk(raw, "raw", t.path("out"), fmt)
    ok("qemu", "create", "-f", fmt, t.path("empty"), "4M")
    ok("minivmm", "convert", "-n", "--target-is-zero", "-f", "raw", "-O", fmt, raw, t.path("empty"))
    same_disk(raw, "raw", t.path("empty"), fmt)
    ok("qemu", "create", "-f", fmt, t.path("small"), "1M")
    done = run("minivmm", "convert", "-n", "-f", "raw", "-O", fmt, raw, t.path("small"))
    assert done.status == 1 and "smaller than input" in done.err, done


def test_overlays(t):
    """A chain becomes one image; with -B what the top has alone is copied, its zeroes too."""
    t.need("qemu-img", "qemu-io")
    base = raw_disk(t.path("base"), 4)
    ok("qemu", "create", "-f", "qcow2", "-b", base, "-F", "raw", t.path("top"), "6M")
    io(t.path("top"), "write -P 9 100k 200k", "write -z 1M 128k", "write -P 0 2M 64k", "write -P 3 5M 64k")
    ok("minivmm", "convert", "-f", "qcow2", "-O", "qcow2", t.path("top"), t.path("flat"))
    same_disk(t.path("top"), "qcow2", t.path("flat"), "qcow2")
    assert "backing-filename" not in ok("qemu", "info", "--output=json", t.path("flat")).json()
    ok("minivmm", "convert", "-f", "qcow2", "-O", "qcow2", "-B", base, "-F", "raw", t.path("top"), t.path("thin"))
    clean(t.path("thin"))
    same_disk(t.path("top"), "qcow2", t.path("thin"), "qcow2")
    depths = {e["depth"] for e in ok("qemu", "map", "--output=json", t.path("thin")).json()}
    assert depths == {0, 1}, depths
    assert os.stat(t.path("thin")).st_blocks < os.stat(t.path("flat")).st_blocks


def test_snapshot(t):
    """The disk of a snapshot, by name or id, is what qemu-img makes of it."""
    t.need("qemu-img")
    path = sample(t, "snap-7.2")
    for which in ("disk-only", "first", "second", "snapshot.name=second", "snapshot.id=2", "3"):
        for kind in ("minivmm", "qemu"):
            ok(kind, "convert", "-f", "qcow2", "-l", which, "-O", "raw", path, t.path(kind))
        same_disk(t.path("minivmm"), "raw", t.path("qemu"), "raw")
    done = run("minivmm", "convert", "-l", "none", path, t.path("out"))
    assert done.status == 1 and "no snapshot 'none'" in done.err and not os.path.exists(t.path("out")), done


@table(**{n.replace("-", "_"): {"name": n} for n in ("compressed-zlib", "compressed-zstd", "extended-l2", "lazy-dirty")})
def test_samples(t, name):
    """Clusters of each kind are read."""
    t.need("qemu-img")
    path = sample(t, name)
    for kind in ("qemu", "minivmm"):
        ok(kind, "convert", "-f", "qcow2", "-O", "raw", path, t.path(kind))
    same_disk(t.path("minivmm"), "raw", t.path("qemu"), "raw")


def test_several(t):
    """Sources one behind the other."""
    t.need("qemu-img")
    parts = [raw_disk(t.path(f"part{i}"), i, i) for i in (1, 2, 3)]
    os.truncate(parts[0], MIB + 512)
    for kind in ("minivmm", "qemu"):
        ok(kind, "convert", "-f", "raw", "-O", "qcow2", *parts, t.path(kind))
    clean(t.path("minivmm"))
    same_disk(t.path("minivmm"), "qcow2", t.path("qemu"), "qcow2")


REFUSED = {
    "one_file": (("RAW",), "FILE"),
    "format": (("-O", "vmdk", "RAW", "OUT"), "'vmdk' is not supported"),
    "raw_packed": (("-c", "-O", "raw", "RAW", "OUT"), "Compression not supported"),
    "packed_full": (("-c", "-O", "qcow2", "-o", "preallocation=full", "RAW", "OUT"), "at the same time"),
    "sparse_words": (("-S", "foo", "RAW", "OUT"), "Invalid sparse size"),
    "sparse_odd": (("-S", "513", "RAW", "OUT"), "Invalid sparse size"),
    "threads_0": (("-m", "0", "RAW", "OUT"), "from 1 to 16"),
    "threads_17": (("-m", "17", "RAW", "OUT"), "from 1 to 16"),
    "absent": (("-n", "RAW", "OUT"), "No such file"),
    "snapshot": (("-l", "none", "RAW", "OUT"), "no snapshot"),
    "option": (("-O", "qcow2", "-o", "foo=1", "RAW", "OUT"), "Invalid parameter 'foo'"),
    "backing_alone": (("-O", "qcow2", "-B", "RAW", "RAW", "OUT"), "without backing format"),
    "backing_raw": (("-O", "raw", "-B", "RAW", "-F", "raw", "RAW", "OUT"), "not supported for file format 'raw'"),
    "cache": (("-t", "foo", "RAW", "OUT"), "Invalid cache mode 'foo'"),
    "source_cache": (("-T", "foo", "RAW", "OUT"), "Invalid cache mode 'foo'"),
    "zero": (("--target-is-zero", "RAW", "OUT"), "requires use of -n"),
    "source_format": (("-f", "qcow2", "RAW", "OUT"), "RAW"),
    "folder": (("RAW", "/nonexistent/x"), "No such file"),
}


def test_refused(t):
    """Refused in one sentence, as by qemu-img, and nothing is left."""
    t.need("qemu-img")
    names = {"RAW": raw_disk(t.path("raw"), 1), "OUT": t.path("out")}
    for name, (words, text) in REFUSED.items():
        words = [names.get(w, w) for w in words]
        mine = run("minivmm", "convert", *words)
        assert mine.status == 1 and mine.err.startswith("minivmm-img: ") and mine.err.count("\n") == 1, (name, mine)
        assert names.get(text, text) in mine.err and not os.path.exists(t.path("out")), (name, mine)
        theirs = run("qemu", "convert", *words)
        assert theirs.status == 1 or name == "format", (name, theirs)
        if os.path.exists(t.path("out")):
            os.unlink(t.path("out"))
    for option in (("-C",), ("-r", "1M"), ("--salvage",), ("--bitmaps",), ("--image-opts",), ("--object", "x")):
        done = run("minivmm", "convert", *option, names["RAW"], names["OUT"])
        assert done.status == 1 and option[0] in done.err and "not supported" in done.err, done


def test_onto_itself(t):
    """The source, and what lies below it, is not the target."""
    raw = raw_disk(t.path("raw"), 1)
    with open(raw, "rb") as f:
        before = f.read()
    os.link(raw, t.path("link"))
    for target in (raw, t.path("link")):
        assert "is a source and the target" in run("minivmm", "convert", "-f", "raw", raw, target).err
    with open(raw, "rb") as f:
        assert f.read() == before


def test_no_space(t):
    """A target that does not fit is removed, and the cause is said."""
    folder = t.tmpfs(1000)
    raw = raw_disk(t.path("raw"), 8)
    for options in (("-O", "raw"), ("-O", "qcow2"), ("-O", "qcow2", "-c")):
        out = os.path.join(folder, "out")
        done = run("minivmm", "convert", "-S", "0", "-f", "raw", *options, raw, out)
        assert done.status == 1 and "No space left" in done.err, done
        assert not os.path.exists(out), done


BENCHES = {
    "read": (), "write": ("-w", "--pattern=17"), "sizes": ("-s", "64k", "-S", "128k", "-o", "64k"), "depth": ("-d", "1"),
    "deep": ("-d", "256",), "threads": ("-i", "threads", "-w"), "direct": ("-t", "none"), "native": ("-n", "-t", "none"),
    "flush": ("-w", "--flush-interval=64"), "no_drain": ("-w", "-d", "8", "--flush-interval=16", "--no-drain"),
    "writethrough": ("-w", "-t", "writethrough"), "unsafe": ("-w", "-t", "unsafe"), "none": ("-c", "0"),
}


@table(raw=dict(fmt="raw"), qcow2=dict(fmt="qcow2"))
def test_bench(t, fmt):
    """The lines are qemu-img's but for the time; what was written is there, and the image is clean."""
    t.need("qemu-img", "qemu-io")
    said = {}
    for kind in ("minivmm", "qemu"):
        ok("qemu", "create", "-f", fmt, t.path(kind), "16M")
        for name, options in BENCHES.items():
            count = () if "-c" in options else ("-c", "500")
            if kind == "qemu" and name == "native":
                continue        # it needs libaio on this file system
            text = ok(kind, "bench", "-f", fmt, *count, *options, t.path(kind)).out
            assert re.search(r"^Run completed in \d+\.\d\d\d seconds\.$", text, re.M), text
            said.setdefault(kind, {})[name] = re.sub(r"in \d+\.\d+ s", "in - s", text)
            if fmt == "qcow2":
                clean(t.path(kind))
            if name == "write":
                io(t.path(kind), "read -P 17 0 2000k", fmt=fmt)
    said["minivmm"].pop("native")
    assert said["minivmm"] == said["qemu"], said
    for options in (("-s", "0"), ("-s", "1000"), ("-c", "x"), ("-d", "0"), ("-i", "foo"), ("-t", "foo"), ("-n",), ("-o", "17M"),
                    ("--flush-interval=9",), ("-w", "--flush-interval=9"), ("-w", "-U"), ("-w", "--pattern=300")):
        done = run("minivmm", "bench", "-f", fmt, *options, t.path("minivmm"))
        assert done.status == 1 and done.err.startswith("minivmm-img: ") and done.err.count("\n") == 1, (options, done)


def test_fresh_image_again(t):
    """A target that was there with a snapshot and more is made anew."""
    t.need("qemu-img", "qemu-io")
    raw = raw_disk(t.path("raw"), 2)
    out = shutil.copy(sample(t, "snap-7.2"), t.path("out"))
    ok("minivmm", "convert", "-f", "raw", "-O", "qcow2", raw, out)
    clean(out)
    same_disk(raw, "raw", out, "qcow2")
    assert "snapshots" not in ok("qemu", "info", "--output=json", out).json()
