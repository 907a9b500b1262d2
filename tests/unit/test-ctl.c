/* test-ctl.c - minivmm-ctl: options, the settings that they stand for, the live line, the client */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/live.h"
#include "ctl/move.h"
#include "ctl/say.h"
#include "ctl/settings.h"
#include "ctl/uri.h"
#include "qmp/json.h"
#include "tests/unit/check-main.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

static const struct ctl_opt opts[] = {
    MOVE_COMMON_OPTS,
    {"postcopy", NULL, ""  },
    {"preempt",  NULL, ""  },
    {NULL,       NULL, NULL},
};
static const struct ctl_command command = {
    .name = "move", .arguments = "URI", .opts = opts, .min_words = 1, .max_words = 1};

/* Takes the words apart that stand in a line with blanks. */
static int parse(struct ctl *ctl, struct ctl_args *a, const char *line, struct err *err)
{
	static char text[400], *word[20];
	int n = 0;

	(void)snprintf(text, sizeof(text), "%s", line);
	for (char *save, *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save))
		word[n++] = w;
	*ctl = (struct ctl){0};
	return ctl_args_parse(a, &command, ctl, n, word, err);
}

START_TEST(words_and_options)
{
	struct ctl ctl;
	struct ctl_args a;
	uint64_t v = 7;

	ck_assert_int_eq(parse(&ctl, &a, "--rate=1M unix:x --json --max-pause 5 -n db", NULL), 0);
	ck_assert_int_eq(a.n_words, 1);
	ck_assert_str_eq(a.word[0], "unix:x");
	ck_assert_str_eq(ctl_opt(&a, "rate"), "1M");
	ck_assert(ctl.json && !strcmp(ctl.name, "db"));
	ck_assert_int_eq(ctl_opt_size(&a, "rate", &v, NULL), 0);
	ck_assert_uint_eq(v, MiB);
	ck_assert_int_eq(ctl_opt_number(&a, "max-pause", 6, 9, &v, NULL), -EINVAL);
	ck_assert_ptr_null(ctl_opt(&a, "postcopy"));
	ck_assert_int_eq(parse(&ctl, &a, "-- --rate", NULL), 0);
	ck_assert_str_eq(a.word[0], "--rate");
}
END_TEST

static const struct {
	const char *line, *said;
} refusals[] = {
    {"",		    "move: it needs URI"                   },
    {"a b",		 "move: unexpected argument: b"         },
    {"a --rate",            "move: --rate needs an argument, BYTES"},
    {"a --postcopy=1",      "move: --postcopy takes no argument"   },
    {"a --pos",             "move: there is no option '--pos'"     },
    {"a -x",		"move: there is no option '-x'"        },
    {"a --json=1",          "--json takes no argument"             },
    {"a --socket",          "--socket needs an argument, PATH"     },
    {"a --timeout 1000001", "--timeout 1000001: a number"          },
};

START_TEST(refused)
{
	struct ctl ctl;
	struct ctl_args a;
	struct err err = {0};

	for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
		ck_assert_int_eq(parse(&ctl, &a, refusals[i].line, &err), -EINVAL);
		ck_assert_msg(!strncmp(err.msg, refusals[i].said, strlen(refusals[i].said)), "%s",
			      err.msg);
	}
}
END_TEST

static const struct {
	const char *line, *caps, *params;
} mappings[] = {
    {"x",			    "{}",					    "{}"					    },
    {"x --postcopy",                 "{\"postcopy-ram\": true}",                      "{}"                                            },
    {"x --preempt --auto-converge",
     "{\"postcopy-ram\": true, \"postcopy-preempt\": true, \"auto-converge\": true}", "{}"                                            },
    {"x --multifd 4:zstd",           "{\"multifd\": true}",
     "{\"multifd-channels\": 4, \"multifd-compression\": \"zstd\"}"								   },
    {"x --rate 0 --max-pause 20",    "{}",					    "{\"downtime-limit\": 20, \"max-bandwidth\": 0}"},
    {"x --xbzrle-cache 1M",          "{\"xbzrle\": true}",                            "{\"xbzrle-cache-size\": 1048576}"              },
    {"x --deadline 9 --or postcopy", "{\"postcopy-ram\": true}",
     "{\"x-minivmm-deadline\": 9, \"x-minivmm-deadline-policy\": \"postcopy\"}"                                                       },
};

