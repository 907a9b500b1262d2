"""minivmm-img info, map, check, snapshot, compare: what is printed is qemu-img's, byte for byte, and the status, too."""
import os
import pty
import re
import shutil
import subprocess

from case import table
from images import KIB, PROGRAMS, clean, io, ok, raw_disk, run, sample, without_space

SAMPLES = ["bitmap-clean", "bitmap-in-use", "compressed-zlib", "compressed-zstd", "extended-l2", "lazy-dirty", "snap-11.1",
           "snap-11.1-second-disk", "snap-7.2", "snap-7.2-second-disk", "v2-snapshot"]
JSON = "--output=json"


def same(*args, **how):
    """Both print the same and end with the same status; what that was."""
    mine, theirs = run("minivmm", *args, **how), run("qemu", *args, **how)
    assert (mine.status, mine.out) == (theirs.status, theirs.out), f"{args}\nminivmm: {mine}\nqemu: {theirs}"
    return mine


@table(**{name.replace("-", "_").replace(".", "_"): {"name": name} for name in SAMPLES})
def test_samples(t, name):
    """The images of tests/data/qcow2, in human words and as JSON."""
    t.need("qemu-img")
    path = sample(t, name)
    fmt = ("-f", "qcow2")
    for words in (("info",), ("info", JSON), ("info", "--backing-chain", JSON), ("snapshot", "-l"), ("check", JSON), ("check",),
                  ("check", "-q")):
        same(words[0], *(() if words[0] == "snapshot" else fmt), *words[1:], path)
    mine, theirs = (ok(kind, "map", *fmt, JSON, path).json() for kind in ("minivmm", "qemu"))
    for piece in theirs:        # with extended L2, where a subcluster would be if it were there
        if not piece["present"]:
            piece.pop("offset", None)
    assert mine == theirs, (mine, theirs)
    if not name.startswith("compressed"):
        same("map", path)
    else:
        assert "--output=json" in run("minivmm", "map", path).err


def overlay(t):
    """A chain of three: a raw file, an image on it with zeroes and data, and another one, larger."""
    raw_disk(t.path("raw"), 2)
    ok("qemu", "create", "-f", "qcow2", "-b", "raw", "-F", "raw", t.path("middle"), "4M", cwd=t.tmp)
    io(t.path("middle"), "write -P 1 64k 64k", "write -z 256k 64k", "write -P 2 3M 128k", "discard 3M 64k")
    ok("qemu", "create", "-f", "qcow2", "-o", "cluster_size=4k", "-b", t.path("middle"), "-F", "qcow2", t.path("top"), "6M")
    io(t.path("top"), "write -P 3 100k 8k", "write -z 5M 64k", "write -P 4 5M 4k")
    return t.path("top")


def test_chain(t):
    """Depths, offsets and names through a chain; a window of it; a file that is not there."""
    t.need("qemu-img", "qemu-io")
    top = overlay(t)
    for words in (("map",), ("map", JSON), ("map", JSON, "-s", "64k", "-l", "200k"), ("map", "-s", "1M"),
                  ("map", "--start-offset=3M", "--max-length=1M", JSON), ("info", "--backing-chain"),
                  ("info", "--backing-chain", JSON), ("info",), ("info", JSON)):
        same(*words, "-f", "qcow2", top, cwd=t.tmp)
    same("info", "-f", "qcow2", "middle", cwd=t.tmp)      # with "actual path"
    os.rename(t.path("raw"), t.path("gone"))
    same("info", "-f", "qcow2", top)
    for words in (("map",), ("info", "--backing-chain")):
        done = run("minivmm", *words, "-f", "qcow2", top)
        assert done.status == 1 and "raw" in done.err and "No such file" in done.err, done


def test_no_format(t):
    """Without -f: the first bytes decide, and then no file is opened that the header names."""
    t.need("qemu-img", "qemu-io")
    top = overlay(t)
    raw = raw_disk(t.path("plain"), 1)
    for path in (raw, top):
        mine, theirs = (without_space(run(k, "info", path).out) for k in ("minivmm", "qemu"))
        assert mine == theirs
    for words in (("map", top), ("convert", "-O", "raw", top, t.path("out")), ("compare", top, raw)):
        done = run("minivmm", *words)
        assert done.status in (1, 2) and "-f qcow2" in done.err, done
    assert not os.path.exists(t.path("out"))
    ok("minivmm", "convert", "-f", "qcow2", "-O", "raw", top, t.path("out"))


