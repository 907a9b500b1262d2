/* Disks in qcow2 images: requests side by side, each way to the file, errors, hand-overs, a kill.
 */
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "devices/block/file.h"
#include "devices/block/node.h"
#include "devices/block/qcow2-node.h"
#include "tests/unit/check-main.h"
#include "tests/unit/image-files.h"
#include "vmm/base/iov.h"
#include "vmm/loop.h"

#define DISK  (4 * MiB)
#define BATCH 8
#define PART  (DISK / BATCH)
#define MOST  (96 * KiB) /* of one request */

/* A node that is open, attached, and ours. */
struct rig {
	struct files f;
	const char *path;
	struct block_node *n;
	struct loop *l;
	unsigned pending, ended;
};

struct job {
	struct block_req req; /* first */
	struct iovec iov[3];
	struct rig *r;
	uint8_t *buf; /* MOST */
	int ret;
	unsigned place; /* the how manyeth that ended */
};

/* ---- the rig ---- */

static struct cfg_blockdev cfg_of(const char *path)
{
	return (struct cfg_blockdev){.node_name = (char *)(uintptr_t) "n",
				     .driver = (char *)(uintptr_t) "qcow2",
				     .filename = (char *)(uintptr_t)path,
				     .writeback = true,
				     .discard = true};
}

static struct block_node *must_node(const struct cfg_blockdev *cfg)
{
	struct err err = {0};
	struct block_node *n = block_node_new(cfg, &err);

	ck_assert_msg(n != NULL, "%s", err.msg);
	return n;
}

static void rig_attach(struct rig *r)
{
	struct err err = {0};

	r->l = loop_new(NULL, NULL);
	ck_assert_msg(block_node_attach(r->n, r->l, &err) == 0, "%s", err.msg);
}

static void rig_open(struct rig *r, const struct cfg_blockdev *cfg)
{
	struct err err = {0};

	r->n = must_node(cfg);
	ck_assert_msg(block_node_take(r->n, &err) == 0, "%s", err.msg);
	rig_attach(r);
}

static void rig_init(struct rig *r, const struct qcow2_create *c)
{
	struct cfg_blockdev cfg;

	*r = (struct rig){0};
	files_init(&r->f);
	r->path = file_qcow2(&r->f, "d.qcow2", c);
	cfg = cfg_of(r->path);
	rig_open(r, &cfg);
}

static void rig_close(struct rig *r)
{
	block_node_detach(r->n);
	loop_free(r->l);
	block_node_release(r->n);
	block_node_free(r->n);
}

static void rig_fini(struct rig *r)
{
	rig_close(r);
	judge(r->path, false);
	files_fini(&r->f);
}

static void job_done(struct block_req *req, int ret)
{
	struct job *j = container_of(req, struct job, req);

	j->ret = ret;
	j->place = ++j->r->ended;
	if (--j->r->pending == 0)
		loop_stop(j->r->l);
}

static void submit_job(void *opaque)
{
	struct job *j = opaque;
	unsigned ended = j->r->ended;

	block_submit(j->r->n, &j->req);
	ck_assert_uint_eq(j->r->ended, ended); /* never from within */
}

static void jobs_run(struct rig *r, struct job *jobs, unsigned n)
{
	r->pending = n;
	for (unsigned i = 0; i < n; i++) {
		jobs[i].r = r;
		jobs[i].req.done = job_done;
		loop_post(r->l, submit_job, &jobs[i]);
	}
	loop_run(r->l);
}

/* In three pieces of memory, of which the first is small. */
static void job_set(struct job *j, enum block_op op, uint64_t off, uint64_t bytes)
{
	uint64_t first = MIN(bytes, 512), half = (bytes - first) / 1024 * 512;

	j->req = (struct block_req){.op = op, .off = off, .bytes = bytes};
	if (op != BLOCK_READ && op != BLOCK_WRITE)
		return;
	j->iov[0] = (struct iovec){j->buf, first};
	j->iov[1] = (struct iovec){j->buf + first, half};
	j->iov[2] = (struct iovec){j->buf + first + half, bytes - first - half};
	j->req.iov = j->iov;
	j->req.n_iov = 3;
}

