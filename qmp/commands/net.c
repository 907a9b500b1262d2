/* net.c - announce-self (qmp-surface 2.1) */
#include "migration/migration.h"
#include "qmp/command.h"

struct announce {
	uint64_t initial, max, rounds, step;
	bool has_interfaces;
	struct qmp_array interfaces; /* of strings */
	const char *id;
};

static const struct qmp_member announce_members[] = {
    QMP_REQ(struct announce, initial, "initial"),
    QMP_REQ(struct announce, max, "max"),
    QMP_REQ(struct announce, rounds, "rounds"),
    QMP_REQ(struct announce, step, "step"),
    QMP_OPT_T(struct announce, interfaces, "interfaces", &qmp_str_array),
    QMP_SET(struct announce, id, "id"),
    {0},
};
static const struct qmp_type announce_type =
    QMP_OBJECT_TYPE(struct announce, "AnnounceParameters", announce_members);

static int announce_self(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct announce *a = arg;
	struct announce_args args = {
	    .initial_ms = a->initial,
	    .max_ms = a->max,
	    .rounds = a->rounds,
	    .step_ms = a->step,
	    .id = a->id,
	};

	(void)ret;
	if (a->has_interfaces) {
		args.interfaces = a->interfaces.v;
		args.n_interfaces = a->interfaces.n;
	}
	return migration_announce(call->mg, &args, err);
}

const struct qmp_command qmp_net_commands[] = {
    {"announce-self", &announce_type, NULL, announce_self, 0},
    {0	  },
};
