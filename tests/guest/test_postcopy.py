"""Postcopy between two machines alike: RAM back end x preempt x multifd x tracker x channel x when."""
import os
import signal
import time
from itertools import product

import postcopy
from case import only_minivmm, table
from moves import Way, arrived, destination, goes_on, machine
from pairwise import choose
from qmp import GUARD

CAPABILITIES = {"plain": (), "preempt": ("postcopy-preempt",), "multifd": ("multifd",),
                "multifd_preempt": ("multifd", "postcopy-preempt")}
COLUMNS = ("backend", "mode", "tracker", "scheme", "when", "cpus")
ROWS = {"_".join(map(str, row)): dict(zip(COLUMNS, row))
        for row in product(postcopy.BACKENDS, CAPABILITIES, ("log", "ring"), ("unix", "tcp"),
                           postcopy.PASSES, (1, 2))}


def pair(t, row, **more):
    """Both ends, in precopy."""
    backend, mode, tracker, scheme, when, cpus = row
    if t.kind == "qemu" and "multifd" in mode:
        t.skip("a destination of QEMU 7.2 with multifd aborts at the end of postcopy")
    if t.kind == "qemu" and tracker == "ring":
        t.skip("QEMU 7.2 loses what is in the dirty ring when its guest stops for postcopy")
    options = dict(postcopy.memory(t, backend), cpus=cpus, ring=1024 if tracker == "ring" else None)
    capabilities = CAPABILITIES[mode]
    source = postcopy.start(t, capabilities=capabilities, **options)
    dest = postcopy.there(t, source, capabilities, **more)
    postcopy.begin(t, source, dest, scheme, when)
    return source, dest


@table(**ROWS)
def test_same_memory(t, cpus, backend, **row):
    """The guest is stopped where it arrives: all its memory is the same, and it goes on when it may."""
    with postcopy.room(t, backend):
        source, dest = pair(t, (backend, *row.values(), cpus), paused=True)
        postcopy.switch(source, dest)
        postcopy.finish(source, dest)
        postcopy.compare(source, dest, cpus)
        t.forget(source)
        dest.cmd("cont")
        goes_on(dest, cpus)


@table(**ROWS)
def test_runs_ahead(t, cpus, backend, **row):
    """The guest runs before its memory is there, asks for what it needs, and finds nothing wrong."""
    with postcopy.room(t, backend):
        source, dest = pair(t, (backend, *row.values(), cpus))
        postcopy.switch(source, dest)
        dest.wait_running()
        postcopy.finish(source, dest, postcopy.SWEEP)
        assert row["when"] == "late" or postcopy.requests(source) > 0, source.migration()   # a starved guest writes little
        t.forget(source)
        postcopy.runs_on(dest, cpus)


# The two differ in one thing: the rows in which every two settings meet are shared out between them.
MODES = list(CAPABILITIES)
test_same_memory.chosen, test_runs_ahead.chosen = (frozenset(
    name for name in choose(ROWS)
    if (MODES.index(ROWS[name]["mode"]) + postcopy.BACKENDS.index(ROWS[name]["backend"])) % 2 == i) for i in range(2))


def waits_for_pages(vm):
    """One of its threads waits for a page that is missing: the kernel says in what a thread sleeps."""
    for thread in os.listdir(f"/proc/{vm.pid}/task"):
        try:
            with open(f"/proc/{vm.pid}/task/{thread}/wchan", encoding="ascii") as f:
                if f.read() == "handle_userfault":
                    return True
        except FileNotFoundError:
            pass            # it has ended
    return False


def stand_still(source, dest):
    """SIGSTOP for the source, in postcopy, until the destination's guest waits for a page of it."""
    postcopy.switch(source, dest)
    dest.wait_running()
    source.signal(signal.SIGSTOP)
    deadline = time.monotonic() + GUARD
    while not waits_for_pages(dest):
        assert time.monotonic() < deadline, "the guest needs no page"


@table(plain={"mode": "plain"}, preempt={"mode": "preempt"})
def test_source_stands_still(t, mode):
    """SIGSTOP: the guest waits for a page, its monitor does not; then everything goes on."""
    t.need("root")
    source, dest = pair(t, ("anonymous", mode, "log", "unix", "early", 1))
    stand_still(source, dest)
    for command in ("query-status", "query-migrate", "query-cpus-fast", "query-migrate-parameters"):
        dest.cmd(command)
    assert dest.migration()["status"] == "postcopy-active", dest.migration()
    assert waits_for_pages(dest)
    source.signal(signal.SIGCONT)
    postcopy.finish(source, dest)
    t.forget(source)
    postcopy.runs_on(dest)


@table(plain={"mode": "plain"}, preempt={"mode": "preempt"})
def test_never_started(t, mode):
    """postcopy-ram is on and nobody starts it: an ordinary move, completed at both ends."""
    capabilities = ("postcopy-ram", "return-path", *CAPABILITIES[mode])
    source, way = machine(t, backend="tmpfs"), Way(t, "unix")
    source.capabilities(*capabilities)
    dest = destination(t, source, way.incoming(), capabilities)
    way.start(source, dest)
    arrived(source, dest)
    t.forget(source)
    goes_on(dest, 1)


def processors(vm, name):
    """Of the thread with that name: those that it may run on; None: there is no such thread (any more)."""
    for thread in os.listdir(f"/proc/{vm.pid}/task"):
        try:
            with open(f"/proc/{vm.pid}/task/{thread}/status", encoding="ascii") as f:
                status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        except FileNotFoundError:
            continue
        if status["Name"] == name:
            return status["Cpus_allowed_list"]
    return None


@only_minivmm("QEMU's threads run where they like")
@table(beside={"floats": False}, anywhere={"floats": True})
def test_where_faults_are_handled(t, floats):
    """Where the vCPU is that waits, unless x-minivmm-fault-float is on."""
    t.need("root")
    extra = ("-name", "debug-threads=on", "-global",
             f"migration.x-minivmm-fault-float={'on' if floats else 'off'}")
    source, dest = pair(t, ("anonymous", "plain", "log", "unix", "early", 1), extra=extra)
    stand_still(source, dest)
    deadline = time.monotonic() + GUARD
    everywhere = processors(dest, "minivmm")
    while not floats and not processors(dest, "postcopy-fault").isdigit():
        assert time.monotonic() < deadline, processors(dest, "postcopy-fault")
    assert not floats or processors(dest, "postcopy-fault") == everywhere
    source.signal(signal.SIGCONT)
    postcopy.finish(source, dest)
    t.forget(source)
    postcopy.runs_on(dest)
