/*
 * json-read.c - tokens to values
 *
 * A value is built while its tokens come, on a stack of open containers; no
 * token is kept.  Beside the stack two counters follow the curly and the
 * square brackets.  A message ends when both are zero or one is negative:
 * that is how far a broken message reaches, and where the next one begins.
 *
 * A token that does not fit makes the message an error, which is told when
 * the message ends.  A message above a limit is told at once and its rest is
 * dropped without another word.  Bytes that are no token at all are told at
 * once, and the counters begin anew behind them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "qmp/json-lex.h"
#include "qmp/json-text.h"
#include "qmp/json.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"

#define TEXT_KEPT_BYTES 65536 /* of a token, from one message to the next */

enum expect {
	WANT_VALUE,
	WANT_VALUE_OR_CLOSE, /* behind '[' */
	WANT_KEY,            /* behind ',' in an object */
	WANT_KEY_OR_CLOSE,   /* behind '{' */
	WANT_COLON,
	WANT_COMMA_OR_CLOSE,
};

struct level {
	struct json_object *container; /* owned until it is attached to the level above */
	char *key;                     /* owned; of the member whose value comes next */
	bool object;
	enum expect want;
};

struct json_reader {
	struct json_lexer lexer;
	struct level levels[JSON_MAX_DEPTH];
	size_t depth;
	int64_t curly, square;
	uint64_t tokens, bytes;
	bool broken;                /* the message is wrong: only brackets count until it ends */
	bool told;                  /* and the error has been handed out */
	struct err error;           /* broken, not told */
	struct json_object *result; /* owned */
	bool complete;              /* result is valid (it may be NULL) */
};

struct json_reader *json_reader_new(void)
{
	struct json_reader *r = NEW(struct json_reader);

	json_lexer_init(&r->lexer);
	return r;
}

static void drop_levels(struct json_reader *r)
{
	while (r->depth) {
		struct level *l = &r->levels[--r->depth];

		json_free(l->container);
		free(l->key);
	}
}

/* Ready for the next message; one long string does not stay in memory for the reader's life. */
static void reader_begin(struct json_reader *r)
{
	if (r->lexer.text.cap > TEXT_KEPT_BYTES)
		buf_free(&r->lexer.text);
	drop_levels(r);
	json_free(r->result);
	r->result = NULL;
	r->complete = r->broken = r->told = false;
	r->curly = r->square = 0;
	r->tokens = r->bytes = 0;
}

void json_reader_reset(struct json_reader *r)
{
	reader_begin(r);
	json_lexer_reset(&r->lexer);
}

void json_reader_free(struct json_reader *r)
{
	if (!r)
		return;
	json_reader_reset(r);
	json_lexer_fini(&r->lexer);
	free(r);
}

static int expecting(struct err *err, const char *what)
{
	return err_set(err, EINVAL, "JSON parse error, %s", what);
}

/* Takes v. */
static void reader_attach(struct json_reader *r, struct json_object *v)
{
	struct level *l;

	if (!r->depth) {
		r->result = v;
		r->complete = true;
		return;
	}
	l = &r->levels[r->depth - 1];
	if (l->object) {
		json_set(l->container, l->key, v);
		free(l->key);
		l->key = NULL;
	} else {
		json_append(l->container, v);
	}
	l->want = WANT_COMMA_OR_CLOSE;
}

static void open_level(struct json_reader *r, bool object)
{
	struct level *l = &r->levels[r->depth++];

	l->object = object;
	l->container = object ? json_new_object() : json_new_array();
	l->key = NULL;
	l->want = object ? WANT_KEY_OR_CLOSE : WANT_VALUE_OR_CLOSE;
}

static void close_level(struct json_reader *r)
{
	reader_attach(r, r->levels[--r->depth].container);
}

static const char *token_text(struct json_reader *r)
{
	buf_u8(&r->lexer.text, 0);
	r->lexer.text.len--;
	return (const char *)r->lexer.text.data;
}

/* *v is new; NULL for null. */
static int read_keyword(struct json_reader *r, struct json_object **v, struct err *err)
{
	const char *word = token_text(r);
	char shown[96];

	*v = NULL;
	if (!strcmp(word, "null"))
		return 0;
	if (!strcmp(word, "true") || !strcmp(word, "false")) {
		*v = json_new_bool(*word == 't');
		return 0;
	}
	json_quote_foreign(r->lexer.text.data, r->lexer.text.len, shown);
	return err_set(err, EINVAL, "JSON parse error, invalid keyword '%s'", shown);
}

