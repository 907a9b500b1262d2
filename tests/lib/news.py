"""Waiting for whatever comes first: an event or the end of a monitor, or what a thread of this library has seen.

Readers of serial ports and relays ring; wait() hears that, beside the monitors of the thread that waits.
"""
import os
import select


class Bell:
    """One for this process; a fork has its own."""

    def __init__(self):
        self.new()
        os.register_at_fork(after_in_child=self.new)

    def new(self):
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def ring(self):
        os.eventfd_write(self.fd, 1)

    def silence(self):
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            pass            # nobody has rung


BELL = Bell()


def ring():
    """What somebody may wait for has changed.  Any thread."""
    BELL.ring()


def wait(monitors, seconds):
    """Until there is news, or so long; the events that have come are in the monitors' queues."""
    if any([m.take_events() for m in monitors]):        # of all, not only up to the first
        return
    poll = select.poll()
    poll.register(BELL.fd, select.POLLIN)
    open_ones = {m.sock.fileno(): m for m in monitors if not m.ended}
    for fd in open_ones:
        poll.register(fd, select.POLLIN)
    for fd, _ in poll.poll(seconds * 1000):
        if fd in open_ones:
            open_ones[fd].receive()
            open_ones[fd].take_events()
    BELL.silence()
