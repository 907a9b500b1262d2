#!/bin/bash
# qemu-img: all requests of bench write from one buffer, whatever the depth
#
# version    qemu-img 7.2.22 (Debian 12); strace
# guess      bench -d 16 -s 1M has sixteen requests with a buffer each in flight, as a guest's disk would: it allocates
#            sixteen times 1 MiB for them, and fills them
# behaviour  every request is given the first of the sixteen. It stays in the processor's cache, so a write costs what the copy
#            into the page cache costs and not the reading of memory beside it: about a quarter less with 1 MiB. A program
#            that uses a buffer for each request looks slower beside it than it is.
# seen       "64 requests from 1 buffer"
#
# Fails when there are several buffers. Needs qemu-img and strace.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
qemu-img create -q -f raw "$dir/image" 64M
strace -f -qq -e trace=pwrite64,pwritev -e raw=pwrite64,pwritev -o "$dir/calls" \
	qemu-img bench -w -f raw -i threads -t writeback -d 16 -s 1M -c 64 "$dir/image" >/dev/null
requests=$(grep -c '0x100000, ' "$dir/calls")
buffers=$(sed -n 's/.*pwrite64(0x[0-9a-f]*, \(0x[0-9a-f]*\), 0x100000, .*/\1/p' "$dir/calls" | sort -u | wc -l)
echo "$requests requests from $buffers buffer"
[ "$requests" -eq 64 ] && [ "$buffers" -eq 1 ]
