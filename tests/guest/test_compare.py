"""Two minivmms compare their machines before a page is sent; every other end sees the plain protocol.

A refused move leaves the source's guest running, and both ends' errors carry the whole list. The
proxy keeps what passed: nothing but the header and commands may have gone out.
"""
import os
import socket
import struct

import stream
from case import only_minivmm, table
from moves import arrived, destination, goes_on, machine, wait_end_or_failure
from proxy import BACKWARD, FORWARD

DESCRIPTION, SPARSE, PING, OPEN_RETURN_PATH = 0x4d01, 0x4d04, 2, 1
COOKIE_SOURCE, COOKIE_DESTINATION, COOKIE_COMPARED = 0x4d564d4d, 0x4d564d01, 0x4d564d02
SHUT, PONG, ERROR, DIFFERS = 1, 2, 0x4d01, 0x4d03
OPTION, CPUS, DEVICE, MSR, TO_COME = 1, 2, 4, 0x101, 0x7777


def blk(path, n, *props):
    return ["-drive", f"file={path},if=none,id=d{n},format=raw",
            "-device", ",".join(["virtio-blk-device", f"drive=d{n}", *props])]


def nic(path, n, *props):
    return ["-netdev", f"stream,id=n{n},server=off,addr.type=unix,addr.path={path}",
            "-device", ",".join(["virtio-net-device", f"netdev=n{n}", *props])]


def differences(t, ours, theirs, **options):
    """The list that a move from a machine with options 'ours' to one with 'theirs' ends with."""
    source_options = {"cpus": 1, "memory": "24M", **options, **ours}
    source = machine(t, "smp-counter", "pages=20 rate=500", **source_options)
    path = t.path("in")
    dest = destination(t, source, f"unix:{path}", **{**source_options, **theirs})
    proxy = t.proxy(path, keep=True)
    source.cmd("migrate", uri=f"unix:{proxy.path}")
    cause = wait_end_or_failure(dest)
    begin = "the machines differ: "
    assert cause.startswith(begin), cause
    assert source.wait_migration("completed", "failed") == "failed"
    assert source.migration()["error-desc"] == f"the destination refused: {cause}"
    assert f"load of migration failed: {cause}\n" in dest.stderr(), dest.stderr()
    assert f"the destination refused: {cause}\n" in source.stderr(), source.stderr()
    assert source.status() == "running" and dest.status() == "inmigrate"
    commands, rest = stream.head(proxy.kept[FORWARD])
    assert [n for n, _ in commands] == [OPEN_RETURN_PATH, PING, DESCRIPTION, PING], commands
    assert rest == b"", rest[:40]
    goes_on(source, source_options["cpus"])
    return cause[len(begin):].split("\n    ")


FEATURES = "on at the source, not offered at the destination"


@only_minivmm("QEMU does not compare")
@table(
    memory={"ours": {}, "theirs": {"memory": "32M"},
            "words": ["RAM block 'microvm.ram': 24 MiB at the source, 32 MiB at the destination"]},
    cpus={"ours": {"cpus": 2}, "theirs": {"cpus": 1},
          "words": ["vCPUs: 2 at the source, 1 at the destination"]},
    topology={"ours": {"cpus": 2, "extra": ["-smp", "2,sockets=1,cores=2"]},
              "theirs": {"extra": ["-smp", "2,sockets=2,cores=1"]},
              "words": ["vCPU topology: 2 cores of 1 threads a socket at the source, "
                        "1 of 1 at the destination"]},
    features={"ours": {}, "theirs": {"extra": ["-cpu", "qemu64,-cx16,-nx"]},
              "words": [f"CPUID.01H:ECX.cx16 [bit 13]: {FEATURES}",
                        f"CPUID.80000001H:EDX.nx [bit 20]: {FEATURES}"]},
    rtc={"ours": {}, "theirs": {"extra": ["-M", "microvm,rtc=off"]},
         "words": ["machine option 'rtc': on at the source, off at the destination"]},
    serial={"ours": {"extra": ["-device", "pvpanic"]},
            "theirs": {"extra": [], "serial": False},
            "words": ["pvpanic at 0x505: missing at the destination",
                      "serial at 0x3f8: missing at the destination"]},
    missing={"ours": {"rng": True}, "theirs": {"rng": False},
             "words": ["virtio-rng in slot 7: missing at the destination"]},
    extra={"ours": {}, "theirs": {"rng": True},
           "words": ["virtio-rng in slot 7: missing at the source"]},
    bios={"ours": {}, "theirs": {"backend": "anonymous",
                                 "extra": ["-object", "memory-backend-ram,id=other,size=24M",
                                           "-M", "memory-backend=other"]},
          "words": ["RAM block 'microvm.ram': 24 MiB at the source, missing at the destination",
                    "RAM block 'other': missing at the source, 24 MiB at the destination"]},
)
def test_differs(t, ours, theirs, words):
    """One thing, or several of a kind, are not the same: named, and nothing else is."""
    assert sorted(differences(t, ours, theirs)) == sorted(words)


