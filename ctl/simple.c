/* simple.c - commands that are one QMP command each: pause, cont, reset, powerdown, quit; and qmp,
 * any */
#include <errno.h>
#include <string.h>

#include "ctl/client.h"
#include "ctl/commands.h"
#include "ctl/say.h"
#include "qmp/json.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

/* Carry out one command without arguments; what was done, for people. */
static int simple(struct ctl *ctl, const char *command, struct json_object *args)
{
	int status = CTL_DONE, ret;
	struct client *c = ctl_client(ctl, &status);
	CLEANUP(cleanup_json) struct json_object *value = NULL;
	struct err err = {0};

	if (!c) {
		json_free(args);
		return status;
	}
	ret = client_call(c, command, args, &value, &err);
	if (ret < 0)
		return say_call_error(ctl, ret, &err);
	if (ctl->json)
		say_value(ctl, value);
	return CTL_DONE;
}

static int pause_run(struct ctl *ctl, const struct ctl_args *args)
{
	(void)args;
	return simple(ctl, "stop", NULL);
}

static int cont_run(struct ctl *ctl, const struct ctl_args *args)
{
	struct json_object *forced = ctl_opt(args, "force") ? json_new_object() : NULL;

	if (forced)
		json_set(forced, "x-minivmm-force", json_new_bool(true));
	return simple(ctl, "cont", forced);
}

static int reset_run(struct ctl *ctl, const struct ctl_args *args)
{
	(void)args;
	return simple(ctl, "system_reset", NULL);
}

/* With --wait: until the program is gone, however long its guest takes. */
static int until_gone(struct ctl *ctl, const struct ctl_args *args, int status)
{
	struct err err = {0};

	if (status != CTL_DONE || !ctl_opt(args, "wait"))
		return status;
	while (!client_gone(ctl->client) && client_wait(ctl->client, -1, &err) >= 0)
		json_free(client_event(ctl->client));
	return client_gone(ctl->client) ? CTL_DONE : say_call_error(ctl, -EINTR, &err);
}

static int powerdown_run(struct ctl *ctl, const struct ctl_args *args)
{
	return until_gone(ctl, args, simple(ctl, "system_powerdown", NULL));
}

static int quit_run(struct ctl *ctl, const struct ctl_args *args)
{
	struct json_object *forced = ctl_opt(args, "force") ? json_new_object() : NULL;

	if (forced)
		json_set(forced, "x-minivmm-force", json_new_bool(true));
	return until_gone(ctl, args, simple(ctl, "quit", forced));
}

/* '{"execute": ...}' as it is, or NAME [ARGUMENTS] */
static int qmp_run(struct ctl *ctl, const struct ctl_args *args)
{
	CLEANUP(cleanup_json) struct json_object *value = NULL;
	struct json_object *request = NULL, *more = NULL, *m;
	const char *text = args->word[0];
	struct err err = {0};
	struct client *c;
	int status = CTL_DONE, ret;

	if (*text != '{') {
		request = json_new_object();
		json_set(request, "execute", json_new_str(text, strlen(text)));
	} else if (json_parse(text, strlen(text), &request, &err) < 0) {
		return say_error(ctl, CTL_USAGE, "qmp: " ERR_WITHIN ": %.200s", err.msg, text);
	}
	if (args->n_words > 1 &&
	    json_parse(args->word[1], strlen(args->word[1]), &more, &err) < 0) {
		json_free(request);
		return say_error(ctl, CTL_USAGE, "qmp: " ERR_WITHIN ": %.200s", err.msg,
				 args->word[1]);
	}
	if (args->n_words > 1)
		json_set(request, "arguments", more);
	if (json_get(request, "exec-oob", &m)) {
		json_free(request);
		return say_error(ctl, CTL_USAGE,
				 "qmp: only 'execute': out of band is nothing here, "
				 "one command is sent");
	}
	c = ctl_client(ctl, &status);
	if (!c) {
		json_free(request);
		return status;
	}
	ret = client_call_request(c, request, &value, &err);
	if (ret < 0)
		return say_call_error(ctl, ret, &err);
	say_value(ctl, value);
	return CTL_DONE;
}

static const struct ctl_opt cont_opts[] = {
    {"force", NULL, "also a guest that was handed to another machine (minivmm)"},
    {NULL,    NULL, NULL						       },
};
static const struct ctl_opt quit_opts[] = {
    {"force", NULL, "also while the guest is being saved (minivmm)"},
    {"wait",  NULL, "until the program is gone"                    },
    {NULL,    NULL, NULL					   },
};
static const struct ctl_opt powerdown_opts[] = {
    {"wait", NULL, "until the program is gone, however long the guest takes"},
    {NULL,   NULL, NULL						     },
};

const struct ctl_command ctl_pause_command = {
    .name = "pause", .arguments = "", .help = "stop the guest", .run = pause_run};
const struct ctl_command ctl_cont_command = {.name = "cont",
					     .arguments = "",
					     .help = "let the guest run",
					     .opts = cont_opts,
					     .run = cont_run};
const struct ctl_command ctl_reset_command = {
    .name = "reset", .arguments = "", .help = "the guest boots anew", .run = reset_run};
const struct ctl_command ctl_powerdown_command = {.name = "powerdown",
						  .arguments = "",
						  .help = "press the power button",
						  .opts = powerdown_opts,
						  .run = powerdown_run};
const struct ctl_command ctl_quit_command = {.name = "quit",
					     .arguments = "",
					     .help = "end the program, at once",
					     .opts = quit_opts,
					     .run = quit_run};
const struct ctl_command ctl_qmp_command = {
    .name = "qmp",
    .arguments = "JSON | NAME [JSON]",
    .help = "one QMP command, its answer printed: '{\"execute\": ...}', or a name and arguments",
    .min_words = 1,
    .max_words = 2,
    .run = qmp_run};
