#include "migration/incoming/connections.h"

#include <errno.h>
#include <stdlib.h>

#include "migration/channel/channel.h"
#include "migration/ram/multifd/multifd.h"
#include "migration/stream/stream.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/list.h"
#include "vmm/base/log.h"
#include "vmm/loop.h"

#define AGAIN_MS 10 /* when only a part of the magic has come */

struct arrival {
	struct list link;
	struct arrivals *a;
	struct channel *ch; /* owned */
	struct loop_fd *watch;
	struct loop_timer *again;   /* only a part of the magic has come */
	struct loop_timer *silence; /* time is up */
};

struct arrivals {
	struct loop *loop;
	const struct arrivals_ops *ops;
	void *opaque;
	struct list waiting;
	unsigned n;
	bool channels, has_main;
	bool used; /* somebody has said what they are */
	bool told; /* ... that one was dropped: once will do */
	uint64_t silence_ms;
};

struct arrivals *arrivals_new(struct loop *l, bool channels, uint64_t silence_ms,
			      const struct arrivals_ops *ops, void *opaque)
{
	struct arrivals *a = NEW(struct arrivals);

	a->loop = l;
	a->channels = channels;
	a->silence_ms = silence_ms;
	a->ops = ops;
	a->opaque = opaque;
	list_init(&a->waiting);
	return a;
}

static void arrival_free(struct arrival *one)
{
	loop_fd_del(one->watch);
	loop_timer_free(one->again);
	loop_timer_free(one->silence);
	list_del(&one->link);
	one->a->n--;
	channel_close(one->ch);
	free(one);
}

void arrivals_clear(struct arrivals *a)
{
	list_for_each_safe (one, &a->waiting, struct arrival, link)
		arrival_free(one);
}

void arrivals_free(struct arrivals *a)
{
	if (!a)
		return;
	arrivals_clear(a);
	free(a);
}

/* It begins with these four bytes. */
static void decide(struct arrival *one, uint32_t magic)
{
	struct arrivals *a = one->a;
	struct channel *ch = one->ch;

	one->ch = NULL;
	arrival_free(one);
	a->used = true;
	if (magic == MULTIFD_MAGIC && a->channels) {
		a->ops->page_channel(a->opaque, ch);
	} else if (!a->has_main) { /* whatever it is: the loader knows how to refuse it */
		a->has_main = true;
		a->ops->main_stream(a->opaque, ch);
	} else {
		log_warn("a connection that begins with 0x%08x was refused during the migration",
			 magic);
		channel_close(ch);
	}
	a->ops->decided(a->opaque);
}

static void drop(struct arrival *one, const char *why)
{
	struct arrivals *a = one->a;

	if (!a->told)
		log_info("a connection to the incoming migration is dropped: the peer %s", why);
	a->told = true;
	arrival_free(one);
	a->ops->decided(a->opaque);
}

static void look(struct arrival *one)
{
	uint8_t magic[4];
	ssize_t n = channel_peek(one->ch, magic, sizeof(magic));

	if (n == (ssize_t)sizeof(magic)) {
		decide(one, get_be32(magic));
	} else if (n > 0) { /* it stays readable: look again later */
		loop_fd_events(one->watch, 0);
		loop_timer_arm_ms(one->again, AGAIN_MS);
	} else if (n == 0 || (n != -EAGAIN && n != -EINTR)) {
		drop(one, "has closed it without a word");
	}
}

static void readable(void *opaque, int ready)
{
	(void)ready;
	look(opaque);
}

static void again(void *opaque)
{
	struct arrival *one = opaque;

	loop_fd_events(one->watch, LOOP_READABLE);
	look(one);
}

static void silent(void *opaque)
{
	drop(opaque, "has said nothing for too long");
}

void arrivals_add(struct arrivals *a, struct channel *ch)
{
	struct arrival *one = NEW(struct arrival);

	if (a->n == ARRIVALS_MAX)
		drop(container_of(a->waiting.next, struct arrival, link),
		     "says nothing, and others wait for its place");
	one->a = a;
	one->ch = ch;
	one->watch = loop_fd_add(a->loop, channel_fd(ch), LOOP_READABLE, readable, one);
	one->again = loop_timer_new(a->loop, again, one);
	one->silence = loop_timer_new(a->loop, silent, one);
	loop_timer_arm_ms(one->silence, a->silence_ms);
	list_add_tail(&a->waiting, &one->link);
	a->n++;
	look(one); /* what it says may have come with it */
}

bool arrivals_waiting(const struct arrivals *a)
{
	return a->n > 0;
}

bool arrivals_idle(const struct arrivals *a)
{
	return a->n == 0 && !a->used;
}
