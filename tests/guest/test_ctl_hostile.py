"""minivmm-ctl at a socket that is no monitor, or at a monitor that lies, is silent or dies: a sentence and a status."""
import os
import socket

import ctl
from case import table


def says(*parts):
    """Bytes, and then silence until the client goes."""
    def serve(connection):
        for part in parts:
            connection.sendall(part)
        connection.shutdown(socket.SHUT_WR) if parts[-1:] == (b"",) else None   # pylint: disable=expression-not-assigned
        while connection.recv(65536):
            pass
    return serve


def flood(first, again):
    """Bytes without end: none of them may be kept, and the time does not stand still for them."""
    def serve(connection):
        connection.sendall(first)
        while True:
            connection.sendall(again)
    return serve


GREETINGS = {
    "silent": (says(), 1, "does not greet"),
    "half": (says(b'{"QMP": {"version"'), 1, "does not greet"),
    "closed": (says(b""), 1, "ended the connection without a greeting"),
    "http": (says(b"HTTP/1.0 400 Bad Request\r\n\r\n"), 1, "this is not a QMP monitor"),
    "binary": (says(bytes(range(256))), 1, "this is not a QMP monitor"),
    "number": (says(b"1 "), 1, "sends JSON, but no objects"),
    "array": (says(b"[]"), 1, "sends JSON, but no objects"),
    "other": (says(b'{"hello": 1}'), 1, "neither a reply nor an event"),
    "event": (says(b'{"event": "STOP"}'), 1, "does not greet"),
    "agent": (says(b'{"return": {}}'), 1, "does not greet"),
    "no_version": (says(b'{"QMP": {}}'), 1, "no version"),
    "odd_version": (says(b'{"QMP": {"version": 7}}'), 1, "no version"),
    "deep": (says(b"[" * 100000), 1, "this is not a QMP monitor"),
    "endless": (flood(b'{"x": "' + b"y" * (1 << 20), b"y" * (1 << 20)), 1, "does not greet"),
    "brackets": (flood(b"[" * 100000, b"[" * 100000), 1, "this is not a QMP monitor"),
}


@table(**{name: {"row": row} for name, row in GREETINGS.items()})
def test_greeting(t, row):
    serve, status, text = row
    done = ctl.run(t, ctl.Peer(t, serve).ctl, "--timeout", "2", "status")
    assert done.status == status and text in done.said, done
    assert len(done.said.splitlines()) == 1, done


def test_no_socket(t):
    done = ctl.run(t, t.path("none"), "status")
    assert done.status == 1 and "there is no such socket" in done.said, done
    with open(t.path("file"), "w", encoding="ascii"):
        pass
    done = ctl.run(t, t.path("file"), "status")
    assert done.status == 1 and "nobody listens there" in done.said, done
    left = socket.socket(socket.AF_UNIX)
    left.bind(t.path("left"))
    left.close()
    done = ctl.run(t, t.path("left"), "status")
    assert done.status == 1 and "nobody listens there" in done.said, done
    datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    datagram.bind(t.path("datagram"))
    done = ctl.run(t, t.path("datagram"), "status")
    assert done.status == 1 and "a socket of another kind" in done.said, done
    done = ctl.run(t, "x" * 200, "status")
    assert done.status == 1 and "no path of a socket" in done.said, done
    done = ctl.run(t, "tcp:127.0.0.1:1", "status")
    assert done.status == 1 and "cannot connect" in done.said, done


def test_no_permission(t):
    """Root may everything: somebody else is asked."""
    t.need("root")
    peer = ctl.Peer(t, says())
    os.chmod(t.tmp, 0o755)
    os.chmod(peer.ctl, 0o600)
    done = ctl.run(t, peer.ctl, "status", user=65534)
    assert done.status == 1 and "no permission to connect to this socket" in done.said, done


