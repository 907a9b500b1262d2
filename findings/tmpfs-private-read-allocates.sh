#!/bin/bash
# Linux: to read a hole of a tmpfs file through a private mapping puts a page into the file
#
# version    linux-image-6.12.117+deb13-cloud-amd64 6.12.117-1 of Debian 13
# guess      a private mapping leaves the file as it is: where the file has a hole a read maps the zero page, as in
#            private anonymous memory, and only a write makes a page, which is the process's own. So a file that was all holes stays so
# behaviour  each page that is read is allocated in the file, and charged there; pread() of the same holes allocates none. After MADV_DONTNEED
#            such a page is not missing for userfaultfd any more, for the file has it: whoever waits for content gets zeroes
# seen       "private mapping: 16 pages read, 16 in the file | pread: 16 pages read, 0 in the file"
#
# Fails when the file stays empty. Needs apt-get with a package list of Debian, dpkg-deb, gcc with a static libc, cpio,
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

# The only program of the guest: holes that are read in two ways.
cat >init.c <<'C'
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096UL

static void must(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	reboot(RB_POWER_OFF);
}

static void tell(const char *how, int fd)
{
	struct stat s;

	must(!fstat(fd, &s), "fstat");
	printf("SEEN %s: 16 pages read, %ld in the file\n", how, (long)s.st_blocks * 512 / (long)PAGE);
}

int main(void)
{
	int fd[2] = {memfd_create("mapped", 0), memfd_create("read", 0)};
	char piece[PAGE], *p;
	unsigned sum = 0;

	must(fd[0] >= 0 && fd[1] >= 0 && !ftruncate(fd[0], 64 * PAGE) && !ftruncate(fd[1], 64 * PAGE), "memfd");
	p = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd[0], 0);
	must(p != MAP_FAILED, "mmap");
	for (unsigned long i = 0; i < 16; i++)
		sum += *(volatile unsigned char *)(p + i * PAGE);
	for (unsigned long i = 0; i < 16; i++)
		must(pread(fd[1], piece, PAGE, (off_t)(i * PAGE)) == (ssize_t)PAGE, "pread");
	must(sum == 0, "zeroes");
	tell("private mapping", fd[0]);
	tell("pread", fd[1]);
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
[ "$seen" = "private mapping: 16 pages read, 16 in the file | pread: 16 pages read, 0 in the file" ] ||
	{ tail console; exit 1; }
