#!/bin/bash
# Linux: UFFDIO_COPY into hugetlb says that a page exists when the host has none left
#
# version    Linux 6.18.44, x86-64
# guess      hugetlb_mfill_atomic_pte() (mm/hugetlb.c), when a page cannot be allocated, answers EEXIST if there is an entry in the page
#            tables, which its caller has made just before; ENOMEM can hardly come
# behaviour  a page of 2 MiB that was never there: UFFDIO_COPY fails with EEXIST instead of ENOMEM once the pool is empty. A VMM that takes
#            EEXIST for "another thread was first" believes that the page has come, and its guest reads zeroes or gets SIGBUS
# seen       "pool empty: errno 17 (File exists), page is not mapped"
#
# Fails when the errno is ENOMEM. Needs root, userfaultfd, gcc, and no huge pages in use; the pool is put back. A second.
set -eu
tmp=$(mktemp -d)
pool=/proc/sys/vm/nr_hugepages
had=$(cat $pool)
trap 'echo "$had" >$pool; rm -rf "$tmp"' EXIT
echo 0 >$pool
cat >"$tmp/t.c" <<'C'
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#define SIZE (2ul << 20)

int main(void)
{
	int fd = memfd_create("x", MFD_HUGETLB), u = (int)syscall(SYS_userfaultfd, O_CLOEXEC), e = 0;
	unsigned char there = 0;
	char *p, *from;

	if (fd < 0 || u < 0 || ftruncate(fd, SIZE))
		return perror("setup"), 2;
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	from = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (p == MAP_FAILED || from == MAP_FAILED)
		return perror("mmap"), 2;
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_MISSING_HUGETLBFS};
	struct uffdio_register r = {.range = {(unsigned long)p, SIZE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
	struct uffdio_copy c = {.dst = (unsigned long)p, .src = (unsigned long)from, .len = SIZE};
	if (ioctl(u, UFFDIO_API, &api) || ioctl(u, UFFDIO_REGISTER, &r))
		return perror("userfaultfd"), 2;
	if (ioctl(u, UFFDIO_COPY, &c))
		e = errno;
	(void)mincore(p, 4096, &there);
	printf("pool empty: errno %d (%s), page is %smapped\n", e, strerror(e), there & 1 ? "" : "not ");
	return e == EEXIST && !(there & 1) ? 0 : 1;
}
C
gcc -O1 -o "$tmp/t" "$tmp/t.c"
"$tmp/t"
