"""A saved guest with a checksum: whatever has become of its file is refused before the guest runs."""
import ctypes
import os

import stream
from case import only_minivmm, table
from moves import destination, goes_on, machine

LINE = b"\nx-minivmm-checksum: xxh64 "
LINE_BYTES = len(LINE) + 17
WORDS = "is damaged"


def save(t, source, checksum=True, scheme="file"):
    path = t.path("saved")
    source.cmd("migrate-set-parameters", x_minivmm_checksum=checksum)
    source.cmd("migrate", uri=f"file:{path}" if scheme == "file" else f"exec:cat > {path}")
    assert source.wait_migration("completed", "failed") == "completed", source.migration()
    with open(path, "rb") as f:
        return path, f.read()


def write(t, name, data):
    path = t.path(name)
    with open(path, "wb") as f:
        f.write(data)
    return path


def uris(path):
    return (f"file:{path}", f"exec:cat {path}")


def refused(t, source, uri):
    dest = destination(t, source, uri)
    assert dest.wait_loaded() == "failed", uri
    assert dest.status() == "inmigrate"
    error = dest.migration()["error-desc"]
    t.forget(dest)
    return error


def places(data):
    """Offsets of a byte in each part of the file."""
    json = data.rindex(b'{"page_size"')
    return {"magic": 0, "ram_id": data.index(b"\x03ram") - 1, "page": data.index(b"\x03ram") + (len(data) // 2),
            "device": data.rindex(b"\x0bglobalstate") + 40, "json": json + 2,
            "description": data.rindex(b'"machine": "') + 100,
            "line": len(data) - LINE_BYTES + 3, "digits": len(data) - 3}


@only_minivmm("QEMU's files have no checksum")
@table(file={"scheme": "file"}, command={"scheme": "exec"})
def test_line(t, scheme):
    """The last line is XXH64 of all before it; the guest goes on from a file and a pipe."""
    source = machine(t, "counter", "pages=50 rate=1000")
    goes_on(source)
    path, data = save(t, source, scheme=scheme)
    body, line = data[:-LINE_BYTES], data[-LINE_BYTES:]
    assert line.startswith(LINE) and b"\0" not in line, line
    xxh64 = ctypes.CDLL("libxxhash.so.0").XXH64
    xxh64.restype, xxh64.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
    assert int(line[len(LINE):], 16) == xxh64(body, len(body), 0)
    assert stream.load(path).description["page_size"] == 4096
    for uri in uris(path):
        dest = destination(t, source, uri)
        assert dest.wait_loaded() == "completed", dest.migration()
        dest.wait_running()
        goes_on(dest)
        t.forget(dest)


@only_minivmm("QEMU's files have no checksum")
def test_damaged(t):
    """One bit of each part.  What the load itself refuses in a pipe is named as such: it does not wait for the end."""
    source = machine(t, "counter", "pages=50 rate=1000")
    goes_on(source)
    _, data = save(t, source)
    for name, at in places(data).items():
        bad = bytearray(data)
        bad[at] ^= 4
        file, pipe = uris(write(t, "bad", bad))
        error = refused(t, source, file)
        print(name, at, error)
        assert name == "ram_id" or (WORDS in error and file in error and "save the guest again" in error), error
        error = refused(t, source, pipe)
        print(name, at, error)
        assert name in ("magic", "ram_id", "device") or WORDS in error, (name, error)


@only_minivmm("QEMU's files have no checksum")
def test_length(t):
    """Cut anywhere behind the announcement, or with something behind it."""
    source = machine(t, "counter", "pages=50 rate=1000")
    goes_on(source)
    _, data = save(t, source)
    eof = data.rindex(b"\x06", 0, data.rindex(b'{"page_size"'))
    lengths = {"page": len(data) // 2, "device": eof - 20, "eof": eof, "json": eof + 100,
               "line": len(data) - LINE_BYTES, "in_line": len(data) - 1}
    for name, n in lengths.items():
        for uri in uris(write(t, "short", data[:n])):
            error = refused(t, source, uri)
            print(name, error)
            assert WORDS in error or (name in ("page", "device") and uri.startswith("exec")), (name, error)
    for more in (b"\0", data[-LINE_BYTES:], os.urandom(1 << 20)):
        for uri in uris(write(t, "long", data + more)):
            error = refused(t, source, uri)
            assert WORDS in error, error


@only_minivmm("QEMU's files have no checksum")
def test_off(t):
    """Without it the stream has no line, and RAM no other section id."""
    source = machine(t, "counter", "pages=50 rate=1000")
    goes_on(source)
    path, data = save(t, source, checksum=False)
    assert LINE not in data
    for uri in uris(path):
        dest = destination(t, source, uri)
        assert dest.wait_loaded() == "completed", dest.migration()
        dest.wait_running()
        goes_on(dest)


@only_minivmm("QEMU's files have no checksum")
def test_offset(t):
    """Bytes in front of the offset are not the guest's."""
    source = machine(t, "counter", "pages=50 rate=1000")
    goes_on(source)
    path = write(t, "saved", b"h" * 4096)
    source.cmd("migrate-set-parameters", x_minivmm_checksum=True)
    source.cmd("migrate", uri=f"file:{path},offset=4096")
    assert source.wait_migration("completed", "failed") == "completed"
    with open(path, "r+b") as f:
        f.write(b"H")
    dest = destination(t, source, f"file:{path},offset=4096")
    assert dest.wait_loaded() == "completed", dest.migration()
    dest.wait_running()
    goes_on(dest)


@only_minivmm("QEMU's files have no checksum")
def test_live(t):
    """A live move has no line: nothing is stored."""
    source = machine(t, "counter", "pages=50 rate=1000")
    goes_on(source)
    source.cmd("migrate-set-parameters", x_minivmm_checksum=True)
    dest = destination(t, source, f"unix:{t.path('sock')}")
    source.cmd("migrate", uri=f"unix:{t.path('sock')}")
    assert source.wait_migration("completed", "failed") == "completed"
    dest.wait_running()
    goes_on(dest)
