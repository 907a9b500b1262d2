#!/bin/bash
# Linux: /proc/PID/mem says EIO where a page is missing, and process_vm_readv() waits for it
#
# version    linux-image-6.12.117+deb13-cloud-amd64 6.12.117-1 of Debian 13
# guess      both read another program's memory by the same way in the kernel: where userfaultfd has yet to bring the page both make
#            an event and wait for it, like every other access
# behaviour  /proc/PID/mem returns EIO at once, and nobody is told; process_vm_readv() makes the event and waits. A debugger or
#            a backup tool that reads a guest whose memory still comes takes the page for one that cannot be read
# seen       "/proc/self/mem: Input/output error, 0 events | process_vm_readv: 1 byte, 1 event"
#
# Fails when the first one waits, too. Needs apt-get with a package list of Debian, dpkg-deb, gcc with a static libc, cpio,
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

# The only program of the guest: a missing page that is read in two ways.
cat >init.c <<'C'
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 4096UL

static void must(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	reboot(RB_POWER_OFF);
}

static int uffd;
static volatile int events;

static void *serve(void *unused)
{
	static char page[PAGE] = {7};
	struct uffd_msg m;

	while (read(uffd, &m, sizeof(m)) == sizeof(m)) {
		struct uffdio_copy c = {.dst = m.arg.pagefault.address & ~(PAGE - 1), .src = (uintptr_t)page, .len = PAGE};

		events++;
		must(!ioctl(uffd, UFFDIO_COPY, &c), "UFFDIO_COPY");
	}
	return unused;
}

int main(void)
{
	struct uffdio_register r = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	struct uffdio_api api = {.api = UFFD_API};
	struct iovec here, there;
	char byte = 0, *p;
	pthread_t thread;
	int mem, before;
	ssize_t n;

	mkdir("/proc", 0755);
	must(!mount("proc", "/proc", "proc", 0, NULL), "mount");
	p = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	must(p != MAP_FAILED && uffd >= 0 && !ioctl(uffd, UFFDIO_API, &api), "userfaultfd");
	r.range.start = (uintptr_t)p;
	r.range.len = 64 * PAGE;
	must(!ioctl(uffd, UFFDIO_REGISTER, &r) && !pthread_create(&thread, NULL, serve, NULL), "UFFDIO_REGISTER");
	mem = open("/proc/self/mem", O_RDONLY);
	must(mem >= 0, "/proc/self/mem");
	n = pread(mem, &byte, 1, (off_t)((uintptr_t)p + PAGE));
	printf("SEEN /proc/self/mem: %s, %d events\n", n == 1 ? "1 byte" : strerror(errno), events);
	before = events;
	here = (struct iovec){&byte, 1};
	there = (struct iovec){p + 2 * PAGE, 1};
	n = process_vm_readv(getpid(), &here, 1, &there, 1, 0);
	printf("SEEN process_vm_readv: %s, %d event\n", n == 1 && byte == 7 ? "1 byte" : strerror(errno), events - before);
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
[ "$seen" = "/proc/self/mem: Input/output error, 0 events | process_vm_readv: 1 byte, 1 event" ] ||
	{ tail console; exit 1; }
