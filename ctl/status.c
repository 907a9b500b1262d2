/* status.c - what one is doing, in a few lines */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ctl/client.h"
#include "ctl/commands.h"
#include "ctl/say.h"
#include "qmp/json.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

static int status_run(struct ctl *ctl, const struct ctl_args *args)
{
	int status = CTL_DONE, ret;
	struct client *c = ctl_client(ctl, &status);
	CLEANUP(cleanup_json) struct json_object *value = NULL;
	struct err err = {0};

	(void)args;
	if (!c)
		return status;
	ret = client_call(c, "query-status", NULL, &value, &err);
	if (ret < 0)
		return say_call_error(ctl, ret, &err);
	say_value(ctl, value);
	return CTL_DONE;
}

const struct ctl_command ctl_status_command = {.name = "status",
					       .arguments = "",
					       .help = "what the guest and its moves are doing",
					       .run = status_run};
