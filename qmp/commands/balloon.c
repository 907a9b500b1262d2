/* balloon.c - balloon, query-balloon (qmp-surface 5.3) */
#include <errno.h>

#include "devices/virtio/virtio-devices.h"
#include "qmp/balloon-stats.h"
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

/* Names and values of guest-stats, which QEMU has as a property of the device. */
struct stats {
	int64_t updated;
	uint64_t v[BALLOON_N_STATS];
	bool has[BALLOON_N_STATS];
};

#define STAT(i, wire)                                                                              \
	QMP_MEMBER_(struct stats, v[i], wire, &qmp_u64, offsetof(struct stats, has[i]))

static const struct qmp_member stats_members[] = {
    QMP_REQ(struct stats, updated, "last-update"),
    BALLOON_STAT_MEMBERS(STAT),
    {0},
};
static const struct qmp_type stats_type =
    QMP_OBJECT_TYPE(struct stats, "XMinivmmBalloonStats", stats_members);

struct balloon_info {
	int64_t actual;
	bool has_stats;
	struct stats stats;
};

static const struct qmp_member info_members[] = {
    QMP_REQ(struct balloon_info, actual, "actual"),
    {.name = "x-minivmm-stats",
					     .type = &stats_type,
					     .offset = offsetof(struct balloon_info, stats),
					     .has = offsetof(struct balloon_info, has_stats),
					     .size = sizeof(struct stats),
					     .features = QMP_UNSTABLE},
    {0},
};
static const struct qmp_type info_type =
    QMP_OBJECT_TYPE(struct balloon_info, "BalloonInfo", info_members);

static void fill_stats(struct balloon_info *info, const struct balloon_stats *s)
{
	info->has_stats = s->updated_s != 0;
	info->stats.updated = s->updated_s;
	for (size_t i = 0; i < BALLOON_N_STATS; i++) {
		info->stats.v[i] = s->v[i];
		info->stats.has[i] = s->v[i] != BALLOON_STAT_NEVER;
	}
}

static int query_balloon(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	struct balloon *b = find(call, err);
	struct balloon_info *info = ret;
	struct balloon_stats stats;

	(void)arg;
	if (!b)
		return -ENODEV;
	stats = balloon_stats(b);
	info->actual = (int64_t)balloon_actual_bytes(b);
	fill_stats(info, &stats);
	return 0;
}

const struct qmp_command qmp_balloon_commands[] = {
    {"balloon", &balloon_type, NULL, balloon, 0},
    {"query-balloon",     NULL, &info_type, query_balloon, 0},
    {0       },
};
