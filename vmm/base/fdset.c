/*
 * fdset.c - the table of descriptor sets, and open() over it
 *
 * The table is at file scope, as the names in it are the process's.  What is open from a set is
 * noted by its number until path_close(): a set that is in use stays, so that a disk can be opened
 * again with other access after its client has left.
 *
 * A duplicate shares flags, place in the file and locks with the descriptor that was passed in and
 * with all others of it.  So a file, a pipe or a terminal is opened once more by way of
 * /proc/self/fd, which makes an open file of its own; where the permissions do not allow that, and
 * for all else (sockets, devices that are another one each time), it is a duplicate.
 */
#include "vmm/base/fdset.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/list.h"
#include "vmm/base/units.h"

struct member {
	struct list link;
	int fd;
	char *opaque; /* owned or NULL */
	bool removed; /* closed when the guest runs; not opened from any more */
};

struct open_fd {
	struct list link;
	int fd; /* borrowed: that of path_open()'s caller */
};

struct fdset {
	struct list link;
	int64_t id;
	struct list members; /* struct member */
	struct list open;    /* struct open_fd */
};

static struct {
	pthread_mutex_t lock; /* protects the rest; no other is taken under it */
	struct list sets;     /* struct fdset, by id */
	size_t n_members;
	unsigned clients;
	bool guest_runs;
} table = {
    .lock = PTHREAD_MUTEX_INITIALIZER, .sets = {&table.sets, &table.sets}
};

/* ---- the table ---- */

static struct fdset *find_set(int64_t id)
{
	list_for_each (s, &table.sets, struct fdset, link)
		if (s->id == id)
			return s;
	return NULL;
}

static int64_t free_id(void)
{
	int64_t id = 0;

	list_for_each (s, &table.sets, struct fdset, link) {
		if (s->id != id)
			break;
		id++;
	}
	return id;
}

/* The list is in the order of the numbers. */
static struct fdset *new_set(int64_t id)
{
	struct fdset *set = NEW(struct fdset);
	struct list *before = &table.sets;

	list_for_each (s, &table.sets, struct fdset, link) {
		if (s->id > id) {
			before = &s->link;
			break;
		}
	}
	set->id = id;
	list_init(&set->members);
	list_init(&set->open);
	list_add_tail(before, &set->link);
	return set;
}

static void drop_member(struct member *m)
{
	list_del(&m->link);
	table.n_members--;
	(void)close(m->fd);
	free(m->opaque);
	free(m);
}

static void drop_set_if_empty(struct fdset *s)
{
	if (!list_empty(&s->members) || !list_empty(&s->open))
		return;
	list_del(&s->link);
	free(s);
}

/* Close what was removed, and what is not in use when no client could use it any more. */
static void sweep(bool unused_too)
{
	if (!table.guest_runs)
		return;
	list_for_each_safe (s, &table.sets, struct fdset, link) {
		bool unused = unused_too && !table.clients && list_empty(&s->open);

		list_for_each_safe (m, &s->members, struct member, link)
			if (m->removed || unused)
				drop_member(m);
		drop_set_if_empty(s);
	}
}

static int check_add(int fd, struct err *err)
{
	if (fd < 0)
		return err_set(err, EBADF, "No file descriptor supplied via SCM_RIGHTS");
	if (table.n_members >= FDSET_MAX_MEMBERS)
		return err_set(err, EMFILE,
			       "descriptor sets hold %d descriptors already; remove some "
			       "first (remove-fd)",
			       FDSET_MAX_MEMBERS);
	return 0;
}

int fdset_add(int64_t *set, int fd, const char *opaque, struct err *err)
{
	struct fdset *s;
	struct member *m;
	int ret;

	pthread_mutex_lock(&table.lock);
	ret = check_add(fd, err);
	if (ret == 0) {
		if (*set < 0)
			*set = free_id();
		s = find_set(*set);
		if (!s)
			s = new_set(*set);
		m = NEW(struct member);
		m->fd = fd;
		m->opaque = opaque ? xstrdup(opaque) : NULL;
		list_add_tail(&s->members, &m->link);
		table.n_members++;
	} else if (fd >= 0) {
		(void)close(fd);
	}
	pthread_mutex_unlock(&table.lock);
	return ret;
}

