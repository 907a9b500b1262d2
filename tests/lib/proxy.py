"""A relay between two unix sockets that can harm what passes: cut, stall, corrupt, at a byte offset.

"forward" is from the side that connects (the source of a migration) to the side that listens. All
offsets count the bytes of one direction over all connections. What passes is counted and, on
request, kept.
"""
import os
import select
import socket
import threading

FORWARD, BACKWARD = "forward", "backward"


class Harm:
    """What to do when 'offset' bytes of one direction have passed.

    what: "cut" (end the connection both ways), "end" (only say no more bytes come this way),
    "stall" (pass nothing more until release()), "corrupt" (change the byte at the offset),
    "call" (call(): for instance kill the peer; nothing more passes after it).
    """

    def __init__(self, what, offset, direction=FORWARD, call=None, xor=0xFF):
        self.what, self.offset, self.direction = what, offset, direction
        self.call, self.xor = call, xor
        self.done = threading.Event()

    def __repr__(self):
        return f"{self.what} at {self.direction} byte {self.offset}"


class Proxy:
    """Listens on 'path'; relays each connection to 'target'. One harm at most."""

    def __init__(self, path, target, harm=None, keep=False):
        self.path, self.target, self.harm = path, target, harm
        self.passed = {FORWARD: 0, BACKWARD: 0}
        self.kept = {FORWARD: bytearray(), BACKWARD: bytearray()} if keep else None
        self._release = threading.Event()
        self._stop_r, self._stop_w = os.pipe()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen(4)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def release(self):
        """Ends a stall."""
        self._release.set()

    def close(self):
        self._release.set()
        os.write(self._stop_w, b"x")
        self.thread.join()
        self.listener.close()
        os.unlink(self.path)
        os.close(self._stop_r)
        os.close(self._stop_w)

    # ---- the relay's thread ----

    def _serve(self):
        while True:
            ready, _, _ = select.select([self.listener, self._stop_r], [], [])
            if self._stop_r in ready:
                return
            near, _ = self.listener.accept()
            far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                far.connect(self.target)
                alive = self._relay(near, far)
            except OSError:
                alive = True
            finally:
                near.close()
                far.close()
            if not alive:
                return

    def _relay(self, near, far):
        """False: told to stop."""
        open_ways = {near: (far, FORWARD), far: (near, BACKWARD)}
        while open_ways:
            ready, _, _ = select.select(list(open_ways) + [self._stop_r], [], [])
            if self._stop_r in ready:
                return False
            for sock in ready:
                to, way = open_ways[sock]
                try:
                    data = sock.recv(self._at_most(way))
                except OSError:
                    return True
                if not data:
                    self._shut(to)
                    del open_ways[sock]
                    continue
                if not self._pass(data, to, way):
                    return True
                if self._due(way) and not self._do_harm(to, way, open_ways, sock):
                    return True
        return True

    def _at_most(self, way):
        """Stop exactly at the harm's offset."""
        h = self.harm
        if not h or h.direction != way or h.done.is_set():
            return 65536
        limit = h.offset - self.passed[way] + (1 if h.what == "corrupt" else 0)
        return max(1, min(65536, limit))

    def _pass(self, data, to, way):
        h = self.harm
        if h and h.direction == way and not h.done.is_set():
            at = h.offset - self.passed[way]
            if h.what == "corrupt" and 0 <= at < len(data):
                data = data[:at] + bytes([data[at] ^ h.xor]) + data[at + 1:]
                h.done.set()
            elif h.offset == 0 and not self._do_harm(to, way, None, None):
                return False        # before the first byte
        self.passed[way] += len(data)
        if self.kept is not None:
            self.kept[way] += data
        try:
            to.sendall(data)
        except OSError:
            return False
        return True

    def _due(self, way):
        h = self.harm
        return h and h.direction == way and not h.done.is_set() and h.what != "corrupt" and \
            self.passed[way] >= h.offset

    def _do_harm(self, to, way, open_ways, sock):
        """True: go on relaying."""
        h = self.harm
        h.done.set()
        if h.what == "stall":
            self._release.wait()
            return True
        if h.what == "end" and open_ways:
            self._shut(to)
            del open_ways[sock]
            return True
        if h.what == "call":
            h.call()
        return False

    @staticmethod
    def _shut(sock):
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass


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
