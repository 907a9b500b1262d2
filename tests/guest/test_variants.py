"""The variants of the board on the move: second IOAPIC, controllers outside KVM, legacy transports."""
import ram
from case import only_minivmm, table
from moves import Way, arrived, check_running, check_stopped, destination, goes_on, machine

GUEST = "pages=50 rate=1000 every=8"


def move(t, source, **options):
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming(), **options)
    way.start(source, dest)
    return arrived(source, dest)


def working(t, variant, cpus):
    vm = machine(t, "smp-counter", GUEST, variant=variant, cpus=cpus, disk=t.disk(), rng=True, net=t.net().path)
    goes_on(vm, cpus)
    return vm


def works(vm, before, cpus):
    while ram.status(vm)["disk"] < before["disk"] + 3:
        pass
    goes_on(vm, cpus)
    s = check_running(vm, cpus)[0]
    assert (s["errors"], s["disk_errors"], s["rng_errors"], s["net_errors"]) == (0, 0, 0, 0), s


@table(split={"variant": "split"}, split_two={"variant": "split", "cpus": 2}, legacy={"variant": "legacy"},
       ioapic2={"variant": "ioapic2"}, stock={"variant": "stock"}, stock_two={"variant": "stock", "cpus": 2},
       bare={"variant": "bare", "cpus": 2})
def test_moves_in_a_row(t, variant, cpus=1):
    """Level interrupts at every moment: in a line, in a local APIC, between its end and the news of it."""
    vm = working(t, variant, cpus)
    for _ in range(6):
        dest = move(t, vm)
        before = check_stopped(vm, cpus)[0]
        dest.options = vm.options
        t.forget(vm)
        vm = dest
        vm.wait_running()
        works(vm, before, cpus)


@table(out={"variants": ("own", "split", "own")}, into={"variants": ("split", "own", "split")})
def test_controllers_change_place(t, variants):
    """In KVM or not: the state is the same."""
    vm = working(t, variants[0], 2)
    for variant in variants[1:]:
        dest = move(t, vm, variant=variant)
        before = check_stopped(vm, 2)[0]
        t.forget(vm)
        vm = dest
        vm.wait_running()
        works(vm, before, 2)


def test_stop_and_reset(t):
    """Stopped and continued, then reset: the controllers and the timer begin anew."""
    vm = working(t, "stock", 2)
    for _ in range(5):
        vm.cmd("stop")
        before = check_stopped(vm, 2)[0]
        vm.cmd("cont")
        works(vm, before, 2)
    vm.cmd("system_reset")
    vm.serial.expect("counting on")
    goes_on(vm, 2)


@only_minivmm("the words are minivmm's")
@table(ioapic2={"here": "own", "there": "ioapic2", "words": "machine option 'ioapic2': off at the source"},
       legacy={"here": "legacy", "there": "own", "words": "transport: legacy at the source, modern at the destination"})
def test_two_variants(t, here, there, words):
    """Between two minivmm the difference is told before a page is sent."""
    source = machine(t, variant=here, disk=t.disk())
    source.capabilities("return-path")
    dest = t.vmm(incoming="defer", **dict(source.options, variant=there))
    dest.capabilities("events", "return-path")
    dest.cmd("migrate-incoming", uri=f"unix:{t.path('in')}")
    source.cmd("migrate", uri=f"unix:{t.path('in')}")
    source.wait_migration("failed")
    assert words in source.migration()["error-desc"], source.migration()
    goes_on(source)
