"""A postcopy that loses its connection and is resumed: what the tests of guest, interop and fault do alike.

A Move's connections go through a relay that can cut them at a byte of any message. Its destination
listens at another path each time, and the source connects to the relay.
"""
import os

import postcopy
from moves import goes_on
from proxy import BACKWARD, FORWARD, Harm

RECV_BITMAP, RESUME = b"\x08\x00\x0a", b"\x08\x00\x09\x00\x00"
MARK = bytes.fromhex("0123456789abcdef")    # ends a bitmap
ACK = b"\x00\x06\x00\x04\x00\x00\x00\x01"

# Where the handshake can be cut: direction, offset, and behind what.
HANDSHAKE = {
    "at_the_first_byte": (FORWARD, 1, None),
    "in_the_first_request": (FORWARD, 9, None),
    "before_the_first_answer": (BACKWARD, 0, None),
    "in_the_head_of_a_bitmap": (BACKWARD, 20, None),
    "in_a_bitmap": (BACKWARD, 100, None),
    "behind_a_bitmap": (BACKWARD, len(MARK), MARK),
    "before_resume": (FORWARD, 0, RESUME),
    "behind_resume": (FORWARD, len(RESUME), RESUME),
    "before_the_ack": (BACKWARD, 0, ACK),
    "in_the_ack": (BACKWARD, 6, ACK),
    "behind_the_ack": (BACKWARD, len(ACK), ACK),
    "in_the_first_page": (FORWARD, 1000, RESUME),
}


class Move:
    """A postcopy through a relay, from the beginning of its precopy phase on."""

    def __init__(self, t, source, dest):
        self.t, self.source, self.dest = t, source, dest
        self.ends = (source, dest)
        self.addresses = 0
        self.proxy = t.proxy(self.address())
        dest.cmd("migrate-incoming", uri=f"unix:{self.proxy.target}")
        source.cmd("migrate-set-parameters", max_bandwidth=postcopy.EARLY)  # precopy does not come to its end
        source.cmd("migrate", uri=self.uri)
        status = source.wait_migration("active", "failed")
        assert status == "active", source.migration()

    @property
    def uri(self):
        return f"unix:{self.proxy.path}"

    def address(self):
        self.addresses += 1
        return self.t.path(f"at{self.addresses}")

    def switch(self):
        """The guest is there, and runs if it may; how far its memory is, is not known."""
        postcopy.switch(self.source, self.dest)
        while self.dest.status() == "inmigrate":
            os.sched_yield()

    def passed(self):
        return sum(link.passed[FORWARD] for link in self.proxy.links)

    def cut(self, after=0):
        """All connections, at this moment, or when so many more bytes have come from the source."""
        wanted = self.passed() + after
        while self.passed() < wanted and not all(link.over.is_set() for link in self.proxy.links):
            os.sched_yield()
        for link in self.proxy.links:
            link.cut()

    def broken(self, after=0):
        """The same, and both ends are paused."""
        self.cut(after)
        self.paused()

    def paused(self, *ends):
        """Waits for it: at both ends, or those given."""
        for vm in ends or self.ends:
            status = vm.wait_migration("postcopy-paused", "completed", "failed", "cancelled")
            assert status == "postcopy-paused", postcopy.story(*self.ends)

    def listen(self):
        """The destination waits for its source again; the relay leads there."""
        self.proxy.target = self.address()
        self.dest.cmd("migrate-recover", uri=f"unix:{self.proxy.target}")

    def resume(self, harm=None, link=0):
        """The source comes back; harm: of the link-th new connection."""
        if harm:
            harm.link = len(self.proxy.links) + link
        self.proxy.harm = harm
        self.source.cmd("migrate", uri=self.uri, resume=True)

    def recovered(self):
        for vm in self.ends:
            status = vm.wait_migration("postcopy-active", "completed", "failed", "cancelled", "postcopy-paused")
            assert status in ("postcopy-active", "completed"), postcopy.story(*self.ends)
            if status == "completed":       # it shall be found again
                vm.qmp.events.insert(0, {"event": "MIGRATION", "data": {"status": "completed"}})

    def recover(self):
        """Both ends are paused, and go on."""
        self.listen()
        self.resume()
        self.recovered()

    def finish(self):
        postcopy.finish(self.source, self.dest)

    def compare(self, cpus=1):
        """The destination has not run: all memory is the same, and it runs now."""
        postcopy.compare(self.source, self.dest, cpus)
        self.t.forget(self.source)
        self.dest.cmd("cont")
        goes_on(self.dest, cpus)

    def runs_on(self, cpus=1):
        self.t.forget(self.source)
        postcopy.runs_on(self.dest, cpus)


def handshake_cut(place, more=0):
    """For resume(); so many bytes behind that place."""
    direction, offset, after = HANDSHAKE[place]
    return Harm("cut", offset + more, direction, after=after)


__all__ = ["HANDSHAKE", "Harm", "Move", "handshake_cut"]
