"""The QMP face: greeting, negotiation, errors, events and their order, monitors, descriptors."""
import os
import socket
import subprocess

from case import only_minivmm, table
from qmp import Qmp, QmpError

COMMANDS = """qmp_capabilities query-version query-commands query-qmp-schema query-status stop cont
system_reset system_powerdown quit query-name query-uuid query-kvm query-cpus-fast query-block
query-chardev query-memory-size-summary getfd closefd migrate migrate-incoming migrate_cancel
query-migrate migrate-set-capabilities query-migrate-capabilities migrate-set-parameters
query-migrate-parameters announce-self migrate-continue""".split()


def raw(vm):
    """A monitor of the machine that has not negotiated yet (the harness's own one makes room)."""
    path = vm.qmp.sock.getpeername()
    vm.qmp.close()
    return Qmp.connect(path, negotiate=False)


def answer(qmp, text):
    qmp.send(text.encode())
    return qmp.reply()


def test_greeting(t):
    vm = t.vmm("idle")
    greeting = vm.qmp.greeting["QMP"]
    version = greeting["version"]["qemu"]
    assert set(version) == {"major", "minor", "micro"}
    assert isinstance(greeting["capabilities"], list)
    assert vm.cmd("query-version")["qemu"] == version
    if vm.kind == "minivmm":
        words = "(interface of QEMU 7.2; migration of 7.2, 10.0 and 11.1)"
        says = subprocess.run([vm.argv[0], "-version"], capture_output=True, text=True, check=True).stdout
        assert (version["major"], version["minor"]) == (7, 2)
        assert vm.cmd("query-version")["package"] == says.strip() and says.strip().endswith(words), says


def test_negotiation(t):
    vm = t.vmm("idle")
    qmp = raw(vm)
    first = answer(qmp, '{"execute":"query-status","id":1}')
    assert first["id"] == 1 and first["error"] == {
        "class": "CommandNotFound",
        "desc": "Expecting capabilities negotiation with 'qmp_capabilities'"}, first
    assert "error" in answer(qmp, '{"execute":"qmp_capabilities","arguments":{"enable":["zzz"]}}')
    assert answer(qmp, '{"execute":"qmp_capabilities","id":{"a":[1,null]}}') == \
        {"return": {}, "id": {"a": [1, None]}}
    again = answer(qmp, '{"execute":"qmp_capabilities"}')
    assert again["error"]["class"] == "CommandNotFound", again
    # a new client on the same socket starts anew
    path = qmp.sock.getpeername()
    qmp.close()
    assert "error" in answer(Qmp.connect(path, negotiate=False), '{"execute":"query-status"}')


def test_commands_are_listed(t):
    vm = t.vmm("idle")
    listed = {c["name"] for c in vm.cmd("query-commands")}
    assert set(COMMANDS) <= listed, set(COMMANDS) - listed
    schema = vm.cmd("query-qmp-schema")
    assert {e["name"] for e in schema if e["meta-type"] == "command"} == listed
    names = {e["name"] for e in schema}
    for entry in schema:
        for used in [entry.get(k) for k in ("arg-type", "ret-type", "element-type")]:
            assert used is None or used in names, (entry, used)
        for member in entry.get("members", []):
            assert "type" not in member or member["type"] in names, (entry, member)


@table(
    unknown={"text": '{"execute":"nope"}', "cls": "CommandNotFound",
             "desc": "The command nope has not been found"},
    removed={"text": '{"execute":"migrate_set_speed"}', "cls": "CommandNotFound",
             "desc": "The command migrate_set_speed has not been found"},
    missing={"text": '{"execute":"migrate-continue"}', "desc": "Parameter 'state' is missing"},
    unexpected={"text": '{"execute":"stop","arguments":{"foo":1}}',
                "desc": "Parameter 'foo' is unexpected"},
    json_type={"text": '{"execute":"migrate","arguments":{"uri":1}}',
               "desc": "Invalid parameter type for 'uri', expected: string"},
    number={"text": '{"execute":"migrate-set-parameters","arguments":{"multifd-channels":"1"}}',
            "desc": "Parameter 'multifd-channels' expects uint64"},
    narrow={"text": '{"execute":"migrate-set-parameters","arguments":{"multifd-channels":300}}',
            "desc": "Parameter 'multifd-channels' expects uint8_t"},
    enum={"text": '{"execute":"migrate-set-capabilities","arguments":{"capabilities":'
                  '[{"capability":"zzz","state":true}]}}',
          "desc": "Parameter 'capability' does not accept value 'zzz'"},
    nested={"text": '{"execute":"migrate-set-capabilities","arguments":{"capabilities":'
                    '[{"capability":"events"}]}}',
            "desc": "Parameter 'capabilities[0].state' is missing"},
    no_execute={"text": '{"id":1}', "desc": "QMP input lacks member 'execute'"},
    top_member={"text": '{"execute":"stop","foo":1}', "desc": "QMP input member 'foo' is unexpected"},
    not_string={"text": '{"execute":1}', "desc": "QMP input member 'execute' must be a string"},
    arguments_list={"text": '{"execute":"stop","arguments":[]}',
                    "desc": "QMP input member 'arguments' must be an object"},
    not_object={"text": "[]", "desc": "QMP input must be a JSON object"},
    stray={"text": "{nope}", "desc": "JSON parse error, invalid keyword 'nope'"},
    colon={"text": '{"execute" "x"}', "desc": "JSON parse error, missing : in object pair"},
)
def test_errors(t, text, desc, cls="GenericError"):
    """The reply says what was wrong; the next command works."""
    vm = t.vmm("idle")
    vm.qmp.send(text.encode())
    reply = vm.qmp.reply()
    assert reply["error"] == {"class": cls, "desc": desc}, reply
    vm.qmp.send(b' {"execute":"query-status","id":"after"}')
    while reply.get("id") != "after":       # a broken text may be answered more than once
        reply = vm.qmp.reply()
    assert reply["return"]["status"] == "running"


