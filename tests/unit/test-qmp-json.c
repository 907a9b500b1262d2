/* The JSON reader and writer: every malformed text of qmp-surface 1.3, limits, split points. */
#include <check.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qmp/json.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"

/* What a text produces, a line each: a value as it is written again, or "! error". */
static void read_all(struct json_reader *r, const uint8_t *p, size_t n, struct buf *out)
{
	while (n) {
		struct json_object *v = NULL;
		struct err err = {0};
		size_t used;

		switch (json_reader_feed(r, p, n, &used, &v, &err)) {
		case JSON_VALUE: {
			struct json_writer w = json_writer(out, false);

			jw_value(&w, v);
			buf_u8(out, '\n');
			json_free(v);
			break;
		}
		case JSON_ERROR:
			buf_printf(out, "! %s\n", err.msg);
			break;
		case JSON_MORE:
			ck_assert_uint_eq(used, n);
			break;
		}
		p += used;
		n -= used;
	}
}

static char *result_of(const char *text, size_t n, size_t chunk)
{
	struct json_reader *r = json_reader_new();
	struct buf out = {0};

	for (size_t at = 0; at < n; at += chunk)
		read_all(r, (const uint8_t *)text + at, n - at < chunk ? n - at : chunk, &out);
	buf_u8(&out, 0);
	json_reader_free(r);
	return (char *)out.data;
}

#define PARSE "! JSON parse error, "
#define VALUE PARSE "expecting value\n"

struct row {
	const char *text, *want;
	size_t len; /* 0: strlen(text) */
};

/* Bytes that the program has allocated and not freed. */
static size_t in_use(void)
{
	struct mallinfo2 mi = mallinfo2();

	return mi.uordblks + mi.hblkhd;
}

/* The reader lives as long as its monitor: a long id does not stay with it. */
START_TEST(long_string_is_freed)
{
	const size_t n = 16 << 20, allowed = 256 << 10;
	struct json_reader *r = json_reader_new();
	struct buf text = {0}, out = {0};
	size_t before;

	buf_printf(&text, "{\"id\":\"");
	memset(buf_room(&text, n), 'x', n);
	text.len += n;
	buf_printf(&text, "\"}\n");
	before = in_use();
	read_all(r, text.data, text.len, &out);
	ck_assert_uint_gt(out.len, n);
	buf_free(&out);
	ck_assert_uint_lt(in_use(), before + allowed);
	buf_free(&text);
	json_reader_free(r);
}
END_TEST

