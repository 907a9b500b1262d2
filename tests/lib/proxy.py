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
    after: bytes; the offset then counts from where they first occur, which is how to hit a message
    whose place differs from stream to stream.
    """

    def __init__(self, what, offset, direction=FORWARD, call=None, after=None, xor=0xFF):
        self.what, self.offset, self.direction = what, offset, direction
        self.call, self.after, self.xor = call, after, xor
        self.at = None if after else offset
        self.done = threading.Event()

    def __repr__(self):
        behind = f" behind {self.after!r}" if self.after else ""
        return f"{self.what} at {self.direction} byte {self.offset}{behind}"

    def locate(self, data, passed):
        """Looks for 'after' in what is about to pass; how many bytes at the end must wait for more."""
        if self.at is not None:
            return 0
        found = data.find(self.after)
        if found >= 0:
            self.at = passed + found + self.offset
            return 0
        for n in range(min(len(self.after) - 1, len(data)), 0, -1):
            if data.endswith(self.after[:n]):
                return n
        return 0


class Proxy:
    """Listens on 'path'; relays each connection to 'target'. One harm at most."""

    def __init__(self, path, target, harm=None, keep=False):
        self.path, self.target, self.harm = path, target, harm
        self.passed = {FORWARD: 0, BACKWARD: 0}
        self.kept = {FORWARD: bytearray(), BACKWARD: bytearray()} if keep else None
        self._held = {FORWARD: b"", BACKWARD: b""}
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
                stopped = self._relay(near, far)
            except OSError:
                stopped = False
            finally:
                near.close()
                far.close()
            if stopped:
                return

    def _relay(self, near, far):
        """Until both ways have ended, or the harm has ended them. True: told to stop."""
        ways = {near: (far, FORWARD), far: (near, BACKWARD)}
        while ways:
            ready, _, _ = select.select(list(ways) + [self._stop_r], [], [])
            if self._stop_r in ready:
                return True
            for sock in ready:
                to, way = ways[sock]
                data = sock.recv(65536)
                if not data:
                    self._send(to, way, self._held[way])
                    to.shutdown(socket.SHUT_WR)
                    del ways[sock]
                    continue
                verdict = self._pass(to, way, data)
                if verdict == "cut":
                    return False
                if verdict == "end":
                    to.shutdown(socket.SHUT_WR)
                    del ways[sock]
        return False

    def _send(self, to, way, data):
        self.passed[way] += len(data)
        if self.kept is not None:
            self.kept[way] += data
        to.sendall(data)

    def _pass(self, to, way, data):
        """Relays data, up to where the harm is due; what that means for the connection."""
        h = self.harm
        data = self._held[way] + data
        self._held[way] = b""
        if not h or h.direction != way or h.done.is_set():
            self._send(to, way, data)
            return None
        hold = h.locate(data, self.passed[way])
        if hold:
            self._held[way] = data[-hold:]
            data = data[:-hold]
        due = None if h.at is None else h.at - self.passed[way]
        if due is None or due > len(data) or (h.what == "corrupt" and due == len(data)):
            self._send(to, way, data)
            return None
        return self._harm(to, way, data[:due], data[due:])

    def _harm(self, to, way, before, behind):
        h = self.harm
        self._send(to, way, before)
        h.done.set()
        if h.what == "corrupt":
            self._send(to, way, bytes([behind[0] ^ h.xor]) + behind[1:])
            return None
        if h.what == "stall":
            self._release.wait()
            self._send(to, way, behind)
            return None
        if h.what == "call":
            h.call()
        return "end" if h.what == "end" else "cut"


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
