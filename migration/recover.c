/*
 * recover.c - a postcopy whose connection is lost: cut it, and bring both ends together again
 *
 *     migrate-pause            either end     cuts the connection at once
 *     migrate-recover          destination    where the source may come back
 *     migrate with resume      source         where the destination waits
 *
 * A source that has not noticed the loss waits for the kernel, which sends what it has again and
 * again; to resume then cuts the old connection first.  All three only leave word, or shut a
 * socket down: what follows is done by the thread of the migration (outgoing/postcopy-recover.c,
 * incoming/postcopy-recover.c).
 */
#include <errno.h>
#include <unistd.h>

#include "migration/channel/resolve.h"
#include "migration/internal.h"
#include "migration/migration.h"
#include "vmm/machine.h"

#define LOOKUP_MS 100 /* so long a command waits for a name's address */

static bool can_be_cut(enum migration_status s)
{
	return s == MIG_POSTCOPY_ACTIVE || s == MIG_POSTCOPY_RECOVER_SETUP ||
	       s == MIG_POSTCOPY_RECOVER;
}

static bool cut(struct migration *mg)
{
	return yank_cut(&mg->m->yanks, YANK_MIGRATION, "", false);
}

int migration_pause(struct migration *mg, struct err *err)
{
	bool goes = can_be_cut(status_get(&mg->out.status));

	if (!goes && !can_be_cut(status_get(&mg->in.status)))
		return err_set(err, EINVAL,
			       "migrate-pause is currently only supported during postcopy-active "
			       "state");
	if (!cut(mg))
		return err_set(err, ENOTCONN,
			       "Failed to pause %s migration: it has no connection now",
			       goes ? "source" : "destination");
	return 0;
}

/* What the host of a tcp: address stands for.  'main_loop': a name can be looked up. */
static int look_up(struct migration *mg, const struct migration_uri *uri, bool passive,
		   bool main_loop, struct sockaddr_list *list, struct err *err)
{
	struct resolve *r;
	int ret;

	if (uri->kind != URI_TCP || resolve_now(uri, passive, list, NULL) == 0)
		return 0;
	if (!main_loop)
		return err_set(err, EINVAL,
			       "out of band no name can be looked up: give the host of '%.200s' as "
			       "a number",
			       uri->text);
	r = resolve_start(mg->m->loop, uri, passive, NULL, NULL, err);
	if (!r)
		return -EAGAIN;
	ret = resolve_wait(r, LOOKUP_MS, list, err);
	if (ret > 0)
		return 0;
	if (ret == 0) {
		resolve_abandon(r);
		ret = err_set(err, ETIMEDOUT,
			      "the address of '%.200s' is not known yet: ask again, or give the "
			      "host as a number",
			      uri->text);
	}
	return ret;
}

/* The ways on which the peer can answer; 'two': there will be another connection. */
static int check_kind(const struct migration_uri *uri, int fd, bool two, struct err *err)
{
	if (uri->kind == URI_FD && fd < 0)
		return err_set(err, ENOENT, "File descriptor named '%s' has not been found",
			       uri->path);
	if (uri_is_address(uri->kind) || (uri->kind == URI_FD && !two))
		return 0;
	if (uri->kind == URI_FD)
		return err_set(err, EINVAL,
			       "postcopy-preempt needs a second connection, and fd: is one: give "
			       "an address of tcp: or unix:");
	return err_set(err, EINVAL,
		       "a postcopy is resumed over tcp:, unix: or fd:, where both ends can talk");
}

/* ---- destination ---- */

static int wait_there(struct migration *mg, struct migration_uri *uri, int *fd, bool oob,
		      struct err *err)
{
	struct sockaddr_list list;
	int ret = check_kind(uri, *fd, mg->in.set->caps[CAP_POSTCOPY_PREEMPT], err);

	uri_anchor(uri, mg->m->host);
	if (ret == 0)
		ret = look_up(mg, uri, true, !oob, &list, err);
	if (ret < 0)
		return ret;
	if (!oob) { /* else the main loop does it soon */
		incoming_stop_listening(&mg->in);
		incoming_recover_tls(&mg->in);
	}
	if (uri->kind != URI_FD)
		return recover_listen_at(&mg->in.recover, uri, &list, err);
	ret = recover_listen_given(&mg->in.recover, *fd, err);
	*fd = -1;
	return ret;
}

int migration_recover(struct migration *mg, const struct migration_where *where, int fd, bool oob,
		      struct err *err)
{
	struct migration_uri uri = {0};
	int ret = 0;

	if (status_get(&mg->in.status) != MIG_POSTCOPY_PAUSED)
		ret = err_set(err, EINVAL, RECOVER_NOT_PAUSED);
	if (ret == 0)
		ret = uri_take(&uri, where, true, err);
	if (ret == 0)
		ret = wait_there(mg, &uri, &fd, oob, err);
	uri_fini(&uri);
	if (fd >= 0)
		(void)close(fd);
	return ret;
}

/* ---- source ---- */

static int may_resume(const struct migration *mg, struct err *err)
{
	enum migration_status s = status_get(&mg->out.status);

	if (s != MIG_POSTCOPY_PAUSED && !can_be_cut(s))
		return err_set(err, EINVAL, "Cannot resume if there is no paused migration");
	if (mg->out.caps[CAP_RELEASE_RAM])
		return err_set(err, EINVAL,
			       "Postcopy recovery cannot work when release-ram capability is set");
	return 0;
}

int migration_resume(struct migration *mg, const struct migration_where *where, int fd,
		     struct err *err)
{
	struct resume_address a = {.fd = fd};
	int ret = may_resume(mg, err);

	if (ret == 0)
		ret = uri_take(&a.uri, where, false, err);
	if (ret == 0)
		ret = check_kind(&a.uri, fd, mg->out.caps[CAP_POSTCOPY_PREEMPT], err);
	if (ret == 0) {
		uri_anchor(&a.uri, mg->m->host);
		ret = look_up(mg, &a.uri, false, true, &a.to, err);
		tls_layer_fill(&a.tls, mg->m, &mg->set.params, a.uri.host);
	}
	if (ret < 0) {
		resume_address_fini(&a);
		return ret;
	}
	resume_put(&mg->out.resume, &a);
	if (can_be_cut(status_get(&mg->out.status)))
		(void)cut(mg);
	return 0;
}
