"""Rounds of a move in which something is asked for, cut or killed, and what must hold after each.

A House has one guest ("requester") and moves it on from process to process. A round is a Plan: where
the bytes are held up, what is asked of which side when, and what happens to the connection or to a
process then. After it exactly one side owns the guest, unless its own process was killed; what was
accepted has been carried out once, where the guest is; what was refused has not.
"""
import random
import time

import news
import stream
from moves import destination, machine
from proxy import BACKWARD, FORWARD, Harm
from qmp import GUARD, Closed, Hang, QmpError

OPTIONS = {"guest": "requester", "append": "pages=20", "memory": "18M",
           "extra": ["-device", "pvpanic", "-action", "panic=pause", "-no-shutdown"]}
HOST = {"reset": "system_reset", "button": "system_powerdown"}
GUEST = {"guest-reset": "x", "triple-fault": "t", "power-off": "q", "panic": "p", "bad-code": "i"}
LOOK_S = 0.25       # not every state that a monitor tells has an event
ENDED = ("completed", "failed", "cancelled")
# what "how" does once the bytes are held; the others only let them pass
BREAKS = ("cut", "end", "kill-source", "kill-destination", "quit-source", "cancel")


class Wrong(AssertionError):
    """Something that must hold does not."""


class Plan:
    """One round.

    at       (direction, offset, after) where the bytes are held up; None: nowhere
    how      what happens when they are held: "release" or one of BREAKS
    asks     [(what, side, when)]: what is in HOST or GUEST; side "source" or "destination" (of the
             guest only the source); when "before" the move, "held", or a time in ms behind its start
    """

    def __init__(self, at=None, how="release", asks=(), capabilities=()):
        self.at, self.how, self.asks, self.capabilities = at, how, list(asks), list(capabilities)

    def __repr__(self):
        return f"Plan(at={self.at}, how={self.how!r}, asks={self.asks}, capabilities={self.capabilities})"


class Watched:
    """A machine, with all its events kept."""

    def __init__(self, vm):
        self.vm, self.log, self.killed = vm, [], False

    def ask(self, name, **arguments):
        """The error's text, None when it was accepted, "dead" when the program has ended."""
        try:
            self.vm.cmd(name, **arguments)
            return None
        except QmpError as e:
            return e.desc
        except Closed:
            return "dead"

    def look(self):
        """(migration status, run state), or None when it has ended."""
        try:
            return self.vm.migration().get("status", "none"), self.vm.status()
        except Closed:
            return None

    def events(self, name):
        """How many of them since the round began."""
        self.log += self.vm.qmp.events
        self.vm.qmp.events.clear()
        return [e for e in self.log if e["event"] == name]

    def drain(self):
        """The last words of one that has ended."""
        self.vm.qmp.wait_closed()

    def kill(self):
        self.killed = True
        self.vm.kill()


def until(what, test, *machines):
    """Waits for what these do by themselves; the test is made again whenever one of them has news."""
    deadline = time.monotonic() + GUARD
    while not test():
        if time.monotonic() > deadline:
            raise Hang(what() if callable(what) else what)
        news.wait([m.qmp for m in machines], LOOK_S)


