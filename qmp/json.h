/*
 * json.h - JSON as QMP speaks it (qmp-surface 1.1, 1.3): values, a reader, a writer
 *
 * Values are json-c's objects, and only qmp/json.c knows that: other files
 * pass the pointers around.  A NULL pointer is JSON's null.  Strings are
 * UTF-8 without NUL: U+0000 is held as the two bytes C0 80.
 *
 * The reader takes a stream of bytes, not lines, and finds its footing again
 * after an error.  The writer produces pure ASCII.  One thread at a time.
 */
#ifndef MINIVMM_QMP_JSON_H
#define MINIVMM_QMP_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;
struct json_object;
struct lh_entry;

/* ---- values ---- */

enum json_kind {
	JSON_NULL,
	JSON_BOOL,
	JSON_INT,    /* fits int64_t */
	JSON_UINT,   /* above INT64_MAX, fits uint64_t */
	JSON_DOUBLE, /* anything else that is a number; the text is kept */
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT,
};

enum json_kind json_kind(const struct json_object *v);
bool json_is_true(const struct json_object *v);
int64_t json_int(const struct json_object *v);   /* JSON_INT */
uint64_t json_uint(const struct json_object *v); /* JSON_INT: as two's complement; JSON_UINT */
double json_double(const struct json_object *v); /* any number */
const char *json_str(const struct json_object *v) __attribute__((returns_nonnull)); /* borrowed */
size_t json_len(const struct json_object *array);
struct json_object *json_at(const struct json_object *array, size_t i); /* borrowed */
/* Is there such a member?  *val is borrowed. */
bool json_get(const struct json_object *object, const char *key, struct json_object **val);
/*
 * Its value where 'o' is an object with such a member of that type, else NULL, "" or what is given.
 * Text is borrowed.
 */
const char *json_get_str(const struct json_object *o, const char *key);
const char *json_get_text(const struct json_object *o, const char *key)
    __attribute__((returns_nonnull));
int64_t json_get_int(const struct json_object *o, const char *key, int64_t otherwise);

/* Walk the members in their order: struct json_iter it = {0}; while (json_next(o, &it)) ... */
struct json_iter {
	struct lh_entry *at;
	bool started;
	const char *key;         /* borrowed */
	struct json_object *val; /* borrowed */
};
bool json_next(const struct json_object *object, struct json_iter *it);

/* New values, owned by the caller. */
struct json_object *json_new_object(void);
struct json_object *json_new_array(void);
struct json_object *json_new_str(const char *s, size_t n);
struct json_object *json_new_bool(bool b);
struct json_object *json_new_int(int64_t v);
/* A number from its text, which is valid JSON. */
struct json_object *json_new_number(const char *text, bool integer);
/* Both take v. */
void json_set(struct json_object *object, const char *key, struct json_object *v);
void json_append(struct json_object *array, struct json_object *v);
void json_free(struct json_object *v);           /* NULL is fine */
void cleanup_json(struct json_object *const *v); /* for CLEANUP() */
/* The same value for one more owner, who frees it too; NULL is fine. */
struct json_object *json_share(struct json_object *v);

/* ---- reader ---- */

#define JSON_MAX_DEPTH  1024
#define JSON_MAX_BYTES  (64u << 20) /* of one token, and of all tokens of one value */
#define JSON_MAX_TOKENS (1u << 21)  /* of one value */

enum json_event { JSON_MORE, JSON_VALUE, JSON_ERROR };

struct json_reader;

struct json_reader *json_reader_new(void);
void json_reader_free(struct json_reader *r); /* NULL is fine */
/* Forget all that is half read. */
void json_reader_reset(struct json_reader *r);
/*
 * Take bytes until a value or an error is complete; *used says how many were
 * taken.  JSON_VALUE: *value is the caller's (NULL for null).  JSON_ERROR:
 * *err says what, and the next call goes on behind it.  JSON_MORE: all n
 * bytes were taken.
 */
enum json_event json_reader_feed(struct json_reader *r, const uint8_t *p, size_t n, size_t *used,
				 struct json_object **value, struct err *err);
/* The text has ended: a value that stands half read is an error.  Resets. */
enum json_event json_reader_end(struct json_reader *r, struct json_object **value, struct err *err);

/* One value from a whole text of n bytes: 0 (*value is the caller's, NULL for null) or -EINVAL. */
int json_parse(const char *text, size_t n, struct json_object **value, struct err *err);

/* ---- writer ---- */

struct json_writer {
	struct buf *out; /* borrowed */
	bool pretty;     /* 4 spaces a level, a line a member */
	unsigned depth;
	bool first;     /* nothing stands in this container yet */
	bool after_key; /* the separator has been written */
};

struct json_writer json_writer(struct buf *out, bool pretty);
/* A container opens with '{' or '[' and closes with '}' or ']'. */
void jw_open(struct json_writer *w, char bracket);
void jw_close(struct json_writer *w, char bracket);
void jw_key(struct json_writer *w, const char *key);
void jw_str(struct json_writer *w, const char *s); /* bytes that are not UTF-8 become U+FFFD */
void jw_int(struct json_writer *w, int64_t v);
void jw_uint(struct json_writer *w, uint64_t v);
void jw_double(struct json_writer *w, double v); /* infinities and NaN become 0 */
void jw_bool(struct json_writer *w, bool v);
void jw_null(struct json_writer *w);
/* A text that is a JSON value already. */
void jw_raw(struct json_writer *w, const char *text);
void jw_value(struct json_writer *w, const struct json_object *v);

#endif
