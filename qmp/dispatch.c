/*
 * dispatch.c - from a request to its reply
 *
 *     request --parse_request--> name, arguments, id --find--> row of the table
 *             --qmp_parse_arguments--> C struct --run--> C struct --qmp_write--> reply
 *
 * All memory of a command's arguments and return is in one pool that lives
 * until the reply is written.  Any step may fail with a class and a sentence;
 * the reply is the error then, with the request's id if it has one (qmp-surface
 * 1.3).
 */
#include "qmp/dispatch.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "qmp/absent.h"
#include "qmp/command.h"
#include "qmp/commands/version.h"
#include "qmp/connection.h"
#include "qmp/json.h"
#include "qmp/session.h"
#include "vmm/base/error.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define GENERIC   "GenericError"
#define NOT_FOUND "CommandNotFound"

struct qmp_request {
	const char *name;
	const struct json_object *arguments; /* NULL: none */
	const struct json_object *id;
	bool has_id;
	bool oob; /* exec-oob */
};

/* What went wrong and its class. */
struct failure {
	const char *class;
	struct err err;
};

__attribute__((format(printf, 3, 4))) static int refuse(struct failure *f, const char *class,
							const char *fmt, ...)
{
	va_list ap;

	f->class = class;
	f->err.errnum = EINVAL;
	va_start(ap, fmt);
	(void)vsnprintf(f->err.msg, sizeof(f->err.msg), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* Is this the member that names the command?  exec-oob exists once it was negotiated. */
static bool names_command(const char *key, bool oob)
{
	return !strcmp(key, "execute") || (oob && !strcmp(key, "exec-oob"));
}

/* The members of a request; the id is found even in a wrong one. */
static int parse_request(const struct json_object *v, bool oob, struct qmp_request *rq,
			 struct failure *f)
{
	struct json_iter it = {0};
	struct json_object *execute = NULL, *val;

	if (json_kind(v) != JSON_OBJECT)
		return refuse(f, GENERIC, "QMP input must be a JSON object");
	rq->has_id = json_get(v, "id", &val);
	if (rq->has_id)
		rq->id = val;
	while (json_next(v, &it)) {
		if (names_command(it.key, oob)) {
			if (json_kind(it.val) != JSON_STRING)
				return refuse(f, GENERIC, "QMP input member '%s' must be a string",
					      it.key);
			if (execute)
				return refuse(f, GENERIC,
					      "QMP input member 'execute' clashes with 'exec-oob'");
			rq->oob = strcmp(it.key, "execute") != 0;
			execute = it.val;
		} else if (!strcmp(it.key, "arguments")) {
			if (json_kind(it.val) != JSON_OBJECT)
				return refuse(f, GENERIC, "QMP input member '%s' must be an object",
					      it.key);
			rq->arguments = it.val;
		} else if (strcmp(it.key, "id") != 0) {
			return refuse(f, GENERIC, "QMP input member '%.200s' is unexpected",
				      it.key);
		}
	}
	if (!execute)
		return refuse(f, GENERIC, "QMP input lacks member 'execute'");
	rq->name = json_str(execute);
	return 0;
}

static const struct qmp_command *find_command(const struct qmp_call *call,
					      const struct qmp_request *rq, struct failure *f)
{
	const struct qmp_connection *conn = call->connection;
	bool negotiates = !strcmp(rq->name, "qmp_capabilities");
	const char *instead = qmp_absent_instead(rq->name);
	const struct qmp_command *c;

	if (!qmp_connection_negotiated(conn) && !negotiates) {
		(void)refuse(f, NOT_FOUND,
			     "Expecting capabilities negotiation with 'qmp_capabilities'");
		return NULL;
	}
	if (qmp_connection_negotiated(conn) && negotiates) {
		(void)refuse(f, NOT_FOUND,
			     "Capabilities negotiation is already complete, command ignored");
		return NULL;
	}
	c = qmp_command_find(rq->name);
	if (!c)
		(void)refuse(f, NOT_FOUND, "The command %.200s has not been found%s%s", rq->name,
			     instead ? ": " : "", instead ? instead : "");
	if (c && (c->flags & QMP_GUEST) && call->m->cfg->no_board) {
		(void)refuse(f, GENERIC,
			     "%s needs a guest, and there is none: minivmm was started with "
			     "-machine none",
			     rq->name);
		return NULL;
	}
	if (!c || !rq->oob || (c->flags & QMP_OOB))
		return c;
	(void)refuse(f, GENERIC, "The command %s does not support OOB", rq->name);
	return NULL;
}

static void write_id(struct json_writer *w, const struct qmp_request *rq)
{
	if (!rq->has_id)
		return;
	jw_key(w, "id");
	jw_value(w, rq->id);
}

static void write_failure(struct json_writer *w, const struct qmp_request *rq,
			  const struct failure *f)
{
	jw_open(w, '{');
	write_id(w, rq);
	jw_key(w, "error");
	jw_open(w, '{');
	jw_key(w, "class");
	jw_str(w, f->class);
	jw_key(w, "desc");
	jw_str(w, f->err.msg);
	jw_close(w, '}');
	jw_close(w, '}');
}

static void write_return(struct json_writer *w, const struct qmp_request *rq,
			 const struct qmp_command *c, const void *ret)
{
	jw_open(w, '{');
	jw_key(w, "return");
	if (c->ret) {
		qmp_write(w, c->ret, ret);
	} else {
		jw_open(w, '{');
		jw_close(w, '}');
	}
	write_id(w, rq);
	jw_close(w, '}');
}

static int dispatch_run(struct qmp_call *call, const struct qmp_request *rq, struct json_writer *w,
			struct failure *f)
{
	const struct qmp_command *c = find_command(call, rq, f);
	struct qmp_pool pool;
	void *arg, *out;
	int ret;

	if (!c)
		return -ENOENT;
	call->pool = &pool;
	call->arguments = rq->arguments;
	call->oob = rq->oob;
	qmp_pool_init(&pool);
	arg = c->arg ? qmp_alloc(&pool, 1, c->arg->size) : NULL;
	out = c->ret ? qmp_alloc(&pool, 1, c->ret->size) : NULL;
	ret = qmp_parse_arguments(c->arg, rq->arguments, arg, &pool, &f->err);
	if (ret == 0)
		ret = c->run(call, arg, out, &f->err);
	if (ret == 0)
		write_return(w, rq, c, out);
	qmp_pool_fini(&pool);
	call->pool = NULL;
	return ret;
}

/* NOLINTBEGIN(readability-non-const-parameter): a command takes *fd by call.fd */
void qmp_dispatch(const struct qmp_context *ctx, struct qmp_session *session,
		  struct qmp_connection *connection, const struct json_object *request, int *fd,
		  struct buf *reply)
{
	struct qmp_call call = {.m = ctx->m,
				.be = ctx->be,
				.mg = ctx->mg,
				.session = session,
				.connection = connection,
				.fd = fd};
	struct failure f = {.class = GENERIC};
	struct qmp_request rq = {.name = ""};
	struct json_writer w = json_writer(reply, qmp_session_pretty(session));
	int ret = parse_request(request, qmp_connection_oob(connection), &rq, &f);

	if (ret == 0)
		ret = dispatch_run(&call, &rq, &w, &f);
	if (call.error_class)
		f.class = call.error_class;
	if (ret < 0)
		write_failure(&w, &rq, &f);
}
/* NOLINTEND(readability-non-const-parameter) */

void qmp_reply_malformed(const struct err *why, bool pretty, struct buf *reply)
{
	struct failure f = {GENERIC, *why};
	struct qmp_request none = {0};
	struct json_writer w = json_writer(reply, pretty);

	write_failure(&w, &none, &f);
}

void qmp_greeting(bool pretty, struct buf *out)
{
	struct json_writer w = json_writer(out, pretty);

	jw_open(&w, '{');
	jw_key(&w, "QMP");
	jw_open(&w, '{');
	jw_key(&w, "version");
	qmp_write(&w, &qmp_version_type, &qmp_version);
	jw_key(&w, "capabilities");
	jw_open(&w, '[');
	jw_str(&w, "oob");
	jw_close(&w, ']');
	jw_close(&w, '}');
	jw_close(&w, '}');
}
