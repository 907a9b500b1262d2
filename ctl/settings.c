/* settings.c - options to capabilities and parameters, to the peer and back */
#include "ctl/settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "qmp/json.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/numbers.h"

enum rule_kind { RULE_CAP, RULE_NUMBER, RULE_SIZE, RULE_WORD };

static const struct rule {
	const char *option, *name;
	enum rule_kind kind;
	uint64_t min, max;
} rules[] = {
    {"postcopy",       "postcopy-ram",           RULE_CAP,    0, 0      },
    {"postcopy-after", "postcopy-ram",           RULE_CAP,    0, 0      },
    {"preempt",        "postcopy-ram",           RULE_CAP,    0, 0      },
    {"preempt",        "postcopy-preempt",       RULE_CAP,    0, 0      },
    {"auto-converge",  "auto-converge",          RULE_CAP,    0, 0      },
    {"xbzrle",         "xbzrle",                 RULE_CAP,    0, 0      },
    {"xbzrle-cache",   "xbzrle",                 RULE_CAP,    0, 0      },
    {"xbzrle-cache",   "xbzrle-cache-size",      RULE_SIZE,   0, 0      },
    {"compress",       "compress",               RULE_CAP,    0, 0      },
    {"zero-copy",      "zero-copy-send",         RULE_CAP,    0, 0      },
    {"release-ram",    "release-ram",            RULE_CAP,    0, 0      },
    {"max-pause",      "downtime-limit",         RULE_NUMBER, 0, 2000000},
    {"rate",           "max-bandwidth",          RULE_SIZE,   0, 0      },
    {"postcopy-rate",  "max-postcopy-bandwidth", RULE_SIZE,   0, 0      },
    {"tls-creds",      "tls-creds",              RULE_WORD,   0, 0      },
    {"tls-hostname",   "tls-hostname",           RULE_WORD,   0, 0      },
    {"mapped",         "mapped-ram",             RULE_CAP,    0, 0      },
    {"background",     "background-snapshot",    RULE_CAP,    0, 0      },
};

void ctl_settings_init(struct settings *s)
{
	*s = (struct settings){
	    .caps = json_new_object(), .params = json_new_object(), .options = json_new_object()};
}

void settings_fini(struct settings *s)
{
	json_free(s->caps);
	json_free(s->params);
	json_free(s->options);
	json_free(s->old_caps);
	json_free(s->old_params);
	*s = (struct settings){0};
}

static void note_option(struct settings *s, const char *name, const char *option)
{
	if (option)
		json_set(s->options, name, json_new_str(option, strlen(option)));
}

void settings_cap(struct settings *s, const char *name, bool on, const char *option)
{
	json_set(s->caps, name, json_new_bool(on));
	note_option(s, name, option);
}

void settings_param(struct settings *s, const char *name, struct json_object *v, const char *option)
{
	json_set(s->params, name, v);
	note_option(s, name, option);
}

static struct json_object *new_word(const char *text)
{
	return json_new_str(text, strlen(text));
}

/* N[:zlib|zstd] */
static int read_multifd(struct settings *s, const char *text, struct err *err)
{
	const char *colon = strchr(text, ':');
	CLEANUP(cleanup_free) char *digits = NULL;
	uint64_t n;

	digits = colon ? xstrndup(text, (size_t)(colon - text)) : xstrdup(text);
	if (opt_parse_u64(digits, &n) < 0 || n < 1 || n > 255 ||
	    (colon && strcmp(colon, ":zlib") != 0 && strcmp(colon, ":zstd") != 0 &&
	     strcmp(colon, ":none") != 0))
		return err_set(
		    err, EINVAL,
		    "--multifd %s: a number of channels from 1 to 255, with ':zlib' or ':zstd' "
		    "behind it where they are compressed",
		    text);
	settings_cap(s, "multifd", true, "multifd");
	settings_param(s, "multifd-channels", json_new_int((int64_t)n), "multifd");
	if (colon)
		settings_param(s, "multifd-compression", new_word(colon + 1), "multifd");
	return 0;
}

