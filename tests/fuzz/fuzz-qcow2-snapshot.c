/*
 * Any bytes as a qcow2 image whose snapshots and bitmaps are used: listed, read through, applied,
 * deleted, one more made, then all is checked and repaired.  Each is done or refused with a
 * sentence, and an image without findings has none after it.
 *
 * Input: one byte (bit 0: for a check, bits 1-3: what is done), then the image.
 */
#include <assert.h>

#include "tests/unit/qcow2-rig.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { APPLY = 2, DELETE = 4, SAVE = 8 };

static void look(struct qcow2 *q)
{
	static uint8_t buf[100000];
	const struct qcow2_snapshot *s;
	const struct qcow2_bitmap *b;
	struct err err = {0};

	for (size_t i = 0; i < 8 && (s = qcow2_snapshot_at(q, i)); i++) {
		assert(s->id && s->name && s->vmstate_off >= s->disk_bytes);
		(void)qcow2_snapshot_read(q, s->id, buf, MIN(sizeof(buf), s->disk_bytes), 0, &err);
		(void)qcow2_snapshot_read(q, s->id, buf, MIN(sizeof(buf), s->vmstate_bytes),
					  s->vmstate_off, &err);
	}
	for (size_t i = 0; (b = qcow2_bitmap_at(q, i)); i++)
		assert(b->name[0] && b->granularity >= 512);
}

static int save(struct qcow2 *q, struct err *err)
{
	static uint8_t state[3000];
	const struct qcow2_snapshot what = {.name = "s", .vmstate_bytes = sizeof(state)};
	const struct iovec v = {state, sizeof(state)};
	struct qcow2_saving *s;
	int ret = qcow2_saving_begin(q, &s, err);

	if (ret < 0)
		return ret;
	(void)qcow2_writev(q, &(struct iovec){state, 512}, 1, 0);
	ret = qcow2_saving_write(s, &v, 1, 700, err);
	if (ret == 0)
		ret = qcow2_saving_commit(s, &what, err);
	if (ret < 0)
		qcow2_saving_abort(s);
	return ret;
}

static struct qcow2_check check(struct qcow2 *q, unsigned repair)
{
	struct qcow2_check c = {0};
	struct err err = {0};

	if (qcow2_check(q, repair, &c, &err) < 0) {
		assert(err.msg[0]);
		c.errors = UINT64_MAX;
	}
	return c;
}

static void change(struct qcow2 *q, unsigned what)
{
	const struct qcow2_snapshot *s;
	struct qcow2_check before = check(q, 0), after;
	struct err err = {0};
	int ret = 0;

	if (what & SAVE)
		ret = save(q, &err);
	s = qcow2_snapshot_at(q, 0);
	if (what & APPLY && s)
		ret = qcow2_snapshot_apply(q, s->id, &err);
	s = qcow2_snapshot_at(q, 0);
	if (what & DELETE && s)
		ret = qcow2_snapshot_delete(q, s->id, &err);
	assert(ret == 0 || err.msg[0]);
	after = check(q, 0);
	assert(before.errors || after.errors == 0);
	assert(before.errors || before.leaks || after.leaks == 0);
	(void)check(q, QCOW2_REPAIR_LEAKS);
	(void)check(q, QCOW2_REPAIR_LEAKS | QCOW2_REPAIR_ERRORS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct rig r = {.max = 8 * MiB};
	const struct qcow2_storage s = rig_storage(&r);
	struct qcow2_open how = {.writable = true, .cache_bytes = 65536};
	struct err err = {0};
	struct qcow2 *q;

	if (len < 1 || len > MiB)
		return 0;
	(void)log_open("/dev/null", NULL);
	how.checking = data[0] & 1;
	rig_room(&r, len - 1);
	memcpy(r.p, data + 1, len - 1);
	if (qcow2_open(&q, &s, &how, &err) == 0) {
		look(q);
		change(q, data[0]);
		(void)qcow2_close(q, &err);
	} else {
		assert(err.msg[0]);
	}
	rig_fini(&r);
	return 0;
}
