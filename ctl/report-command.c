/* report-command.c - a report of the last migration, or of the one that goes on: minivmm-ctl report
 * FILE */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/client.h"
#include "ctl/commands.h"
#include "ctl/report-peer.h"
#include "ctl/say.h"
#include "qmp/json.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

static int write_report(struct report *r, struct ctl *ctl, struct client *c, const char *peer)
{
	CLEANUP(cleanup_json) struct json_object *info = NULL;
	struct report_peer *other = NULL;
	struct figures f;
	struct err err = {0};
	int ret = client_call(c, "query-migrate", NULL, &info, &err);

	if (ret < 0)
		return say_call_error(ctl, ret, &err);
	figures_read(&f, info);
	if (strcmp(f.status, "none") == 0)
		return say_error(ctl, CTL_FAILED, "%s: no migration has begun", client_where(c));
	report_describe(r, REPORT_SOURCE, c);
	report_sample(r, REPORT_SOURCE, report_now_ns(), &f);
	if (peer) {
		other = report_peer_new(r, peer, ctl->timeout_ms, &err);
		if (!other)
			return say_error(ctl, CTL_FAILED, "%s", err.msg);
		report_peer_look(other);
		report_peer_free(other);
	}
	ret = report_finish(r, &err);
	return ret < 0 ? say_error(ctl, CTL_FAILED, "%s", err.msg) : CTL_DONE;
}

static int report_run(struct ctl *ctl, const struct ctl_args *args)
{
	struct err err = {0};
	struct report *r = report_new(args->word[0], &err);
	int status = CTL_DONE;
	struct client *c;

	if (!r)
		return say_error(ctl, CTL_USAGE, "%s", err.msg);
	c = ctl_client(ctl, &status);
	if (c)
		status = write_report(r, ctl, c, ctl_opt(args, "peer"));
	report_free(r);
	return status;
}

static const struct ctl_opt report_opts[] = {
    {"peer", "SOCKET|NAME", "the other end, whose figures are in it, too"},
    {NULL,   NULL,          NULL					 },
};

const struct ctl_command ctl_report_command = {
    .name = "report",
    .arguments = "FILE.html|FILE.svg",
    .help = "a page about the last migration, from its last figures ('move --report': over time)",
    .opts = report_opts,
    .min_words = 1,
    .max_words = 1,
    .run = report_run};
