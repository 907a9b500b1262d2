"""A guest with a balloon between minivmm and QEMU 7.2, 10.0, 11.1."""
import peers
import ram
from case import table
from moves import arrived, destination, machine

PAGE, MEMORY, PAGES = 4096, 24 << 20, 1024
FREE_AT = 12 << 20                              # guest-images/balloon.c
EVENT_AT = 4 + 8 * 16                           # avail_event, in the page of a used ring of guest-images/virtio.c
RELEASES = ("7.2", "10.0", "11.1")
HINTS = ",free-page-hint=on"


def kind_of(t, who):
    return t.kind if who == "ours" else peers.kind(t, who)


def options(who, properties):
    """QEMU serves hints on a thread that it has to be given."""
    hints = HINTS in properties and who != "ours"
    return ((("-object", "iothread,id=io0") if hints else ()) +
            ("-device", f"virtio-balloon-device,id=balloon0{properties}{',iothread=io0' if hints else ''}"))


def inflate(vm, pages):
    vm.cmd("balloon", value=MEMORY - pages * PAGE)
    vm.serial.expect(f"balloon {pages}\n")
    vm.qmp.event("BALLOON_CHANGE", actual=MEMORY - pages * PAGE)


def check(vm, pages):
    vm.serial.write("c")
    assert vm.serial.expect(r"checked (\d+) (\d+)\n").groups() == (str(pages), "0")


def chain(t, hops, properties, inflated):
    vm = machine(t, "balloon", "", started=False, kind=kind_of(t, hops[0]), extra=options(hops[0], properties))
    vm.serial.expect("ready")
    if inflated:
        inflate(vm, inflated)
    for hop in hops[1:]:
        vm = hopped(t, vm, hop, properties, inflated)
        inflate(vm, inflated + 100)
        check(vm, PAGES - inflated - 100)
        inflate(vm, inflated)
        check(vm, PAGES - inflated)


def needed(vm, properties):
    """What has to arrive: memory, but for that of which the guest may have said that it is free."""
    data = ram.read(vm)
    return data[:FREE_AT] + data[FREE_AT + PAGES * PAGE:] if HINTS in properties else data


def assert_arrived(source, dest, properties):
    """QEMU's thread for hints may say once more, behind its last look at memory, when it wants to be told of the next
    one; whoever serves the queue next says so anew."""
    here, there = needed(source, properties), needed(dest, properties)
    if not source.kind.startswith("minivmm") and HINTS in properties:
        for page in ram.differing_pages(here, there):
            at = page + EVENT_AT
            there = there[:at] + here[at:at + 2] + there[at + 2:]
    ram.assert_equal(here, there)


def hopped(t, source, hop, properties, inflated):
    """Both ends stopped: all of memory is equal, and so is what the balloon holds."""
    t._count += 1                                   # pylint: disable=protected-access
    uri = f"unix:{t.path(f'in{t._count}')}"         # pylint: disable=protected-access
    dest = destination(t, source, uri, kind=kind_of(t, hop), extra=options(hop, properties), paused=True)
    source.cmd("migrate", uri=uri)
    arrived(source, dest)
    assert_arrived(source, dest, properties)
    t.forget(source)
    assert dest.cmd("query-balloon")["actual"] == MEMORY - inflated * PAGE
    dest.cmd("cont")
    return dest


@table(**{f"{a}_{b}_{name}".replace(".", "_"): {"hops": (a, b), "properties": p, "inflated": n}
          for release in RELEASES for a, b in (("ours", release), (release, "ours"))
          for name, p, n in (("idle", "", 0), ("active", "", 300))})
def test_moves(t, hops, properties, inflated):
    chain(t, hops, properties, inflated)


@table(**{f"{release}_{name}".replace(".", "_"): {"release": release, "properties": p}
          for release in RELEASES
          for name, p in (("bare", ",page-poison=off"), ("hints", HINTS),
                          ("all", ",deflate-on-oom=on,free-page-reporting=on" + HINTS))})
def test_properties(t, release, properties):
    """There and back: each feature has its queues, its configuration and its part of the section."""
    chain(t, ("ours", release, "ours"), properties, 50)