static int one(struct rig *r, enum block_op op, uint64_t off, void *buf, uint64_t bytes)
{
	struct job j = {.buf = buf};

	job_set(&j, op, off, bytes);
	jobs_run(r, &j, 1);
	return j.ret;
}

/* ---- random requests ---- */

static const struct {
	uint32_t cluster;
	bool threads, direct, extended, backing, lazy, v2, no_discard, no_flush;
} ways[] = {
    {.cluster = 65536 },
    {		.cluster = 65536, .no_flush = true},
    {		.cluster = 65536,  .threads = true},
    {		.cluster = 65536,   .direct = true, .backing = true},
    { .cluster = 512,    .direct = true},
    { .cluster = 4096,   .backing = true, .no_discard = true},
    {.cluster = 4096,                 .v2 = true, .backing = true},
    {		  .cluster = 65536,  .extended = true, .backing = true, .threads = true},
    {		 .cluster = 2097152,.lazy = true},
};

struct model {
	struct rig r;
	uint8_t *disk; /* what is expected; 'stale': or what a discard has left */
	struct job jobs[BATCH];
	unsigned seed;
};

static unsigned rnd(struct model *m, unsigned n)
{
	return (unsigned)rand_r(&m->seed) % n;
}

static enum block_op choose(struct model *m)
{
	static const enum block_op ops[] = {
	    BLOCK_READ,  BLOCK_READ,  BLOCK_READ,  BLOCK_WRITE,        BLOCK_WRITE,  BLOCK_WRITE,
	    BLOCK_WRITE, BLOCK_FLUSH, BLOCK_WRITE, BLOCK_WRITE_ZEROES, BLOCK_DISCARD};

	return ops[rnd(m, ARRAY_LEN(ops))];
}

static void batch_set(struct model *m, struct job *j, unsigned part)
{
	uint64_t bytes = (1 + rnd(m, MOST / 512)) * 512ULL;
	uint64_t off = part * PART + rnd(m, (unsigned)((PART - bytes) / 512)) * 512ULL;
	enum block_op op = choose(m);

	if (op == BLOCK_FLUSH)
		off = bytes = 0;
	if (op == BLOCK_WRITE)
		memset(j->buf, (int)rnd(m, 255) + 1, bytes);
	if (op == BLOCK_READ)
		memset(j->buf, 0xee, bytes);
	job_set(j, op, off, bytes);
	j->req.unmap = rnd(m, 2);
}

/* A discarded sector is zero, or as it was. */
static void look_at_discarded(struct model *m, const struct job *j)
{
	uint8_t *expected = m->disk + j->req.off;
	bool fine = true;

	ck_assert_int_eq(one(&m->r, BLOCK_READ, j->req.off, j->buf, j->req.bytes), 0);
	for (uint64_t i = 0; i < j->req.bytes; i++) {
		fine = fine && (j->buf[i] == 0 || j->buf[i] == expected[i]);
		expected[i] = j->buf[i];
	}
	ck_assert(fine);
}

static void batch_check(struct model *m, const struct job *j)
{
	ck_assert_int_eq(j->ret, 0);
	if (j->req.op == BLOCK_READ)
		ck_assert_mem_eq(j->buf, m->disk + j->req.off, j->req.bytes);
	else if (j->req.op == BLOCK_WRITE)
		memcpy(m->disk + j->req.off, j->buf, j->req.bytes);
	else if (j->req.op == BLOCK_WRITE_ZEROES)
		memset(m->disk + j->req.off, 0, j->req.bytes);
}

