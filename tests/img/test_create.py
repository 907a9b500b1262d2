"""minivmm-img create, resize: what it makes is what qemu-img makes; what qemu-img refuses is refused."""
import os

from case import table
from images import MIB, Holder, clean, io, ok, run, without_space

QCOW2 = ("-f", "qcow2")


def made_alike(t, *args):
    """Both make an image of these options: what they print, and what both say of it, is the same."""
    said = {}
    fmt = args[args.index("-f") + 1]
    for kind in ("minivmm", "qemu"):
        said[kind] = [ok(kind, "create", *args[:-1], t.path("disk"), *args[-1:]).out]
        if fmt == "qcow2":
            clean(t.path("disk"))
        for judge in ("minivmm", "qemu"):
            for how in ("human", "json"):
                text = ok(judge, "info", "-f", fmt, f"--output={how}", t.path("disk")).out
                said[kind].append(without_space(text))
    assert said["minivmm"] == said["qemu"], said


@table(
    plain=dict(options=""),
    compat_2=dict(options="compat=0.10"),
    compat_v3=dict(options="compat=v3"),
    clusters_512=dict(options="cluster_size=512"),
    clusters_4k=dict(options="cluster_size=4k"),
    clusters_2m=dict(options="cluster_size=2M"),
    refcounts_1=dict(options="refcount_bits=1"),
    refcounts_64=dict(options="refcount_bits=64"),
    extended=dict(options="extended_l2=on"),
    extended_big=dict(options="extended_l2=on,cluster_size=1M"),
    lazy=dict(options="lazy_refcounts=on"),
    zstd=dict(options="compression_type=zstd"),
    metadata=dict(options="preallocation=metadata"),
    falloc=dict(options="preallocation=falloc"),
    full=dict(options="preallocation=full"),
    several=dict(options="cluster_size=16k,refcount_bits=8,lazy_refcounts=on,compression_type=zstd"),
)
def test_option(t, options):
    """Each option of a qcow2 image: it is clean, and described in the same words."""
    t.need("qemu-img")
    made_alike(t, *QCOW2, *(("-o", options) if options else ()), "16M")


@table(plain=dict(size="1M"), odd=dict(size="1000"), falloc=dict(size="2M", options="preallocation=falloc"),
       full=dict(size="2M", options="preallocation=full"), fraction=dict(size="1.5M"), none=dict(size="0"))
def test_raw(t, size, options=None):
    t.need("qemu-img")
    made_alike(t, "-f", "raw", *(("-o", options) if options else ()), size)


@table(size=dict(size=("20M",)), its_own=dict(size=()))
def test_overlay(t, size):
    """The size of a backing file is taken where none is given, and it is opened, but for -u."""
    t.need("qemu-img")
    ok("qemu", "create", *QCOW2, t.path("base"), "8M")
    for kind in ("minivmm", "qemu"):
        ok(kind, "create", *QCOW2, "-b", "base", "-F", "qcow2", t.path(kind), *size, cwd=t.tmp)
        clean(t.path(kind))
    infos = [ok("qemu", "info", "--output=json", t.path(k)).json() for k in ("minivmm", "qemu")]
    for info in infos:
        del info["filename"], info["actual-size"]
    assert infos[0] == infos[1], infos
    io(t.path("minivmm"), "write -P 7 1M 64k")
    ok("minivmm", "create", *QCOW2, "-u", "-b", "nowhere", "-F", "raw", t.path("unsafe"), "1M")
    assert ok("qemu", "info", "--output=json", t.path("unsafe")).json()["backing-filename"] == "nowhere"