static int read_string(struct json_reader *r, struct buf *out, struct err *err)
{
	return json_unescape(r->lexer.text.data + 1, r->lexer.text.len - 2, out, err);
}

static int read_value(struct json_reader *r, enum json_token tok, struct err *err)
{
	struct json_object *v;
	struct buf s = {0};
	int ret;

	switch (tok) {
	case TOK_OPEN_OBJECT:
	case TOK_OPEN_ARRAY:
		open_level(r, tok == TOK_OPEN_OBJECT);
		return 0;
	case TOK_INTEGER:
	case TOK_FLOAT:
		reader_attach(r, json_new_number(token_text(r), tok == TOK_INTEGER));
		return 0;
	case TOK_KEYWORD:
		ret = read_keyword(r, &v, err);
		if (ret == 0)
			reader_attach(r, v);
		return ret;
	case TOK_STRING:
		ret = read_string(r, &s, err);
		if (ret == 0)
			reader_attach(r, json_new_str((const char *)s.data, s.len - 1));
		buf_free(&s);
		return ret;
	default:
		return expecting(err, "expecting value");
	}
}

static int read_key(struct json_reader *r, struct level *l, enum json_token tok, struct err *err)
{
	struct json_object *there;
	struct buf s = {0};
	int ret;

	if (tok == TOK_COMMA || tok == TOK_COLON || tok == TOK_CLOSE_OBJECT ||
	    tok == TOK_CLOSE_ARRAY)
		return expecting(err, "expecting value");
	if (tok == TOK_KEYWORD) { /* an unknown word is named */
		ret = read_keyword(r, &there, err);
		if (ret < 0)
			return ret;
		json_free(there);
	}
	if (tok != TOK_STRING)
		return expecting(err, "the name of a member must be a string");
	ret = read_string(r, &s, err);
	if (ret < 0) {
		buf_free(&s);
		return ret;
	}
	if (json_get(l->container, (const char *)s.data, &there)) {
		buf_free(&s);
		return expecting(err, "duplicate key");
	}
	l->key = (char *)s.data; /* s is handed over; freed with free() like any buf */
	l->want = WANT_COLON;
	return 0;
}

static int read_separator(struct json_reader *r, struct level *l, enum json_token tok,
			  struct err *err)
{
	if (tok == (l->object ? TOK_CLOSE_OBJECT : TOK_CLOSE_ARRAY)) {
		close_level(r);
		return 0;
	}
	if (tok != TOK_COMMA)
		return expecting(err, l->object ? "expecting ',' or '}' behind a member"
						: "expecting ',' or ']' behind an element");
	l->want = l->object ? WANT_KEY : WANT_VALUE;
	return 0;
}

/* One token of a message that is sound so far. */
static int read_token(struct json_reader *r, enum json_token tok, struct err *err)
{
	struct level *l = r->depth ? &r->levels[r->depth - 1] : NULL;

	switch (l ? l->want : WANT_VALUE) {
	case WANT_KEY_OR_CLOSE:
		if (tok == TOK_CLOSE_OBJECT) {
			close_level(r);
			return 0;
		}
		return read_key(r, l, tok, err);
	case WANT_KEY:
		return read_key(r, l, tok, err);
	case WANT_COLON:
		if (tok != TOK_COLON)
			return expecting(err, "missing : in object pair");
		l->want = WANT_VALUE;
		return 0;
	case WANT_COMMA_OR_CLOSE:
		return read_separator(r, l, tok, err);
	case WANT_VALUE_OR_CLOSE:
		if (tok == TOK_CLOSE_ARRAY) {
			close_level(r);
			return 0;
		}
		return read_value(r, tok, err);
	case WANT_VALUE:
	default:
		return read_value(r, tok, err);
	}
}

static void count_brackets(struct json_reader *r, enum json_token tok)
{
	if (tok == TOK_OPEN_OBJECT)
		r->curly++;
	else if (tok == TOK_CLOSE_OBJECT)
		r->curly--;
	else if (tok == TOK_OPEN_ARRAY)
		r->square++;
	else if (tok == TOK_CLOSE_ARRAY)
		r->square--;
}

static bool message_ended(const struct json_reader *r)
{
	return r->curly < 0 || r->square < 0 || (r->curly == 0 && r->square == 0);
}

