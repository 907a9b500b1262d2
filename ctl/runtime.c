/*
 * runtime.c - reading runtime entries
 *
 * An entry may be anybody's file: it is opened without following links or waiting, has to be
 * a regular one, and what it says is checked.  The one whose lock is free is stale.
 */
#include "ctl/runtime.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "qmp/json.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"
#include "vmm/runtime-entry.h"

#define MAX_RUNNING 4096

const char *running_monitor(const struct running *r, size_t i)
{
	struct json_object *list;

	if (!json_get(r->text, "monitors", &list) || json_kind(list) != JSON_ARRAY ||
	    i >= json_len(list) || json_kind(json_at(list, i)) != JSON_STRING)
		return NULL;
	return json_str(json_at(list, i));
}

static void add(struct running_list *l, struct json_object *o)
{
	struct running r;

	if (json_kind(o) != JSON_OBJECT || l->n >= MAX_RUNNING) {
		json_free(o);
		return;
	}
	r = (struct running){.pid = json_get_int(o, "pid", 0),
			     .started = json_get_int(o, "started", 0),
			     .ram_bytes = (uint64_t)MAX(json_get_int(o, "ram", 0), 0),
			     .name = json_get_text(o, "name"),
			     .text = o};
	r.monitor = running_monitor(&r, 0);
	if (r.pid <= 0 || !r.monitor) {
		json_free(o);
		return;
	}
	l->v = xrealloc(l->v, (l->n + 1) * sizeof(*l->v));
	l->v[l->n++] = r;
}

/* A stale one goes, unless another has come in its place meanwhile. */
static void sweep(int folder, const char *name, const struct stat *seen)
{
	struct stat now;

	if (fstatat(folder, name, &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_ino == seen->st_ino &&
	    now.st_dev == seen->st_dev)
		(void)unlinkat(folder, name, 0);
}

static void read_entry(struct running_list *l, int folder, const char *name)
{
	CLEANUP(cleanup_close)
	int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	CLEANUP(cleanup_free) char *text = NULL;
	struct json_object *o = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    st.st_size > RUNTIME_ENTRY_BYTES)
		return;
	if (flock(fd, LOCK_SH | LOCK_NB) == 0) {
		sweep(folder, name, &st);
		return;
	}
	text = xcalloc(1, RUNTIME_ENTRY_BYTES);
	n = read(fd, text, RUNTIME_ENTRY_BYTES);
	if (n > 0 && json_parse(text, (size_t)n, &o, NULL) == 0)
		add(l, o);
}

static void read_folder(struct running_list *l, const char *path)
{
	DIR *d = opendir(path);
	const struct dirent *e;

	/* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this call's own */
	while (d && (e = readdir(d)))
		if (isdigit((unsigned char)e->d_name[0]))
			read_entry(l, dirfd(d), e->d_name);
	if (d)
		(void)closedir(d);
}

/* In each folder of 'parent' its folder minivmm: of users, of services; what is closed is left out.
 */
static void read_below(struct running_list *l, const char *parent, const char *own)
{
	DIR *d = opendir(parent);
	const struct dirent *e;

	/* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this call's own */
	while (d && (e = readdir(d))) {
		char path[RUNTIME_PATH_BYTES];

		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%.100s/%s/minivmm", parent, e->d_name);
		if (strcmp(path, own) != 0)
			read_folder(l, path);
	}
	if (d)
		(void)closedir(d);
}

static int by_pid(const void *a, const void *b)
{
	const struct running *x = a, *y = b;

	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

void running_read(struct running_list *l)
{
	char own[RUNTIME_PATH_BYTES];

	*l = (struct running_list){0};
	if (runtime_folder(own) < 0)
		own[0] = '\0';
	read_folder(l, own);
	if (strcmp(own, "/run/minivmm") != 0)
		read_folder(l, "/run/minivmm");
	read_below(l, "/run/minivmm", own);
	if (geteuid() == 0)
		read_below(l, "/run/user", own);
	if (l->n)
		qsort(l->v, l->n, sizeof(*l->v), by_pid);
}

void running_free(struct running_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		json_free(l->v[i].text);
	free(l->v);
	*l = (struct running_list){0};
}
