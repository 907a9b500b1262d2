"""A relay between two unix sockets that can harm what passes, at a byte offset of one connection.

"forward" is from the side that connects (the source of a migration) to the side that listens. Each
connection is a link, numbered as they come: a migration's main stream is link 0, its multifd channels
are 1, 2 and so on. What passes is counted and, on request, kept.
"""
import os
import select
import socket
import threading
import time

import news

FORWARD, BACKWARD = "forward", "backward"
WAYS = (FORWARD, BACKWARD)
MISSED_S = 1    # bytes that a harm waits for and that do not come: the ones held are passed on


class Harm:
    """What to do when 'offset' bytes have passed one direction of one link.

    what: "cut" (end the connection both ways), "end" (only say no more bytes come this way),
    "stall" (pass nothing more this way until release()), "call" (call(): for instance kill the peer;
    nothing more passes after it), or a change of the bytes that follow: "corrupt" (the first one),
    "lose" (size bytes), "duplicate" (size bytes, sent again), "swap" (size bytes and the next ones
    change places; size is a pair).
    after: bytes; the offset then counts from where they first occur, which is how to hit a message
    whose place differs from stream to stream.
    """

    CHANGES = {
        "corrupt": lambda h, data: bytes([data[0] ^ h.xor]),
        "lose": lambda h, data: b"",
        "duplicate": lambda h, data: data + data,
        "swap": lambda h, data: data[h.size[0]:] + data[:h.size[0]],
    }

    def __init__(self, what, offset, direction=FORWARD, *, call=None, after=None, xor=0xFF, size=1,
                 link=0):
        self.what, self.offset, self.direction, self.link = what, offset, direction, link
        self.call, self.after, self.xor, self.size = call, after, xor, size
        self.at = None if after else offset
        self.takes = 0 if what not in self.CHANGES else sum(size) if what == "swap" else size
        self.done = threading.Event()

    def __repr__(self):
        behind = f" behind {self.after!r}" if self.after else ""
        size = f" ({self.size} bytes)" if self.takes else ""
        return f"{self.what} at {self.direction} byte {self.offset}{behind} of link {self.link}{size}"

    def locate(self, data, passed):
        """Looks for 'after' in what is about to pass; how many bytes at the end must wait for more."""
        if self.at is not None:
            return 0
        found = data.find(self.after)
        if found >= 0:
            self.at = passed + found + self.offset
            return 0
        # Not for one byte: a PING, behind which the source waits, ends with what a section begins with.
        for n in range(min(len(self.after) - 1, len(data)), 1, -1):
            if data.endswith(self.after[:n]):
                return n
        return 0


class Pump(threading.Thread):
    """One direction of one link."""

    def __init__(self, proxy, link, way, source, to):
        super().__init__(daemon=True)
        self.proxy, self.link, self.way = proxy, link, way
        self.source, self.to = source, to
        self.held = b""
        self.arm(proxy.harm)

    def arm(self, harm):
        ours = harm and (harm.link, harm.direction) == (self.link.number, self.way)
        self.harm = harm if ours else None

    def run(self):
        try:
            while self._step():
                pass
        except OSError:         # the other side has closed: so does this one
            self.link.broken()
        self.link.ended(self)

    def _step(self):
        """Passes a piece on; False: nothing follows."""
        if self.held and not select.select([self.source], [], [], MISSED_S)[0]:
            held, self.held = self.held, b""
            if self.harm and self.harm.at is not None:
                self.harm = None
            self._send(held)
        data = self.source.recv(65536)
        if self.link.lost:
            self.link.freed.wait()
            return False
        if not data:
            self._send(self.held)
            self.to.shutdown(socket.SHUT_WR)
            return False
        return self._pass(self.held + data)

    def _send(self, data):
        self.proxy.moved = time.monotonic()
        self.link.passed[self.way] += len(data)
        if self.proxy.keep:
            self.link.kept[self.way] += data
        self.to.sendall(data)

    def _pass(self, data):
        """Relays data, up to where the harm is due."""
        h, self.held = self.harm, b""
        passed = self.link.passed[self.way]
        hold = h.locate(data, passed) if h else 0
        due = len(data) - hold if not h or h.at is None else h.at - passed
        if not h or h.at is None or due > len(data) or len(data) - due < h.takes:
            self._send(data[:due])
            self.held = data[due:]
            return True
        self._send(data[:due])
        return self._harm(h, data[due:])

    def _harm(self, h, behind):
        self.harm = None
        h.done.set()
        news.ring()
        if h.takes:
            self._send(Harm.CHANGES[h.what](h, behind[:h.takes]) + behind[h.takes:])
            return True
        if h.what == "stall":
            self.proxy.released.wait()
            self._send(behind)
            return True
        if h.what == "end":
            self.to.shutdown(socket.SHUT_WR)
            return False
        if h.what == "call":
            h.call()
        self.link.cut()
        return False


