"""What steers a migration: the guest is slowed down, its dirtying limited and measured."""
import os
import time

import ram
from case import only_minivmm, table
from moves import Way, arrived, destination, generations, goes_on, machine
from qmp import GUARD, Hang

MIB = 1 << 20
TRACKERS = {"log": {"ring": None}, "ring": {"ring": 16384}}
NAMED = ["-name", "vm,debug-threads=on"]

# A guest that stamps its pages as fast as it can, and limits at which it does not converge.
FAST = {"guest": "counter", "append": "pages=300"}
LIMITS = {"max_bandwidth": 2 * MIB, "downtime_limit": 20}
ENDLESS = {"max_bandwidth": 2 * MIB, "downtime_limit": 0}


def slowed(source):
    """By how many per cent the guest is, of a move that is under way."""
    info = source.migration()
    assert info["status"] in ("setup", "active"), info
    return info.get("cpu-throttle-percentage", 0)


def start_move(t, source, **limits):
    source.cmd("migrate-set-parameters", **limits)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    return dest


def threads(vm):
    names = set()
    for task in os.listdir(f"/proc/{vm.pid}/task"):
        try:
            with open(f"/proc/{vm.pid}/task/{task}/comm", encoding="ascii") as f:
                names.add(f.read().strip())
        except FileNotFoundError:
            pass
    return names


def nobody_slows(vm):
    """No thread is left that would throttle, limit or reap."""
    left = threads(vm) & {"throttle", "dirty-limit", "reaper"}
    assert not left, left
    assert "cpu-throttle-percentage" not in vm.migration()


def stamped(vm):
    """Pages that the guest has stamped so far."""
    s = ram.status(vm)
    return s["generation"] * s["pages"] + s["index"]


def measured(vm, until):
    """Stamps a second between now and when until() holds, by the guest's own count."""
    begin, first = time.monotonic(), stamped(vm)
    while not until():
        if time.monotonic() > begin + GUARD:
            raise Hang("what is awaited does not come")
    return (stamped(vm) - first) / (time.monotonic() - begin)


def throttled(source):
    """The percentages shown until the migration is over; None: it was not throttled."""
    seen = []
    while True:
        info = source.migration()
        if info["status"] not in ("setup", "active"):
            return seen
        if info.get("cpu-throttle-percentage") not in seen:
            seen.append(info.get("cpu-throttle-percentage"))


@table(**TRACKERS)
def test_does_not_converge_alone(t, ring):
    """Shows that the tests below show something: many passes, and no end.

    With no downtime allowed: on a host so busy that the guest hardly gets to run, it would fit into
    the limit that the others use.
    """
    source = machine(t, **FAST, ring=ring)
    start_move(t, source, **ENDLESS)
    while source.qmp.event("MIGRATION_PASS")["data"]["pass"] < 12:
        pass
    info = source.migration()
    assert info["status"] == "active" and "cpu-throttle-percentage" not in info, info
    source.cmd("migrate_cancel")
    source.wait_migration("cancelled")
    goes_on(source)


@table(**{f"{name}_{slow}": {**row, "tailslow": slow == "tailslow"}
          for name, row in TRACKERS.items() for slow in ("steps", "tailslow")})
def test_auto_converge(t, ring, tailslow):
    """The same guest arrives when its vCPUs are slowed down; afterwards they are not."""
    source = machine(t, **FAST, ring=ring, extra=NAMED)
    source.capabilities("auto-converge")
    dest = start_move(t, source, throttle_trigger_threshold=20, cpu_throttle_initial=30,
                      cpu_throttle_increment=40, cpu_throttle_tailslow=tailslow, **LIMITS)
    seen = [p for p in throttled(source) if p]
    arrived(source, dest)
    assert seen and seen[0] == 30 and seen == sorted(seen), seen
    assert tailslow or set(seen) <= {30, 70, 99}, seen
    nobody_slows(source)
    dest.wait_running()
    goes_on(dest)
    assert source.migration()["ram"]["dirty-sync-count"] > 3