static void model_init(struct model *m, int way, struct cfg_blockdev *cfg)
{
	struct qcow2_create c = {.bytes = DISK,
				 .version = ways[way].v2 ? 2 : 3,
				 .cluster_bytes = ways[way].cluster,
				 .extended_l2 = ways[way].extended,
				 .lazy_refcounts = ways[way].lazy};

	*m = (struct model){.seed = (unsigned)way + 1};
	m->disk = xcalloc(1, DISK);
	for (unsigned i = 0; i < BATCH; i++)
		m->jobs[i].buf = xcalloc(1, MOST + 512);
	files_init(&m->r.f);
	if (ways[way].backing) {
		c.backing = "base";
		c.backing_format = "raw";
		(void)file_raw(&m->r.f, "base", DISK / 2, 9);
		for (uint64_t i = 0; i < DISK / 2; i++)
			m->disk[i] = (uint8_t)(9 + i / 512);
	}
	m->r.path = file_qcow2(&m->r.f, "d.qcow2", &c);
	*cfg = cfg_of(m->r.path);
	cfg->aio_threads = ways[way].threads;
	cfg->direct = ways[way].direct;
	cfg->discard = !ways[way].no_discard;
	cfg->no_flush = ways[way].no_flush;
}

START_TEST(test_random)
{
	struct cfg_blockdev cfg;
	struct err err = {0};
	struct model m;

	model_init(&m, _i, &cfg);
	m.r.n = block_node_new(&cfg, &err);
	if (!m.r.n && cfg.direct) {
		skip_test("/tmp without O_DIRECT: %s", err.msg);
		cfg.direct = false;
	} else {
		ck_assert_msg(m.r.n != NULL, "%s", err.msg);
		block_node_free(m.r.n);
	}
	for (unsigned round = 0; round < 120; round++) {
		if (round % 40 == 0)
			rig_open(&m.r, &cfg);
		for (unsigned i = 0; i < BATCH; i++)
			batch_set(&m, &m.jobs[i], i);
		jobs_run(&m.r, m.jobs, BATCH);
		for (unsigned i = 0; i < BATCH; i++)
			batch_check(&m, &m.jobs[i]);
		for (unsigned i = 0; i < BATCH; i++)
			if (m.jobs[i].req.op == BLOCK_DISCARD)
				look_at_discarded(&m, &m.jobs[i]);
		if (round % 40 == 39) {
			rig_close(&m.r);
			judge(m.r.path, false);
		}
	}
	for (unsigned i = 0; i < BATCH; i++)
		free(m.jobs[i].buf);
	free(m.disk);
	files_fini(&m.r.f);
}
END_TEST

/* ---- which way a request goes ---- */

START_TEST(test_pieces)
{
	struct qcow2_create c = {
	    .bytes = MiB, .cluster_bytes = 4096, .backing = "b", .backing_format = "raw"};
	struct cfg_blockdev cfg;
	struct rig r = {0};
	uint8_t *p = xcalloc(1, MOST);

	files_init(&r.f);
	(void)file_raw(&r.f, "b", MiB, 1);
	r.path = file_qcow2(&r.f, "d.qcow2", &c);
	cfg = cfg_of(r.path);
	rig_open(&r, &cfg);
	memset(p, 0xaa, MOST);
	/* clusters 0 and 2: data; 1: zeroes; 3: below */
	ck_assert_int_eq(one(&r, BLOCK_WRITE, 0, p, 3 * 4096), 0);
	ck_assert_uint_eq(r.n->file->stats.wr_ops, 0); /* there was no place for them yet */
	ck_assert_int_eq(one(&r, BLOCK_WRITE_ZEROES, 4096, NULL, 4096), 0);
	ck_assert_int_eq(one(&r, BLOCK_READ, 512, p, 4 * 4096 - 1024), 0);
	ck_assert_uint_eq(r.n->file->stats.rd_ops, 2);
	ck_assert_uint_eq(r.n->file->stats.rd_bytes, 2 * 4096 - 512);
	ck_assert_uint_eq(r.n->stats.rd_ops, 1);
	for (unsigned i = 512; i < 4 * 4096 - 512; i += 256) {
		unsigned expected = i / 4096 == 1 ? 0 : i / 4096 == 3 ? 1 + i / 512 : 0xaa;

		ck_assert_uint_eq(p[i - 512], expected);
	}
	/* where the data is, a write goes there at once; a part that has no place, to the worker */
	ck_assert_int_eq(one(&r, BLOCK_WRITE, 2 * 4096, p, 512), 0);
	ck_assert_uint_eq(r.n->file->stats.wr_ops, 1);
	ck_assert_int_eq(one(&r, BLOCK_WRITE, 2 * 4096 + 512, p, 8192), 0);
	ck_assert_uint_eq(r.n->file->stats.wr_ops, 2);
	ck_assert_uint_eq(r.n->file->stats.wr_bytes, 512 + 4096 - 512);
	ck_assert_uint_eq(r.n->stats.wr_ops, 4); /* one was of zeroes */
	ck_assert_int_eq(one(&r, BLOCK_FLUSH, 0, NULL, 0), 0);
	ck_assert_uint_eq(r.n->stats.flush_ops, 1);
	rig_fini(&r);
	free(p);
}
END_TEST

