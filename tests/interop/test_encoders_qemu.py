"""The encoders' wire forms against QEMU 7.2, both ways."""
import encoders
import ram
from case import table
from encoders import BOTH, COMPRESS, GUEST, MODES, XBZRLE
from moves import check_stopped, goes_on, machine, wait_end_or_failure

DIRECTIONS = {"to_qemu": (None, "qemu"), "from_qemu": ("qemu", None)}
# Beside those of test_peers.py
USED = {"xbzrle_small": MODES["xbzrle_small"], "compress_no_wait": MODES["compress_no_wait"], "both": BOTH}


def rows():
    return {f"{name}_{direction}": {"mode": mode, "kinds": kinds}
            for name, mode in USED.items() for direction, kinds in DIRECTIONS.items()}


@table(**rows())
def test_ram_is_equal(t, mode, kinds):
    """To the byte, after several passes; and the guest runs on."""
    t.need("qemu", t.kind)
    source, dest = encoders.under_way(t, mode, kind=kinds[0] or t.kind,
                                      there_kind=kinds[1] or t.kind, paused=True)
    encoders.finish(source, dest)
    there = ram.read(dest)
    ram.assert_equal(ram.read(source), there)
    ram.check_range(there)
    dest.cmd("cont")
    goes_on(dest)


@table(xbzrle={"mode": XBZRLE}, compress={"mode": COMPRESS})
def test_there_and_back(t, mode):
    t.need("qemu", t.kind)
    vm = machine(t, "counter", GUEST, kind=t.kind)
    for kind in ("qemu", t.kind) * 2:
        goes_on(vm)
        dest = encoders.begin(t, vm, mode, kind=kind)
        encoders.wait_for(vm, lambda info: encoders.at_work(info, mode))
        encoders.finish(vm, dest)
        check_stopped(vm)
        t.forget(vm)
        vm = dest
        vm.wait_running()
    goes_on(vm)


@table(to_qemu={"kinds": DIRECTIONS["to_qemu"]}, from_qemu={"kinds": DIRECTIONS["from_qemu"]})
def test_compressed_page_not_expected(t, kinds):
    """Both refuse what the capability did not announce; the guest runs on at the source."""
    t.need("qemu", t.kind)
    source = machine(t, "counter", GUEST, kind=kinds[0] or t.kind)
    goes_on(source)
    # The return path: or a source whose guest does not write for a moment completes before it hears of that.
    dest = encoders.begin(t, source, {"source": ("compress", "return-path"), "dest": ("return-path",)},
                          kind=kinds[1] or t.kind)
    cause = wait_end_or_failure(dest)
    words = dest.stderr() if cause == "dead" else cause
    assert "Received an unexpected compressed page" in words, words
    source.wait_migration("failed")
    goes_on(source)