static const struct row rows[] = {
  /* sound */
    {"{}",										  "{}\n",					      0},
    {" [ ] ",									       "[]\n",					      0},
    {"{\"a\":1}{\"b\":[true,false,null]}",						  "{\"a\": 1}\n{\"b\": [true, false, null]}\n",        0},
    {"{'it\\'s':'x\"y'}",								   "{\"it's\": \"x\\\"y\"}\n",                          0},
    {"[1.5,1.50,0.1,1e999,-0.0]",							   "[1.5, 1.50, 0.1, 1e999, -0.0]\n",                   0},
    {"[9223372036854775807,9223372036854775808,18446744073709551615,-9223372036854775808]",
     "[9223372036854775807, 9223372036854775808, 18446744073709551615, -9223372036854775808]\n",                                                 0},
    {"[18446744073709551616,-9223372036854775809]",
     "[18446744073709551616, -9223372036854775809]\n",											   0},
    {"[1E5,1e+5,1e-5]",								     "[1E5, 1e+5, 1e-5]\n",                               0},
    {"1 null\ttrue\r\n\"s\"",							       "1\nnull\ntrue\n\"s\"\n",                            0},
    {"\"\\u0000\\u001f\\b\\f\\n\\r\\t\\\\\\/\\u007f\\u00e9\\ud83d\\ude00\"",
     "\"\\u0000\\u001F\\b\\f\\n\\r\\t\\\\/\\u007F\\u00E9\\uD83D\\uDE00\"\n",                                                                     0},
    {"\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"",                                        "\"\\u00E9\\u20AC\\uD83D\\uDE00\\u007F\"\n",
     0																	    },
    {"{\"\":{\"\\u0000\":1}}",							      "{\"\": {\"\\u0000\": 1}}\n",                        0},
    {"1",										   "",						  0}, /* a number may go on */
  /* the rows of 1.3 */
    {"{\"execute\":\"q\",}",								VALUE,					       0},
    {"{\"execute\":}",								      VALUE,					       0},
    {"}",										   VALUE,					       0},
    {"]",										   VALUE,					       0},
    {"{\"a\":[}]}",									 VALUE VALUE,					 0},
    {"{\"execute\" \"x\"}",								 PARSE "missing : in object pair\n",                  0},
    {"{nope}",									      PARSE "invalid keyword 'nope'\n",                    0},
    {"{\"a\":1,\"a\":2}",								   PARSE "duplicate key\n",                             0},
    {"@",										   PARSE "stray '@'\n",				 0},
    {"01",										  PARSE "stray '01'\n",                                0},
    {"{\"a\":1e}\n{}",								      PARSE "stray '1e}'\n{}\n",                           0},
    {"\"a\nb\n",									    PARSE "stray '\"a\n'\n",                             0},
    {"\xff",										PARSE "stray '\xef\xbf\xbd'\n",                      0},
    {"\0",										  PARSE "stray '\xef\xbf\xbd'\n",                      1},
    {"{\"a\":\"\\q\"}",								     PARSE "invalid escape sequence in string\n",         0},
    {"{\"a\":\"\\ud800\"}",								 PARSE "\\ud800 is not a valid Unicode character\n",  0},
    {"{\"a\":\"\\ud800\\u0041\"}",							  PARSE "\\ud800 is not a valid Unicode character\n",  0},
    {"{\"a\":\"\\udc00\"}",								 PARSE "\\udc00 is not a valid Unicode character\n",  0},
 /* and their kin */
    {"\"\\u12g4\"",									 PARSE "\\u12g4 is not a valid Unicode character\n",  0},
    {"\"\\u00\"",									   PARSE "\\u00 is not a valid Unicode character\n",    0},
    {"\"\\\xc3\xa9\"",								      PARSE "invalid escape sequence in string\n",         0},
    {"[\"\xe9\"]",									  PARSE "invalid UTF-8 sequence in string\n",          0},
    {"[\"\xed\xa0\x80\"]",								  PARSE "invalid UTF-8 sequence in string\n",          0},
    {"[\"\xc0\x80\"]",								      PARSE "invalid UTF-8 sequence in string\n",          0},
    {"[\"\xf5\x80\x80\x80\"]",							      PARSE "invalid UTF-8 sequence in string\n",          0},
    {"[\"a\xff\"]",									 PARSE "stray '\"a\xef\xbf\xbd'\n" VALUE,             0},
    {"[-x]",										PARSE "stray '-x'\n" VALUE,                          0},
    {"[1.]",										PARSE "stray '1.]'\n",                               0},
    {"[1.5.5]",									     PARSE "stray '.'\n" VALUE,                           0},
    {"[1e+]",									       PARSE "stray '1e+]'\n",                              0},
    {"[+1]",										PARSE "stray '+'\n" VALUE,                           0},
    {"[True]",									      PARSE "stray 'T'\n" VALUE,                           0},
    {"[%d, %(x)]",									  PARSE "stray '%'\n" VALUE PARSE "stray '%'\n" VALUE, 0},
    {"{\"execute\": @x, \"a\"}",							    PARSE "stray '@'\n" VALUE "\"a\"\n" VALUE,           0},
    {"[tru]",									       PARSE "invalid keyword 'tru'\n",                     0},
    {"{\"a\":1 \"b\":2}",								   PARSE "expecting ',' or '}' behind a member\n",      0},
    {"[1a]",										PARSE "expecting ',' or ']' behind an element\n",    0},
    {"{1:2}",									       PARSE "the name of a member must be a string\n",     0},
    {"{true:2}",									    PARSE "the name of a member must be a string\n",     0},
    {"{,}",										 VALUE,					       0},
    {"[,]",										 VALUE,					       0},
    {"[1,]",										VALUE,					       0},
    {":,",										  VALUE VALUE,					 0},
    {"{\"a\":1,}\n{\"b\":2}",							       VALUE "{\"b\": 2}\n",                                0},
    {"{]{\"b\":2}",									 VALUE "{\"b\": 2}\n",                                0},
};

