/*
 * What a peer says to minivmm-ctl's shell and reports: a schema, and answers of query-migrate.
 *
 * The first line is what is typed; behind it stand JSON values. The first two are taken for
 * schemas, by which the line is completed and read, and each for what query-migrate said, of both
 * ends in turn; all of them make one page and one picture.
 */
#include <stdlib.h>
#include <string.h>

#include "ctl/complete.h"
#include "ctl/dictionary.h"
#include "ctl/report-internal.h"
#include "ctl/shell-line.h"
#include "qmp/json-text.h"
#include "qmp/json.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define VALUES_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void type_line(struct json_object *schema, const char *line)
{
	struct dictionary *d = dictionary_new(schema);
	struct json_object *request = NULL;
	struct completion c;
	struct buf text = {0};
	struct err err = {0};

	for (size_t i = 0; i <= MIN(strlen(line), (size_t)64); i += 1 + i / 4) {
		c = complete_line(d, line, i);
		if (c.start > i)
			abort();
		completion_free(&c);
	}
	if (shell_request(d, line, &request, &err) < 0 && !*err.msg)
		abort(); /* a refusal without a sentence */
	json_free(request);
	type_text(d, command_arguments(d, line), &text);
	buf_free(&text);
	dictionary_free(d);
}

/* UTF-8, and nothing that XML forbids. */
static void check_text(const struct buf *b)
{
	for (size_t i = 0; i < b->len;) {
		uint32_t cp = 0;
		size_t used = utf8_get(b->data + i, b->len - i, &cp);

		if (!used || (cp < 0x20 && cp != '\n' && cp != '\t'))
			abort();
		i += used;
	}
	if (memmem(b->data, b->len, "<script", 7) || memmem(b->data, b->len, "=\"nan", 5) ||
	    memmem(b->data, b->len, "=\"-nan", 6) || memmem(b->data, b->len, "=\"inf", 5))
		abort();
}

static void make_report(struct json_object *const *values, size_t n, const char *line)
{
	struct report *r = report_new("/tmp/fuzz-ctl.html", NULL);
	struct buf text = {0};

	if (!r)
		abort();
	report_about(r, REPORT_SOURCE, line, line);
	report_move(r, line, line);
	for (size_t i = 0; i < n; i++) {
		struct figures f;

		figures_read(&f, values[i]);
		report_sample(r, i % 3 == 2 ? REPORT_PEER : REPORT_SOURCE, i * i * 100000007, &f);
		report_event(r, i % 2 ? REPORT_PEER : REPORT_SOURCE, i * i * 100000007,
			     i % 2 ? "RESUME" : "STOP", line);
	}
	report_html(r, &text);
	check_text(&text);
	buf_clear(&text);
	report_picture(r, &text);
	check_text(&text);
	buf_free(&text);
	report_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const uint8_t *end = memchr(data, '\n', len);
	size_t n_line = end ? (size_t)(end - data) : len, n = 0;
	CLEANUP(cleanup_free) char *line = xstrndup((const char *)data, n_line);
	struct json_reader *reader = json_reader_new();
	struct json_object *values[VALUES_MAX];

	for (size_t at = MIN(n_line + 1, len); at < len && n < VALUES_MAX;) {
		size_t used = 0;

		if (json_reader_feed(reader, data + at, len - at, &used, &values[n], NULL) ==
		    JSON_VALUE)
			n++;
		at += used;
	}
	json_reader_free(reader);
	for (size_t i = 0; i < MIN(n, (size_t)2); i++)
		type_line(values[i], line);
	make_report(values, n, line);
	for (size_t i = 0; i < n; i++)
		json_free(values[i]);
	return 0;
}