/* A deadline of minivmm; one for a peer without them is kept by the caller. */
static int read_deadline(struct settings *s, const struct ctl_args *args, struct err *err)
{
	const char * or = ctl_opt(args, "or");
	uint64_t seconds = 0;
	int ret = ctl_opt_number(args, "deadline", 1, 31536000, &seconds, err);

	if (ret < 0)
		return ret;
	if (or
	    &&strcmp(or, "force") != 0 && strcmp(or, "cancel") != 0 && strcmp(or, "postcopy") != 0)
		return err_set(err, EINVAL, "--or %s: force, cancel or postcopy", or);
	if (or &&!seconds)
		return err_set(err, EINVAL,
			       "--or says what happens at a --deadline, and there is none");
	if (!seconds)
		return 0;
	if (or &&!strcmp(or, "postcopy"))
		settings_cap(s, "postcopy-ram", true, "or");
	settings_param(s, "x-minivmm-deadline", json_new_int((int64_t)seconds), NULL);
	settings_param(s, "x-minivmm-deadline-policy", new_word(or ? or : "cancel"), NULL);
	return 0;
}

static int read_rule(struct settings *s, const struct rule *r, const struct ctl_args *args,
		     struct err *err)
{
	const char *text = ctl_opt(args, r->option);
	uint64_t v = 0;
	int ret = 0;

	if (!text)
		return 0;
	if (r->kind == RULE_CAP) {
		settings_cap(s, r->name, true, r->option);
		return 0;
	}
	if (r->kind == RULE_WORD) {
		settings_param(s, r->name, new_word(text), r->option);
		return 0;
	}
	ret = r->kind == RULE_SIZE ? ctl_opt_size(args, r->option, &v, err)
				   : ctl_opt_number(args, r->option, r->min, r->max, &v, err);
	if (ret == 0)
		settings_param(s, r->name, json_new_int((int64_t)v), r->option);
	return ret;
}

int settings_read(struct settings *s, const struct ctl_args *args, struct err *err)
{
	const char *multifd = ctl_opt(args, "multifd");
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < ARRAY_LEN(rules); i++)
		ret = read_rule(s, &rules[i], args, err);
	if (ret == 0 && multifd)
		ret = read_multifd(s, multifd, err);
	return ret < 0 ? ret : read_deadline(s, args, err);
}

char *settings_words(const struct settings *s)
{
	char *all = NULL;
	struct json_iter it = {0};

	while (json_next(s->options, &it)) {
		char *more = all ? xasprintf("%s, %s", all, it.key) : xstrdup(it.key);

		free(all);
		all = more;
	}
	return all ? all : xstrdup("");
}

/* ---- at the peer ---- */

const char *peer_name(const struct client *c, char out[PEER_NAME_BYTES])
{
	unsigned v = client_version(c);

	if (client_is_minivmm(c))
		(void)snprintf(out, PEER_NAME_BYTES, "minivmm %.*s",
			       (int)strcspn(client_package(c) + 8, " ("), client_package(c) + 8);
	else
		(void)snprintf(out, PEER_NAME_BYTES, "QEMU %u.%u.%u", v / 10000, v / 100 % 100,
			       v % 100);
	return out;
}

/* {capability: state} of the peer's list. */
static struct json_object *caps_of(const struct json_object *list)
{
	struct json_object *all = json_new_object(), *name, *state;

	for (size_t i = 0; json_kind(list) == JSON_ARRAY && i < json_len(list); i++) {
		const struct json_object *o = json_at(list, i);

		if (json_kind(o) == JSON_OBJECT && json_get(o, "capability", &name) &&
		    json_get(o, "state", &state) && json_kind(name) == JSON_STRING &&
		    json_kind(state) == JSON_BOOL)
			json_set(all, json_str(name), json_share(state));
	}
	return all;
}

