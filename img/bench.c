/*
 * bench.c - "bench": how fast are requests to an image?
 *
 * The requests go the way of a guest's disk: a block node on an event loop (devices/block/node.h),
 * with io_uring or threads below it, and for qcow2 the worker that allocates.  'depth' slots each
 * have one request in flight; whoever ends begins the next.  With a flush interval the requests
 * stop after so many, and go on when all have ended and the flush has (--no-drain: at once).
 *
 * All requests have one buffer, as those of qemu-img have: they write the same pattern, and what
 * is read is not looked at.  With a buffer each, large ones would not stay in the processor's
 * cache, and the copy of them would cost a quarter more than it does there.
 */
#include "img/img.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "devices/block/node.h"
#include "img/commands.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/loop.h"
#include "vmm/options/config.h"

#define MAX_DEPTH 4096
#define MAX_BYTES (64 * MiB)

struct bench;

struct slot {
	struct bench *b;
	struct block_req req;
};

struct bench {
	/* from the options */
	uint64_t count, depth, bytes, step, off, flush_interval, pattern;
	bool write, drain, writethrough;

	struct block_node *node;
	struct loop *loop;
	struct slot *slots; /* depth of them, and one for flushes; owned */
	struct iovec buf;   /* of all of them; owned */
	uint64_t sent, in_flight;
	bool flush_due; /* all wait for it */
	bool flushing;  /* it is in flight */
	int failed;     /* -errno */
};

static void send(struct slot *s);

static void start_flush(struct bench *b)
{
	struct slot *s = &b->slots[b->depth];

	b->flush_due = false;
	b->flushing = true;
	b->in_flight++;
	s->req.op = BLOCK_FLUSH;
	s->req.off = s->req.bytes = 0;
	block_submit(b->node, &s->req);
}

/* A slot has nothing to do: is it time for the flush that all wait for, or the end? */
static void rest(struct bench *b)
{
	if (b->in_flight)
		return;
	if (b->flush_due && !b->failed)
		start_flush(b);
	else
		loop_stop(b->loop);
}

static void flush_ended(struct bench *b)
{
	b->flushing = false;
	for (uint64_t i = 0; i < b->depth && b->drain; i++)
		send(&b->slots[i]);
	rest(b);
}

static void ended(struct block_req *req, int ret)
{
	struct slot *s = container_of(req, struct slot, req);
	struct bench *b = s->b;

	b->in_flight--;
	if (ret < 0 && !b->failed)
		b->failed = ret;
	if (s == &b->slots[b->depth]) {
		flush_ended(b);
	} else if (b->writethrough && req->op == BLOCK_WRITE && ret == 0) {
		req->op = BLOCK_FLUSH;
		b->in_flight++;
		block_submit(b->node, req);
	} else {
		send(s);
	}
}

static void send(struct slot *s)
{
	struct bench *b = s->b;

	if (b->failed || b->sent == b->count || b->flush_due) {
		rest(b);
		return;
	}
	s->req.op = b->write ? BLOCK_WRITE : BLOCK_READ;
	s->req.off = b->off;
	s->req.bytes = b->bytes;
	b->off += b->step;
	if (b->off > b->node->bytes - b->bytes)
		b->off = 0;
	b->sent++;
	b->in_flight++;
	b->flush_due = b->flush_interval && b->sent % b->flush_interval == 0;
	block_submit(b->node, &s->req);
	if (b->flush_due && !b->drain && !b->flushing)
		start_flush(b);
	b->flush_due = b->flush_due && b->drain;
}

