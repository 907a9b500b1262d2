#!/bin/bash
# qemu-img: an image with a dirty bitmap keeps its snapshots from being applied, also a bitmap that records nothing
#
# version    qemu-utils 1:10.0.13+ds-0+deb13u1 of Debian 13 (the same in 7.2 and 11.1)
# guess      what lets a snapshot be made lets it be applied: "snapshot -c" takes an image with persistent bitmaps, in any
#            state of theirs, and an applied snapshot is one change more that a bitmap can record
# behaviour  "snapshot -a" refuses every snapshot of an image that has a bitmap, those from before the bitmap, too, and says
#            that it is active also when it is disabled; nothing warns of that when the bitmap is added or the snapshot is
#            made. It is applied when the bitmap is removed, with the backup chain that was to go on from there
# seen       "enabled: before 1, after 1; disabled: before 1, after 1; removed: before 0, after 0" (one line)
#
# Fails when that line is another one. Needs apt-get with a package list of Debian, dpkg-deb; no KVM.
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

# Whether the snapshots from before and after the bitmap was added can be applied.
try() {
	local tag line="$1:"
	for tag in before after; do
		if run qemu-img snapshot -a "$tag" disk 2>>log; then line+=" $tag 0,"; else line+=" $tag 1,"; fi
	done
	echo -n "${line%,}"
}

run qemu-img create -q -f qcow2 disk 1M
run qemu-img snapshot -c before disk
run qemu-img bitmap --add disk backup
run qemu-img snapshot -c after disk
seen=$(try enabled)
run qemu-img bitmap --disable disk backup
seen+="; $(try disabled)"
run qemu-img bitmap --remove disk backup
seen+="; $(try removed)"
echo "$seen"
[ "$seen" = "enabled: before 1, after 1; disabled: before 1, after 1; removed: before 0, after 0" ]
