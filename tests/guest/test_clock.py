"""The clocks of a guest that is loaded from a file: on from where they stood, or by the time that has passed."""
import struct
import time

import kvm
import snapshots
from case import only_minivmm, table
from moves import Way, arrived, destination, machine, make_older, save_uri, wait_saved

PASSED = 1000                   # seconds by which a file is made older
ADVANCE, FREEZE = {"x_minivmm_load_clock": "advance"}, {}       # the latter is the default
GRAIN = 1.0                     # the two clocks need not have the same rate


class Reading:
    """The guest's clocks, and the host's time of day before and after that."""

    def __init__(self, vm):
        self.before = time.time()
        vm.serial.write("r")
        tsc, ns = vm.serial.expect(r"clock tsc=(\d+) ns=(\d+)\n").groups()
        self.after = time.time()
        self.tsc, self.seconds = int(tsc), int(ns) / 1e9


def save(t, vm):
    path = t.path("state")
    vm.cmd("migrate", uri=save_uri(vm.kind, path))
    assert vm.wait_migration("completed", "failed") == "completed", vm.migration()
    wait_saved(vm, path)
    return path


def load(t, source, uri, parameters, **options):
    vm = destination(t, source, **options)
    vm.cmd("migrate-set-parameters", **parameters)
    vm.cmd("migrate-incoming", uri=uri)
    assert vm.wait_loaded() == "completed", vm.migration()
    return vm


def check(first, rate, last, passed):
    """The guest's clock has gone as far as the host's and 'passed' seconds; the TSC, where it can be set, as far as
    that."""
    gone = last.seconds - first.seconds
    assert last.before - first.after + passed - GRAIN <= gone <= last.after - first.before + passed + GRAIN, \
        (gone, passed, last.after - first.before)
    if kvm.takes_tsc():
        assert abs((last.tsc - first.tsc) / rate / gone - 1) < 0.02, (last.tsc - first.tsc, rate, gone)


def start(t, **options):
    """A guest, a reading, and the ticks of its TSC a second."""
    vm = machine(t, "clock", "", **options)
    first = Reading(vm)
    second = Reading(vm)
    while second.seconds - first.seconds < 0.5:
        second = Reading(vm)
    return vm, second, (second.tsc - first.tsc) / (second.seconds - first.seconds)


@only_minivmm("QEMU's clocks go on from where they stood")
@table(advance={"parameters": ADVANCE, "passed": PASSED},
       advance_exec={"parameters": ADVANCE, "passed": PASSED, "scheme": "exec"},
       advance_smp={"parameters": ADVANCE, "passed": PASSED, "cpus": 2})
def test_load(t, parameters, passed, scheme="file", cpus=1):
    source, first, rate = start(t, cpus=cpus)
    path = save(t, source)
    make_older(path, PASSED)
    vm = load(t, source, f"file:{path}" if scheme == "file" else f"exec:cat {path}", parameters)
    check(first, rate, Reading(vm), passed)


@only_minivmm("QEMU's clocks go on from where they stood")
def test_freeze(t):
    """The default: no time has passed, whatever the file says."""
    source, first, rate = start(t)
    path = save(t, source)
    make_older(path, PASSED)
    vm = load(t, source, f"file:{path}", FREEZE)
    last = Reading(vm)
    assert 0 < last.seconds - first.seconds <= last.after - first.before + GRAIN
    assert 0 < (last.tsc - first.tsc) / rate <= last.after - first.before + GRAIN


@only_minivmm("QEMU's clocks go on from where they stood")
def test_advance_counts_until_it_runs(t):
    """The time since the stop, up to the start: a guest that is saved again as it was loaded has lost nothing."""
    source, first, rate = start(t)
    path = save(t, source)
    make_older(path, PASSED)
    vm = load(t, source, f"file:{path}", ADVANCE, paused=True)
    t.forget(source)
    again = t.path("again")
    vm.cmd("migrate", uri=save_uri("minivmm", again))
    assert vm.wait_migration("completed", "failed") == "completed", vm.migration()
    last = load(t, source, f"file:{again}", ADVANCE)
    last.cmd("cont")
    check(first, rate, Reading(last), PASSED)


@only_minivmm("QEMU's clocks go on from where they stood")
def test_not_known(t):
    """A file that does not say when it was saved: a line in the log, and the clock goes on from where it stood."""
    source, first, rate = start(t, extra=("-machine", "suppress-vmdesc=on"))
    path = save(t, source)
    vm = load(t, source, f"file:{path}", ADVANCE)
    last = Reading(vm)
    assert 0 < last.seconds - first.seconds <= last.after - first.before + GRAIN
    assert 0 < (last.tsc - first.tsc) / rate <= last.after - first.before + GRAIN
    assert "nothing says when this guest was saved" in vm.stderr()


@only_minivmm("QEMU's clocks go on from where they stood")
def test_move_is_no_load(t):
    """A guest that was stopped for long and moves goes on from where it stood, whatever the parameter."""
    source, first, _ = start(t)
    way = Way(t, "unix")
    vm = destination(t, source, way.incoming())
    vm.cmd("migrate-set-parameters", **ADVANCE)
    way.start(source, vm)
    arrived(source, vm)
    last = Reading(vm)
    assert 0 < last.seconds - first.seconds <= last.after - first.before + GRAIN
    assert "nothing says" not in vm.stderr()


def make_snapshot_older(path, seconds):
    """The date of the only snapshot of an image (qcow2-vmstate 2)."""
    with open(path, "r+b") as f:
        count, table_at = struct.unpack(">IQ", f.read(72)[60:72])
        assert count == 1
        f.seek(table_at + 16)
        date, = struct.unpack(">I", f.read(4))
        assert abs(time.time() - date) < PASSED / 2
        f.seek(table_at + 16)
        f.write(struct.pack(">I", date - seconds))


@only_minivmm("QEMU's clocks go on from where they stood")
@table(advance={"policy": ADVANCE}, freeze={"policy": FREEZE})
def test_snapshot(t, policy):
    """A snapshot's date is when it was saved: with 'advance' the clock goes on by what has passed since."""
    vm = snapshots.guest(t, {"d0": snapshots.image(t, "d0", 1024)}, "", "clock")
    first = Reading(vm)
    snapshots.do(vm, "save", "one")
    vm.cmd("quit")
    vm.wait()
    make_snapshot_older(vm.images["d0"], PASSED)
    other = snapshots.again(t, vm)
    other.cmd("migrate-set-parameters", **policy)
    snapshots.do(other, "load", "one")
    last = Reading(other)
    gone = last.seconds - first.seconds
    passed = PASSED if policy else 0
    assert gone > passed and gone <= last.after - first.before + passed + GRAIN, (gone, passed)
