/*
 * page-io.c - a queue of pieces, and threads that move them (page-io.h)
 *
 * The queue holds two pieces for each thread: as many as keep the threads busy
 * while the one that gives looks for more.  The first failure is kept, and no
 * later piece begins.  Without threads a piece is moved where it is given.
 *
 * A file takes one write through the page cache at a time: the kernel holds its inode
 * locked meanwhile, and threads that wait there spin.  So they wait here; what else
 * belongs to a piece (its checksums) goes on beside the write.
 *
 * With 'direct' the pieces go through a second open file of the same inode, for
 * O_DIRECT wants pages in memory and in the file, and the stream's bytes are not
 * so.
 */
#include "migration/ram/mapped/page-io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/thread.h"
#include "vmm/base/units.h"
#include "vmm/base/xxh64.h"

#define MAX_THREADS 255U
#define PER_THREAD  2U

struct page_io {
	/* set at creation and then constant */
	struct page_io_config cfg;
	struct channel *ch;         /* borrowed; asked for a cancel */
	int fd;                     /* owned; -1: the channel's */
	pthread_mutex_t write_turn; /* held by the one that writes through the page cache */
	/* the caller's */
	struct thread threads[MAX_THREADS];
	unsigned n_threads;
	/* Protects what follows.  Nothing is taken under it. */
	pthread_mutex_t lock;
	pthread_cond_t given; /* to the threads: a piece, or the end */
	pthread_cond_t moved; /* to the caller */
	struct page_io_piece queue[MAX_THREADS * PER_THREAD]; /* ring, oldest at 'first' */
	unsigned first, n, room;
	unsigned busy; /* pieces being moved */
	bool stop, failed;
	struct err err; /* then: why */
};

/* ---- one piece ---- */

static ssize_t move_once(int fd, bool writing, uint8_t *p, size_t n, off_t off)
{
	ssize_t done;

	do
		done = writing ? pwrite(fd, p, n, off) : pread(fd, p, n, off);
	while (done < 0 && errno == EINTR);
	return done < 0 ? -errno : done;
}

/* 0, -ENODATA at the end of the file, or another -errno. */
static int move_all(int fd, bool writing, uint8_t *p, size_t n, uint64_t off)
{
	while (n > 0) {
		ssize_t done = move_once(fd, writing, p, n, (off_t)off);

		if (done <= 0)
			return done == 0 ? (writing ? -ENOSPC : -ENODATA) : (int)done;
		p += done;
		n -= (size_t)done;
		off += (uint64_t)done;
	}
	return 0;
}

static int say_not_moved(const struct page_io *io, const struct page_io_piece *p, int ret,
			 struct err *err)
{
	if (io->cfg.writing)
		return channel_say_failed(io->ch, ret, "write to", err);
	if (ret == -ENODATA)
		return err_set(err, EIO,
			       "the file ends in the pages of RAM block '%s', which go on at file "
			       "offset 0x%" PRIx64 ": it is cut short",
			       p->block, p->file_off);
	return err_set(err, -ret,
		       "Unable to read the pages of RAM block '%s' at file offset 0x%" PRIx64
		       ": %s",
		       p->block, p->file_off, err_text(-ret));
}

static void sum_pages(const struct page_io_piece *p)
{
	for (size_t at = 0; at < p->bytes; at += PAGE_BYTES) {
		struct xxh64 h;
		uint8_t off[8];

		put_be64(off, p->file_off + at);
		xxh64_init(&h);
		xxh64_add(&h, p->at + at, PAGE_BYTES);
		xxh64_add(&h, off, sizeof(off));
		p->sums[at / PAGE_BYTES] = xxh64_value(&h);
	}
}

static int move_in_turn(struct page_io *io, const struct page_io_piece *p)
{
	bool turns = io->cfg.writing && !io->cfg.direct;
	int fd = io->fd >= 0 ? io->fd : channel_fd(io->ch), ret;

	if (turns)
		pthread_mutex_lock(&io->write_turn);
	ret = move_all(fd, io->cfg.writing, p->at, p->bytes, p->file_off);
	if (turns)
		pthread_mutex_unlock(&io->write_turn);
	return ret;
}

static int move_piece(struct page_io *io, const struct page_io_piece *p, struct err *err)
{
	int ret = move_in_turn(io, p);

	if (ret < 0)
		return say_not_moved(io, p, ret, err);
	if (p->sums)
		sum_pages(p);
	return 0;
}

/* ---- threads ---- */

static void fail_locked(struct page_io *io, const struct err *err)
{
	if (!io->failed)
		io->err = *err;
	io->failed = true;
}

