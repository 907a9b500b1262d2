"""Every row of the tables of capabilities, parameters, figures and commands: that it has a test, and its words."""
import os
import re
import subprocess

import rows
from case import only_minivmm, table
from moves import Way, arrived, destination, goes_on, machine
from vmm import guest_path

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OURS = "our own words"
BUSY = "There's a migration process in progress"


# ---- the tables and the program, the tables and the tests ----

def members(schema, name, path=""):
    """Names of a struct's members, with those of structs in it."""
    for m in schema[name]["members"]:
        yield path + m["name"]
        if schema[m["type"]]["meta-type"] == "object":
            yield from members(schema, m["type"], f"{path}{m['name']}.")


def same(what, there, listed):
    assert len(listed) == len(set(listed)), f"a row stands twice: {sorted(listed)}"
    there, listed = set(there), set(listed)
    assert there == listed, (f"{what} without a row in tests/lib/rows.py: {sorted(there - listed)}; "
                             f"rows of what is not there: {sorted(listed - there)}")


@only_minivmm("the table is of our members")
def test_every_row_is_listed(t):
    vm = t.vmm("idle")
    schema = {e["name"]: e for e in vm.cmd("query-qmp-schema")}

    def arg(command):
        return schema[schema[command]["arg-type"]]

    same("capabilities", (c["capability"] for c in vm.cmd("query-migrate-capabilities")),
         [*rows.CAPABILITIES, *rows.ABSENT_CAPABILITIES])
    capability = schema[arg("migrate-set-capabilities")["members"][0]["type"]]["element-type"]
    same("capabilities of the schema",
         (v["name"] for m in schema[capability]["members"] if m["name"] == "capability"
          for v in schema[m["type"]]["members"]),
         [*rows.CAPABILITIES, *rows.ABSENT_CAPABILITIES, *rows.UNLISTED_CAPABILITIES])
    same("parameters", (m["name"] for m in arg("migrate-set-parameters")["members"]),
         [*rows.PARAMETERS, *rows.ABSENT_PARAMETERS, *rows.STRUCTURED_PARAMETERS])
    same("parameters shown", vm.cmd("query-migrate-parameters"),
         [*rows.PARAMETERS, *rows.ABSENT_PARAMETERS])
    manual = subprocess.run([vm.argv[0], "-man"], capture_output=True, text=True, check=True).stdout
    chapter = manual.split(".SH PROPERTIES OF MIGRATION\n")[1].split(".SH")[0]
    same("properties", (n.replace("\\-", "-") for n in re.findall(r'^\.BR "([^"]+)" " on\|off"$', chapter, re.M)),
         list(rows.PROPERTIES))
    same("figures", members(schema, schema["query-migrate"]["ret-type"]), list(rows.FIGURES))
    same("commands", (c["name"] for c in vm.cmd("query-commands")
                      if re.search("migrat|dirty|announce", c["name"])), list(rows.COMMANDS))


def tests_of(file):
    """The tests in FOLDER/FILE, which must be run: START_TEST and CHECK_MAIN, or def."""
    path = os.path.join(TESTS, file)
    unit = file.startswith("unit/")
    with open(path + (".c" if unit else ".py"), encoding="utf-8") as f:
        text = f.read()
    if not unit:
        return set(re.findall(r"^def (test_\w+)\(", text, re.M))
    run = text[re.search(r"^CHECK_MAIN|^int main", text, re.M).start():]
    return {name for name in re.findall(r"^START_TEST\((\w+)\)", text, re.M)
            if re.search(rf"\b{name}\b", run)}


def test_every_row_has_a_test(_t):
    for name in rows.all_tests():
        file, test = name.split(":")
        assert test in tests_of(file), f"there is no test {name}"
    for table_of in (rows.CAPABILITIES, rows.UNLISTED_CAPABILITIES, rows.FIGURES, rows.COMMANDS):
        assert all(table_of.values())
    assert all(p[3] for p in rows.PARAMETERS.values())


# ---- words ----

def switch(vm, **states):
    caps = [{"capability": n.replace("_", "-"), "state": s} for n, s in states.items()]
    return vm.qmp.fails("migrate-set-capabilities", capabilities=caps)


