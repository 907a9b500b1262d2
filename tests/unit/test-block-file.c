/* Block nodes over files: both drivers give the same answers. */
#include "devices/block/file.h"
#include "tests/unit/check-main.h"
#include "tests/unit/virtio-backends.h"

#define BYTES (1 * MiB)

struct job {
	struct block_req req;
	struct iovec iov[4];
	struct block_node *n;
	struct loop *l;
	int ret;
	unsigned done;
	unsigned *pending;
};

static void finished(struct block_req *req, int ret)
{
	struct job *j = container_of(req, struct job, req);

	j->ret = ret;
	j->done++;
	if (--*j->pending == 0)
		loop_stop(j->l);
}

static void submit_job(void *opaque)
{
	struct job *j = opaque;

	block_submit(j->n, &j->req);
	ck_assert_uint_eq(j->done, 0); /* never from within */
}

/* Run these requests together on a loop of their own. */
static void run(struct block_node *n, struct job *jobs, unsigned count)
{
	struct loop *l = loop_new(NULL, NULL);
	unsigned pending = count;
	struct err err = {0};

	ck_assert_msg(block_node_attach(n, l, &err) == 0, "%s", err.msg);
	for (unsigned i = 0; i < count; i++) {
		jobs[i].n = n;
		jobs[i].l = l;
		jobs[i].pending = &pending;
		jobs[i].req.done = finished;
		jobs[i].req.iov = jobs[i].iov;
		loop_post(l, submit_job, &jobs[i]);
	}
	loop_run(l);
	for (unsigned i = 0; i < count; i++)
		ck_assert_uint_eq(jobs[i].done, 1);
	block_node_detach(n);
	loop_free(l);
}

static int one(struct block_node *n, enum block_op op, uint64_t off, void *buf, uint64_t bytes)
{
	struct job j = {
	    .req = {.op = op,        .off = off, .bytes = bytes},
	    .iov = {{.iov_base = buf, .iov_len = bytes}}
        };

	j.req.n_iov = buf ? 1 : 0;
	run(n, &j, 1);
	return j.ret;
}

static uint8_t *pattern(size_t n, unsigned seed)
{
	uint8_t *p = xcalloc(1, n);

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(seed + i * 7 + i / 251);
	return p;
}

static void on_both(void (*fn)(struct disk *d), uint64_t bytes)
{
	for (int threads = 0; threads <= 1; threads++) {
		struct disk d;

		disk_open(&d, bytes, threads, false, true);
		ck_assert_str_eq(d.node->driver->name, threads ? "file-threads" : "file");
		fn(&d);
		if (!threads && d.node->driver != &block_file_uring)
			skip_test("this host has no io_uring: only threads were tested");
		disk_close(&d);
	}
}

static void write_and_read(struct disk *d)
{
	uint8_t *out = pattern(8192, 1), *in = xcalloc(2, 8192), *check = in + 8192;
	struct job j = {
	    .req = {.op = BLOCK_READ, .off = 4096,   .bytes = 8192,    .n_iov = 4       },
	    .iov = {{in, 1},          {in + 1, 511}, {in + 512, 4096}, {in + 4608, 3584}}
        };

	ck_assert_int_eq(one(d->node, BLOCK_WRITE, 4096, out, 8192), 0);
	ck_assert_int_eq(pread(d->fd, check, 8192, 4096), 8192);
	ck_assert_mem_eq(check, out, 8192);
	run(d->node, &j, 1);
	ck_assert_int_eq(j.ret, 0);
	ck_assert_mem_eq(in, out, 8192);
	ck_assert_int_eq(one(d->node, BLOCK_FLUSH, 0, NULL, 0), 0);
	ck_assert_uint_eq(d->node->stats.rd_ops, 1);
	ck_assert_uint_eq(d->node->stats.rd_bytes, 8192);
	ck_assert_uint_eq(d->node->stats.wr_bytes, 8192);
	ck_assert_uint_eq(d->node->stats.flush_ops, 1);
	free(out);
	free(in);
}

START_TEST(writes_then_reads)
{
	on_both(write_and_read, BYTES);
}
END_TEST

static void many_at_once(struct disk *d)
{
	unsigned n = 700; /* more than the ring has places for */
	struct job *jobs = xcalloc(n, sizeof(*jobs));
	uint8_t *data = pattern(n * 512UL, 9), *back = xcalloc(n, 512);

	for (unsigned i = 0; i < n; i++) {
		jobs[i].req = (struct block_req){
		    .op = BLOCK_WRITE, .off = i * 512UL, .bytes = 512, .n_iov = 1};
		jobs[i].iov[0] = (struct iovec){data + i * 512UL, 512};
	}
	run(d->node, jobs, n);
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(jobs[i].ret, 0);
	ck_assert_int_eq(one(d->node, BLOCK_READ, 0, back, n * 512UL), 0);
	ck_assert_mem_eq(back, data, n * 512UL);
	free(jobs);
	free(data);
	free(back);
}