@only_minivmm("QEMU does not compare")
def test_devices_differ(t):
    """Size, card address and kind of what sits in each slot; the order of devices is theirs."""
    small, large, echo = t.disk(1), t.disk(2), t.net()
    ours = [*blk(small, 0, "serial=a"), *blk(small + "2", 1), *nic(echo.path, 0, "mac=52:54:00:00:00:01"),
            "-device", "virtio-rng-device,id=noise"]
    theirs = [*blk(large, 0, "serial=b", "queue-size=128", "discard=off"), *blk(large + "2", 1),
              "-device", "virtio-rng-device,id=noise", *nic(echo.path, 0, "mac=52:54:00:00:00:02")]
    for path in small, large:
        with open(path + "2", "wb") as f:
            f.truncate(1 << 20)
    assert differences(t, {"extra": ours}, {"extra": theirs}) == [
        f"virtio-blk in slot 7: features: discard: {FEATURES}",
        "virtio-blk in slot 7: queue-sizes: 256 at the source, 128 at the destination",
        "virtio-blk in slot 7: capacity: 2048 at the source, 4096 at the destination",
        "virtio-blk in slot 7: serial: a at the source, b at the destination",
        "slot 5: virtio-net at the source, virtio-rng 'noise' at the destination",
        "slot 4: virtio-rng 'noise' at the source, virtio-net at the destination",
    ]


@only_minivmm("QEMU does not compare")
def test_card_address_differs(t):
    echo = t.net()
    words = differences(t, {"extra": nic(echo.path, 0, "mac=52:54:00:00:00:01")},
                        {"extra": nic(echo.path, 0, "mac=52:54:00:00:00:02")})
    assert words == ["virtio-net in slot 7: mac: 52:54:00:00:00:01 at the source, "
                     "52:54:00:00:00:02 at the destination"], words


@only_minivmm("QEMU does not compare")
def test_everything_differs(t):
    """A list far longer than one message is whole at both ends: the CPU first, a line a bit."""
    disk = t.disk()
    model = "kvm64,-cx16,-nx,-lm,-sse,-sse2,-mmx,-fxsr,-apic,-pae,-mtrr,-pge,-mca,-cmov,-pat"
    words = differences(t, {"cpus": 2, "disk": disk, "rng": True},
                        {"cpus": 1, "disk": None, "rng": False, "memory": "32M",
                         "extra": ["-cpu", model, "-M", "microvm,rtc=off",
                                   "-device", "isa-debug-exit", "-device", "pvpanic"]})
    assert len("".join(words)) > 700, words
    for part in ("machine option 'rtc'", "vCPUs: 2", "RAM block 'microvm.ram'", "virtio-blk in slot 7",
                 "virtio-rng in slot 6", "isa-debug-exit at 0x501: missing at the source",
                 "pvpanic at 0x505: missing at the source"):
        assert any(w.startswith(part) for w in words), (part, words)
    assert words[0] == "CPU model: 'qemu64' at the source, 'kvm64' at the destination", words
    bits = [w for w in words if w.startswith("CPUID.")]
    assert words[1:1 + len(bits)] == bits, words
    for bit in ("CPUID.01H:ECX.cx16 [bit 13]", "CPUID.01H:EDX.sse2 [bit 26]",
                "CPUID.80000001H:EDX.nx [bit 20]"):
        assert f"{bit}: {FEATURES}" in bits, (bit, words)


@only_minivmm("QEMU does not compare")
def test_may_differ(t):
    """What the guest does not see may differ: ids, paths, back ends, features on top, page sizes."""
    a, b = t.disk(), t.disk()
    source = machine(t, cpus=1, backend="file", extra=["-cpu", "qemu64,-cx16", *blk(a, 0)])
    dest = destination(t, source, f"unix:{t.path('in')}", backend="memfd",
                       extra=["-cpu", "qemu64", *blk(b, 7, "id=another")])
    source.cmd("migrate", uri=f"unix:{t.path('in')}")
    arrived(source, dest)
    dest.wait_running()
    dest.cmd("stop")
    assert dest.status() == "paused"


