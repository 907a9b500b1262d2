/* Lists, JSON and scalars of the command line; hostile values; the texts made from the table. */
#include <check.h>
#include <errno.h>
#include <stdio.h>

#include "tests/unit/options-run.h"
#include "vmm/base/units.h"
#include "vmm/options-int.h"

/* "a=b|c=d" of the pairs; returns owned. */
static char *joined(const struct keyvals *kv)
{
	char *out = xstrdup("");

	for (size_t i = 0; i < kv->n; i++) {
		char *next = xasprintf("%s%s%s=%s", out, i ? "|" : "", kv->v[i].key, kv->v[i].val);

		free(out);
		out = next;
	}
	return out;
}

static const struct {
	const char *text, *implied, *pairs;
} lists[] = {
    {"",	   "k",  ""         },
    {"v",	  "k",  "k=v"      },
    {"v",	  NULL, "v=on"     },
    {"nov",        NULL, "v=off"    },
    {"no",         NULL, "no=on"    },
    {"v,",         "k",  "k=v"      },
    {"a=b,c=d",    NULL, "a=b|c=d"  },
    {"a=b,,c,d=",  NULL, "a=b,c|d=" },
    {"a,,b,c=d",   "k",  "k=a,b|c=d"},
    {"a=b=c",      "k",  "a=b=c"    },
    {"a=,,,,,b=1", NULL, "a=,,|b=1" },
    {"a=b,a=c",    NULL, "a=b|a=c"  },
    {",a=b",       "k",  "k=|a=b"   },
};

START_TEST(split)
{
	struct keyvals kv = {0};
	struct err err = {0};
	char *got;

	ck_assert_int_eq(opt_split(&kv, lists[_i].text, lists[_i].implied, false, &err), 0);
	got = joined(&kv);
	ck_assert_str_eq(got, lists[_i].pairs);
	free(got);
	keyvals_fini(&kv);
}
END_TEST

#define GOOD(text, pairs)                                                                          \
	{                                                                                          \
		(text), (pairs), NULL                                                              \
	}
#define REFUSED(text, msg)                                                                         \
	{                                                                                          \
		(text), NULL, (msg)                                                                \
	}
#define BAD(text, msg) REFUSED(text, "JSON parse error, " msg)

static const struct {
	const char *text, *pairs; /* NULL: refused */
	const char *msg;
} jsons[] = {
    GOOD("{}", ""),
    GOOD(" { } ", ""),
    GOOD("{\"a\":\"b\"}", "a=b"),
    GOOD("{'a':'b\\'c'}", "a=b'c"),
    GOOD("{\"a\":true,\"b\":false,\"c\":-1,\"d\":1.5e3}", "a=on|b=off|c=-1|d=1.5e3"),
    GOOD("{\"a\":{\"b\":{\"c\":1},\"d\":2},\"e\":3}", "a.b.c=1|a.d=2|e=3"),
    GOOD("{\"a\":[1,[2],{\"x\":3}],\"b\":[]}", "a.0=1|a.1.0=2|a.2.x=3"),
    GOOD("{\"a\":\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\\n\\/\"}",
	 "a=A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\n/"),
    GOOD("{\"a\":\"b,c=d\"}", "a=b,c=d"),
    BAD("", "premature EOI"),
    BAD("[]", "expecting value"),
    BAD("{", "premature EOI"),
    BAD("{\"a", "premature EOI"),
    BAD("{\"a\"", "premature EOI"),
    BAD("{\"a\":", "premature EOI"),
    BAD("{\"a\":1", "premature EOI"),
    BAD("{\"a\":\"\\", "premature EOI"),
    BAD("{\"a\" 1}", "missing : in object pair"),
    BAD("{\"a\":1,}", "expecting value"),
    BAD("{\"a\":}", "expecting value"),
    BAD("{\"a\":[1,]}", "expecting value"),
    BAD("{\"a\":[1}", "expecting value"),
    BAD("{,}", "expecting value"),
    BAD("{a:1}", "expecting value"),
    BAD("{\"a\":nope}", "invalid keyword 'nope'"),
    BAD("{\"a\":0x10}", "invalid keyword '0x10'"),
    REFUSED("{\"a\":null}", "Parameter 'a' does not accept null"),
    BAD("{\"a\":1,\"a\":2}", "duplicate key"),
    BAD("{\"a\":\"\\q\"}", "invalid escape sequence in string"),
    BAD("{\"a\":\"\\u12\"}", "invalid escape sequence in string"),
    BAD("{\"a\":\"\\u0000\"}", "\\u0000 is not a valid Unicode character"),
    BAD("{\"a\":\"\\ud800\"}", "\\ud800 is not a valid Unicode character"),
    BAD("{\"a\":\"\n\"}", "stray control character in string"),
    REFUSED("{}{}", "Expecting at most one JSON value"),
};

