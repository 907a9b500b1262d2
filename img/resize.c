/* resize.c - "resize": another size for the disk in an image */
#include "img/img.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "img/commands.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/numbers.h"

/* "10G", "+1G", "-1G" -> the size in bytes. */
static int new_size(const char *text, uint64_t now, uint64_t *bytes, struct err *err)
{
	uint64_t v;
	int ret = opt_parse_size(text + (*text == '+' || *text == '-'), &v);

	if (ret < 0 || v > INT64_MAX)
		return err_set(
		    err, EINVAL,
		    "Invalid size '%s': a number of bytes, or with one of the suffixes k, "
		    "M, G, T, P, E, and + or - in front for a difference",
		    text);
	if (*text == '-' ? v >= now : *text != '+' && !v)
		return err_set(err, EINVAL, "New image size must be positive");
	v = *text == '+' ? now + v : *text == '-' ? now - v : v;
	if (v > INT64_MAX - 511)
		return err_set(err, EFBIG, "New image size is too large");
	*bytes = v;
	return 0;
}

static int check_prealloc(const struct image *img, const char *mode, struct err *err)
{
	if (!mode || !strcmp(mode, "off"))
		return 0;
	if (strcmp(mode, "metadata") && strcmp(mode, "falloc") && strcmp(mode, "full"))
		return err_set(err, EINVAL, "Invalid preallocation mode '%s'", mode);
	if (img->q)
		return err_set(err, ENOTSUP,
			       "--preallocation=%s is not supported for a qcow2 image that grows",
			       mode);
	if (!strcmp(mode, "metadata"))
		return err_set(err, EINVAL, "Unsupported preallocation mode: metadata");
	return 0;
}

static int resize(const struct img_args *a, struct image *img, struct err *err)
{
	const char *mode = a->val[IMG_PREALLOCATION];
	uint64_t was = img->bytes, bytes = 0;
	int ret = check_prealloc(img, mode, err);

	if (ret == 0)
		ret = new_size(a->file[1], was, &bytes, err);
	if (ret < 0)
		return ret;
	if (bytes < was && mode && strcmp(mode, "off") != 0)
		return err_set(err, EINVAL, "Preallocation can only be used for growing images");
	if (bytes < was && !img_has(a, IMG_SHRINK))
		return err_set(err, EINVAL,
			       "'%s' has %" PRIu64
			       " bytes: use the --shrink option to give up what "
			       "is behind the first %" PRIu64,
			       img->filename, was, bytes);
	if (bytes % 512 && img->q)
		return err_set(err, EINVAL, "The new size must be a multiple of 512");
	bytes = ALIGN_UP(bytes, 512);
	ret = image_resize(img, bytes, err);
	if (ret == 0 && mode)
		ret = img_preallocate_raw(img->fd, img->filename, mode, was, bytes, err);
	return ret;
}

static int run(const struct img_args *a)
{
	struct img_open how = {.format = a->val['f'], .writable = true};
	struct err err = {0}, why = {0};
	struct image *img = img_open(a->file[0], &how, &err);
	int ret = img ? resize(a, img, &err) : -EIO;
	int closed = image_close(img, &why);

	if (ret < 0)
		return img_fail(1, &err);
	if (closed < 0)
		return img_fail(1, &why);
	if (!img_has(a, 'q'))
		printf("Image resized.\n");
	return 0;
}

static const struct img_opt opts[] = {
    {'f',	       NULL,            "FORMAT",          "the format of the image; else what its first bytes say"     },
    {IMG_SHRINK,        "shrink",        NULL,              "the disk may become smaller: what is behind its end is lost"},
    {IMG_PREALLOCATION, "preallocation", "off|falloc|full", "space for what a raw image grows by"                        },
    {'q',	       NULL,            NULL,              "quiet: print nothing but errors"                            },
    IMG_COMMON_OPTS,
};

const struct img_command img_resize_command = {
    .name = "resize",
    .files = "FILE [+|-]SIZE",
    .help = "another size for the disk in an image",
    .opts = opts,
    .min_files = 2,
    .max_files = 2,
    .last_is_size = true,
    .run = run,
};