REPLIES = {
    "dies": ("die", 3, "ended the connection before it answered 'query-status'"),
    "silent": (None, 3, "the peer does not answer 'query-status'"),
    "garbage": (b"\xff\xfe\0\0", 3, "this is not a QMP monitor"),
    "no_object": (b"[1]", 3, "sends JSON, but no objects"),
    "bad_error": (b'{"error": 1}', 3, "an error of it is no object"),
    "no_desc": (b'{"error": {}}', 1, "does not say why"),
    "escapes": (b'{"error": {"desc": "\\u001b[2Jgone"}}', 1, "?[2Jgone"),
    "another_id": (b'{"return": {}, "id": 99}', 3, "the peer does not answer"),
    "events": (b'{"event": "STOP", "timestamp": 0}' * 20000, 3, "the peer does not answer"),
    "flood": (ctl.FLOOD, 3, "the peer does not answer"),
    "no_event_name": (b'{"event": {}}', 3, "an event without a name"),
}


@table(**{name: {"row": row} for name, row in REPLIES.items()})
def test_reply(t, row):
    reply, status, text = row
    done = ctl.run(t, ctl.Peer(t, ctl.answers(lambda name, arguments: reply)).ctl, "--timeout", "1", "qmp", "query-status")
    assert done.status == status and text in done.said, done
    assert "\x1b" not in done.said


ODD = [{}, [], 1, "x", None, True, {"status": 1}, {"status": "x" * 5000}, {"status": "active", "ram": 1},
       {"status": "active", "ram": {"total": -1, "remaining": 1 << 63, "mbps": "fast", "dirty-sync-count": 1 << 62}},
       {"status": "active", "x-minivmm": []}, {"status": "active\x1b[2J", "x-minivmm": {"phase": 1, "percent": 10 ** 9}},
       {"status": "failed", "error-desc": "\x1b]0;x\x07"}]


def test_odd_figures(t):
    """Values of the wrong kind are as if they were not there; the peer ends it, and nobody knows who has the guest."""
    rest = list(ODD)

    def answer(name, _):
        if name == "query-migrate":
            return rest.pop(0) or {} if rest else "die"
        return [] if name == "query-migrate-capabilities" else {}
    done = ctl.run(t, ctl.Peer(t, ctl.answers(answer)).ctl, "--timeout", "5", "move", "unix:/x")
    assert done.status == 3, done
    assert "\x1b" not in done.text + done.said


def test_status_of_odd_values(t):
    for value in ODD:
        peer = ctl.Peer(t, ctl.answers(lambda name, arguments, value=value: value if value is not None else []))
        assert ctl.run(t, peer.ctl, "status").status == 0
        peer = ctl.Peer(t, ctl.answers(lambda name, arguments, value=value: [value] if value is not None else []))
        assert ctl.run(t, peer.ctl, "status").status == 0
        peer = ctl.Peer(t, ctl.answers(lambda name, arguments, value=value: [value] if value is not None else []))
        assert ctl.run(t, peer.ctl, "snapshot", "list").status == 0


def test_a_move_that_is_not_answered(t):
    """The settings were asked for, then the peer is silent, or dies, in the middle of "migrate"."""
    for reply, text in ((None, "does not answer 'migrate'"), ("die", "before it answered 'migrate'")):
        def answer(name, _, reply=reply):
            return reply if name == "migrate" else [] if name == "query-migrate-capabilities" else {}
        done = ctl.run(t, ctl.Peer(t, ctl.answers(answer)).ctl, "--timeout", "1", "move", "unix:/x")
        assert done.status == 3 and text in done.said, done


def test_a_capability_is_missing(t):
    """It is named, with the peer's version, and nothing has been set."""
    asked = []

    def answer(name, _):
        asked.append(name)
        return [{"capability": "events", "state": False}] if name == "query-migrate-capabilities" else {}
    done = ctl.run(t, ctl.Peer(t, ctl.answers(answer)).ctl, "move", "--multifd", "4", "unix:/x")
    assert (done.status, done.said) == (1, "minivmm-ctl: --multifd: QEMU 7.2.0 has no capability 'multifd'"), done
    assert asked == ["query-migrate-capabilities"], asked