START_TEST(more_requests_than_places)
{
	on_both(many_at_once, BYTES);
}
END_TEST

static void odd_end(struct disk *d)
{
	uint8_t buf[1024];

	ck_assert_uint_eq(d->node->bytes, 1536); /* 1500, rounded up */
	ck_assert_int_eq(pwrite(d->fd, "tail", 4, 1496), 4);
	memset(buf, 0xee, sizeof(buf));
	ck_assert_int_eq(one(d->node, BLOCK_READ, 512, buf, 1024), 0);
	ck_assert_mem_eq(buf + 984, "tail", 4);
	for (size_t i = 988; i < 1024; i++)
		ck_assert_uint_eq(buf[i], 0);
}

START_TEST(end_of_file_reads_as_zeroes)
{
	on_both(odd_end, 1500);
}
END_TEST

static void zero_and_discard(struct disk *d)
{
	uint8_t *data = pattern(65536, 3), *in = xcalloc(1, 65536);
	static const enum block_op ops[] = {BLOCK_WRITE_ZEROES, BLOCK_DISCARD};

	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		ck_assert_int_eq(one(d->node, BLOCK_WRITE, 0, data, 65536), 0);
		ck_assert_int_eq(one(d->node, ops[i], 512, NULL, 61440), 0);
		ck_assert_int_eq(one(d->node, BLOCK_READ, 0, in, 65536), 0);
		ck_assert_mem_eq(in, data, 512);
		ck_assert_mem_eq(in + 61952, data + 61952, 65536 - 61952);
		for (size_t k = 512; k < 61952; k++)
			ck_assert_uint_eq(in[k], 0);
		ck_assert_int_eq(one(d->node, ops[i], 0, NULL, 0), 0);
	}
	free(data);
	free(in);
}

START_TEST(zeroes_and_discards)
{
	on_both(zero_and_discard, BYTES);
}
END_TEST

static void ignored_discard(struct disk *d)
{
	uint8_t *data = pattern(4096, 3), in[4096];

	d->node->discard = false;
	ck_assert_int_eq(one(d->node, BLOCK_WRITE, 0, data, 4096), 0);
	ck_assert_int_eq(one(d->node, BLOCK_DISCARD, 0, NULL, 4096), 0);
	ck_assert_int_eq(one(d->node, BLOCK_READ, 0, in, 4096), 0);
	ck_assert_mem_eq(in, data, 4096);
	free(data);
}

START_TEST(discard_ignored_by_option)
{
	on_both(ignored_discard, BYTES);
}
END_TEST

static void failing(struct disk *d)
{
	uint8_t buf[512];
	int null = open("/dev/full", O_RDWR | O_CLOEXEC), keep = d->node->fd;

	d->node->fd = null; /* takes no bytes */
	ck_assert_int_eq(one(d->node, BLOCK_WRITE, 0, buf, 512), -ENOSPC);
	ck_assert_uint_eq(d->node->stats.failed_wr, 1);
	d->node->fd = keep;
	(void)close(null);
}

START_TEST(errors_reach_the_request)
{
	on_both(failing, BYTES);
}
END_TEST

/* O_DIRECT takes neither memory nor lengths of any kind; the node does. */
START_TEST(direct_with_any_memory)
{
	for (int threads = 0; threads <= 1; threads++) {
		char path[] = "./test-direct.XXXXXX";
		int fd = mkstemp(path);
		struct cfg_blockdev cfg = {
		    .filename = path, .direct = true, .aio_threads = threads};
		uint8_t *data = pattern(3 * MiB + 1, 5), *in = xcalloc(1, 3 * MiB + 1);
		struct err err = {0};
		struct block_node *n;

		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(ftruncate(fd, 4 * MiB), 0);
		n = block_node_new(&cfg, &err);
		(void)unlink(path);
		if (!n) { /* a file system without O_DIRECT says so */
			ck_assert_msg(strstr(err.msg, "O_DIRECT") != NULL, "%s", err.msg);
		} else {
			ck_assert_int_eq(one(n, BLOCK_WRITE, 512, data + 1, 3 * MiB), 0);
			ck_assert_int_eq(one(n, BLOCK_READ, 512, in + 1, 3 * MiB), 0);
			ck_assert_mem_eq(in + 1, data + 1, 3 * MiB);
			block_node_free(n);
		}
		(void)close(fd);
		free(data);
		free(in);
	}
}
END_TEST

/* A loop device with sectors of 4096 bytes, or NULL with the reason printed. */
static const char *big_sectors(char *image)
{
	static char device[64];
	char line[200];
	FILE *f;

	(void)snprintf(line, sizeof(line), "losetup -b 4096 --show -f %s 2>/dev/null", image);
	f = popen(line, "r"); /* NOLINT(cert-env33-c) */
	if (f && fgets(device, sizeof(device), f))
		device[strcspn(device, "\n")] = 0;
	if (f && pclose(f) == 0)
		return device;
	skip_test("there is no loop device with sectors of 4096 bytes");
	return NULL;
}

