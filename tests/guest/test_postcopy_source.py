"""Postcopy as the source: QEMU takes the guest, its memory comes while it runs there."""
import peers
import postcopy
from case import table
from moves import goes_on

MODES = {"plain": (), "preempt": ("postcopy-preempt",)}
VERSIONS = ("7.2", "10.0", "11.1")


@table(**{f"{version}_{mode}_{scheme}": {"version": version, "mode": mode, "scheme": scheme}
          for version in VERSIONS for mode in MODES for scheme in ("unix", "tcp")})
def test_to_qemu(t, version, mode, scheme):
    """It goes on there from where it was, and all of its memory is right."""
    kind = peers.kind(t, version)
    source = postcopy.start(t, capabilities=MODES[mode])
    dest = postcopy.there(t, source, MODES[mode], kind=kind)
    postcopy.begin(t, source, dest, scheme)
    postcopy.switch(source, dest)
    dest.wait_running()
    postcopy.finish(source, dest, postcopy.SWEEP)
    assert postcopy.requests(source) > 0, source.migration()
    r = source.migration()["ram"]
    assert r["postcopy-bytes"] > 0, r
    t.forget(source)
    postcopy.runs_on(dest)


@table(**{f"{version}_{mode}": {"version": version, "mode": mode} for version in VERSIONS for mode in MODES})
def test_same_memory(t, version, mode):
    """The guest is stopped where it arrives: all its memory is the same."""
    kind = peers.kind(t, version)
    source = postcopy.start(t, capabilities=MODES[mode])
    dest = postcopy.there(t, source, MODES[mode], kind=kind, paused=True)
    postcopy.begin(t, source, dest, "unix", "late")
    postcopy.switch(source, dest)
    postcopy.finish(source, dest)
    postcopy.compare(source, dest)
    t.forget(source)
    dest.cmd("cont")
    goes_on(dest)
