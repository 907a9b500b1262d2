"""x-minivmm-deadline and its policies in every state of a migration; how it goes, as query-migrate tells."""
import re
import socket

import encoders
from case import only_minivmm, table
from moves import Way, arrived, destination, goes_on, machine
from proxy import BACKWARD, FORWARD, Harm

MIB = 1 << 20
WHY = "QEMU has no deadline"
ANSWERS = 28        # bytes: three PONGs, and the beginning of the one that ends a pass
READY = b"\x00\x39"     # its length, which no other message has
# A guest that stamps its pages as fast as it can, and limits at which it never converges.
FAST = {"guest": "counter", "append": "pages=300"}
ENDLESS = {"max_bandwidth": 2 * MIB, "downtime_limit": 1}


def deadline(vm, seconds, policy="cancel", **more):
    vm.cmd("migrate-set-parameters", x_minivmm_deadline=seconds, x_minivmm_deadline_policy=policy,
           **more)


def too_late(source, moment, seconds=1):
    """The source has given up for that reason; its guest runs."""
    source.wait_migration("failed")
    info = source.migration()
    words = info["error-desc"]
    assert words.startswith(f"the deadline of {seconds} s (x-minivmm-deadline) has passed {moment}"), info
    assert words.endswith("; the guest goes on here"), words
    assert info["x-minivmm"]["phase"] == "ended" and "deadline" not in info["x-minivmm"], info
    source.wait_running()
    goes_on(source)
    return words


MODES = {"plain": ((), {}), "multifd": (("multifd",), {}),
         "throttled": (("auto-converge",), {"max_cpu_throttle": 30})}


@only_minivmm(WHY)
@table(**{name: {"caps": caps, "params": params} for name, (caps, params) in MODES.items()})
def test_cancel(t, caps, params):
    """A guest that does not converge goes on here, with the figures that say why; and may go later."""
    source = machine(t, **FAST)
    source.capabilities(*caps)
    deadline(source, 2, **ENDLESS, **params)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming(), [c for c in caps if c == "multifd"])
    way.start(source, dest)
    source.wait_migration("active")
    assert 0 < source.migration()["x-minivmm"]["deadline"] <= 2000
    words = too_late(source, "in pass", 2)
    figures = re.search(r"pass \d+: the guest writes ([\d.]+) MB/s, ([\d.]+) MB/s of its memory are sent, "
                        r"and ([\d.]+) MB are left; the guest goes on here$", words)
    assert figures and float(figures[1]) > 0 and 0 < float(figures[2]) < 20, words
    dest.wait_migration("failed")
    # the next move has a deadline of its own, which it keeps
    deadline(source, 3600, max_bandwidth=0, downtime_limit=2000)
    way = Way(t, "unix")
    there = destination(t, source, way.incoming(), [c for c in caps if c == "multifd"])
    way.start(source, there)
    arrived(source, there)
    there.wait_running()
    goes_on(there)


@only_minivmm(WHY)
@table(**{name: {"caps": caps, "params": params} for name, (caps, params) in MODES.items()},
       tight=({"caps": (), "params": {"max_bandwidth": 1000}}))
def test_force(t, caps, params):
    """The guest is stopped and arrives, however long the pause is, and however little may be sent."""
    source = machine(t, **FAST)
    source.capabilities(*caps)
    deadline(source, 1, "force", **(ENDLESS | params))
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming(), [c for c in caps if c == "multifd"])
    way.start(source, dest)
    arrived(source, dest)
    info = source.migration()
    assert info["total-time"] >= 1000 and info["ram"]["downtime-bytes"] > 0, info
    dest.wait_running()
    goes_on(dest)


@only_minivmm(WHY)
def test_changed_in_flight(t):
    """What is set while a migration runs counts at once, from the beginning of the migration."""
    source = machine(t, **FAST)
    source.cmd("migrate-set-parameters", **ENDLESS)
    source.cmd("migrate", uri="exec:cat > /dev/null")
    source.wait_migration("active")
    assert "deadline" not in source.migration()["x-minivmm"]
    deadline(source, 3600)
    assert 3000000 < source.migration()["x-minivmm"]["deadline"] <= 3600000
    deadline(source, 0)
    assert "deadline" not in source.migration()["x-minivmm"]
    while source.migration()["total-time"] < 1100:
        pass
    deadline(source, 3600, "force")
    assert "eta" in source.migration()["x-minivmm"]
    assert source.migration()["status"] == "active"
    deadline(source, 1)
    too_late(source, "in pass")
    source.cmd("migrate", uri="exec:cat > /dev/null")
    source.wait_migration("active")
    deadline(source, 1, "force")
    source.wait_migration("completed")


@only_minivmm(WHY)
def test_nobody_listens(t):
    """The connection does not come about: the listener accepts nothing."""
    source = machine(t)
    path = t.path("full")
    busy = socket.socket(socket.AF_UNIX)
    busy.bind(path)
    busy.listen(0)
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(path)
    deadline(source, 1)
    source.cmd("migrate", uri=f"unix:{path}")
    assert source.migration()["status"] == "setup"
    too_late(source, "before there was a connection")


