#include "migration/incoming/recover-listen.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/channel/listen.h"
#include "migration/channel/open.h"
#include "migration/channel/uri.h"
#include "migration/stream/wire.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"

/* What a connection is by its first byte; NOTHING: none has come; SHAKING: its TLS is not agreed.
 */
enum recover_kind { NOTHING, MAIN, PREEMPT, STRANGER, SHAKING };

int recover_listen_init(struct recover_listen *r)
{
	*r = (struct recover_listen){.wake_fd = wake_open(), .given = -1};
	pthread_mutex_init(&r->mutex, NULL);
	return r->wake_fd < 0 ? -errno : 0;
}

void recover_listen_fini(struct recover_listen *r)
{
	recover_listen_stop(r);
	if (r->wake_fd >= 0)
		(void)close(r->wake_fd);
	tls_layer_fini(&r->tls);
	pthread_mutex_destroy(&r->mutex);
}

/* ---- what to wait for ---- */

/* No more of the earlier one.  Mutex held. */
static void forget_locked(struct recover_listen *r)
{
	/* A thread that waits for them in poll() would keep the address. */
	for (int i = 0; i < r->set.n; i++)
		(void)shutdown(r->set.fd[i], SHUT_RDWR);
	listen_close(&r->set);
	r->has_address = false;
	if (r->given >= 0)
		(void)close(r->given);
	r->given = -1;
}

/* Mutex held. */
static int check_wanted(const struct recover_listen *r, struct err *err)
{
	return r->wanted ? 0 : err_set(err, EINVAL, RECOVER_NOT_PAUSED);
}

int recover_listen_at(struct recover_listen *r, const struct migration_uri *uri,
		      const struct sockaddr_list *list, struct err *err)
{
	struct listen_set set = {0};
	struct migration_address address;
	struct err why = {0};
	int ret;

	pthread_mutex_lock(&r->mutex);
	ret = check_wanted(r, &why);
	if (ret == 0)
		ret = channel_listen(&set, uri, list, &address, &why);
	if (ret == -EADDRINUSE && r->set.n) { /* by ourselves, perhaps */
		forget_locked(r);
		ret = channel_listen(&set, uri, list, &address, &why);
	}
	if (ret == 0) {
		forget_locked(r);
		r->set = set;
		r->address = address;
		r->has_address = true;
	}
	pthread_mutex_unlock(&r->mutex);
	wake_set(r->wake_fd);
	if (ret < 0) {
		listen_close(&set);
		return err ? (*err = why, ret) : ret;
	}
	return 0;
}

int recover_listen_given(struct recover_listen *r, int fd, struct err *err)
{
	int ret;

	pthread_mutex_lock(&r->mutex);
	ret = check_wanted(r, err);
	if (ret == 0) {
		forget_locked(r);
		r->given = fd;
	}
	pthread_mutex_unlock(&r->mutex);
	if (ret < 0)
		(void)close(fd);
	wake_set(r->wake_fd);
	return ret;
}

void recover_listen_use(struct recover_listen *r, struct tls_layer *tls)
{
	pthread_mutex_lock(&r->mutex);
	tls_layer_fini(&r->tls);
	r->tls = *tls;
	pthread_mutex_unlock(&r->mutex);
	*tls = (struct tls_layer){.wanted = false};
}

bool recover_listen_address(struct recover_listen *r, struct migration_address *address)
{
	bool yes;

	pthread_mutex_lock(&r->mutex);
	yes = r->has_address;
	if (yes)
		*address = r->address;
	pthread_mutex_unlock(&r->mutex);
	return yes;
}

/* ---- connections ---- */

/* The i-th leaves the list. */
static struct channel *unlist(struct recover_listen *r, int i)
{
	struct channel *ch = r->waiting[i].ch;

	r->n_waiting--;
	memmove(&r->waiting[i], &r->waiting[i + 1],
		(size_t)(r->n_waiting - i) * sizeof(r->waiting[0]));
	return ch;
}

static void add_connection(struct recover_listen *r, int fd)
{
	struct err err = {0};
	CLEANUP(tls_layer_fini) struct tls_layer tls;
	struct channel *ch;

	pthread_mutex_lock(&r->mutex);
	tls = tls_layer_copy(&r->tls);
	pthread_mutex_unlock(&r->mutex);
	ch = channel_with_layer(channel_from_socket(fd, -1),
				r->layer ? r->layer : tls_layer_of(&tls), true, &err);
	if (!ch) {
		log_warn("a connection to the migration that is to be resumed was refused: %s",
			 err.msg);
		return;
	}
	if (r->n_waiting == RECOVER_WAITING_MAX)
		channel_close(unlist(r, 0));
	r->waiting[r->n_waiting++] = (struct recover_waiting){ch, NOTHING};
}

/* All that have connected by now.  Accepted under the mutex, so that it is of the set that is. */
static void accept_all(struct recover_listen *r)
{
	int fd;

	do {
		pthread_mutex_lock(&r->mutex);
		fd = r->given >= 0 ? r->given : listen_accept(&r->set);
		if (fd == r->given)
			r->given = -1;
		pthread_mutex_unlock(&r->mutex);
		if (fd >= 0)
			add_connection(r, fd);
	} while (fd >= 0);
}

