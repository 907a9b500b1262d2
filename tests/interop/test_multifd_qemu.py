"""Multifd between minivmm and QEMU 7.2, both ways: the same packets, the same sync rounds."""
import socket
import struct
import threading

import ram
from case import only_minivmm, table
from moves import arrived, destination, goes_on, machine, several_passes
from proxy import FORWARD

METHODS = ("none", "zlib", "zstd")
NO_PAGES = struct.pack(">IIIII", 0x11223344, 1, 0, 128, 0).ljust(320 + 8 * 128, b"\0")
DIRECTIONS = {"to_qemu": (None, "qemu"), "from_qemu": ("qemu", None)}
FULL = {"guest": "smp-counter", "append": "pages=50 rate=1000", "cpus": 2}


def rows(channels=(2,), methods=METHODS):
    return {f"{method}_{n}_{direction}": {"method": method, "channels": n, "kinds": kinds}
            for method in methods for n in channels for direction, kinds in DIRECTIONS.items()}


def told(t, kind, extra=()):
    """What each program needs to be told: 7.2 knows no other way to synchronise than this."""
    if (kind or t.kind) == "minivmm":
        return (*extra, "-global", "migration.multifd-flush-after-each-section=on")
    return extra


def start(t, kind, append="pages=100 rate=2000", extra=(), **options):
    return machine(t, append=append, kind=kind or t.kind, extra=told(t, kind, extra), **options)


def multifd_move(t, source, kind, method, channels, wait=True, scheme="unix", extra=(), **options):
    """A destination of that kind that takes the source over."""
    settings = {"multifd-channels": channels, "multifd-compression": method}
    incoming = "tcp:127.0.0.1:0" if scheme == "tcp" else f"unix:{t.path(f'in{t._count}')}"
    source.capabilities("multifd")
    source.qmp.cmd("migrate-set-parameters", **settings)
    dest = destination(t, source, None, ["multifd"], kind=kind or t.kind, extra=told(t, kind, extra), **options)
    dest.qmp.cmd("migrate-set-parameters", **settings)
    dest.cmd("migrate-incoming", uri=incoming)
    if scheme == "tcp":
        address, = dest.migration()["socket-address"]
        incoming = f"tcp:127.0.0.1:{address['port']}"
    source.cmd("migrate", uri=incoming)
    return arrived(source, dest) if wait else dest


@table(**rows(channels=(1, 2, 5)))
def test_runs_on(t, method, channels, kinds):
    t.need("qemu", t.kind)
    source = start(t, kinds[0])
    before = goes_on(source)[0]
    dest = multifd_move(t, source, kinds[1], method, channels)
    dest.wait_running()
    assert goes_on(dest)[0] > before
    assert dest.report()[0]["errors"] == 0


@table(**rows())
def test_ram_is_equal(t, method, channels, kinds):
    t.need("qemu", t.kind)
    source = start(t, kinds[0], FULL["append"], guest=FULL["guest"], cpus=2, disk=t.disk())
    goes_on(source, 2)
    dest = multifd_move(t, source, kinds[1], method, channels, paused=True)
    there = ram.read(dest)
    ram.assert_equal(ram.read(source), there)
    for cpu in range(2):
        ram.check_range(there, cpu)


@table(**rows())
def test_several_passes(t, method, channels, kinds):
    """Pages go again and again, over whatever channel is free; the newest stays."""
    t.need("qemu", t.kind)

    def begin():
        source = start(t, kinds[0], "pages=300")
        source.cmd("migrate-set-parameters", max_bandwidth=8 << 20, downtime_limit=1)
        return source, multifd_move(t, source, kinds[1], method, channels, wait=False, paused=True)
    source, dest = several_passes(t, 4, begin)
    source.cmd("migrate-set-parameters", max_bandwidth=1 << 40, downtime_limit=2000)
    arrived(source, dest)
    ram.assert_equal(ram.read(source), ram.read(dest))
    dest.cmd("cont")
    goes_on(dest)


@table(none={"method": "none"}, zlib={"method": "zlib"}, zstd={"method": "zstd"})
def test_there_and_back(t, method):
    t.need("qemu", t.kind)
    vm = start(t, t.kind)
    for kind in ("qemu", None) * 2:
        dest = multifd_move(t, vm, kind, method, 3)
        t.forget(vm)
        vm = dest
        vm.wait_running()
        goes_on(vm)


@only_minivmm("the destination is ours")
def test_late_packet(t):
    """QEMU may write a packet without pages behind its last SYNC: no channel is closed before it closes."""
    t.need("qemu", t.kind)
    source = start(t, "qemu")
    source.capabilities("multifd")
    dest = destination(t, source, f"unix:{t.path('first')}", ["multifd"], kind=t.kind, extra=())
    relay = t.proxy(t.path("first"), keep=True)
    source.cmd("migrate", uri=f"unix:{relay.path}")
    arrived(source, dest)
    again = destination(t, source, f"unix:{t.path('again')}", ["multifd"], kind=t.kind)
    played = []
    for link in relay.links:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(t.path("again"))
        played.append(sock)
        threading.Thread(target=sock.sendall, args=(bytes(link.kept[FORWARD]),), daemon=True).start()
    assert again.wait_migration("completed", "failed") == "completed", again.migration()
    for _ in range(20):
        assert again.migration()["status"] == "completed"
        for channel in played[1:]:
            channel.sendall(NO_PAGES)       # EPIPE when it has been closed
    for sock in played:
        sock.close()
    goes_on(again)


@table(to_qemu={"kinds": DIRECTIONS["to_qemu"]}, from_qemu={"kinds": DIRECTIONS["from_qemu"]})
def test_tcp(t, kinds):
    t.need("qemu", t.kind)
    source = start(t, kinds[0])
    dest = multifd_move(t, source, kinds[1], "none", 2, scheme="tcp")
    dest.wait_running()
    goes_on(dest)


@table(to_qemu={"kinds": DIRECTIONS["to_qemu"]}, from_qemu={"kinds": DIRECTIONS["from_qemu"]})
def test_zero_copy(t, kinds):
    t.need("qemu", t.kind)
    source = start(t, kinds[0])
    source.capabilities("multifd", "zero-copy-send")
    dest = multifd_move(t, source, kinds[1], "none", 2, scheme="tcp")
    dest.wait_running()
    goes_on(dest)
    assert source.migration()["ram"]["dirty-sync-missed-zero-copy"] > 0


@table(to_qemu={"kinds": DIRECTIONS["to_qemu"]}, from_qemu={"kinds": DIRECTIONS["from_qemu"]})
def test_return_path(t, kinds):
    t.need("qemu", t.kind)
    source = start(t, kinds[0])
    source.capabilities("return-path", "multifd")
    dest = destination(t, source, f"unix:{t.path('in')}", ["return-path", "multifd"], kind=kinds[1] or t.kind,
                       extra=())
    source.cmd("migrate", uri=f"unix:{t.path('in')}")
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)


def test_uuid(t):
    """The channels' first packets carry the machine's UUID: QEMU compares it, and so do we."""
    t.need("qemu", t.kind)
    same = ("-uuid", "00112233-4455-6677-8899-aabbccddeeff")
    source = start(t, t.kind, extra=same)
    dest = multifd_move(t, source, "qemu", "none", 2, extra=same)
    dest.wait_running()
    goes_on(dest)
    t.forget(source)
    back = multifd_move(t, dest, t.kind, "none", 2, extra=same)
    back.wait_running()
    goes_on(back)