REFUSED = {
    "refcount_0": (("-f", "qcow2", "-o", "refcount_bits=0", "FILE", "1M"), "'refcount_bits' cannot be 0"),
    "cluster_0": (("-f", "qcow2", "-o", "cluster_size=0", "FILE", "1M"), "'cluster_size' cannot be 0"),
    "no_size": ([*QCOW2, "FILE"], "Image creation needs a size parameter"),
    "no_file": ([*QCOW2], "needs FILE"),
    "format": (["-f", "vmdk", "FILE", "1M"], "'vmdk' is not supported"),
    "unknown_format": (["-f", "foo", "FILE", "1M"], "Unknown format 'foo'"),
    "size": ([*QCOW2, "FILE", "1Q"], "Invalid image size '1Q'"),
    "two_sizes": ([*QCOW2, "-o", "size=1M", "FILE", "2M"], "must be specified only once"),
    "third_word": ([*QCOW2, "FILE", "1M", "2M"], "unexpected argument: 2M"),
    "cluster_odd": ([*QCOW2, "-o", "cluster_size=1000", "FILE", "1M"], "power of two between 512 and 2048k"),
    "cluster_large": ([*QCOW2, "-o", "cluster_size=4M", "FILE", "1M"], "power of two between 512 and 2048k"),
    "refcounts": ([*QCOW2, "-o", "refcount_bits=3", "FILE", "1M"], "power of two and may not exceed 64"),
    "compat": ([*QCOW2, "-o", "compat=2", "FILE", "1M"], "does not accept value '2'"),
    "lazy_v2": ([*QCOW2, "-o", "compat=0.10,lazy_refcounts=on", "FILE", "1M"], "Lazy refcounts only"),
    "refcounts_v2": ([*QCOW2, "-o", "compat=0.10,refcount_bits=8", "FILE", "1M"], "Different refcount widths"),
    "zstd_v2": ([*QCOW2, "-o", "compat=v2,compression_type=zstd", "FILE", "1M"], "Non-zlib"),
    "extended_small": ([*QCOW2, "-o", "extended_l2=on,cluster_size=8k", "FILE", "1M"], "at least 16384"),
    "preallocation": ([*QCOW2, "-o", "preallocation=foo", "FILE", "1M"], "does not accept value 'foo'"),
    "compression": ([*QCOW2, "-o", "compression_type=lz4", "FILE", "1M"], "does not accept value 'lz4'"),
    "option": ([*QCOW2, "-o", "foo=bar", "FILE", "1M"], "Invalid parameter 'foo'"),
    "backing_raw": (["-f", "raw", "-b", "x", "-F", "raw", "FILE", "1M"], "Backing file not supported"),
    "backing_alone": ([*QCOW2, "-b", "x", "FILE", "1M"], "without backing format"),
    "backing_unsafe": ([*QCOW2, "-u", "-b", "x", "FILE", "1M"], "without backing format"),
    "backing_absent": ([*QCOW2, "-b", "x", "-F", "raw", "FILE", "1M"], "Could not open backing image"),
    "format_alone": ([*QCOW2, "-F", "raw", "FILE", "1M"], "without backing file"),
    "prealloc_backing": ([*QCOW2, "-u", "-b", "x", "-F", "raw", "-o", "preallocation=metadata", "FILE", "1M"],
                         "only be used at the same time if extended_l2 is on"),
    "too_large": ([*QCOW2, "-o", "cluster_size=512", "FILE", "1T"], ""),
    "folder": ([*QCOW2, "/nonexistent/x", "1M"], "No such file"),
    "unknown": ([*QCOW2, "--foo", "FILE", "1M"], "unrecognized option '--foo'"),
    "letter": ([*QCOW2, "-y", "FILE", "1M"], "unrecognized option '-y'"),
}


def test_refused(t):
    """qemu-img refuses it as well (but formats that only it has), with the same status; no file is left."""
    t.need("qemu-img")
    for name, (words, text) in REFUSED.items():
        words = [t.path("new") if w == "FILE" else w for w in words]
        mine = run("minivmm", "create", *words)
        assert mine.status == 1 and mine.err.startswith("minivmm-img: ") and mine.err.count("\n") == 1, (name, mine)
        assert text in mine.err, (name, mine)
        assert not os.path.exists(t.path("new")), f"{name}: a file is left"
        theirs = run("qemu", "create", *words)
        assert theirs.status == 1 or name == "format", (name, theirs)
        if os.path.exists(t.path("new")):
            os.unlink(t.path("new"))


def test_not_onto_its_backing(t):
    """A new image never takes the place of what it would lie on, by whatever name, also of a target of convert."""
    t.need("qemu-img", "qemu-io")
    base, over, link, raw = t.path("base"), t.path("over"), t.path("link"), t.path("raw")
    ok("qemu", "create", "-f", "qcow2", base, "1M")
    io(base, "write -P 3 0 64k")
    ok("qemu", "create", "-f", "qcow2", "-b", base, "-F", "qcow2", over)
    ok("qemu", "create", "-f", "raw", raw, "1M")
    os.link(base, link)
    with open(base, "rb") as f:
        before = f.read()
    for words in (("create", "-f", "qcow2", "-b", base, "-F", "qcow2", base), ("create", "-f", "qcow2", "-b", base, "-F", "qcow2", link),
                  ("create", "-f", "qcow2", "-b", "base", "-F", "qcow2", base, "1M"), ("create", "-f", "qcow2", "-u", "-b", "base", "-F", "qcow2", base, "1M"),
                  ("convert", "-O", "qcow2", "-B", base, "-F", "qcow2", raw, base), ("convert", "-O", "qcow2", "-B", link, "-F", "qcow2", raw, base)):
        done = run("minivmm", *words)
        assert done.status == 1 and "would be its own backing file" in done.err, (words, done)
    for words in (("create", "-f", "qcow2", "-b", over, "-F", "qcow2", base), ("convert", "-O", "qcow2", "-B", over, "-F", "qcow2", raw, base)):
        done = run("minivmm", *words)
        assert done.status == 1 and "lies below its backing file" in done.err, (words, done)
    with open(base, "rb") as f:
        assert f.read() == before
    assert run("qemu", "create", "-f", "qcow2", "-b", base, "-F", "qcow2", base).status == 1
    absent = ("-b", t.path("new"), "-F", "qcow2", t.path("new"), "1M")
    assert "would be its own backing file" in run("minivmm", "create", "-f", "qcow2", "-u", *absent).err
    assert not os.path.exists(t.path("new"))


