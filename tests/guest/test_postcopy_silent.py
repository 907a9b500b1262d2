"""A destination of postcopy whose source is silent: a virtual CPU waits for a page that does not come.

The source stands still (SIGSTOP) with most of the guest's memory. The destination answers, refuses what
would wait for that memory, ends when it is told to, and puts no zeroes in place of what is missing.
"""
import os
import signal

import postcopy
import snapshots
from case import only_minivmm, table
from moves import goes_on
from qmp import QmpError
from threads import end_thread, thread_named

REASON = "QEMU 7.2 lets commands wait for pages that do not come"
LEFT = "the guest has come by postcopy, and "   # ... so many MiB are still to come
CPUS = 2


def pair(t, capabilities=(), there=(), prepare=None, **options):
    """A guest that runs at the destination, with most of its memory at the source."""
    options = {"cpus": CPUS, **options}
    source = postcopy.start(t, capabilities=capabilities, **options)
    if prepare:
        prepare(source)
    dest = postcopy.there(t, source, (*capabilities, "postcopy-blocktime"), **dict(there))
    source.cmd("migrate-set-parameters", max_postcopy_bandwidth=4096)
    postcopy.begin(t, source, dest)
    postcopy.switch(source, dest)
    return source, dest


def waits(dest):
    """Returns when some virtual CPU has waited for 200 ms at once."""
    first = {}
    while True:
        now = dest.migration()["postcopy-vcpu-blocktime"]
        for cpu, ms in enumerate(now):
            if ms - first.setdefault(cpu, ms) >= 200:
                return


def silent(t, **options):
    source, dest = pair(t, **options)
    dest.wait_running()
    source.signal(signal.SIGSTOP)
    waits(dest)
    return source, dest


def speaks_again(source, dest, cpus=CPUS):
    """The source goes on, and all of the guest is right at the destination."""
    source.signal(signal.SIGCONT)
    postcopy.finish(source, dest)
    if dest.status() != "running":
        dest.cmd("cont")
    postcopy.runs_on(dest, cpus)


@only_minivmm(REASON)
def test_monitor_answers(t):
    """All that does not need the missing memory is answered; 'stop' is carried out or refused in words."""
    source, dest = silent(t)
    for name in ("query-status", "query-cpus-fast", "query-migrate", "query-block", "query-memdev",
                 "query-migrate-parameters", "query-named-block-nodes", "query-yank"):
        dest.cmd(name)
    assert dest.migration()["status"] == "postcopy-active", dest.migration()
    try:
        dest.cmd("stop")
        assert dest.status() == "paused", dest.status()
        dest.cmd("cont")
    except QmpError as e:       # a KVM that lets no virtual CPU go
        assert "a virtual CPU waits for" in str(e), e
    dest.cmd("query-status")
    assert dest.migration()["status"] == "postcopy-active", dest.migration()
    speaks_again(source, dest)


@only_minivmm(REASON)
@table(quit={"how": "quit"}, sigterm={"how": signal.SIGTERM}, sigkill={"how": signal.SIGKILL})
def test_ends(t, how):
    """The program ends, and the source says what is lost; its guest does not run."""
    source, dest = silent(t)
    if how == "quit":
        dest.cmd("quit")
    else:
        dest.signal(how)
    assert dest.wait() == (-how if how == signal.SIGKILL else 0), dest.stderr()
    if how != signal.SIGKILL:
        assert "MB of its memory that had not come" in dest.stderr(), dest.stderr()
    source.signal(signal.SIGCONT)
    status = source.wait_migration("postcopy-paused", "failed")
    words = source.migration().get("error-desc", "")
    assert status == "postcopy-paused" or "the guest with it" in words, (status, words)
    assert source.status() in ("finish-migrate", "postmigrate"), source.status()
    refused = source.qmp.fails("cont")
    assert "migrate-recover" in refused or "x-minivmm-force" in refused, refused