@only_minivmm(WHY)
def test_nobody_reads(t):
    """There is a connection, and nothing is taken from it."""
    source = machine(t, "counter", "pages=2000")    # more than the socket holds
    goes_on(source)
    ours, theirs = socket.socketpair()
    source.qmp.cmd("getfd", fds=[theirs.fileno()], fdname="move")
    theirs.close()
    deadline(source, 2)
    source.cmd("migrate", uri="fd:move")
    too_late(source, "in pass 1", 2)
    ours.close()


@only_minivmm(WHY)
@table(**{word: {"policy": word} for word in ("cancel", "force")})
def test_pause_before_switchover(t, policy):
    """A pause that is too long ends; only migrate-continue continues, whatever the policy."""
    source = machine(t)
    source.capabilities("pause-before-switchover")
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    source.wait_migration("pre-switchover")
    assert source.migration()["x-minivmm"]["phase"] == "pause"
    deadline(source, 1, policy)
    if policy == "cancel":
        too_late(source, "while 'migrate-continue' was awaited")
        return
    while source.migration()["total-time"] < 1100:
        pass
    assert source.migration()["status"] == "pre-switchover"
    source.cmd("migrate-continue", state="pre-switchover")
    arrived(source, dest)


@only_minivmm(WHY)
@table(stream={"harm": ("stall", 1 << 20, FORWARD), "limit": 1, "moment": "in pass 1"},
       answers={"harm": ("stall", ANSWERS, BACKWARD), "limit": 2000, "moment": "in pass 1"},
       ready={"harm": ("stall", 0, BACKWARD), "after": READY, "limit": 2000,
              "moment": "before the destination took the guest"})
def test_stalled(t, harm, limit, moment, after=None):
    """The network stands still in the middle: while pages go, while they are loaded, when all is sent."""
    source = machine(t, "counter", "pages=2000")
    goes_on(source)
    dest = destination(t, source, f"unix:{t.path('in')}")
    relay = t.proxy(t.path("in"), Harm(*harm, after=after))
    deadline(source, 3, downtime_limit=limit)
    source.cmd("migrate", uri=f"unix:{relay.path}")
    too_late(source, moment, 3)
    relay.release()
    assert dest.status() == "inmigrate"


@only_minivmm(WHY)
def test_command_does_not_end(t):
    """A one-way channel has the guest when it is finished; until then the deadline counts."""
    source = machine(t)
    deadline(source, 2)
    source.cmd("migrate", uri="exec:cat > /dev/null; sleep 600")
    too_late(source, "before the destination took the guest", 2)


@only_minivmm(WHY)
@table(plain={"caps": ()}, preempt={"caps": ("postcopy-preempt",)}, multifd={"caps": ("multifd",)})
def test_postcopy(t, caps):
    """A guest that does not converge runs on at the destination, and its memory follows."""
    source = machine(t, **FAST, backend="anonymous")
    source.capabilities("postcopy-ram", *caps)
    deadline(source, 2, "postcopy", **ENDLESS)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming(), ["postcopy-ram", *caps])
    way.start(source, dest)
    assert source.wait_migration("completed", "failed") == "completed", (source.migration(), dest.stderr())
    assert "the deadline (x-minivmm-deadline) has passed: the guest goes to postcopy" in source.stderr()
    figures = source.migration()["ram"]
    assert figures["postcopy-bytes"] > 0 and figures["dirty-sync-count"] > 1, figures
    assert dest.wait_migration("completed", "failed") == "completed", dest.migration()
    dest.wait_running()
    t.forget(source)
    goes_on(dest)


@only_minivmm(WHY)
def test_postcopy_is_not_possible(t):
    """The policy asks for a capability, which cannot be switched on in flight."""
    source = machine(t, **FAST)
    deadline(source, 3600, **ENDLESS)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    source.wait_migration("active")
    words = source.qmp.fails("migrate-set-parameters", x_minivmm_deadline_policy="postcopy")
    assert "which needs capability 'postcopy-ram' at both ends" in words, words
    source.cmd("migrate-set-parameters", x_minivmm_deadline=0)
    source.cmd("migrate-set-parameters", x_minivmm_deadline_policy="postcopy")
    source.cmd("migrate-set-parameters", max_bandwidth=0, downtime_limit=2000)
    arrived(source, dest)


