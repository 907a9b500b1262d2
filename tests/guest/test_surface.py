"""All of the interface: each command answers, what is not there says what to use, the reference is what the tables say."""
import os
import socket
import subprocess

from case import only_minivmm
from moves import goes_on, machine
from qmp import Qmp, QmpError

DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs")
OURS = "our own words"
ENDS = {"quit", "qmp_capabilities"}


def schema_of(vm):
    listed = vm.cmd("query-qmp-schema")
    names = [e["name"] for e in listed]
    assert len(names) == len(set(names)), sorted(n for n in set(names) if names.count(n) > 1)
    return {e["name"]: e for e in listed}


def sample(schema, name, path):
    """The least that fits a type."""
    entry = schema[name]
    meta = entry["meta-type"]
    if meta == "builtin":
        return {"str": path, "int": 1, "number": 1.5, "bool": False, "null": None, "any": 0}[name]
    if meta == "enum":
        return entry["values"][0]
    if meta == "array":
        return []
    if meta == "alternate":
        return sample(schema, entry["members"][0]["type"], path)
    value = {m["name"]: sample(schema, m["type"], path) for m in entry["members"] if "default" not in m}
    for case in entry.get("variants", []):
        if case["case"] == value.get(entry.get("tag")):
            value.update(sample(schema, case["type"], path))
    return value


@only_minivmm("QEMU 7.2 ends with an assertion when some of its commands are called so")
def test_every_command_answers(t):
    """With the least arguments that fit; the answer may be a refusal, but says nothing of types and names."""
    vm = machine(t, "counter", "pages=10", disk=t.disk())
    schema = schema_of(vm)
    commands = sorted(n for n, e in schema.items() if e["meta-type"] == "command")
    assert commands == sorted(c["name"] for c in vm.cmd("query-commands"))
    for name in [n for n in commands if n not in ENDS]:
        arguments = sample(schema, schema[name]["arg-type"], t.path("x"))
        vm.qmp.send({"execute": name, "arguments": arguments})
        error = vm.qmp.reply().get("error")
        if error:
            assert error["class"] != "CommandNotFound" and error["desc"] and "is unexpected" not in error["desc"], (name, error)
    assert vm.cmd("query-version")
    vm.cmd("quit")
    assert vm.wait() == 0


# What to use in its place; of what QEMU has removed itself nothing is said.
NOT_THERE = {
    "block-dirty-bitmap-add": "use qemu-img bitmap",
    "transaction": "snapshot-save",
    "screendump": "serial console",
    "dump-guest-memory": "pmemsave",
    "migrate_set_speed": None,
    "migrate_set_downtime": None,
    "migrate-set-cache-size": None,
    "query-migrate-cache-size": None,
    "query-events": None,
}


@only_minivmm(OURS)
def test_not_there(t):
    """Class CommandNotFound; in no list; what to use is told."""
    vm = machine(t, "idle", "", paused=True, started=False)
    there = schema_of(vm)
    for name, use in NOT_THERE.items():
        assert name not in there
        try:
            vm.cmd(name, value=1)
            assert False
        except QmpError as e:
            words = f"The command {name} has not been found"
            assert e.cls == "CommandNotFound" and e.desc.startswith(words), e
            assert use in e.desc if use else e.desc == words, e.desc