@only_minivmm(OURS)
def test_capabilities(t):
    """What is offered can be switched on and off; what is not is refused whole, by name."""
    vm = t.vmm("idle", ring=1024, backend="anonymous")   # of which page faults can be had: background-snapshot
    for name in rows.CAPABILITIES:
        needs = {"zero-copy-send": ["multifd"], "postcopy-preempt": ["postcopy-ram"]}.get(name, [])
        for state in (True, False):
            vm.cmd("migrate-set-capabilities",
                   capabilities=[{"capability": n, "state": state} for n in [name, *needs]])
            assert {"capability": name, "state": state} in vm.cmd("query-migrate-capabilities")
    for name in rows.UNLISTED_CAPABILITIES:
        for state in (True, False):
            vm.cmd("migrate-set-capabilities",
                   capabilities=[{"capability": n, "state": state} for n in (name, "return-path")])
    for name, tail in rows.ABSENT_CAPABILITIES.items():
        words = f"Capability '{name}' is not supported by this version of minivmm{tail}"
        assert switch(vm, events=True, **{name: True}) == words
        vm.cmd("migrate-set-capabilities", capabilities=[{"capability": name, "state": False}])
    assert not any(c["state"] for c in vm.cmd("query-migrate-capabilities"))
    vm.cmd("migrate-set-capabilities", capabilities=[])
    vm.cmd("migrate-set-capabilities", capabilities=[{"capability": "xbzrle", "state": True},
                                                     {"capability": "xbzrle", "state": False}])
    assert {"capability": "xbzrle", "state": False} in vm.cmd("query-migrate-capabilities")


ZERO = "Zero copy only available for non-compressed non-TLS multifd migration"
CONFLICTS = {
    "ack_one_way": (("switchover-ack",), "Capability 'switchover-ack' requires capability 'return-path'"),
    "zero_copy_alone": (("zero-copy-send",), ZERO),
    "zero_copy_compress": (("multifd", "zero-copy-send", "compress"), ZERO),
    "zero_copy_xbzrle": (("multifd", "zero-copy-send", "xbzrle"), ZERO),
    "multifd_compress": (("multifd", "compress"), "Multifd is not compatible with compress"),
    "postcopy_shared": (("postcopy-ram", "x-ignore-shared"), "Postcopy is not compatible with ignore-shared"),
    "postcopy_mapped": (("postcopy-ram", "mapped-ram"), "Mapped-ram migration is incompatible with postcopy"),
    "postcopy_background": (("postcopy-ram", "background-snapshot"),
                            "Background-snapshot is not compatible with postcopy-ram"),
    "preempt_alone": (("postcopy-preempt",), "Postcopy preempt requires postcopy-ram"),
    "preempt_compress": (("postcopy-ram", "postcopy-preempt", "compress"),
                         "Postcopy preempt not compatible with compress"),
    "two_throttles": (("dirty-limit", "auto-converge"),
                      "Capabilities 'dirty-limit' and 'auto-converge' exclude each other: one of them "
                      "slows the guest down"),
}


@only_minivmm(OURS)
@table(**{name: {"caps": caps, "words": words} for name, (caps, words) in CONFLICTS.items()})
def test_conflicts(t, caps, words):
    """Refused together, in any order of being set; nothing changes."""
    vm = t.vmm("idle", ring=1024)
    assert switch(vm, **{c: True for c in caps}) == words
    assert not any(c["state"] for c in vm.cmd("query-migrate-capabilities"))
    vm.capabilities(*(c for c in caps[:-1] if c != "zero-copy-send"))
    assert switch(vm, **{c: True for c in caps}) == words
    vm.cmd("migrate-set-capabilities", capabilities=[{"capability": c, "state": False} for c in caps])


@only_minivmm(OURS)
def test_conflicts_of_parameters(t):
    vm = t.vmm("idle")
    vm.capabilities("multifd", "zero-copy-send")
    assert vm.qmp.fails("migrate-set-parameters", multifd_compression="zlib") == ZERO
    assert vm.cmd("query-migrate-parameters")["multifd-compression"] == "none"


