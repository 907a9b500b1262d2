/* image-files.h - image files in a folder of their own, and qemu-img as the judge of them */
#ifndef MINIVMM_TESTS_IMAGE_FILES_H
#define MINIVMM_TESTS_IMAGE_FILES_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/block/image.h"
#include "devices/block/qcow2/qcow2.h"
#include "tests/unit/check-main.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

struct files {
	char dir[32];
	char *path[96]; /* handed out by file_path() */
	unsigned n;
};

static inline void files_init(struct files *f)
{
	*f = (struct files){.dir = "/tmp/minivmm-XXXXXX"};
	ck_assert_ptr_nonnull(mkdtemp(f->dir));
}

static inline void files_fini(struct files *f)
{
	char command[64];

	(void)snprintf(command, sizeof(command), "rm -rf %s", f->dir);
	ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
	while (f->n)
		free(f->path[--f->n]);
}

static inline const char *file_path(struct files *f, const char *name)
{
	ck_assert_uint_lt(f->n, ARRAY_LEN(f->path));
	f->path[f->n] = xasprintf("%s/%s", f->dir, name);
	return f->path[f->n++];
}

/* A raw file; byte i is seed + i / 512, seed 0: a hole. */
static inline const char *file_raw(struct files *f, const char *name, uint64_t bytes, unsigned seed)
{
	const char *path = file_path(f, name);
	uint8_t *p = xcalloc(1, bytes + 1);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	for (uint64_t i = 0; seed && i < bytes; i++)
		p[i] = (uint8_t)(seed + i / 512);
	ck_assert_int_eq(
	    seed ? pwrite(fd, p, bytes, 0) == (ssize_t)bytes : ftruncate(fd, (off_t)bytes) == 0, 1);
	(void)close(fd);
	free(p);
	return path;
}

static inline const char *file_qcow2(struct files *f, const char *name,
				     const struct qcow2_create *c)
{
	const char *path = file_path(f, name);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct qcow2_storage s = {.ops = &qcow2_storage_file, .opaque = &fd};
	struct err err = {0};

	ck_assert_int_ge(fd, 0);
	ck_assert_msg(qcow2_create(&s, c, &err) == 0, "%s", err.msg);
	(void)close(fd);
	return path;
}

/* What qemu-img says of it: its exit status; 127: there is no qemu-img. */
static inline int qemu_img(const char *command, const char *path)
{
	char text[256];
	int status;

	(void)snprintf(text, sizeof(text), "qemu-img %s %s >/dev/null", command, path);
	status = system(text); // NOLINT(cert-env33-c)
	return WEXITSTATUS(status);
}

/*
 * The io_uring of a process that was killed keeps its files and their locks for a moment after the
 * process has been waited for.
 */
static inline void await_locks(const char *path)
{
	struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 104};
	int fd = open(path, O_RDWR | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLKW, &all), 0);
	(void)close(fd);
}

/* 'leaks': a process was killed. */
static inline void judge(const char *path, bool leaks)
{
	int status;

	await_locks(path);
	status = qemu_img("check -q", path);

	if (status == 127)
		skip_test("no qemu-img: nobody has judged the image");
	else
		ck_assert_msg(status == 0 || (leaks && status == 3), "qemu-img check: %d", status);
}

#endif
