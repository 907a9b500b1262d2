/* ringbuf.c - what a ringbuf chardev holds (qmp-surface 5.4) */
#include <errno.h>
#include <string.h>

#include "devices/chardev/ringbuf.h"
#include "devices/microvm.h"
#include "qmp/command.h"
#include "vmm/base/base64.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define MOST (MIN(16 * MiB, SIZE_MAX)) /* of one read */

enum format { FORMAT_UTF8, FORMAT_BASE64 };

static const char *const formats[] = {[FORMAT_UTF8] = "utf8", [FORMAT_BASE64] = "base64", NULL};
static const struct qmp_type format_type = QMP_ENUM_TYPE("DataFormat", formats);

struct write_args {
	const char *device, *data;
	bool has_format;
	int format;
};

static const struct qmp_member write_members[] = {
    QMP_REQ(struct write_args, device, "device"),
    QMP_REQ(struct write_args, data, "data"),
    QMP_OPT_T(struct write_args, format, "format", &format_type),
    {0},
};
static const struct qmp_type write_type =
    QMP_OBJECT_TYPE(struct write_args, "q_obj_ringbuf-write-arg", write_members);

static struct chardev *find(struct qmp_call *call, const char *id, struct err *err)
{
	struct chardev *c = chardevs_find(&call->be->chardevs, id);

	if (!c)
		(void)err_set(err, ENOENT, "Device '%.96s' not found", id);
	return c;
}

static int ringbuf_write(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct write_args *a = arg;
	struct chardev *c = find(call, a->device, err);
	ssize_t n = (ssize_t)strlen(a->data);
	uint8_t *bytes = qmp_alloc(call->pool, (size_t)n + 1, 1);

	(void)ret;
	if (!c)
		return -ENOENT;
	if (a->has_format && a->format == FORMAT_BASE64)
		n = base64_decode(bytes, a->data, (size_t)n);
	else
		memcpy(bytes, a->data, (size_t)n);
	if (n < 0)
		return err_set(err, EINVAL, "Parameter 'data' is not valid base64");
	return chardev_ringbuf_write(c, bytes, (size_t)n, err);
}

struct read_args {
	const char *device;
	int64_t size;
	bool has_format;
	int format;
};

static const struct qmp_member read_members[] = {
    QMP_REQ(struct read_args, device, "device"),
    QMP_REQ(struct read_args, size, "size"),
    QMP_OPT_T(struct read_args, format, "format", &format_type),
    {0},
};
static const struct qmp_type read_type =
    QMP_OBJECT_TYPE(struct read_args, "q_obj_ringbuf-read-arg", read_members);

/* As text a zero byte cannot be said: it is left out. */
static void drop_zeros(uint8_t *p, size_t *n)
{
	size_t kept = 0;

	for (size_t i = 0; i < *n; i++)
		if (p[i])
			p[kept++] = p[i];
	*n = kept;
}

static int ringbuf_read(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct read_args *a = arg;
	struct chardev *c = find(call, a->device, err);
	size_t n = (size_t)MIN((uint64_t)MAX(a->size, 0), (uint64_t)MOST);
	uint8_t *bytes;
	char *text;
	int r;

	if (!c)
		return -ENOENT;
	if (a->size <= 0)
		return err_set(err, EINVAL, "size must be greater than zero");
	bytes = qmp_alloc(call->pool, n + 1, 1);
	r = chardev_ringbuf_read(c, bytes, &n, err);
	if (r < 0)
		return r;
	if (a->has_format && a->format == FORMAT_BASE64) {
		text = qmp_alloc(call->pool, BASE64_ROOM(n), 1);
		base64_encode(text, bytes, n);
		*(const char **)ret = text;
		return 0;
	}
	drop_zeros(bytes, &n);
	bytes[n] = 0;
	*(const char **)ret = (const char *)bytes;
	return 0;
}

const struct qmp_command qmp_ringbuf_commands[] = {
    {"ringbuf-read", &read_type, &qmp_str, ringbuf_read, 0},
    {"ringbuf-write",      &write_type, NULL, ringbuf_write, 0},
    {0	    },
};