class House:
    """The guest's present process, and rounds."""

    def __init__(self, t):
        self.t, self.count, self.told = t, 0, None
        self.vm = None

    def start_guest(self):
        """Start a new guest, not running, in the place of the one before."""
        if self.vm:
            self.t.forget(self.vm)
        self.vm = machine(self.t, OPTIONS["guest"], OPTIONS["append"], started=False,
                          memory=OPTIONS["memory"], extra=OPTIONS["extra"])
        self.vm.serial.expect("boot")

    def record(self):
        """Where the messages of an undisturbed move are: offsets for plans."""
        self.start_guest()
        path = self.t.path("recorded")
        dest = destination(self.t, self.vm, f"unix:{path}")
        proxy = self.t.proxy(path, keep=True)
        self.vm.cmd("migrate", uri=f"unix:{proxy.path}")
        assert self.vm.wait_migration("completed", "failed") == "completed", self.vm.migration()
        assert proxy.links[0].over.wait(GUARD), "the recorded connection does not end"
        self.t.forget(self.vm)
        self.vm = dest
        return Places(bytes(proxy.kept[FORWARD]), bytes(proxy.kept[BACKWARD]))

    # ---- one round ----

    def round(self, plan):
        self.count += 1
        if not self.vm:
            self.start_guest()
        path = self.t.path(f"way{self.count}")
        source = Watched(self.vm)
        dest = Watched(destination(self.t, self.vm, f"unix:{path}"))
        source.vm.qmp.events.clear()
        source.vm.capabilities(*plan.capabilities)
        marks = [len(w.vm.serial.seen) for w in (source, dest)]
        harm = Harm("stall", plan.at[1], plan.at[0], after=plan.at[2]) if plan.at else None
        proxy = self.t.proxy(path, harm)
        one = Round(self, plan, source, dest, marks)
        try:
            one.play(proxy, harm)
            one.check()
        except (Wrong, Hang, AssertionError) as e:
            raise Wrong(f"{plan}: {e}\nsource: {source.look()} {[x['event'] for x in source.log]}\n"
                        f"destination: {dest.look()} {[x['event'] for x in dest.log]}\n"
                        f"said: {one.said()!r}\nanswers: {one.answers}\n"
                        f"{source.vm.stderr()[-1000:]}\n{dest.vm.stderr()[-1000:]}") from e
        finally:
            self.t.drop(proxy)
        self.go_on(one)
        return one

    def go_on(self, one):
        """The owner is the next source, in working order."""
        for w in (one.source, one.dest):
            if w is not one.owner:
                self.t.forget(w.vm)
        self.vm = one.owner.vm if one.owner else None
        if not self.vm:
            return
        if self.vm.status() != "running":
            self.vm.cmd("system_reset")
            self.vm.serial.mark = len(self.vm.serial.seen)
            self.vm.cmd("cont")
            self.vm.serial.expect("boot")
        if one.plan.capabilities:
            self.vm.cmd("migrate-set-capabilities",
                        capabilities=[{"capability": c, "state": False} for c in one.plan.capabilities])


