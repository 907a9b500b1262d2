#!/bin/bash
# QEMU: "stop" while a migration stands before its switchover is answered and forgotten
#
# version    qemu-system-x86 1:7.2+dfsg-7+deb12u18+b3 of Debian 12 (10.0 of Debian 13 and 11.1 of its backports do the same)
# guess      with pause-before-switchover a manager holds a move in "pre-switchover" and asks for "stop", which
#            succeeds; so the guest stays stopped, at the destination when the move goes on, or at the source when
#            it is cancelled there, as after a stop that came a moment earlier
# behaviour  the reply is {}, nothing is kept: the guest runs at the destination after migrate-continue, and runs
#            at the source after migrate_cancel. The status is finish-migrate before and after, and there is no
#            event. Who needs it stopped has to ask again at the side that has it
# seen       "finish-migrate, stop {}, then running" for both ways
#
# Fails when one of them is paused. Needs apt-get and dpkg (a Debian 12 host with a package list), python3.
set -eu
version=1:7.2+dfsg-7+deb12u18+b3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp"
cd "$tmp"
# The program and what it needs, as this host's suite has them.
apt-get download "qemu-system-x86=$version" >/dev/null 2>&1
apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
	--no-enhances "qemu-system-x86=$version" |
	sed -nE '/^(lib[a-z0-9]|qemu-system-(common|data)|seabios)/p' | grep -v '^libc6\|:' | sort -u >wanted
xargs apt-get download <wanted >/dev/null 2>&1
for deb in ./*.deb; do dpkg -x "$deb" root; done
cat >try.py <<'P'
import json
import os
import socket
import subprocess
import sys

ROOT = sys.argv[1]
LIBS = f"{ROOT}/usr/lib/x86_64-linux-gnu"
ENV = dict(os.environ, LD_LIBRARY_PATH=f"{LIBS}:{ROOT}/lib/x86_64-linux-gnu", QEMU_MODULE_DIR=f"{LIBS}/qemu")


class Qemu:
    """A stock microvm under TCG, and its monitor: the guest is its firmware, which runs for ever."""

    def __init__(self, *options):
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [f"{ROOT}/usr/bin/qemu-system-x86_64", "-L", f"{ROOT}/usr/share/seabios", "-L", f"{ROOT}/usr/share/qemu",
             "-M", "microvm", "-accel", "tcg", "-m", "32", "-display", "none", "-nodefaults", "-chardev",
             f"socket,id=c,fd={theirs.fileno()}", "-mon", "chardev=c,mode=control", *options],
            env=ENV, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self.file = ours.makefile("rw")
        self.file.readline()
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline())
            if "error" in answer:
                raise SystemExit(f"{command}: {answer}")
            if "return" in answer:
                return answer["return"]

    def until(self, command, *wanted):
        while True:
            status = self.ask(command).get("status")
            if status in wanted:
                return status


def round_(last):
    destination = Qemu("-incoming", f"unix:way-{last}")
    source = Qemu()
    source.until("query-status", "running")
    source.ask("migrate-set-capabilities", capabilities=[{"capability": "pause-before-switchover", "state": True}])
    source.ask("migrate", uri=f"unix:way-{last}")
    source.until("query-migrate", "pre-switchover")
    before, reply = source.ask("query-status")["status"], source.ask("stop")
    if last == "migrate-continue":
        source.ask(last, state="pre-switchover")
        source.until("query-migrate", "completed")
        owner = destination
    else:
        source.ask(last)
        source.until("query-migrate", "cancelled")
        owner = source
    after = owner.until("query-status", "running", "paused")
    print(f"{last}: {before}, stop {json.dumps(reply)}, then {after}", flush=True)
    for q in (source, destination):
        q.process.kill()
        q.process.wait()
    return after


sys.exit([round_("migrate-continue"), round_("migrate_cancel")] != ["running", "running"])
P
if python3 try.py "$PWD/root"; then
	echo "as found: a stop before the switchover is forgotten"
else
	echo "changed: a stop before the switchover is kept"
	exit 1
fi
