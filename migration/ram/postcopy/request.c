/*
 * request.c - the fault thread: what is touched is asked for
 *
 * A fault becomes a message on the return path, sent by this thread itself: the page's block, its
 * place and the size of a page of the host.  Each page is asked for once, however many threads
 * touch it and however often they do; again only on a new connection.  A page that has been
 * received is not asked for: it is zero and absent, or was given back to the host since,
 * and a zero page is put in.  With private anonymous memory zero pages cost nothing, so that
 * those behind it are put in by the same call.
 *
 * A thread that waits cannot be made to leave by a signal on every host.  When a page does not
 * come for STUCK_NS the owner is told, so that a command which pauses the machine need not wait.
 */
#include <errno.h>
#include <string.h>

#include "migration/channel/channel.h"
#include "migration/ram/postcopy/blocktime.h"
#include "migration/ram/postcopy/postcopy-ram.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/vclock.h"

#define ZERO_AHEAD    64U /* pages of 4 KiB, at most */
#define STUCK_NS      INT64_C(300000000)
#define LOOK_MS       100
#define REQUEST_BYTES 12U /* without a name */

/* ---- messages ---- */

/* out.lock held.  The block is named when it is not that of the message before. */
static int send_request(struct postcopy_ram *p, const struct postcopy_block *pb, uint64_t page,
			struct err *err)
{
	uint8_t msg[REQUEST_BYTES + RAM_NAME_BYTES];
	bool named = p->asked_last == pb;
	size_t n = REQUEST_BYTES;
	int ret;

	if (!p->out.ch)
		return 0;
	put_be64(msg, page * PAGE_BYTES);
	put_be32(msg + 8, (uint32_t)pb->block->page_bytes);
	if (!named) {
		msg[n] = (uint8_t)strlen(pb->block->name);
		memcpy(msg + n + 1, pb->block->name, msg[n]);
		n += 1U + msg[n];
	}
	ret = rp_send(p->out.ch, named ? RP_REQ_PAGES : RP_REQ_PAGES_ID, msg, n, err);
	p->asked_last = ret < 0 ? NULL : pb;
	if (ret == 0)
		__atomic_fetch_add(&p->requests, 1, __ATOMIC_RELAXED);
	return ret;
}

static void ask(struct postcopy_ram *p, const struct postcopy_block *pb, uint64_t page)
{
	pthread_mutex_lock(&p->out.lock);
	if (send_request(p, pb, page, NULL) < 0)
		channel_shut_down(p->out.ch); /* its reader may not have noticed yet */
	pthread_mutex_unlock(&p->out.lock);
}

static int ask_again(struct postcopy_ram *p, struct err *err)
{
	int ret = 0;

	if (!__atomic_load_n(&p->waiting, __ATOMIC_SEQ_CST))
		return 0;
	for (size_t i = 0; i < p->n; i++) {
		const struct postcopy_block *pb = &p->blocks[i];

		for (uint64_t page = 0; ret == 0 && page < pb->pages; page += pb->unit)
			if (postcopy_ram_wanted(pb, page))
				ret = send_request(p, pb, page, err);
	}
	return ret;
}

int postcopy_ram_attach(struct postcopy_ram *p, struct channel *ch, struct err *err)
{
	int ret = 0;

	pthread_mutex_lock(&p->out.lock);
	p->out.ch = ch;
	p->asked_last = NULL;
	if (ch)
		ret = ask_again(p, err);
	pthread_mutex_unlock(&p->out.lock);
	return ret;
}

/* ---- who waits, and for how long ---- */

static void tell_stuck(struct postcopy_ram *p, bool on)
{
	if (__atomic_exchange_n(&p->stuck, on, __ATOMIC_SEQ_CST) == on)
		return;
	pthread_mutex_lock(&p->owner_lock);
	if (p->owner.stuck)
		p->owner.stuck(p->owner.opaque, on);
	pthread_mutex_unlock(&p->owner_lock);
}

/* What a page is called where waits are measured: its place in this program's memory. */
static uint64_t wait_key(const struct postcopy_block *pb, uint64_t page)
{
	return (uintptr_t)pb->block->hva / PAGE_BYTES + page;
}

/* These of the bits of a word, as far as they are set, are not any more: how many were. */
static unsigned clear_requested(uint64_t *word, uint64_t mask)
{
	if (!(__atomic_load_n(word, __ATOMIC_SEQ_CST) & mask))
		return 0;
	return (unsigned)__builtin_popcountll(mask &
					      __atomic_fetch_and(word, ~mask, __ATOMIC_SEQ_CST));
}

uint64_t postcopy_request_end(struct postcopy_ram *p, struct postcopy_block *pb, uint64_t page,
			      uint64_t n)
{
	uint64_t first = page, end = page + n, ended = 0;
	int64_t now;

	while (page < end) {
		uint64_t bit = page % BITS_PER_WORD, some = MIN(BITS_PER_WORD - bit, end - page);

		ended +=
		    clear_requested(&pb->requested[page / BITS_PER_WORD], postcopy_bits(bit, some));
		page += some;
	}
	if (!ended)
		return 0;
	now = host_now_ns();
	if (p->blocktime)
		blocktime_placed(p->blocktime, wait_key(pb, first), n, now);
	__atomic_fetch_sub(&p->waiting, ended, __ATOMIC_SEQ_CST);
	__atomic_store_n(&p->progress_ns, now, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&p->stuck, __ATOMIC_SEQ_CST))
		tell_stuck(p, false);
	return ended;
}

