/*
 * shell.c - QMP commands line by line: minivmm-ctl shell
 *
 * On a terminal lines are edited (shell-terminal.c). From a file or a pipe each is carried out in
 * turn, and the first that fails ends it: what stands behind it was written for what it should have
 * done.
 */
#include "ctl/shell.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/commands.h"
#include "ctl/dictionary.h"
#include "ctl/say.h"
#include "ctl/shell-line.h"
#include "qmp/json.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define LINE_MAX_BYTES (16U << 20)

void shell_put(const char *fmt, ...)
{
	CLEANUP(cleanup_free) char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n >= 0)
		(void)fputs(say_clean(text), stdout);
	else
		text = NULL;
}

/* ---- events ---- */

/* "12:03:04.123", of the peer's clock; "" without. */
static void event_time(const struct json_object *event, char *out, size_t n)
{
	struct json_object *stamp, *s, *us;
	struct tm tm;
	time_t at;

	*out = '\0';
	if (!json_get(event, "timestamp", &stamp) || json_kind(stamp) != JSON_OBJECT ||
	    !json_get(stamp, "seconds", &s) || json_kind(s) != JSON_INT ||
	    !json_get(stamp, "microseconds", &us) || json_kind(us) != JSON_INT)
		return;
	at = (time_t)json_int(s);
	if (!localtime_r(&at, &tm) || json_int(us) < 0 || json_int(us) > 999999)
		return;
	n -= strftime(out, n, "%H:%M:%S", &tm);
	(void)snprintf(out + strlen(out), n, ".%03d ", (int)(json_int(us) / 1000));
}

static void print_event(struct shell *s, const struct json_object *event)
{
	CLEANUP(buf_free) struct buf text = {0};
	struct json_writer w = json_writer(&text, false);
	struct json_object *name, *data;
	char when[32];

	if (s->ctl->json) {
		say_value(s->ctl, event);
		return;
	}
	if (!json_get(event, "event", &name) || json_kind(name) != JSON_STRING)
		return;
	if (json_get(event, "data", &data))
		jw_value(&w, data);
	buf_u8(&text, 0);
	event_time(event, when, sizeof(when));
	shell_put("-- %s%s%s%s", when, json_str(name), *text.data ? " " : "",
		  (const char *)text.data);
	(void)printf("\n");
}

void shell_print_events(struct shell *s)
{
	struct json_object *event;

	while ((event = client_event(s->client)) != NULL) {
		print_event(s, event);
		json_free(event);
	}
	(void)fflush(stdout);
}

/* ---- one line ---- */

static void list_commands(const struct dictionary *d)
{
	const char *name;

	(void)printf(
	    "NAME=VALUE ... behind a command, or a line of JSON; 'help COMMAND' says what one "
	    "takes, 'exit' leaves.\n\n");
	for (size_t i = 0; (name = dictionary_command_at(d, i)) != NULL; i++)
		say_text("%s", name);
}

/* The shell's own lines. False: it is none of them. */
static bool own_line(struct shell *s, const char *line, bool *ok)
{
	CLEANUP(shell_words_free) struct shell_words w = shell_split(line, strlen(line));
	const char *first = w.n && !w.v[0].value ? w.v[0].name : "";

	*ok = true;
	if (!w.n || *first == '#')
		return true;
	if (strcmp(first, "exit") == 0 && w.n == 1) {
		s->left = true;
		return true;
	}
	if (strcmp(first, "help") != 0 || w.n > 2)
		return false;
	if (w.n == 1)
		list_commands(s->dictionary);
	else
		*ok = shell_help(s->dictionary, w.v[1].name);
	return true;
}

static bool is_quit(const struct json_object *request)
{
	struct json_object *m;

	return json_kind(request) == JSON_OBJECT && json_get(request, "execute", &m) &&
	       json_kind(m) == JSON_STRING && strcmp(json_str(m), "quit") == 0;
}

bool shell_run_line(struct shell *s, const char *line)
{
	CLEANUP(cleanup_json) struct json_object *value = NULL;
	struct json_object *request = NULL;
	struct err err = {0};
	bool ok;
	int ret;

	if (own_line(s, line, &ok)) {
		s->status = ok ? s->status : CTL_USAGE;
		return ok;
	}
	ret = shell_request(s->dictionary, line, &request, &err);
	if (ret < 0) {
		s->status = say_error(s->ctl, CTL_USAGE, "%s", err.msg);
		return false;
	}
	s->quitting = is_quit(request);
	ret = client_call_request(s->client, request, &value, &err);
	if (ret < 0) {
		s->quitting = false;
		s->status = say_call_error(s->ctl, ret, &err);
		return false;
	}
	say_value(s->ctl, value);
	return true;
}

/* ---- from a file or a pipe ---- */

static int batch(struct shell *s)
{
	CLEANUP(cleanup_free) char *line = NULL;
	size_t room = 0, number = 0;
	ssize_t n;

	while (!s->left && (n = getline(&line, &room, stdin)) >= 0) {
		number++;
		if ((size_t)n > LINE_MAX_BYTES)
			return say_error(s->ctl, CTL_USAGE, "line %zu is longer than 16 MiB",
					 number);
		if (n && line[n - 1] == '\n')
			line[n - 1] = '\0';
		if (!shell_run_line(s, line)) {
			say_note(s->ctl, "line %zu failed, and what is behind it was not done",
				 number);
			return s->status;
		}
		shell_print_events(s);
		if (client_gone(s->client) && !s->quitting)
			return say_error(s->ctl, CTL_UNKNOWN, "the peer has ended the connection");
	}
	return CTL_DONE;
}

static int shell_run(struct ctl *ctl, const struct ctl_args *args)
{
	struct shell s = {.ctl = ctl, .terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)};
	struct json_object *schema;
	struct err err = {0};
	int status = CTL_DONE;

	(void)args;
	s.client = ctl_client(ctl, &status);
	if (!s.client)
		return status;
	schema = client_schema(s.client, &err);
	if (!schema)
		say_note(ctl, "without completion and help: " ERR_WITHIN, err.msg);
	s.dictionary = dictionary_new(schema);
	status = s.terminal ? shell_terminal(&s) : batch(&s);
	dictionary_free(s.dictionary);
	return status;
}

const struct ctl_command ctl_shell_command = {
    .name = "shell",
    .arguments = "",
    .help =
	"QMP commands line by line, with completion and history; from a pipe one after the other",
    .run = shell_run};
