/* stubs.c - hooks that nothing stands behind yet */
#include <errno.h>

#include "devices/block/qcow2/internal.h"
#include "vmm/base/error.h"

int qcow2_snapshots_load(struct qcow2 *q, struct err *err)
{
	(void)q;
	(void)err;
	return 0;
}

void qcow2_snapshots_fini(struct qcow2 *q)
{
	(void)q;
}

int qcow2_saving_hold(struct qcow2 *q, uint64_t i)
{
	(void)q;
	(void)i;
	return -ENOTSUP;
}

int qcow2_bitmaps_load(struct qcow2 *q, struct err *err)
{
	(void)q;
	(void)err;
	return 0;
}

int qcow2_bitmaps_store(struct qcow2 *q, struct err *err)
{
	(void)q;
	(void)err;
	return 0;
}

void qcow2_bitmaps_fini(struct qcow2 *q)
{
	(void)q;
}

void qcow2_bitmaps_mark(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	(void)q;
	(void)off;
	(void)bytes;
}

int qcow2_bitmaps_may_resize(struct qcow2 *q, uint64_t bytes, struct err *err)
{
	(void)q;
	(void)bytes;
	(void)err;
	return 0;
}

void qcow2_bitmaps_resized(struct qcow2 *q, uint64_t old)
{
	(void)q;
	(void)old;
}

int qcow2_rebuild(struct qcow2 *q, struct err *err)
{
	(void)q;
	return err_set(err, ENOTSUP,
		       "the refcounts of an image with the dirty bit cannot be rebuilt");
}