START_TEST(json)
{
	struct keyvals kv = {0};
	struct err err = {0};
	int ret = opt_split_json(&kv, jsons[_i].text, &err);

	if (jsons[_i].pairs) {
		char *got = joined(&kv);

		ck_assert_msg(ret == 0, "%s: %s", jsons[_i].text, err.msg);
		ck_assert_str_eq(got, jsons[_i].pairs);
		free(got);
	} else {
		ck_assert_int_eq(ret, -EINVAL);
		ck_assert_str_eq(err.msg, jsons[_i].msg);
	}
	keyvals_fini(&kv);
}
END_TEST

/* text, repeated n times, between head and tail; returns owned. */
static char *repeated(const char *head, const char *text, size_t n, const char *tail)
{
	size_t len = strlen(text), at = strlen(head);
	char *out = xcalloc(at + len * n + strlen(tail) + 1, 1);

	memcpy(out, head, at);
	for (size_t i = 0; i < n; i++, at += len)
		memcpy(out + at, text, len);
	memcpy(out + at, tail, strlen(tail));
	return out;
}

static void expect_json_refused(char *text, const char *msg)
{
	struct keyvals kv = {0};
	struct err err = {0};

	ck_assert_int_lt(opt_split_json(&kv, text, &err), 0);
	ck_assert_str_eq(err.msg, msg);
	keyvals_fini(&kv);
	free(text);
}

START_TEST(json_bounds)
{
	struct keyvals kv = {0};
	struct err err = {0};
	char *ok = repeated("{\"a\":", "[", OPT_JSON_DEPTH - 1, "1"), *full;

	full = repeated(ok, "]", OPT_JSON_DEPTH - 1, "}");
	ck_assert_msg(opt_split_json(&kv, full, &err) == 0, "%s", err.msg);
	keyvals_fini(&kv);
	free(ok);
	free(full);
	expect_json_refused(repeated("{\"a\":", "[", OPT_JSON_DEPTH, "1]}"),
			    "JSON nesting depth limit exceeded");
	expect_json_refused(repeated("{\"a\":", "[", 100000, ""),
			    "JSON nesting depth limit exceeded");
	expect_json_refused(repeated("{\"a\":[", "1,", 1000, "1]}"), "more than 512 parameters");
	expect_json_refused(repeated("{\"", "k", 256, "\":1}"),
			    "JSON member name is longer than 255 bytes");
}
END_TEST

START_TEST(list_bounds)
{
	struct keyvals kv = {0};
	struct err err = {0};
	char *text = repeated("", "a=1,", OPT_MAX_PAIRS, ""), *more;

	ck_assert_int_eq(opt_split(&kv, text, NULL, false, &err), 0);
	ck_assert_uint_eq(kv.n, OPT_MAX_PAIRS);
	keyvals_fini(&kv);
	more = repeated(text, "a=1", 1, "");
	ck_assert_int_eq(opt_split(&kv, more, NULL, false, &err), -E2BIG);
	keyvals_fini(&kv);
	free(text);
	free(more);
}
END_TEST