/* What runs alone: all that came before has ended, and nothing that came behind has begun. */
struct call {
	struct job j; /* first */
	unsigned ended, started;
};

static int look_around(struct block_req *req)
{
	struct call *c = container_of(req, struct call, j.req);

	c->ended = c->j.r->ended;
	c->started = (unsigned)c->j.r->n->file->stats.wr_ops;
	return -ESTALE;
}

static void call_submit(void *opaque)
{
	struct call *c = opaque;

	block_submit(c->j.r->n, &c->j.req);
}

START_TEST(test_alone)
{
	const struct qcow2_create create = {.bytes = DISK, .cluster_bytes = 65536};
	struct job *jobs = xcalloc(2 * BATCH, sizeof(*jobs));
	struct call c = {.ended = 0};
	uint8_t *p = xcalloc(1, MOST);
	struct rig r;

	rig_init(&r, &create);
	for (unsigned i = 0; i < 2 * BATCH; i++) {
		jobs[i].r = c.j.r = &r;
		jobs[i].buf = p;
		/* of new clusters and of mapped ones */
		job_set(&jobs[i], i % 3 ? BLOCK_WRITE : BLOCK_DISCARD, i % 5 * 65536, 4096);
		jobs[i].req.done = job_done;
	}
	c.j.req = (struct block_req){.op = BLOCK_CALL, .call = look_around, .done = job_done};
	r.pending = 2 * BATCH + 1;
	for (unsigned i = 0; i < 2 * BATCH; i++) {
		if (i == BATCH)
			loop_post(r.l, call_submit, &c);
		loop_post(r.l, submit_job, &jobs[i]);
	}
	loop_run(r.l);
	ck_assert_uint_eq(c.ended, BATCH);
	ck_assert_uint_eq(c.j.place, BATCH + 1);
	ck_assert_int_eq(c.j.ret, -ESTALE);
	for (unsigned i = 0; i < 2 * BATCH; i++) {
		ck_assert_int_eq(jobs[i].ret, 0);
		ck_assert_int_eq(jobs[i].place > BATCH, i >= BATCH);
		if (i % 3 == 0) /* a discard ends at its place */
			ck_assert_uint_eq(jobs[i].place, i + 1 + (i >= BATCH));
	}
	rig_fini(&r);
	free(jobs);
	free(p);
}
END_TEST

/* ---- errors ---- */