static int remove_locked(int64_t set, int fd, struct err *err)
{
	struct fdset *s = find_set(set);
	bool found = false;

	if (s) {
		list_for_each (m, &s->members, struct member, link) {
			if (fd < 0 || m->fd == fd) {
				m->removed = true;
				found = true;
			}
		}
	}
	if (found || (s && fd < 0))
		return 0;
	if (fd < 0)
		return err_set(err, ENOENT,
			       "File descriptor named 'fdset-id:%" PRId64 "' not found", set);
	return err_set(err, ENOENT, "File descriptor named 'fdset-id:%" PRId64 ", fd:%d' not found",
		       set, fd);
}

int fdset_remove(int64_t set, int fd, struct err *err)
{
	int ret;

	pthread_mutex_lock(&table.lock);
	ret = remove_locked(set, fd, err);
	sweep(false);
	pthread_mutex_unlock(&table.lock);
	return ret;
}

static void list_set(const struct fdset *s, struct fdset_entry *to, size_t *n)
{
	if (list_empty(&s->members))
		to[(*n)++] = (struct fdset_entry){.set = s->id, .fd = -1};
	list_for_each (m, &s->members, struct member, link)
		to[(*n)++] = (struct fdset_entry){
		    .set = s->id, .fd = m->fd, .opaque = m->opaque ? xstrdup(m->opaque) : NULL};
}

size_t fdset_list(struct fdset_entry **entries)
{
	size_t n = 0, n_sets = 0;

	pthread_mutex_lock(&table.lock);
	list_for_each (s, &table.sets, struct fdset, link)
		n_sets += s->id >= 0;
	*entries = xcalloc(table.n_members + n_sets + 1, sizeof(**entries));
	list_for_each (s, &table.sets, struct fdset, link)
		list_set(s, *entries, &n);
	pthread_mutex_unlock(&table.lock);
	return n;
}

void fdset_list_free(struct fdset_entry *entries, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(entries[i].opaque);
	free(entries);
}

void fdset_client_came(void)
{
	pthread_mutex_lock(&table.lock);
	table.clients++;
	pthread_mutex_unlock(&table.lock);
}

void fdset_client_left(void)
{
	pthread_mutex_lock(&table.lock);
	table.clients--;
	sweep(true);
	pthread_mutex_unlock(&table.lock);
}

void fdset_guest_runs(bool runs)
{
	pthread_mutex_lock(&table.lock);
	table.guest_runs = runs;
	sweep(false);
	pthread_mutex_unlock(&table.lock);
}

void fdset_end(void)
{
	pthread_mutex_lock(&table.lock);
	list_for_each_safe (s, &table.sets, struct fdset, link) {
		list_for_each_safe (m, &s->members, struct member, link)
			drop_member(m);
		list_for_each_safe (o, &s->open, struct open_fd, link) {
			list_del(&o->link);
			free(o);
		}
		drop_set_if_empty(s);
	}
	pthread_mutex_unlock(&table.lock);
}

/* ---- opening ---- */

bool path_is_fdset(const char *path)
{
	return !strncmp(path, FDSET_PREFIX, strlen(FDSET_PREFIX));
}

/* The number in the path, or -1. */
static int64_t path_set(const char *path)
{
	const char *s = path + strlen(FDSET_PREFIX);
	int64_t id = 0;

	if (!*s)
		return -1;
	for (; *s; s++)
		if (*s < '0' || *s > '9' || __builtin_mul_overflow(id, 10, &id) ||
		    __builtin_add_overflow(id, (int64_t)(*s - '0'), &id))
			return -1;
	return id;
}

static const char *mode_text(int flags)
{
	switch (flags & O_ACCMODE) {
	case O_RDONLY:
		return "reading";
	case O_WRONLY:
		return "writing";
	default:
		return "reading and writing";
	}
}

/* The first of that access mode with O_DIRECT as asked for, else the first of that mode. */
static const struct member *pick(const struct fdset *s, int flags)
{
	const struct member *other = NULL;

	list_for_each (m, &s->members, struct member, link) {
		int have = fcntl(m->fd, F_GETFL);

		if (m->removed || have < 0 || (have & O_ACCMODE) != (flags & O_ACCMODE))
			continue;
		if ((have & O_DIRECT) == (flags & O_DIRECT))
			return m;
		if (!other)
			other = m;
	}
	return other;
}

