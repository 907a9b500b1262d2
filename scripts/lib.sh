# shellcheck shell=bash
# lib.sh - what the scripts share: where things are, and how to say something
#
# Source it after setting 'prog'.

# shellcheck disable=SC2034
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${MINIVMM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/minivmm}
: "${prog:=${0##*/}}"

say() { printf '%s: %s\n' "$prog" "$*" >&2; }

# die STATUS TEXT...
die() {
	local rc=$1
	shift
	say "$*"
	exit "$rc"
}

is_root() { [ "$(id -u)" = 0 ]; }

# The usage is the comment at the top of the script, from line 2 to the first line that is none.
usage() { sed -n '2,${/^#/!q;s/^# \{0,1\}//;p}' "$0"; }

# with_lock NAME COMMAND...: one at a time on this machine, across all clones that share the cache
with_lock() {
	local name=$1
	shift
	mkdir -p "$cache" || die 1 "cannot make the cache directory $cache"
	(
		flock 9 || exit 1
		"$@" 9>&-
	) 9>"$cache/$name.lock"
}

# strip_module FILE DIR: a kernel module, which Debian 13 packs, unpacked into DIR without symbols. Its
# signature goes with them, and so does the time it takes to check it. Prints the name it has there.
strip_module() {
	local name=${1##*/} plain
	name=${name%.xz} name=${name%.zst}
	plain=$2/.$name
	case $1 in
	*.xz) xz -dc "$1" >"$plain" ;;
	*.zst) zstd -dcq "$1" >"$plain" ;;
	*) cp "$1" "$plain" ;;
	esac && strip --strip-debug -o "$2/$name" "$plain" && rm "$plain" && echo "$name"
}