static enum recover_kind classify(struct channel *ch)
{
	uint8_t first;
	ssize_t got = channel_try_handshake(ch);

	if (got == -EAGAIN || got == -EINTR)
		return SHAKING;
	if (got == 0)
		got = channel_peek(ch, &first, 1);
	if (got == -EAGAIN || got == -EINTR)
		return NOTHING;
	if (got <= 0)
		return STRANGER; /* it has gone */
	/* A page's offset is below 2^56. */
	return first == TAG_COMMAND ? MAIN : first == 0 ? PREEMPT : STRANGER;
}

/* Once before each wait: what says its first byte after this look ends the wait. */
static void look(struct recover_listen *r)
{
	for (int i = 0; i < r->n_waiting; i++)
		r->waiting[i].kind = (int)classify(r->waiting[i].ch);
}

/* Close those that are not the source's, or not 'wanted' any more. */
static void drop_strangers(struct recover_listen *r, enum recover_kind wanted)
{
	for (int i = r->n_waiting - 1; i >= 0; i--) {
		int kind = r->waiting[i].kind;
		struct err err = {0};

		if (kind != STRANGER && (kind != MAIN || wanted == MAIN))
			continue;
		if (channel_explain(r->waiting[i].ch, &err))
			log_warn("a connection to the migration that is to be resumed was refused: "
				 "%s",
				 err.msg);
		else
			log_warn("a connection to the migration that is to be resumed is not its "
				 "source's: closed");
		channel_close(unlist(r, i));
	}
}

/* The latest of that kind, owned; NULL: there is none. */
static struct channel *find_kind(struct recover_listen *r, enum recover_kind kind)
{
	for (int i = r->n_waiting - 1; i >= 0; i--)
		if (r->waiting[i].kind == (int)kind)
			return unlist(r, i);
	return NULL;
}

/* The one that is wanted, owned; NULL: not yet. */
static struct channel *find_connection(struct recover_listen *r, enum recover_kind wanted)
{
	struct channel *ch;

	look(r);
	drop_strangers(r, wanted);
	ch = find_kind(r, wanted);
	/* Preempt's may be silent for as long as no page is asked for. */
	return ch || wanted == MAIN ? ch : find_kind(r, NOTHING);
}

/* Until something may have come; false: cancelled, or what is watched has come. */
static bool wait_for_news(struct recover_listen *r, int cancel_fd, int watch_fd)
{
	struct pollfd p[3 + SOCKADDR_LIST_MAX + RECOVER_WAITING_MAX] = {
	    {.fd = cancel_fd,  .events = POLLIN},
	    {.fd = r->wake_fd, .events = POLLIN},
	    {.fd = watch_fd,   .events = POLLIN},
	};
	nfds_t n = 3;

	pthread_mutex_lock(&r->mutex);
	for (int i = 0; i < r->set.n; i++)
		p[n++] = (struct pollfd){.fd = r->set.fd[i], .events = POLLIN};
	pthread_mutex_unlock(&r->mutex);
	for (int i = 0; i < r->n_waiting; i++)
		if (r->waiting[i].kind == NOTHING || r->waiting[i].kind == SHAKING)
			p[n++] =
			    (struct pollfd){.fd = channel_fd(r->waiting[i].ch), .events = POLLIN};
	(void)poll(p, n, -1);
	if (p[1].revents)
		wake_clear(r->wake_fd);
	return !p[0].revents && !p[2].revents;
}

static struct channel *await_connection(struct recover_listen *r, enum recover_kind kind,
					int cancel_fd, int watch_fd)
{
	struct channel *ch;

	do {
		accept_all(r);
		ch = find_connection(r, kind);
	} while (!ch && wait_for_news(r, cancel_fd, watch_fd));
	if (ch)
		ch->cancel_fd = cancel_fd;
	return ch;
}

struct channel *recover_listen_main(struct recover_listen *r, int cancel_fd, int watch_fd)
{
	return await_connection(r, MAIN, cancel_fd, watch_fd);
}

struct channel *recover_listen_preempt(struct recover_listen *r, const bool *begun, int cancel_fd)
{
	while (!__atomic_load_n(begun, __ATOMIC_ACQUIRE)) {
		accept_all(r);
		look(r);
		if (!wait_for_news(r, cancel_fd, -1))
			return NULL;
	}
	return await_connection(r, PREEMPT, cancel_fd, -1);
}

void recover_listen_poke(const struct recover_listen *r)
{
	wake_set(r->wake_fd);
}

bool recover_listen_agrees(struct recover_listen *r)
{
	bool yes;

	pthread_mutex_lock(&r->mutex);
	yes = tls_layer_of(&r->tls) != NULL;
	pthread_mutex_unlock(&r->mutex);
	return yes;
}

void recover_listen_begin(struct recover_listen *r, const struct channel_layer *layer)
{
	r->layer = layer;
	pthread_mutex_lock(&r->mutex);
	r->wanted = true;
	pthread_mutex_unlock(&r->mutex);
}

void recover_listen_stop(struct recover_listen *r)
{
	pthread_mutex_lock(&r->mutex);
	r->wanted = false;
	forget_locked(r);
	pthread_mutex_unlock(&r->mutex);
	while (r->n_waiting)
		channel_close(unlist(r, 0));
}
