"""Moves over TLS: every kind of credentials, every kind of channel, and all who are not let in."""
import os
import socket

import postcopy
import ram
import tls
from case import only_minivmm, table
from moves import Way, arrived, destination, goes_on, listen, machine, wait_end_or_failure
from proxy import BACKWARD, FORWARD, Harm
from recovery import Move

KEY = "feedface0123456789abcdef01234567"


def begin(t, kind="x509", capabilities=(), **dest_parameters):
    """A source and a destination that do not move yet."""
    ends = tls.Ends(t.tmp, kind)
    source = machine(t, extra=ends.options("client"))
    dest = destination(t, source, None, capabilities, extra=ends.options("server"))
    source.capabilities(*capabilities)
    ends.use(source, dest, **dest_parameters)
    return ends, source, dest


def move(t, source, dest, scheme="unix"):
    way = Way(t, scheme)
    listen(dest, way.incoming())
    way.start(source, dest)


@table(**{f"{kind}_{scheme}": {"kind": kind, "scheme": scheme}
          for kind, scheme in (("x509", "unix"), ("x509", "tcp"), ("x509", "fd"), ("psk", "unix"), ("anon", "tcp"))})
def test_move(t, kind, scheme):
    _, source, dest = begin(t, kind)
    move(t, source, dest, scheme)
    arrived(source, dest)
    t.forget(source)
    goes_on(dest)


def test_nothing_is_readable(t):
    """Neither what a stream begins with nor what a page holds is seen on the way."""
    _, source, dest = begin(t)
    ram.write(source, 21 << 20, b"plain to see " * 300)
    proxy = t.proxy(t.path("in"), keep=True)
    listen(dest, f"unix:{proxy.target}")
    source.cmd("migrate", uri=f"unix:{proxy.path}")
    arrived(source, dest)
    said = proxy.kept[FORWARD] + proxy.kept[BACKWARD]
    assert len(said) > 100000 and b"QEVM" not in said and b"plain to see" not in said


@table(none={"method": "none"}, zstd={"method": "zstd"})
def test_multifd(t, method):
    _, source, dest = begin(t, capabilities=("multifd",))
    for vm in (source, dest):
        vm.cmd("migrate-set-parameters", multifd_channels=4, multifd_compression=method)
    move(t, source, dest)
    arrived(source, dest)
    t.forget(source)
    goes_on(dest)


@only_minivmm("a command is two ways there as well, but leaves the relay running")
def test_through_a_command(t):
    """Its input and its output are the connection then."""
    _, source, dest = begin(t)
    path = t.path("in")
    listen(dest, f"unix:{path}")
    relay = ("import os,socket,sys,threading\n"
             "s=socket.socket(socket.AF_UNIX)\n"
             f"s.connect('{path}')\n"
             "def f():\n"
             "  while b:=os.read(0,65536): s.sendall(b)\n"
             "  s.shutdown(1)\n"
             "threading.Thread(target=f,daemon=True).start()\n"
             "while b:=s.recv(65536): os.write(1,b)\n")
    with open(t.path("relay.py"), "w", encoding="ascii") as f:
        f.write(relay)
    source.cmd("migrate", uri=f"exec:exec python3 {t.path('relay.py')}")
    arrived(source, dest)
    t.forget(source)
    goes_on(dest)


# ---- postcopy ----

def begin_postcopy(t, capabilities=(), **options):
    ends = tls.Ends(t.tmp)
    source = postcopy.start(t, capabilities=capabilities, extra=ends.options("client"))
    dest = postcopy.there(t, source, capabilities, **{"paused": True, "extra": ends.options("server"), **options})
    ends.use(source, dest)
    return source, dest


@table(plain={"capabilities": ()}, preempt={"capabilities": ("postcopy-preempt",)})
def test_postcopy(t, capabilities):
    """The guest runs, and its requests come back on the connection that pages go over."""
    source, dest = begin_postcopy(t, capabilities, paused=False)
    postcopy.begin(t, source, dest)
    postcopy.switch(source, dest)
    postcopy.finish(source, dest)
    t.forget(source)
    postcopy.runs_on(dest)


@table(plain={"capabilities": ()}, preempt={"capabilities": ("postcopy-preempt",)})
def test_recover(t, capabilities):
    """The new connections are encrypted, too."""
    source, dest = begin_postcopy(t, capabilities)
    again = Move(t, source, dest)
    again.switch()
    again.broken(20000)
    again.recover()
    again.finish()
    again.compare()


# ---- who is not let in ----

