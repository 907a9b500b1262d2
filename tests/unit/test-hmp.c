/* The human monitor: lines, words, parameters, the texts that programs look for. */
#include <errno.h>

#include "qmp/command.h"
#include "qmp/hmp.h"
#include "tests/unit/check-main.h"
#include "tests/unit/qmp-rig.h"

/* ---- rows of its own ---- */

static char words[256];

/* Says what it was given: "<a><b>", '-' for what is not there. */
static int say(struct qmp_call *call, const struct hmp_args *args, struct buf *out, struct err *err)
{
	(void)call;
	(void)err;
	for (size_t i = 0; i < 3; i++)
		buf_printf(out, "<%s>", args->v[i] ? args->v[i] : "-");
	buf_printf(out, "\n");
	return 0;
}

static int refuse(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		  struct err *err)
{
	(void)call;
	(void)args;
	(void)out;
	return err_set(err, ENOENT, "no block device can store vmstate for snapshot");
}

static const struct hmp_command test_rows[] = {
    {"savevm",  "[tag]", "save", say, false},
    {"loadvm",   "tag", "load", say, false},
    {"copy|cp",    "[-f] from [to]", "copy", say, false},
    {"both",  "[-a] [-b] name", "both", say, false},
    {"broken",   NULL, "fails", refuse, false},
    {"info things",    "[name]", "things", say, false},
    {0},
};
static const struct hmp_command *const test_tables[] = {test_rows, NULL};

#define KNOWN "there are: help, info, savevm, loadvm, copy|cp, both, broken\r\n"

static const struct {
	const char *line, *text;
} lines[] = {
    {"",			   ""								       },
    {" \t ",		       ""								       },
    {"savevm",		     "<-><-><->\r\n"							  },
    {" savevm\ta ",                "<a><-><->\r\n"							  },
    {"savevm \"a b\"",             "<a b><-><->\r\n"							},
    {"savevm \"a\\\"\\\\n\\n\"",   "<a\"\\n\r\n><-><->\r\n"                                                 },
    {"savevm \"\"",                "<><-><->\r\n"							   },
    {"savevm a\"b",                "<a\"b><-><->\r\n"						       },
    {"savevm \"a",                 "unterminated string in: savevm \"a\r\n"                                 },
    {"savevm \"a\\",               "unterminated string in: savevm \"a\\\r\n"                               },
    {"loadvm",		     "loadvm: string expected\r\nTry \"help loadvm\" for more information\r\n"},
    {"loadvm a b",
     "loadvm: extraneous characters at the end of line\r\nTry \"help loadvm\" for more "
     "information\r\n"										      },
    {"cp a",		       "<-><a><->\r\n"							  },
    {"copy a b",		   "<-><a><b>\r\n"							  },
    {"copy -f a",		  "<><a><->\r\n"							   },
    {"copy -g a",		  "<-><-g><a>\r\n"							 },
    {"both -b -a x",               "<><><x>\r\n"							    },
    {"both -b x",		  "<-><><x>\r\n"							   },
    {"copy -f",		    "copy|cp: string expected\r\nTry \"help copy\" for more information\r\n" },
    {"copy|cp a",		  "unknown command: 'copy|cp'\r\n" KNOWN                                   },
    {"c a",			"unknown command: 'c'\r\n" KNOWN                                         },
    {"broken",		     "Error: no block device can store vmstate for snapshot\r\n"              },
    {"nope",		       "unknown command: 'nope'\r\n" KNOWN                                      },
    {"\"info things\"",            "unknown command: 'info things'\r\n" KNOWN                               },
    {"info things",                "<-><-><->\r\n"							  },
    {"info things x",              "<x><-><->\r\n"							  },
    {"info nope",		  "unknown command: 'info nope'\r\ninfo knows: things\r\n"                 },
    {"info",		       "info things [name] -- things\r\n"                                       },
    {"help info",		  "info things [name] -- things\r\n"                                       },
    {"help loadvm",                "loadvm tag -- load\r\n"						 },
    {"? cp",		       "copy|cp [-f] from [to] -- copy\r\n"                                     },
    {"help nope",		  "unknown command: 'nope'\r\n" KNOWN                                      },
    {"help",		       "savevm [tag] -- save\r\nloadvm tag -- load\r\ncopy|cp [-f] from [to] -- copy\r\n"
	     "both [-a] [-b] name -- both\r\nbroken  -- "
	     "fails\r\n"									},
    {"1 2 3 4 5 6 7 8 9 10 11 12", "too many words: 12\r\n"                                                 },
};

START_TEST(texts)
{
	struct qmp_call call = {0};

	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct buf out = {0};

		hmp_run_in(&call, test_tables, lines[i].line, &out);
		buf_u8(&out, '\0');
		ck_assert_str_eq((const char *)out.data, lines[i].text);
		buf_free(&out);
	}
}
END_TEST

/* ---- what there is, over QMP ---- */

static const char *human(struct peer *p, const char *line)
{
	(void)snprintf(words, sizeof(words),
		       "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":"
		       "\"%s\"}}",
		       line);
	return peer_ask(p, words);
}

#define TEXT(s) "{\"return\": \"" s "\"}\r\n"

START_TEST(over_qmp)
{
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0);
	const char *said;

	ck_assert_str_eq(human(p, "info status"), TEXT("VM status: paused (prelaunch)\\r\\n"));
	ck_assert_str_eq(human(p, "info uuid"), TEXT("00000000-0000-0000-0000-000000000000\\r\\n"));
	ck_assert_str_eq(human(p, "info name"), TEXT(""));
	ck_assert_str_eq(human(p, "info block"), TEXT(""));
	ck_assert_str_eq(human(p, "info migrate"), TEXT(""));
	ck_assert_str_eq(human(p, "info vm-generation-id"), TEXT(""));
	ck_assert_ptr_nonnull(strstr(human(p, "info version"), "\"7.2.0"));
	ck_assert_ptr_nonnull(strstr(human(p, "info"), "info status  -- show"));
	ck_assert_ptr_nonnull(strstr(human(p, "help"), "stop|s  -- stop"));
	said = human(p, "device_add x");
	ck_assert_ptr_nonnull(
	    strstr(said, "\"unknown command: 'device_add'\\r\\nthere are: help, info, cont|c, "));
	ck_assert_str_eq(human(p, "stop"), TEXT(""));
	ck_assert_str_eq(human(p, "stop now"),
			 TEXT("stop|s: extraneous characters at the end of line\\r\\nTry \\\"help "
			      "stop\\\" for more information\\r\\n"));
	rig_free(r);
}
END_TEST

/* The words of a QMP command that fails are the text. */
START_TEST(refusals)
{
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0);

	r->m.state = RS_POSTMIGRATE;
	machine_set_handed(&r->m, "unix:/there", true);
	ck_assert_ptr_nonnull(strstr(human(p, "c"), "\"Error: "));
	ck_assert_str_eq(human(p, "info status"), TEXT("VM status: paused (postmigrate)\\r\\n"));
	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"human-monitor-command\",\"arguments\":{"
				     "\"command-line\":\"info status\",\"cpu-index\":0}}"),
			 "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Parameter "
			 "'cpu-index' expects a CPU number\"}}\r\n");
	rig_free(r);
}
END_TEST

CHECK_MAIN("hmp", texts, over_qmp, refusals)
