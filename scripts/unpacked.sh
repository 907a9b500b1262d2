# shellcheck shell=bash
# unpacked.sh - packages of a Debian suite and all that they need, unpacked into a tree and not installed
#
# Source it after lib.sh. apt-get checks the packages against the archive's signature; root is not needed.

mirror=${MINIVMM_DEBIAN_MIRROR:-http://deb.debian.org/debian}
keys=/usr/share/keyrings/debian-archive-keyring.gpg

# apt-get with a world of its own in the directory 'apt': nothing is installed there.
apt() {
	local dir=$PWD/apt
	apt-get -o Dir="$dir" -o Dir::State="$dir/state" -o Dir::State::status="$dir/status" \
		-o Dir::Cache="$dir/cache" -o Dir::Etc="$dir/etc" -o Dir::Etc::SourceList="$dir/etc/list" \
		-o Dir::Etc::SourceParts=- -o Dir::Etc::Parts=- -o APT::Sandbox::User=root \
		-o APT::Architecture=amd64 -o APT::Architectures=amd64 -o Acquire::Retries=3 \
		-o Acquire::Languages=none -o Debug::NoLocking=1 "$@" </dev/null
}

make_world() {
	local suite
	mkdir -p apt/state/lists/partial apt/cache/archives/partial apt/etc/preferences.d || return 1
	: >apt/status
	for suite in $1; do
		echo "deb [signed-by=$keys] $mirror $suite main" >>apt/etc/list
	done
}

# unpack_packages SUITES PACKAGE...: into tree/root, below the current directory. The last suite is preferred.
unpack_packages() {
	local deb suites=$1
	shift
	make_world "$suites" && apt update >log 2>&1 || return 1
	apt install -y --no-install-recommends --download-only -t "${suites##* }" "$@" >>log 2>&1 || return 1
	mkdir -p tree/root || return 1
	# As on a merged system, so that older packages fall into the same places.
	(cd tree/root && mkdir -p usr/lib usr/lib64 usr/bin usr/sbin &&
		ln -s usr/lib lib && ln -s usr/lib64 lib64 && ln -s usr/bin bin && ln -s usr/sbin sbin) || return 1
	for deb in apt/cache/archives/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner -C tree/root || return 1
	done
	rm -rf tree/root/usr/share/doc tree/root/usr/share/locale tree/root/usr/share/man
}

# make_tree DIR COMMAND: DIR is what COMMAND has made as 'tree' in a directory of its own. It appears complete or not at all.
make_tree() {
	local tmp home=${1%/*}
	mkdir -p "$home" || return 1
	rm -rf "$home"/.new.*
	tmp=$(mktemp -d "$home/.new.XXXXXX") || return 1
	if ! (cd "$tmp" && "$2"); then
		tail -n 20 "$tmp/log" >&2
		rm -rf "$tmp"
		return 1
	fi
	mv -T "$tmp/tree" "$1" && rm -rf "$tmp"
}

need_package_tools() {
	local tool
	for tool in apt-get dpkg-deb tar; do
		command -v "$tool" >/dev/null || die 1 "needs Debian's package tools: there is no $tool"
	done
}
