"""Moves with the encoders of precopy: which capabilities and parameters, and how to see them at work."""
import time

import ram
from moves import Way, arrived, destination, goes_on, listen, machine, slower_rate
from qmp import GUARD, Hang

GUEST = "pages=300"      # as fast as it can
RATE = 3 << 20           # bytes a second that this guest's pages do not fit into ...
SMALL_RATE = 256 << 10   # ... and what is left of them when they are compressed
TRIES = 10


def multifd(method, *more):
    return {"source": ("multifd",) + more, "dest": ("multifd",),
            "both": {"multifd_channels": 2, "multifd_compression": method},
            "rate": RATE if method == "none" else SMALL_RATE}


# What the source and the destination are told (params, there; both: the same on both sides); how
# many pages the cache must have found; at what rate the move does not come to an end.
XBZRLE = {"source": ("xbzrle",)}
COMPRESS = {"source": ("compress",), "dest": ("compress",)}
BOTH = {"source": ("xbzrle", "compress"), "dest": ("compress",)}
MODES = {
    "xbzrle": XBZRLE,
    "xbzrle_small": dict(XBZRLE, params={"xbzrle_cache_size": 64 << 10}),
    "xbzrle_one_page": dict(XBZRLE, params={"xbzrle_cache_size": 4096}, found=3),
    "compress": COMPRESS,
    "compress_many": dict(COMPRESS, params={"compress_threads": 16, "compress_level": 9},
                          there={"decompress_threads": 16}),
    "compress_no_wait": dict(COMPRESS, params={"compress_threads": 1, "compress_level": 9,
                                               "compress_wait_thread": False}),
    "both": BOTH,
}

# One of each: all that a page can be on the wire.
ENCODERS = {
    "plain": {"source": ()},
    "xbzrle": XBZRLE,
    "compress": dict(COMPRESS, rate=SMALL_RATE),
    "both": BOTH,
    "multifd": multifd("none"),
    "zlib": multifd("zlib"),
    "zstd": multifd("zstd"),
    "zero_copy": multifd("none", "zero-copy-send"),
}


def slow(vm, rate=RATE):
    """No end in sight: the guest writes faster than this carries, and a single page is too many."""
    vm.cmd("migrate-set-parameters", max_bandwidth=rate, downtime_limit=1)


def first_pass(vm, mode):
    """Before the start: with both, the first pass is so small that the guest would not write meanwhile."""
    slow(vm, mode.get("rate", RATE))
    if mode.get("source") == BOTH["source"]:
        vm.cmd("migrate-set-parameters", max_bandwidth=8 << 10)


def later_passes(vm, mode):
    """After the start: the first pass lasts until the guest has written every page."""
    if mode.get("source") == BOTH["source"]:
        before = ram.status(vm)["generation"]
        wait_for(vm, lambda info: ram.status(vm)["generation"] > before + 1)
        vm.cmd("migrate-set-parameters", max_bandwidth=mode.get("later_rate", 1 << 20))


def slower(mode, attempt):
    """The same mode for another attempt, when the guest did not get to write: its passes take longer."""
    return dict(mode, rate=slower_rate(mode.get("rate", RATE), attempt),
                later_rate=slower_rate(1 << 20, attempt))


def fast(vm):
    vm.cmd("migrate-set-parameters", max_bandwidth=0, downtime_limit=2000)


def set_up(vm, capabilities, *parameters):
    vm.capabilities(*capabilities)
    for given in filter(None, parameters):
        vm.cmd("migrate-set-parameters", **given)


def prepare(t, source, mode, scheme="unix", **options):
    """Tells both ends what the mode asks for; (the way, the destination, which listens)."""
    set_up(source, mode["source"], mode.get("both"), mode.get("params"))
    way = Way(t, scheme)
    dest = destination(t, source, None, **options)
    set_up(dest, mode.get("dest", ()), mode.get("both"), mode.get("there"))
    listen(dest, way.incoming())
    return way, dest


def begin(t, source, mode, scheme="unix", **options):
    """Sets both ends up and starts a move without an end; the destination."""
    first_pass(source, mode)
    way, dest = prepare(t, source, mode, scheme, **options)
    way.start(source, dest)
    later_passes(source, mode)
    return dest


def at_work(info, mode):
    """Has every encoder of the mode done something?"""
    if "xbzrle" in mode["source"] and info.get("xbzrle-cache", {}).get("pages", 0) < mode.get("found", 100):
        return False
    if "multifd" in mode["source"] and info.get("ram", {}).get("multifd-bytes", 1) == 0:
        return False
    return "compress" not in mode["source"] or info.get("compression", {}).get("pages", 0) >= 10


def several_passes(info, mode):
    """The same, and pages have gone a second time, and a third."""
    return at_work(info, mode) and info.get("ram", {}).get("dirty-sync-count", 0) > 3


def wait_for(source, fits):
    """Waits until query-migrate shows what fits, or the end; True: it fits."""
    deadline = time.monotonic() + GUARD
    while True:
        info = source.migration()
        if info.get("status") == "active" and fits(info):
            return True
        if info.get("status") not in ("setup", "active", "device"):
            assert info.get("status") == "completed", info
            return False
        if time.monotonic() > deadline:
            raise Hang(f"it does not come to that: {info}")


def under_way(t, mode, scheme="unix", fits=None, kind=None, there_kind=None, source_options=(),
              **options):
    """A new source and its destination, the move between them at a point that fits.

    A move whose guest has not written for a moment is over: then another one is begun.
    """
    for attempt in range(TRIES):
        source = machine(t, "counter", GUEST, kind=kind, **dict(source_options))
        goes_on(source)
        dest = begin(t, source, slower(mode, attempt), scheme, kind=there_kind, **options)
        if wait_for(source, fits or (lambda info: at_work(info, mode))):
            return source, dest
        t.forget(source)
        t.forget(dest)
    raise AssertionError(f"in {TRIES} moves the guest never wrote fast enough")


def finish(source, dest):
    fast(source)
    return arrived(source, dest)
