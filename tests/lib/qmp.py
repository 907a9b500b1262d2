"""A small QMP client: commands by name, a queue of events, descriptors with SCM_RIGHTS.

One thread uses one client. Whatever arrives while a reply or an event is awaited is kept: no event
is lost, and each is handed out once, in order.
"""
import array
import json
import os
import select
import socket
import time

GUARD = float(os.environ.get("TEST_GUARD", "60"))  # seconds without an answer after which a test has hung


class Hang(Exception):
    """Nothing came within the hang guard."""


class Closed(Exception):
    """The other side ended the connection."""


class QmpError(Exception):
    """An error reply."""

    def __init__(self, error):
        super().__init__(f"{error['class']}: {error['desc']}")
        self.cls = error["class"]
        self.desc = error["desc"]


class Qmp:
    def __init__(self, sock, negotiate=True):
        self.sock = sock
        self.text = b""
        self.ended = False    # the other side sends no more, or close() was called
        self.events = []      # not yet handed out
        self.last_id = 0
        self.greeting = self._message()
        if negotiate:
            self.cmd("qmp_capabilities")

    @classmethod
    def connect(cls, path, negotiate=True):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(path)
        return cls(sock, negotiate)

    def close(self):
        self.ended = True
        self.sock.close()

    # ---- messages ----

    def send(self, message, fds=()):
        """One message as it is (a dict, or text that need not be JSON)."""
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        rights = []
        if fds:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        try:
            sent = self.sock.sendmsg([data], rights)
            if sent < len(data):
                self.sock.sendall(data[sent:])
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Closed(str(e)) from e

    def _message(self):
        deadline = time.monotonic() + GUARD
        while b"\n" not in self.text:
            ready, _, _ = select.select([self.sock], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise Hang(f"no QMP message within {GUARD:.0f} s; unfinished: {self.text[:200]!r}")
            if not self.receive():
                raise Closed("the QMP connection was closed")
        line, self.text = self.text.split(b"\n", 1)
        return json.loads(line)

    def receive(self):
        """Takes in what there is, or waits for it; False at the end."""
        try:
            part = self.sock.recv(1 << 20)
        except ConnectionResetError:
            part = b""
        self.text += part
        self.ended = not part
        return not self.ended

    def reply(self):
        """The next message that is not an event."""
        while True:
            message = self._message()
            if "event" not in message:
                return message
            self.events.append(message)

    # ---- commands ----

    def start(self, name, fds=(), **arguments):
        """Sends a command, does not wait; '_' in argument names stands for '-'."""
        self.last_id += 1
        request = {"execute": name, "id": self.last_id}
        if arguments:
            request["arguments"] = {k.rstrip("_").replace("_", "-"): v for k, v in arguments.items()}
        self.send(request, fds)
        return self.last_id

    def cmd(self, name, fds=(), **arguments):
        """The "return" of a command; an error reply is raised as QmpError."""
        wanted = self.start(name, fds, **arguments)
        while True:
            message = self.reply()
            if message.get("id") == wanted:
                break
        if "error" in message:
            raise QmpError(message["error"])
        return message["return"]

    def fails(self, name, fds=(), **arguments):
        """The error's description; a test fails when the command succeeds."""
        try:
            got = self.cmd(name, fds, **arguments)
        except QmpError as e:
            return e.desc
        raise AssertionError(f"{name} {arguments} should have been refused, returned {got}")

    # ---- events ----

    def take_events(self):
        """Queues the events among what has been received, up to a reply; was there one?"""
        before = len(self.events)
        while b"\n" in self.text:
            line, rest = self.text.split(b"\n", 1)
            message = json.loads(line)
            if "event" not in message:
                break
            self.events.append(message)
            self.text = rest
        return len(self.events) > before

    def event(self, name, **data):
        """The next event of that name whose data has these members; earlier ones are dropped."""
        def fits(e):
            return e["event"] == name and all(e.get("data", {}).get(k) == v for k, v in data.items())
        return self.any_event(fits, f"{name} {data or ''}")

    def any_event(self, fits, what):
        while True:
            while self.events:
                e = self.events.pop(0)
                if fits(e):
                    return e
            try:
                message = self._message()
            except Hang as e:
                raise Hang(f"waiting for event {what}: {e}") from None
            if "event" in message:
                self.events.append(message)

    def names_until(self, name, **data):
        """Names of all events up to and with the one named; MIGRATION ones as 'MIGRATION status'."""
        seen = []

        def fits(e):
            d = e.get("data", {})
            tail = " " + d["status"] if e["event"] == "MIGRATION" else ""
            seen.append(e["event"] + tail)
            return e["event"] == name and all(d.get(k) == v for k, v in data.items())
        self.any_event(fits, f"{name} {data or ''}")
        return seen

    def wait_closed(self):
        """Reads until the other side closes; the events seen on the way stay in the queue."""
        try:
            while True:
                message = self._message()
                if "event" in message:
                    self.events.append(message)
        except Closed:
            pass
