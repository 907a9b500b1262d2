"""The interface's names, and their shapes as QEMU 7.2 has them: types, members, what is optional, features, values.

The commands and events of the contract are walked in QEMU's schema; whatever is found there has to be in ours.
What is in ours besides came later, or is our own.
"""
from case import only_minivmm

OURS = "our schema is compared"

COMMANDS = """
migrate migrate_cancel migrate-continue migrate-incoming migrate-start-postcopy migrate-recover migrate-pause
migrate-set-capabilities query-migrate-capabilities migrate-set-parameters query-migrate-parameters query-migrate
client_migrate_info x-colo-lost-heartbeat query-colo-status xen-save-devices-state xen-load-devices-state
xen-set-global-dirty-log xen-set-replication query-xen-replication-status xen-colo-do-checkpoint calc-dirty-rate
query-dirty-rate set-vcpu-dirty-limit cancel-vcpu-dirty-limit query-vcpu-dirty-limit snapshot-save snapshot-load
snapshot-delete announce-self yank query-yank query-jobs job-pause job-resume job-cancel job-complete job-finalize
job-dismiss query-status cont stop system_reset system_powerdown quit qmp_capabilities query-version query-commands
query-qmp-schema query-kvm query-name query-uuid query-cpus-fast query-memory-size-summary query-memdev query-block
query-named-block-nodes query-blockstats query-chardev getfd closefd human-monitor-command pmemsave query-target
query-current-machine query-balloon balloon block_resize blockdev-del query-vm-generation-id
""".split()
EVENTS = """
MIGRATION MIGRATION_PASS COLO_EXIT UNPLUG_PRIMARY FAILOVER_NEGOTIATED JOB_STATUS_CHANGE STOP RESUME SHUTDOWN RESET
POWERDOWN SUSPEND SUSPEND_DISK WAKEUP GUEST_PANICKED BLOCK_IO_ERROR RTC_CHANGE BALLOON_CHANGE NIC_RX_FILTER_CHANGED
VSERPORT_CHANGE NETDEV_STREAM_CONNECTED NETDEV_STREAM_DISCONNECTED
""".split()
# QEMU has removed them itself.
REMOVED = "migrate_set_downtime migrate_set_speed migrate-set-cache-size query-migrate-cache-size query-events".split()

# No command leads to these in QEMU's schema; the words are those of its documentation.
LOOSE = {
    "COLOMessage": "checkpoint-ready checkpoint-request checkpoint-reply vmstate-send vmstate-size vmstate-received "
                   "vmstate-loaded",
    "FailoverStatus": "none require active completed relaunch",
    "JobVerb": "cancel pause resume set-speed complete dismiss finalize",
}

# Where ours is narrower, and why it stays so.
NARROWER = {
    "query-block->[].inserted.image.format-specific": "formats that minivmm does not read",
    "query-block->[].inserted.image.format-specific.type": "formats that minivmm does not read",
    "query-block->[].inserted.image.format-specific(qcow2).data.encrypt": "encrypted images are refused",
    "query-blockstats->[].driver-specific": "there are no such figures",
    "query-blockstats->[].backing": "backing files are only read, and their requests are counted above",
    "query-cpus-fast->[]": "s390x's variant",
}
# Since 8.2 'channels' may be in the place of 'uri'.
OPTIONAL_NOW = {"migrate.uri", "migrate-incoming.uri"}


def schema_of(vm):
    listed = vm.cmd("query-qmp-schema")
    names = [e["name"] for e in listed]
    assert len(names) == len(set(names))
    return {e["name"]: e for e in listed}


