#!/bin/bash
# QEMU: object-del takes away the rng-random object that a virtio-rng device is using
#
# version    qemu-system-x86 1:7.2+dfsg-7+deb12u18+b3 of Debian 12 (of rng-random the same in 10.0 and 11.1)
# guess      what a device uses is refused: "object 'r' is in use, can not be deleted" is what the
#            machine's memory back end gets
# behaviour  each type of object decides for itself whether it can go, and those of random numbers never look. The
#            reply is {}; the device keeps what it had, which has no name any more: its property rng is "". Another
#            object may take the ID, and the device does not use that one
# seen       "memory: object 'm' is in use, can not be deleted; rng: /objects/r, deleted {}, , another r {}, "
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
cat >ask <<'P'
import json
import subprocess
import sys

vm = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def command(name, **arguments):
    vm.stdin.write(json.dumps({"execute": name, "arguments": arguments}))
    vm.stdin.flush()
    for line in vm.stdout:
        answer = json.loads(line)
        if "error" in answer:
            return answer["error"]["desc"]
        if "return" in answer:
            return answer["return"]
    sys.exit("QEMU has ended")


def used():
    return command("qom-get", path="/machine/peripheral/d", property="rng")


command("qmp_capabilities")
print(f"memory: {command('object-del', id='m')}; rng: {used()}", end="")
print(f", deleted {command('object-del', id='r')}, {used()}", end="")
again = {"qom-type": "rng-random", "id": "r", "filename": "/dev/urandom"}
print(f", another r {command('object-add', **again)}, {used()}")
command("quit")
vm.wait()
P
seen=$(python3 ask "$libs/ld-linux-x86-64.so.2" --library-path "$libs" root/usr/bin/qemu-system-x86_64 \
	-L root/usr/share/qemu -L root/usr/share/seabios -accel tcg -m 32 -display none -nodefaults \
	-M microvm,x-option-roms=off,memory-backend=m -S -object memory-backend-ram,id=m,size=32M -qmp stdio \
	-object rng-random,id=r,filename=/dev/urandom -device virtio-rng-device,rng=r,id=d)
echo "$seen"
[ "$seen" = "memory: object 'm' is in use, can not be deleted; rng: /objects/r, deleted {}, , another r {}, " ]
