#!/bin/bash
# Linux: a mapping of huge pages of which a part was registered with userfaultfd stays in two parts
#
# version    linux-image-6.12.117+deb13-cloud-amd64 6.12.117-1 of Debian 13
# guess      UFFDIO_UNREGISTER makes the mapping what it was before: the kernel joins neighbours that are equal again, as it does
#            for mappings of ordinary pages. A program that counts or looks up its mappings finds the one that it made
# behaviour  true for a memfd of ordinary pages; mappings of hugetlb are never joined, and stay split for good. What goes by whole mappings,
#            as /proc/PID/smaps and map_files do, no longer finds the block
# seen       "memfd: 1 mapping, 2 while half is registered, 1 afterwards | hugetlb: 1 mapping, 2 while half is registered, 2 afterwards"
#
# Fails when the second one is whole again. Needs apt-get with a package list of Debian, dpkg-deb, gcc with a static libc, cpio,
# qemu-system-x86_64 (emulation: no KVM, no root). A minute or two.
set -eu
version=6.12.117-1 kernel=6.12.117+deb13-cloud-amd64
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

# Debian 13's kernel from the place that this host's come from, in a world of their own.
# shellcheck disable=SC2016
site=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -n 1)
mkdir -p apt/state/lists/partial apt/cache/archives/partial apt/etc/preferences.d
: >apt/status
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site trixie main" >apt/etc/list
world() {
	apt-get -o Dir="$tmp/apt" -o Dir::State="$tmp/apt/state" -o Dir::State::status="$tmp/apt/status" \
		-o Dir::Cache="$tmp/apt/cache" -o Dir::Etc="$tmp/apt/etc" -o Dir::Etc::SourceList="$tmp/apt/etc/list" \
		-o Dir::Etc::SourceParts=- -o Dir::Etc::Parts=- -o APT::Sandbox::User=root -o Debug::NoLocking=1 \
		-o APT::Architecture=amd64 -o APT::Architectures=amd64 "$@" >log 2>&1 </dev/null || { tail log; exit 1; }
}
world update
world download "linux-image-$kernel=$version"
mkdir -p root
for deb in ./*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -x --no-same-owner -C root ./boot; done

# The only program of the guest: half of a mapping is registered, and is not any more.
cat >init.c <<'C'
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096UL

static void must(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	reboot(RB_POWER_OFF);
}

#define SIZE (8UL << 20)

static int uffd;

/* Of these bytes of memory. */
static int mappings(char *p)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long from, to;
	char line[512];
	int n = 0;

	must(f != NULL, "maps");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx", &from, &to) == 2)
			n += from < (uintptr_t)p + SIZE && to > (uintptr_t)p;
	fclose(f);
	return n;
}

static void try(const char *name, unsigned flags)
{
	struct uffdio_register r = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	int fd = memfd_create(name, flags), before, split;
	char *p;

	must(fd >= 0 && !ftruncate(fd, SIZE), name);
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	must(p != MAP_FAILED, "mmap");
	before = mappings(p);
	r.range.start = (uintptr_t)p;
	r.range.len = SIZE / 2;
	must(!ioctl(uffd, UFFDIO_REGISTER, &r), "UFFDIO_REGISTER");
	split = mappings(p);
	must(!ioctl(uffd, UFFDIO_UNREGISTER, &r.range), "UFFDIO_UNREGISTER");
	printf("SEEN %s: %d mapping, %d while half is registered, %d afterwards\n", name, before, split, mappings(p));
}

int main(void)
{
	struct uffdio_api api = {.api = UFFD_API};

	mkdir("/proc", 0755);
	must(!mount("proc", "/proc", "proc", 0, NULL), "mount");
	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	must(uffd >= 0 && !ioctl(uffd, UFFDIO_API, &api), "userfaultfd");
	try("memfd", 0);
	try("hugetlb", MFD_HUGETLB);
	fflush(stdout);
	reboot(RB_POWER_OFF);
}
C
mkdir guest
gcc -O1 -static -pthread -o guest/init init.c
(cd guest && echo init | cpio -o -H newc --quiet) >initrd
timeout 300 qemu-system-x86_64 -M pc -accel tcg -m 256 -display none -nodefaults -serial stdio -no-reboot \
	-kernel "root/boot/vmlinuz-$kernel" -initrd initrd -append "console=ttyS0 quiet panic=-1" </dev/null >console 2>&1
seen=$(tr -d '\r' <console | sed -n 's/^.*SEEN //p' | paste -s -d '|' | sed 's/|/ | /g')
echo "$seen"
[ "$seen" = "memfd: 1 mapping, 2 while half is registered, 1 afterwards | hugetlb: 1 mapping, 2 while half is registered, 2 afterwards" ] ||
	{ tail console; exit 1; }