def test_throttle_has_a_cap(t):
    source = machine(t, **FAST, extra=NAMED)
    source.capabilities("auto-converge")
    start_move(t, source, cpu_throttle_initial=20, cpu_throttle_increment=10, max_cpu_throttle=25,
               throttle_trigger_threshold=1, **ENDLESS)
    seen = []
    while 25 not in seen:
        seen.append(slowed(source))
    for _ in range(6):
        source.qmp.event("MIGRATION_PASS")
    assert source.migration()["cpu-throttle-percentage"] == 25
    assert "throttle" in threads(source)
    # a parameter that changes counts at once
    source.cmd("migrate-set-parameters", max_cpu_throttle=99)
    while slowed(source) <= 25:
        pass
    source.cmd("migrate_cancel")
    source.wait_migration("cancelled")
    nobody_slows(source)
    goes_on(source)


def test_throttle_ends_with_the_destination(t):
    """The destination dies: the guest runs on, at full speed."""
    source = machine(t, **FAST, extra=NAMED)
    source.capabilities("auto-converge")
    dest = start_move(t, source, max_cpu_throttle=40, throttle_trigger_threshold=1, **ENDLESS)
    while not slowed(source):
        pass
    dest.kill()
    source.wait_migration("failed")
    nobody_slows(source)
    goes_on(source)


def test_dirty_limit_capability(t):
    """The vCPUs are limited in what they dirty instead; limits of the user's own stay as they are."""
    source = machine(t, **FAST, ring=16384, extra=NAMED)
    source.capabilities("dirty-limit")
    dest = start_move(t, source, vcpu_dirty_limit=1, x_vcpu_dirty_limit_period=200,
                      throttle_trigger_threshold=20, **LIMITS)
    assert throttled(source) == [None]
    arrived(source, dest)
    nobody_slows(source)
    assert source.cmd("query-vcpu-dirty-limit") == []
    dest.wait_running()
    goes_on(dest)


def test_dirty_limit_is_refused(t):
    """Without the ring, and together with auto-converge."""
    plain, ringed = machine(t), machine(t, ring=1024)
    on = [{"capability": "dirty-limit", "state": True}]
    assert "dirty-ring-size" in plain.qmp.fails("migrate-set-capabilities", capabilities=on)
    ringed.capabilities("auto-converge")
    words = ringed.qmp.fails("migrate-set-capabilities", capabilities=on)
    assert "'dirty-limit' and 'auto-converge' exclude each other" in words, words
    assert ringed.qmp.fails("migrate-set-parameters", vcpu_dirty_limit=0) == \
        "Parameter 'vcpu_dirty_limit' expects at least 1, in MB/s"
    assert ringed.qmp.fails("migrate-set-parameters", x_vcpu_dirty_limit_period=1001) == \
        "Parameter 'x_vcpu_dirty_limit_period' expects a value between 1 and 1000"


def within(vm, cpu, limit):
    """The rate that is shown for a vCPU has come near its limit."""
    return any(e["cpu-index"] == cpu and limit * 0.5 <= e["current-rate"] <= limit * 1.5
               for e in vm.cmd("query-vcpu-dirty-limit"))


def test_vcpu_dirty_limit(t):
    """One vCPU of two is held back, then both, then none; the guest's own counts show it."""
    vm = machine(t, "smp-counter", "pages=300 every=100000", cpus=2, ring=16384, memory="64M",
                 extra=NAMED)
    goes_on(vm, 2)
    vm.cmd("set-vcpu-dirty-limit", cpu_index=1, dirty_rate=1)
    assert [(e["cpu-index"], e["limit-rate"]) for e in vm.cmd("query-vcpu-dirty-limit")] == [(1, 1)]
    while not within(vm, 1, 1):
        pass
    begin, before = time.monotonic(), generations(vm, 2)
    while generations(vm, 2)[0] < before[0] + 6:
        pass
    after = generations(vm, 2)
    free, held = after[0] - before[0], after[1] - before[1]
    rate = held * 300 * 4096 / (time.monotonic() - begin)
    # On a busy host the free one may hardly be faster than the limit of the other.
    assert free >= 2 * held or rate < 2 * MIB, \
        f"{free} rounds without a limit, {held} with one, at {rate:.0f} bytes/s"
    vm.cmd("set-vcpu-dirty-limit", dirty_rate=2)
    assert [e["limit-rate"] for e in vm.cmd("query-vcpu-dirty-limit")] == [2, 2]
    while not (within(vm, 0, 2) and within(vm, 1, 2)):
        pass
    vm.cmd("cancel-vcpu-dirty-limit", cpu_index=0)
    assert [e["cpu-index"] for e in vm.cmd("query-vcpu-dirty-limit")] == [1]
    vm.cmd("set-vcpu-dirty-limit", dirty_rate=0)
    assert vm.cmd("query-vcpu-dirty-limit") == []
    nobody_slows(vm)
    goes_on(vm, 2)


