#!/bin/bash
# snapshot.sh - memory, devices and disk of a running guest at one instant, in its qcow2 image; and back to it
#
#     GUEST="-kernel vmlinuz -append 'console=ttyS0 root=/dev/vda' -m 512" examples/snapshot.sh
set -eu
dir=$(mktemp -d)
trap 'kill $(cat "$dir"/*.pid 2>/dev/null) 2>/dev/null || :; rm -rf "$dir"' EXIT
guest=()
# shellcheck disable=SC2153
eval "guest=($GUEST)"

# vm OPTION...: with a disk whose node is called disk
vm() {
	minivmm "${guest[@]}" -nodefaults -serial null -qmp "unix:$dir/qmp,server=on,wait=off" \
		-blockdev driver=qcow2,node-name=disk,file.driver=file,file.filename="$dir/disk.qcow2" \
		-device virtio-blk-device,drive=disk -daemonize -pidfile "$dir/vm.pid" "$@"
}

minivmm-img create -f qcow2 "$dir/disk.qcow2" 1G
vm
minivmm-ctl -s "$dir/qmp" snapshot save monday
minivmm-ctl -s "$dir/qmp" snapshot save tuesday
minivmm-ctl -s "$dir/qmp" snapshot list
minivmm-ctl -s "$dir/qmp" snapshot load monday
minivmm-ctl -s "$dir/qmp" snapshot delete monday
minivmm-ctl -s "$dir/qmp" quit --wait
# Another program starts from it.
vm -loadvm tuesday
minivmm-ctl -s "$dir/qmp" status
minivmm-ctl -s "$dir/qmp" quit --wait
minivmm-img check "$dir/disk.qcow2"