@only_minivmm(WHY)
def test_refused(t):
    vm = t.vmm("idle")
    deadline(vm, 5, "postcopy")
    assert vm.qmp.fails("migrate", uri="exec:cat > /dev/null") == (
        "Parameter 'x-minivmm-deadline-policy' is 'postcopy', which needs capability 'postcopy-ram' at both ends: "
        "switch it on before the migration, or choose 'force' or 'cancel'")
    deadline(vm, 0)
    assert vm.qmp.fails("migrate-set-parameters", x_minivmm_deadline_policy="zz") == \
        "Parameter 'x-minivmm-deadline-policy' does not accept value 'zz'"
    assert vm.qmp.fails("migrate-set-parameters", x_minivmm_deadline=31536001) == \
        "Parameter 'x_minivmm_deadline' expects a value between 0 and 31536000, in seconds"
    shown = vm.cmd("query-migrate-parameters")
    assert shown["x-minivmm-deadline"] == 0 and shown["x-minivmm-deadline-policy"] == "cancel", shown


PHASES = ["connect", "setup", "pass", "pause", "switchover", "devices", "hand-over", "ended", "peer-silent"]


def check_course(looks):
    """Phases in order, passes and percent never back."""
    order = [PHASES.index(look["phase"]) for look in looks]
    assert order == sorted(order), [look["phase"] for look in looks]
    for key in ("percent", "pass"):
        values = [look[key] for look in looks]
        assert values == sorted(values), (key, values)


def watch(source, *ends, at=lambda info: None):
    """All that x-minivmm says until one of these statuses."""
    looks = []
    while True:
        info = source.migration()
        if "x-minivmm" in info:
            looks.append(info["x-minivmm"])
        if info["status"] in ends:
            return looks
        at(info)


@only_minivmm(WHY)
def test_course_without_end(t):
    """A migration that does not converge: it is said, with what would help; that helps."""
    source = machine(t, **FAST)
    goes_on(source)
    source.cmd("migrate-set-parameters", **ENDLESS)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    steps = []

    def follow(info):
        """Some looks at what is recommended; then it is done."""
        progress = info["x-minivmm"]
        step = progress.get("cheapest-step")
        assert (step is None) or (not progress["converges"] and "eta" not in progress), progress
        if not step or steps and steps[-1] == "done":
            return
        steps.append(step["action"])
        if len(steps) < 20 or step["action"] != "max-bandwidth":
            return
        assert step["value"] > 2 * MIB and step["cost"] == 0, step
        assert step["text"].startswith(f"raise 'max-bandwidth' to {step['value']}: the limit holds"), step
        source.cmd("migrate-set-parameters", max_bandwidth=step["value"],
                   downtime_limit=max(50, 2 * progress["predicted-downtime"]))
        steps.append("done")

    looks = watch(source, "completed", "failed", at=follow)
    arrived(source, dest)
    check_course(looks)
    assert looks[-1]["percent"] == 100 and looks[-1]["phase"] == "ended", looks[-1]
    assert all(look["percent"] < 100 for look in looks[:-1])
    assert {"pass", "ended"} <= {look["phase"] for look in looks}


@only_minivmm(WHY)
def test_the_downtime_that_is_recommended(t):
    """Where the channel is at its limit, the downtime it takes: set, the guest arrives."""
    source, dest = encoders.under_way(t, {"source": ()},
                                      fits=lambda i: "cheapest-step" in i["x-minivmm"])
    source.cmd("migrate-set-parameters", max_bandwidth=0)
    while source.migration()["status"] == "active":
        step = source.migration().get("x-minivmm", {}).get("cheapest-step")
        if step and step["action"] == "downtime-limit":
            source.cmd("migrate-set-parameters", downtime_limit=step["value"])
            break
    arrived(source, dest)
    goes_on(dest)


@only_minivmm(WHY)
def test_course_with_a_pause(t):
    """A move that pauses before the switchover shows that phase, too."""
    source = machine(t, "counter", "pages=1000 rate=100")
    goes_on(source)
    source.capabilities("pause-before-switchover")
    source.cmd("migrate-set-parameters", max_bandwidth=4 * MIB, downtime_limit=100)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    looks = watch(source, "pre-switchover")
    source.cmd("migrate-set-parameters", max_bandwidth=0)
    source.cmd("migrate-continue", state="pre-switchover")
    looks += watch(source, "completed")
    check_course(looks)
    assert {"pass", "pause", "ended"} <= {look["phase"] for look in looks}
    first = [look["percent"] for look in looks if look["phase"] == "pass" and look["pass"] == 1]
    assert first and first[0] < 90 and len(set(first)) > 2, first
    arrived(source, dest)


@only_minivmm(WHY)
@table(cancelled={"how": "cancelled"}, failed={"how": "failed"})
def test_course_that_breaks_off(t, how):
    """A migration that is cancelled or fails stays at the percentage it had reached."""
    source = machine(t, **FAST)
    source.cmd("migrate-set-parameters", max_bandwidth=100000, downtime_limit=0)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    while not source.migration()["x-minivmm"]["percent"]:
        pass
    before = source.migration()["x-minivmm"]
    if how == "cancelled":
        source.cmd("migrate_cancel")
    else:
        dest.kill()
    looks = [before] + watch(source, how)
    check_course(looks)
    assert looks[-1]["phase"] == "ended" and looks[-1]["percent"] <= 90, looks[-1]
