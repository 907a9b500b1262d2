"""release-ram: when the destination has the guest, the source gives its memory back to the host."""
import os
import time

from case import only_minivmm, table
from moves import Way, arrived, destination, goes_on, machine
from qmp import GUARD, Hang

WHY = "QEMU 7.2 releases memory in postcopy only"
GONE = "The guest's memory was released when its migration had completed (capability 'release-ram')"
GUEST = "pages=2000"            # 8 MB, that it has written
PRIVATE = "memory-backend-memfd,id=microvm.ram,size=24M,share=off"
BACKENDS = {"anonymous": {"backend": "anonymous"},
            "memfd": {"backend": "none", "extra": ["-object", PRIVATE,
                                                   "-machine", "memory-backend=microvm.ram"]}}


def resident(vm):
    """Bytes of memory that the process holds, files that it has mapped included."""
    with open(f"/proc/{vm.pid}/status", encoding="ascii") as f:
        fields = dict(line.split(":", 1) for line in f)
    return sum(int(fields[key].split()[0]) << 10 for key in ("RssAnon", "RssShmem", "RssFile"))


def wait_released(vm, before):
    until = time.monotonic() + GUARD
    while resident(vm) > before - (7 << 20):
        if time.monotonic() > until:
            raise Hang(f"{vm.name} still holds {resident(vm)} bytes, of {before}")
        os.sched_yield()


def written(vm):
    """Waits until the guest has written all of its pages: it is in its second round then."""
    while vm.report()[0]["gen"] < 2:
        pass


def start(t, options, *caps, **params):
    source = machine(t, "counter", GUEST, **options)
    source.capabilities("release-ram", *caps)
    written(source)
    if params:
        source.cmd("migrate-set-parameters", **params)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    return source, dest


def refuses(t, source):
    """Whatever would need the memory says that it is gone."""
    assert source.qmp.fails("cont") == GONE
    assert source.qmp.fails("migrate", uri="exec:cat > /dev/null") == GONE
    assert source.qmp.fails("pmemsave", val=0, size=4096, filename=t.path("ram")) == GONE
    assert source.qmp.fails("calc-dirty-rate", calc_time=1) == GONE
    assert not os.path.exists(t.path("ram"))
    assert source.status() == "postmigrate"


@only_minivmm(WHY)
@table(**{name: {"options": options} for name, options in BACKENDS.items()})
def test_released(t, options):
    source, dest = start(t, options)
    before = resident(source)
    arrived(source, dest)
    wait_released(source, before)
    refuses(t, source)
    source.cmd("quit")
    assert source.wait() == 0
    dest.wait_running()
    serial_goes_on(dest)


def serial_goes_on(vm):
    """Its memory cannot be read from outside: the guest checks each stamp itself, and reports."""
    before = vm.report()[0]["gen"]
    while vm.report()[0]["gen"] < before + 2:
        pass
    assert vm.report()[0]["errors"] == 0


@only_minivmm(WHY)
def test_shared_memory_is_left_alone(t):
    """A file with share=on may be another program's, too: its content stays."""
    source, dest = start(t, {"backend": "file"})
    arrived(source, dest)
    refuses(t, source)
    with open(source.ram_path, "rb") as f:
        assert any(f.read())
    dest.wait_running()
    goes_on(dest)


@only_minivmm(WHY)
@table(cancelled={"how": "cancelled"}, failed={"how": "failed"})
def test_nothing_is_released(t, how):
    """A migration that did not come to its end leaves the guest, and all of its memory."""
    source, dest = start(t, BACKENDS["anonymous"], max_bandwidth=1 << 20, downtime_limit=0)
    before = resident(source)
    if how == "cancelled":
        source.cmd("migrate_cancel")
    else:
        dest.kill()
    source.wait_migration(how)
    source.wait_running()
    assert resident(source) >= before - (1 << 20)
    serial_goes_on(source)
    source.cmd("pmemsave", val=0, size=4096, filename=t.path("ram"))
    # and it may still go
    source.cmd("migrate-set-parameters", max_bandwidth=0, downtime_limit=2000)
    way = Way(t, "unix")
    there = destination(t, source, way.incoming())
    way.start(source, there)
    arrived(source, there)
    wait_released(source, before)


@only_minivmm(WHY)
def test_without_it(t):
    """The capability off: a completed source keeps what it had."""
    source = machine(t, "counter", GUEST, backend="anonymous")
    written(source)
    before = resident(source)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    arrived(source, dest)
    source.cmd("pmemsave", val=0, size=4096, filename=t.path("ram"))
    source.cmd("migrate-set-parameters", announce_rounds=1)
    assert resident(source) >= before - (1 << 20)
