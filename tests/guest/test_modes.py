"""One body over the modes of precopy: each way to track, encode, carry and hold pages, in pairs."""
import encoders
import ram
from case import only_minivmm, table
from encoders import ENCODERS, MODES, SMALL_RATE
from modes import REFUSED, ROWS, TRACKERS, TRANSPORT, why_not
from moves import Way, check_stopped, destination, goes_on, listen, machine

# Smaller and larger than what is usual; the encoders' own parameters.
VARIANTS = {
    **{name: MODES[name] for name in ("xbzrle_small", "xbzrle_one_page", "compress_no_wait")},
    "compress_many": dict(MODES["compress_many"], rate=SMALL_RATE),
    **{f"{name}_{channels}_channels": dict(ENCODERS[name], both=dict(ENCODERS[name]["both"],
                                                                    multifd_channels=channels))
       for name in ("multifd", "zlib", "zstd") for channels in (1, 5)},
    **{f"{name}_most": dict(ENCODERS[name], params={f"multifd_{name}_level": level})
       for name, level in (("zlib", 9), ("zstd", 20))},
}


def moves_whole(t, mode, scheme, **options):
    """Several passes; then RAM is the same to the byte, of one round, and the guest goes on."""
    source, dest = encoders.under_way(t, mode, scheme, source_options=options.items(), paused=True,
                                      fits=lambda info: encoders.several_passes(info, mode))
    encoders.finish(source, dest)
    left, = check_stopped(source)
    there = ram.read(dest)
    ram.assert_equal(ram.read(source), there)
    ram.check_range(there)
    dest.cmd("cont")
    assert goes_on(dest)[0] > left["generation"]
    report, = dest.report()
    assert report["ticks"] >= left["ticks"] and report["errors"] == 0, (left, report)


@table(**ROWS)
def test_move(t, encoder, scheme, backend, tracker):
    """A guest that writes all the time arrives whole: no page is of an older pass."""
    if t.kind == "qemu" and scheme == "file":
        t.skip("QEMU 7.2 has no file:")
    moves_whole(t, ENCODERS[encoder], scheme, backend=backend, ring=TRACKERS[tracker])


@table(**{name: {"mode": mode} for name, mode in VARIANTS.items()})
def test_variant(t, mode):
    """The same with an encoder's parameters far from the usual."""
    moves_whole(t, mode, "unix")


@only_minivmm("QEMU 7.2 takes zero-copy-send on any socket, and copies")
@table(**REFUSED)
def test_refused(t, encoder, scheme):
    """What does not go together is refused in words, and the guest runs on."""
    mode, words = ENCODERS[encoder], why_not(encoder, scheme)
    source, way = machine(t), Way(t, scheme)
    dest = destination(t, source)
    for vm, names in ((source, mode["source"]), (dest, mode["dest"])):
        encoders.set_up(vm, names, mode["both"])
    incoming = way.incoming() or way.uri(dest)
    if words == TRANSPORT:
        if scheme == "fd":
            dest.qmp.cmd("getfd", fds=[incoming], fdname="in")
            incoming = "fd:in"
        assert dest.qmp.fails("migrate-incoming", uri=incoming) == words
    else:
        listen(dest, incoming)
    way.start(source, dest)
    assert source.wait_migration("failed", "completed") == "failed"
    assert words in source.migration()["error-desc"], source.migration()
    goes_on(source)


ZERO_COPY = "Zero copy only available for non-compressed non-TLS multifd migration"


def on(*names):
    return {"capabilities": [{"capability": n, "state": True} for n in names]}


@only_minivmm("QEMU 7.2 takes xbzrle with multifd, and never makes a delta")
@table(
    compress_multifd={"first": ("compress",), "then": "multifd",
                      "words": "Multifd is not compatible with compress"},
    multifd_compress={"first": ("multifd",), "then": "compress",
                      "words": "Multifd is not compatible with compress"},
    zero_copy_alone={"first": (), "then": "zero-copy-send", "words": ZERO_COPY},
    zero_copy_xbzrle={"first": ("multifd", "xbzrle"), "then": "zero-copy-send", "words": ZERO_COPY},
    zero_copy_zlib={"first": ("multifd",), "given": {"multifd_compression": "zlib"},
                    "then": "zero-copy-send", "words": ZERO_COPY},
    xbzrle_zero_copy={"first": ("multifd", "zero-copy-send"), "then": "xbzrle", "words": ZERO_COPY},
    compress_zero_copy={"first": ("multifd", "zero-copy-send"), "then": "compress",
                        "words": ZERO_COPY},
)
def test_refused_together(t, first, then, words, given=None):
    """When it is set; the ones that were set before stay."""
    vm = t.vmm("idle")
    encoders.set_up(vm, first, given)
    assert vm.qmp.fails("migrate-set-capabilities", **on(then)) == words
    states = {c["capability"] for c in vm.cmd("query-migrate-capabilities") if c["state"]}
    assert states == set(first), states


def test_refused_when_used(t):
    """Both may be set, as in QEMU; a migration with both is refused, with the reason."""
    vm = machine(t, "idle", "")
    vm.capabilities("xbzrle", "multifd")
    assert "xbzrle has nothing to do" in vm.qmp.fails("migrate", uri="unix:/nope/x")
    assert vm.migration() == {}


def test_transport_at_set_time(t):
    """The channel is known from the command line: refused when the capability is set."""
    way = Way(t, "fd")
    vm = t.vmm(incoming=way.incoming())
    assert vm.qmp.fails("migrate-set-capabilities", **on("multifd")) == TRANSPORT
