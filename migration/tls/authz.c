/*
 * authz.c - the kinds of authorization, and the rules that all of them come down to
 *
 * authz-simple is a list of one rule, authz-list has its rules in the option,
 * authz-list-file in a file of JSON with the same members: {"policy": "deny", "rules":
 * [{"match": "CN=*", "policy": "allow", "format": "glob"}]}.
 */
#include "migration/tls/authz.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/config.h"
#include "vmm/options/options.h"

#define FILE_MAX_BYTES MiB

struct authz {
	char *path; /* owned, constant; NULL: no file */
	bool refresh;
	unsigned refs; /* atomic */
	/* lock */
	pthread_mutex_t lock;
	struct cfg_authz rules; /* owned */
	struct stat seen;       /* the file as it was read */
};

/* ---- a decision ---- */

static bool rule_fits(const struct cfg_authz_rule *r, const char *identity)
{
	return r->glob ? fnmatch(r->match, identity, 0) == 0 : !strcmp(r->match, identity);
}

static bool rules_allow(const struct cfg_authz *a, const char *identity)
{
	for (size_t i = 0; i < a->n_rules; i++)
		if (rule_fits(&a->rules[i], identity))
			return a->rules[i].allow;
	return a->allow;
}

/* ---- a file ---- */

static char *read_text(const char *path, struct stat *st, struct err *err)
{
	CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *text;
	ssize_t n;

	if (fd < 0 || fstat(fd, st) < 0) {
		(void)err_set(err, errno, "Unable to read %s: %s", path, err_text(errno));
		return NULL;
	}
	if (!S_ISREG(st->st_mode) || st->st_size >= (off_t)FILE_MAX_BYTES) {
		(void)err_set(err, EINVAL, "Unable to read %s: it is not a file below 1 MiB", path);
		return NULL;
	}
	text = xcalloc(1, (size_t)st->st_size + 1);
	n = pread(fd, text, (size_t)st->st_size, 0);
	if (n == (ssize_t)st->st_size)
		return text;
	(void)err_set(err, EIO, "Unable to read %s: %s", path,
		      n < 0 ? err_text(errno) : "it changes meanwhile");
	free(text);
	return NULL;
}

static int load_file(struct authz *a, struct err *err)
{
	struct stat st = {0};
	CLEANUP(cleanup_free) char *text = read_text(a->path, &st, err);
	struct cfg_authz rules = {0};
	int ret;

	if (!text)
		return -EIO;
	ret = options_authz_json(&rules, text, err);
	if (ret < 0) {
		config_authz_fini(&rules);
		return err_prefix(err, ret, "%s", a->path);
	}
	config_authz_fini(&a->rules);
	a->rules = rules;
	a->seen = st;
	return 0;
}

static bool has_changed(const struct authz *a)
{
	struct stat st;

	return stat(a->path, &st) < 0 || st.st_ino != a->seen.st_ino ||
	       st.st_dev != a->seen.st_dev || st.st_size != a->seen.st_size ||
	       st.st_mtim.tv_sec != a->seen.st_mtim.tv_sec ||
	       st.st_mtim.tv_nsec != a->seen.st_mtim.tv_nsec;
}

bool authz_allows(struct authz *a, const char *identity, struct err *err)
{
	bool yes = false;

	pthread_mutex_lock(&a->lock);
	if (!a->refresh || !has_changed(a) || load_file(a, err) == 0)
		yes = rules_allow(&a->rules, identity);
	pthread_mutex_unlock(&a->lock);
	return yes;
}

/* ---- kinds ---- */

static void rule_for(struct cfg_authz *a, const char *identity)
{
	a->rules = NEW(struct cfg_authz_rule);
	a->rules[0] = (struct cfg_authz_rule){.match = xstrdup(identity), .allow = true};
	a->n_rules = 1;
}

struct authz *authz_new(const struct cfg_object *o, struct err *err)
{
	const char *file = keyvals_get(&o->props, "filename"),
		   *identity = keyvals_get(&o->props, "identity");
	struct authz *a = NEW(struct authz);
	int ret = 0;

	pthread_mutex_init(&a->lock, NULL);
	a->refs = 1;
	if (file) {
		a->path = realpath(file, NULL); /* the program may have another folder later */
		if (!a->path)
			a->path = xstrdup(file);
		a->refresh = keyvals_bool(&o->props, "refresh", true);
		ret = load_file(a, err);
	} else if (identity) {
		rule_for(&a->rules, identity);
	} else {
		ret = options_authz(&a->rules, &o->props, err);
	}
	if (ret == 0)
		return a;
	authz_unref(a);
	return NULL;
}

struct authz *authz_ref(struct authz *a)
{
	(void)__atomic_fetch_add(&a->refs, 1, __ATOMIC_RELAXED);
	return a;
}

void authz_unref(struct authz *a)
{
	if (!a || __atomic_sub_fetch(&a->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	config_authz_fini(&a->rules);
	pthread_mutex_destroy(&a->lock);
	free(a->path);
	free(a);
}
