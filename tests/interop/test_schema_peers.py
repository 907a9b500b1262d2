"""Our schema beside that of newer QEMU: what it has dropped is marked deprecated, what it marks is marked here.

The interface is that of QEMU 7.2: what later releases removed stays, and says so.
"""
import peers
from case import only_minivmm, table

OURS = "our schema is compared"


def schema_of(vm):
    return {e["name"]: e for e in vm.cmd("query-qmp-schema")}


def features(entry):
    return set(entry.get("features", []))


class Comparison:
    """Walks what both have; 'dropped' and 'marked' name what only we have, or mark in another way."""

    def __init__(self, ours, theirs):
        self.ours, self.theirs = ours, theirs
        self.seen = set()
        self.dropped, self.marked = {}, {}

    def command(self, name):
        here, there = self.ours[name], self.theirs[name]
        self.same(name, here, there)
        for part in ("arg-type", "ret-type"):
            if part in here:
                self.types(here[part], there[part], name)

    def same(self, path, here, there):
        if features(here) != features(there):
            self.marked[path] = (features(here), features(there))

    def members(self, here, there, path, walk):
        known = {m["name"]: m for m in there}
        for m in here:
            where = f"{path}.{m['name']}"
            if m["name"] not in known:
                self.dropped[where] = features(m)
                continue
            self.same(where, m, known[m["name"]])
            if walk:
                self.types(m["type"], known[m["name"]]["type"], where)

    def types(self, a, b, path):
        if (a, b) in self.seen:
            return
        self.seen.add((a, b))
        here, there = self.ours[a], self.theirs[b]
        if here["meta-type"] != there["meta-type"]:
            return
        if here["meta-type"] == "array":
            self.types(here["element-type"], there["element-type"], path + "[]")
        elif here["meta-type"] == "enum":
            self.members(here["members"], there["members"], path, walk=False)
        elif here["meta-type"] == "object":
            self.members(here["members"], there["members"], path, walk=True)
            cases = {v["case"]: v["type"] for v in there.get("variants", [])}
            for v in here.get("variants", []):
                if v["case"] in cases:
                    self.types(v["type"], cases[v["case"]], f"{path}({v['case']})")


# Deprecated by a release between the two, or by the later one.
LATER = {"10.0": {"query-kvm", "migrate.detach", "query-cpus-fast[].target.microblazeel"}, "11.1": set()}
# Its features tell that -device takes JSON, and that what is plugged in by it can be unplugged: nothing can here.
WITHOUT = {"device_add"}
# The type's own name, which QEMU takes on its command line only: over QMP it is authz-listfile.
ELSEWHERE = {"object-add.qom-type.authz-list-file"}
# Values and members that came after it.
LATENCIES = ("postcopy-latency", "postcopy-latency-dist", "postcopy-vcpu-latency", "postcopy-non-vcpu-latency")
NEWER = {"10.0": {"migrate-continue.state.failing", "migrate-continue.state.postcopy-device",
                  *(f"query-migrate.{name}" for name in LATENCIES)},
         "11.1": set()}


@only_minivmm(OURS)
@table(**{v.replace(".", "_"): {"version": v} for v in ("10.0", "11.1")})
def test_deprecated(t, version):
    ours = schema_of(t.vmm("idle"))
    with peers.running(t, version):
        theirs = schema_of(t.vmm("idle", kind="qemu"))
    c = Comparison(ours, theirs)
    for name, entry in ours.items():
        if entry["meta-type"] in ("command", "event") and name in theirs:
            c.command(name)
    unmarked = {path for path, f in c.dropped.items() if "deprecated" not in f and "x-minivmm" not in path}
    assert unmarked - NEWER[version] - ELSEWHERE == set(), unmarked
    differ = {path: f for path, f in c.marked.items() if path not in WITHOUT | LATER[version]}
    assert not differ, differ
    assert {"migrate.blk", "migrate.inc", "query-migrate.ram.skipped"} <= set(c.dropped), c.dropped