@only_minivmm("QEMU does not compare")
@table(tcp={"uri": "tcp:127.0.0.1:0"}, unix={"uri": None})
def test_with_channels(t, uri):
    """Further connections that break with the refusal do not hide its cause."""
    source = machine(t, rng=True)
    source.capabilities("multifd")
    dest = destination(t, source, uri or f"unix:{t.path('in')}", ["multifd"], memory="32M", rng=False)
    if uri:
        address, = dest.migration()["socket-address"]
        uri = f"tcp:127.0.0.1:{address['port']}"
    source.cmd("migrate", uri=uri or f"unix:{t.path('in')}")
    cause = wait_end_or_failure(dest)
    assert cause == ("the machines differ: RAM block 'microvm.ram': 24 MiB at the source, 32 MiB at the "
                     "destination\n    virtio-rng in slot 7: missing at the destination"), cause
    source.wait_migration("failed")
    assert source.migration()["error-desc"] == f"the destination refused: {cause}"
    goes_on(source)


@only_minivmm("QEMU does not compare")
def test_again_after_a_refusal(t):
    """The same destination takes the guest of a machine that fits."""
    source, other = machine(t, rng=True), machine(t)
    path = t.path("in")
    dest = destination(t, other, f"unix:{path}")
    source.cmd("migrate", uri=f"unix:{path}")
    assert "missing at the destination" in wait_end_or_failure(dest)
    source.wait_migration("failed")
    dest.cmd("migrate-incoming", uri=f"unix:{path}")
    other.cmd("migrate", uri=f"unix:{path}")
    assert other.wait_migration("completed", "failed") == "completed", other.migration()
    dest.wait_running()
    goes_on(dest)
    goes_on(source)


# ---- hand-made ends ----

class Answers:
    """What a destination says on the return path."""

    def __init__(self, sock):
        self.file = sock.makefile("rb")

    def next(self):
        """(type, payload), or None at the end."""
        header = self.file.read(4)
        if len(header) < 4:
            return None
        kind, length = struct.unpack(">HH", header)
        return kind, self.file.read(length)

    def verdict(self):
        """Up to the PONG that says that the machines fit (""), or how it refuses."""
        text, cause = b"", b""
        while True:
            message = self.next()
            assert message, "the destination closed without a verdict"
            if message == (PONG, struct.pack(">I", COOKIE_COMPARED)):
                return ""
            if message[0] == DIFFERS:
                text += message[1]
            if message[0] == ERROR:
                cause = message[1]
            if message[0] == SHUT:
                return (text or cause).decode()


def command(number, payload=b""):
    return struct.pack(">BHH", stream.TAG_COMMAND, number, len(payload)) + payload


def ping(cookie):
    return command(PING, struct.pack(">I", cookie))


def record(kind, body):
    return struct.pack(">HH", kind, len(body)) + body


def str8(text):
    return bytes([len(text)]) + text.encode()


HEADER = stream.MAGIC + b"\x07\0\0\0\x07microvm"


def records(description):
    """[(kind, body)]"""
    reader, found = stream.Reader(description, 2), []
    while reader.at < len(description):
        kind = reader.number(2)
        found.append((kind, reader.take(reader.number(2))))
    return found


def listen(t):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(t.path("hand"))
    sock.listen(1)
    return sock


def read_until(sock, data, tail):
    while not data.endswith(tail):
        more = sock.recv(65536)
        assert more, f"the source closed after {len(data)} bytes"
        data += more
    return data


def description_of(t, source):
    """What a source says of itself to a peer that answers like minivmm and then closes."""
    with listen(t) as listener:
        source.cmd("migrate", uri=f"unix:{t.path('hand')}")
        sock, _ = listener.accept()
        with sock:
            for cookie in COOKIE_DESTINATION, COOKIE_SOURCE:
                sock.sendall(struct.pack(">HHI", PONG, 4, cookie))
            data = read_until(sock, b"", ping(COOKIE_COMPARED))
    os.unlink(t.path("hand"))
    source.wait_migration("failed")
    commands, rest = stream.head(data)
    assert rest == b""
    return dict(commands)[DESCRIPTION]