static char *text_of(const struct json_object *v)
{
	struct buf b = {0};
	struct json_writer w = json_writer(&b, false);

	jw_value(&w, v);
	buf_u8(&b, 0);
	return (char *)b.data;
}

START_TEST(settings_of_options)
{
	struct ctl ctl;
	struct ctl_args a;
	struct settings s;
	char *caps, *params;

	for (size_t i = 0; i < ARRAY_LEN(mappings); i++) {
		ck_assert_int_eq(parse(&ctl, &a, mappings[i].line, NULL), 0);
		ctl_settings_init(&s);
		ck_assert_int_eq(settings_read(&s, &a, NULL), 0);
		caps = text_of(s.caps);
		params = text_of(s.params);
		ck_assert_str_eq(caps, mappings[i].caps);
		ck_assert_str_eq(params, mappings[i].params);
		free(caps);
		free(params);
		settings_fini(&s);
	}
}
END_TEST

/* ---- the line ---- */

static struct figures precopy(uint64_t passes, uint64_t remaining, uint64_t dirty)
{
	struct figures f = {.status = "active",
			    .has_ram = true,
			    .has_expected = true,
			    .total = GiB,
			    .remaining = remaining,
			    .passes = passes,
			    .page_bytes = PAGE_BYTES,
			    .dirty_pages_rate = dirty / PAGE_BYTES,
			    .mbps = 800,
			    .expected_ms = 40};

	return f;
}

START_TEST(percent_never_falls)
{
	struct live v = {0};
	struct figures f;
	unsigned highest = 0;

	for (unsigned i = 0; i < 200; i++) {
		f = precopy(i / 20 + 1, (uint64_t)((i * 7919) % 1000) * MiB, 0);
		live_take(&v, &f, i * 100);
		ck_assert_uint_ge(v.percent, highest);
		ck_assert_uint_le(v.percent, 99);
		highest = v.percent;
	}
	f.has_progress = true; /* minivmm's own, too */
	f.percent = 3;
	live_take(&v, &f, 30000);
	ck_assert_uint_eq(v.percent, highest);
	(void)snprintf(f.status, sizeof(f.status), "completed");
	live_take(&v, &f, 30100);
	ck_assert_uint_eq(v.percent, 100);
}
END_TEST

START_TEST(line_of_figures)
{
	struct figures f = precopy(2, 256 * MiB, 50000000);
	struct live v = {0};
	char line[200];

	live_take(&v, &f, 1);
	live_line(&v, line, sizeof(line), 200);
	ck_assert_str_eq(line,
			 "pass 2  75 %  95.4 MiB/s  dirtied 47.7 MiB/s  pause 40 ms  5.4 s left");
	f = precopy(9, 256 * MiB, 500000000);
	live_take(&v, &f, 2);
	live_line(&v, line, sizeof(line), 200);
	ck_assert_ptr_nonnull(strstr(line, "does not converge  try auto-converge"));
	v.silent_ms = 3000;
	live_line(&v, line, sizeof(line), 200);
	ck_assert_int_eq(strncmp(line, "no answer for 3.0 s  pass 9", 27), 0);
	for (unsigned columns = 1; columns < 120; columns++) {
		live_line(&v, line, sizeof(line), columns);
		ck_assert_uint_lt(strlen(line), columns > 1 ? columns : 2);
	}
}
END_TEST

START_TEST(foreign_texts_are_clean)
{
	struct live v = {0};
	struct figures f = {
	    .has_progress = true, .has_step = true, .status = "active", .phase = "a\033[2J"};
	char line[200], text[] = "a\033[2J\x7f\n";

	(void)snprintf(f.step, sizeof(f.step), "b\r\033x");
	live_take(&v, &f, 1);
	live_line(&v, line, sizeof(line), 200);
	ck_assert_ptr_null(strpbrk(line, "\033\r"));
	ck_assert_str_eq(say_clean(text), "a?[2J??");
}
END_TEST

START_TEST(numbers)
{
	char t[SAY_BYTES];

	ck_assert_str_eq(say_size(t, 0), "0 B");
	ck_assert_str_eq(say_size(t, 999), "999 B");
	ck_assert_str_eq(say_size(t, 1536), "1.50 KiB");
	ck_assert_str_eq(say_size(t, UINT64_MAX), "16.0 EiB");
	ck_assert_str_eq(say_rate(t, 100 * MiB), "100 MiB/s");
	ck_assert_str_eq(say_ms(t, 999), "999 ms");
	ck_assert_str_eq(say_ms(t, 4200), "4.2 s");
	ck_assert_str_eq(say_ms(t, 3723000), "1:02:03");
	(void)say_ms(t, UINT64_MAX);
}
END_TEST