class Round:
    """What happens in it, and what must hold afterwards."""

    def __init__(self, house, plan, source, dest, marks):
        self.house, self.plan, self.source, self.dest, self.marks = house, plan, source, dest, marks
        self.answers = []           # (what, side, error text or None)
        self.owner, self.in_doubt = None, False
        self.ran = False            # the destination had taken the guest when it was killed

    # ---- play ----

    def play(self, proxy, harm):
        self.ask("before")
        self.source.vm.cmd("migrate", uri=f"unix:{proxy.path}")
        begin = time.monotonic()
        for when in sorted({a[2] for a in self.plan.asks if not isinstance(a[2], str)}):
            self.moment(proxy, begin + when / 1000)
            self.ask(when)
        if harm:
            self.until("the bytes to be held", lambda: harm.done.is_set() or self.source_ended())
            if harm.done.is_set():
                self.held(proxy)
        proxy.release()
        self.until(lambda: f"the end at the source {self.source.look()}", self.source_ended)
        self.until(lambda: f"the end at the destination {self.dest.look()}", self.dest_ended)

    def until(self, what, test):
        until(what, test, self.source.vm, self.dest.vm)

    @staticmethod
    def moment(proxy, then):
        """The moment itself is what is tried; a connection that is over makes it come at once."""
        while (left := then - time.monotonic()) > 0 and not (proxy.links and proxy.links[0].over.is_set()):
            news.wait([], left)

    def held(self, proxy):
        """The bytes stand still."""
        self.ask("held")
        how, link = self.plan.how, proxy.links[0]
        if how == "cut":
            link.cut()
        elif how == "end":
            link.end(self.plan.at[0])
        elif how == "kill-source":
            self.source.kill()
        elif how == "kill-destination":
            self.ran = self.dest.look()[0] == "completed"
            self.dest.kill()
            # It may have gone on since then; what it says comes before its word to the source.
            self.ran = self.ran or "the guest has arrived" in self.dest.vm.stderr()
        elif how == "quit-source":
            self.source.killed = True
            self.source.ask("quit")
            self.source.vm.wait()
        elif how == "cancel":
            self.source.ask("migrate_cancel")

    def ask(self, when):
        for what, side, w in self.plan.asks:
            if w != when:
                continue
            at = self.source if side == "source" else self.dest
            if what in GUEST:
                at.vm.serial.write(GUEST[what])
                self.answers.append((what, side, None))
            else:
                self.answers.append((what, side, at.ask(HOST[what])))

    def source_ended(self):
        state = self.source.look()
        if state and state[0] == "pre-switchover":
            self.source.ask("migrate-continue", state="pre-switchover")
        return not state or state[0] in ENDED

    def dest_ended(self):
        """Or it waits for another connection: this one broke before its first byte."""
        state = self.dest.look()
        return not state or state[0] in ENDED or state[0] == "none"

    # ---- check ----

    def check(self):
        for w in (self.source, self.dest):
            if not w.look():
                w.drain()
        self.find_owner()
        self.check_other()
        self.alive()
        resets = self.check_resets()
        state = self.check_state(resets)
        self.check_button(resets, state)

    def find_owner(self):
        source, dest = self.source.look(), self.dest.look()
        if dest and dest[0] == "completed":
            self.owner = self.dest
        elif source:
            self.owner = self.source
            error = self.source.vm.migration().get("error-desc", "")
            self.in_doubt = "did not confirm" in error
            if source[0] == "completed" and self.ran:
                self.owner = None       # it died with the destination, which had it
            elif source[0] == "completed":
                raise Wrong("the source gave its guest away without a destination")
            elif self.in_doubt:
                self.revive()
        elif not self.source.killed:
            raise Wrong("the source has ended")
        if source and dest and source[1] == dest[1] == "running":
            raise Wrong("two guests run")

    def revive(self):
        """It never came to the destination: a user, who knows that, continues it here."""
        if self.dest.look() and self.dest.look()[1] != "inmigrate":
            raise Wrong("neither side has the guest")
        text = self.source.ask("cont")
        if not text or "x-minivmm-force" not in text:
            raise Wrong(f"cont of a guest in doubt: {text}")
        text = self.source.ask("cont", x_minivmm_force=True)
        if text and not (text == "Resetting the Virtual Machine is required" and self.count_ends()):
            raise Wrong(f"forced cont of a guest in doubt: {text}")

    def check_other(self):
        """An end that does not own the guest refuses to run or reset it."""
        if self.owner is self.dest and self.source.look():
            for command in ("cont", "system_reset"):
                text = self.source.ask(command)
                if not text or "x-minivmm-force" not in text or "unix:" not in text:
                    raise Wrong(f"{command} at a source without its guest: {text}")
            if self.source.look()[1] != "postmigrate":
                raise Wrong(f"the source is in {self.source.look()}")
        if self.owner is self.source and self.dest.look() and self.dest.look()[1] != "inmigrate":
            raise Wrong(f"the destination is in {self.dest.look()}")

    def said(self):
        """What the guest printed, wherever it was."""
        return "".join(w.vm.serial.seen[m:] for w, m in zip((self.source, self.dest), self.marks))

    def total(self, event, **data):
        return sum(all(e["data"].get(k) == v for k, v in data.items()) for w in (self.source, self.dest)
                   for e in [dict(x, data=x.get("data", {})) for x in w.events(event)])

    def accepted(self, what):
        """How often; what was accepted by a side that never had the guest went with it."""
        return sum(1 for w, side, text in self.answers if w == what and text is None and
                   (side == "source" or self.owner is self.dest))

    def asked(self, what):
        return f"ask {GUEST[what]}\n" in self.said()

    def wait(self, what, test):
        """Until the owner has come so far."""
        def look():
            self.owner.vm.status()          # takes its events in
            return test()
        self.until(lambda: f"{what}: {self.owner.look()}", look)

    def check_resets(self):
        """Each accepted one happened, once, and the guest booted."""
        host = self.accepted("reset")
        if not self.owner:
            return host
        for _, _, text in self.answers:
            if text and text != "dead" and "handed" not in text and "given" not in text:
                raise Wrong(f"refused without the guest's place: {text}")
        self.wait("a reset that was asked for", lambda: self.host_resets(host) >= host)
        # The guest says what it will do before it does it, and a reset may come in between; one that
        # comes while the guest's own is pending is both.
        if self.count_ends() == 0:
            self.wait("a reset by the guest", lambda: self.total("RESET", reason="guest-reset") >=
                      self.guest_resets() - host)
        guest = self.guest_resets()
        total = self.host_resets(host)
        if total != host:
            raise Wrong(f"{host} resets were accepted, {total} happened")
        by_guest = self.total("RESET", reason="guest-reset")
        if by_guest > guest + self.asked("bad-code"):
            raise Wrong(f"the guest asked for {guest} resets, {by_guest} happened")
        return total + by_guest

    def host_resets(self, accepted):
        """By their events; a source that was killed took its last ones with it, but the guest says that it booted."""
        events = self.total("RESET", reason="host-qmp-system-reset")
        if not self.source.killed or events >= accepted:
            return events
        boots = self.said().count("boot\n") - self.total("RESET", reason="guest-reset")
        return max(events, min(boots, accepted))

    def guest_resets(self):
        return sum(self.asked(w) for w in ("guest-reset", "triple-fault"))

    def count_ends(self):
        return sum(self.asked(w) for w in ("power-off", "panic", "bad-code"))

    def check_state(self, resets):
        """The owner's run state is what the guest has asked for last."""
        if not self.owner:
            return None
        wanted = {"power-off": "shutdown", "panic": "guest-panicked", "bad-code": "internal-error"}

        def fits():
            ends = [w for w in wanted if self.asked(w)]
            allowed = {wanted[w] for w in ends}
            if not ends or resets:
                allowed |= {"running"}
            if ends and resets:
                allowed |= {"prelaunch"}
            if ends and self.in_doubt:
                allowed |= {"postmigrate"}
            if "panic" in ends and self.in_doubt:
                allowed |= {"running"}      # the forced cont is of a guest that has panicked before
            return self.owner.vm.status() in allowed
        self.wait("the run state that was asked for", fits)
        for what, event, data in (("power-off", "SHUTDOWN", {"reason": "guest-shutdown"}),
                                  ("panic", "GUEST_PANICKED", {})):
            if self.total(event, **data) != self.asked(what):
                raise Wrong(f"{event} {self.total(event, **data)} times, asked for {self.asked(what)}")
        state = self.owner.vm.status()
        if state == "running" and resets and not self.count_ends():
            self.wait("the boot behind a reset", lambda: self.said().count("boot\n") >= 1)
            if self.said().count("boot\n") > resets:
                raise Wrong(f"{resets} resets, {self.said().count('boot')} boots")
        return state

    def check_button(self, resets, state):
        pressed = self.accepted("button")
        if not self.owner or self.source.killed:
            return
        self.wait("the power button", lambda: self.total("POWERDOWN") >= pressed)
        if self.total("POWERDOWN") != pressed:
            raise Wrong(f"the button was pressed {pressed} times, told {self.total('POWERDOWN')}")
        if state == "running" and not resets:
            self.wait("the guest to notice its button", lambda: self.said().count("button\n") >= pressed)
            if self.said().count("button\n") != pressed:
                raise Wrong(f"the guest felt its button {self.said().count('button')} times")

    def alive(self):
        """The guest answers, or has stopped.  What it was told before it has read by then."""
        if not self.owner:
            return
        vm = self.owner.vm
        begin = self.marks[(self.source, self.dest).index(self.owner)]
        asked = -1          # boots at that time: each forgets what came before it

        def answers():
            nonlocal asked
            boots = vm.serial.seen[begin:].count("boot\n")
            if boots > asked:
                asked = boots
                vm.serial.write("e")
            return "alive\n" in vm.serial.seen[begin:] or vm.status() != "running"
        self.until(lambda: f"the guest does not live: {self.owner.look()}", answers)