def test_throttle_of_two_parameters(t):
    """Whichever of the two is set last, they are looked at together."""
    vm = t.vmm("idle")
    words = "Parameter 'max_cpu_throttle' expects an integer in the range of cpu_throttle_initial to 99"
    assert vm.qmp.fails("migrate-set-parameters", max_cpu_throttle=19) == words
    vm.cmd("migrate-set-parameters", max_cpu_throttle=40)
    assert vm.qmp.fails("migrate-set-parameters", cpu_throttle_initial=50) == words
    vm.cmd("migrate-set-parameters", cpu_throttle_initial=50, max_cpu_throttle=60)
    shown = vm.cmd("query-migrate-parameters")
    assert (shown["cpu-throttle-initial"], shown["max-cpu-throttle"]) == (50, 60), shown


@only_minivmm(OURS)
def test_parameters(t):
    """Defaults; what is out of range, of another type, or not offered is refused whole, in words."""
    vm = t.vmm("idle")
    shown = vm.cmd("query-migrate-parameters")
    for name, (default, bad, phrase, _) in rows.PARAMETERS.items():
        under = name.replace("-", "_")
        assert shown[name] == default and type(shown[name]) is type(default), (name, shown[name])
        for value in bad:
            words = vm.qmp.fails("migrate-set-parameters", **{under: value, "downtime_limit": 5} | {under: value})
            assert words == f"Parameter '{under}' expects {phrase}", words
        wrong = [] if isinstance(default, bool) else 1 if default == "" else "zz"     # "": an object, or none
        assert f"'{name}'" in vm.qmp.fails("migrate-set-parameters", **{under: wrong}), name
        vm.cmd("migrate-set-parameters", **{under: default})
    for name, (value, tail) in rows.ABSENT_PARAMETERS.items():
        words = vm.qmp.fails("migrate-set-parameters", **{name.replace("-", "_"): value})
        assert words == (f"Parameter '{name}' is not supported by this version of minivmm, beyond its "
                         f"default{tail}"), words
    assert vm.cmd("query-migrate-parameters") == shown
    assert vm.qmp.fails("migrate-set-parameters", multifd_channels=256) == \
        "Parameter 'multifd-channels' expects uint8_t"
    vm.cmd("migrate-set-parameters", max_bandwidth=-1)     # the interface wraps it
    assert vm.cmd("query-migrate-parameters")["max-bandwidth"] == (1 << 64) - 1


@only_minivmm(OURS)
def test_modes_of_cpr(t):
    """The parameter is there for managers that set it; what moves no guest is refused by name."""
    vm = t.vmm("idle")
    vm.cmd("migrate-set-parameters", mode="normal")
    for mode in ("cpr-reboot", "cpr-transfer", "cpr-exec"):
        assert vm.qmp.fails("migrate-set-parameters", mode=mode) == \
            f"Parameter 'mode' does not accept value '{mode}'"
    assert vm.cmd("query-migrate-parameters")["mode"] == "normal"


@only_minivmm(OURS)
def test_refused_migrate(t):
    vm = t.vmm("idle")
    waiting = t.vmm("idle", incoming="defer")
    assert waiting.qmp.fails("migrate", uri="exec:cat") == "Guest is waiting for an incoming migration"
    assert vm.qmp.fails("migrate", uri="exec:cat", resume=True) == \
        "Cannot resume if there is no paused migration"
    for old in ("blk", "inc"):
        words = vm.qmp.fails("migrate", uri="exec:cat", **{old: True})
        assert words == ("minivmm has no old-style (blk/-b, inc/-i) block migration: copy the disks "
                         "first, or share them"), words
    vm.capabilities("multifd", "xbzrle")
    assert vm.qmp.fails("migrate", uri="unix:/x") == \
        "Multifd sends whole pages, so xbzrle has nothing to do: switch one of them off"
    assert vm.migration() == {}


