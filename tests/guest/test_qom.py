"""The tree of qom-list, the types behind it, processor models, set-action and KVM's statistics."""
import os
import re
import select

from case import only_minivmm, table
from program import argv, connect, monitor, start
from qmp import GUARD, QmpError

OURS = "QEMU has far more of it, and other words"
CPU = "/machine/unattached/device[0]"
BALLOON = ["-device", "virtio-balloon-device,id=b0", "-object", "rng-random,id=r0,filename=/dev/urandom",
           "-device", "virtio-rng-device,rng=r0"]


def program(t, *more, guest="idle"):
    process = start(t, [*argv(*monitor(t), "-S", guest=guest), *more])
    return connect(t.path("qmp"), process)


def names(qmp, path):
    return {p["name"]: p["type"] for p in qmp.cmd("qom-list", path=path)}


def fails(qmp, command, **arguments):
    try:
        qmp.cmd(command, **arguments)
    except QmpError as e:
        return e
    raise AssertionError(f"{command} {arguments} succeeded")


@only_minivmm(OURS)
def test_paths(t):
    """Each child that is listed is there, and each property that is listed can be read."""
    qmp = program(t, *BALLOON)
    seen = []

    def walk(path):
        seen.append(path)
        listed = qmp.cmd("qom-list", path=path)
        [whole] = qmp.cmd("qom-list-get", paths=[path])
        assert [p["name"] for p in listed] == [p["name"] for p in whole["properties"]], path
        for p in whole["properties"]:
            assert qmp.cmd("qom-get", path=path, property=p["name"]) == p["value"], (path, p)
            if p["type"].startswith("child<"):
                assert qmp.cmd("qom-get", path=p["value"], property="type") == p["type"][6:-1], p
                walk(p["value"])
    walk("/")
    assert {"/machine", "/machine/peripheral/b0", "/machine/peripheral-anon/device[0]", CPU, "/objects/r0",
            "/chardevs/compat_monitor0"} <= set(seen), seen
    assert names(qmp, "/machine/peripheral")["b0"] == "child<virtio-balloon-device>"
    assert names(qmp, "b0") == names(qmp, "/machine/peripheral/b0/virtio-backend")
    assert qmp.cmd("qom-get", path="/objects/r0", property="filename") == "/dev/urandom"
    assert qmp.cmd("query-cpus-fast")[0]["qom-path"] == CPU
    for path in ("/nope", "nope", "/machine/nope", "/machine/unattached/device[1]", "/machine/unattached/device[]",
                 "/machine/unattached/device[99999999999]", CPU + "/x", "/machine/peripheral/b0/x"):
        e = fails(qmp, "qom-list", path=path)
        assert (e.cls, e.desc) == ("DeviceNotFound", f"Device '{path}' not found"), e
    assert fails(qmp, "qom-get", path="/machine", property="zz").desc == "Property 'microvm-machine.zz' not found"


@only_minivmm(OURS)
def test_set(t):
    qmp = program(t, *BALLOON)
    where = {"path": "/machine/peripheral/b0", "property": "guest-stats-polling-interval"}
    assert qmp.cmd("qom-get", **where) == 0
    qmp.cmd("qom-set", **where, value=2)
    assert qmp.cmd("qom-get", **where) == 2
    stats = qmp.cmd("qom-get", path="b0", property="guest-stats")
    assert stats["last-update"] == 0 and stats["stats"]["stat-free-memory"] == 2 ** 64 - 1, stats
    for value in (-1, 2 ** 40, "x", 1.5, None, True, [], {}):
        fails(qmp, "qom-set", **where, value=value)
    assert qmp.cmd("qom-get", **where) == 2
    assert fails(qmp, "qom-set", path=CPU, property="sse", value=True).desc == \
        "Property 'qemu64-x86_64-cpu.sse' is not writable"
    assert fails(qmp, "qom-set", path="/machine", property="zz", value=1).desc == \
        "Property 'microvm-machine.zz' not found"


@only_minivmm(OURS)
def test_types(t):
    """What is listed has properties; what is not is not found."""
    qmp = program(t)
    types = {x["name"]: x for x in qmp.cmd("qom-list-types", abstract=True)}
    assert len(types) == len(qmp.cmd("qom-list-types", abstract=True)), "a name twice"
    assert {"virtio-mmio", "isa-serial", "virtio-blk-device", "memory-backend-memfd", "max-x86_64-cpu", "kvm-accel",
            "none-machine", "chardev-socket", "generic-pc-machine"} <= set(types)
    assert "tcg-accel" not in types
    devices = {x["name"] for x in qmp.cmd("qom-list-types", implements="virtio-device")}
    assert "virtio-blk-device" in devices and "isa-serial" not in devices and "virtio-device" not in devices
    for name, x in types.items():
        assert x.get("parent", "object") in types, x
        properties = qmp.cmd("qom-list-properties", typename=name)
        assert properties[0] == {"name": "type", "type": "string"}, name
        assert len({p["name"] for p in properties}) == len(properties), name
    balloon = {p["name"]: p for p in qmp.cmd("device-list-properties", typename="virtio-balloon-device")}
    assert balloon["free-page-reporting"]["default-value"] is False and balloon["free-page-reporting"]["type"] == "bool"
    for command, words in (("device-list-properties", "Device"), ("qom-list-properties", "Class")):
        e = fails(qmp, command, typename="virtio-blk-pci")
        assert (e.cls, e.desc) == ("DeviceNotFound", f"{words} 'virtio-blk-pci' not found"), e


