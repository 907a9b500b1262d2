"""Multifd to and from every QEMU that is known: all memory byte for byte, before the guest runs on.

Both ends stand still when they are compared: a guest that rewrites its pages would hide stale ones. It
writes all the time while it moves, and its last pages are zero in every other round.
"""
import itertools
import os
import random

import peers
import ram
from case import only_minivmm, pairwise, table
from moves import arrived, destination, machine, several_passes

VERSIONS = ("7.2", "10.0", "11.1")
METHODS = ("none", "zlib", "zstd")
ZEROS = ("none", "legacy", "multifd")
SECTIONS = "migration.multifd-flush-after-each-section"
PAGES, ZERO_PAGES = 1024, 256
GUEST = f"pages={PAGES} zeros={ZERO_PAGES} flicker=1"


def rows():
    """Version, way, method, and what the source is told of zero pages (7.2 knows nothing of that)."""
    for version, way, method, zeros in itertools.product(VERSIONS, ("to", "from"), METHODS, ZEROS):
        if version == "7.2" and way == "from":
            if zeros != "legacy":
                continue
            zeros = None
        yield "_".join(filter(None, (way, version.replace(".", "_"), method, zeros))), {
            "version": version, "way": way, "method": method, "zeros": zeros}


def fill(vm):
    """Pages that no compressor makes small, but for those that become zero."""
    pick = random.Random(1)
    with open(vm.ram_path, "r+b", buffering=0) as f:
        for page in range(PAGES - ZERO_PAGES):
            f.seek((16 << 20) + page * ram.PAGE + 8)    # the guest writes the first word
            f.write(pick.randbytes(ram.PAGE - 8))


def start(t, kind, zeros, extra=()):
    source = machine(t, "writer", GUEST, kind=kind, started=False, extra=extra)
    source.serial.expect("writing")
    fill(source)
    source.capabilities("multifd")
    if zeros:
        source.cmd("migrate-set-parameters", zero_page_detection=zeros)
    return source


def sections(on):
    return ("-global", f"{SECTIONS}={'on' if on else 'off'}")


def slow_move(t, source, method, kind, extra=()):
    """A destination that stays stopped, and a move without an end."""
    both = {"multifd_channels": 2, "multifd_compression": method}
    source.cmd("migrate-set-parameters", max_bandwidth=12 << 20, downtime_limit=1, **both)
    dest = destination(t, source, None, ["multifd"], kind=kind, paused=True, extra=extra)
    dest.cmd("migrate-set-parameters", **both)
    dest.cmd("migrate-incoming", uri=f"unix:{t.path('in')}")
    source.cmd("migrate", uri=f"unix:{t.path('in')}")
    return dest


def finish(source, dest):
    source.cmd("migrate-set-parameters", max_bandwidth=1 << 40, downtime_limit=2000)
    arrived(source, dest)
    ram.assert_equal(ram.read(source), ram.read(dest))
    dest.cmd("cont")
    before = ram.status(dest)["generation"]
    while ram.status(dest)["generation"] < before + 2:
        os.sched_yield()


@only_minivmm("one end is QEMU, the other one is ours")
@pairwise
@table(**dict(rows()))
def test_ram_is_equal(t, version, way, method, zeros):
    there = "qemu" if way == "to" else t.kind
    here = t.kind if way == "to" else "qemu"
    with peers.running(t, version):
        def begin():
            source = start(t, here, zeros, sections(True) if version == "7.2" and way == "to" else ())
            return source, slow_move(t, source, method, there, () if way == "to" else sections(False))
        source, dest = several_passes(t, 4, begin)
        finish(source, dest)


def refused(source, *words):
    """Before a page has gone: the source's guest has not been stopped."""
    assert source.wait_migration("completed", "failed") == "failed", source.migration()
    told = source.migration()["error-desc"]
    for word in words:
        assert word in told, told
    assert source.status() == "running"


@only_minivmm("the source is ours")
@table(none={"method": "none"}, zstd={"method": "zstd"})
def test_old_qemu_refuses(t, method):
    """7.2 does not know the flush of each pass: the refusal names what helps."""
    with peers.running(t, "7.2"):
        source = start(t, t.kind, None)
        dest = slow_move(t, source, method, "qemu")
        refused(source, f"-global {SECTIONS}=on", "QEMU says why on its stderr")
        dest.wait()
        assert "Unknown combination of migration flags: 0x200" in dest.stderr(), dest.stderr()


@only_minivmm("the source is ours")
@table(**{f"{version.replace('.', '_')}_{method}_{name}": {"version": version, "method": method, "on": name == "on"}
          for version in ("10.0", "11.1") for method in ("none", "zstd") for name in ("on", "off")
          if name == "on" or method == "none"})
def test_settings_differ(t, version, method, on):
    """The property is another one at a newer QEMU: found out before a page is sent."""
    with peers.running(t, version):
        source = start(t, t.kind, None, sections(on))
        slow_move(t, source, method, "qemu", sections(not on))
        refused(source, "'multifd-flush-after-each-section' must be the same on both sides",
                "on here" if on else "off here")


@only_minivmm("one end is QEMU, the other one is ours")
@pairwise
@table(**{f"{way}_{version.replace('.', '_')}_{method}": {"way": way, "version": version, "method": method}
          for way in ("to", "from") for version in ("10.0", "11.1") for method in ("none", "zlib", "zstd")})
def test_sections_at_both_ends(t, way, version, method):
    """As 7.2 has it, with a newer QEMU: zero pages stay in the stream when they leave here."""
    there, here = ("qemu", t.kind) if way == "to" else (t.kind, "qemu")
    with peers.running(t, version):
        source = start(t, here, None, sections(True))
        dest = slow_move(t, source, method, there, sections(True) if way == "to" else ())
        finish(source, dest)


@only_minivmm("both ends are minivmm")
@pairwise
@table(**{f"{a}_{b}_{method}": {"here": a == "on", "there": b == "on", "method": method}
          for a in ("on", "off") for b in ("on", "off") for method in ("none", "zlib", "zstd")})
def test_minivmm_agrees(t, here, there, method):
    """Whatever either side is set to."""
    def begin():
        source = start(t, t.kind, None, sections(here))
        return source, slow_move(t, source, method, t.kind, sections(there))
    finish(*several_passes(t, 4, begin))


@only_minivmm("both ends are QEMU in any case")
@table(**{f"{a.replace('.', '_')}_to_{b.replace('.', '_')}": {"versions": (a, b)}
          for a, b in (("7.2", "10.0"), ("7.2", "11.1"), ("10.0", "7.2"), ("11.1", "7.2"))})
def test_between_two_qemus(t, versions):
    """What docs/migration.md says helps two QEMUs, which lose memory between themselves without it."""
    def cure(version):
        return () if version == "7.2" else sections(True) + ("-global", "migration.send-switchover-start=off")

    def begin():
        with peers.running(t, versions[0]):
            source = start(t, "qemu", None if versions[0] == "7.2" else "legacy", cure(versions[0]))
        with peers.running(t, versions[1]):
            return source, slow_move(t, source, "zstd", "qemu", cure(versions[1]))
    source, dest = several_passes(t, 4, begin)
    finish(source, dest)
