"""What is asked for while a guest changes hands: reset, power button, power-off, panic, internal error.

Each is carried out once, where the guest is, in every window from the stop to the end; or it is
refused with the place of the guest. tests/lib/ownership.py says what is checked after each round.
"""
from case import only_minivmm, table
from moves import Way, arrived, destination, wait_end_or_failure
from ownership import BREAKS, GUEST, HOST, House, Plan, Watched, until

WHY = "QEMU 7.2 resets the stopped guest of a source, and drops its power button"
WINDOWS = ("sections", "ready", "go", "shut")       # methods of ownership.Places
MOVES = 20
TAKEN = ("sections", "ready")                       # GO carries what is asked for in these


@only_minivmm(WHY)
@table(paused={"capabilities": ["pause-before-switchover"]}, plain={"capabilities": []})
def test_resets_up_to_the_stop(t, capabilities):
    """system_reset again and again, until the guest stops for the switchover."""
    house = House(t)
    house.start_guest()
    for n in range(MOVES):
        path = t.path(f"in{n}")
        source = Watched(house.vm)
        dest = Watched(destination(t, house.vm, f"unix:{path}"))
        source.vm.capabilities(*capabilities)
        source.vm.qmp.events.clear()
        source.vm.cmd("migrate", uri=f"unix:{path}")
        source.vm.reaches_pass(2)
        accepted = 0
        while not source.events("STOP") and source.look()[0] in ("setup", "active"):
            accepted += source.ask("system_reset") is None
        if capabilities:
            until("pre-switchover", lambda w=source: w.look()[0] in ("pre-switchover", "completed"), source.vm)
            source.ask("migrate-continue", state="pre-switchover")
        until("the end", lambda w=source: w.look()[0] in ("completed", "failed"), source.vm)
        story = f"move {n}, {accepted} resets: {source.look()} {[e['event'] for e in source.log]}"
        assert source.look() == ("completed", "postmigrate"), story
        assert wait_end_or_failure(dest.vm) == "completed"
        dest.vm.wait_running()
        # one that was asked for last may be carried out there
        until(story, lambda s=source, d=dest, a=accepted: d.vm.status() and
              len(s.events("RESET")) + len(d.events("RESET")) >= a, source.vm, dest.vm)
        dest.vm.serial.write("e")
        dest.vm.serial.expect("alive")
        assert len(source.events("RESET")) + len(dest.events("RESET")) == accepted, story
        t.forget(house.vm)
        house.vm = dest.vm


@only_minivmm(WHY)
@table(**{f"{window}_{what}_{side}": {"window": window, "what": what, "side": side}
          for window in WINDOWS for what in HOST for side in ("source", "destination")})
def test_window(t, window, what, side):
    """While the bytes are held up at one point of the hand-over."""
    house = House(t)
    places = house.record()
    plan = Plan(getattr(places, window)(), "release", [(what, side, "held")])
    one = house.round(plan)
    assert one.owner is one.dest, plan
    (_, _, text), = one.answers
    refused = side == "source" and window not in TAKEN
    assert bool(text) == refused, text
    event = {"reset": "RESET", "button": "POWERDOWN"}[what]
    assert len(one.source.events(event)) == 0, "carried out at the source, whose guest is not there"
    assert len(one.dest.events(event)) == (not refused)


@only_minivmm(WHY)
@table(**{f"{window}_{how}": {"window": window, "how": how} for window in WINDOWS for how in BREAKS})
def test_broken_window(t, window, how):
    """The same, and then the move breaks: the guest is kept, and what was asked for with it."""
    house = House(t)
    places = house.record()
    for what in HOST:
        one = house.round(Plan(getattr(places, window)(), how, [(what, "source", "held")]))
        if window in TAKEN and how != "cancel" and "source" not in how:
            assert one.owner is not one.dest, "it runs without GO"


# Each way of breaking twice, at windows that differ.
test_broken_window.chosen = frozenset(f"{window}_{how}" for i, window in enumerate(WINDOWS) for j, how in enumerate(BREAKS)
                                      if (i + j) % 2)


@only_minivmm(WHY)
@table(**{what: {"what": what} for what in HOST})
def test_pre_switchover(t, what):
    """The guest stands and its state has not been taken: it is done at once, and moves with the guest."""
    house = House(t)
    house.start_guest()
    source = Watched(house.vm)
    way = Way(t, "unix")
    dest = Watched(destination(t, house.vm, way.incoming()))
    source.vm.capabilities("pause-before-switchover")
    way.start(source.vm, dest.vm)
    source.vm.wait_migration("pre-switchover")
    source.vm.cmd(HOST[what])
    source.vm.qmp.event({"reset": "RESET", "button": "POWERDOWN"}[what])
    assert source.look() == ("pre-switchover", "finish-migrate")
    source.vm.cmd("migrate-continue", state="pre-switchover")
    arrived(source.vm, dest.vm)
    dest.vm.wait_running()
    dest.vm.serial.expect({"reset": "boot\n", "button": "button\n"}[what])
    dest.vm.serial.write("e")
    dest.vm.serial.expect("alive")
    assert not dest.events("RESET") and not dest.events("POWERDOWN"), dest.log


@only_minivmm(WHY)
def test_paused_guest(t):
    """A paused guest that is reset in pre-switchover arrives as one that has not started."""
    house = House(t)
    house.start_guest()
    source = house.vm
    source.cmd("stop")
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    source.capabilities("pause-before-switchover")
    way.start(source, dest)
    source.wait_migration("pre-switchover")
    source.cmd("system_reset")
    source.cmd("migrate-continue", state="pre-switchover")
    arrived(source, dest)
    assert dest.status() == "prelaunch"
    dest.cmd("cont")
    dest.serial.expect("boot")


@only_minivmm(WHY)
@table(**{what.replace("-", "_"): {"what": what} for what in GUEST})
def test_asked_by_the_guest(t, what):
    """At many moments around the stop; the engine says whether it was lost, doubled or misplaced."""
    house = House(t)
    for delay in (0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 17, 20):
        house.round(Plan(None, "release", [(what, "source", delay)]))


@only_minivmm("another program's words")
def test_saved_guest_goes_on(t):
    """A file is not a running guest: cont and reset are allowed behind it."""
    house = House(t)
    house.start_guest()
    vm = house.vm
    vm.cmd("migrate", uri=f"file:{t.path('saved')}")
    vm.wait_migration("completed")
    assert vm.status() == "postmigrate"
    vm.cmd("cont")
    vm.serial.write("e")
    vm.serial.expect("alive")
    vm.cmd("migrate", uri=f"exec:cat > {t.path('saved')}")
    vm.wait_migration("completed")
    vm.cmd("system_reset")
    assert vm.status() == "prelaunch"
    vm.cmd("cont")
    vm.serial.expect("boot")


@only_minivmm("QEMU 7.2 runs it, and the guest hangs")
def test_saved_after_its_end(t):
    """A guest that has powered itself off does not run again because it was saved."""
    house = House(t)
    house.start_guest()
    vm = house.vm
    vm.serial.write("q")
    vm.qmp.event("SHUTDOWN")
    until("the guest to be shut down", lambda: vm.status() == "shutdown", vm)
    vm.cmd("migrate", uri=f"file:{t.path('saved')}")
    vm.wait_migration("completed")
    assert vm.qmp.fails("cont") == "Resetting the Virtual Machine is required"
    vm.cmd("system_reset")
    vm.cmd("cont")
    vm.serial.expect("boot")
