/*
 * create-options.c - what -o of create and convert says about a new image
 *
 * Each option is a row: its name, the formats that have it, what it is, and where the value goes.
 * Options of qemu-img that are not offered have rows, too, and are refused by name.
 */
#include "img/img.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/numbers.h"

enum kind { SIZE, NUMBER, BOOL, WORD, REFUSED };

struct row {
	const char *name;
	size_t off;
	const char *help;
	enum kind kind;
	bool raw; /* raw images have it, too */
};

#define AT(member) offsetof(struct img_create, member)

static const struct row rows[] = {
    {"backing_file",     AT(backing),        "File name of a base image",                              WORD,    false},
    {"backing_fmt",      AT(backing_format), "Image format of the base image",                         WORD,    false},
    {"cluster_size",     AT(cluster_bytes),  "qcow2 cluster size, 512 to 2M",                          SIZE,    false},
    {"compat",           AT(compat),         "Compatibility level (v2 [0.10] or v3 [1.1])",            WORD,    false},
    {"compression_type", AT(compression),    "Compression method of compressed clusters (zlib, zstd)",
     WORD,												      false},
    {"extended_l2",      AT(extended_l2),    "Extended L2 tables",                                     BOOL,    false},
    {"lazy_refcounts",   AT(lazy_refcounts), "Postpone refcount updates",                              BOOL,    false},
    {"preallocation",    AT(prealloc),       "off, metadata (qcow2), falloc, full",                    WORD,    true },
    {"refcount_bits",    AT(refcount_bits),  "Width of a reference count in bits",                     NUMBER,  false},
    {"size",	     AT(bytes),          "Virtual disk size",                                      SIZE,    true },
    {"data_file",        0,                  "external data files are not supported",                  REFUSED, false},
    {"data_file_raw",    0,                  "external data files are not supported",                  REFUSED, false},
    {"encryption",       0,                  "encryption is not supported",                            REFUSED, false},
    {"extent_size_hint", 0,                  "extent size hints are not supported",                    REFUSED, true },
    {"nocow",            0,		  "'chattr +C' on the folder has the same effect",          REFUSED, true },
};

static const struct row *find_row(const char *name, enum image_format f)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (!strcmp(rows[i].name, name) && (f == IMAGE_QCOW2 || rows[i].raw))
			return &rows[i];
	return NULL;
}

static int take_bool(const char *name, const char *val, bool *out, struct err *err)
{
	*out = !strcmp(val, "on") || !strcmp(val, "yes") || !strcmp(val, "true");
	if (!*out && strcmp(val, "off") && strcmp(val, "no") && strcmp(val, "false"))
		return err_set(err, EINVAL, "Parameter '%s' expects 'on' or 'off'", name);
	return 0;
}

static int store(struct img_create *c, const struct row *r, const char *val, struct err *err)
{
	char *at = (char *)c + r->off;
	uint64_t v = 0;
	bool on;
	int ret;

	switch (r->kind) {
	case REFUSED:
		return err_set(err, ENOTSUP, "Option '%s' is not supported: %s", r->name, r->help);
	case WORD:
		memcpy(at, &val, sizeof(val));
		return 0;
	case BOOL:
		ret = take_bool(r->name, val, &on, err);
		if (ret == 0)
			memcpy(at, &on, sizeof(on));
		return ret;
	case SIZE:
	case NUMBER:
	default:
		ret = r->kind == SIZE ? opt_parse_size(val, &v) : opt_parse_u64(val, &v);
		if (ret < 0)
			return err_set(err, EINVAL, "Parameter '%s' expects %s, not '%s'", r->name,
				       r->kind == SIZE ? "a size" : "a number", val);
		if (v == 0 && at != (char *)&c->bytes) /* 0 says that nothing was given */
			return err_set(err, EINVAL, "Parameter '%s' cannot be 0", r->name);
		memcpy(at, &v, sizeof(v));
		c->has_size = c->has_size || !strcmp(r->name, "size");
		return 0;
	}
}

/* The next "key=value" of the list, taken apart in place; ",," is a comma.  NULL: none. */
static char *next_option(char **rest)
{
	char *begin = *rest, *to = begin, *from = begin;

	if (!*begin)
		return NULL;
	for (; *from; from++) {
		if (*from == ',' && from[1] != ',')
			break;
		from += *from == ',';
		*to++ = *from;
	}
	*rest = *from ? from + 1 : from;
	*to = '\0';
	return begin;
}

static int take(struct img_create *c, char *option, struct err *err)
{
	char *equals = strchr(option, '=');
	const char *val = equals ? equals + 1 : "on";
	const struct row *r;

	if (equals)
		*equals = '\0';
	if (!strncmp(option, "encrypt.", strlen("encrypt.")) && c->format == IMAGE_QCOW2)
		return err_set(err, ENOTSUP, "Option '%s' is not supported: there is no encryption",
			       option);
	r = find_row(option, c->format);
	if (!r && find_row(option, IMAGE_QCOW2) && !strncmp(option, "backing", strlen("backing")))
		return err_set(err, EINVAL, "Backing file not supported for file format 'raw'");
	if (!r)
		return err_set(err, EINVAL, "Invalid parameter '%s' for format %s", option,
			       image_format_name(c->format));
	return store(c, r, val, err);
}

