"""Postcopy as the source: QEMU takes the guest, its memory comes while it runs there."""
import peers
import postcopy
from case import only_minivmm, table
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


@table(**{version: {"version": version} for version in VERSIONS})
def test_early(t, version):
    """With x-preempt-pre-7-2 the second connection is there from the start, and each QEMU takes it."""
    kind = peers.kind(t, version)
    source = postcopy.start(t, capabilities=MODES["preempt"], extra=postcopy.PRE_7_2)
    dest = postcopy.there(t, source, MODES["preempt"], kind=kind, extra=())
    postcopy.begin(t, source, dest)
    postcopy.switch(source, dest)
    dest.wait_running()
    postcopy.finish(source, dest, postcopy.SWEEP)
    t.forget(source)
    postcopy.runs_on(dest)


@only_minivmm("its figures are looked at while the guest is on its way")
@table(**{mode: {"mode": mode} for mode in MODES})
def test_limit(t, mode):
    """The sweep stands still under the limit, what the guest asks for does not; a new limit counts at once."""
    kind = peers.kind(t, "11.1")
    source = postcopy.start(t, capabilities=MODES[mode])
    dest = postcopy.there(t, source, MODES[mode], kind=kind)
    source.cmd("migrate-set-parameters", max_postcopy_bandwidth=1)
    postcopy.begin(t, source, dest)
    postcopy.switch(source, dest)
    goes_on(dest, rounds=2)
    now = source.migration()
    assert now["status"] == "postcopy-active" and now["ram"]["remaining"] > 1 << 20, now
    assert now["ram"]["postcopy-requests"] > 100, now
    postcopy.finish(source, dest)
    t.forget(source)
    postcopy.runs_on(dest)


@table(**{f"{version}_{mode}": {"version": version, "mode": mode} for version in VERSIONS for mode in MODES})
def test_events(t, version, mode):
    """The source tells of each step, and the guest's stop, in this order."""
    kind = peers.kind(t, version)
    source = postcopy.start(t, capabilities=MODES[mode])
    dest = postcopy.there(t, source, MODES[mode], kind=kind)
    source.qmp.events.clear()
    postcopy.begin(t, source, dest)
    source.cmd("migrate-start-postcopy")
    seen = []
    while seen[-1:] != ["completed"]:
        event = source.qmp.any_event(lambda e: e["event"] in ("STOP", "MIGRATION"), "a step")
        seen.append(event["data"]["status"] if event["event"] == "MIGRATION" else "STOP")
        assert seen[-1] != "failed", (seen, source.migration())
    assert seen == ["STOP", "device", "postcopy-device", "postcopy-active", "completed"], seen
    assert dest.wait_migration("completed", "failed") == "completed"


@only_minivmm("QEMU 7.2 cancels, and the guest is lost")
def test_refusals(t):
    """While the guest is there, nothing that would run, reset or move it here is done; words say what to do."""
    kind = peers.kind(t, "11.1")
    source = postcopy.start(t)
    dest = postcopy.there(t, source, kind=kind)
    assert source.qmp.fails("migrate-start-postcopy") == \
        "Postcopy must be started after migration has been started"
    source.cmd("migrate-set-parameters", max_postcopy_bandwidth=1)
    postcopy.begin(t, source, dest)
    source.cmd("migrate-start-postcopy")
    postcopy.switch(source, dest)
    words = source.qmp.fails("migrate_cancel")
    assert words.startswith("Postcopy migration in progress, cannot cancel"), words
    for command in ("cont", "system_reset", "system_powerdown"):
        words = source.qmp.fails(command)
        assert "(postcopy)" in words and "migrate-recover" in words, (command, words)
    words = source.qmp.fails("cont", x_minivmm_force=True)
    assert words
    assert "in progress" in source.qmp.fails("migrate", uri="unix:/nowhere")
    assert source.status() == "finish-migrate"
    postcopy.finish(source, dest)
    source.cmd("migrate-start-postcopy")
    t.forget(source)
    postcopy.runs_on(dest)