def features(model):
    return {k: v for k, v in model["props"].items() if isinstance(v, bool)}


@only_minivmm(OURS)
def test_processor(t):
    """What a vCPU has is what the expansion of its model says, and the words for it make the same one again."""
    qmp = program(t, "-cpu", "qemu64,-sse2,+x2apic")
    expand = lambda kind, **model: qmp.cmd("query-cpu-model-expansion", type=kind, model=model)["model"]
    expanded = expand("full", name="qemu64", props={"sse2": False, "x2apic": True})
    own = {p["name"]: p["value"] for p in qmp.cmd("qom-list-get", paths=[CPU])[0]["properties"]}
    assert {k: own[k] for k in expanded["props"]} == expanded["props"]
    assert (own["sse2"], own["x2apic"], own["type"]) == (False, True, "qemu64-x86_64-cpu")
    static = expand("static", **expanded)
    assert static["name"] == "base" and expand("static", **static) == static
    assert {k for k, v in features(static).items() if v} == {k for k, v in own.items() if v is True} & set(static["props"])
    words = ",".join(f"{k}={'on' if v else 'off'}" for k, v in features(static).items())
    again = start(t, [*argv(*monitor(t, "again"), "-S"), "-cpu", f"qemu64,{words}"])
    other = connect(t.path("again"), again).cmd("qom-list-get", paths=[CPU])[0]["properties"]
    lost = own.pop("unavailable-features")      # nothing is missing of what is not asked for
    assert {p["name"]: p["value"] for p in other if p["name"] != "unavailable-features"} == own
    models = {m["name"]: m for m in qmp.cmd("query-cpu-definitions")}
    assert models["qemu64"]["alias-of"] == "qemu64-v1" and models["base"]["static"] and not models["host"]["static"]
    for name, m in models.items():
        full = expand("full", name=name)["props"]
        assert all(full[f] is False for f in m["unavailable-features"]), name
    assert lost == models["qemu64"]["unavailable-features"]
    for model, words in (({"name": "zz"}, "unable to find CPU model 'zz'"),
                         ({"name": "host", "props": {"zz": True}}, "Property 'host-x86_64-cpu.zz' not found"),
                         ({"name": "host", "props": {"sse": []}}, "doesn't take such a value"),
                         ({"name": "host", "props": {"sse": 3}}, "Parameter 'sse' expects 'on' or 'off'"),
                         ({"name": "base", "props": {"family": -1}}, "family' doesn't take value"),
                         ({"name": "host", "props": []}, "expected: object")):
        assert words in fails(qmp, "query-cpu-model-expansion", type="full", model=model).desc, model


@table(shutdown={"action": {"reboot": "shutdown"}, "event": "SHUTDOWN"},
       reset={"action": {"reboot": "shutdown", "panic": "pause"}, "then": {"reboot": "reset"}, "event": "RESET"})
@only_minivmm("the command is QEMU's; what is looked at is ours")
def test_action(t, action, event, then=None):
    qmp = program(t)
    qmp.cmd("set-action", **action)
    qmp.cmd("set-action", **(then or {}))
    fails(qmp, "set-action", reboot="never")
    qmp.cmd("system_reset")
    assert qmp.any_event(lambda e: e["event"] in ("SHUTDOWN", "RESET"), "SHUTDOWN or RESET")["event"] == event


@only_minivmm("QEMU's are KVM's too")
def test_statistics(t):
    """What the schema has is counted; a filter names what is wanted."""
    qmp = program(t, "-smp", "2")
    schemas = {s["target"]: {v["name"]: v for v in s["stats"]} for s in qmp.cmd("query-stats-schemas")}
    if not schemas:
        t.skip("this kernel's KVM tells no statistics")
    qmp.cmd("cont")
    vcpus = qmp.cmd("query-stats", target="vcpu")
    assert [v["qom-path"] for v in vcpus] == [CPU, CPU.replace("[0]", "[1]")]
    for result, target in ((vcpus[0], "vcpu"), (qmp.cmd("query-stats", target="vm")[0], "vm")):
        assert {s["name"] for s in result["stats"]} == set(schemas[target])
        for s in result["stats"]:
            kind = schemas[target][s["name"]]
            assert isinstance(s["value"], list if "histogram" in kind["type"] else
                              bool if kind.get("unit") == "boolean" else int), (s, kind)
    wanted = [{"provider": "kvm", "names": ["exits", "zz"]}]
    [one] = qmp.cmd("query-stats", target="vcpu", vcpus=[CPU], providers=wanted)
    assert [s["name"] for s in one["stats"]] == ["exits"] and one["stats"][0]["value"] > 0, one
    assert qmp.cmd("query-stats", target="vcpu", vcpus=[]) == []
    assert qmp.cmd("query-stats", target="vm", providers=[]) == []


@only_minivmm("the wait for somebody is ours")
def test_pty(t):
    """The guest is heard and spoken to on the terminal that query-chardev names, again after its user has left."""
    process = start(t, [*argv(*monitor(t), guest="counter"), "-serial", "pty"])
    qmp = connect(t.path("qmp"), process)
    [path] = [c["filename"][4:] for c in qmp.cmd("query-chardev") if c["filename"].startswith("pty:")]
    for _ in range(2):
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        os.write(fd, b"r")
        text = b""
        while not re.search(rb"R end", text):
            assert select.select([fd], [], [], GUARD)[0], text
            text += os.read(fd, 4096)
        os.close(fd)