int img_create_parse(struct img_create *c, const char *format, const char *options, struct err *err)
{
	char *option, *rest;
	int ret;

	*c = (struct img_create){.text = xstrdup(options ? options : "")};
	ret = image_format_parse(format, &c->format, err);
	rest = c->text;
	while (ret == 0 && (option = next_option(&rest)) != NULL)
		if (*option)
			ret = take(c, option, err);
	return ret;
}

void img_create_fini(struct img_create *c)
{
	free(c->text);
	*c = (struct img_create){0};
}

bool img_create_wants_help(const char *options)
{
	while (options && *options) {
		size_t n = strcspn(options, ",");

		if ((n == 4 && !strncmp(options, "help", n)) || (n == 1 && *options == '?'))
			return true;
		options += n + (options[n] == ',');
	}
	return false;
}

void img_create_help(FILE *out, enum image_format f)
{
	static const char *const types[] = {"=<size>", "=<num>", "=<bool (on/off)>", "=<str>"};

	(void)fprintf(out, "Supported options:\n");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];
		int n;

		if (r->kind == REFUSED || (f == IMAGE_RAW && !r->raw))
			continue;
		n = fprintf(out, "  %s%s", r->name, types[r->kind]);
		(void)fprintf(out, "%*s - %s\n", n < 24 ? 24 - n : 0, "", r->help);
	}
}

/* ---- what fits together ---- */

static int check_version(struct img_create *c, struct err *err)
{
	const char *v = c->compat;

	c->version = 3;
	if (!v || !strcmp(v, "1.1") || !strcmp(v, "v3"))
		return 0;
	if (strcmp(v, "0.10") != 0 && strcmp(v, "v2") != 0)
		return err_set(err, EINVAL,
			       "Parameter 'compat' does not accept value '%s': 0.10 (v2) or 1.1 "
			       "(v3)",
			       v);
	c->version = 2;
	if (c->lazy_refcounts)
		return err_set(err, EINVAL,
			       "Lazy refcounts only supported with compatibility level 1.1 and "
			       "above (compat=v3)");
	if (c->refcount_bits && c->refcount_bits != 16)
		return err_set(err, EINVAL,
			       "Different refcount widths than 16 bits require compatibility level "
			       "1.1 or above (compat=v3)");
	if (c->compression && strcmp(c->compression, "zlib") != 0)
		return err_set(err, EINVAL,
			       "Non-zlib compression type is only supported with compatibility "
			       "level 1.1 and above (compat=v3)");
	if (c->extended_l2)
		return err_set(err, EINVAL,
			       "Extended L2 entries are only supported with compatibility level "
			       "1.1 and above (compat=v3)");
	return 0;
}

static bool is_power_of_2(uint64_t v)
{
	return v && !(v & (v - 1));
}

static int check_numbers(const struct img_create *c, struct err *err)
{
	uint64_t cluster = c->cluster_bytes ? c->cluster_bytes : 64 * KiB;

	if (!is_power_of_2(cluster) || cluster < 512 || cluster > 2 * MiB)
		return err_set(err, EINVAL,
			       "Cluster size must be a power of two between 512 and 2048k");
	if (c->refcount_bits && (!is_power_of_2(c->refcount_bits) || c->refcount_bits > 64))
		return err_set(err, EINVAL,
			       "Refcount width must be a power of two and may not exceed 64 bits");
	if (c->extended_l2 && cluster < 16 * KiB)
		return err_set(err, EINVAL,
			       "Extended L2 entries are only supported with cluster sizes of at "
			       "least 16384 bytes");
	if (c->compression && strcmp(c->compression, "zlib") != 0 &&
	    strcmp(c->compression, "zstd") != 0)
		return err_set(err, EINVAL,
			       "Parameter 'compression_type' does not accept value '%s': zlib or "
			       "zstd",
			       c->compression);
	return 0;
}

static int check_prealloc(const struct img_create *c, struct err *err)
{
	const char *p = c->prealloc ? c->prealloc : "off";
	bool metadata = !strcmp(p, "metadata") && c->format == IMAGE_QCOW2;

	if (strcmp(p, "off") != 0 && strcmp(p, "falloc") != 0 && strcmp(p, "full") != 0 &&
	    !metadata)
		return err_set(err, EINVAL, "Parameter 'preallocation' does not accept value '%s'",
			       p);
	if (c->backing && strcmp(p, "off") != 0 && !c->extended_l2)
		return err_set(err, EINVAL,
			       "Backing file and preallocation can only be used at the same time "
			       "if extended_l2 is on");
	return 0;
}

int img_create_check(struct img_create *c, struct err *err)
{
	enum image_format below;
	int ret = c->format == IMAGE_QCOW2 ? check_version(c, err) : 0;

	if (ret == 0 && c->format == IMAGE_QCOW2)
		ret = check_numbers(c, err);
	if (ret == 0)
		ret = check_prealloc(c, err);
	if (ret == 0 && c->backing && !*c->backing)
		c->backing = NULL;
	if (ret == 0 && c->backing && !c->backing_format)
		ret = err_set(err, EINVAL,
			      "Backing file specified without backing format: -F raw or -F qcow2 "
			      "(none is guessed)");
	if (ret == 0 && c->backing_format && !c->backing)
		ret = err_set(err, EINVAL, "Backing format cannot be used without backing file");
	if (ret == 0 && c->backing)
		ret = image_format_parse(c->backing_format, &below, err);
	return ret;
}