START_TEST(test_rows)
{
	const struct row *t = &rows[_i];
	size_t n = t->len ? t->len : strlen(t->text);

	/* whole, and split at every byte */
	for (size_t chunk = 1; chunk <= n; chunk++) {
		char *got = result_of(t->text, n, chunk);

		ck_assert_str_eq(got, t->want);
		free(got);
	}
}
END_TEST

START_TEST(test_split_in_two)
{
	static const char text[] =
	    "{\"execute\": \"a\\u00e9\\ud83d\\ude00\xc3\xa9\", \"id\": -1.5e+3}\n";

	for (size_t cut = 0; cut < sizeof(text); cut++) {
		struct json_reader *r = json_reader_new();
		struct buf out = {0};

		read_all(r, (const uint8_t *)text, cut, &out);
		read_all(r, (const uint8_t *)text + cut, sizeof(text) - 1 - cut, &out);
		buf_u8(&out, 0);
		ck_assert_str_eq(
		    (char *)out.data,
		    "{\"execute\": \"a\\u00E9\\uD83D\\uDE00\\u00E9\", \"id\": -1.5e+3}\n");
		buf_free(&out);
		json_reader_free(r);
		if (cut == sizeof(text) - 1)
			break;
	}
}
END_TEST

static char *nested(size_t depth)
{
	char *s = malloc(2 * depth + 4);

	ck_assert_ptr_nonnull(s);
	memset(s, '[', depth);
	memset(s + depth, ']', depth);
	memcpy(s + 2 * depth, "{} ", 4);
	return s;
}

START_TEST(test_depth)
{
	char *ok = nested(JSON_MAX_DEPTH), *deep = nested(JSON_MAX_DEPTH + 1), *got;

	got = result_of(ok, strlen(ok), 4096);
	ck_assert_uint_eq(strlen(got), 2 * JSON_MAX_DEPTH + 4);
	ck_assert_str_eq(got + 2 * JSON_MAX_DEPTH, "\n{}\n");
	free(got);
	/* one error, and the reader goes on behind the balancing bracket */
	got = result_of(deep, strlen(deep), 4096);
	ck_assert_str_eq(got, "! JSON nesting depth limit exceeded\n{}\n");
	free(got);
	free(ok);
	free(deep);
}
END_TEST

START_TEST(test_token_count)
{
	size_t n = 2 * ((size_t)JSON_MAX_TOKENS / 2 + 2);
	char *s = malloc(n + 1), *got;

	ck_assert_ptr_nonnull(s);
	s[0] = '[';
	for (size_t i = 1; i < n; i++)
		s[i] = i % 2 ? '1' : ',';
	s[n - 1] = ']';
	got = result_of(s, n, 65536);
	ck_assert_str_eq(got, "! JSON token count limit exceeded\n");
	free(got);
	free(s);
}
END_TEST

START_TEST(test_token_size)
{
	size_t n = (size_t)JSON_MAX_BYTES + 16;
	char *s = malloc(n + 8), *got;

	ck_assert_ptr_nonnull(s);
	memset(s, 'x', n);
	memcpy(s, "[\"", 2);
	memcpy(s + n, "\"]\n[2]", 7);
	got = result_of(s, n + 6, 65536);
	ck_assert_str_eq(got, "! JSON token size limit exceeded\n[2]\n");
	free(got);
	free(s);
}
END_TEST

