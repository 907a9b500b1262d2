#!/bin/bash
# Linux: a page that KSM merges is not write-protected with userfaultfd any more, and nobody is told
#
# version    linux-image-6.12.117+deb13-cloud-amd64 6.12.117-1 of Debian 13
# guess      a page protected with UFFDIO_WRITEPROTECT stays so until it is released: merging it with equal pages
#            (MADV_MERGEABLE, which QEMU asks for by default) only makes it read-only once more, and a write to it first
#            makes the event, then the copy. Else protecting and merging the same memory would be refused
# behaviour  both are accepted, and all pages but the one whose memory becomes the common one lose the protection. The
#            next write gets its copy from the kernel without an event, and pagemap says "not protected" (bit 57) before
#            that. Who saves memory as it was at an instant saves what was written afterwards
# seen       "not merged: 64 pages protected, 64 writes, 64 events; merged: 1 page protected, 64 writes, 1 event"
#
# Fails when merged pages make events. Needs apt-get with a package list of Debian, dpkg-deb, gcc with a static libc, cpio,
# qemu-system-x86_64 (emulation: no KVM, no root; the host's own KSM is left alone). A minute or two.
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

# The only program of the guest: merge, write, count.
cat >init.c <<'C'
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
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

#define PAGE  4096UL
#define PAGES 64
#define KSM   "/sys/kernel/mm/ksm/"

static int uffd;
static volatile int events;

static void must(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	reboot(RB_POWER_OFF);
}

static void set(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	must(fd >= 0 && write(fd, text, strlen(text)) > 0, path);
	close(fd);
}

static long scans(void)
{
	long n = -1;
	FILE *f = fopen(KSM "full_scans", "r");

	must(f && fscanf(f, "%ld", &n) == 1, "full_scans");
	fclose(f);
	return n;
}

static void protect(uintptr_t at, unsigned long bytes, int on)
{
	struct uffdio_writeprotect wp = {{at, bytes}, on ? UFFDIO_WRITEPROTECT_MODE_WP : 0};

	must(!ioctl(uffd, UFFDIO_WRITEPROTECT, &wp), "UFFDIO_WRITEPROTECT");
}

static void *serve(void *unused)
{
	struct uffd_msg m;

	while (read(uffd, &m, sizeof(m)) == sizeof(m)) {
		events++;
		protect(m.arg.pagefault.address & ~(PAGE - 1), PAGE, 0);
	}
	return unused;
}

static char *protected_pages(void)
{
	char *p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register r = {{(uintptr_t)p, PAGES * PAGE}, UFFDIO_REGISTER_MODE_WP, 0};

	must(p != MAP_FAILED && !madvise(p, PAGES * PAGE, MADV_NOHUGEPAGE), "mmap");
	memset(p, 7, PAGES * PAGE);
	must(!ioctl(uffd, UFFDIO_REGISTER, &r), "UFFDIO_REGISTER");
	protect((uintptr_t)p, PAGES * PAGE, 1);
	return p;
}

static void tell(const char *what, char *p, int pagemap)
{
	uint64_t entry[PAGES];
	int protected = 0, before = events;

	must(pread(pagemap, entry, sizeof(entry), (uintptr_t)p / PAGE * 8) == sizeof(entry), "pagemap");
	for (int i = 0; i < PAGES; i++)
		protected += entry[i] >> 57 & 1;
	for (int i = 0; i < PAGES; i++)
		*(volatile char *)(p + i * PAGE) = 1;
	printf("SEEN %s: %d page%s protected, %d writes, %d event%s\n", what, protected,
	       protected == 1 ? "" : "s", PAGES, events - before, events - before == 1 ? "" : "s");
}

int main(void)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP};
	pthread_t thread;
	int pagemap;
	long now;
	char *p;

	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	must(!mount("proc", "/proc", "proc", 0, NULL) && !mount("sys", "/sys", "sysfs", 0, NULL), "mount");
	pagemap = open("/proc/self/pagemap", O_RDONLY);
	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	must(pagemap >= 0 && uffd >= 0 && !ioctl(uffd, UFFDIO_API, &api), "userfaultfd");
	must(!pthread_create(&thread, NULL, serve, NULL), "thread");

	tell("not merged", protected_pages(), pagemap);
	p = protected_pages();
	must(!madvise(p, PAGES * PAGE, MADV_MERGEABLE), "MADV_MERGEABLE");
	set(KSM "pages_to_scan", "1000");
	set(KSM "sleep_millisecs", "1");
	set(KSM "run", "1");
	for (now = scans(); scans() < now + 4;)
		usleep(10000);
	set(KSM "run", "0"); /* no more merging; what is merged stays */
	tell("merged", p, pagemap);
	fflush(stdout);
	reboot(RB_POWER_OFF);
}
C
mkdir guest
gcc -O1 -static -pthread -o guest/init init.c
(cd guest && echo init | cpio -o -H newc --quiet) >initrd
timeout 300 qemu-system-x86_64 -M pc -accel tcg -m 256 -display none -nodefaults -serial stdio -no-reboot \
	-kernel "root/boot/vmlinuz-$kernel" -initrd initrd -append "console=ttyS0 quiet panic=-1" </dev/null >console 2>&1
seen=$(tr -d '\r' <console | sed -n 's/^.*SEEN //p' | paste -s -d ';' | sed 's/;/; /')
echo "$seen"
[ "$seen" = "not merged: 64 pages protected, 64 writes, 64 events; merged: 1 page protected, 64 writes, 1 event" ] ||
	{ tail console; exit 1; }