def test_repair(t):
    """Leaks and errors that qemu-img finds are found; what is repaired is clean, and the disk is what it was."""
    t.need("qemu-img", "qemu-io")
    path = sample(t, "lazy-dirty")
    assert run("minivmm", "check", path).status == 2
    ok("minivmm", "check", "-r", "all", path)
    clean(path)
    io(path, "read -P 9 0 64k", "read -P 0 64k 1M")
    # a cluster that nothing uses: its refcount, in the block that the table's first entry names
    leaky = t.path("leaky")
    ok("qemu", "create", "-f", "qcow2", leaky, "8M")
    io(leaky, "write -P 1 0 64k")
    with open(leaky, "r+b") as f:
        f.truncate(1 << 20)
        f.seek(48)
        f.seek(int.from_bytes(f.read(8), "big"))
        f.seek(int.from_bytes(f.read(8), "big") + 2 * 10)
        f.write(b"\0\1")
    before = t.path("before")
    shutil.copy(leaky, before)
    assert same("check", leaky).status == 3
    assert same("check", JSON, leaky).json()["leaks"] == 1
    mine = run("minivmm", "check", "-r", "leaks", leaky)
    theirs = run("qemu", "check", "-r", "leaks", before)
    assert (mine.status, mine.out) == (0, theirs.out), (mine, theirs)
    clean(leaky)
    for words, status in ((("-r", "foo", leaky), 1), (("-f", "raw", leaky), 63), ((t.path("none"),), 1)):
        mine, theirs = run("minivmm", "check", *words), run("qemu", "check", *words)
        assert mine.status == theirs.status == status, (words, mine, theirs)


def test_snapshots(t):
    """Made, listed, applied and deleted by either program in turn."""
    t.need("qemu-img", "qemu-io")
    path = t.path("disk")
    ok("qemu", "create", "-f", "qcow2", path, "4M")
    kinds = ("minivmm", "qemu")
    for i, kind in enumerate(kinds * 2):
        io(path, f"write -P {i + 1} 0 1M", f"write -P {i + 1} {64 * i}k 64k")
        ok(kind, "snapshot", "-c", f"s{i}", path)
        clean(path)
        same("snapshot", "-l", path)
        same("info", JSON, path)
    for i, kind in ((1, "minivmm"), (2, "minivmm"), (0, "qemu"), (3, "minivmm")):
        ok(kind, "snapshot", "-a", f"s{i}", path)
        clean(path)
        io(path, f"read -P {i + 1} 192k 64k")
    ok("minivmm", "snapshot", "-a", "3", path)       # an id
    io(path, "read -P 3 256k 512k")
    for i, kind in ((1, "minivmm"), (0, "qemu"), (3, "minivmm"), (2, "minivmm")):
        ok(kind, "snapshot", "-d", f"s{i}", path)
        clean(path)
        same("snapshot", "-l", path)
    for words in (("-d", "none"), ("-a", "none"), ("-l", "-c", "x")):
        assert run("minivmm", "snapshot", *words, path).status == run("qemu", "snapshot", *words, path).status == 1
    raw = raw_disk(t.path("raw"), 1)
    assert run("minivmm", "snapshot", "-c", "x", raw).status == 1
    same("snapshot", "-l", raw)


def test_long_names(t):
    """A name that QEMU would cut off is refused; one of 255 bytes is found by both."""
    t.need("qemu-img")
    path, name = t.path("disk"), "n" * 255
    ok("qemu", "create", "-f", "qcow2", path, "1M")
    done = run("minivmm", "snapshot", "-c", name + "n", path)
    assert done.status == 1 and "the name has more than 255 bytes" in done.err, done
    for maker, other in (("minivmm", "qemu"), ("qemu", "minivmm")):
        ok(maker, "snapshot", "-c", name, path)
        ok(other, "snapshot", "-a", name, path)
        ok(other, "snapshot", "-d", name, path)
    assert "snapshots" not in ok("qemu", "info", "--output=json", path).json()


def test_snapshot_words(t):
    """A word that is one's id and another's name means what it means to qemu-img; of two of a name the first is meant."""
    t.need("qemu-img", "qemu-io")
    path = t.path("disk")
    ok("qemu", "create", "-f", "qcow2", path, "1M")
    for i, name in enumerate(("2", "1", "1", "4", "5")):
        io(path, f"write -P {i + 1} 0 64k")
        ok("qemu", "snapshot", "-c", name, path)
    for word in "12345":
        shown = []
        for kind in ("minivmm", "qemu"):
            copy, raw = t.path(kind), t.path("raw")
            shutil.copyfile(path, copy)
            ok(kind, "convert", "-f", "qcow2", "-O", "raw", "-l", word, copy, raw)
            seen = [open(raw, "rb").read(1)]
            ok(kind, "snapshot", "-a", word, copy)
            ok("qemu", "convert", "-O", "raw", copy, raw)
            seen.append(open(raw, "rb").read(1))
            shutil.copyfile(path, copy)
            done = run(kind, "snapshot", "-d", word, copy)
            seen.append((done.status, [s["id"] for s in ok("qemu", "info", "--output=json", copy).json()["snapshots"]]))
            shown.append(seen)
        assert shown[0] == shown[1], (word, shown)


