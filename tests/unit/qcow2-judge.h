/*
 * qcow2-judge.h - what tests of qcow2 images share: images made by qemu-img, in memory, and judged
 * by it and by our own check; snapshots with a VM state that tells its place
 */
#ifndef MINIVMM_TESTS_QCOW2_JUDGE_H
#define MINIVMM_TESTS_QCOW2_JUDGE_H

#include <stdarg.h>
#include <sys/wait.h>

#include "tests/unit/check-main.h"
#include "tests/unit/qcow2-rig.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"

/* ---- qemu-img ---- */

static char dir[32];

static inline const char *image_path(void)
{
	static char path[64];

	(void)snprintf(path, sizeof(path), "%s/image", dir);
	return path;
}

__attribute__((noinline, unused, format(printf, 1, 2))) static int shell(const char *fmt, ...)
{
	char line[500];
	va_list args;
	int status;

	va_start(args, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	status = system(line);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline bool qemu_img_there(void)
{
	if (shell("command -v qemu-img >/dev/null") == 0)
		return true;
	skip_test("qemu-img is not installed");
	return false;
}

static inline void begin_dir(void)
{
	(void)log_open("/dev/null", NULL);
	(void)snprintf(dir, sizeof(dir), "/tmp/minivmm-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static inline void end_dir(void)
{
	ck_assert_int_eq(shell("rm -r %s", dir), 0);
}

/* 0 clean, 2 errors, 3 leaks. */
static inline int qemu_check(const struct rig *m)
{
	rig_store(m, image_path());
	return shell("qemu-img check -f qcow2 %s >%s/out 2>&1 || { rc=$?; cat %s/out; exit $rc; }",
		     image_path(), dir, dir);
}

__attribute__((noinline, unused)) static struct rig *new_image(const char *options, uint64_t bytes)
{
	struct rig *m = NEW(struct rig);

	ck_assert_int_eq(shell("qemu-img create -q -f qcow2 %s %s %llu", options, image_path(),
			       (unsigned long long)bytes),
			 0);
	rig_load(m, image_path());
	m->remember = true;
	return m;
}

__attribute__((noinline, unused)) static struct rig *copy_image(const struct rig *from)
{
	struct rig *m = NEW(struct rig);

	rig_room(m, from->bytes);
	memcpy(m->p, from->p, from->bytes);
	m->remember = true;
	return m;
}

/* The image is what qemu-img has made of the file. */
__attribute__((noinline, unused)) static void load_again(struct rig *m)
{
	rig_fini(m);
	rig_load(m, image_path());
	m->remember = true;
}

static inline void free_image(struct rig *m)
{
	rig_fini(m);
	free(m);
}

/* ---- our own check ---- */

static bool image_discards;  /* what is let go is given back to the storage */
static bool errors_expected; /* and so not printed */

static inline void say(void *opaque, const char *text)
{
	(void)opaque;
	if (strncmp(text, "Leaked", 6) == 0 || errors_expected)
		return;
	(void)printf("%s\n", text);
	(void)fflush(stdout);
}

__attribute__((noinline, unused)) static struct qcow2_check own_check_of(struct qcow2 *q)
{
	struct qcow2_check c = {.say = say};
	struct err err = {0};

	ck_assert_msg(qcow2_check(q, 0, &c, &err) == 0, "%s", err.msg);
	return c;
}

__attribute__((noinline, unused)) static void assert_clean(struct qcow2 *q)
{
	struct qcow2_check c = own_check_of(q);

	ck_assert_uint_eq(c.errors, 0);
	ck_assert_uint_eq(c.leaks, 0);
}

__attribute__((noinline, unused)) static struct qcow2 *open_image(struct rig *m)
{
	const struct qcow2_storage s = rig_storage(m);
	const struct qcow2_open how = {.writable = true, .discards = image_discards};
	struct qcow2 *q = NULL;
	struct err err = {0};

	ck_assert_msg(qcow2_open(&q, &s, &how, &err) == 0, "%s", err.msg);
	return q;
}

__attribute__((noinline, unused)) static void close_image(struct qcow2 *q)
{
	struct err err = {0};

	ck_assert_msg(qcow2_close(q, &err) == 0, "%s", err.msg);
}

/* ---- the disk, and a model of it ---- */

static inline int fill(struct qcow2 *q, uint8_t v, uint64_t off, size_t bytes)
{
	uint8_t *p = malloc(bytes);
	const struct iovec iov = {p, bytes};
	int ret;

	memset(p, v, bytes);
	ret = qcow2_writev(q, &iov, 1, off);
	free(p);
	return ret;
}

static inline void read_all(struct qcow2 *q, uint8_t *p, size_t bytes)
{
	const struct iovec iov = {p, bytes};

	ck_assert_int_eq(qcow2_readv(q, &iov, 1, 0), 0);
}

/* Bytes that tell their place, or, for qemu-io, all the same. */
static inline void state_bytes(uint8_t *p, size_t n, uint8_t seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = seed == '=' ? '=' : (uint8_t)(i * 7 + i / 251 + seed);
}

/* A snapshot of that name and n bytes of VM state. */
static inline int save(struct qcow2 *q, const char *name, size_t n, struct err *err)
{
	const struct qcow2_snapshot what = {.name = name,
					    .date_s = 1700000000,
					    .vm_clock_ns = 5,
					    .vmstate_bytes = n,
					    .icount = QCOW2_NO_ICOUNT};
	struct qcow2_saving *s;
	uint8_t *p = malloc(n + 1);
	int ret = qcow2_saving_begin(q, &s, err), begun = ret;

	state_bytes(p, n, (uint8_t)name[0]);
	for (size_t at = 0; at < n && ret == 0; at += 100000) {
		const struct iovec iov = {p + at, MIN(n - at, 100000U)};

		ret = qcow2_saving_write(s, &iov, 1, at, err);
	}
	free(p);
	if (ret == 0)
		ret = qcow2_saving_commit(s, &what, err);
	if (ret < 0 && begun == 0)
		qcow2_saving_abort(s);
	return ret;
}

__attribute__((noinline, unused)) static void must_save(struct qcow2 *q, const char *name, size_t n)
{
	struct err err = {0};

	ck_assert_msg(save(q, name, n, &err) == 0, "%s", err.msg);
}

__attribute__((noinline, unused)) static void assert_state(struct qcow2 *q, const char *name,
							   size_t n)
{
	const struct qcow2_snapshot *s = qcow2_snapshot_named(q, name);
	uint8_t *want = malloc(n + 1), *have = malloc(n + 1);
	struct err err = {0};

	ck_assert_ptr_nonnull(s);
	ck_assert_uint_eq(s->vmstate_bytes, n);
	state_bytes(want, n, (uint8_t)name[0]);
	ck_assert_msg(qcow2_snapshot_read(q, s->id, have, n, s->vmstate_off, &err) == 0, "%s",
		      err.msg);
	ck_assert_int_eq(memcmp(want, have, n), 0);
	free(want);
	free(have);
}

__attribute__((noinline, unused)) static void assert_disk_of(struct qcow2 *q, const char *name,
							     const uint8_t *want, size_t n)
{
	const struct qcow2_snapshot *s = qcow2_snapshot_named(q, name);
	uint8_t *have = malloc(n);
	struct err err = {0};

	ck_assert_ptr_nonnull(s);
	ck_assert_msg(qcow2_snapshot_read(q, s->id, have, n, 0, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(memcmp(want, have, n), 0);
	free(have);
}

#endif
