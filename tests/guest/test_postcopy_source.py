"""Postcopy as the source, before QEMUs: its steps, its limit, what it refuses meanwhile."""
import peers
import postcopy
from case import only_minivmm, table
from moves import goes_on, listen

MODES = {"plain": (), "preempt": ("postcopy-preempt",)}
VERSIONS = ("7.2", "10.0", "11.1")


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
    while postcopy.requests(source) <= 100:     # one after the other: each has been answered
        pass
    now = source.migration()
    assert now["status"] == "postcopy-active" and now["ram"]["remaining"] > 1 << 20, now
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


@only_minivmm("QEMU 7.2 tries, and its destination aborts")
def test_old_multifd(t):
    """What would end a QEMU 7.2 is refused before a page has gone; the guest runs on."""
    kind = peers.kind(t, "7.2")
    sections = ("-global", "migration.multifd-flush-after-each-section=on")
    source = postcopy.start(t, capabilities=("multifd",), extra=sections)
    dest = postcopy.there(t, source, ("multifd",), kind=kind, extra=())
    listen(dest, f"unix:{t.path('in')}")
    source.cmd("migrate", uri=f"unix:{t.path('in')}")
    source.wait_migration("failed")
    assert "switch one of 'multifd' and 'postcopy-ram' off" in source.migration()["error-desc"], source.migration()
    goes_on(source)


@table(xbzrle={"caps": ("xbzrle",)}, compress={"caps": ("compress",)}, both={"caps": ("xbzrle", "compress")},
       release={"caps": ("release-ram",)}, throttled={"caps": ("auto-converge",)},
       uuid={"caps": ("validate-uuid", "return-path")})
def test_beside(t, caps):
    """What changes the pages of the precopy ends with it, and is in nobody's way."""
    source = postcopy.start(t, capabilities=caps, extra=("-uuid", "00000000-0000-0000-0000-000000000001"))
    dest = postcopy.there(t, source, caps)
    postcopy.begin(t, source, dest, when="late")
    postcopy.switch(source, dest)
    dest.wait_running()
    postcopy.finish(source, dest, postcopy.SWEEP)
    t.forget(source)
    postcopy.runs_on(dest)


@table(ours={"version": None}, qemu={"version": "11.1"})
def test_pause(t, version):
    """migrate-continue is awaited with the guest stopped, before any of it has gone over."""
    source = postcopy.start(t, capabilities=("pause-before-switchover",))
    dest = postcopy.there(t, source, **({"kind": peers.kind(t, version)} if version else {}))
    postcopy.begin(t, source, dest)
    source.cmd("migrate-start-postcopy")
    source.wait_migration("pre-switchover")
    assert source.status() == "finish-migrate"
    source.cmd("migrate-continue", state="pre-switchover")
    postcopy.switch(source, dest)
    dest.wait_running()
    postcopy.finish(source, dest, postcopy.SWEEP)
    t.forget(source)
    postcopy.runs_on(dest)


@only_minivmm("what it says is ours")
@table(file={"uri": "file:{}"}, exec={"uri": "exec:cat > {}"})
def test_one_way(t, uri):
    """What cannot ask for pages is no destination of a postcopy; the guest runs on."""
    source = postcopy.start(t)
    source.cmd("migrate", uri=uri.format(t.path("out")))
    source.wait_migration("failed")
    assert "a destination that can ask for pages" in source.migration()["error-desc"], source.migration()
    goes_on(source)
