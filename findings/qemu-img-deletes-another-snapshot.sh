#!/bin/bash
# qemu-img: the same word names one snapshot for snapshot -a and another for snapshot -d
#
# version    qemu-utils 1:10.0.13+ds-0+deb13u1 of Debian 13 (the same in 7.2 and 11.1)
# guess      "snapshot -l" shows an ID and a TAG for each; "-a", "-d" and "convert -l" take either, and whichever
#            goes first when a tag looks like an ID, it is the same one for all of them
# behaviour  "-a" and "convert -l" look for an ID first, then for a tag. "-d" looks for tags only: an ID from the list
#            is "snapshot not found", unless a tag of another snapshot is equal to it, and that one is deleted then.
#            Tags that are numbers are accepted, as by QEMU's own jobs (snapshot-save), which know tags only. So
#            who has looked at a snapshot with "convert -l 1" and then says "-d 1" may have deleted another one
# seen       "1 is id 1 for convert -l, id 1 for -a, id 2 for -d; 3, an ID and no tag: convert -l and -a know it, -d does not"
#
# Fails when they agree. Needs apt-get with a package list of Debian, dpkg-deb; no KVM.
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
first() { run qemu-img convert -O raw "$@" raw && od -An -tu1 -N1 raw | tr -d ' '; }

# Three snapshots, IDs 1 to 3; the disk begins with the ID. Tags: 2, 1, last.
run qemu-img create -q -f qcow2 disk 1M
id=0
for tag in 2 1 last; do
	write $((id += 1)) '0 64k'
	run qemu-img snapshot -c "$tag" disk
done
write 9 '0 64k'
cp disk kept

seen="1 is id $(first -l 1 disk) for convert -l"
run qemu-img snapshot -a 1 disk
seen+=", id $(first disk) for -a"
cp kept disk
run qemu-img snapshot -d 1 disk
gone=$(run qemu-img snapshot -l disk | awk '$1 ~ /^[123]$/ { left += $1 } END { print 6 - left }')
seen+=", id $gone for -d; 3, an ID and no tag:"
cp kept disk
[ "$(first -l 3 disk)" = 3 ] && run qemu-img snapshot -a 3 disk && seen+=" convert -l and -a know it,"
if run qemu-img snapshot -d 3 disk 2>said; then
	seen+=" -d does, too"
elif grep -q 'snapshot not found' said; then
	seen+=" -d does not"
fi
echo "$seen"
wanted="1 is id 1 for convert -l, id 1 for -a, id 2 for -d; 3, an ID and no tag: convert -l and -a know it, -d does not"
[ "$seen" = "$wanted" ]
