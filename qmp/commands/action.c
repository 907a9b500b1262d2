/* action.c - set-action: what the guest's reboot, power-off and panic lead to (qmp-surface 4.3) */
#include "qmp/command.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

struct actions {
	bool has_reboot, has_shutdown, has_panic, has_watchdog;
	int reboot, shutdown, panic, watchdog;
};

static const char *const reboots[] = {"reset", "shutdown", NULL};
static const char *const shutdowns[] = {"poweroff", "pause", NULL};
static const char *const panics[] = {"pause", "shutdown", "exit-failure", "none", NULL};
static const char *const watchdogs[] = {"reset", "shutdown", "poweroff",   "pause",
					"debug", "none",     "inject-nmi", NULL};
static const struct qmp_type reboot_enum = QMP_ENUM_TYPE("RebootAction", reboots);
static const struct qmp_type shutdown_enum = QMP_ENUM_TYPE("ShutdownAction", shutdowns);
static const struct qmp_type panic_enum = QMP_ENUM_TYPE("PanicAction", panics);
static const struct qmp_type watchdog_enum = QMP_ENUM_TYPE("WatchdogAction", watchdogs);

static const struct qmp_member action_members[] = {
    QMP_OPT_T(struct actions, reboot, "reboot", &reboot_enum),
    QMP_OPT_T(struct actions, shutdown, "shutdown", &shutdown_enum),
    QMP_OPT_T(struct actions, panic, "panic", &panic_enum),
    QMP_OPT_T(struct actions, watchdog, "watchdog", &watchdog_enum), /* there is none */
    {0},
};
static const struct qmp_type action_type =
    QMP_OBJECT_TYPE(struct actions, "q_obj_set-action-arg", action_members);

static int set_action(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct actions *a = arg;
	struct machine *m = call->m;

	(void)ret;
	(void)err;
	if (a->has_reboot)
		m->actions.no_reboot = a->reboot == 1;
	if (a->has_shutdown)
		m->actions.no_shutdown = a->shutdown == 1;
	if (a->has_panic)
		m->actions.panic = (enum cfg_action_panic)a->panic;
	return 0;
}

const struct qmp_command qmp_action_commands[] = {
    {"set-action", &action_type, NULL, set_action, 0},
    {0       },
};
