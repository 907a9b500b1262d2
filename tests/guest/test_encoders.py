"""Deltas and compressed pages: a counting guest moved with each encoder, and what may come in between."""
import encoders
import ram
from case import only_minivmm, table
from encoders import BOTH, COMPRESS, GUEST, MODES, XBZRLE
from moves import check_stopped, goes_on, machine, wait_end_or_failure
from qmp import QmpError


@table(xbzrle={"mode": XBZRLE}, compress={"mode": COMPRESS}, both={"mode": BOTH})
def test_there_and_back(t, mode):
    """Five moves in a row, with devices at work; the guest itself looks for pages that went back."""
    echo = t.net()
    vm = machine(t, "smp-counter", "pages=150 every=64", cpus=2, disk=t.disk(), rng=True, net=echo.path)
    for _ in range(5):
        goes_on(vm, 2)
        dest = encoders.begin(t, vm, mode)
        encoders.wait_for(vm, lambda info: encoders.at_work(info, mode))
        encoders.finish(vm, dest)
        check_stopped(vm, 2)
        dest.options = vm.options
        t.forget(vm)
        vm = dest
        vm.wait_running()
    goes_on(vm, 2)
    vm.cmd("stop")
    for s in check_stopped(vm, 2):
        assert (s["disk_errors"], s["rng_errors"], s["net_errors"]) == (0, 0, 0), s


def found(info):
    return info.get("xbzrle-cache", {}).get("pages", 0)


@table(larger={"size": 1 << 20}, smallest={"size": 4096}, smaller={"size": 128 << 10},
       default={"size": 64 << 20})
def test_cache_size_in_flight(t, size):
    """Another size takes effect while pages go out; one that cannot be had is refused, and harms nothing."""
    source, dest = encoders.under_way(t, MODES["xbzrle_small"], paused=True,
                                      fits=lambda info: found(info) >= 20)
    source.cmd("migrate-set-parameters", xbzrle_cache_size=size)
    assert source.cmd("query-migrate-parameters")["xbzrle-cache-size"] == size
    assert source.migration()["xbzrle-cache"]["cache-size"] == size
    before = found(source.migration())
    encoders.wait_for(source, lambda info: found(info) > before + 20)
    assert source.qmp.fails("migrate-set-parameters", xbzrle_cache_size=5000) == \
        "Parameter 'xbzrle_cache_size' expects a power of two no less than the target page size"
    if t.kind == "minivmm" and source.migration()["status"] == "active":
        try:
            source.cmd("migrate-set-parameters", xbzrle_cache_size=1 << 63)
            assert source.migration()["status"] != "active"     # it was over before the command came
        except QmpError as e:
            assert e.desc.startswith("no memory for an xbzrle cache"), e.desc
            assert source.cmd("query-migrate-parameters")["xbzrle-cache-size"] == size
    encoders.finish(source, dest)
    ram.assert_equal(ram.read(source), ram.read(dest))


@only_minivmm("QEMU 7.2 fails later, on the migration thread")
def test_no_memory_for_the_cache(t):
    source = machine(t, "counter", GUEST)
    source.capabilities("xbzrle")
    source.cmd("migrate-set-parameters", xbzrle_cache_size=1 << 63)
    source.cmd("migrate", uri="exec:cat > /dev/null")
    assert source.wait_migration("failed", "completed") == "failed"
    assert source.migration()["error-desc"] == \
        f"no memory for an xbzrle cache of {1 << 63} bytes", source.migration()
    goes_on(source)


def test_compressed_page_not_expected(t):
    """A destination without the capability refuses and says so; the source runs on."""
    source = machine(t, "counter", GUEST)
    goes_on(source)
    source.capabilities("return-path")
    dest = encoders.begin(t, source, {"source": ("compress",), "dest": ("return-path",)})
    cause = wait_end_or_failure(dest)
    words = dest.stderr() if cause == "dead" else cause
    assert "Received an unexpected compressed page" in words, words
    source.wait_migration("failed")
    assert source.migration()["error-desc"]
    goes_on(source)


def test_deltas_always_understood(t):
    """No capability is needed to receive them."""
    source, dest = encoders.under_way(t, XBZRLE)
    encoders.finish(source, dest)
    states = {c["capability"]: c["state"] for c in dest.cmd("query-migrate-capabilities")}
    assert not states["xbzrle"], states
    dest.wait_running()
    goes_on(dest)


@table(
    level={"name": "compress-level", "good": (0, 9), "bad": (10, 255), "phrase": "a value between 0 and 9"},
    threads={"name": "compress-threads", "good": (1, 255), "bad": (0,), "phrase": "a value between 1 and 255"},
    unpack={"name": "decompress-threads", "good": (1, 255), "bad": (0,),
            "phrase": "a value between 1 and 255"},
    cache={"name": "xbzrle-cache-size", "good": (4096, 1 << 30), "bad": (0, 1, 4095, 5000),
           "phrase": "a power of two no less than the target page size"},
)
def test_parameters(t, name, good, bad, phrase):
    vm = machine(t, "idle", "")
    for value in good:
        vm.cmd("migrate-set-parameters", **{name: value})
        assert vm.cmd("query-migrate-parameters")[name] == value
    for value in bad:
        said = vm.qmp.fails("migrate-set-parameters", **{name: value})
        assert said == f"Parameter '{name.replace('-', '_')}' expects {phrase}", said
        assert vm.cmd("query-migrate-parameters")[name] == good[-1]


def test_set_from_the_start(t):
    """-global says it on the command line."""
    source = machine(t, "counter", GUEST, extra=("-global", "migration.x-xbzrle=on"))
    states = {c["capability"]: c["state"] for c in source.cmd("query-migrate-capabilities")}
    assert states["xbzrle"], states
    encoders.slow(source)
    source.cmd("migrate", uri="exec:cat > /dev/null")
    assert source.wait_migration("completed", "failed", "active") == "active"
    assert "xbzrle-cache" in source.migration()
    source.cmd("migrate_cancel")