@only_minivmm(OURS)
def test_blocked_reasons(t):
    """A guest that counts on this host's clock cannot move: refused and listed with the reason."""
    vm = t.vmm("idle", extra=["-cpu", "qemu64,+invtsc"])
    info = vm.migration()
    if "blocked-reasons" not in info:
        t.skip("this host has no invariant time stamp counter to give")
    reason, = info.pop("blocked-reasons")
    assert reason == ("the guest's processor has 'invtsc', a TSC whose rate is this host's: leave it out, or "
                      "set the rate with -cpu ...,tsc-frequency=HZ"), reason
    assert info == {}
    assert vm.qmp.fails("migrate", uri="exec:cat > /dev/null") == reason
    assert vm.migration() == {"blocked-reasons": [reason]}
    ended = subprocess.run([*vm.argv[:1], "-M", "microvm", "-kernel", guest_path("idle"), "-cpu",
                            "qemu64,+invtsc", "-only-migratable", "-display", "none"],
                           capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1, ended
    assert f"disallowing migration blocker (--only-migratable) for: {reason}" in ended.stderr, ended


# ---- events and figures ----

@only_minivmm("QEMU says 'setup' unasked")
def test_events_are_asked_for(t):
    """Without the capability 'events' there are none of MIGRATION and MIGRATION_PASS."""
    source = t.vmm("counter", "pages=100 rate=2000")
    source.options = {"guest": "counter", "append": "pages=100 rate=2000"}
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    dest.cmd("migrate-set-capabilities", capabilities=[{"capability": "events", "state": False}])
    way.start(source, dest)
    while source.migration()["status"] in ("setup", "active", "device"):
        pass
    dest.qmp.event("RESUME")
    source.cmd("query-status")
    names = {e["event"] for e in source.qmp.events + dest.qmp.events}
    assert not any(n.startswith("MIGRATION") for n in names), names
    assert source.migration()["status"] == "completed"


def order(vm, last, **data):
    """The events up to one, passes in a row as one."""
    seen = vm.qmp.names_until(last, **data)
    return [n for i, n in enumerate(seen) if i == 0 or n != seen[i - 1]]


ENDS = {"cancelled": ["MIGRATION cancelling", "MIGRATION cancelled"], "failed": ["MIGRATION failed"]}


@table(**{how: {"how": how} for how in ENDS})
def test_event_order(t, how):
    """A migration that ends early: what is said, in which order; the guest does not stop for it."""
    source = machine(t, "counter", "pages=300")
    source.cmd("migrate-set-parameters", max_bandwidth=1 << 20, downtime_limit=0)
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    source.qmp.event("MIGRATION", status="setup")
    source.qmp.event("MIGRATION", status="active")
    if how == "cancelled":
        source.cmd("migrate_cancel")
    else:
        dest.kill()
    seen = [n for n in order(source, "MIGRATION", status=how) if n != "MIGRATION_PASS"]
    assert seen == ENDS[how], seen
    goes_on(source)


@only_minivmm("QEMU 7.2 counts the passes otherwise")
def test_event_order_with_a_pause(t):
    source = machine(t)
    source.capabilities("pause-before-switchover")
    way = Way(t, "unix")
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    assert order(source, "MIGRATION", status="pre-switchover") == \
        ["MIGRATION setup", "MIGRATION_PASS", "MIGRATION active", "MIGRATION_PASS", "STOP",
         "MIGRATION pre-switchover"]
    assert source.qmp.fails("migrate-set-capabilities",
                            capabilities=[{"capability": "xbzrle", "state": True}]) == BUSY
    source.cmd("migrate-continue", state="pre-switchover")
    assert order(source, "MIGRATION", status="completed") == \
        ["MIGRATION device", "MIGRATION_PASS", "MIGRATION completed"]
    dest.wait_migration("completed")
    # a state that is the one named is left as it is
    source.cmd("migrate-continue", state="completed")
    assert source.qmp.fails("migrate-continue", state="active") == \
        "Migration not in expected state: completed"


@table(cancelled={"how": "cancelled"}, switched={"how": "completed"})
def test_figures_of_other_modes(t, how):
    """Figures of postcopy and of skipped pages are there, and nothing else than 0."""
    source = machine(t)
    way = Way(t, "unix")
    if how == "cancelled":
        source.cmd("migrate-set-parameters", max_bandwidth=1 << 16, downtime_limit=1)
    dest = destination(t, source, way.incoming())
    way.start(source, dest)
    if how == "cancelled":
        source.wait_migration("active")
    else:
        arrived(source, dest)
    r = source.migration()["ram"]
    assert r["postcopy-requests"] == r["postcopy-bytes"] == r["multifd-bytes"] == 0, r
    assert 0 < r["skipped"] < r["total"] // r["page-size"], r
    assert r["dirty-sync-missed-zero-copy"] == 0 and r["page-size"] == 4096, r
    if how == "cancelled":
        source.cmd("migrate_cancel")
        source.wait_migration("cancelled")
        assert "ram" not in source.migration()