static int check_limits(struct json_reader *r, enum json_token tok, struct err *err)
{
	r->tokens++;
	r->bytes += r->lexer.text.len;
	if (tok == TOK_TOO_BIG || r->bytes > JSON_MAX_BYTES)
		return err_set(err, E2BIG, "JSON token size limit exceeded");
	if (r->tokens > JSON_MAX_TOKENS)
		return err_set(err, E2BIG, "JSON token count limit exceeded");
	if (r->curly + r->square > JSON_MAX_DEPTH)
		return err_set(err, E2BIG, "JSON nesting depth limit exceeded");
	return 0;
}

static enum json_event stray(struct json_reader *r, struct err *err)
{
	char shown[96];

	json_quote_foreign(r->lexer.text.data, r->lexer.text.len, shown);
	reader_begin(r);
	(void)err_set(err, EINVAL, "JSON parse error, stray '%s'", shown);
	return JSON_ERROR;
}

/* The message's last token has been seen. */
static enum json_event reader_finish(struct json_reader *r, struct json_object **value,
				     struct err *err)
{
	enum json_event ev = JSON_MORE;

	if (!r->broken) {
		*value = r->result;
		r->result = NULL;
		ev = JSON_VALUE;
	} else if (!r->told) {
		if (err)
			*err = r->error;
		ev = JSON_ERROR;
	}
	reader_begin(r);
	return ev;
}

static enum json_event take_token(struct json_reader *r, enum json_token tok,
				  struct json_object **value, struct err *err)
{
	enum json_event ev = JSON_MORE;

	if (tok == TOK_STRAY)
		return stray(r, err);
	count_brackets(r, tok);
	if (!r->told && check_limits(r, tok, err) < 0) {
		r->broken = r->told = true;
		drop_levels(r);
		ev = JSON_ERROR;
	} else if (!r->broken && read_token(r, tok, &r->error) < 0) {
		r->broken = true;
		drop_levels(r);
	}
	if (!message_ended(r))
		return ev;
	if (ev == JSON_ERROR) {
		reader_begin(r);
		return ev;
	}
	return reader_finish(r, value, err);
}

enum json_event json_reader_feed(struct json_reader *r, const uint8_t *p, size_t n, size_t *used,
				 struct json_object **value, struct err *err)
{
	size_t i = 0;

	while (i < n) {
		bool taken;
		enum json_token tok = json_lexer_byte(&r->lexer, p[i], &taken);
		enum json_event ev = JSON_MORE;

		i += taken;
		if (tok != TOK_NONE)
			ev = take_token(r, tok, value, err);
		if (ev != JSON_MORE) {
			*used = i;
			return ev;
		}
	}
	*used = n;
	return JSON_MORE;
}

enum json_event json_reader_end(struct json_reader *r, struct json_object **value, struct err *err)
{
	enum json_token tok = json_lexer_end(&r->lexer);
	enum json_event ev = JSON_MORE;

	if (tok != TOK_NONE && tok != TOK_STRAY)
		ev = take_token(r, tok, value, err);
	if (ev == JSON_MORE && (tok == TOK_STRAY || r->tokens)) {
		(void)expecting(err, "premature EOI");
		ev = JSON_ERROR;
	}
	json_reader_reset(r);
	return ev;
}

int json_parse(const char *text, size_t n, struct json_object **value, struct err *err)
{
	struct json_reader *r = json_reader_new();
	struct json_object *first = NULL, *more = NULL;
	size_t used = 0, rest = 0;
	enum json_event e = json_reader_feed(r, (const uint8_t *)text, n, &used, &first, err);

	if (e == JSON_MORE) /* a number or a word ends with the text */
		e = json_reader_end(r, &first, err);
	else if (e == JSON_VALUE && (json_reader_feed(r, (const uint8_t *)text + used, n - used,
						      &rest, &more, NULL) != JSON_MORE ||
				     json_reader_end(r, &more, NULL) != JSON_MORE)) {
		json_free(first);
		json_free(more);
		e = JSON_ERROR;
		(void)err_set(err, EINVAL, "there is more than one JSON value");
	}
	if (e == JSON_MORE)
		(void)err_set(err, EINVAL, "there is no JSON value");
	json_reader_free(r);
	if (e != JSON_VALUE)
		return -EINVAL;
	*value = first;
	return 0;
}
