"""A guest with a generation ID between minivmm and QEMU 7.2, 10.0, 11.1: the section fits, and QEMU gives its own guid=."""
import peers
from case import table
from moves import arrived, destination, machine

ONE = "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87"
TWO = "11111111-2222-3333-4444-555555555555"
THREE = "99999999-8888-7777-6666-555555555555"


def device(guid):
    return ("-device", f"vmgenid,guid={guid}")


def hop(t, vm, kind, guid):
    to = destination(t, vm, f"unix:{t.path('to-' + kind)}", kind=kind, extra=device(guid))
    vm.cmd("migrate", uri=f"unix:{t.path('to-' + kind)}")
    arrived(vm, to)
    return to


def guid_of(vm):
    return vm.cmd("query-vm-generation-id")["guid"]


def report(vm):
    """How often the guest was notified, and the beginning of its ID, which is little-endian there."""
    vm.serial.write("r")
    times, guid = vm.serial.expect(r"report (\d+) count=\d+ id=(\w{8})\w{24}\n").groups()
    return int(times), bytes.fromhex(guid)[::-1].hex()


@table(**{"7.2": {"version": "7.2"}, "10.0": {"version": "10.0"}, "11.1": {"version": "11.1"}})
def test_there_and_back(t, version):
    """QEMU writes what its option says into the place that the section names; here a guest keeps what it has."""
    kind = peers.kind(t, version)
    ours = machine(t, "generation", "", kind="minivmm", extra=device(ONE))
    assert report(ours) == (0, ONE[:8])
    theirs = hop(t, ours, kind, TWO)
    assert guid_of(theirs) == TWO
    assert report(theirs)[1] == TWO[:8]
    back = hop(t, theirs, "minivmm", THREE)
    assert guid_of(back) == TWO
    assert report(back)[1] == TWO[:8]


@table(**{"7.2": {"version": "7.2"}, "10.0": {"version": "10.0"}, "11.1": {"version": "11.1"}})
def test_never_told(t, version):
    """QEMU's microvm has the device and no table that names it: address 0, which is kept."""
    theirs = machine(t, "idle", "", kind=peers.kind(t, version), extra=device(ONE))
    ours = hop(t, theirs, "minivmm", TWO)
    assert guid_of(ours) != TWO
    hop(t, ours, theirs.kind, ONE)
