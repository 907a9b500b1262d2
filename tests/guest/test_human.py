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


SETTINGS = {
    "migrate_set_parameter downtime-limit 17": "",
    "migrate_set_parameter max-bandwidth 3": "",
    "migrate_set_parameter xbzrle-cache-size 16M": "",
    "migrate_set_parameter zz 1": "Error: invalid parameter value: zz\r\n",
    "migrate_set_parameter multifd-compression zz": "Error: Parameter 'multifd-compression' does not accept value 'zz'\r\n",
    "migrate_set_parameter block-bitmap-mapping x":
        "Error: The block-bitmap-mapping parameter can only be set through QMP\r\n",
    "migrate_set_capability xbzrle on": "",
    "migrate_set_capability zz on": "Error: invalid parameter value: zz\r\n",
    "migrate_set_capability xbzrle maybe":
        "Expected 'on' or 'off'\r\nTry \"help migrate_set_capability\" for more information\r\n",
    "migrate_continue": "migrate_continue: string expected\r\nTry \"help migrate_continue\" for more information\r\n",
    "migrate_continue pre-switchover": "Error: Migration not in expected state: none\r\n",
    "migrate_incoming tcp:": "Error: '-incoming' was not specified on the command line\r\n",
    "migrate_recover x": "Error: Migrate recover can only be run when postcopy is paused.\r\n",
    "migrate_pause": "Error: migrate-pause is currently only supported during postcopy-active state\r\n",
    "migrate_start_postcopy": "Error: Enable postcopy with migrate_set_capability before the start of migration\r\n",
    "migrate_cancel": "",
    "x_colo_lost_heartbeat": "Error: The feature 'colo' is not enabled\r\n",
    "client_migrate_info vnc h": "Error: Parameter 'protocol' expects 'spice'\r\n",
    "info kvm": "kvm support: enabled\r\n",
    "info memory_size_summary": f"base memory: {24 << 20}\r\nplugged memory: 0\r\n",
    "info balloon": "Error: No balloon device has been activated\r\n",
    "info vcpu_dirty_limit": "Dirty page limit not enabled!\r\n",
    "info dirty_rate": "Status: unstarted\r\nStart Time: 0 (ms)\r\nSample Pages: 0 (per GB)\r\nPeriod: 0 (sec)\r\n"
                       "Mode: page-sampling\r\nDirty rate: (not ready)\r\n",
}


def test_settings(t):
    """The lines of migration, with QEMU's texts; what they show is what was set."""
    vm = machine(t, "idle", "", paused=True, started=False)
    for line, text in SETTINGS.items():
        assert human(vm, line) == text, (line, human(vm, line))
    shown = human(vm, "info migrate_parameters").split("\r\n")
    assert {"downtime-limit: 17 ms", f"max-bandwidth: {3 << 20} bytes/second", "compress-wait-thread: on",
            f"xbzrle-cache-size: {16 << 20} bytes", "tls-creds: ''", "multifd-compression: none"} <= set(shown), shown
    states = human(vm, "info migrate_capabilities").split("\r\n")
    assert "xbzrle: on" in states and "multifd: off" in states, states
    assert vm.cmd("query-migrate-parameters")["downtime-limit"] == 17


def test_moves(t):
    """migrate and calc_dirty_rate do what their commands do."""
    vm = machine(t, "counter", "pages=10 rate=100")
    assert human(vm, "calc_dirty_rate 1") == ("Starting dirty rate measurement with period 1 seconds\r\n"
                                              "[Please use 'info dirty_rate' to check results]\r\n")
    path = t.path("state")
    assert human(vm, f"migrate -d exec:cat>{path}") == ""
    assert vm.wait_migration("completed", "failed") == "completed"
    assert "Migration status: completed\r\n" in human(vm, "info migrate")


@only_minivmm("of QEMU it is the program's end that is waited for")
def test_quit(t):
    vm = machine(t)
    vm.qmp.start("human-monitor-command", **{"command-line": "quit"})
    assert vm.wait() == 0
