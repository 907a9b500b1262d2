/*
 * check.c - "check": is an image consistent, and can it be made so?
 *
 * Exit codes as qemu-img's: 0 clean, 1 it could not be checked, 2 errors, 3 leaks only, 63 not a
 * format that has anything to check.  After a repair the image is checked again, and that counts.
 */
#include "img/img.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "devices/block/qcow2/qcow2.h"
#include "img/commands.h"
#include "qmp/json.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

static void say(void *opaque, const char *text)
{
	(void)opaque;
	(void)fprintf(stderr, "%s\n", text);
}

static void put_num(struct json_writer *w, const char *key, uint64_t v, bool always)
{
	if (!v && !always)
		return;
	jw_key(w, key);
	jw_uint(w, v);
}

static void print_json(const char *filename, const struct qcow2_check *c)
{
	struct buf text = {0};
	struct json_writer w = json_writer(&text, true);

	jw_open(&w, '{');
	put_num(&w, "image-end-offset", c->end_off, false);
	put_num(&w, "compressed-clusters", c->compressed, false);
	put_num(&w, "total-clusters", c->clusters, false);
	put_num(&w, "corruptions", c->errors, false);
	put_num(&w, "corruptions-fixed", c->errors_fixed, false);
	put_num(&w, "check-errors", 0, true);
	put_num(&w, "leaks", c->leaks, false);
	put_num(&w, "leaks-fixed", c->leaks_fixed, false);
	put_num(&w, "allocated-clusters", c->allocated, false);
	jw_key(&w, "filename");
	jw_str(&w, filename);
	jw_key(&w, "format");
	jw_str(&w, "qcow2");
	put_num(&w, "fragmented-clusters", c->fragmented, false);
	jw_close(&w, '}');
	printf("%.*s\n", (int)text.len, (const char *)text.data);
	buf_free(&text);
}

static void print_human(const struct qcow2_check *c)
{
	if (!c->errors && !c->leaks)
		printf("No errors were found on the image.\n");
	if (c->errors)
		printf("\n%" PRIu64 " errors were found on the image.\nData may be corrupted, or "
		       "further writes to the image may corrupt it.\n",
		       c->errors);
	if (c->leaks)
		printf("\n%" PRIu64 " leaked clusters were found on the image.\nThis means waste "
		       "of disk space, but no harm to data.\n",
		       c->leaks);
	if (c->clusters && c->allocated)
		printf("%" PRIu64 "/%" PRIu64 " = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% "
		       "compressed clusters\n",
		       c->allocated, c->clusters, (double)c->allocated * 100 / (double)c->clusters,
		       (double)c->fragmented * 100 / (double)c->allocated,
		       (double)c->compressed * 100 / (double)c->allocated);
	if (c->end_off)
		printf("Image end offset: %" PRIu64 "\n", c->end_off);
}

static int check_twice(const struct img_args *a, struct image *img, unsigned repair, bool json,
		       struct qcow2_check *c, struct err *err)
{
	struct qcow2_check first = {.say = say};
	int ret = qcow2_check(img->q, repair, &first, err);

	if (ret < 0)
		return ret;
	if (!first.errors_fixed && !first.leaks_fixed) {
		*c = first;
		return 0;
	}
	if (!img_has(a, 'q') && !json)
		printf("The following inconsistencies were found and repaired:\n\n    %" PRIu64
		       " leaked clusters\n    %" PRIu64
		       " corruptions\n\nDouble checking the fixed image now...\n",
		       first.leaks_fixed, first.errors_fixed);
	*c = (struct qcow2_check){.say = say};
	ret = qcow2_check(img->q, QCOW2_REPAIR_NONE, c, err);
	c->errors_fixed = first.errors_fixed;
	c->leaks_fixed = first.leaks_fixed;
	return ret;
}

static int take_repair(const struct img_args *a, unsigned *repair, struct err *err)
{
	const char *what = a->val['r'];

	*repair = QCOW2_REPAIR_NONE;
	if (!what)
		return 0;
	*repair = QCOW2_REPAIR_LEAKS;
	if (!strcmp(what, "all"))
		*repair |= QCOW2_REPAIR_ERRORS;
	else if (strcmp(what, "leaks") != 0)
		return err_set(err, EINVAL, "-r repairs 'leaks' or 'all', not '%s'", what);
	return 0;
}

static int check(const struct img_args *a, struct image *img, unsigned repair, bool json)
{
	struct qcow2_check c = {0};
	struct err err = {0}, why = {0};
	int ret = check_twice(a, img, repair, json, &c, &err), closed;

	if (ret == 0 && json)
		print_json(a->file[0], &c);
	else if (ret == 0 && !img_has(a, 'q'))
		print_human(&c);
	(void)fflush(stdout);
	closed = image_close(img, &why);
	if (ret < 0) {
		(void)err_prefix(&err, ret, "Check failed");
		return img_fail(1, &err);
	}
	if (closed < 0)
		return img_fail(1, &why);
	return c.errors ? 2 : c.leaks ? 3 : 0;
}

static int run(const struct img_args *a)
{
	struct img_open how = {.format = a->val['f'],
			       .checking = true,
			       .no_backing = true,
			       .force_share = img_has(a, 'U')};
	struct image *img = NULL;
	struct err err = {0};
	unsigned repair = 0;
	bool json = false;
	int ret = img_arg_json(a, &json, &err);

	if (ret == 0)
		ret = take_repair(a, &repair, &err);
	if (ret == 0)
		ret = img_cache_parse(a->val['T'], &how.cache, &err);
	if (ret == 0) {
		how.writable = repair != 0;
		img = img_open(a->file[0], &how, &err);
	}
	if (!img)
		return img_fail(1, &err);
	if (!img->q) {
		(void)image_close(img, NULL);
		return img_refuse(63, "This image format does not support checks");
	}
	return check(a, img, repair, json);
}

static const struct img_opt opts[] = {
    {'r',        "repair",      "leaks|all",
     "repair: leaks only wastes no space afterwards, all may lose data"                               },
    {'f',        "format",      "FORMAT",     "the format of the image; else what its first bytes say"},
    {IMG_OUTPUT, "output",      "human|json", "how it is printed"                                     },
    {'q',        NULL,          NULL,         "quiet: print nothing but errors"                       },
    {'T',        NULL,          "CACHE",      "the cache mode to read with"                           },
    {'U',        "force-share", NULL,         "also while another program writes to it"               },
    IMG_COMMON_OPTS,
};

const struct img_command img_check_command = {
    .name = "check",
    .files = "FILE",
    .help = "is an image consistent, and can it be made so",
    .opts = opts,
    .min_files = 1,
    .max_files = 1,
    .run = run,
};
