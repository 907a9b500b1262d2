#!/bin/bash
# recover.sh - postcopy: the guest runs there before its memory is; the connection is lost, and it goes on over another one
#
#     GUEST="-kernel vmlinuz -append console=ttyS0 -m 512" examples/recover.sh
#
# The destination needs userfaultfd: root, or vm.unprivileged_userfaultfd=1, or access to /dev/userfaultfd.
set -eu
dir=$(mktemp -d)
trap 'kill $(cat "$dir"/*.pid 2>/dev/null) 2>/dev/null || :; rm -rf "$dir"' EXIT
guest=()
# shellcheck disable=SC2153
eval "guest=($GUEST)"

vm() {
	local name=$1
	shift
	minivmm "${guest[@]}" -name "$name" -nodefaults -serial "file:$dir/$name.log" -global migration.postcopy-ram=on \
		-qmp "unix:$dir/$name,server=on,wait=off" -daemonize -pidfile "$dir/$name.pid" "$@"
}

here() { minivmm-ctl -s "$dir/source" "$@"; }
there() { minivmm-ctl -s "$dir/destination" "$@"; }

# reaches STATUS COMMAND: until the end that COMMAND asks is there
reaches() {
	local said=
	until [[ $said == *"\"status\": \"$1\""* ]]; do
		[[ $said != *'"status": "completed"'* && $said != *'"status": "failed"'* ]]
		said=$("$2" --json qmp query-migrate)
	done
}

vm source
until [ -s "$dir/source.log" ]; do :; done # it works, and writes memory
vm destination -incoming "unix:$dir/first"
# So slowly that most of the memory is not there yet when the guest is.
here move --postcopy --max-pause 1 --rate 1M --postcopy-rate 1M --detach "unix:$dir/first"
here qmp migrate-start-postcopy
reaches postcopy-active here
here qmp migrate-pause # as if the network had failed; both ends wait, nothing is lost
reaches postcopy-paused here
reaches postcopy-paused there
there qmp migrate-recover "{\"uri\": \"unix:$dir/second\"}"
here move --resume --postcopy-rate 0 "unix:$dir/second"
there status
here quit
there quit --wait
