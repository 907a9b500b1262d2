"""Either process killed, or the connection cut, at every message of a postcopy: never two guests, none lost unsaid.

Before the guest has gone it runs on at the source; afterwards the destination has it, and what only the killed
process held is lost, which the other one says.
"""
from itertools import product

import postcopy
import wire
from case import table
from moves import goes_on
from proxy import BACKWARD, FORWARD, Harm
from qmp import Closed, Hang

PACKAGED = wire.command(wire.PACKAGED, b"")[:3] + b"\x00\x04"
GO, RUNS = b"\x08\x4d\x02", 5
SHUT = wire.answer(wire.SHUT, bytes(4))


def ping(cookie):
    return wire.command(wire.PING, bytes([0, 0, 0, cookie]))


def after(message, offset=0, direction=FORWARD):
    return {"direction": direction, "offset": offset, "after": message}


# Where, in the order of the wire; "gone": the source's guest has (True), has not (False), may have (None); who says it.
BOTH, OURS, QEMU = ("minivmm", "qemu"), ("minivmm",), ("qemu",)
PLACES = {
    "advise": (False, BOTH, after(wire.command(wire.ADVISE, bytes(16))[:5])),
    "discard": (False, BOTH, after(b"\x00\x0bmicrovm.ram\x00")),
    "ping_2": (False, BOTH, after(ping(2))),
    "pong_2": (False, BOTH, after(wire.pong(2), 0, BACKWARD)),
    "package": (False, BOTH, after(PACKAGED)),
    "in_package": (False, BOTH, after(PACKAGED, 1000)),
    "ping_3": (False, BOTH, after(ping(3))),
    "pong_3": (None, BOTH, after(wire.pong(3), 0, BACKWARD)),
    "ready": (False, OURS, after(b"\x4d\x02\x00", 0, BACKWARD)),
    "behind_ready": (None, OURS, after(b"\x4d\x02\x00", 60, BACKWARD)),
    "go": (False, OURS, after(GO)),
    "in_go": (None, OURS, after(GO, 4)),
    "runs": (None, OURS, after(ping(RUNS))),
    "pong_runs": (None, OURS, after(wire.pong(RUNS), 0, BACKWARD)),
    "behind_pong_runs": (True, OURS, after(wire.pong(RUNS), 8, BACKWARD)),
    "run": (None, QEMU, after(ping(3), 9)),
    "ping_4": (None, BOTH, after(ping(4))),
    "sweep": (None, BOTH, after(ping(4), 20000)),
    "shut": (True, BOTH, after(SHUT, 0, BACKWARD)),
}
HOWS = ("kill_source", "kill_destination", "cut")


def row(place, how):
    return {"place": place, "how": how}


def chosen():
    """Each place of ours once, the ways in turn; where the guest goes over, all of them."""
    for n, place in enumerate(place for place, (_, kinds, _) in PLACES.items() if "minivmm" in kinds):
        for how in HOWS if PLACES[place][0] is None else HOWS[n % 3:n % 3 + 1]:
            yield f"{place}_{how}"


class Fall:
    """A postcopy through a relay, and what happens to it at one message."""

    def __init__(self, t, place, how):
        self.t, self.how = t, how
        self.gone, kinds, at = PLACES[place]
        if t.kind not in kinds:
            t.skip(f"{t.kind} does not say that")
        self.source = postcopy.start(t)
        self.dest = postcopy.there(t, self.source)
        what = "cut" if how == "cut" else "call"
        self.harm = Harm(what, at["offset"], at["direction"], after=at["after"], call=self.kill)
        proxy = t.proxy(t.path("in"), self.harm)
        self.dest.cmd("migrate-incoming", uri=f"unix:{proxy.target}")
        self.source.cmd("migrate-set-parameters", max_bandwidth=postcopy.EARLY)
        self.source.cmd("migrate", uri=f"unix:{proxy.path}")
        status = self.source.wait_migration("active", *postcopy.OVER) if place != "advise" or how != "kill_source" \
            else None
        if status == "active" and place != "advise":
            self.source.cmd("migrate-start-postcopy")

    def kill(self):
        (self.source if self.how == "kill_source" else self.dest).kill()

    def ends(self):
        """(status of the source, of the destination); "dead" when it has ended."""
        if not self.harm.done.wait(60):
            raise Hang(f"{self.harm} has not come: {postcopy.story(self.source, self.dest)}")
        source = "dead" if self.how == "kill_source" else self.source.wait_migration(*postcopy.OVER)
        return source, "dead" if self.how == "kill_destination" else self.end_of_dest()

    def end_of_dest(self):
        """A QEMU that fails before its guest runs ends."""
        try:
            return self.dest.wait_migration(*postcopy.OVER)
        except Closed:
            assert self.dest.kind != "minivmm", self.dest.stderr()
            return "dead"

    def check(self):
        source, dest = self.ends()
        story = postcopy.story(self.source, self.dest)
        if dest in ("completed", "postcopy-paused"):
            self.is_there(source, dest, story)
        elif source == "failed" and not self.went_with_dest(story):
            self.is_here(story)
        elif source != "failed":
            self.is_lost(source, dest, story)

    def is_there(self, source, dest, story):
        assert self.gone is not False, f"the guest went too early\n{story}"
        assert source in ("dead", "completed", "postcopy-paused"), f"{source}, and the destination has it\n{story}"
        assert self.dest.status() == "running", story
        assert source == "dead" or self.source.status() in ("finish-migrate", "postmigrate"), story
        if dest == "postcopy-paused" and self.dest.kind == "minivmm":
            assert "of the guest's memory at the source (migrate-recover goes on)" in self.dest.stderr(), story

    def went_with_dest(self, story):
        """The killed destination ran it: the source says so, and runs what it has only when it is made to."""
        if self.how != "kill_destination" or self.source.kind != "minivmm" or self.source.status() != "postmigrate":
            return False
        assert self.gone is not False, f"the guest went too early\n{story}"
        words = self.source.migration()["error-desc"]
        assert "and the guest with it" in words and "x-minivmm-force" in words, words
        return True

    def is_here(self, story):
        assert self.gone is not True, f"the guest had gone\n{story}"
        assert self.source.kind == "qemu" or self.source.migration().get("error-desc"), story
        if self.source.status() != "running":
            self.source.qmp.event("RESUME")
        goes_on(self.source)

    def is_lost(self, source, dest, story):
        """Neither runs. Only what was killed may have taken the guest with it, and where a word was lost it is said."""
        assert self.how != "kill_source" or source == dest == "dead" or dest == "failed", story
        assert self.how == "kill_source" or source == "postcopy-paused", story
        if self.source.kind == "minivmm":       # QEMU 7.2 gives its guest away before the package has gone
            assert self.how == "kill_source" or self.gone is not False, f"it should run on here\n{story}"
        if source == "postcopy-paused":
            assert self.source.status() == "finish-migrate", story
            assert self.source.kind == "qemu" or self.source.migration().get("error-desc"), story


@table(**{f"{place}_{how}": row(place, how) for place, how in product(PLACES, HOWS)})
def test_at_every_message(t, place, how):
    Fall(t, place, how).check()


test_at_every_message.chosen = frozenset(chosen())
