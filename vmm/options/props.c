/*
 * props.c - from the pairs of a list to the fields of a struct, by table
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "vmm/base/error.h"
#include "vmm/base/inet.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

/* Copy n bytes to the field at 'off' of base, if there is one. */
static void store(void *base, size_t off, const void *v, size_t n)
{
	if (off != OPT_NOWHERE)
		memcpy((char *)base + off, v, n);
}

static void store_str(void *base, size_t off, const char *val)
{
	char *old, *copy;

	if (off == OPT_NOWHERE)
		return;
	copy = xstrdup(val);
	memcpy(&old, (char *)base + off, sizeof(old));
	free(old);
	store(base, off, &copy, sizeof(copy));
}

static int bad_value(const struct opt_prop *pr, const char *val, struct err *err)
{
	char near[OPT_NEAR_BYTES] = "";

	return err_set(err, EINVAL, "Parameter '%s' does not accept value '" OPT_QUOTE "'%s",
		       pr->key, val, pr->values ? opt_near_words(val, pr->values, near) : "");
}

static int bad_size(const struct opt_list *l, const struct opt_prop *pr, const char *val, int ret,
		    struct err *err)
{
	if (ret == -ERANGE)
		return err_set(err, ERANGE,
			       "Value '" OPT_QUOTE "' is out of range for parameter '%s'", val,
			       pr->key);
	if (l->style != OPT_STYLE_OPTS)
		return err_set(err, EINVAL, "Parameter '%s' expects a size value", pr->key);
	return err_set(
	    err, EINVAL,
	    "Parameter '%s' expects a non-negative number below 2^64\n"
	    "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
	    "and exabytes, respectively.",
	    pr->key);
}

/* The one spelling of a value that 'values' and 'only' are written in. */
static const char *canonical(const struct opt_prop *pr, const char *val)
{
	bool on;

	if ((pr->kind == OPT_BOOL || pr->kind == OPT_AUTO) && opt_parse_bool(val, &on) == 0)
		return on ? "on" : "off";
	return val;
}

static int check_offered(const struct opt_prop *pr, const char *val, struct err *err)
{
	if (!pr->only || opt_word_index(pr->only, val, strlen(val)) >= 0)
		return 0;
	return err_set(err, ENOTSUP, "%s=" OPT_QUOTE " is not supported: %s", pr->key, val,
		       pr->why);
}

static int set_bool(const struct opt_prop *pr, void *base, const char *val, struct err *err)
{
	bool on = true;
	int ret;

	if (opt_parse_bool(val, &on) < 0) {
		if (pr->kind == OPT_BOOL)
			return err_set(err, EINVAL, "Parameter '%s' expects 'on' or 'off'",
				       pr->key);
		if (strcmp(val, "auto") != 0)
			return bad_value(pr, val, err);
	}
	ret = check_offered(pr, canonical(pr, val), err);
	if (ret == 0)
		store(base, pr->off, &on, sizeof(on));
	return ret;
}

static int set_switch(const struct opt_prop *pr, void *base, const char *val, struct err *err)
{
	unsigned choice = CFG_AUTO;
	bool on;

	if (opt_parse_bool(val, &on) == 0)
		choice = on ? CFG_ON : CFG_OFF;
	else if (strcmp(val, "auto") != 0)
		return bad_value(pr, val, err);
	store(base, pr->off, &choice, sizeof(choice));
	return 0;
}

static int set_choice(const struct opt_prop *pr, void *base, const char *val, struct err *err)
{
	unsigned choice;
	bool on;

	if (opt_parse_bool(val, &on) < 0)
		return err_set(err, EINVAL, "Parameter '%s' expects 'on' or 'off'", pr->key);
	choice = on ? IP_ON : IP_OFF;
	store(base, pr->off, &choice, sizeof(choice));
	return 0;
}

static int set_enum(const struct opt_prop *pr, void *base, const char *val, struct err *err)
{
	int i = opt_word_index(pr->values, val, strlen(val));
	unsigned v = (unsigned)i;
	int ret;

	if (i < 0)
		return bad_value(pr, val, err);
	ret = check_offered(pr, val, err);
	if (ret == 0)
		store(base, pr->off, &v, sizeof(v));
	return ret;
}

static int set_u32(const struct opt_prop *pr, void *base, const char *val, struct err *err)
{
	uint64_t v;
	uint32_t v32;

	if (opt_parse_u64(val, &v) < 0 || v > UINT32_MAX)
		return err_set(err, EINVAL, "Parameter '%s' expects a number", pr->key);
	v32 = (uint32_t)v;
	store(base, pr->off, &v32, sizeof(v32));
	return 0;
}

static int set_u64(const struct opt_prop *pr, void *base, const char *val, struct err *err)
{
	uint64_t v;
	int ret;

	if (opt_parse_u64(val, &v) < 0 || v < pr->min || v > pr->max)
		return err_set(err, EINVAL,
			       "Parameter '%s' expects a number from %" PRIu64 " to %" PRIu64
			       ", not '" OPT_QUOTE "'",
			       pr->key, pr->min, pr->max, val);
	ret = check_offered(pr, val, err);
	if (ret == 0)
		store(base, pr->off, &v, sizeof(v));
	return ret;
}

static int set_fd(const struct opt_prop *pr, void *base, const char *val, struct err *err)
{
	uint64_t v;
	int fd;

	if (opt_parse_u64(val, &v) < 0 || v > INT32_MAX)
		return err_set(err, EINVAL, "Invalid file descriptor number '" OPT_QUOTE "'", val);
	fd = (int)v;
	store(base, pr->off, &fd, sizeof(fd));
	return 0;
}

