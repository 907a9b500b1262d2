/* machine.c - run state: query-status, stop, cont, reset, power button, quit (qmp-surface 4.3) */
#include <errno.h>

#include "migration/migration.h"
#include "qmp/command.h"
#include "qmp/types.h"
#include "vmm/base/error.h"
#include "vmm/flush.h"
#include "vmm/machine.h"

struct status {
	int status;
	bool singlestep, running;
};

static const struct qmp_member status_members[] = {
    QMP_REQ_T(struct status, status, "status", &qmp_run_state_type),
    QMP_OLD(struct status, singlestep, "singlestep", QMP_REQUIRED),
    QMP_REQ(struct status, running, "running"),
    {0},
};
static const struct qmp_type status_type =
    QMP_OBJECT_TYPE(struct status, "StatusInfo", status_members);

static int query_status(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	struct status *s = ret;

	(void)arg;
	(void)err;
	s->status = (int)call->m->state;
	s->running = machine_running(call->m);
	return 0;
}

static int stop_vcpus(struct machine *m, struct err *err)
{
	if (machine_stop_cancellable(m, RS_PAUSED, m->stuck_fd) == 0)
		return 0;
	if (m->ending)
		return err_set(err, ECANCELED, "the program ends");
	return err_set(
	    err, EBUSY,
	    "a part of the guest's memory cannot be loaded, and a virtual CPU waits for it: "
	    "the guest stops as soon as it can be (query-migrate tells the reason)");
}

/* While a stream is awaited, stop and cont only say what is wanted when it has come. */
static int stop(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	struct machine *m = call->m;
	struct err why = {0};
	int r;

	(void)arg;
	(void)ret;
	if (m->state == RS_INMIGRATE)
		m->autostart = false;
	if (!machine_running(m) && m->state != RS_FINISH_MIGRATE && !m->hold)
		return 0;
	r = stop_vcpus(m, err);
	if (r < 0)
		return r;
	/* Perhaps only since we began to wait; the move may even have ended. */
	if (m->state == RS_FINISH_MIGRATE || m->handed_to || m->hold)
		return machine_stay_stopped(m, err);
	r = machine_flush(m, -1, &why);
	return r < 0 ? err_set(err, -r, "The guest is stopped, but %s", why.msg) : 0;
}

struct cont_args {
	bool force, has_force;
};

static const struct qmp_member cont_members[] = {
    QMP_OPT(struct cont_args, force, "x-minivmm-force"),
    {0},
};
static const struct qmp_type cont_type =
    QMP_OBJECT_TYPE(struct cont_args, "q_obj_cont-arg", cont_members);

static int cont(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct cont_args *a = arg;
	struct machine *m = call->m;

	(void)ret;
	if (m->state == RS_INMIGRATE) {
		int r = migration_check_cont(call->mg, err);

		m->autostart = m->autostart || r == 0;
		return r;
	}
	if (m->state == RS_SUSPENDED)
		return 0;
	if (migration_check_cont(call->mg, err) < 0)
		return -EIO;
	if (a->force && migration_take_back(call->mg))
		return 0;
	return a->force ? machine_start_forced(m, err) : machine_start(m, err);
}

/*
 * The three below are carried out before the reply, so that their events
 * precede it; those that have to wait for a migration (requests.c) are
 * carried out after it.
 */
static int system_reset(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)arg;
	(void)ret;
	if (machine_check_memory(call->m, err) < 0 || machine_check_kept(call->m, err) < 0 ||
	    migration_check_pages(call->mg, err) < 0)
		return -EBUSY;
	machine_request_reset(call->m, CAUSE_HOST_QMP_SYSTEM_RESET);
	machine_do_requests(call->m);
	return 0;
}

static int system_powerdown(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)arg;
	(void)ret;
	if (machine_check_kept(call->m, err) < 0)
		return -EBUSY;
	machine_request_powerdown(call->m);
	machine_do_requests(call->m);
	return 0;
}

struct quit_args {
	bool has_force, force;
};

static const struct qmp_member quit_members[] = {
    QMP_OPT(struct quit_args, force, "x-minivmm-force"),
    {0},
};
static const struct qmp_type quit_type =
    QMP_OBJECT_TYPE(struct quit_args, "q_obj_quit-arg", quit_members);

/* A save takes long, so it is discarded only when that is forced. */
static int quit(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct quit_args *a = arg;
	int r = a->force ? 0 : migration_check_quit(call->mg, err);

	(void)ret;
	if (r < 0)
		return r;
	machine_request_exit(call->m, 0, CAUSE_HOST_QMP_QUIT);
	machine_do_exit(call->m);
	return 0;
}

const struct qmp_command qmp_machine_commands[] = {
    {"query-status", NULL, &status_type, query_status, 0},
    {"stop",  NULL, NULL, stop, QMP_WAITS},
    {"cont",	     &cont_type, NULL, cont, QMP_WAITS | QMP_GUEST},
    {"system_reset",         NULL, NULL, system_reset, QMP_WAITS | QMP_GUEST},
    {"system_powerdown",          NULL, NULL, system_powerdown, QMP_WAITS},
    {"quit",     &quit_type, NULL, quit, 0},
    {0	},
};