/*
 * Of 'want' what the peer has, moved into 'set', and what it was into 'old'.  What it has not and
 * an option asks for is refused.
 */
static int choose(const struct settings *s, const struct json_object *want,
		  const struct json_object *has, struct json_object *set, struct json_object *old,
		  const struct client *c, const char *what, struct err *err)
{
	struct json_iter it = {0};
	char name[PEER_NAME_BYTES];

	while (json_next(want, &it)) {
		struct json_object *was, *option;

		if (json_get(has, it.key, &was)) {
			json_set(set, it.key, json_share(it.val));
			json_set(old, it.key, json_share(was));
		} else if (json_get(s->options, it.key, &option)) {
			return err_set(err, ENOTSUP, "--%s: %s has no %s '%s'", json_str(option),
				       peer_name(c, name), what, it.key);
		}
	}
	return 0;
}

static int set_caps(struct client *c, const struct json_object *caps, struct err *err)
{
	struct json_object *args = json_new_object(), *list = json_new_array();
	struct json_iter it = {0};

	while (json_next(caps, &it)) {
		struct json_object *one = json_new_object();

		json_set(one, "capability", new_word(it.key));
		json_set(one, "state", json_share(it.val));
		json_append(list, one);
	}
	json_set(args, "capabilities", list);
	return client_call(c, "migrate-set-capabilities", args, NULL, err);
}

static bool is_empty(const struct json_object *o)
{
	struct json_iter it = {0};

	return !json_next(o, &it);
}

static int apply_caps(struct settings *s, struct client *c, struct err *err)
{
	CLEANUP(cleanup_json) struct json_object *list = NULL, *has = NULL, *old = NULL;
	CLEANUP(cleanup_json) struct json_object *set = json_new_object();
	int ret = client_call(c, "query-migrate-capabilities", NULL, &list, err);

	if (ret < 0)
		return ret;
	has = caps_of(list);
	old = json_new_object();
	ret = choose(s, s->caps, has, set, old, c, "capability", err);
	if (ret == 0 && !is_empty(set))
		ret = set_caps(c, set, err);
	if (ret == 0)
		s->old_caps = json_share(old);
	return ret;
}

static int apply_params(struct settings *s, struct client *c, struct err *err)
{
	CLEANUP(cleanup_json) struct json_object *has = NULL, *set = json_new_object();
	CLEANUP(cleanup_json) struct json_object *old = json_new_object();
	int ret =
	    is_empty(s->params) ? 0 : client_call(c, "query-migrate-parameters", NULL, &has, err);

	if (ret < 0 || json_kind(has) != JSON_OBJECT)
		return ret;
	ret = choose(s, s->params, has, set, old, c, "parameter", err);
	if (ret == 0 && !is_empty(set))
		ret = client_call(c, "migrate-set-parameters", json_share(set), NULL, err);
	if (ret == 0)
		s->old_params = json_share(old);
	return ret;
}

int settings_apply(struct settings *s, struct client *c, struct err *err)
{
	int ret = apply_caps(s, c, err);

	if (ret == 0)
		ret = apply_params(s, c, err);
	if (ret < 0)
		(void)settings_restore(s, c, NULL);
	return ret;
}

int settings_restore(struct settings *s, struct client *c, struct err *err)
{
	int ret = 0, r;

	if (s->old_params && !is_empty(s->old_params))
		ret =
		    client_call(c, "migrate-set-parameters", json_share(s->old_params), NULL, err);
	if (s->old_caps && !is_empty(s->old_caps)) {
		r = set_caps(c, s->old_caps, ret < 0 ? NULL : err);
		ret = ret < 0 ? ret : r;
	}
	json_free(s->old_caps);
	json_free(s->old_params);
	s->old_caps = s->old_params = NULL;
	return ret;
}
