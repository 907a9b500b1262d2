#!/bin/bash
# Linux: UFFDIO_COPY says that a huge page is there already when the host has none left for it
#
# version    linux-image-6.18.12+deb13-cloud-amd64 6.18.12-1~bpo13+1 of Debian 13 backports (6.12.117 says ENOMEM)
# guess      where the pool of huge pages is empty UFFDIO_COPY into hugetlb memory fails with ENOMEM, and with EEXIST only where a page
#            is there: so EEXIST means that another thread was first, and all is well
# behaviour  once the pool is empty it fails with EEXIST for a page that is nowhere: pagemap says that none is present. A VMM that takes
#            EEXIST for success believes that the page has come, and its guest reads zeroes there
# seen       "page 1: copied, present | page 2: copied, present | page 3: EEXIST, absent"
#
# Fails when the answer is ENOMEM. Needs apt-get with a package list of Debian, dpkg-deb, gcc with a static libc, cpio,
# qemu-system-x86_64 (emulation: no KVM, no root; the host's own pool is left alone). A minute or two.
set -eu
version=6.18.12-1~bpo13+1 kernel=6.18.12+deb13-cloud-amd64
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

# That kernel from the place that this host's come from, in a world of their own.
# shellcheck disable=SC2016
site=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -n 1)
mkdir -p apt/state/lists/partial apt/cache/archives/partial apt/etc/preferences.d
: >apt/status
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site trixie-backports main" >apt/etc/list
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

# The only program of the guest: a pool of two huge pages, and three that are asked for.
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

#define HUGE  (2UL << 20)
#define PAGES 3

static void must(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	reboot(RB_POWER_OFF);
}

int main(void)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_MISSING_HUGETLBFS};
	struct uffdio_register r = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	int memfd, uffd, pagemap, pool;
	char *p, *from;

	mkdir("/proc", 0755);
	must(!mount("proc", "/proc", "proc", 0, NULL), "mount");
	pool = open("/proc/sys/vm/nr_hugepages", O_WRONLY);
	must(pool >= 0 && write(pool, "2", 1) == 1, "nr_hugepages");
	pagemap = open("/proc/self/pagemap", O_RDONLY);
	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	memfd = memfd_create("ram", MFD_HUGETLB);
	must(pagemap >= 0 && uffd >= 0 && memfd >= 0 && !ftruncate(memfd, PAGES * HUGE), "set-up");
	p = mmap(NULL, PAGES * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memfd, 0);
	from = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(p != MAP_FAILED && from != MAP_FAILED && !ioctl(uffd, UFFDIO_API, &api), "mmap");
	memset(from, 7, HUGE);
	r.range.start = (uintptr_t)p;
	r.range.len = PAGES * HUGE;
	must(!ioctl(uffd, UFFDIO_REGISTER, &r), "UFFDIO_REGISTER");
	for (int i = 0; i < PAGES; i++) {
		struct uffdio_copy c = {.dst = (uintptr_t)p + i * HUGE, .src = (uintptr_t)from, .len = HUGE};
		int error = ioctl(uffd, UFFDIO_COPY, &c) ? errno : 0;
		uint64_t entry = 0;

		must(pread(pagemap, &entry, 8, c.dst / 4096 * 8) == 8, "pagemap");
		printf("SEEN page %d: %s, %s\n", i + 1, error ? strerrorname_np(error) : "copied",
		       entry >> 63 ? "present" : "absent");
	}
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
[ "$seen" = "page 1: copied, present | page 2: copied, present | page 3: EEXIST, absent" ] ||
	{ tail console; exit 1; }