static const struct {
	const char *text;
	int ret;
	uint64_t value;
} sizes[] = {
    {"0",				0,       0				     },
    {"1",				0,       1				     },
    {"512b",			     0,       512				   },
    {"4k",			       0,       4096				  },
    {"4K",			       0,       4096				  },
    {"1M",			       0,       MiB				   },
    {"2G",			       0,       2 * GiB			       },
    {"1T",			       0,       1024 * GiB			    },
    {"1P",			       0,       1024 * 1024 * GiB                     },
    {"15E",			      0,       15ULL << 60			   },
    {"16E",			      -ERANGE, 0				     },
    {"0x1000",			   0,       4096				  },
    {"0xffffffffffffffff",               0,       UINT64_MAX                            },
    {"0x10000000000000000",              -ERANGE, 0                                     },
    {"18446744073709551615",             0,       UINT64_MAX                            },
    {"18446744073709551616",             -ERANGE, 0                                     },
    {"1.5k",			     0,       1536				  },
    {"0.5G",			     0,       GiB / 2			       },
    {"0.0001k",			  0,       0				     },
    {"1.99999999999999999999999999999k", 0,       2047                                  },
    {"15.999999999999999999E",           0,       (15ULL << 60) + 1152921504606846974ULL},
    {"1.k",			      -EINVAL, 0				     },
    {".5k",			      -EINVAL, 0				     },
    {"1.5",			      -EINVAL, 0				     },
    {"1.5b",			     -EINVAL, 0				     },
    {"1.5.5k",			   -EINVAL, 0				     },
    {"",				 -EINVAL, 0				     },
    {"k",				-EINVAL, 0				     },
    {"-1",			       -EINVAL, 0				     },
    {"+1",			       -EINVAL, 0				     },
    {" 1",			       -EINVAL, 0				     },
    {"1 ",			       -EINVAL, 0				     },
    {"1kk",			      -EINVAL, 0				     },
    {"0x",			       -EINVAL, 0				     },
    {"0xg",			      -EINVAL, 0				     },
    {"1x",			       -EINVAL, 0				     },
    {"inf",			      -EINVAL, 0				     },
    {"1e3",			      -EINVAL, 0				     },
};

START_TEST(size)
{
	uint64_t v = 42;

	ck_assert_int_eq(opt_parse_size(sizes[_i].text, &v), sizes[_i].ret);
	ck_assert_uint_eq(v, sizes[_i].ret ? 42 : sizes[_i].value);
}
END_TEST

START_TEST(scalars)
{
	static const char *const yes[] = {"on", "yes", "true", "y"};
	static const char *const no[] = {"off", "no", "false", "n"};
	static const char *const neither[] = {"", "ON", "1", "o", "onn", "on|yes", "|"};
	bool v;

	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		v = false;
		ck_assert_int_eq(opt_parse_bool(yes[i], &v), 0);
		ck_assert(v);
		ck_assert_int_eq(opt_parse_bool(no[i], &v), 0);
		ck_assert(!v);
	}
	for (size_t i = 0; i < ARRAY_LEN(neither); i++)
		ck_assert_int_eq(opt_parse_bool(neither[i], &v), -EINVAL);
	ck_assert(opt_is_id("a") && opt_is_id("Z9-._x"));
	ck_assert(!opt_is_id("") && !opt_is_id("9") && !opt_is_id("a b") && !opt_is_id("\xc3\xa9"));
	ck_assert_int_eq(opt_word_index("a|bc|d", "bc", 2), 1);
	ck_assert_int_eq(opt_word_index("a|bc|d", "b", 1), -1);
	ck_assert_int_eq(opt_word_index("a|bc|d", "", 0), -1);
	ck_assert_int_eq(opt_word_index("", "", 0), -1);
	ck_assert(opt_wants_help("help") && opt_wants_help("x,help") && opt_wants_help("?"));
	ck_assert(!opt_wants_help("") && !opt_wants_help("x=help") && !opt_wants_help("helper"));
}
END_TEST

