#!/bin/bash
# QEMU: -nic on microvm makes the network, listens for the guest, and gives the guest no card
#
# version    qemu-system-x86 1:10.0.13+ds-0+deb13u1 of Debian 13 (the same in 7.2)
# guess      -nic TYPE,model=virtio-net-device makes the back end and the card in one go, as the manual has it: on microvm it
#            goes to the first free virtio-mmio transport, as that of -device does
# behaviour  only the back end is made. The machine has no default cards, so nobody asks for the one that was
#            requested; QEMU says so in a warning, goes on, and takes connections at hostfwd= for a guest that will
#            never have a card. With -device on the same machine the card is there
# seen       "-nic: card no, forwarded port taken; -netdev and -device: card yes, forwarded port taken"
#
# Fails when -nic makes a card. Needs apt-get with a package list of Debian, dpkg-deb, python3; no KVM.
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
import socket
import subprocess
import sys

with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
vm = subprocess.Popen([word.replace("PORT", str(port)) for word in sys.argv[1:]], stdin=subprocess.PIPE,
                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def command(name, **arguments):
    vm.stdin.write(json.dumps({"execute": name, "arguments": arguments}))
    vm.stdin.flush()
    for line in vm.stdout:
        answer = json.loads(line)
        if "return" in answer:
            return answer["return"]
    sys.exit("QEMU has ended")


command("qmp_capabilities")
made = [d["type"] for d in command("qom-list", path="/machine/peripheral-anon")]
socket.create_connection(("127.0.0.1", port)).close()
print(f"card {'yes' if 'child<virtio-net-device>' in made else 'no'}, forwarded port taken", end="")
command("quit")
P
tells() {
	python3 ask "$libs/ld-linux-x86-64.so.2" --library-path "$libs" root/usr/bin/qemu-system-x86_64 \
		-L root/usr/share/qemu -L root/usr/share/seabios -M microvm,x-option-roms=off -accel tcg -m 32 -S \
		-display none -nodefaults -qmp stdio "$@"
}
seen="-nic: $(tells -nic user,model=virtio-net-device,hostfwd=tcp:127.0.0.1:PORT-:22)"
seen+="; -netdev and -device: $(tells -netdev user,id=n0,hostfwd=tcp:127.0.0.1:PORT-:22 -device virtio-net-device,netdev=n0)"
echo "$seen"
[ "$seen" = "-nic: card no, forwarded port taken; -netdev and -device: card yes, forwarded port taken" ]
