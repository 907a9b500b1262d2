#!/bin/bash
# QEMU 7.2: what remove-fd took out of a set while the guest stood is open, and listed, when the guest runs again
#
# version    qemu-system-x86 1:7.2+dfsg-7+deb12u18+b3 of Debian 12 (10.0 and 11.1 close it at once, running or not)
# guess      as of a running guest's set: closed and out of query-fdsets when remove-fd has answered {}
# behaviour  a guest that does not run keeps the descriptor, and only marks it. Nobody looks at the mark when the guest
#            starts: it stays open, and query-fdsets lists it like any other, until something else is taken out of
#            the same set. Something that happens to another set does not help
# seen       "running: removed, listed b c, open 2; prelaunch: removed, listed a b c, open 3; then running: listed a b c,
#            open 3; other set: listed a b c, open 3; b removed: listed c, open 1" (in one line)
#
# Fails when that is another line. Needs apt-get with a package list of Debian, dpkg-deb, python3; no KVM.
set -eu
version=1:7.2+dfsg-7+deb12u18+b3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

# Debian 12's packages from the place that this host's come from, in a world of their own.
# shellcheck disable=SC2016
site=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -n 1)
mkdir -p apt/state/lists/partial apt/cache/archives/partial apt/etc/preferences.d root
: >apt/status
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site bookworm main" >apt/etc/list
world() {
	apt-get -o Dir="$tmp/apt" -o Dir::State="$tmp/apt/state" -o Dir::State::status="$tmp/apt/status" \
		-o Dir::Cache="$tmp/apt/cache" -o Dir::Etc="$tmp/apt/etc" -o Dir::Etc::SourceList="$tmp/apt/etc/list" \
		-o Dir::Etc::SourceParts=- -o Dir::Etc::Parts=- -o APT::Sandbox::User=root -o Debug::NoLocking=1 \
		-o APT::Architecture=amd64 -o APT::Architectures=amd64 "$@" >log 2>&1 </dev/null || { tail log; exit 1; }
}
world update
world install -y --no-install-recommends --download-only "qemu-system-x86=$version"
(cd root && mkdir -p usr/lib usr/lib64 usr/bin usr/sbin && ln -s usr/lib lib && ln -s usr/lib64 lib64 &&
	ln -s usr/bin bin && ln -s usr/sbin sbin)
for deb in apt/cache/archives/*.deb; do
	dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner -C root
done

libs=root/usr/lib/x86_64-linux-gnu
export QEMU_MODULE_DIR=$tmp/$libs/qemu
touch file
cat >ask <<'P'
import json
import os
import socket
import subprocess
import sys


class Qemu:
    def __init__(self, *options):
        self.line, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [*sys.argv[1:], "-chardev", f"socket,id=c,fd={theirs.fileno()}", "-mon", "chardev=c,mode=control", *options],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self.file = self.line.makefile("r")
        self.file.readline()
        self.ask("qmp_capabilities")
        self.members = {name: self.add(1, name) for name in "abc"}

    def ask(self, command, fds=(), **arguments):
        socket.send_fds(self.line, [json.dumps({"execute": command, "arguments": arguments}).encode()], fds)
        for line in self.file:
            answer = json.loads(line)
            if "error" in answer:
                sys.exit(f"{command}: {answer}")
            if "return" in answer:
                return answer["return"]
        sys.exit("QEMU has ended")

    def add(self, number, name):
        """The file, once more, in the set."""
        fd = os.open("file", os.O_RDONLY)
        got = self.ask("add-fd", [fd], **{"fdset-id": number, "opaque": name})["fd"]
        os.close(fd)
        return got

    def remove(self, number, fd):
        assert self.ask("remove-fd", **{"fdset-id": number, "fd": fd}) == {}

    def shows(self):
        """What set 1 lists, and how often QEMU has the file open for it."""
        sets = {s["fdset-id"]: [f["opaque"] for f in s["fds"]] for s in self.ask("query-fdsets")}
        assert set(sets) == {1}
        fds = f"/proc/{self.process.pid}/fd"
        count = [os.readlink(f"{fds}/{fd}") for fd in os.listdir(fds)].count(os.path.realpath("file"))
        return f"listed {' '.join(sorted(sets[1]))}, open {count}"

    def state(self):
        return self.ask("query-status")["status"]

    def end(self):
        self.ask("quit")
        self.process.wait()


vm = Qemu()
said = vm.state()
vm.remove(1, vm.members["a"])
says = [f"{said}: removed, {vm.shows()}"]
vm.end()

vm = Qemu("-S")
said = vm.state()
vm.remove(1, vm.members["a"])
says.append(f"{said}: removed, {vm.shows()}")
vm.ask("cont")
says.append(f"then {vm.state()}: {vm.shows()}")
vm.remove(2, vm.add(2, "other"))
says.append(f"other set: {vm.shows()}")
vm.remove(1, vm.members["b"])
says.append(f"b removed: {vm.shows()}")
vm.end()
print("; ".join(says))
P
seen=$(python3 ask "$libs/ld-linux-x86-64.so.2" --library-path "$libs" root/usr/bin/qemu-system-x86_64 \
	-L root/usr/share/qemu -L root/usr/share/seabios -accel tcg -m 32 -display none -nodefaults \
	-M microvm,x-option-roms=off)
echo "$seen"
want="running: removed, listed b c, open 2; prelaunch: removed, listed a b c, open 3; then running: listed a b c, open 3"
[ "$seen" = "$want; other set: listed a b c, open 3; b removed: listed c, open 1" ]
