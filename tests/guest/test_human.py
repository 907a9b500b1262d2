"""human-monitor-command: lines of the human monitor, answered in text."""
from case import only_minivmm
from moves import goes_on, machine


def human(vm, line):
    return vm.qmp.cmd("human-monitor-command", **{"command-line": line})


def test_run_and_stop(t):
    vm = machine(t)
    assert human(vm, "info status") == "VM status: running\r\n"
    assert human(vm, "stop") == ""
    vm.qmp.event("STOP")
    assert vm.status() == "paused"
    assert human(vm, "info status") == "VM status: paused\r\n"
    assert human(vm, "c") == ""
    goes_on(vm)


def test_words(t):
    vm = machine(t, "idle", "", paused=True, started=False)
    assert human(vm, "info status") == "VM status: paused (prelaunch)\r\n"
    assert human(vm, "  stop   ") == ""
    assert human(vm, "") == ""
    assert human(vm, "nope").startswith("unknown command: 'nope'\r\n")
    assert human(vm, "info nope").startswith("unknown command: 'info nope'\r\n")
    assert human(vm, "stop now") == ("stop|s: extraneous characters at the end of line\r\n"
                                     "Try \"help stop\" for more information\r\n")
    assert human(vm, "help stop") == "stop|s  -- stop emulation\r\n"
    assert "info migrate  -- show migration status\r\n" in human(vm, "info")
    assert human(vm, "info uuid") == "00000000-0000-0000-0000-000000000000\r\n"
    assert vm.qmp.fails("human-monitor-command", **{"command-line": "stop", "cpu-index": 7}) == \
        "Parameter 'cpu-index' expects a CPU number"


@only_minivmm("QEMU names its disks by where they are in its tree of objects")
def test_info(t):
    disk = t.disk()
    vm = machine(t, "counter", "pages=10 rate=100", disk=disk, extra=("-device", "vmgenid"))
    assert human(vm, "info block").startswith("disk0 (") and f": {disk} (raw)\r\n" in human(vm, "info block")
    assert human(vm, "info vm-generation-id") == vm.cmd("query-vm-generation-id")["guid"] + "\r\n"
    assert human(vm, "info migrate") == ""
    path = t.path("state")
    vm.cmd("migrate", uri=f"file:{path}")
    assert vm.wait_migration("completed", "failed") == "completed"
    told = human(vm, "info migrate")
    assert told.startswith("Migration status: completed\r\n") and "total ram: " in told, told
    refused = human(vm, "cont")
    assert refused == "" or refused.startswith("Error: "), refused


@only_minivmm("of QEMU it is the program's end that is waited for")
def test_quit(t):
    vm = machine(t)
    vm.qmp.start("human-monitor-command", **{"command-line": "quit"})
    assert vm.wait() == 0