static int set_size(const struct opt_list *l, const struct opt_prop *pr, void *base,
		    const char *val, struct err *err)
{
	uint64_t v;
	int ret = opt_parse_size(val, &v);

	if (ret < 0)
		return bad_size(l, pr, val, ret, err);
	store(base, pr->off, &v, sizeof(v));
	return 0;
}

static int set_prop(struct opt_parse *p, const struct opt_list *l, const struct opt_prop *pr,
		    void *base, const char *val, struct err *err)
{
	int ret;

	switch (pr->kind) {
	case OPT_ID:
		ret = opt_need_id(pr->key, val, err);
		if (ret < 0)
			return ret;
		store_str(base, pr->off, val);
		return 0;
	case OPT_STRING:
		store_str(base, pr->off, val);
		return 0;
	case OPT_SWITCH:
		return set_switch(pr, base, val, err);
	case OPT_BOOL:
	case OPT_AUTO:
		return set_bool(pr, base, val, err);
	case OPT_CHOICE:
		return set_choice(pr, base, val, err);
	case OPT_SIZE:
		return set_size(l, pr, base, val, err);
	case OPT_U32:
		return set_u32(pr, base, val, err);
	case OPT_U64:
		return set_u64(pr, base, val, err);
	case OPT_FD:
		return set_fd(pr, base, val, err);
	case OPT_ENUM:
		return set_enum(pr, base, val, err);
	case OPT_REFUSED:
		return err_set(err, ENOTSUP, "'%s' is not supported: %s", pr->key, pr->why);
	case OPT_CALL:
		return pr->set(p, base, val, err);
	case OPT_SEEN:
		break;
	}
	return 0;
}

static bool same_key(const struct opt_list *l, const char *a, const char *b)
{
	if (l->style != OPT_STYLE_QOM)
		return !strcmp(a, b);
	for (; *a && *b; a++, b++) {
		if ((*a == '_' ? '-' : *a) != (*b == '_' ? '-' : *b))
			return false;
	}
	return *a == *b;
}

const struct opt_prop *opt_find_prop(const struct opt_list *l, const char *key)
{
	for (const struct opt_prop *pr = l->props; pr->key; pr++) {
		if (same_key(l, pr->key, key))
			return pr;
	}
	return NULL;
}

/*
 * What else may have gone wrong: another property was meant, or this word is the
 * rest of a file's name.
 */
static void explain_unknown(const struct opt_list *l, const struct keyvals *kv, size_t at,
			    char *out, size_t bytes)
{
	const struct keyval *before = at ? &kv->v[at - 1] : NULL;
	struct opt_near n = {.word = kv->v[at].key};
	char near[OPT_NEAR_BYTES];

	for (const struct opt_prop *pr = l->props; pr->key; pr++)
		if (pr->kind != OPT_REFUSED)
			opt_near_try(&n, pr->key);
	if (!n.best && before && opt_is_file_key(before->key) && !strcmp(kv->v[at].val, "on"))
		(void)snprintf(out, bytes,
			       " (a comma in a file's name is written twice: %s=%.64s,," OPT_QUOTE
			       ")",
			       before->key, before->val, kv->v[at].key);
	else
		(void)snprintf(out, bytes, "%s", opt_near_text(&n, "", near));
}

static int unknown(const struct opt_list *l, const struct keyvals *kv, size_t at, struct err *err)
{
	const char *key = kv->v[at].key;
	char more[256];

	explain_unknown(l, kv, at, more, sizeof(more));
	switch (l->style) {
	case OPT_STYLE_QOM:
		return err_set(err, EINVAL, "Property '%s." OPT_QUOTE "' not found%s", l->owner,
			       key, more);
	case OPT_STYLE_KEYVAL:
		return err_set(err, EINVAL, "Parameter '%s" OPT_QUOTE "' is unexpected%s",
			       l->owner ? l->owner : "", key, more);
	case OPT_STYLE_OPTS:
	case OPT_STYLE_OBJECT:
		break;
	}
	return err_set(err, EINVAL, "Invalid parameter '" OPT_QUOTE "'%s", key, more);
}

static int apply_pairs(struct opt_parse *p, const struct opt_list *list, void *base,
		       const struct keyvals *kv, struct err *err)
{
	for (size_t i = 0; i < kv->n; i++) {
		const struct opt_prop *pr = opt_find_prop(list, kv->v[i].key);
		int ret =
		    pr ? set_prop(p, list, pr, base, kv->v[i].val, err) : unknown(list, kv, i, err);

		if (ret < 0)
			return ret;
	}
	return 0;
}

int opt_check(const struct opt_list *list, const struct keyvals *kv, struct err *err)
{
	return apply_pairs(NULL, list, NULL, kv, err);
}

int opt_apply(struct opt_parse *p, const struct opt_list *list, void *base,
	      const struct keyvals *kv, struct err *err)
{
	int ret = apply_pairs(p, list, base, kv, err);

	if (ret < 0)
		return ret;
	for (const struct opt_prop *pr = list->props; pr->key; pr++) {
		if (pr->needed && !keyvals_get(kv, pr->key))
			return opt_missing(pr->key, err);
	}
	return 0;
}

int opt_apply_list(struct opt_parse *p, const struct opt_list *list, void *base, struct err *err)
{
	bool strict = list->style == OPT_STYLE_KEYVAL || list->style == OPT_STYLE_QOM;
	CLEANUP(keyvals_fini) struct keyvals kv = {0};
	int ret = opt_split(&kv, p->val, list->implied, strict, err);

	return ret < 0 ? ret : opt_apply(p, list, base, &kv, err);
}