@only_minivmm("QEMU does not compare")
def test_other_times(t):
    """Records, bodies and formats that are not known yet are no obstacle; less than is known neither."""
    source = machine(t, rng=True, extra=["-device", "pvpanic"])
    whole = description_of(t, source)
    found = records(whole)
    assert {k for k, _ in found} >= {OPTION, CPUS, DEVICE, MSR}
    goes_on(source)

    def built(changed):
        return whole[:2] + b"".join(record(k, b) for k, b in changed)
    cases = {
        "the same": (whole, ""),
        "unknown records": (built(found + [(TO_COME, b"xyz"), (0x42, b"")]), ""),
        "longer bodies": (built([(k, b + b"more") for k, b in found]), ""),
        "unknown option": (built(found + [(OPTION, str8("colour") + str8("red"))]), ""),
        "another format": (b"\0\2" + whole[2:40], ""),
        "an MSR from the future":
            (built(found + [(MSR, struct.pack(">IH", 0x4b564dff, 1) + str8("KVM_NEW"))]),
             "the machines differ: MSR 0x4b564dff (KVM_NEW): unknown to the destination"),
        "hostile names":
            (built(found + [(DEVICE, struct.pack(">H", 3) + str8("a\x1b[2J") + str8("") +
                             struct.pack(">QIB", 0, 0, 0))]),
             "the machines differ: a?[2J in slot 3: missing at the destination"),
        "cut short": (whole[:-1], "command DESCRIPTION at stream offset 0x23: the description ends "
                                  f"within record 0x{found[-1][0]:x} at byte "
                                  f"{len(whole) - 4 - len(found[-1][1])}"),
        "a broken record": (built([(CPUS, b"\0\0")]), "command DESCRIPTION at stream offset 0x23: "
                            "record 0x2 at byte 2 of the description is broken"),
    }
    for what, (payload, verdict) in cases.items():
        path = t.path("in")
        dest = destination(t, source, f"unix:{path}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(path)
            sock.sendall(HEADER + command(OPEN_RETURN_PATH) + ping(COOKIE_SOURCE) +
                         command(DESCRIPTION, payload) + ping(COOKIE_COMPARED))
            said = Answers(sock).verdict()
        assert said == verdict, (what, said)
        assert wait_end_or_failure(dest).startswith(verdict), what
        assert dest.status() == "inmigrate"
        t.forget(dest)


@only_minivmm("QEMU does not compare")
@table(silent={"cookies": []}, stranger={"cookies": [COOKIE_SOURCE]})
def test_plain_protocol(t, cookies):
    """A peer that is not minivmm is not sent it: neither a silent one nor one that answers as QEMU does."""
    source = machine(t)
    with listen(t) as listener:
        source.cmd("migrate", uri=f"unix:{t.path('hand')}")
        sock, _ = listener.accept()
        with sock:
            for cookie in cookies:
                sock.sendall(struct.pack(">HHI", PONG, 4, cookie))
            data = b""
            while len(data) < 4096:
                data += sock.recv(4096)
    commands, rest = stream.head(data)
    assert commands == [(OPEN_RETURN_PATH, b""), (PING, struct.pack(">I", COOKIE_SOURCE))], commands
    assert rest[:1] == bytes([stream.TAG_START]), rest[:10]
    source.wait_migration("failed")
    goes_on(source)


@only_minivmm("QEMU does not compare")
@table(file={"scheme": "file"}, exec={"scheme": "exec"})
def test_one_way(t, scheme):
    """A file or a command gets the header, and then RAM."""
    source = machine(t)
    path = t.path("saved")
    source.cmd("migrate", uri=f"file:{path}" if scheme == "file" else f"exec:cat > {path}")
    assert source.wait_migration("completed", "failed") == "completed", source.migration()
    with open(path, "rb") as f:
        commands, rest = stream.head(f.read())
    assert commands == [] and rest[:1] == bytes([stream.TAG_START])


@only_minivmm("QEMU does not compare")
def test_answers_late(t):
    """A destination that takes its time with the answer holds nothing up but the move, which can be cancelled."""
    source = machine(t)
    with listen(t) as listener:
        source.cmd("migrate", uri=f"unix:{t.path('hand')}")
        sock, _ = listener.accept()
        with sock:
            for cookie in COOKIE_DESTINATION, COOKIE_SOURCE:
                sock.sendall(struct.pack(">HHI", PONG, 4, cookie))
            data = read_until(sock, b"", ping(COOKIE_COMPARED))
            goes_on(source)
            assert source.migration()["status"] == "setup"
            source.cmd("migrate_cancel")
            assert source.wait_migration("cancelled", "failed") == "cancelled"
            assert sock.recv(1) == b"", "something went out"
    assert stream.head(data)[1] == b""
    goes_on(source)


@only_minivmm("QEMU does not compare")
def test_one_round_trip(t):
    """Machines that fit: one question, one answer, and the move goes on: with what RAM will leave out."""
    source = machine(t)
    path = t.path("in")
    dest = destination(t, source, f"unix:{path}")
    proxy = t.proxy(path, keep=True)
    source.cmd("migrate", uri=f"unix:{proxy.path}")
    arrived(source, dest)
    commands, rest = stream.head(proxy.kept[FORWARD])
    numbers = [n for n, _ in commands]
    assert numbers[:4] == [OPEN_RETURN_PATH, PING, DESCRIPTION, PING], commands
    assert set(numbers[4:]) <= {SPARSE}, commands
    assert rest[:1] == bytes([stream.TAG_START])
    back = bytes(proxy.kept[BACKWARD])
    assert back.startswith(b"".join(struct.pack(">HHI", PONG, 4, c) for c in
                                    (COOKIE_DESTINATION, COOKIE_SOURCE, COOKIE_COMPARED))), back
    goes_on(dest)