START_TEST(addresses)
{
	char here[200], *u = uri_absolute("tcp:h:1");

	ck_assert_str_eq(u, "tcp:h:1");
	free(u);
	ck_assert_ptr_nonnull(getcwd(here, sizeof(here)));
	u = uri_absolute("file:a/b");
	ck_assert(!strncmp(u, "file:/", 6) && strstr(u, here) && strstr(u, "/a/b"));
	free(u);
	u = uri_absolute("/none/x");
	ck_assert_str_eq(u, "file:/none/x");
	free(u);
}
END_TEST

/* ---- the client ---- */

/* What a peer says at first, and to each request; then it ends. */
static const char *const said[] = {
    "{\"QMP\": {\"version\": {\"qemu\": {\"major\": 10, \"minor\": 0, \"micro\": 3}}}}",
    "{\"return\": {}, \"id\": 1}",
    "{\"event\": \"STOP\"}{\"return\": 0, \"id\": 77}{\"return\": [1], \"id\": 2}{\"event\": "
    "\"RESUME\"}",
    "{\"error\": {\"class\": \"C\", \"desc\": \"no\"}, \"id\": 3}",
};

static void *serve(void *arg)
{
	const int *fd = arg;

	for (size_t i = 0; i < ARRAY_LEN(said); i++) {
		char c = 0;

		while (i && c != '\n' && read(*fd, &c, 1) == 1)
			;
		ck_assert_int_eq(write(*fd, said[i], strlen(said[i])), (ssize_t)strlen(said[i]));
	}
	(void)shutdown(*fd, SHUT_WR);
	return NULL;
}

START_TEST(replies_and_events)
{
	struct json_object *v = NULL, *m;
	struct err err = {0};
	struct client *c;
	pthread_t peer;
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(pthread_create(&peer, NULL, serve, &fds[1]), 0);
	c = client_open_fd(fds[0], "pair", 0, &err);
	ck_assert_msg(c, "%s", err.msg);
	ck_assert_uint_eq(client_version(c), 100003);
	ck_assert_int_eq(client_call(c, "a", NULL, &v, &err), 0);
	ck_assert_uint_eq(json_len(v), 1);
	json_free(v);
	ck_assert_int_eq(client_call(c, "b", NULL, NULL, &err), -EREMOTEIO);
	ck_assert_str_eq(err.msg, "no");
	ck_assert_str_eq(client_error_class(c), "C");
	for (unsigned i = 0; i < 2; i++) {
		v = client_event(c);
		ck_assert(json_get(v, "event", &m));
		ck_assert_str_eq(json_str(m), i ? "RESUME" : "STOP");
		json_free(v);
	}
	ck_assert_ptr_null(client_event(c));
	ck_assert_int_eq(client_call(c, "c", NULL, NULL, &err), -EPIPE);
	ck_assert(client_gone(c));
	ck_assert_int_eq(client_call(c, "d", NULL, NULL, &err), -EPIPE);
	client_close(c);
	ck_assert_int_eq(pthread_join(peer, NULL), 0);
	(void)close(fds[1]);
}
END_TEST

START_TEST(one_value_of_a_text)
{
	struct json_object *v = NULL;

	ck_assert_int_eq(json_parse("17", 2, &v, NULL), 0);
	ck_assert_int_eq(json_int(v), 17);
	json_free(v);
	ck_assert_int_eq(json_parse(" {\"a\": 1} ", 10, &v, NULL), 0);
	json_free(v);
	ck_assert_int_eq(json_parse("null", 4, &v, NULL), 0);
	ck_assert_ptr_null(v);
	ck_assert_int_eq(json_parse("{} {}", 5, &v, NULL), -EINVAL);
	ck_assert_int_eq(json_parse("{} x", 4, &v, NULL), -EINVAL);
	ck_assert_int_eq(json_parse("{", 1, &v, NULL), -EINVAL);
	ck_assert_int_eq(json_parse("", 0, &v, NULL), -EINVAL);
}
END_TEST

CHECK_MAIN("ctl", words_and_options, refused, settings_of_options, percent_never_falls,
	   line_of_figures, foreign_texts_are_clean, numbers, addresses, replies_and_events,
	   one_value_of_a_text)