def test_framing(t):
    """Requests are a stream of tokens: several in one write, one over several, any white space."""
    vm = t.vmm("idle")
    vm.qmp.send(b'\n\n{"execute":"query-status","id":1}{"execute":"query-name","id":2}'
                b"{'execute':'query-kvm','id':3}\n")
    assert [vm.qmp.reply()["id"] for _ in range(3)] == [1, 2, 3]
    for part in (b'{"exec', b'ute" :', b' "query-status"\t,"id":', b'"x', b'y"', b"}"):
        vm.qmp.send(part)
    assert vm.qmp.reply()["id"] == "xy"


def test_ids(t):
    vm = t.vmm("idle")
    for value in ('null', '1.5', '"text"', '[1, {"a": []}]', 'true', '-7'):
        vm.qmp.send(('{"execute":"query-status","id":%s}' % value).encode())
        reply = vm.qmp.reply()
        assert "return" in reply and "id" in reply, reply
    vm.qmp.send(b'{"execute":"nope","id":"e"}')
    assert vm.qmp.reply()["id"] == "e"


def test_deep_nesting(t):
    """Refused without a flood and without an end of the connection."""
    vm = t.vmm("idle")
    vm.qmp.send(b"[" * 2000 + b"]" * 2000)
    assert vm.qmp.reply()["error"]["desc"] == "JSON nesting depth limit exceeded"
    vm.qmp.send(b'{"execute":"query-status","id":"after"}')
    while vm.qmp.reply().get("id") != "after":
        pass


def test_stop_cont(t):
    """STOP and RESUME come before the replies; nothing is said when nothing changes."""
    vm = t.vmm("idle")
    vm.serial.expect("idle")
    vm.cmd("stop")
    assert [e["event"] for e in vm.qmp.events] == ["STOP"]
    assert vm.status() == "paused"
    vm.cmd("stop")
    assert [e["event"] for e in vm.qmp.events] == ["STOP"]
    before = vm.qmp.events[0]["timestamp"]
    assert set(before) == {"seconds", "microseconds"}
    vm.cmd("cont")
    vm.cmd("cont")
    assert [e["event"] for e in vm.qmp.events] == ["STOP", "RESUME"]
    first = vm.report()[0]["ticks"]
    assert vm.report()[0]["ticks"] >= first


def test_stopped_guest_stands_still(t):
    import ram
    vm = t.vmm("counter", "pages=200")
    vm.serial.expect("counting on 1")
    vm.cmd("stop")
    first = ram.read(vm)
    second = ram.read(vm)
    ram.assert_equal(first, second, "the stopped machine at two moments")
    ram.check_range(first)
    vm.cmd("cont")
    while ram.status(vm)["generation"] == ram.status(first)["generation"]:
        pass
    vm.cmd("stop")
    ram.check_range(vm)


def test_many_stops(t):
    import ram
    vm = t.vmm("smp-counter", "pages=50 rate=2000", cpus=2, disk=t.disk(), rng=True)
    vm.serial.expect("counting on 2")
    for _ in range(20):
        vm.cmd("stop")
        ram.check_range(vm, 0)
        ram.check_range(vm, 1)
        vm.cmd("cont")
    s = vm.report()
    assert [r["errors"] for r in s] == [0, 0], s


def test_several_monitors(t):
    """Each has its own negotiation and ids; events reach all that have negotiated."""
    vm = t.vmm("idle", monitors=3)
    one, two, three = vm.monitors
    one.start("query-status")
    two.start("query-name")
    assert "name" in two.reply()["return"]
    assert "status" in one.reply()["return"]
    two.cmd("stop")
    stamps = [q.event("STOP")["timestamp"] for q in (one, two, three)]
    assert stamps[0] == stamps[1] == stamps[2], stamps
    three.close()
    one.cmd("cont")
    two.event("RESUME")