static void *page_io_thread(void *opaque)
{
	struct page_io *io = opaque;
	struct err err = {0};

	pthread_mutex_lock(&io->lock);
	while (!io->stop) {
		struct page_io_piece piece;
		int ret = 0;

		if (!io->n) {
			pthread_cond_wait(&io->given, &io->lock);
			continue;
		}
		piece = io->queue[io->first];
		io->first = (io->first + 1) % io->room;
		io->n--;
		io->busy++;
		pthread_cond_signal(&io->moved); /* there is room */
		if (!io->failed) {
			pthread_mutex_unlock(&io->lock);
			ret = move_piece(io, &piece, &err);
			pthread_mutex_lock(&io->lock);
		}
		if (ret < 0)
			fail_locked(io, &err);
		io->busy--;
		pthread_cond_signal(&io->moved);
	}
	pthread_mutex_unlock(&io->lock);
	return NULL;
}

/* ---- the caller ---- */

static int start_threads(struct page_io *io, struct err *err)
{
	for (; io->n_threads < MIN(io->cfg.threads, MAX_THREADS); io->n_threads++) {
		int ret = thread_start(&io->threads[io->n_threads],
				       io->cfg.writing ? "mig-write" : "mig-read", THREAD_MIGRATION,
				       page_io_thread, io, err);

		if (ret < 0)
			return ret;
	}
	io->room = MAX(io->n_threads, 1) * PER_THREAD;
	return 0;
}

struct page_io *page_io_new(struct channel *ch, const struct page_io_config *cfg, struct err *err)
{
	struct page_io *io = NEW(struct page_io);
	int ret = 0;

	io->cfg = *cfg;
	io->ch = ch;
	io->fd = -1;
	io->room = MAX(MIN(cfg->threads, MAX_THREADS), 1) * PER_THREAD;
	pthread_mutex_init(&io->lock, NULL);
	pthread_mutex_init(&io->write_turn, NULL);
	pthread_cond_init(&io->given, NULL);
	pthread_cond_init(&io->moved, NULL);
	if (cfg->direct)
		ret = io->fd =
		    channel_open_again(ch, (cfg->writing ? O_WRONLY : O_RDONLY) | O_DIRECT, err);
	if (ret >= 0)
		ret = start_threads(io, err);
	if (ret >= 0)
		return io;
	page_io_free(io);
	return NULL;
}

void page_io_free(struct page_io *io)
{
	if (!io)
		return;
	pthread_mutex_lock(&io->lock);
	io->stop = true;
	pthread_cond_broadcast(&io->given);
	pthread_mutex_unlock(&io->lock);
	for (unsigned i = 0; i < io->n_threads; i++)
		thread_join(&io->threads[i]);
	path_close(io->fd);
	pthread_mutex_destroy(&io->lock);
	pthread_mutex_destroy(&io->write_turn);
	pthread_cond_destroy(&io->given);
	pthread_cond_destroy(&io->moved);
	free(io);
}

static void put_here(struct page_io *io, const struct page_io_piece *piece)
{
	struct err err = {0};

	if (!io->failed && move_piece(io, piece, &err) < 0)
		fail_locked(io, &err);
}

static void put_locked(struct page_io *io, const struct page_io_piece *piece)
{
	while (io->n == io->room && !io->failed)
		pthread_cond_wait(&io->moved, &io->lock);
	if (io->failed)
		return;
	io->queue[(io->first + io->n++) % io->room] = *piece;
	pthread_cond_signal(&io->given);
}

int page_io_put(struct page_io *io, const struct page_io_piece *piece)
{
	struct err err = {0};

	pthread_mutex_lock(&io->lock);
	if (!io->failed && channel_cancelled(io->ch)) {
		(void)channel_say_failed(io->ch, -ECANCELED, "write to", &err);
		fail_locked(io, &err);
	}
	if (io->n_threads)
		put_locked(io, piece);
	else
		put_here(io, piece);
	pthread_mutex_unlock(&io->lock);
	return page_io_failure(io, NULL);
}

int page_io_sync(struct page_io *io)
{
	pthread_mutex_lock(&io->lock);
	while (io->busy || (io->n && !io->failed))
		pthread_cond_wait(&io->moved, &io->lock);
	pthread_mutex_unlock(&io->lock);
	return page_io_failure(io, NULL);
}

int page_io_failure(struct page_io *io, struct err *err)
{
	int ret = 0;

	pthread_mutex_lock(&io->lock);
	if (io->failed) {
		ret = -io->err.errnum;
		if (err)
			*err = io->err;
	}
	pthread_mutex_unlock(&io->lock);
	return ret;
}

/* ---- beside it ---- */

int page_io_write_at(const struct channel *ch, const void *p, size_t n, uint64_t off,
		     struct err *err)
{
	struct iovec v = iov_of(p, n);
	int ret = move_all(channel_fd(ch), true, v.iov_base, n, off);

	return ret < 0 ? channel_say_failed(ch, ret, "write to", err) : 0;
}

int page_io_read_at(const struct channel *ch, void *p, size_t n, uint64_t off, const char *what,
		    struct err *err)
{
	int ret = move_all(channel_fd(ch), false, p, n, off);

	if (ret == -ENODATA)
		return err_set(err, EIO,
			       "the file ends in %s, which is at file offset 0x%" PRIx64
			       ": it is cut short",
			       what, off);
	return ret < 0 ? channel_say_failed(ch, ret, "read from", err) : 0;
}
