#!/bin/bash
# QEMU: microvm takes -device vmgenid, answers query-vm-generation-id, and tells its guest nothing of the device
#
# version    qemu-system-x86 1:10.0.13+ds-0+deb13u1 of Debian 13 (the same in 7.2 and 11.1)
# guess      a machine that takes the device has it in its ACPI tables: a guest learns there where its ID is, and is
#            notified when a saved state is loaded with another one, as the device's documentation has it
# behaviour  microvm, which makes ACPI tables, leaves it out of them, without a warning; pc has it. The ID is
#            told to the monitor alone, so two guests that were loaded from one file go on with the same random numbers
# seen       "microvm: ID told yes, tables yes, VGEN in them no; pc: ID told yes, tables yes, VGEN in them yes"
#
# Fails when that line is another one. Needs apt-get with a package list of Debian, dpkg-deb, python3; no KVM.
set -eu
version=1:10.0.13+ds-0+deb13u1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

# Debian 13's packages from the place that this host's come from, in a world of their own.
# shellcheck disable=SC2016
site=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -n 1)
mkdir -p apt/state/lists/partial apt/cache/archives/partial apt/etc/preferences.d root
: >apt/status
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site trixie main" >apt/etc/list
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
cat >ask <<'P'
import json
import subprocess
import sys

GUID = "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87"
vm = subprocess.Popen([*sys.argv[1:], "-device", f"vmgenid,guid={GUID}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                      stderr=subprocess.DEVNULL, text=True)


def command(name, **arguments):
    vm.stdin.write(json.dumps({"execute": name, "arguments": arguments}))
    vm.stdin.flush()
    for line in vm.stdout:
        answer = json.loads(line)
        if "return" in answer:
            return answer["return"]
    sys.exit("QEMU has ended")


def says(fact):
    return "yes" if fact else "no"


command("qmp_capabilities")
told = command("query-vm-generation-id")["guid"] == GUID
command("migrate", uri="exec:cat >state")       # the tables for the firmware are in the stream
while command("query-migrate")["status"] not in ("completed", "failed"):
    pass
with open("state", "rb") as f:
    state = f.read()
print(f"ID told {says(told)}, tables {says(b'FACP' in state and b'etc/acpi/tables' in state)}, "
      f"VGEN in them {says(b'VGEN' in state)}", end="")
command("quit")
P
tells() {
	python3 ask "$libs/ld-linux-x86-64.so.2" --library-path "$libs" root/usr/bin/qemu-system-x86_64 \
		-L root/usr/share/qemu -L root/usr/share/seabios -M "$1" -accel tcg -m 32 -S \
		-display none -nodefaults -qmp stdio
}
seen="microvm: $(tells microvm,x-option-roms=off,acpi=on); pc: $(tells pc)"
echo "$seen"
[ "$seen" = "microvm: ID told yes, tables yes, VGEN in them no; pc: ID told yes, tables yes, VGEN in them yes" ]