REFUSED = {
    "migrate": ("migrate", {"uri": "exec:cat > /dev/null"}, "The guest cannot move on yet: " + LEFT),
    "pmemsave": ("pmemsave", {"val": 0, "size": 24 << 20, "filename": "PATH"}, "pmemsave has to wait: " + LEFT),
    "calc_dirty_rate": ("calc-dirty-rate", {"calc-time": 1}, "calc-dirty-rate has to wait: " + LEFT),
    "background": ("migrate-set-capabilities",
                   {"capabilities": [{"capability": "background-snapshot", "state": True},
                                     {"capability": "postcopy-ram", "state": False},
                                     {"capability": "postcopy-blocktime", "state": False}]},
                   "There's a migration process in progress"),
}


@only_minivmm(REASON)
@table(**{name: {"command": row[0], "arguments": row[1], "words": row[2]} for name, row in REFUSED.items()})
def test_second_operation(t, command, arguments, words):
    """What would read memory that is not there is refused by name, and is possible afterwards."""
    source, dest = silent(t)
    arguments = {k: t.path("file") if v == "PATH" else v for k, v in arguments.items()}
    said = dest.qmp.fails(command, **arguments)
    assert said.startswith(words), said
    assert words[-4:] != "and " or "MiB of its memory are still to come" in said, said
    assert not os.path.exists(t.path("file"))
    speaks_again(source, dest)
    dest.cmd(command, **arguments)


@only_minivmm(REASON)
@table(save={"what": "save"}, load={"what": "load"})
def test_snapshots(t, what):
    """A snapshot would lack memory that is not there; one that is loaded would be mixed with what comes."""
    node = {"disk0": snapshots.image(t, "disk")}
    source, dest = silent(t, extra=snapshots.disk(*list(node.items())[0]),
                          prepare=lambda vm: snapshots.do(vm, "save", "one", devices=list(node), vmstate="disk0"))
    dest.images = node
    error = snapshots.run(dest, what, "one" if what == "load" else "two").error
    assert error == "There's a migration process in progress", error
    speaks_again(source, dest)
    t.forget(source)
    snapshots.do(dest, what, "one" if what == "load" else "two")
    goes_on(dest, CPUS)


@only_minivmm(REASON)
def test_reset(t):
    """A guest that is reset while its memory is missing begins anew, when it can be had."""
    source, dest = silent(t)
    try:
        dest.cmd("system_reset")
    except QmpError as e:
        assert "a virtual CPU waits for" in str(e), e
    dest.cmd("query-status")
    source.signal(signal.SIGCONT)
    postcopy.finish(source, dest)
    dest.serial.expect("counting on")
    postcopy.runs_on(dest, CPUS)


@only_minivmm(REASON)
@table(quit={"force": False}, forced={"force": True}, sigterm={"force": None})
def test_source_ends(t, force):
    """The source has what the guest needs: 'quit' says so, and what ends it all the same says what is lost."""
    source, dest = pair(t)
    dest.wait_running()
    if force is None:
        source.signal(signal.SIGTERM)
    else:
        words = source.qmp.fails("quit")
        assert "by postcopy and needs" in words and "x-minivmm-force" in words, words
    if force is False:
        postcopy.finish(source, dest)
        source.cmd("quit")
    elif force:
        source.cmd("quit", x_minivmm_force=True)
    assert source.wait() == 0, source.stderr()
    if force is False:
        postcopy.runs_on(dest, CPUS)
        return
    assert "is lost as soon as it needs them" in source.stderr(), source.stderr()
    assert dest.wait_migration("postcopy-paused", "completed") == "postcopy-paused"
    assert "migrate-recover" in dest.qmp.fails("cont")


@only_minivmm(REASON)
@table(goes_on={"ends": False}, quits={"ends": True})
def test_fault_thread_dies(t, ends):
    """Nobody asks for pages any more: who touches one waits until it comes by itself, and sees no zero."""
    source, dest = pair(t, there={"extra": ("-name", "vm,debug-threads=on"), "paused": True})
    tid = thread_named(dest, "postcopy-fault")
    assert tid, "no fault thread"
    end_thread(tid)
    while os.path.exists(f"/proc/{dest.pid}/task/{tid}"):
        os.sched_yield()
    dest.cmd("cont")
    if ends:
        dest.signal(signal.SIGTERM)
        assert dest.wait() == 0, dest.stderr()
        return
    postcopy.finish(source, dest)
    t.forget(source)
    postcopy.runs_on(dest, CPUS)