/* A file that cannot grow: the write fails, and nothing else does, then and later. */
START_TEST(test_no_space)
{
	const struct qcow2_create create = {.bytes = DISK, .cluster_bytes = 65536};
	struct rlimit limit, none;
	uint8_t *p = xcalloc(1, MOST);
	struct rig r;
	unsigned failed = 0;

	rig_init(&r, &create);
	ck_assert_int_eq(one(&r, BLOCK_WRITE, 0, p, 65536), 0);
	ck_assert_int_eq(one(&r, BLOCK_FLUSH, 0, NULL, 0), 0);
	(void)signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &none), 0);
	limit = none;
	limit.rlim_cur = 10 * 65536 + 512;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	memset(p, 0x33, MOST);
	for (unsigned i = 1; i < 32; i++) {
		int ret = one(&r, BLOCK_WRITE, i * 65536ULL, p, 65536);

		ck_assert_msg(ret == 0 || ret == -EFBIG, "%d", ret);
		failed += ret < 0;
	}
	ck_assert_uint_gt(failed, 0);
	ck_assert_uint_lt(failed, 31);
	ck_assert_uint_eq(r.n->stats.failed_wr, failed);
	ck_assert_int_eq(one(&r, BLOCK_READ, 0, p, 65536), 0);
	ck_assert_int_eq(one(&r, BLOCK_FLUSH, 0, NULL, 0), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
	for (unsigned i = 1; i < 32; i++)
		ck_assert_int_eq(one(&r, BLOCK_WRITE, i * 65536ULL, p, 65536), 0);
	rig_fini(&r);
	free(p);
}
END_TEST

/* An entry of a table that points to nowhere: that cluster cannot be read, the others can. */
START_TEST(test_damage)
{
	const struct qcow2_create create = {.bytes = DISK, .cluster_bytes = 65536};
	static const uint8_t nowhere[8] = {0x80, 0, 0, 0, 0, 0, 0x12, 0};
	struct cfg_blockdev cfg;
	struct image_extent e;
	uint8_t *p = xcalloc(1, MOST);
	struct rig r;
	int fd;

	rig_init(&r, &create);
	ck_assert_int_eq(one(&r, BLOCK_WRITE, 0, p, 65536), 0);
	ck_assert_int_eq(one(&r, BLOCK_WRITE, 65536, p, 65536), 0);
	ck_assert_int_eq(image_map(r.n->img, 0, DISK, &e), 0);
	rig_close(&r);
	/* the L2 table stands in one of the clusters before the data */
	fd = open(r.path, O_RDWR | O_CLOEXEC);
	for (off_t at = 0; at < 16 * 65536; at += 65536) {
		uint8_t entry[8] = {0};

		ck_assert_int_ge(pread(fd, entry, 8, at), 0);
		if (entry[0] == 0x80 && entry[5] == (e.off >> 16 & 0xff) && !entry[6])
			ck_assert_int_eq(pwrite(fd, nowhere, 8, at), 8);
	}
	(void)close(fd);
	cfg = cfg_of(r.path);
	rig_open(&r, &cfg);
	ck_assert_int_eq(one(&r, BLOCK_READ, 0, p, 65536), -EIO);
	ck_assert_int_eq(one(&r, BLOCK_READ, 65536, p, 65536), 0);
	ck_assert_int_eq(one(&r, BLOCK_READ, 0, p, 512), -EIO);
	rig_close(&r);
	files_fini(&r.f);
	free(p);
}
END_TEST

/* ---- several processes ---- */

static int release_call(struct block_req *req)
{
	return block_node_deactivate(container_of(req, struct job, req)->r->n, NULL);
}

static int acquire_call(struct block_req *req)
{
	return block_node_activate(container_of(req, struct job, req)->r->n, NULL);
}

static int call(struct rig *r, int (*fn)(struct block_req *req))
{
	struct job j = {
	    .req = {.op = BLOCK_CALL, .call = fn}
        };

	jobs_run(r, &j, 1);
	return j.ret;
}