@table(encryption=dict(option="encryption=on"), encrypt=dict(option="encrypt.format=luks"),
       data_file=dict(option="data_file=x"), nocow=dict(option="nocow=on"), hint=dict(option="extent_size_hint=1M"))
def test_only_qemu(t, option):
    """What only qemu-img has is refused by its name."""
    mine = run("minivmm", "create", "-f", "qcow2", "-o", option, t.path("new"), "1M")
    assert mine.status == 1 and option.split("=", maxsplit=1)[0] in mine.err and "not supported" in mine.err, mine


def test_only_qemus_commands(t):
    """A command that only qemu-img has is refused by its name, and one that nobody has as well."""
    for word in ("amend", "bitmap", "commit", "dd", "measure", "rebase"):
        done = run("minivmm", word, t.path("x"))
        assert done.status == 1 and f"{word} is not supported: use 'qemu-img {word}'" in done.err, done
    assert "Command not found: foo" in run("minivmm", "foo", t.path("x")).err


RESIZES = {
    "grow": ("16M", "16M"), "plus": ("+8M", "16M"), "much": ("20G", "20G"), "same": ("8M", "8M"), "zero": ("+0", "8M"),
    "odd": ("8400001", "8400001"), "shrink": ("4M", None), "minus": ("-4M", None), "nothing": ("0", None), "words": ("foo", None),
}


@table(**{f"{f}_{n}": {"fmt": f, "size": s, "want": w} for f in ("raw", "qcow2") for n, (s, w) in RESIZES.items()})
def test_resize(t, fmt, size, want):
    """Both programs come to the same size, or refuse; a disk that shrinks needs --shrink."""
    want = None if (fmt, size) == ("qcow2", "8400001") else want  # a multiple of 512 there
    t.need("qemu-img", "qemu-io")
    sizes = []
    for kind in ("minivmm", "qemu"):
        path = t.path(kind)
        ok("qemu", "create", "-f", fmt, path, "8M")
        io(path, "write -P 5 0 4M", fmt=fmt)
        done = run(kind, "resize", "-f", fmt, path, size)
        assert (done.status == 0) == (want is not None), done
        if want:
            assert done.out == "Image resized.\n", done
        if size in ("4M", "-4M"):
            assert "--shrink" in done.err, done
            ok(kind, "resize", "-q", "-f", fmt, "--shrink", path, size)
        io(path, "read -P 5 0 4M", fmt=fmt)
        if fmt == "qcow2":
            clean(path)
        sizes.append(ok("qemu", "info", "-f", fmt, "--output=json", path).json()["virtual-size"])
    assert sizes[0] == sizes[1], sizes


def test_in_use(t):
    """An image that another program writes to: refused, and named; -U reads it."""
    t.need("qemu-img", "qemu-io")
    path = t.path("disk")
    ok("qemu", "create", "-f", "qcow2", path, "8M")
    holder = Holder(path)
    for words in (("info",), ("check",), ("snapshot", "-l"), ("snapshot", "-c", "x"), ("map",), ("bench", "-c", "1"),
                  ("convert", "-O", "raw")):
        target = (t.path("out"),) if words[0] == "convert" else ()
        done = run("minivmm", *words, path, *target)
        assert done.status == 1 and "lock" in done.err and str(holder.pid) in done.err, done
    for words in (("create", "-f", "qcow2", path, "1M"), ("resize", path, "+1M"), ("compare", path, path)):
        done = run("minivmm", *words)
        assert done.status in (1, 2) and "lock" in done.err, done
    for words in (("info", "-U"), ("check", "-U"), ("snapshot", "-U", "-l"), ("map", "-U")):
        ok("minivmm", *words, path)
    assert "-U" in run("minivmm", "snapshot", "-U", "-c", "x", path).err
    holder.kill()
    ok("minivmm", "resize", path, f"{9 * MIB}")
