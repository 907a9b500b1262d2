#!/bin/bash
# systemd: SystemCallFilter=@system-service lets a program manage its memory, but not ask what of it is there
#
# version    systemd 252.39-1~deb12u2 of Debian 12 and 257.13-1~deb13u1 of Debian 13
# guess      the set that the manual recommends to begin with, "excluding any special purpose calls", has every
#            call by which an unprivileged process handles its own memory: mincore() needs no privilege, and works on
#            nothing but the caller's mappings
# behaviour  madvise, mlock, mprotect, mremap, msync and even userfaultfd are in it, mincore is in no set but @known. A
#            service that calls it gets EPERM, or is killed, as the unit has it, and only where the filter is
# seen       "252: has madvise mlock mprotect mremap msync userfaultfd, lacks mincore, which is in @known"; 257: the same
#
# Fails when that is another line. Needs apt-get with package lists of Debian, dpkg-deb. No systemd has to run.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
# shellcheck disable=SC2016
site=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -n 1)

# tells SUITE VERSION: what the suite's systemd-analyze says, run with the suite's libraries
tells() {
	local dir=$tmp/$1 deb call has='' lacks='' libs=root/usr/lib/x86_64-linux-gnu
	mkdir -p "$dir/apt/state/lists/partial" "$dir/apt/cache/archives/partial" "$dir/apt/etc/preferences.d" "$dir/root"
	cd "$dir"
	: >apt/status
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site $1 main" >apt/etc/list
	world=(apt-get -o Dir="$dir/apt" -o Dir::State="$dir/apt/state" -o Dir::State::status="$dir/apt/status"
		-o Dir::Cache="$dir/apt/cache" -o Dir::Etc="$dir/apt/etc" -o Dir::Etc::SourceList="$dir/apt/etc/list"
		-o Dir::Etc::SourceParts=- -o Dir::Etc::Parts=- -o APT::Sandbox::User=root -o Debug::NoLocking=1
		-o APT::Architecture=amd64 -o APT::Architectures=amd64)
	"${world[@]}" update >log 2>&1 </dev/null || { tail log >&2; return 1; }
	"${world[@]}" install -y --no-install-recommends --download-only "systemd=$2" "libsystemd-shared=$2" >log 2>&1 \
		</dev/null || { tail log >&2; return 1; }
	(cd root && mkdir -p usr/lib usr/lib64 usr/bin usr/sbin && ln -s usr/lib lib && ln -s usr/lib64 lib64 &&
		ln -s usr/bin bin && ln -s usr/sbin sbin)
	for deb in apt/cache/archives/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner -C root
	done
	analyze() {
		"$libs/ld-linux-x86-64.so.2" --library-path "$libs:$libs/systemd" root/usr/bin/systemd-analyze --no-pager "$@"
	}
	# A set names other sets: those of which it consists are asked in their turn.
	local sets=(@system-service) i=0
	: >calls
	while [ $i -lt ${#sets[@]} ]; do
		analyze syscall-filter "${sets[i]}" >one
		sed -nE 's/^ +([a-z0-9_]+)$/\1/p' one >>calls
		mapfile -t -O ${#sets[@]} sets < <(sed -nE 's/^ +(@[a-z0-9-]+)$/\1/p' one)
		i=$((i + 1))
	done
	for call in madvise mlock mprotect mremap msync userfaultfd mincore; do
		if grep -qx "$call" calls; then has+=" $call"; else lacks+=" $call"; fi
	done
	echo "${2%%.*}: has$has, lacks${lacks:- none}, which is in $(analyze syscall-filter |
		awk '/^@/ { set = $1 } $1 == "mincore" { print set }' | xargs)"
}

same="has madvise mlock mprotect mremap msync userfaultfd, lacks mincore, which is in @known"
seen=$(tells bookworm 252.39-1~deb12u2)
echo "$seen"
[ "$seen" = "252: $same" ]
seen=$(tells trixie 257.13-1~deb13u1)
echo "$seen"
[ "$seen" = "257: $same" ]