/* As two ends of a move have one image: what one has written the other reads, and back. */
START_TEST(test_handover)
{
	const struct qcow2_create create = {.bytes = DISK, .cluster_bytes = 4096};
	uint8_t *p = xcalloc(1, MOST), *q = xcalloc(1, MOST);
	struct rig a, b = {0};
	struct cfg_blockdev cfg;
	struct err err = {0};

	rig_init(&a, &create);
	cfg = cfg_of(a.path);
	b.n = must_node(&cfg);
	rig_attach(&b);
	ck_assert(!block_node_active(b.n) && !b.n->locked);
	for (unsigned i = 1; i < 5; i++) {
		struct rig *from = i % 2 ? &a : &b, *to = i % 2 ? &b : &a;

		memset(p, (int)i, MOST);
		ck_assert_int_eq(block_node_lock(to->n, &err), -EBUSY);
		ck_assert_int_eq(one(from, BLOCK_WRITE, i * 8192ULL, p, 16384), 0);
		ck_assert_int_eq(one(from, BLOCK_DISCARD, i * 8192ULL, NULL, 4096), 0);
		ck_assert_int_eq(call(from, release_call), 0);
		block_node_unlock(from->n);
		judge(a.path, false);
		ck_assert_int_eq(block_node_lock(to->n, NULL), 0);
		ck_assert_int_eq(call(to, acquire_call), 0);
		ck_assert_int_eq(one(to, BLOCK_READ, i * 8192ULL, q, 16384), 0);
		memset(p, 0, 4096);
		ck_assert_mem_eq(q, p, 16384);
	}
	rig_close(&b);
	rig_fini(&a);
	free(p);
	free(q);
}
END_TEST

/* Writes in a process of its own until it is killed. */
static void write_on(const struct cfg_blockdev *cfg, int tell)
{
	uint8_t *p = xcalloc(1, MOST);
	unsigned seed = 5;
	struct rig r = {0};

	rig_open(&r, cfg);
	for (unsigned i = 0;; i++) {
		unsigned k = (unsigned)rand_r(&seed);

		memset(p, (int)i, MOST);
		(void)one(&r, k % 16 ? k % 7 ? BLOCK_WRITE : BLOCK_DISCARD : BLOCK_FLUSH,
			  k % 16 ? k % 900 * 4096ULL : 0, p, k % 16 ? 16384 : 0);
		if (i == 60)
			(void)!write(tell, "", 1);
	}
}

START_TEST(test_killed)
{
	const struct qcow2_create create = {
	    .bytes = DISK, .cluster_bytes = _i ? 512 : 4096, .lazy_refcounts = _i == 2};
	struct cfg_blockdev cfg;
	struct files f;
	const char *path;

	files_init(&f);
	path = file_qcow2(&f, "d.qcow2", &create);
	cfg = cfg_of(path);
	for (unsigned round = 0; round < 4; round++) {
		int pipes[2], status;
		uint8_t *p = xcalloc(1, DISK);
		struct rig r = {0};
		char byte;
		pid_t pid;

		ck_assert_int_eq(pipe(pipes), 0);
		pid = fork();
		if (pid == 0)
			write_on(&cfg, pipes[1]);
		(void)close(pipes[1]);
		ck_assert_int_eq(read(pipes[0], &byte, 1), 1);
		ck_assert_int_eq(kill(pid, SIGKILL), 0);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		(void)close(pipes[0]);
		if (_i < 2) /* lazy: its refcounts are known to be wrong */
			judge(path, true);
		rig_open(&r, &cfg);
		ck_assert_int_eq(one(&r, BLOCK_READ, 0, p, DISK), 0);
		ck_assert_int_eq(one(&r, BLOCK_WRITE, 0, p, 65536), 0);
		rig_close(&r);
		judge(path, true);
		free(p);
	}
	files_fini(&f);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("qcow2-node");
	TCase *tc = tcase_create("qcow2-node");
	SRunner *r;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, test_random, 0, ARRAY_LEN(ways));
	tcase_add_test(tc, test_pieces);
	tcase_add_test(tc, test_alone);
	tcase_add_test(tc, test_no_space);
	tcase_add_test(tc, test_damage);
	tcase_add_test(tc, test_handover);
	tcase_add_loop_test(tc, test_killed, 0, 3);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