static int look_again_ms(void *opaque)
{
	const struct postcopy_ram *p = opaque;

	return p->starved || __atomic_load_n(&p->waiting, __ATOMIC_SEQ_CST) ? LOOK_MS : -1;
}

/* The host may have a page now: who waits for a zero page touches it again. */
static void try_again(struct postcopy_ram *p)
{
	p->starved = false;
	for (size_t i = 0; i < p->n; i++)
		(void)userfault_wake(&p->uffd, p->blocks[i].block, 0, p->blocks[i].block->bytes);
}

static void look(void *opaque)
{
	struct postcopy_ram *p = opaque;
	int64_t since = __atomic_load_n(&p->progress_ns, __ATOMIC_SEQ_CST);

	if (__atomic_load_n(&p->waiting, __ATOMIC_SEQ_CST) && host_now_ns() - since > STUCK_NS)
		tell_stuck(p, true);
	if (p->starved)
		try_again(p);
}

/* ---- faults ---- */

/* There is no page to be had for zeroes: the thread waits on, and is served when there is. */
static int starve(struct postcopy_ram *p, const struct postcopy_block *pb, int ret)
{
	if (!p->said_starved)
		log_error("the host has no page for RAM block '%s' (%s): the guest waits for it",
			  pb->block->name, err_text(-ret));
	p->said_starved = p->starved = true;
	tell_stuck(p, true);
	return 0;
}

/* The page has been received.  What is there already stays. */
static int fill_zero(struct postcopy_ram *p, const struct postcopy_block *pb, uint64_t page)
{
	const struct ram_block *b = pb->block;
	uint64_t n = 1;
	int ret;

	if (b->fd < 0 && !b->share && pb->unit == 1)
		while (n < ZERO_AHEAD && page + n < pb->pages && postcopy_ram_has(pb, page + n))
			n++;
	ret = n > 1 ? userfault_zero_some(&p->uffd, b, page * PAGE_BYTES, n * PAGE_BYTES)
		    : userfault_zero(&p->uffd, b, page * PAGE_BYTES, b->page_bytes);
	if (ret == -ENOMEM || ret == -ENOSPC)
		return starve(p, pb, ret);
	if (ret < 0)
		return ret;
	/* It was given back between this look and the one that woke the thread: it asks again. */
	return userfault_wake(&p->uffd, b, page * PAGE_BYTES, b->page_bytes);
}

/* The page is asked for from now on: false, it was already. */
static bool set_requested(struct postcopy_ram *p, struct postcopy_block *pb, uint64_t page)
{
	uint64_t bit = 1ULL << (page % BITS_PER_WORD);
	uint64_t *word = &pb->requested[page / BITS_PER_WORD];

	if (__atomic_load_n(word, __ATOMIC_SEQ_CST) & bit)
		return false;
	if (__atomic_fetch_add(&p->waiting, 1, __ATOMIC_SEQ_CST) == 0)
		__atomic_store_n(&p->progress_ns, host_now_ns(), __ATOMIC_SEQ_CST);
	__atomic_fetch_or(word, bit, __ATOMIC_SEQ_CST);
	return true;
}

/* Thread 'tid' waits for the page, or not: it had come before the fault was noted. */
static void note_wait(struct postcopy_ram *p, const struct postcopy_block *pb, uint64_t page,
		      uint32_t tid, bool waits)
{
	if (!p->blocktime)
		return;
	if (waits)
		blocktime_fault(p->blocktime, wait_key(pb, page), tid, host_now_ns());
	else
		blocktime_drop(p->blocktime, wait_key(pb, page), tid);
}

static int on_fault(void *opaque, const struct userfault_msg *msg)
{
	struct postcopy_ram *p = opaque;
	uint64_t off, page;
	const struct ram_block *b = userfault_block_at(&p->uffd, msg->hva, &off);
	struct postcopy_block *pb = b ? postcopy_ram_find(p, b) : NULL;
	bool fresh;

	beside_follow(&p->beside, msg->tid);
	if (!pb)
		return 0;
	page = ALIGN_DOWN(off, b->page_bytes) / PAGE_BYTES;
	if (postcopy_ram_has(pb, page))
		return fill_zero(p, pb, page);
	note_wait(p, pb, page, msg->tid, true);
	fresh = set_requested(p, pb, page);
	if (!postcopy_ram_has(pb, page)) {
		if (fresh)
			ask(p, pb, page);
		else
			look(p); /* a signal makes a vCPU touch it again and again on some hosts */
		return 0;
	}
	note_wait(p, pb, page, msg->tid, false);
	if (!fresh)
		return 0;
	/* It came in between, and whoever put it in may not have seen that it is wanted. */
	postcopy_request_end(p, pb, page, 1);
	return fill_zero(p, pb, page);
}

static void on_failed(void *opaque, const struct err *why)
{
	struct postcopy_ram *p = opaque;

	tell_stuck(p, true); /* nobody looks any more how long a wait takes */
	pthread_mutex_lock(&p->owner_lock);
	if (p->owner.failed)
		p->owner.failed(p->owner.opaque, why);
	pthread_mutex_unlock(&p->owner_lock);
}

const struct fault_ops postcopy_fault_ops = {
    .name = "postcopy-fault",
    .no_spin = true,
    .handle = on_fault,
    .woken = look,
    .again_ms = look_again_ms,
    .failed = on_failed,
};