def test_vcpu_dirty_limit_and_a_move(t):
    """Both want the tracker: the limit stays through a move that is cancelled."""
    source = machine(t, **FAST, ring=16384)
    source.cmd("set-vcpu-dirty-limit", dirty_rate=3)
    start_move(t, source, **ENDLESS)
    while source.qmp.event("MIGRATION_PASS")["data"]["pass"] < 4:
        pass
    source.cmd("cancel-vcpu-dirty-limit")
    source.cmd("set-vcpu-dirty-limit", dirty_rate=3)
    source.cmd("migrate_cancel")
    source.wait_migration("cancelled")
    while not within(source, 0, 3):
        pass
    # and one that is not cancelled brings every page over
    dest = start_move(t, source, max_bandwidth=0, downtime_limit=2000)
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)


@table(
    no_ring={"name": "set-vcpu-dirty-limit", "arguments": {"dirty_rate": 5}, "ring": None,
             "words": "dirty page limit feature requires KVM with accelerator property "
                      "'dirty-ring-size' set"},
    index={"name": "set-vcpu-dirty-limit", "arguments": {"dirty_rate": 5, "cpu_index": 1},
           "ring": 1024, "words": "incorrect cpu index specified"},
    negative={"name": "set-vcpu-dirty-limit", "arguments": {"dirty_rate": 5, "cpu_index": -1},
              "ring": 1024, "words": "incorrect cpu index specified"},
    cancel_index={"name": "cancel-vcpu-dirty-limit", "arguments": {"cpu_index": 7}, "ring": None,
                  "words": "incorrect cpu index specified"},
    time={"name": "calc-dirty-rate", "arguments": {"calc_time": 0}, "ring": None,
          "words": "calc-time is out of range[1, 60]."},
    samples={"name": "calc-dirty-rate", "arguments": {"calc_time": 1, "sample_pages": 127},
             "ring": None, "words": "sample-pages is out of range[128, 16384]."},
    both={"name": "calc-dirty-rate", "ring": 1024,
          "arguments": {"calc_time": 1, "sample_pages": 512, "mode": "dirty-ring"},
          "words": "either sample-pages or dirty-ring can be specified."},
    not_ring={"name": "calc-dirty-rate", "arguments": {"calc_time": 1, "mode": "dirty-ring"},
              "ring": None, "words": "mode dirty-ring is not enabled, use other method instead."},
    not_bitmap={"name": "calc-dirty-rate", "arguments": {"calc_time": 1, "mode": "dirty-bitmap"},
                "ring": 1024, "words": "mode dirty-bitmap is not enabled, use other method instead."},
)
def test_refused(t, name, arguments, ring, words):
    vm = t.vmm("idle", ring=ring)
    assert vm.qmp.fails(name, **arguments) == words
    assert vm.cmd("query-vcpu-dirty-limit") == []
    assert vm.cmd("cancel-vcpu-dirty-limit") == {}


@table(sampling={"mode": "page-sampling", "ring": None},
       sampling_ring={"mode": "page-sampling", "ring": 16384},
       bitmap={"mode": "dirty-bitmap", "ring": None},
       ring={"mode": "dirty-ring", "ring": 16384})
def test_dirty_rate(t, mode, ring):
    """Within a tenth of what the guest's own counters say it has written; shown in whole MB/s."""
    vm = machine(t, "counter", "pages=24000 rate=4000", memory="128M", ring=ring, backend="memfd")
    assert vm.cmd("query-dirty-rate") == {"status": "unstarted", "sample-pages": 0, "start-time": 0,
                                          "calc-time": 0, "mode": "page-sampling"}
    more = {"sample_pages": 16384} if mode == "page-sampling" else {}
    vm.cmd("calc-dirty-rate", calc_time=2, mode=mode, **more)
    info = vm.cmd("query-dirty-rate")
    assert info["status"] == "measuring" and "dirty-rate" not in info, info
    assert info["calc-time"] == 2 and info["mode"] == mode, info
    assert vm.qmp.fails("calc-dirty-rate", calc_time=1) == \
        "the dirty rate is already being measured."
    real = measured(vm, lambda: vm.cmd("query-dirty-rate")["status"] == "measured")
    info = vm.cmd("query-dirty-rate")
    real *= 4096 / MIB
    assert abs(info["dirty-rate"] - real) <= real * 0.1 + 0.5, (info, real)
    assert info["sample-pages"] == more.get("sample_pages", 0), info
    assert ("vcpu-dirty-rate" in info) == (mode == "dirty-ring"), info
    if mode == "dirty-ring":
        assert info["vcpu-dirty-rate"] == [{"id": 0, "dirty-rate": info["dirty-rate"]}], info


