/* snapshot.c - "snapshot": list, create, apply, delete internal snapshots */
#include "img/img.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "devices/block/qcow2/qcow2.h"
#include "img/commands.h"
#include "img/progress.h"
#include "migration/snapshot/chain.h"
#include "migration/snapshot/merge.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

const struct qcow2_snapshot *img_find_snapshot(const struct qcow2 *q, const char *id,
					       const char *name)
{
	const struct qcow2_snapshot *s;

	if (id && (s = qcow2_snapshot_with_id(q, id)))
		return s;
	for (size_t i = 0; name && (s = qcow2_snapshot_at(q, i)) != NULL; i++)
		if (!strcmp(s->name, name))
			return s;
	return NULL;
}

/* QEMU keeps no more of a name, and finds none by a longer one. */
#define NAME_MAX_BYTES 255U

static int snapshot_create(struct qcow2 *q, const char *name, struct err *err)
{
	struct qcow2_snapshot s = {.id = "", .name = name};
	struct qcow2_saving *saving;
	struct timespec now;
	int ret;

	if (strlen(name) > NAME_MAX_BYTES)
		return err_set(err, EINVAL, "the name has more than %u bytes", NAME_MAX_BYTES);
	(void)clock_gettime(CLOCK_REALTIME, &now);
	s.date_s = (uint32_t)now.tv_sec;
	s.date_ns = (uint32_t)(now.tv_nsec / 1000 * 1000);
	ret = qcow2_saving_begin(q, &saving, err);
	if (ret < 0)
		return ret;
	ret = qcow2_saving_commit(saving, &s, err);
	if (ret < 0)
		qcow2_saving_abort(saving);
	return ret;
}

static int snapshot_do(struct qcow2 *q, int what, const char *name, struct err *err)
{
	const struct qcow2_snapshot *s;
	char id[256];
	int ret;

	if (what == 'c')
		return snapshot_create(q, name, err);
	/* To delete one takes its name, as with qemu-img. */
	s = img_find_snapshot(q, what == 'a' ? name : NULL, name);
	if (!s)
		return err_set(err, ENOENT, "snapshot not found");
	(void)snprintf(id, sizeof(id), "%s", s->id);
	if (what == 'a')
		return qcow2_snapshot_apply(q, id, err);
	ret = snapshot_check_childless(q, s, err);
	return ret < 0 ? ret : qcow2_snapshot_delete(q, id, err);
}

/* ---- merge ---- */

static void merge_progress(void *opaque, uint64_t bytes)
{
	progress_add(opaque, bytes);
}

static int merge_chain(struct qcow2 *q, const struct snapshot_chain *chain, bool shown,
		       struct err *err)
{
	struct progress p;
	const struct merge_progress to = {merge_progress, &p};
	uint64_t total = 0;
	int ret;

	for (size_t i = 0; i < chain->n; i++)
		total += chain->v[i].bytes;
	progress_init(&p, shown ? stdout : NULL, total);
	ret = snapshot_merge(q, chain, &to, err);
	progress_fini(&p, ret == 0);
	return ret;
}

static int snapshot_make_whole(struct qcow2 *q, const struct img_args *a, struct err *err)
{
	const struct qcow2_snapshot *s = img_find_snapshot(q, NULL, a->val[IMG_MERGE]);
	struct snapshot_chain chain = {0};
	int ret;

	if (!s)
		return err_set(err, ENOENT, "snapshot not found");
	ret = snapshot_chain_find(&chain, q, s, err);
	if (ret == 0 && chain.n > 1)
		ret = merge_chain(q, &chain, img_has(a, 'p'), err);
	else if (ret == 0 && !img_has(a, 'q'))
		printf("Snapshot '%s' is whole already\n", s->name);
	snapshot_chain_fini(&chain);
	return ret;
}

/* ---- all ---- */

static int work(const struct img_args *a, struct image *img, int what, struct err *err)
{
	const char *verb = what == 'c'         ? "create"
			   : what == 'a'       ? "apply"
			   : what == IMG_MERGE ? "merge"
					       : "delete";
	int ret;

	if (what == 'l') {
		img_print_snapshots(stdout, img->q);
		return 0;
	}
	if (img->q && what == IMG_MERGE)
		ret = snapshot_make_whole(img->q, a, err);
	else
		ret = img->q ? snapshot_do(img->q, what, a->val[what], err)
			     : err_set(err, ENOTSUP, "raw images have no snapshots");
	return ret < 0 ? err_prefix(err, ret, "Could not %s snapshot '%s'", verb, a->val[what]) : 0;
}

static int run(const struct img_args *a)
{
	static const unsigned char verbs[] = {'l', 'c', 'a', 'd', IMG_MERGE, 0};
	struct img_open how = {.format = a->val['f'], .force_share = img_has(a, 'U')};
	struct err err = {0}, why = {0};
	struct image *img;
	int ret, closed, what = 0;

	for (const unsigned char *v = verbs; *v; v++) {
		if (!img_has(a, *v))
			continue;
		if (what)
			return img_refuse(1, "Cannot mix '-l', '-a', '-c', '-d', '--merge'");
		what = *v;
	}
	if (!what)
		what = 'l';
	how.writable = what != 'l';
	/* The disk of an overlay is not read: its backing file need not be trusted or there. */
	how.no_backing = true;
	img = img_open(a->file[0], &how, &err);
	ret = img ? work(a, img, what, &err) : -EIO;
	closed = image_close(img, &why);
	if (ret < 0)
		return img_fail(1, &err);
	return closed < 0 ? img_fail(1, &why) : 0;
}

static const struct img_opt opts[] = {
    {'l',       NULL,          NULL,     "list them (the default)"                                      },
    {'c',       NULL,          "NAME",   "make one of the disk as it is"                                },
    {'a',       NULL,          "NAME",   "apply one: the disk is again what it was (an id, else a name)"},
    {'d',       NULL,          "NAME",   "delete one (a name)"                                          },
    {IMG_MERGE, "merge",       "NAME",   "give one that stands on others a VM state of its own"         },
    {'p',       NULL,          NULL,     "show progress of a merge"                                     },
    {'f',       NULL,          "FORMAT", "the format of the image; else what its first bytes say"       },
    {'q',       NULL,          NULL,     "quiet: print nothing but errors"                              },
    {'U',       "force-share", NULL,     "list them also while another program writes to the image"     },
    IMG_COMMON_OPTS,
};

const struct img_command img_snapshot_command = {
    .name = "snapshot",
    .files = "FILE",
    .help = "list, make, apply, delete snapshots",
    .opts = opts,
    .min_files = 1,
    .max_files = 1,
    .run = run,
};