@only_minivmm(OURS)
def test_reference(t):
    """docs/qmp-reference.md is what -qmp-reference prints; of each command there is a text; the man page is clean."""
    vm = machine(t, "idle", "", paused=True, started=False)
    with open(os.path.join(DOCS, "qmp-reference.md"), encoding="utf-8") as f:
        kept = f.read()
    made = subprocess.run([vm.argv[0], "-qmp-reference", "md"], capture_output=True, text=True, check=True).stdout
    assert made == kept, "docs/qmp-reference.md is stale: minivmm -qmp-reference md >docs/qmp-reference.md"
    chapter = made.split("\n## Commands\n")[1].split("\n## Events\n")[0]
    told = {part.split("\n")[0]: part for part in chapter.split("\n### ")[1:]}
    assert set(told) == {c["name"] for c in vm.cmd("query-commands")}
    assert not [name for name, part in told.items() if not part.split("\n")[2].strip()], "a command without a text"
    page = subprocess.run([vm.argv[0], "-qmp-reference", "man"], capture_output=True, text=True, check=True).stdout
    assert page.startswith(".TH MINIVMM\\-QMP 7 ")
    for line in page.splitlines():
        assert not line.startswith("'") and (line[:1] != "." or line[1:3].isupper()), line
    refused = subprocess.run([vm.argv[0], "-qmp-reference", "pdf"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "md or man" in refused.stderr, refused


# ---- what is of the interface, and not in use ----

def test_not_in_use(t):
    vm = machine(t, "idle", "", paused=True, started=False)
    assert vm.qmp.fails("x-colo-lost-heartbeat") == "The feature 'colo' is not enabled"
    assert vm.cmd("query-colo-status") == {"mode": "none", "last-mode": "none", "reason": "none"}
    assert vm.cmd("query-xen-replication-status") == {"error": False}
    assert vm.cmd("xen-colo-do-checkpoint") == {}
    assert vm.cmd("xen-set-replication", enable=True, primary=True) == {}
    assert vm.qmp.fails("xen-set-replication", enable=True, primary=True, failover=True) == \
        "Parameter 'failover' is only for stopping replication"
    assert vm.qmp.fails("client_migrate_info", protocol="vnc", hostname="h") == "Parameter 'protocol' expects 'spice'"
    try:
        vm.cmd("client_migrate_info", protocol="spice", hostname="h", port=1)
        assert False
    except QmpError as e:
        assert (e.cls, e.desc) == ("DeviceNotActive", "SPICE is not in use")


NODE = {"node-name": "n", "alias": "a", "bitmaps": []}


BAD_MAPPINGS = {
    "The node name 'n' is mapped twice": [NODE, {**NODE, "alias": "b"}],
    "The node alias 'a' is used twice": [NODE, {**NODE, "node-name": "m"}],
    "The node alias '1 bad' is not well-formed": [{**NODE, "alias": "1 bad"}],
    "The bitmap 'n'/'b' is mapped twice":
        [{**NODE, "bitmaps": [{"name": "b", "alias": "c"}, {"name": "b", "alias": "d"}]}],
    "The bitmap alias 'a'/'c' is used twice":
        [{**NODE, "bitmaps": [{"name": "b", "alias": "c"}, {"name": "d", "alias": "c"}]}],
    f"The node name '{'n' * 32}' is longer than 31 bytes": [{**NODE, "node-name": "n" * 32}],
}
GOOD_MAPPINGS = [[{**NODE, "bitmaps": [{"name": "b", "alias": "c", "transform": {"persistent": True}}]}], []]


def test_bitmap_mapping(t):
    """Nothing changes when it is refused; what was set is shown."""
    vm = machine(t, "idle", "", paused=True, started=False)
    name = "block-bitmap-mapping"
    for why, nodes in BAD_MAPPINGS.items():
        assert vm.qmp.fails("migrate-set-parameters", **{name: nodes, "downtime-limit": 7}) == \
            f"Invalid mapping given for {name}: {why}"
        now = vm.cmd("query-migrate-parameters")
        assert name not in now and now["downtime-limit"] == 300
    for nodes in GOOD_MAPPINGS:
        vm.cmd("migrate-set-parameters", **{name: nodes})
        assert vm.cmd("query-migrate-parameters")[name] == nodes


# ---- the devices alone ----

@only_minivmm("QEMU 7.2 loads no such file but under Xen, and ends with an assertion")
def test_devices_alone(t):
    """Saved while it runs, saved and loaded while it does not; what does not fit changes nothing."""
    vm = machine(t, "counter", "pages=20 rate=100", disk=t.disk())
    path, cut = t.path("devices"), t.path("cut")
    vm.cmd("xen-save-devices-state", filename=path)
    for wanted in ("STOP", "RESUME"):
        vm.qmp.any_event(lambda e, w=wanted: e["event"] == w, wanted)
    assert vm.qmp.fails("xen-load-devices-state", filename=path) == "Cannot update device state while vm is running"
    assert vm.qmp.fails("xen-save-devices-state", filename="/nope/x") == \
        "Unable to open /nope/x: No such file or directory"
    assert vm.status() == "running"
    vm.cmd("stop")
    vm.cmd("xen-save-devices-state", filename=path, live=False)
    assert vm.status() == "paused"
    with open(path, "rb") as f:
        data = f.read()
    assert data.startswith(b"QEVM\0\0\0\3") and data.endswith(b"\0")
    for bad in (data[:-1], data[:len(data) // 2], b"", b"x" * 100, data.replace(b"timer", b"tamer")):
        with open(cut, "wb") as f:
            f.write(bad)
        assert vm.qmp.fails("xen-load-devices-state", filename=cut).startswith("An IO error has occurred: ")
    at = data.index(b"/virtio-blk") + len("/virtio-blk") + 8
    with open(cut, "wb") as f:              # the right layout, and a state that no such device has
        f.write(data[:at] + b"\xff" * 16 + data[at + 16:])
    assert "virtio-blk" in vm.qmp.fails("xen-load-devices-state", filename=cut)
    os.mkfifo(t.path("pipe"))
    for command in ("xen-load-devices-state", "xen-save-devices-state"):
        assert "Unable to open" in vm.qmp.fails(command, filename=t.path("pipe"))
    vm.cmd("xen-load-devices-state", filename=path)
    vm.cmd("cont")
    goes_on(vm)


@only_minivmm("it shows nothing")
def test_global_dirty_log(t):
    """On and off again and again; a migration has it for itself."""
    vm = machine(t, "counter", "pages=20 rate=100")
    for on in (False, True, True, False, True):
        vm.cmd("xen-set-global-dirty-log", enable=on)
    vm.cmd("migrate", uri=f"file:{t.path('state')}")
    assert vm.wait_migration("completed", "failed") == "completed"
    vm.cmd("xen-set-global-dirty-log", enable=False)


# ---- clients ----

@only_minivmm("QEMU's backlog holds one")
def test_burst_of_clients(t):
    """200 clients come at once to a monitor that has one, and are served in turn."""
    vm = machine(t)
    path = vm.qmp.sock.getpeername()
    clients = []
    for _ in range(200):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.setblocking(False)
        s.connect(path)                      # EAGAIN: there is no room in the backlog
        s.setblocking(True)
        clients.append(s)
    vm.qmp.close()
    for s in clients:
        with_greeting = Qmp(s)
        assert with_greeting.cmd("query-status")["running"]
        with_greeting.close()
    assert Qmp.connect(path).cmd("query-status")["running"]
