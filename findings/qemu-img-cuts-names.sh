#!/bin/bash
# qemu-img: a snapshot's name is cut off behind 255 bytes without a word, and the name that was given finds nothing
#
# version    qemu-utils 1:10.0.13+ds-0+deb13u1 of Debian 13 (the same in 7.2, and in snapshot-save of 7.2)
# guess      the format has room for 65535 bytes of a name, so a longer one than a program takes is refused
# behaviour  "snapshot -c" cuts it off and succeeds. Two names that differ behind the 255th byte become two snapshots of one
#            name, without the complaint that snapshot-save makes of a name that is there. "snapshot -a" and "-d" do not cut
#            it off, so that they do not find what has just been made by the same word, and the short one is the older of the two
# seen       "made 0 0, names of 255 255 bytes, by the long name: apply 1, delete 1; by the short one: the older" (one line)
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

status() { if "$@" >>log 2>&1; then echo 0; else echo 1; fi; }

name=$(printf 'n%.0s' {1..255})
run qemu-img create -q -f qcow2 disk 1M
seen="made $(status run qemu-img snapshot -c "$name-monday" disk)"
run qemu-io -c 'write -P 7 0 64k' disk >>log
seen+=" $(status run qemu-img snapshot -c "$name-tuesday" disk), names of"
for n in $(run qemu-img info --output=json disk | sed -n 's/.*"name": "\(n[^"]*\)".*/\1/p'); do seen+=" ${#n}"; done
seen+=" bytes, by the long name: apply $(status run qemu-img snapshot -a "$name-tuesday" disk)"
seen+=", delete $(status run qemu-img snapshot -d "$name-tuesday" disk); by the short one:"
run qemu-img snapshot -a "$name" disk
if run qemu-io -c 'read -P 0 0 64k' disk | grep -q 'verification failed'; then seen+=" the younger"; else seen+=" the older"; fi
echo "$seen"
[ "$seen" = "made 0 0, names of 255 255 bytes, by the long name: apply 1, delete 1; by the short one: the older" ]
