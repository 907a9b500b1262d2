"""Background snapshots: the guest of one instant, in a file or elsewhere, while it runs on here."""
import os

import ram
import stream
from case import table
from moves import destination, generations, goes_on, load_uri, machine, save_uri, wait_bytes, wait_saved

BACKENDS = ("anonymous", "memfd", "tmpfs")


def writer(t, append="pages=900 rate=0", **options):
    """A guest that writes its range as fast as it can."""
    vm = machine(t, "smp-counter", append, **options)
    vm.capabilities("background-snapshot")
    return vm


def snapshot(vm, uri, **parameters):
    if parameters:
        vm.cmd("migrate-set-parameters", **parameters)
    vm.cmd("migrate", uri=uri)
    status = vm.wait_migration("completed", "failed")
    assert status == "completed", vm.migration()


def check_saved(path, cpus=1):
    """Every page of the file is of one instant, and each came once."""
    s = stream.load(path)
    assert len(set(s.page_offsets)) == len(s.page_offsets), "a page came twice"
    assert not [r for r in s.records if r.tag == stream.TAG_END], "an END of RAM"
    saved = bytes(s.blocks["microvm.ram"])
    assert b"running\0" in s.section("globalstate").payload
    return [ram.check_range(saved, cpu)["generation"] for cpu in range(cpus)]


@table(**{b: {"backend": b} for b in BACKENDS})
def test_one_instant(t, backend):
    """The guest writes all the time, on two processors; no saved page is younger than the instant."""
    vm = writer(t, backend=backend, cpus=2)
    goes_on(vm, 2)
    before = generations(vm, 2)
    path = t.path("state")
    snapshot(vm, save_uri(vm.kind, path))
    wait_saved(vm, path)
    saved = check_saved(path, 2)
    assert all(b <= s <= n for b, s, n in zip(before, saved, generations(vm, 2))), (before, saved)
    assert vm.status() == "running"
    goes_on(vm, 2)
    again = destination(t, vm, load_uri(t.kind, path), paused=True)
    assert again.wait_loaded() == "completed", again.migration()
    assert [ram.check_range(again, cpu)["generation"] for cpu in range(2)] == saved
    t.forget(vm)
    again.cmd("cont")
    goes_on(again, 2)