def refused(source, *words):
    """The source says why, and its guest goes on."""
    assert source.wait_migration("completed", "failed") == "failed", source.migration()
    told = source.migration()["error-desc"]
    for word in words:
        assert word in told, told
    assert source.status() == "running", source.status()
    goes_on(source)


def still_there(t, ends, dest):
    """... and the destination takes the right one."""
    source = machine(t, extra=ends.options("client"))
    tls.use(source, **({"tls-hostname": tls.HOST} if ends.kind == "x509" else {}))
    path = dest.path
    source.cmd("migrate", uri=f"unix:{path}")
    arrived(source, dest)
    t.forget(source)
    goes_on(dest)


def wait_refusal(dest, text):
    """On its stderr."""
    while text not in dest.stderr():
        assert dest.alive()
        os.sched_yield()


def offer(t, dest):
    dest.path = t.path("in")
    dest.cmd("migrate-incoming", uri=f"unix:{dest.path}")


@only_minivmm("what is said is ours")
@table(authority={"who": "authority", "source_says": "alert", "dest_says": "is not signed by an authority"},
       expired={"who": "expired", "source_says": "alert", "dest_says": "has expired"},
       denied={"who": "denied", "source_says": "Access was denied", "dest_says": "not let in by 'tls-authz'"})
def test_source_is_not_let_in(t, who, source_says, dest_says):
    """The destination says who it was and goes on waiting."""
    ends = tls.Ends(t.tmp)
    allowed = tls.CLIENT_NAME if who != "denied" else "CN=somebody else"
    good = machine(t, extra=ends.options("client"))
    dest = destination(t, good, None,
                       extra=ends.options("server") + ("-object", f"authz-simple,id=who,identity={allowed.replace(',', ',,')}"))
    t.forget(good)
    tls.use(dest, **{"tls-authz": "who"})
    offer(t, dest)
    other = ends.authority if who != "authority" else tls.Authority(t.path("other"))
    folder = other.credentials(t.path("stranger"), "client", days=("-5d", "-1d") if who == "expired" else ("-1d", "+5d"))
    if who == "authority":      # it trusts the destination all the same
        os.unlink(os.path.join(folder, "ca-cert.pem"))
        os.symlink(ends.authority.file("ca-cert.pem"), os.path.join(folder, "ca-cert.pem"))
    source = machine(t, extra=tls.creds("x509", "client", folder, sanity_check="off"))
    tls.use(source, **{"tls-hostname": tls.HOST})
    source.cmd("migrate", uri=f"unix:{dest.path}")
    refused(source, "TLS: the destination refuses this end", source_says)
    wait_refusal(dest, dest_says)
    if who != "denied":
        still_there(t, ends, dest)


@only_minivmm("what is said is ours")
@table(host={"who": "host", "says": "is not one of host 'elsewhere.example'"},
       authority={"who": "authority", "says": "is not signed by an authority"},
       expired={"who": "expired", "says": "has expired"},
       no_name={"who": "no_name", "says": "set 'tls-hostname'"})
def test_destination_is_not_the_right_one(t, who, says):
    ends, source, dest = begin(t)
    if who == "expired":
        dest.cmd("quit")
        dest.wait()
        folder = ends.authority.credentials(t.path("old"), "server", days=("-5d", "-1d"))
        dest = destination(t, source, None, extra=tls.creds("x509", "server", folder, sanity_check="off"))
        tls.use(dest)
    if who == "authority":
        t.forget(source)
        folder = tls.Authority(t.path("other")).credentials(t.path("stranger"), "client")
        source = machine(t, extra=tls.creds("x509", "client", folder))
    tls.use(source, **{"tls-hostname": {"host": "elsewhere.example", "no_name": ""}.get(who, tls.HOST)})
    offer(t, dest)
    source.cmd("migrate", uri=f"unix:{dest.path}")
    refused(source, says)


@only_minivmm("what is said is ours")
@table(source={"plain": "source"}, destination={"plain": "dest"})
def test_one_end_has_none(t, plain):
    ends, source, dest = begin(t)
    tls.use(source if plain == "source" else dest, "")
    offer(t, dest)
    source.cmd("migrate", uri=f"unix:{dest.path}")
    if plain == "source":
        refused(source, "closed the connection")
        wait_refusal(dest, "the source does not use it on this connection")
        still_there(t, ends, dest)
    else:
        refused(source, "the destination closed the connection in the handshake")
        assert "as TLS does: 'tls-creds' is not set here" in wait_end_or_failure(dest) + dest.stderr()


