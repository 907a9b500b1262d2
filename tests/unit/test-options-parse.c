/* Lists, JSON and scalars of the command line, and hostile values of every option. */
#include <errno.h>

#include "tests/unit/options-run.h"
#include "vmm/base/identifier.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

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

static void expect_pairs(const char *text, const char *pairs)
{
	struct keyvals kv = {0};
	struct err err = {0};
	char *got;

	ck_assert_msg(opt_split_json(&kv, text, &err) == 0, "%s: %s", text, err.msg);
	got = joined(&kv);
	ck_assert_str_eq(got, pairs);
	free(got);
	keyvals_fini(&kv);
}

static void expect_json_refused(const char *text, const char *msg)
{
	struct keyvals kv = {0};
	struct err err = {0};

	ck_assert_int_lt(opt_split_json(&kv, text, &err), 0);
	ck_assert_str_eq(err.msg, msg);
	keyvals_fini(&kv);
}

START_TEST(json)
{
	if (jsons[_i].pairs)
		expect_pairs(jsons[_i].text, jsons[_i].pairs);
	else
		expect_json_refused(jsons[_i].text, jsons[_i].msg);
}
END_TEST

/* text, repeated n times, between head and tail; returns owned. */
static char *repeated(const char *head, const char *text, size_t n, const char *tail)
{
	char *out = xcalloc(strlen(head) + strlen(text) * n + strlen(tail) + 1, 1);
	char *at = stpcpy(out, head);

	while (n-- > 0)
		at = stpcpy(at, text);
	(void)stpcpy(at, tail);
	return out;
}

static void expect_bound(char *text, const char *msg)
{
	expect_json_refused(text, msg);
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
	expect_bound(repeated("{\"a\":", "[", OPT_JSON_DEPTH, "1]}"),
		     "JSON nesting depth limit exceeded");
	expect_bound(repeated("{\"a\":", "[", 100000, ""), "JSON nesting depth limit exceeded");
	expect_bound(repeated("{\"a\":[", "1,", 1000, "1]}"), "more than 512 parameters");
	expect_bound(repeated("{\"", "k", 256, "\":1}"),
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
    {"1P",			       0,       1ULL << 50			    },
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

static void expect_bool(const char *text, int ret, bool value)
{
	bool v = !value;

	ck_assert_int_eq(opt_parse_bool(text, &v), ret);
	ck_assert(ret < 0 || v == value);
}

START_TEST(booleans)
{
	static const char *const yes[] = {"on", "yes", "true", "y"};
	static const char *const no[] = {"off", "no", "false", "n"};
	static const char *const neither[] = {"", "ON", "1", "o", "onn", "on|yes", "|"};

	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		expect_bool(yes[i], 0, true);
		expect_bool(no[i], 0, false);
	}
	for (size_t i = 0; i < ARRAY_LEN(neither); i++)
		expect_bool(neither[i], -EINVAL, true);
}
END_TEST

START_TEST(words)
{
	static const char *const ids[] = {"a", "Z9-._x", "microvm.ram"};
	static const char *const others[] = {"", "9", "a b", "\xc3\xa9", "_a", "-a", "a,"};

	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		ck_assert(identifier_well_formed(ids[i]));
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		ck_assert(!identifier_well_formed(others[i]));
	ck_assert_int_eq(opt_word_index("a|bc|d", "bc", 2), 1);
	ck_assert_int_eq(opt_word_index("a|bc|d", "b", 1), -1);
	ck_assert_int_eq(opt_word_index("a|bc|d", "", 0), -1);
	ck_assert_int_eq(opt_word_index("", "", 0), -1);
}
END_TEST

START_TEST(help_words)
{
	ck_assert(opt_wants_help("help"));
	ck_assert(opt_wants_help("x,help"));
	ck_assert(opt_wants_help("?"));
	ck_assert(!opt_wants_help(""));
	ck_assert(!opt_wants_help("x=help"));
	ck_assert(!opt_wants_help("helper"));
}
END_TEST

/* Every option is given a hostile value: a sentence or success, nothing else. */
static void try_hostile(const char *name, char *value)
{
	char program[] = "minivmm", option[64];
	char *argv[] = {program, option, value, NULL};
	struct config cfg;
	struct err err = {.msg = "untouched"};
	int ret;

	(void)snprintf(option, sizeof(option), "-%s", name);
	ret = options_parse(&cfg, &device_table, 3, argv, &err);
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
	    opt_word_index("h|help|version|man|completion|completion-zsh", r->name,
			   strlen(r->name)) < 0) {
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

static Suite *suite(void)
{
	Suite *s = suite_create("options-parse");
	TCase *tc = tcase_create("parse");
	int rows = 0;

	while (option_table[rows].name)
		rows++;
	tcase_set_timeout(tc, 60); /* a guard against hangs, not a speed limit */
	tcase_add_loop_test(tc, split, 0, (int)ARRAY_LEN(lists));
	tcase_add_loop_test(tc, json, 0, (int)ARRAY_LEN(jsons));
	tcase_add_test(tc, json_bounds);
	tcase_add_test(tc, list_bounds);
	tcase_add_loop_test(tc, size, 0, (int)ARRAY_LEN(sizes));
	tcase_add_test(tc, booleans);
	tcase_add_test(tc, words);
	tcase_add_test(tc, help_words);
	tcase_add_loop_test(tc, hostile, 0, rows);
	tcase_add_test(tc, long_value);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(suite());
}
