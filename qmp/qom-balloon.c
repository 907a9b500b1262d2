#include "qmp/qom-balloon.h"

#include <errno.h>
#include <string.h>

#include "devices/virtio/virtio-devices.h"
#include "qmp/balloon-stats.h"
#include "qmp/json.h"
#include "qmp/qom.h"
#include "vmm/base/error.h"

#define INTERVAL "guest-stats-polling-interval"

/* What the guest has never told is 2^64 - 1, as it is in QEMU. */
struct numbers {
	uint64_t v[BALLOON_N_STATS];
};

struct guest_stats {
	struct numbers stats;
	int64_t updated;
};

#define STAT(i, wire) QMP_MEMBER_(struct numbers, v[i], wire, &qmp_u64, QMP_REQUIRED)

static const struct qmp_member number_members[] = {
    BALLOON_STAT_MEMBERS(STAT),
    {0},
};
static const struct qmp_type numbers_type =
    QMP_OBJECT_TYPE(struct numbers, "GuestStatsNumbers", number_members);
static const struct qmp_member stats_members[] = {
    QMP_REQ_T(struct guest_stats, stats, "stats", &numbers_type),
    QMP_REQ(struct guest_stats, updated, "last-update"),
    {0},
};
static const struct qmp_type stats_type =
    QMP_OBJECT_TYPE(struct guest_stats, "GuestStats", stats_members);

void qom_balloon_list(struct machine *m, struct qom_list *out)
{
	struct balloon *b = balloon_find(m);
	struct guest_stats *s = qmp_alloc(out->pool, 1, sizeof(*s));
	struct balloon_stats stats;

	if (!b)
		return;
	stats = balloon_stats(b);
	memcpy(s->stats.v, stats.v, sizeof(s->stats.v));
	s->updated = stats.updated_s;
	qom_add(out, "guest-stats", "guest statistics")->value =
	    (struct qmp_any){.type = &stats_type, .p = s};
	for (size_t i = 0; i < out->n; i++)
		if (!strcmp(out->v[i].name, INTERVAL)) {
			out->v[i].type = "int";
			out->v[i].value = qom_number(out->pool, (int64_t)balloon_stats_interval(b));
		}
}

int qom_balloon_set(struct machine *m, const char *name, const struct qmp_any *value,
		    struct err *err)
{
	struct balloon *b = balloon_find(m);
	int64_t seconds;

	if (!b || strcmp(name, INTERVAL) != 0)
		return -ENOENT;
	if (json_kind(value->v) != JSON_INT)
		return err_set(err, EINVAL,
			       "Invalid parameter type for '" INTERVAL "', expected: integer");
	seconds = json_int(value->v);
	if (seconds < 0)
		return err_set(err, EINVAL, "timer value must be greater than zero");
	if (seconds > UINT32_MAX)
		return err_set(err, EINVAL, "timer value is too big");
	balloon_set_stats_interval(b, (uint64_t)seconds);
	return 0;
}
