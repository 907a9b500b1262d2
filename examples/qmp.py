#!/usr/bin/python3
"""qmp.py - a client of QMP in forty lines: what happens in a guest, and how much memory its move has left

    qmp.py SOCKET           prints events until the program ends
    qmp.py SOCKET URI       moves the guest there, and prints how it goes

QEMU's own library does the same: pip install qemu.qmp.
"""
import json
import socket
import sys


class Qmp:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.lines = self.sock.makefile(encoding="utf-8")    # one that also writes would forget what it has read ahead
        self.events = []
        greeting = json.loads(self.lines.readline())
        self.version = greeting["QMP"]["version"]["package"]
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        self.sock.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        for line in self.lines:
            reply = json.loads(line)
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                raise RuntimeError(reply["error"]["desc"])
            self.events.append(reply)
        raise EOFError("the program has ended")

    def event(self):
        """The next one; None: the program has ended."""
        if self.events:
            return self.events.pop(0)
        line = self.lines.readline()
        return json.loads(line) if line else None


def move(vm, uri):
    vm.call("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
    vm.call("migrate", uri=uri)
    while event := vm.event():
        if event["event"] == "MIGRATION_PASS":
            left = vm.call("query-migrate")["ram"]["remaining"]
            print(f"pass {event['data']['pass']}, {left / 2**20:.1f} MiB to go", flush=True)
        elif event["event"] == "MIGRATION" and event["data"]["status"] in ("completed", "failed", "cancelled"):
            print(event["data"]["status"], vm.call("query-migrate").get("error-desc", ""))
            return 0 if event["data"]["status"] == "completed" else 1
    return 1


def main():
    vm = Qmp(sys.argv[1])
    if len(sys.argv) > 2:
        return move(vm, sys.argv[2])
    print(vm.version, vm.call("query-status")["status"], flush=True)
    while event := vm.event():
        print(event["event"], json.dumps(event.get("data", {})), flush=True)
    return 0


sys.exit(main())