def test_silent_monitor_blocks_nobody(t):
    """A client that never reads does not hold up the machine or the other monitors."""
    vm = t.vmm("idle", monitors=2)
    vm.serial.expect("idle")
    lazy, other = vm.monitors
    lazy.sock.setblocking(False)
    try:
        for _ in range(200):
            lazy.sock.send(b'{"execute":"query-qmp-schema"}' * 20)
    except BlockingIOError:
        pass
    for _ in range(10):
        assert other.cmd("query-status")["status"] == "running"
    vm.report()


def test_getfd(t):
    vm = t.vmm("idle")
    ours, theirs = socket.socketpair()
    vm.qmp.cmd("getfd", fds=[theirs.fileno()], fdname="a")
    theirs.close()
    vm.cmd("closefd", fdname="a")
    assert ours.recv(1) == b""      # the last holder has closed it
    assert vm.qmp.fails("closefd", fdname="a") == "File descriptor named 'a' not found"
    assert vm.qmp.fails("getfd", fdname="a") == "No file descriptor supplied via SCM_RIGHTS"
    with open(os.devnull, "rb") as f:
        assert vm.qmp.fails("getfd", fds=[f.fileno()], fdname="1a") == \
            "Parameter 'fdname' expects a name not starting with a digit"
    ours, theirs = socket.socketpair()
    for _ in range(2):              # the second replaces the first
        vm.qmp.cmd("getfd", fds=[theirs.fileno()], fdname="b")
    vm.cmd("closefd", fdname="b")
    theirs.close()
    assert ours.recv(1) == b""


def test_facts(t):
    vm = t.vmm("idle", cpus=2, disk=t.disk(), extra=["-uuid", "00112233-4455-6677-8899-aabbccddeeff"])
    assert vm.cmd("query-name") == {"name": "vm2"}
    assert vm.cmd("query-uuid") == {"UUID": "00112233-4455-6677-8899-aabbccddeeff"}
    assert vm.cmd("query-kvm") == {"enabled": True, "present": True}
    assert vm.cmd("query-memory-size-summary")["base-memory"] == 24 << 20
    cpus = vm.cmd("query-cpus-fast")
    assert [c["cpu-index"] for c in cpus] == [0, 1]
    for c in cpus:
        assert os.path.isdir(f"/proc/{vm.pid}/task/{c['thread-id']}"), c
    block, = vm.cmd("query-block")
    assert block["inserted"]["image"]["virtual-size"] == 1 << 20, block
    labels = {c["label"] for c in vm.cmd("query-chardev")}
    assert {"serial0", "mon0"} <= labels, labels


def test_migration_defaults(t):
    vm = t.vmm("idle")
    assert vm.migration() == {}
    capabilities = vm.cmd("query-migrate-capabilities")
    assert not any(c["state"] for c in capabilities)
    assert {"xbzrle", "events", "return-path", "multifd"} <= {c["capability"] for c in capabilities}
    p = vm.cmd("query-migrate-parameters")
    assert p["max-bandwidth"] == 134217728 and p["downtime-limit"] == 300, p


def test_migration_parameters(t):
    """A set with one bad value changes nothing."""
    vm = t.vmm("idle")
    vm.cmd("migrate-set-parameters", max_bandwidth=1 << 20, downtime_limit=1000)
    p = vm.cmd("query-migrate-parameters")
    assert (p["max-bandwidth"], p["downtime-limit"]) == (1 << 20, 1000)
    desc = vm.qmp.fails("migrate-set-parameters", max_bandwidth=5, downtime_limit=3000000)
    assert desc == "Parameter 'downtime_limit' expects an integer in the range of 0 to (2000 * 1000) ms"
    assert vm.cmd("query-migrate-parameters") == p
    assert "announce_rounds" in vm.qmp.fails("migrate-set-parameters", announce_rounds=1001)


@only_minivmm("QEMU offers all of them")
def test_what_is_not_there_is_refused_by_name(t):
    vm = t.vmm("idle", backend="anonymous")
    refused = 0
    for c in [c["capability"] for c in vm.cmd("query-migrate-capabilities")]:
        try:
            vm.cmd("migrate-set-capabilities", capabilities=[{"capability": c, "state": True}])
            vm.cmd("migrate-set-capabilities", capabilities=[{"capability": c, "state": False}])
        except QmpError as e:
            # what is there, but not alone, says what it goes with
            assert c in e.desc or {"zero-copy-send": "multifd", "postcopy-preempt": "requires postcopy-ram"}.get(
                c, "-") in e.desc, (c, e.desc)
            refused += 1
    assert refused > 0
    assert not any(c["state"] for c in vm.cmd("query-migrate-capabilities"))
