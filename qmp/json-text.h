/* json-text.h - characters of JSON strings: UTF-8 and escapes */
#ifndef MINIVMM_QMP_JSON_TEXT_H
#define MINIVMM_QMP_JSON_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;

/* Bytes of the character at p (n >= 1 bytes are there), or 0 when it is not valid UTF-8. */
size_t utf8_get(const uint8_t *p, size_t n, uint32_t *cp);
void utf8_put(struct buf *out, uint32_t cp);

/*
 * What stands between a string's quotes, escapes resolved, appended to out
 * with a final NUL; U+0000 becomes C0 80.  -EINVAL for bytes that are not
 * UTF-8, unknown escapes and lone surrogates.
 */
int json_unescape(const uint8_t *p, size_t n, struct buf *out, struct err *err);
/* At most 80 bytes of a foreign text as valid UTF-8 for a message: bad bytes become U+FFFD. */
void json_quote_foreign(const uint8_t *p, size_t n, char out[96]);

#endif