/* Requests of 512 bytes side by side in one sector of the host's: none undoes another. */
static void neighbours(const char *device, bool threads)
{
	struct cfg_blockdev cfg = {
	    .filename = (char *)device, .direct = true, .aio_threads = threads};
	uint8_t *data = pattern(8192, 3), *in = xcalloc(1, 8192);
	struct job jobs[16] = {0};
	struct err err = {0};
	struct block_node *n = block_node_new(&cfg, &err);

	ck_assert_msg(n != NULL, "%s", err.msg);
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < ARRAY_LEN(jobs); i++) {
			data[512 * i] = (uint8_t)(round + i);
			jobs[i] = (struct job){
			    .req = {.op = BLOCK_WRITE, .off = 512 * i, .bytes = 512, .n_iov = 1},
			    .iov = {{data + (size_t)512 * i, 512}    },
			};
		}
		run(n, jobs, ARRAY_LEN(jobs));
		for (unsigned i = 0; i < ARRAY_LEN(jobs); i++)
			ck_assert_int_eq(jobs[i].ret, 0);
		ck_assert_int_eq(one(n, BLOCK_READ, 0, in, 8192), 0);
		ck_assert_mem_eq(in, data, 8192);
	}
	block_node_free(n);
	free(data);
	free(in);
}

START_TEST(direct_with_big_sectors)
{
	char path[] = "/tmp/minivmm-test-XXXXXX", line[100];
	int fd = mkstemp(path);
	const char *device;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, MiB), 0);
	device = big_sectors(path);
	for (int threads = 0; device && threads <= 1; threads++)
		neighbours(device, threads);
	(void)snprintf(line, sizeof(line), "losetup -d %s", device ? device : "");
	if (device)
		ck_assert_int_eq(system(line), 0); /* NOLINT(cert-env33-c) */
	(void)unlink(path);
	(void)close(fd);
}
END_TEST

static const struct {
	const char *path;
	bool readonly;
	const char *says;
} unopenable[] = {
    {"/nope",        false, "Could not open '/nope': No such file or directory"                    },
    {"/tmp",         false, "Could not open '/tmp': Is a directory"                                },
    {"/tmp",         true,  "Could not open '/tmp': Is a directory"                                },
    {"/dev/null",    true,  "Could not open '/dev/null': neither a regular file nor a block device"},
    {"/dev/fdset/3", true,
     "Could not open '/dev/fdset/3': there is no such descriptor set (-add-fd, add-fd)"            },
};

START_TEST(what_is_no_disk_is_refused)
{
	for (size_t i = 0; i < ARRAY_LEN(unopenable); i++) {
		struct cfg_blockdev cfg = {.filename = (char *)(uintptr_t)unopenable[i].path,
					   .readonly = unopenable[i].readonly};
		struct err err = {0};

		ck_assert_ptr_null(block_node_new(&cfg, &err));
		ck_assert_str_eq(err.msg, unopenable[i].says);
	}
}
END_TEST

START_TEST(found_by_either_name)
{
	struct cfg_blockdev devs[] = {
	    {.node_name = (char *)(uintptr_t) "a",
	     .filename = (char *)(uintptr_t) "Makefile",
	     .readonly = true,
	     .drive_id = (char *)(uintptr_t) ""      },
	    {.node_name = (char *)(uintptr_t) "b",
	     .filename = (char *)(uintptr_t) "Makefile",
	     .readonly = true,
	     .drive_id = (char *)(uintptr_t) "drive1"},
	};
	struct config cfg = {.blockdevs = devs, .n_blockdevs = 2};
	struct block_nodes bs;

	ck_assert_int_eq(block_nodes_open(&bs, &cfg, NULL), 0);
	ck_assert_ptr_eq(block_nodes_find(&bs, "a"), bs.v[0]);
	ck_assert_ptr_eq(block_nodes_find(&bs, "drive1"), bs.v[1]);
	ck_assert_ptr_null(block_nodes_find(&bs, ""));
	ck_assert_ptr_null(block_nodes_find(&bs, "c"));
	block_nodes_close(&bs);
	devs[1].filename = (char *)(uintptr_t) "/nope";
	ck_assert_int_lt(block_nodes_open(&bs, &cfg, NULL), 0);
	ck_assert_uint_eq(bs.n, 0);
}
END_TEST

CHECK_MAIN("block-file", writes_then_reads, more_requests_than_places, end_of_file_reads_as_zeroes,
	   zeroes_and_discards, discard_ignored_by_option, errors_reach_the_request,
	   direct_with_any_memory, direct_with_big_sectors, what_is_no_disk_is_refused,
	   found_by_either_name)