def test_snapshot_with_memory(t):
    """One with a machine's state: deleted, the others and the disk stay what they were."""
    t.need("qemu-img", "qemu-io")
    path = sample(t, "snap-7.2")
    ok("minivmm", "snapshot", "-d", "second", path)
    clean(path)
    io(path, "read -P 0xd1 0 64k", "read -P 0xa2 1088k 64k")
    ok("minivmm", "snapshot", "-a", "first", path)
    clean(path)
    io(path, "read -P 0xa1 0 64k", "read -P 0xa2 1M 128k")
    same("snapshot", "-l", path)


def change(path, at, value):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(value)


def test_compare(t):
    """Same, different, longer, strict, absent: words and status of qemu-img."""
    t.need("qemu-img", "qemu-io")
    raw = raw_disk(t.path("raw"), 4)
    ok("qemu", "convert", "-f", "raw", "-O", "qcow2", raw, t.path("qcow2"))
    ok("qemu", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, t.path("packed"))
    other, longer, data = (shutil.copy(raw, t.path(n)) for n in ("other", "longer", "data"))
    change(other, 3000001, b"x" if open(raw, "rb").read()[3000001:3000002] != b"x" else b"y")
    os.truncate(longer, 5 << 20)
    shutil.copy(longer, data)
    change(data, (5 << 20) - 700, b"z")
    for options in ((), ("-s",), ("-q",), ("-p",)):
        for first, second in ((raw, raw), (raw, other), (other, raw), (raw, longer), (longer, raw), (raw, data), (data, raw)):
            words = ("compare", *options, "-f", "raw", "-F", "raw", first, second)
            if options in ((), ("-q",)):
                same(*words)
            else:       # progress differs, and the words of -s hang on what the file system says of holes
                assert run("minivmm", *words).status == run("qemu", *words).status, words
        if options in ((), ("-q",)):
            for name in ("qcow2", "packed"):
                same("compare", *options, "-f", "raw", "-F", "qcow2", raw, t.path(name))
                same("compare", *options, "-f", "qcow2", "-F", "raw", t.path(name), other)
                same("compare", *options, "-f", "qcow2", "-F", "raw", t.path(name), data)
    for words in ((raw,), (raw, t.path("none")), (raw, raw, raw)):
        assert run("minivmm", "compare", *words).status == run("qemu", "compare", *words).status
    ok("qemu", "create", "-f", "qcow2", t.path("empty"), "4M")
    ok("qemu", "create", "-f", "qcow2", t.path("zeroes"), "4M")
    io(t.path("zeroes"), f"write -P 0 1M {64 * KIB}")
    same("compare", t.path("empty"), t.path("zeroes"))
    strict = ("compare", "-s", t.path("empty"), t.path("zeroes"))
    assert run("minivmm", *strict).status == run("qemu", *strict).status == 1


def on_terminal(*args):
    """What is written to a terminal of 100 columns."""
    leader, follower = pty.openpty()
    subprocess.run(["stty", "columns", "100"], stdin=follower, check=True)
    with subprocess.Popen([PROGRAMS["minivmm"], *args], stdin=subprocess.DEVNULL, stdout=follower) as process:
        os.close(follower)
        seen = b""
        while True:
            try:
                piece = os.read(leader, 4096)
            except OSError:     # the other end is closed
                break
            if not piece:
                break
            seen += piece
        assert process.wait() == 0, seen
    os.close(leader)
    return seen.decode()


def test_progress(t):
    """A bar with rate and time on a terminal; elsewhere the lines of qemu-img -p."""
    t.need("qemu-img")
    raw = raw_disk(t.path("raw"), 8)
    lines = run("minivmm", "convert", "-p", "-f", "raw", raw, t.path("out")).out
    assert re.fullmatch(r"( {4}\(\d+\.\d\d/100%\)\n)* {4}\(100\.00/100%\)\n", lines), repr(lines)     # \r is \n in text
    seen = on_terminal("convert", "-p", "-f", "raw", raw, t.path("out"))
    assert re.search(r"\r\[=+>? *\] 100\.0 %  8 MiB of 8 MiB  [\d.]+ [KMG]iB/s  \d+:\d\d in all", seen), repr(seen)
    assert run("minivmm", "convert", "-p", "-q", "-f", "raw", raw, t.path("out")).out == ""


@table(larger={"kilobytes": 256}, smaller={"kilobytes": 64})
def test_snapshot_of_another_size(t, kilobytes):
    """Applied, the disk has the snapshot's size again, as with qemu-img."""
    for kind in ("minivmm", "qemu"):
        path = t.path(kind)
        ok("qemu", "create", "-q", "-f", "qcow2", path, "128k")
        ok("qemu", "snapshot", "-c", "one", path)
        ok("qemu", "resize", "-q", "--shrink", path, f"{kilobytes}k")
        ok(kind, "snapshot", "-a", "one", path)
        assert ok("qemu", "info", "--output=json", path).json()["virtual-size"] == 128 << 10
        ok("qemu", "check", "-q", path)
