/*
 * list.c - "key=value,key=value" lists and the scalars in them
 *
 * A comma in a value is written twice.  A key ends at '=' or ','; a value
 * ends at a single ','.  The first element of many lists may leave its key
 * out.  An element without '=' is a flag.
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/base/error.h"
#include "vmm/base/identifier.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

/* The value that begins at s, its doubled commas made one; *end is behind it (at ',' or NUL). */
static char *take_value(const char *s, const char **end)
{
	char *out = xstrdup(s);
	size_t n = 0;

	while (*s && (*s != ',' || s[1] == ',')) {
		if (*s == ',')
			s++;
		out[n++] = *s++;
	}
	out[n] = 0;
	*end = s;
	return out;
}

/* An element without '=' that is not the implied first one. */
static int add_flag(struct keyvals *kv, const char *key, bool strict, struct err *err)
{
	bool off = !strncmp(key, "no", 2) && key[2];

	if (!*key)
		return err_set(err, EINVAL, "Invalid parameter ''");
	if (strict && kv->n && opt_is_file_key(kv->v[kv->n - 1].key))
		return err_set(
		    err, EINVAL,
		    "Expected '=' after parameter '" OPT_QUOTE
		    "' (or is it behind a comma in a value? Write that twice: %s=%.64s,," OPT_QUOTE
		    ")",
		    key, kv->v[kv->n - 1].key, kv->v[kv->n - 1].val, key);
	if (strict)
		return err_set(err, EINVAL, "Expected '=' after parameter '" OPT_QUOTE "'", key);
	if (!strpbrk(key, "./ ")) /* more likely the rest of a file's name */
		log_warn("short-form boolean option '" OPT_QUOTE "' deprecated; use " OPT_QUOTE
			 "=%s",
			 key, off ? key + 2 : key, off ? "off" : "on");
	keyvals_add(kv, off ? key + 2 : key, off ? "off" : "on");
	return 0;
}

int opt_split(struct keyvals *kv, const char *text, const char *implied, bool strict,
	      struct err *err)
{
	const char *s = text;

	while (*s) {
		size_t n = strcspn(s, "=,");
		CLEANUP(cleanup_free) char *key = xstrndup(s, n);
		CLEANUP(cleanup_free) char *val = NULL;
		int ret = 0;

		if (kv->n >= OPT_MAX_PAIRS)
			return err_set(err, E2BIG, "more than %u parameters", OPT_MAX_PAIRS);
		if (s[n] != '=' && s == text && implied) {
			val = take_value(s, &s);
			keyvals_add(kv, implied, val);
		} else if (s[n] != '=') {
			s += n;
			ret = add_flag(kv, key, strict, err);
		} else if (n == 0) {
			return err_set(err, EINVAL, "Invalid parameter ''");
		} else {
			val = take_value(s + n + 1, &s);
			keyvals_add(kv, key, val);
		}
		if (ret < 0)
			return ret;
		if (*s == ',')
			s++;
	}
	return 0;
}

int opt_split_any(struct keyvals *kv, const char *text, const char *implied, bool strict,
		  struct err *err)
{
	return *text == '{' ? opt_split_json(kv, text, err)
			    : opt_split(kv, text, implied, strict, err);
}

int opt_word_index(const char *words, const char *s, size_t n)
{
	for (int i = 0; *words; i++) {
		size_t len = strcspn(words, "|");

		if (len == n && !memcmp(words, s, n))
			return i;
		words += len + (words[len] == '|');
	}
	return -1;
}

int opt_parse_bool(const char *s, bool *out)
{
	if (opt_word_index("on|yes|true|y", s, strlen(s)) >= 0)
		*out = true;
	else if (opt_word_index("off|no|false|n", s, strlen(s)) >= 0)
		*out = false;
	else
		return -EINVAL;
	return 0;
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 99;
}

/* Digits of this base at s, at least one; *end is behind them. */
static int take_digits(const char *s, int base, uint64_t *out, const char **end)
{
	uint64_t v = 0;

	if (digit_of(*s) >= base)
		return -EINVAL;
	for (; digit_of(*s) < base; s++) {
		if (__builtin_mul_overflow(v, (uint64_t)base, &v) ||
		    __builtin_add_overflow(v, (uint64_t)digit_of(*s), &v))
			return -ERANGE;
	}
	*end = s;
	*out = v;
	return 0;
}

int opt_parse_u64(const char *s, uint64_t *out)
{
	bool hex = s[0] == '0' && (s[1] == 'x' || s[1] == 'X');
	const char *end = s;
	uint64_t v;
	int ret = take_digits(hex ? s + 2 : s, hex ? 16 : 10, &v, &end);

	if (ret == 0 && *end)
		ret = -EINVAL;
	if (ret == 0)
		*out = v;
	return ret;
}

/* Decimal places at s (behind the point) of 'unit', rounded down. */
static uint64_t take_fraction(const char *s, uint64_t unit, const char **end)
{
	uint64_t digits = 0, scale = 1;

	for (; digit_of(*s) < 10; s++) {
		if (scale < 1000000000000000000ULL) {
			digits = digits * 10 + (uint64_t)digit_of(*s);
			scale *= 10;
		}
	}
	*end = s;
	return (uint64_t)((unsigned __int128)digits * unit / scale);
}

/* The unit a suffix stands for; 0: none of them. */
static uint64_t unit_of(char c)
{
	static const char letters[] = "bkmgtpe";
	const char *at = c ? strchr(letters, c | 0x20) : NULL;

	return at ? 1ULL << (10 * (at - letters)) : 0;
}

int opt_parse_size(const char *s, uint64_t *out)
{
	uint64_t whole, unit = 1, part = 0;
	const char *end;
	int ret;

	if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
		return opt_parse_u64(s, out);
	ret = take_digits(s, 10, &whole, &end);
	if (ret < 0)
		return ret;
	if (*end == '.') {
		const char *places = end + 1;

		(void)take_fraction(places, 1, &end);
		unit = unit_of(*end);
		if (end == places || unit <= 1)
			return -EINVAL;
		part = take_fraction(places, unit, &end);
	} else if (*end) {
		unit = unit_of(*end);
	}
	if (!unit || (*end && end[1]))
		return -EINVAL;
	if (__builtin_mul_overflow(whole, unit, &whole) ||
	    __builtin_add_overflow(whole, part, &whole))
		return -ERANGE;
	*out = whole;
	return 0;
}

bool opt_is_file_key(const char *key)
{
	static const char keys[] = "file|filename|path|addr.path|mem-path|logfile|dumpdtb|script|"
				   "downscript";

	return opt_word_index(keys, key, strlen(key)) >= 0;
}

int opt_need_id(const char *key, const char *val, struct err *err)
{
	if (identifier_well_formed(val))
		return 0;
	return err_set(err, EINVAL,
		       "Parameter '%s' expects an identifier\n"
		       "Identifiers consist of letters, digits, '-', '.', '_', "
		       "starting with a letter.",
		       key);
}

int opt_duplicate(const char *id, const char *what, struct err *err)
{
	return err_set(err, EEXIST, "Duplicate ID '" OPT_QUOTE "' for %s", id, what);
}

int opt_missing(const char *key, struct err *err)
{
	return err_set(err, EINVAL, "Parameter '%s' is missing", key);
}

void opt_set_str(char **dst, const char *val)
{
	char *copy = xstrdup(val);

	free(*dst);
	*dst = copy;
}

char *opt_where(const struct opt_parse *p)
{
	if (!p->val)
		return xstrdup(p->opt);
	return xasprintf("%s %.160s%s", p->opt, p->val, strlen(p->val) > 160 ? "..." : "");
}
