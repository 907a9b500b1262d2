#!/bin/bash
# move.sh - a guest moves, while it runs, from one process to another on this host
#
#     GUEST="-kernel vmlinuz -initrd initrd.img -append console=ttyS0 -m 512" examples/move.sh
#
# Between hosts it is '-incoming tcp:0:4444' there, and 'move tcp:HOST:4444' here.
set -eu
dir=$(mktemp -d)
trap 'kill $(cat "$dir"/*.pid 2>/dev/null) 2>/dev/null || :; rm -rf "$dir"' EXIT
guest=()
# shellcheck disable=SC2153
eval "guest=($GUEST)"

# vm NAME OPTION...: the same guest at each end, but for its serial port and its monitor
vm() {
	local name=$1
	shift
	minivmm "${guest[@]}" -name "$name" -nodefaults -serial "file:$dir/$name.log" \
		-qmp "unix:$dir/$name,server=on,wait=off" -daemonize -pidfile "$dir/$name.pid" "$@"
}

vm source
vm destination -incoming "unix:$dir/move"
minivmm-ctl -s "$dir/source" move --max-pause 50 --quit "unix:$dir/move"
minivmm-ctl -s "$dir/destination" status
minivmm-ctl -s "$dir/destination" quit --wait
