"""Background snapshots of minivmm in QEMU, and QEMU's here: every page of one instant, and the guest goes on in both."""
import peers
import ram
from case import table
from moves import destination, goes_on, load_uri, machine, save_uri, wait_saved

GUEST = {"guest": "smp-counter", "append": "pages=600 rate=0", "cpus": 2, "backend": "anonymous"}
VERSIONS = {v.replace(".", "_"): {"version": v} for v in ("7.2", "10.0", "11.1")}


def save(t, vm):
    """While it writes; it runs on."""
    vm.capabilities("background-snapshot")
    goes_on(vm, 2)
    path = t.path("saved")
    vm.cmd("migrate", uri=save_uri(vm.kind, path))
    assert vm.wait_migration("completed", "failed") == "completed", vm.migration()
    wait_saved(vm, path)
    assert vm.status() == "running"
    goes_on(vm, 2)
    return path


def check(dest):
    """Paused, as it has been loaded; then it runs."""
    for cpu in range(2):
        ram.check_range(dest, cpu)
    dest.cmd("cont")
    goes_on(dest, 2)


@table(**VERSIONS)
def test_qemu_loads_it(t, version):
    source = machine(t, **GUEST)
    path = save(t, source)
    with peers.running(t, version):
        t.need("qemu")
        dest = destination(t, source, None, kind="qemu", paused=True)
        dest.cmd("migrate-incoming", uri=f"exec:cat {path}")
        assert dest.wait_migration("completed", "failed") == "completed", dest.stderr()
        t.forget(source)
        check(dest)


@table(**VERSIONS)
def test_of_qemu(t, version):
    with peers.running(t, version):
        t.need("qemu")
        source = machine(t, **GUEST, kind="qemu")
        says = source.qmp.cmd("query-version")["qemu"]
        assert f"{says['major']}.{says['minor']}" == version, says
        path = save(t, source)
        dest = destination(t, source, load_uri("minivmm", path), kind="minivmm", paused=True)
        assert dest.wait_loaded() == "completed", dest.migration()
        t.forget(source)
        check(dest)