@only_minivmm("what is said is ours")
@table(user={"user": "stranger", "key": KEY}, key={"user": "qemu", "key": KEY})
def test_psk_of_somebody_else(t, user, key):
    ends = tls.Ends(t.tmp, "psk")
    folder = tls.keys(t.path("other"), **{user: key})
    source = machine(t, extra=tls.creds("psk", "client", folder, username=user))
    dest = destination(t, source, None, extra=ends.options("server"))
    ends.use(source, dest)
    offer(t, dest)
    source.cmd("migrate", uri=f"unix:{dest.path}")
    refused(source, "TLS: ")
    wait_refusal(dest, "a connection to the incoming migration was refused: TLS: ")
    still_there(t, ends, dest)


@only_minivmm("what is said is ours")
def test_names(t):
    """Objects that are not there, or not what they should be: the guest goes on."""
    ends, source, dest = begin(t)
    offer(t, dest)
    for name, says in (("nope", "No TLS credentials with id 'nope'"),
                       ("who", "Object with id 'who' is not TLS credentials")):
        t.forget(source)
        source = machine(t, extra=ends.options("client") + ("-object", "authz-simple,id=who,identity=x"))
        tls.use(source, name)
        source.cmd("migrate", uri=f"unix:{dest.path}")
        refused(source, says)
    tls.use(source, **{"tls-hostname": tls.HOST})
    error = source.qmp.fails("migrate", uri=f"file:{t.path('file')}")
    assert "a file is none" in error, error


# ---- in the handshake ----

def silent(t):
    """An address where somebody accepts, and says nothing."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(t.path("silent"))
    listener.listen()
    return listener


@only_minivmm("QEMU's source waits for ever")
@table(cancel={"how": "cancel"}, timeout={"how": "timeout"}, yank={"how": "yank"}, deadline={"how": "deadline"})
def test_silent_in_the_handshake(t, how):
    ends = tls.Ends(t.tmp)
    source = machine(t, extra=ends.options("client"))
    tls.use(source, **{"tls-hostname": tls.HOST})
    with silent(t) as listener:
        if how == "timeout":
            source.cmd("migrate-set-parameters", **{"x-minivmm-peer-timeout": 1})
        if how == "deadline":
            source.cmd("migrate-set-parameters", **{"x-minivmm-deadline": 1})
        source.cmd("migrate", uri=f"unix:{t.path('silent')}")
        with listener.accept()[0] as there:
            assert there.recv(1) == b"\x16"     # the greeting
            if how == "cancel":
                source.cmd("migrate_cancel")
            if how == "yank":
                source.cmd("yank", instances=[{"type": "migration"}])
            wanted = "cancelled" if how == "cancel" else "failed"
            assert source.wait_migration("cancelled", "failed") == wanted, source.migration()
            if how == "timeout":
                assert "handshake of TLS for 1 s" in source.migration()["error-desc"]
    assert source.status() == "running"
    goes_on(source)


@only_minivmm("QEMU's source waits for ever")
@table(**{f"{'from' if way == FORWARD else 'to'}_the_source_at_{at}": {"way": way, "at": at}
          for way, at in ((FORWARD, 1), (FORWARD, 300), (FORWARD, 900), (BACKWARD, 1), (BACKWARD, 200), (BACKWARD, 900))})
def test_cut_in_the_handshake(t, way, at):
    """The destination goes on waiting, and takes the next one."""
    ends, source, dest = begin(t)
    offer(t, dest)
    proxy = t.proxy(dest.path, Harm("cut", at, way))
    source.cmd("migrate", uri=f"unix:{proxy.path}")
    refused(source)
    still_there(t, ends, dest)


@only_minivmm("only ours has a limit")
def test_silent_source(t):
    """One that has connected and says nothing does not keep the right one out."""
    ends, _, dest = begin(t)
    offer(t, dest)
    with socket.socket(socket.AF_UNIX) as first:
        first.connect(dest.path)
        still_there(t, ends, dest)


def only(test, *rows):
    """In each run; --every: all rows."""
    test.chosen = frozenset(rows)


only(test_move, "x509_tcp", "psk_unix", "anon_tcp")
only(test_multifd, "none")
only(test_postcopy, "preempt")
only(test_recover, "preempt")
only(test_source_is_not_let_in, "expired", "denied")
only(test_destination_is_not_the_right_one, "host", "authority")
only(test_psk_of_somebody_else, "key")
only(test_silent_in_the_handshake, "cancel", "timeout", "yank")
only(test_cut_in_the_handshake, "from_the_source_at_300", "to_the_source_at_200")