def test_dirty_rate_during_a_move(t):
    """The bitmap is the migration's own then; sampling and the ring's counts can be had."""
    source = machine(t, **FAST)
    start_move(t, source, **ENDLESS)
    source.wait_migration("active")
    words = source.qmp.fails("calc-dirty-rate", calc_time=1, mode="dirty-bitmap")
    assert "page-sampling" in words, words
    # by default a guest of this size would be judged by a dozen pages
    source.cmd("calc-dirty-rate", calc_time=1, sample_pages=16384)
    while source.cmd("query-dirty-rate")["status"] != "measured":
        pass
    assert source.cmd("query-dirty-rate")["dirty-rate"] > 0
    source.cmd("migrate_cancel")
    source.wait_migration("cancelled")
    ringed = machine(t, **FAST, ring=16384)
    start_move(t, ringed, **ENDLESS)
    ringed.wait_migration("active")
    ringed.cmd("calc-dirty-rate", calc_time=1, mode="dirty-ring")
    while ringed.cmd("query-dirty-rate")["status"] != "measured":
        pass
    assert ringed.cmd("query-dirty-rate")["dirty-rate"] > 0
    assert ringed.migration()["status"] == "active"
    ringed.cmd("quit")      # in the middle of everything
    assert ringed.wait() == 0


def measured_rate(vm):
    while vm.cmd("query-dirty-rate")["status"] != "measured":
        pass
    return vm.cmd("query-dirty-rate")["dirty-rate"]


@only_minivmm("QEMU 7.2 lets both use one log, and each misses what the other has seen")
def test_measuring_yields(t):
    """A move that begins ends a measurement with the bitmap, which shows what it has found; both can be again."""
    source = machine(t, "counter", "pages=1500", backend="memfd")
    source.cmd("calc-dirty-rate", calc_time=60, mode="dirty-bitmap")
    goes_on(source, rounds=2)
    dest = start_move(t, source, **ENDLESS)
    source.wait_migration("active")
    assert measured_rate(source) > 0
    source.cmd("migrate_cancel")
    source.wait_migration("cancelled")
    t.forget(dest)
    source.cmd("calc-dirty-rate", calc_time=1, mode="dirty-bitmap")
    assert measured_rate(source) > 0
    source.cmd("calc-dirty-rate", calc_time=60, mode="dirty-bitmap")
    dest = start_move(t, source, max_bandwidth=0, downtime_limit=2000)
    arrived(source, dest)
    dest.wait_running()
    goes_on(dest)


@only_minivmm("memory is passed between two minivmm only")
@table(**TRACKERS)
def test_measured_after_memory_stayed(t, ring):
    """A cancelled move with x-ignore-shared leaves no block behind that is not logged."""
    source = machine(t, "counter", "pages=1500", backend="memfd", ring=ring)
    source.capabilities("x-ignore-shared", "pause-before-switchover")
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming(), ["x-ignore-shared"])
    way.start(source, dest)
    source.wait_migration("pre-switchover")
    source.cmd("migrate_cancel")
    source.wait_migration("cancelled")
    source.wait_running()
    source.cmd("calc-dirty-rate", calc_time=1, mode="dirty-ring" if ring else "dirty-bitmap")
    assert measured_rate(source) > 0


def test_end_while_measuring(t):
    """Nothing holds the program up."""
    vm = machine(t, ring=1024)
    vm.cmd("set-vcpu-dirty-limit", dirty_rate=1)
    vm.cmd("calc-dirty-rate", calc_time=60, mode="dirty-ring")
    vm.cmd("quit")
    assert vm.wait() == 0