START_TEST(test_end)
{
	static const struct row ends[] = {
	    {"{\"a\":", PARSE "premature EOI", 0},
	    {"\"abc",   PARSE "premature EOI", 0},
	    {"[1.",     PARSE "premature EOI", 0},
	    {"[1,2",    PARSE "premature EOI", 0},
	};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		struct json_reader *r = json_reader_new();
		struct json_object *v = NULL;
		struct err err = {0};
		size_t used;

		ck_assert_int_eq(json_reader_feed(r, (const uint8_t *)ends[i].text,
						  strlen(ends[i].text), &used, &v, &err),
				 JSON_MORE);
		ck_assert_int_eq(json_reader_end(r, &v, &err), JSON_ERROR);
		ck_assert_str_eq(err.msg, ends[i].want + 2); /* without the mark */
		/* and it can be used again */
		ck_assert_int_eq(json_reader_feed(r, (const uint8_t *)"12", 2, &used, &v, &err),
				 JSON_MORE);
		ck_assert_int_eq(json_reader_end(r, &v, &err), JSON_VALUE);
		ck_assert_int_eq(json_int(v), 12);
		json_free(v);
		ck_assert_int_eq(json_reader_end(r, &v, &err), JSON_MORE);
		json_reader_free(r);
	}
}
END_TEST

START_TEST(test_long_stray_is_cut)
{
	char s[400], *got;

	memset(s, 'x', sizeof(s));
	s[0] = '"';
	s[sizeof(s) - 1] = '\n';
	got = result_of(s, sizeof(s), sizeof(s));
	ck_assert_uint_lt(strlen(got), 140);
	free(got);
}
END_TEST

START_TEST(test_writer_pretty)
{
	struct buf out = {0};
	struct json_writer w = json_writer(&out, true);

	jw_open(&w, '{');
	jw_key(&w, "a");
	jw_open(&w, '[');
	jw_int(&w, -1);
	jw_double(&w, 0.35856);
	jw_double(&w, 1.0 / 0.0);
	jw_close(&w, ']');
	jw_key(&w, "b");
	jw_open(&w, '{');
	jw_close(&w, '}');
	jw_close(&w, '}');
	buf_u8(&out, 0);
	ck_assert_str_eq((char *)out.data, "{\n    \"a\": [\n        -1,\n        0.35856,\n"
					   "        0\n    ],\n    \"b\": {}\n}");
	buf_free(&out);
}
END_TEST

START_TEST(test_writer_bad_utf8)
{
	struct buf out = {0};
	struct json_writer w = json_writer(&out, false);

	jw_str(&w, "a\xff\xc3");
	buf_u8(&out, 0);
	ck_assert_str_eq((char *)out.data, "\"a\\uFFFD\\uFFFD\"");
	buf_free(&out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("qmp-json");
	TCase *t = tcase_create("all");
	SRunner *run;
	int failed;

	tcase_set_timeout(t, 0);
	tcase_add_loop_test(t, test_rows, 0, (int)(sizeof(rows) / sizeof(rows[0])));
	tcase_add_test(t, test_split_in_two);
	tcase_add_test(t, long_string_is_freed);
	tcase_add_test(t, test_depth);
	tcase_add_test(t, test_token_count);
	tcase_add_test(t, test_token_size);
	tcase_add_test(t, test_end);
	tcase_add_test(t, test_long_stray_is_cut);
	tcase_add_test(t, test_writer_pretty);
	tcase_add_test(t, test_writer_bad_utf8);
	suite_add_tcase(s, t);
	run = srunner_create(s);
	srunner_run_all(run, CK_ENV);
	failed = srunner_ntests_failed(run);
	srunner_free(run);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
