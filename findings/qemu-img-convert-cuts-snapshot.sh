#!/bin/bash
# qemu-img: convert -l gives a snapshot's disk the size that the image has now, and cuts off what does not fit
#
# version    qemu-utils 1:10.0.13+ds-0+deb13u1 of Debian 13 (the same in 7.2 and 11.1)
# guess      a snapshot in a qcow2 image holds the size of its disk: "snapshot -a" restores it, so a copy of the snapshot
#            made with "convert -l" has that size, too
# behaviour  the copy has the size of the disk as it is now. Of a snapshot from before a shrink the copy lacks the end
#            of the disk, which the snapshot still has, and the exit status is 0; of one from before a growth it has zeroes
#            behind the end, where a guest does not find the second header of its partition table. To copy a snapshot as
#            it is, apply it to a copy of the image
# seen       "snapshot of 2 MiB, disk shrunk to 1 MiB: convert -l 1 MiB, apply and convert 2 MiB;
#            snapshot of 2 MiB, disk grown to 3 MiB: convert -l 3 MiB, apply and convert 2 MiB" (one line)
#
# Fails when a copy has another size. Needs apt-get with a package list of Debian, dpkg-deb; no KVM.
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
world install -y --no-install-recommends --download-only "qemu-utils=$version"
(cd root && mkdir -p usr/lib usr/lib64 usr/bin usr/sbin && ln -s usr/lib lib && ln -s usr/lib64 lib64 &&
	ln -s usr/bin bin && ln -s usr/sbin sbin)
for deb in apt/cache/archives/*.deb; do
	dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner -C root
done
libs=root/usr/lib/x86_64-linux-gnu
run() {
	local program=root/usr/bin/$1
	shift
	"$libs/ld-linux-x86-64.so.2" --library-path "$libs" "$program" "$@"
}
write() { run qemu-io -c "write -P $1 $2" disk >>log; }
mib() { echo "$(($(stat -c %s "$1") / 1048576)) MiB"; }

# try RESIZE...: a disk of 2 MiB with data up to its end, a snapshot, another size
try() {
	rm -f disk copy applied
	run qemu-img create -q -f qcow2 disk 2M
	write 7 '0 2M'
	run qemu-img snapshot -c before disk
	run qemu-img resize -q "$@"
	run qemu-img convert -l before -O raw disk copy
	run qemu-img snapshot -a before disk
	run qemu-img convert -O raw disk applied
	echo "convert -l $(mib copy), apply and convert $(mib applied)"
}
seen="snapshot of 2 MiB, disk shrunk to 1 MiB: $(try --shrink disk 1M)"
seen+="; snapshot of 2 MiB, disk grown to 3 MiB: $(try disk 3M)"
echo "$seen"
wanted="snapshot of 2 MiB, disk shrunk to 1 MiB: convert -l 1 MiB, apply and convert 2 MiB"
wanted+="; snapshot of 2 MiB, disk grown to 3 MiB: convert -l 3 MiB, apply and convert 2 MiB"
[ "$seen" = "$wanted" ]
