/* balloon.c - balloon, query-balloon (qmp-surface 5.3) */
#include <errno.h>

#include "devices/virtio/virtio-devices.h"
#include "qmp/command.h"
#include "vmm/base/error.h"

static struct balloon *find(struct qmp_call *call, struct err *err)
{
	struct balloon *b = balloon_find(call->m);

	if (b)
		return b;
	call->error_class = "DeviceNotActive";
	(void)err_set(err, ENODEV, "No balloon device has been activated");
	return NULL;
}

struct balloon_args {
	int64_t value;
};

static const struct qmp_member balloon_members[] = {
    QMP_REQ(struct balloon_args, value, "value"),
    {0},
};
static const struct qmp_type balloon_type =
    QMP_OBJECT_TYPE(struct balloon_args, "q_obj_balloon-arg", balloon_members);

static int balloon(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct balloon_args *a = arg;
	struct balloon *b = find(call, err);

	(void)ret;
	if (!b)
		return -ENODEV;
	if (a->value <= 0)
		return err_set(err, EINVAL, "Parameter 'target' expects a size");
	balloon_set_target(b, (uint64_t)a->value);
	return 0;
}

struct balloon_info {
	int64_t actual;
};

static const struct qmp_member info_members[] = {
    QMP_REQ(struct balloon_info, actual, "actual"),
    {0},
};
static const struct qmp_type info_type =
    QMP_OBJECT_TYPE(struct balloon_info, "BalloonInfo", info_members);

static int query_balloon(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	struct balloon *b = find(call, err);

	(void)arg;
	if (!b)
		return -ENODEV;
	((struct balloon_info *)ret)->actual = (int64_t)balloon_actual_bytes(b);
	return 0;
}

const struct qmp_command qmp_balloon_commands[] = {
    {"balloon", &balloon_type, NULL, balloon, 0},
    {"query-balloon",     NULL, &info_type, query_balloon, 0},
    {0       },
};