/* Every option is given a value that nobody would: a sentence or success, nothing else. */
static void try_hostile(const char *name, char *value)
{
	char program[] = "minivmm", option[64];
	char *argv[] = {program, option, value, NULL};
	struct config cfg;
	struct err err = {.msg = "untouched"};
	int ret;

	(void)snprintf(option, sizeof(option), "-%s", name);
	ret = options_parse(&cfg, 3, argv, &err);
	ck_assert(ret <= 1);
	if (ret < 0) {
		ck_assert_str_ne(err.msg, "untouched");
		ck_assert_int_eq(ret, -err.errnum);
	}
	config_fini(&cfg);
}

START_TEST(hostile)
{
	static const char *const values[] = {
	    "",          ",",
	    ",,",        "=",
	    "=,",        "a=",
	    "{",         "{}",
	    "{\"a\":1}", ":",
	    "::",        "a,b",
	    ",=",        "[",
	    "id=",       "-",
	    "\n",        "%n%s",
	    "\xff\xfe",  "unix:",
	    "tcp:",      "none",
	    "x,,,,y=",   "tcp:[]:",
	    "tcp:[:",    "tcp:]:1",
	    "unix:,",    "chardev:",
	    "mon:",      "mon:chardev:x",
	    "0x",        "{\"id\":\"a\",\"driver\":[]}",
	    "a.b=",      ".=",
	    "a.=b",      "=.b=c",
	};
	const struct opt_row *r = &option_table[_i];
	char *big = repeated("", "x", 10000, ""), *pairs = repeated("", "id=a,", 10000, "");
	char *lots = repeated("cpus=", "9", 10000, ""),
	     *object = repeated("{\"a\":\"", "y", 10000, "\"}");

	if (r->kind != OPT_ROW_HEADING &&
	    opt_word_index("h|help|version|man", r->name, strlen(r->name)) < 0) {
		for (size_t i = 0; i < ARRAY_LEN(values); i++) {
			char *copy = xstrdup(values[i]);

			try_hostile(r->name, copy);
			free(copy);
		}
		try_hostile(r->name, big);
		try_hostile(r->name, pairs);
		try_hostile(r->name, lots);
		try_hostile(r->name, object);
	}
	free(big);
	free(pairs);
	free(lots);
	free(object);
}
END_TEST

/* A long value is quoted in part, and the words that matter are still there. */
START_TEST(long_value)
{
	struct config cfg;
	struct err err = {0};
	char *line = repeated("-M microvm,rtc=", "x", 10000, "");

	ck_assert_int_eq(run_options(&cfg, line, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "...: Parameter 'rtc' does not accept value 'xxx"));
	config_fini(&cfg);
	free(line);
}
END_TEST

/* ---- texts ---- */

static char *text_of(void (*print)(FILE *))
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	ck_assert_ptr_nonnull(f);
	print(f);
	ck_assert_int_eq(fclose(f), 0);
	return text;
}

START_TEST(texts)
{
	char *help = text_of(opt_print_help), *man = text_of(opt_print_man);
	char *version = text_of(opt_print_version);

	ck_assert_ptr_eq(strstr(help, version), help);
	ck_assert_int_eq(strncmp(version, "minivmm ", 8), 0);
	for (const struct opt_row *r = option_table; r->name; r++) {
		CLEANUP(cleanup_free) char *name = xasprintf("\n-%s", r->name);

		ck_assert_ptr_nonnull(r->help ? r->help : "a heading");
		ck_assert_ptr_nonnull(strstr(man, r->kind == OPT_ROW_HEADING ? ".SS " : ".TP\n"));
		if (r->kind != OPT_ROW_HEADING && r->kind != OPT_ROW_REFUSED)
			ck_assert_msg(strstr(help, name) != NULL, "-%s is not in the help",
				      r->name);
	}
	for (char *line = help; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		ck_assert_uint_le(strcspn(line, "\n"), 79);
	}
	free(help);
	free(man);
	free(version);
}
END_TEST

