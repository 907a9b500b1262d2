/*
 * report-peer.c - looks at the other end while a move goes on
 *
 * A destination that loads may be slow to answer, and the move is what matters: a look waits for a
 * short time, and after some that were in vain in a row there are no more.
 */
#include "ctl/report-peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "qmp/json.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define IN_VAIN_MAX 5
#define STEP_MS     50

struct report_peer {
	struct report *report; /* borrowed */
	struct client *client; /* owned */
	unsigned in_vain;
	struct figures last;
	bool runs; /* the guest, here */
};

uint64_t report_now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static uint64_t downtime_limit(struct client *c)
{
	CLEANUP(cleanup_json) struct json_object *v = NULL;
	struct json_object *m;

	if (client_call(c, "query-migrate-parameters", NULL, &v, NULL) < 0 ||
	    json_kind(v) != JSON_OBJECT || !json_get(v, "downtime-limit", &m) ||
	    json_kind(m) != JSON_INT || json_int(m) < 0)
		return 0;
	return (uint64_t)json_int(m);
}

void report_describe(struct report *r, enum report_end end, struct client *c)
{
	CLEANUP(cleanup_json) struct json_object *v = NULL;
	char program[96];
	const char *package = client_package(c);
	unsigned version = client_version(c);
	const char *name;

	if (!r)
		return;
	if (client_is_minivmm(c))
		(void)snprintf(program, sizeof(program), "%.*s", (int)strcspn(package, "("),
			       package);
	else
		(void)snprintf(program, sizeof(program), "QEMU %u.%u.%u", version / 10000,
			       version / 100 % 100, version % 100);
	(void)client_call(c, "query-name", NULL, &v, NULL);
	/* "minivmm 0.1.0 (..." */
	if (*program && program[strlen(program) - 1] == ' ')
		program[strlen(program) - 1] = '\0';
	name = json_get_str(v, "name");
	report_about(r, end, name ? name : client_where(c), program);
	if (end == REPORT_SOURCE)
		report_limit(r, downtime_limit(c));
}

void report_take_event(struct report *r, enum report_end end, uint64_t now_ns,
		       const struct json_object *event)
{
	CLEANUP(buf_free) struct buf text = {0};
	struct json_writer w = json_writer(&text, false);
	const char *name = json_get_str(event, "event"), *status;
	struct json_object *data = NULL;

	if (!r || !name)
		return;
	if (!json_get(event, "data", &data) || json_kind(data) != JSON_OBJECT) {
		report_event(r, end, now_ns, name, "");
		return;
	}
	status = strcmp(name, "MIGRATION") == 0 ? json_get_str(data, "status") : NULL;
	if (!status) {
		jw_value(&w, data);
		buf_u8(&text, 0);
		status = (const char *)text.data;
	}
	report_event(r, end, now_ns, name, status);
}

struct report_peer *report_peer_new(struct report *r, const char *where, int timeout_ms,
				    struct err *err)
{
	bool path =
	    strchr(where, '/') || strncmp(where, "tcp:", 4) == 0 || access(where, F_OK) == 0;
	struct client *c = ctl_connect(path ? where : NULL, path ? NULL : where, timeout_ms, err);
	struct report_peer *p;

	if (!c)
		return NULL;
	p = NEW(struct report_peer);
	p->report = r;
	p->client = c;
	client_set_patience(c, PEER_WAIT_MS);
	report_describe(r, REPORT_PEER, c);
	return p;
}

static void take_events(struct report_peer *p)
{
	struct json_object *event;

	while ((event = client_event(p->client)) != NULL) {
		const char *name = json_get_str(event, "event");

		if (name && strcmp(name, "RESUME") == 0)
			p->runs = true;
		report_take_event(p->report, REPORT_PEER, report_now_ns(), event);
		json_free(event);
	}
}

void report_peer_look(struct report_peer *p)
{
	CLEANUP(cleanup_json) struct json_object *info = NULL;

	if (!p || p->in_vain >= IN_VAIN_MAX || client_gone(p->client))
		return;
	if (client_call(p->client, "query-migrate", NULL, &info, NULL) < 0) {
		p->in_vain++;
	} else {
		p->in_vain = 0;
		figures_read(&p->last, info);
		report_sample(p->report, REPORT_PEER, report_now_ns(), &p->last);
	}
	take_events(p);
}

void report_peer_end(struct report_peer *p)
{
	uint64_t until = report_now_ns() + PEER_END_MS * 1000000ULL;

	while (p && p->in_vain < IN_VAIN_MAX && !client_gone(p->client) &&
	       report_now_ns() < until) {
		report_peer_look(p);
		if (figures_ended(&p->last) && p->runs)
			return;
		(void)client_wait(p->client, STEP_MS, NULL);
		take_events(p);
	}
}

void report_peer_free(struct report_peer *p)
{
	if (!p)
		return;
	client_close(p->client);
	free(p);
}
