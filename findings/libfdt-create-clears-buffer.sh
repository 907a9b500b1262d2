#!/bin/bash
# libfdt: fdt_create() writes the whole buffer, not just a header
#
# version    libfdt1, libfdt-dev 1.6.1-4 of Debian 12 (device-tree-compiler 1.6.1)
# guess      fdt_create(buf, size) notes the size and writes a header: the rest of a generous buffer is
#            touched as the tree grows, so its size costs address space only
# behaviour  fdt_create() clears all of it with memset() at once: every page of the buffer becomes
#            resident. A 256 KiB buffer for a tree of 3 KiB costs 64 page faults at start
# seen       "after fdt_create: 262144 of 262144 bytes cleared" and "finished tree: 80 bytes"
#
# Fails when the far end of the buffer is left alone. Needs apt-get and dpkg (a Debian 12 host with a
# package list), and a C compiler.
set -eu
version=1.6.1-4+b1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp"
cd "$tmp"
apt-get download "libfdt1=$version" "libfdt-dev=$version" >/dev/null
for deb in ./*.deb; do dpkg -x "$deb" root; done
lib=$(find root -name 'libfdt.a')
cat >try.c <<'C'
#include <libfdt.h>
#include <stdio.h>
#include <string.h>

static unsigned char buf[256 * 1024];

int main(void)
{
	size_t cleared = 0;

	memset(buf, 0xff, sizeof(buf));
	if (fdt_create(buf, sizeof(buf)) < 0)
		return 2;
	for (size_t i = 0; i < sizeof(buf); i++)
		cleared += buf[i] != 0xff;
	printf("after fdt_create: %zu of %zu bytes cleared\n", cleared, sizeof(buf));
	if (fdt_finish_reservemap(buf) < 0 || fdt_begin_node(buf, "") < 0 || fdt_end_node(buf) < 0 ||
	    fdt_finish(buf) < 0)
		return 2;
	printf("finished tree: %d bytes\n", fdt_totalsize(buf));
	/* The header's few bytes may hold any value; all behind it is zero. */
	return cleared < sizeof(buf) - 64;
}
C
cc -Iroot/usr/include try.c "$lib" -o try
if ./try; then
	echo "as found: the whole buffer is written"
else
	echo "changed: fdt_create() leaves the end of the buffer alone"
	exit 1
fi
