"""SWITCHOVER_START and switchover-ack between minivmm and each QEMU, whose forms of them differ.

QEMU 7.2 knows neither. For switchover-ack a destination of QEMU 8.1 to 10 sends a message, and a source
waits for it; 11 means something else by it, unless both ends say switchover-ack-legacy.
"""
import peers
import ram
from case import only_minivmm, table
from moves import arrived, destination, goes_on, machine, wait_end_or_failure

OPTIONS = {"guest": "counter", "append": "pages=100 rate=2000"}
START = ("-global", "migration.send-switchover-start=on")
LEGACY = ("-global", "migration.switchover-ack-legacy=on")
OURS = "one end is QEMU, the other one is ours"


def begin(t, way, ours=(), theirs=(), capabilities=()):
    """A move to or from QEMU; the destination stays stopped, so that both ends can be compared."""
    here, there = (t.kind, "qemu") if way == "to" else ("qemu", t.kind)
    extra = {t.kind: ours, "qemu": theirs}
    source = machine(t, **OPTIONS, kind=here, extra=extra[here])
    goes_on(source)
    if capabilities:
        source.capabilities(*capabilities)
    dest = destination(t, source, f"unix:{t.path('in')}", capabilities, kind=there, extra=extra[there],
                       paused=True)
    source.cmd("migrate", uri=f"unix:{t.path('in')}")
    return source, dest


def is_whole(source, dest):
    arrived(source, dest)
    ram.assert_equal(ram.read(source), ram.read(dest))
    dest.cmd("cont")
    goes_on(dest)


@only_minivmm(OURS)
@table(**{f"{way}_{version.replace('.', '_')}": {"way": way, "version": version}
          for way in ("to", "from") for version in ("10.0", "11.1")})
def test_start(t, way, version):
    """Sent to those who know it, and taken from those who send it."""
    with peers.running(t, version):
        source, dest = begin(t, way, ours=START)
        is_whole(source, dest)


@only_minivmm(OURS)
def test_start_is_refused(t):
    """QEMU 7.2 ends at the unknown command: the guest runs on, and the cause is named."""
    with peers.running(t, "7.2"):
        source, dest = begin(t, "to", ours=START)
        source.wait_migration("failed")
        assert "-global migration.send-switchover-start=on" in source.migration()["error-desc"], \
            source.migration()
        assert wait_end_or_failure(dest) != "completed"
        assert "MIG_CMD 0xb" in dest.stderr(), dest.stderr()
        source.qmp.event("RESUME")
        goes_on(source)


@only_minivmm(OURS)
@table(**{f"{way}_{version.replace('.', '_')}{'_legacy' if legacy else ''}":
          {"way": way, "version": version, "legacy": legacy}
          for way in ("to", "from")
          for version, legacy in (("10.0", True), ("11.1", False), ("11.1", True))})
def test_ack(t, way, version, legacy):
    """On at both ends, in the way of that release: it completes."""
    with peers.running(t, version):
        source, dest = begin(t, way, ours=LEGACY if legacy else (),
                             theirs=LEGACY if legacy and version == "11.1" else (),
                             capabilities=("return-path", "switchover-ack"))
        is_whole(source, dest)


@only_minivmm(OURS)
def test_ack_to_a_mute_destination(t):
    """Nobody agrees: the guest runs on, until the move is cancelled."""
    with peers.running(t, "11.1"):
        source, dest = begin(t, "to", ours=LEGACY, capabilities=("return-path", "switchover-ack"))
        assert source.reaches_pass(4)
        assert source.status() == "running" and source.migration()["status"] == "active"
        assert "waits for SWITCHOVER_ACK" in source.stderr(), source.stderr()
        source.cmd("migrate_cancel")
        source.wait_migration("cancelled")
        assert wait_end_or_failure(dest) != "completed"
        goes_on(source)


@only_minivmm(OURS)
def test_ack_of_a_mute_destination(t):
    """QEMU 10.0 waits for what only switchover-ack-legacy sends; it can be cancelled."""
    with peers.running(t, "10.0"):
        source, dest = begin(t, "from", capabilities=("return-path", "switchover-ack"))
        assert source.reaches_pass(4)
        assert source.status() == "running" and source.migration()["status"] == "active"
        assert "-global migration.switchover-ack-legacy=on" in dest.stderr(), dest.stderr()
        source.cmd("migrate_cancel")
        source.wait_migration("cancelled")
        assert wait_end_or_failure(dest) != "completed"
        goes_on(source)