static int open_again(int fd, int flags)
{
	char self[32];
	int ret;

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	ret = open(self, (flags & ~(O_CREAT | O_EXCL | O_TRUNC)) | O_CLOEXEC);
	return ret < 0 ? -errno : ret;
}

/* To open /dev/ptmx again makes another terminal. */
static bool may_open_again(int fd, const struct stat *st)
{
	return S_ISREG(st->st_mode) || S_ISBLK(st->st_mode) || S_ISFIFO(st->st_mode) ||
	       (S_ISCHR(st->st_mode) && st->st_rdev != makedev(5, 2) && isatty(fd));
}

static int duplicate(int from, int flags, const struct stat *st)
{
	int have = fcntl(from, F_GETFL), want = have | (flags & (O_APPEND | O_NONBLOCK));
	int fd = fcntl(from, F_DUPFD_CLOEXEC, 0), ret = 0;

	if (fd < 0)
		return -errno;
	if (want != have && fcntl(fd, F_SETFL, want) < 0)
		ret = -errno;
	if (ret == 0 && S_ISREG(st->st_mode))
		(void)lseek(fd, 0, SEEK_SET);
	if (ret == 0)
		return fd;
	(void)close(fd);
	return ret;
}

/* A descriptor with the flags that are asked for, or -errno. */
static int open_from(int from, int flags, const struct stat *st)
{
	int fd = may_open_again(from, st) ? open_again(from, flags) : -EINVAL;

	if (fd >= 0 || (fcntl(from, F_GETFL) & O_DIRECT) != (flags & O_DIRECT))
		return fd;
	return duplicate(from, flags, st);
}

static int say_none(const char *path, int flags, struct err *err)
{
	return err_set(err, EACCES,
		       "Could not open '%.200s': the set has no descriptor that is open for %s "
		       "(and for nothing else)",
		       path, mode_text(flags));
}

static int open_member(const struct member *m, const char *path, int flags, struct err *err)
{
	bool empties = (flags & O_TRUNC) || (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
	struct stat st;
	int fd = fstat(m->fd, &st) < 0 ? -errno : open_from(m->fd, flags, &st);

	if (fd < 0 && (flags & O_DIRECT))
		return err_set(err, -fd,
			       "Could not open '%.200s': no descriptor of the set for %s has "
			       "O_DIRECT, and to open the file anew with it fails: %s",
			       path, mode_text(flags), err_text(-fd));
	if (fd >= 0 && empties && S_ISREG(st.st_mode) && ftruncate(fd, 0) < 0) {
		int e = errno;

		(void)close(fd);
		fd = -e;
	}
	if (fd < 0)
		return err_set(err, -fd, "Could not open '%.200s': %s", path, err_text(-fd));
	return fd;
}

static int open_fdset_locked(const char *path, int flags, struct err *err)
{
	int64_t id = path_set(path);
	struct fdset *s = id < 0 ? NULL : find_set(id);
	const struct member *m;
	struct open_fd *o;
	int fd;

	if (!s)
		return err_set(err, ENOENT,
			       "Could not open '%.200s': there is no such descriptor set "
			       "(-add-fd, add-fd)",
			       path);
	m = pick(s, flags);
	if (!m)
		return say_none(path, flags, err);
	fd = open_member(m, path, flags, err);
	if (fd < 0)
		return fd;
	o = NEW(struct open_fd);
	o->fd = fd;
	list_add_tail(&s->open, &o->link);
	return fd;
}

int path_open(const char *path, int flags, mode_t mode, struct err *err)
{
	int fd;

	if (!path_is_fdset(path)) {
		fd = open(path, flags | O_CLOEXEC, mode);
		return fd < 0 ? err_set(err, errno, "Could not open '%.200s': %s", path,
					err_text(errno))
			      : fd;
	}
	pthread_mutex_lock(&table.lock);
	fd = open_fdset_locked(path, flags, err);
	pthread_mutex_unlock(&table.lock);
	return fd;
}

static void forget_open(int fd)
{
	list_for_each_safe (s, &table.sets, struct fdset, link) {
		list_for_each_safe (o, &s->open, struct open_fd, link) {
			if (o->fd != fd)
				continue;
			list_del(&o->link);
			free(o);
			sweep(true);
			return;
		}
	}
}

void path_close(int fd)
{
	if (fd < 0)
		return;
	pthread_mutex_lock(&table.lock);
	forget_open(fd);
	pthread_mutex_unlock(&table.lock);
	(void)close(fd);
}