class Walk:
    """Through QEMU's types, beside ours; 'missing' are the paths of what is not in ours, or is otherwise."""

    def __init__(self, ours, theirs):
        self.ours, self.theirs = ours, theirs
        self.seen, self.missing = set(), {}

    def differs(self, path, what):
        if path not in NARROWER:
            self.missing[path] = what

    def features(self, path, here, there):
        """Theirs, and perhaps "deprecated", by a release that came later."""
        extra = set(here.get("features", [])) ^ set(there.get("features", []))
        if extra - ({"deprecated"} & set(here.get("features", []))):
            self.differs(path, f"features {extra}")

    def entry(self, name):
        if name not in self.theirs:
            raise AssertionError(f"QEMU has no {name}")
        if name not in self.ours:
            self.missing[name] = "not there"
            return
        here, there = self.ours[name], self.theirs[name]
        self.features(name, here, there)
        if here.get("allow-oob") != there.get("allow-oob"):
            self.differs(name, "allow-oob")
        self.types(here["arg-type"], there["arg-type"], name)
        if "ret-type" in there:
            self.types(here["ret-type"], there["ret-type"], name + "->")

    def types(self, a, b, path):
        if (a, b) in self.seen:
            return
        self.seen.add((a, b))
        here, there = self.ours[a], self.theirs[b]
        meta = there["meta-type"]
        if here["meta-type"] != meta or meta == "builtin" and a != b:
            self.differs(path, f"{here['meta-type']} {a}, not {meta} {b}")
        elif meta == "array":
            self.types(here["element-type"], there["element-type"], path + "[]")
        elif meta == "alternate":
            if {m["type"] for m in here["members"]} != {m["type"] for m in there["members"]}:
                self.differs(path, "alternates")
        elif meta in ("enum", "object"):
            self.members(here, there, path)

    def members(self, here, there, path):
        known = {m["name"]: m for m in here["members"]}
        for m in there["members"]:
            where = f"{path}.{m['name']}"
            if m["name"] not in known:
                self.differs(path if there["meta-type"] == "enum" or path in NARROWER else where, "not there")
                continue
            mine = known[m["name"]]
            self.features(where, mine, m)
            if ("default" in mine) != ("default" in m) and where not in OPTIONAL_NOW:
                self.differs(where, "optional")
            if "type" in m:
                self.types(mine["type"], m["type"], where)
        if here.get("tag") != there.get("tag"):
            self.differs(path, "tag")
        cases = {v["case"]: v["type"] for v in here.get("variants", [])}
        for v in there.get("variants", []):
            if v["case"] in cases:
                self.types(cases[v["case"]], v["type"], f"{path}({v['case']})")
            else:
                self.differs(path, f"case {v['case']}")


@only_minivmm(OURS)
def test_shapes(t):
    ours_vm = t.vmm("idle")
    ours = schema_of(ours_vm)
    theirs = schema_of(t.vmm("idle", kind="qemu"))
    walk = Walk(ours, theirs)
    for name in COMMANDS + EVENTS:
        walk.entry(name)
    assert not walk.missing, "\n".join(f"{path}: {what}" for path, what in sorted(walk.missing.items()))
    assert not [n for n in REMOVED if n in ours]
    enums = [e["values"] for e in ours.values() if e["meta-type"] == "enum"]
    for name, words in LOOSE.items():
        assert words.split() in enums, name
    parameters = [m["name"] for m in ours[ours["migrate-set-parameters"]["arg-type"]]["members"]]
    assert sorted(parameters) in [sorted(e) for e in enums], "MigrationParameter"
    for name, entry in theirs.items():              # each command is there, or is refused with what to use
        if entry["meta-type"] == "command" and name not in ours:
            said = ours_vm.qmp.fails(name)
            assert said.startswith(f"The command {name} has not been found: "), said
    # what both have besides: nothing is advertised with another shape than theirs
    others = Walk(ours, theirs)
    for name, entry in ours.items():
        if entry["meta-type"] == "command" and name in theirs and "allow-oob" in theirs[name]:
            others.entry(name)
    assert not others.missing, others.missing


def sections(data):
    """Name and length of each in a file of devices."""
    assert data.startswith(b"QEVM\0\0\0\3") and data.endswith(b"\0")
    found, at = {}, 8
    while at < len(data) - 1:
        assert data[at] == 4, hex(at)           # FULL: id, name, instance, version; a footer with the id behind it
        footer = b"\x7e" + data[at + 1:at + 5]
        name = data[at + 6:at + 6 + data[at + 5]]
        instance = data[at + 6 + len(name):][:4]
        end = data.index(footer, at + 14 + len(name)) + 5
        while data[end] not in (0, 4):
            end = data.index(footer, end) + 5
        found[name.decode(), instance] = end - at
        at = end
    return found


@only_minivmm("QEMU loads no such file but under Xen")
def test_device_file(t):
    """What QEMU's xen-save-devices-state writes has the sections of ours, each as long, and is loaded here."""
    def saved(vm):
        path = t.path(f"devices.{vm.kind}")
        vm.serial.expect("counting on")
        vm.cmd("stop")
        vm.cmd("xen-save-devices-state", filename=path)
        with open(path, "rb") as f:
            return path, sections(f.read())
    ours = t.vmm("counter", "pages=10 rate=100")
    _, mine = saved(ours)
    path, found = saved(t.vmm("counter", "pages=10 rate=100", kind="qemu"))
    assert list(mine) == list(found), (mine, found)
    differ = {n for n in mine if mine[n] != found[n]}
    assert differ <= {("fw_cfg", b"\0\0\0\0")}, differ     # QEMU's tells of tables that its firmware copies
    ours.cmd("xen-load-devices-state", filename=path)