/* Rows are well formed and their names are unique. */
START_TEST(table)
{
	for (const struct opt_row *r = option_table; r->name; r++) {
		ck_assert(r->kind != OPT_ROW_HANDLE || r->handle);
		ck_assert(r->kind != OPT_ROW_LIST || (r->lists && r->lists[0] && r->arg));
		ck_assert(r->kind == OPT_ROW_HEADING || r->help);
		for (const struct opt_row *o = option_table; o != r; o++)
			ck_assert_str_ne(o->name, r->name);
		for (size_t i = 0; r->lists && r->lists[i]; i++) {
			for (const struct opt_prop *p = r->lists[i]->props; p->key; p++) {
				ck_assert(!p->only || p->why);
				ck_assert(p->kind != OPT_CALL || p->set);
				ck_assert(p->kind != OPT_ENUM || p->values);
				ck_assert(p->kind != OPT_REFUSED || p->why);
			}
		}
	}
}
END_TEST

/* The hand-written page speaks of every option of the table. */
START_TEST(page)
{
	FILE *f = fopen("docs/command-line.md", "r");
	char *text = xcalloc(1, MiB);
	size_t n;

	ck_assert_msg(f != NULL, "docs/command-line.md: run from the top of the tree");
	n = fread(text, 1, MiB - 1, f);
	ck_assert_uint_gt(n, 0);
	ck_assert_int_eq(fclose(f), 0);
	for (const struct opt_row *r = option_table; r->name; r++) {
		CLEANUP(cleanup_free) char *plain = xasprintf("`-%s`", r->name);
		CLEANUP(cleanup_free) char *with_argument = xasprintf("`-%s ", r->name);

		if (r->kind != OPT_ROW_HEADING)
			ck_assert_msg(strstr(text, plain) || strstr(text, with_argument),
				      "-%s is not on the page", r->name);
	}
	free(text);
}
END_TEST

static const char *const text_requests[] = {
    "-help",
    "-h",
    "--version",
    "-man",
    "-machine help",
    "-M microvm,help",
    "-accel help",
    "-device help",
    "-object help",
    "-chardev help",
    "-netdev help",
    "-device virtio-blk-device,help",
    "-object memory-backend-ram,help",
    "-help -zz",
};

START_TEST(text_only)
{
	struct config cfg;

	ck_assert_int_eq(run_options(&cfg, text_requests[_i], NULL), 1);
	ck_assert(!cfg.help_cpu);
	config_fini(&cfg);
}
END_TEST

START_TEST(cpu_help)
{
	struct config cfg;

	ck_assert_int_eq(run_options(&cfg, "-append x -cpu help -zz", NULL), 0);
	ck_assert(cfg.help_cpu);
	config_fini(&cfg);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("options-parse");
	TCase *tc = tcase_create("parse");
	int rows = 0;

	while (option_table[rows].name)
		rows++;
	tcase_set_timeout(tc, 0);
	tcase_add_loop_test(tc, split, 0, (int)ARRAY_LEN(lists));
	tcase_add_loop_test(tc, json, 0, (int)ARRAY_LEN(jsons));
	tcase_add_test(tc, json_bounds);
	tcase_add_test(tc, list_bounds);
	tcase_add_loop_test(tc, size, 0, (int)ARRAY_LEN(sizes));
	tcase_add_test(tc, scalars);
	tcase_add_loop_test(tc, hostile, 0, rows);
	tcase_add_test(tc, long_value);
	tcase_add_test(tc, texts);
	tcase_add_test(tc, table);
	tcase_add_test(tc, page);
	tcase_add_loop_test(tc, text_only, 0, (int)ARRAY_LEN(text_requests));
	tcase_add_test(tc, cpu_help);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	SRunner *sr = srunner_create(suite());
	int failed;

	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