/* On the loop, first of all. */
static void begin(void *opaque)
{
	struct bench *b = opaque;

	if (!b->count)
		loop_stop(b->loop);
	for (uint64_t i = 0; i < b->depth && b->count; i++)
		send(&b->slots[i]);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int make_slots(struct bench *b, struct err *err)
{
	b->buf.iov_len = (size_t)b->bytes;
	b->buf.iov_base = aligned_alloc(PAGE_BYTES, ALIGN_UP(b->buf.iov_len, PAGE_BYTES));
	if (!b->buf.iov_base)
		return err_set(err, ENOMEM, "there is no memory for %zu bytes", b->buf.iov_len);
	memset(b->buf.iov_base, (int)b->pattern, b->buf.iov_len);
	b->slots = xcalloc((size_t)b->depth + 1, sizeof(struct slot));
	for (uint64_t i = 0; i <= b->depth; i++) {
		b->slots[i].b = b;
		b->slots[i].req = (struct block_req){.iov = &b->buf, .n_iov = 1, .done = ended};
	}
	return 0;
}

static int measure(struct bench *b, double *seconds, struct err *err)
{
	uint64_t start;
	int ret = block_node_attach(b->node, b->loop, err);

	if (ret < 0)
		return ret;
	start = now_ns();
	loop_post(b->loop, begin, b);
	loop_run(b->loop);
	*seconds = (double)(now_ns() - start) / 1e9;
	block_node_detach(b->node);
	return b->failed ? err_set(err, -b->failed, "Failed request: %s", err_text(-b->failed)) : 0;
}

static void announce(const struct bench *b)
{
	printf("Sending %" PRIu64 " %s requests, %" PRIu64 " bytes each, %" PRIu64
	       " in parallel (starting at offset %" PRIu64 ", step size %" PRIu64 ")\n",
	       b->count, b->write ? "write" : "read", b->bytes, b->depth, b->off, b->step);
	if (b->flush_interval)
		printf("Sending flush every %" PRIu64 " requests\n", b->flush_interval);
	(void)fflush(stdout);
}

static int bench_node(struct bench *b, struct err *err)
{
	double seconds = 0;
	int ret;

	if (b->bytes > b->node->bytes || b->off > b->node->bytes - b->bytes)
		return err_set(err, EINVAL,
			       "'%s' ends before the first request, of %" PRIu64
			       " bytes at %" PRIu64,
			       b->node->filename, b->bytes, b->off);
	ret = make_slots(b, err);
	if (ret < 0)
		return ret;
	announce(b);
	b->loop = loop_new(NULL, err);
	ret = b->loop ? measure(b, &seconds, err) : -EIO;
	loop_free(b->loop);
	if (ret == 0)
		printf("Run completed in %.3f seconds.\n", seconds);
	return ret;
}

/* ---- options ---- */

static int take_aio(const struct img_args *a, struct cfg_blockdev *cfg, struct err *err)
{
	const char *aio = a->val['i'] ? a->val['i'] : img_has(a, 'n') ? "native" : "io_uring";

	cfg->aio_threads = !strcmp(aio, "threads");
	if (!strcmp(aio, "native") && !cfg->direct)
		return err_set(err, EINVAL, "-i native needs -t none or -t directsync");
	if (cfg->aio_threads || !strcmp(aio, "io_uring") || !strcmp(aio, "native"))
		return 0;
	return err_set(err, EINVAL, "Invalid aio option '%s': threads, native or io_uring", aio);
}

static int take_numbers(const struct img_args *a, struct bench *b, struct err *err)
{
	int ret = img_arg_number(a, 'c', "request count", 0, INT32_MAX, &b->count, err);

	if (ret == 0)
		ret = img_arg_number(a, 'd', "queue depth", 1, MAX_DEPTH, &b->depth, err);
	if (ret == 0)
		ret = img_arg_size(a, 's', "buffer size", &b->bytes, err);
	if (ret == 0 && (!b->bytes || b->bytes % 512 || b->bytes > MAX_BYTES))
		ret =
		    err_set(err, EINVAL, "Invalid buffer size '%s': a multiple of 512 up to 64 MiB",
			    a->val['s']);
	b->step = b->bytes;
	if (ret == 0)
		ret = img_arg_size(a, 'S', "step size", &b->step, err);
	if (ret == 0)
		ret = img_arg_size(a, 'o', "offset", &b->off, err);
	if (ret == 0 && (b->step % 512 || b->off % 512))
		ret = err_set(err, EINVAL, "offset and step size must be multiples of 512");
	if (ret == 0)
		ret = img_arg_number(a, IMG_PATTERN, "pattern byte", 0, 255, &b->pattern, err);
	if (ret == 0)
		ret = img_arg_number(a, IMG_FLUSH_INTERVAL, "flush interval", 0, INT32_MAX,
				     &b->flush_interval, err);
	return ret;
}

static int check_flush(const struct img_args *a, const struct bench *b, struct err *err)
{
	if (img_has(a, IMG_FLUSH_INTERVAL) && !b->write)
		return err_set(err, EINVAL, "--flush-interval is only available in write tests");
	if (b->flush_interval && b->flush_interval < b->depth)
		return err_set(err, EINVAL, "Flush interval can't be smaller than depth");
	if (b->write && img_has(a, 'U'))
		return err_set(err, EINVAL, "-U is for images that are only read");
	return 0;
}

/* Without -f: what the first bytes say, as for all subcommands. */
static int find_format(const struct img_args *a, enum image_format *f, struct err *err)
{
	struct img_open how = {.no_io = true, .force_share = img_has(a, 'U')};
	struct image *img;

	if (a->val['f'])
		return image_format_parse(a->val['f'], f, err);
	img = img_open(a->file[0], &how, err);
	if (!img)
		return -EIO;
	*f = img->format;
	return image_close(img, err);
}

static int take_options(const struct img_args *a, struct bench *b, struct cfg_blockdev *cfg,
			struct err *err)
{
	struct img_cache cache = {0};
	enum image_format f = IMAGE_RAW;
	int ret = take_numbers(a, b, err);

	b->write = img_has(a, 'w');
	b->drain = !img_has(a, IMG_NO_DRAIN);
	if (ret == 0)
		ret = check_flush(a, b, err);
	if (ret == 0)
		ret = img_cache_parse(a->val['t'], &cache, err);
	if (ret < 0)
		return ret;
	b->writethrough = cache.writethrough;
	cfg->direct = cache.direct;
	cfg->no_flush = cache.no_flush;
	cfg->writeback = !cache.writethrough;
	cfg->readonly = !b->write;
	cfg->force_share = img_has(a, 'U');
	ret = take_aio(a, cfg, err);
	if (ret == 0)
		ret = find_format(a, &f, err);
	if (ret == 0)
		cfg->driver = xstrdup(image_format_name(f));
	return ret;
}

static int run(const struct img_args *a)
{
	struct bench b = {.count = 75000, .depth = 64, .bytes = 4096};
	struct cfg_blockdev cfg = {.filename = a->file[0]};
	struct err err = {0};
	int ret = take_options(a, &b, &cfg, &err);

	if (ret == 0) {
		b.node = block_node_new(&cfg, &err);
		ret = b.node ? 0 : -EIO;
	}
	if (ret == 0)
		ret = block_node_take(b.node, &err);
	if (ret == 0) {
		struct err why = {0};

		ret = bench_node(&b, &err);
		if (block_node_deactivate(b.node, &why) < 0 && ret == 0)
			ret = err_set(&err, EIO, "%s", why.msg);
		block_node_unlock(b.node);
	}
	block_node_free(b.node);
	free(b.slots);
	free(b.buf.iov_base);
	free(cfg.driver);
	return ret < 0 ? img_fail(1, &err) : 0;
}

static const struct img_opt opts[] = {
    {'c',		NULL,             "COUNT",                   "how many requests (75000)"                             },
    {'d',		NULL,             "DEPTH",                   "how many at a time (64)"                               },
    {'s',		NULL,             "BYTES",                   "of each request (4k)"                                  },
    {'S',		NULL,             "STEP",                    "from one to the next (as -s)"                          },
    {'o',		NULL,             "OFFSET",                  "where the first is"                                    },
    {'w',		NULL,             NULL,		      "write instead of read"                                 },
    {IMG_PATTERN,        "pattern",        "BYTE",                    "what is written (0)"                                   },
    {IMG_FLUSH_INTERVAL, "flush-interval", "COUNT",                   "a flush after so many writes"                          },
    {IMG_NO_DRAIN,       "no-drain",       NULL,                      "do not wait for all writes before a flush"             },
    {'i',		NULL,             "io_uring|threads|native", "how the file is accessed (io_uring)"                   },
    {'n',		NULL,             NULL,		      "-i native: io_uring here, with -t none"                },
    {'t',		NULL,             "CACHE",                   "the cache mode (writeback)"                            },
    {'f',		NULL,             "FORMAT",                  "the format of the image; else what its first bytes say"},
    {'q',		NULL,             NULL,		      "quiet: print nothing but errors and the result"        },
    {'U',		"force-share",    NULL,                      "read also while another program writes to it"          },
    IMG_COMMON_OPTS,
};

const struct img_command img_bench_command = {
    .name = "bench",
    .files = "FILE",
    .help = "how fast requests to an image are",
    .opts = opts,
    .min_files = 1,
    .max_files = 1,
    .run = run,
};
