#!/bin/bash
# Linux: a page that does not exist looks swapped out once it has been write-protected with userfaultfd
#
# version    linux-image-6.12.117+deb13-cloud-amd64 6.12.117-1 of Debian 13
# guess      UFFDIO_WRITEPROTECT over memory that was never touched (feature WP_UNPOPULATED) leaves a mark in the page tables that
#            tools do not see: pagemap says neither present (bit 63) nor swapped (bit 62), for there is no swap at all
# behaviour  pagemap says "swapped" of every such page, and PAGEMAP_SCAN gives the category SWAPPED too, on a host without swap;
#            smaps says that 0 kB are swapped. Releasing the protection of the page takes that back. Who asks pagemap which pages of a
#            guest have ever been touched gets all of them while a background snapshot is made
# seen       "untouched: pagemap 0 present, 0 swapped; scan 0 swapped; smaps 0 kB", then "protected: pagemap 0 present,
#            64 swapped; scan 64 swapped; smaps 0 kB", and after the release the first line again
#
# Fails when such pages look absent. Needs apt-get with a package list of Debian, dpkg-deb, gcc with a static libc, cpio,
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

# The only program of the guest: look at 64 pages that nobody has touched.
cat >init.c <<'C'
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE             4096UL
#define PAGES            64
#define WP_UNPOPULATED   (1UL << 13)
#define CATEGORY_SWAPPED (1UL << 4)

struct region {
	uint64_t start, end, categories;
};

struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, anyof, wanted;
};

static int uffd, pagemap;

static void must(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	reboot(RB_POWER_OFF);
}

static void protect(char *p, int on)
{
	struct uffdio_writeprotect wp = {{(uintptr_t)p, PAGES * PAGE}, on ? UFFDIO_WRITEPROTECT_MODE_WP : 0};

	must(!ioctl(uffd, UFFDIO_WRITEPROTECT, &wp), "UFFDIO_WRITEPROTECT");
}

static unsigned long scanned(char *p)
{
	struct region r[PAGES];
	struct scan s = {.size = sizeof(s), .start = (uintptr_t)p, .end = (uintptr_t)p + PAGES * PAGE,
			 .vec = (uintptr_t)r, .vec_len = PAGES, .anyof = CATEGORY_SWAPPED, .wanted = CATEGORY_SWAPPED};
	unsigned long pages = 0;
	int n = ioctl(pagemap, _IOWR('f', 16, struct scan), &s);

	must(n >= 0, "PAGEMAP_SCAN");
	for (int i = 0; i < n; i++)
		pages += (r[i].end - r[i].start) / PAGE;
	return pages;
}

static long smaps_kb(char *p)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long from, to;
	char line[256];
	long kb = -1;
	int here = 0;

	must(f != NULL, "smaps");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = (uintptr_t)p >= from && (uintptr_t)p < to;
		if (here && sscanf(line, "Swap: %ld", &kb) == 1)
			break;
	}
	fclose(f);
	return kb;
}

static void tell(const char *what, char *p)
{
	uint64_t entry[PAGES];
	int present = 0, swapped = 0;

	must(pread(pagemap, entry, sizeof(entry), (uintptr_t)p / PAGE * 8) == sizeof(entry), "pagemap");
	for (int i = 0; i < PAGES; i++) {
		present += entry[i] >> 63 & 1;
		swapped += entry[i] >> 62 & 1;
	}
	printf("SEEN %s: pagemap %d present, %d swapped; scan %lu swapped; smaps %ld kB\n", what, present, swapped,
	       scanned(p), smaps_kb(p));
}

int main(void)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | WP_UNPOPULATED};
	struct uffdio_register r = {.mode = UFFDIO_REGISTER_MODE_WP};
	char *p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	mkdir("/proc", 0755);
	must(!mount("proc", "/proc", "proc", 0, NULL), "mount");
	pagemap = open("/proc/self/pagemap", O_RDONLY);
	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	must(p != MAP_FAILED && pagemap >= 0 && uffd >= 0 && !ioctl(uffd, UFFDIO_API, &api), "userfaultfd");
	r.range.start = (uintptr_t)p;
	r.range.len = PAGES * PAGE;
	must(!ioctl(uffd, UFFDIO_REGISTER, &r), "UFFDIO_REGISTER");
	tell("untouched", p);
	protect(p, 1);
	tell("protected", p);
	protect(p, 0);
	tell("released", p);
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
[ "$seen" = "untouched: pagemap 0 present, 0 swapped; scan 0 swapped; smaps 0 kB | protected: pagemap 0 present, 64 swapped; scan 64 swapped; smaps 0 kB | released: pagemap 0 present, 0 swapped; scan 0 swapped; smaps 0 kB" ] ||
	{ tail console; exit 1; }