class Places:
    """Byte offsets of an undisturbed move, found again in the next one by what precedes them."""

    def __init__(self, forward, backward):
        parsed = stream.Stream(forward)
        self.forward, self.backward = forward, backward
        self.devices = [r for r in parsed.records if r.tag == stream.TAG_FULL]
        self.first = self.devices[0].start
        description = parsed.description_start
        self.told = description + 5 + int.from_bytes(forward[description + 1:description + 5], "big")
        early = [r for r in parsed.records if r.start < self.first]
        self.boundaries = sorted(
            {0, 4, 8, description, description + 5, self.told, self.told + 1, len(forward)} |
            {r.start for r in early} | set(parsed.page_offsets) |
            {x for r in self.devices for x in (r.start, r.payload_start, r.end - 5, r.end)})
        # a message of the return path: be16 type, be16 length
        self.answers = [0]
        while self.answers[-1] + 4 <= len(backward):
            at = self.answers[-1]
            self.answers.append(at + 4 + int.from_bytes(backward[at + 2:at + 4], "big"))

    def place(self, offset):
        """The same place in another stream."""
        for r in reversed(self.devices):
            if offset >= r.start:
                return FORWARD, offset - r.start, self.forward[r.start:r.payload_start]
        return FORWARD, offset, None

    # Windows of the hand-over: held behind a message's first byte, which shows that it was sent
    def sections(self):
        """The source has sent everything and waits for READY."""
        return self.place(self.first)

    def ready(self):
        """READY has been sent and not read."""
        at = self.answers[-3] + 2       # its length and what follows: nothing else ends like that
        return BACKWARD, 1, self.backward[at:at + 6]

    def go(self):
        """GO has been sent and not read."""
        return self.place(self.told + 1)

    def shut(self):
        """The guest runs at the destination, and the source does not know."""
        return BACKWARD, 1, self.backward[self.answers[-2]:self.answers[-2] + 4]

    def anywhere(self, pick):
        """A random boundary or byte, either way."""
        kind = pick.randrange(8)
        if kind < 3:
            return self.place(pick.choice(self.boundaries))
        if kind < 4:
            return self.place(pick.randrange(self.first, len(self.forward)))
        if kind < 5:
            return self.place(pick.randrange(self.first))
        if kind < 6:
            return BACKWARD, pick.randrange(len(self.backward)), None
        if kind < 7:
            return BACKWARD, pick.choice(self.answers), None
        return pick.choice((self.sections, self.ready, self.go, self.shut))()


def random_plan(pick, places):
    """What a long run tries."""
    at = places.anywhere(pick) if pick.random() < 0.8 else None
    how = pick.choice(BREAKS) if at and pick.random() < 0.6 else "release"
    asks = []
    for _ in range(pick.choice((0, 0, 1, 1, 1, 2))):
        what = pick.choice((*HOST, *HOST, *GUEST))
        when = pick.choice(("before", "held" if at else "before", pick.randrange(1, 30)))
        side = "destination" if what in HOST and pick.random() < 0.2 else "source"
        if not any(what == a[0] or what in GUEST and a[0] in GUEST for a in asks):
            asks.append((what, side, when))
    return Plan(at, how, asks)


def long_run(t, rounds, seed, report=None):
    """As many rounds; the seed and the round are in the message of what goes wrong."""
    pick = random.Random(seed)
    house = House(t)
    places = house.record()
    for n in range(rounds):
        plan = random_plan(pick, places)
        try:
            house.round(plan)
        except (Wrong, Hang, Closed, QmpError, OSError) as e:
            raise Wrong(f"seed {seed}, round {n}: {e}") from e
        if report:
            report(n + 1, plan)
