/* hmp-machine.c - the human monitor's commands that are QMP's: run, stop, reset, end */
#include "qmp/command.h"
#include "qmp/hmp.h"
#include "qmp/schema.h"

/* The QMP command of that name, without arguments. */
static int run_qmp(struct qmp_call *call, const char *name, struct err *err)
{
	const struct qmp_command *c = qmp_command_find(name);
	void *arg = c->arg ? qmp_alloc(call->pool, 1, c->arg->size) : NULL;

	return c->run(call, arg, NULL, err);
}

static int hmp_stop(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		    struct err *err)
{
	(void)args;
	(void)out;
	return run_qmp(call, "stop", err);
}

static int hmp_cont(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		    struct err *err)
{
	(void)args;
	(void)out;
	return run_qmp(call, "cont", err);
}

static int hmp_reset(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		     struct err *err)
{
	(void)args;
	(void)out;
	return run_qmp(call, "system_reset", err);
}

static int hmp_powerdown(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
			 struct err *err)
{
	(void)args;
	(void)out;
	return run_qmp(call, "system_powerdown", err);
}

static int hmp_quit(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		    struct err *err)
{
	(void)args;
	(void)out;
	return run_qmp(call, "quit", err);
}

const struct hmp_command hmp_machine_commands[] = {
    {"cont|c",             NULL, "resume emulation", hmp_cont, true},
    {"quit|q",  NULL, "quit the emulator", hmp_quit, false},
    {"stop|s",		NULL, "stop emulation", hmp_stop, true},
    {"system_powerdown",             NULL, "send system power down event", hmp_powerdown, true},
    {"system_reset", NULL, "reset the system", hmp_reset, true},
    {0	      },
};
