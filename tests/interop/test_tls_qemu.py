"""TLS to and from QEMU 7.2, 10.0 and 11.1: the same certificates and keys, multifd, postcopy, and who is refused."""
from itertools import product

import peers
import postcopy
import tls
from case import only_minivmm, pairwise, table
from moves import arrived, destination, goes_on, machine
from recovery import Move

RELEASES = ("7.2", "10.0", "11.1")
OURS = "one end is QEMU, the other one is ours"
SECTIONS = ("-global", "migration.multifd-flush-after-each-section=on")
MODES = {"plain": (), "multifd": ("multifd",)}


def rows(*columns, **names):
    return {"_".join(row).replace(".", "_"): dict(zip(names, row)) for row in product(*columns)}


def kinds_of(t, release, way):
    theirs = peers.kind(t, release)
    return (t.kind, theirs) if way == "to" else (theirs, t.kind)


def pair(t, ends, release, way, capabilities=(), **dest_parameters):
    """Both ends, told what they use; nothing moves yet."""
    here, there = kinds_of(t, release, way)
    needs = SECTIONS if capabilities and (release, way) == ("7.2", "to") else ()
    source = machine(t, kind=here, extra=(*ends.options("client"), *needs))
    dest = destination(t, source, None, capabilities, kind=there, extra=ends.options("server"))
    source.capabilities(*capabilities)
    ends.use(source, dest, **dest_parameters)
    return source, dest


def go(t, source, dest):
    dest.cmd("migrate-incoming", uri=f"unix:{t.path('in')}")
    source.cmd("migrate", uri=f"unix:{t.path('in')}")


@only_minivmm(OURS)
@pairwise
@table(**rows(RELEASES, ("to", "from"), ("x509", "psk"), MODES, release=0, way=0, kind=0, mode=0))
def test_move(t, release, way, kind, mode):
    source, dest = pair(t, tls.Ends(t.tmp, kind), release, way, MODES[mode])
    go(t, source, dest)
    arrived(source, dest)
    t.forget(source)
    goes_on(dest)


@only_minivmm(OURS)
@table(**rows(RELEASES, ("to", "from"), release=0, way=0))
def test_postcopy(t, release, way):
    here, there = kinds_of(t, release, way)
    ends = tls.Ends(t.tmp)
    source = postcopy.start(t, kind=here, backend="tmpfs", extra=ends.options("client"))
    dest = postcopy.there(t, source, kind=there, extra=ends.options("server"))
    ends.use(source, dest)
    postcopy.begin(t, source, dest)
    postcopy.switch(source, dest)
    postcopy.finish(source, dest)
    t.forget(source)
    postcopy.runs_on(dest)


@only_minivmm(OURS)
@table(**rows(("10.0", "11.1"), ("to", "from"), ("plain", "preempt"), release=0, way=0, mode=0))
def test_recover(t, release, way, mode):
    """The new connections have TLS as well; with preempt each handshake is waited for by the other end."""
    here, there = kinds_of(t, release, way)
    ends = tls.Ends(t.tmp)
    capabilities = ("postcopy-preempt",) if mode == "preempt" else ()
    source = postcopy.start(t, kind=here, capabilities=capabilities, backend="tmpfs", extra=ends.options("client"))
    dest = postcopy.there(t, source, capabilities, kind=there, paused=True, extra=ends.options("server"))
    ends.use(source, dest)
    again = Move(t, source, dest)
    again.switch()
    again.broken(20000)
    again.recover()
    again.finish()
    again.compare()


@only_minivmm(OURS)
@table(**rows(RELEASES, ("to", "from"), release=0, way=0))
def test_name_is_asked_for(t, release, way):
    """Both write the name in a certificate in the same way: a rule for one is a rule for the other."""
    here, there = kinds_of(t, release, way)
    ends = tls.Ends(t.tmp)
    source = machine(t, kind=here, extra=ends.options("client"))
    rule = ("-object", f"authz-simple,id=who,identity={tls.CLIENT_NAME.replace(',', ',,')}")
    dest = destination(t, source, None, kind=there, extra=(*ends.options("server"), *rule))
    ends.use(source, dest, **{"tls-authz": "who"})
    go(t, source, dest)
    arrived(source, dest)
    t.forget(source)
    goes_on(dest)


@only_minivmm(OURS)
@table(**rows(RELEASES, ("to", "from"), ("plain_source", "plain_destination", "host"), release=0, way=0, what=0))
def test_refused(t, release, way, what):
    """The guest goes on at the source."""
    source, dest = pair(t, tls.Ends(t.tmp), release, way)
    if what == "host":
        tls.use(source, **{"tls-hostname": "elsewhere.example"})
    else:
        tls.use(source if what == "plain_source" else dest, "")
    go(t, source, dest)
    assert source.wait_migration("completed", "failed") == "failed", source.migration()
    assert source.status() == "running", source.status()
    if source.kind == "minivmm":
        told = source.migration()["error-desc"]
        assert {"host": "is not one of host", "plain_destination": "in the handshake",
                "plain_source": "clos"}[what] in told, told
    goes_on(source)


# In each run; --every: all rows.
test_postcopy.chosen = frozenset(("7_2_to", "11_1_from"))
test_recover.chosen = frozenset(("10_0_from_preempt", "11_1_to_preempt"))
test_name_is_asked_for.chosen = frozenset(("7_2_from", "11_1_to"))
test_refused.chosen = frozenset(("7_2_to_plain_destination", "10_0_to_plain_source", "11_1_to_host", "11_1_from_host"))