class Link:
    """One connection through the relay."""

    def __init__(self, proxy, number, near, far):
        self.number = number
        self.passed = {way: 0 for way in WAYS}
        self.kept = {way: bytearray() for way in WAYS}
        self.sockets = near, far
        self.lock = threading.Lock()
        self.pumps = {Pump(proxy, self, FORWARD, near, far), Pump(proxy, self, BACKWARD, far, near)}
        self.threads = list(self.pumps)
        self.over = threading.Event()       # nothing passes any more
        self.lost = False                   # lose() has been called
        self.freed = threading.Event()      # ... and cut() after it

    def start(self):
        for pump in self.threads:
            pump.start()

    def lose(self, heard_by):
        """The network is gone: the end that reads what goes that way (FORWARD: the listening one) hears of it.

        The other one sends into the void, and hears nothing, until cut().
        """
        self.lost = True
        self.sockets[1 if heard_by == FORWARD else 0].shutdown(socket.SHUT_RDWR)

    def broken(self):
        """A socket cannot be written to: what it belongs to is over."""
        if self.lost:
            self.freed.wait()
        self.cut()

    def cut(self):
        self.freed.set()
        for s in self.sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass            # it has been closed already

    def end(self, way):
        """No more bytes come this way, and the other one still carries."""
        try:
            self.sockets[1 if way == FORWARD else 0].shutdown(socket.SHUT_WR)
        except OSError:
            pass            # it has been closed already

    def ended(self, pump):
        with self.lock:
            self.pumps.discard(pump)
            if self.pumps:
                return
        for s in self.sockets:
            s.close()
        self.over.set()
        news.ring()


class Proxy:
    """Listens on 'path'; relays each connection to 'target'. One harm at most."""

    def __init__(self, path, target, harm=None, keep=False):
        self.path, self.target, self.harm, self.keep = path, target, harm, keep
        self.links = []
        self.moved = time.monotonic()       # when bytes have passed last
        self.released = threading.Event()
        self._stop_r, self._stop_w = os.pipe()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen(16)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    @property
    def passed(self):
        """Bytes of the first link, by direction."""
        return self.links[0].passed if self.links else {way: 0 for way in WAYS}

    @property
    def kept(self):
        return self.links[0].kept

    def arm(self, harm):
        """From now on, while nothing passes: what has passed is not searched for its place."""
        self.harm = harm
        for link in self.links:
            for pump in link.threads:
                pump.arm(harm)

    def release(self):
        """Ends a stall."""
        self.released.set()

    def close(self):
        self.release()
        os.write(self._stop_w, b"x")
        self.thread.join()
        for link in self.links:
            link.cut()
            for thread in link.threads:
                thread.join()
        self.listener.close()
        os.unlink(self.path)
        os.close(self._stop_r)
        os.close(self._stop_w)

    def _serve(self):
        while True:
            ready, _, _ = select.select([self.listener, self._stop_r], [], [])
            if self._stop_r in ready:
                return
            near, _ = self.listener.accept()
            far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                far.connect(self.target)
            except OSError:
                near.close()
                far.close()
                continue
            self.links.append(Link(self, len(self.links), near, far))
            self.links[-1].start()      # what it does is found in the list


class EchoNet:
    """The far end of stream netdevs: every frame comes back, its addresses swapped.

    A frame is preceded by its length, four bytes, big-endian.
    """

    def __init__(self, path):
        self.path = path
        self.frames = 0
        self.announcements = 0      # RARP frames, which are not echoed
        self.changed = threading.Condition()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen(8)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.listener.close()

    def wait_announcement(self, guard):
        with self.changed:
            return self.changed.wait_for(lambda: self.announcements > 0, guard)

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(sock,), daemon=True).start()

    def _echo(self, sock):
        with sock, sock.makefile("rb") as reader:
            while True:
                try:
                    head = reader.read(4)
                    frame = reader.read(int.from_bytes(head, "big")) if len(head) == 4 else b""
                    if not frame:
                        return
                    if frame[12:14] == b"\x80\x35":
                        with self.changed:
                            self.announcements += 1
                            self.changed.notify_all()
                        continue
                    self.frames += 1
                    sock.sendall(head + frame[6:12] + frame[:6] + frame[12:])
                except OSError:
                    return
