/*
 * json-text.c - UTF-8 and the escapes of JSON strings
 *
 * utf8_get() accepts shortest forms only, without surrogates.  An escape above
 * the basic plane is a surrogate pair.  The escape of U+0000 becomes the bytes
 * C0 80, so that strings stay NUL-terminated (json.h).
 */
#include "qmp/json-text.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/buf.h"
#include "vmm/base/error.h"

#define QUOTE_MAX 80

size_t utf8_get(const uint8_t *p, size_t n, uint32_t *cp)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len;
	uint32_t v;

	if (p[0] < 0x80) {
		*cp = p[0];
		return 1;
	}
	if (p[0] < 0xc0 || p[0] >= 0xf8)
		return 0;
	len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	v = p[0] & (0xffu >> (len + 1));
	if (n < len)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (p[i] & 0x3f);
	}
	if (v < smallest[len] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
		return 0;
	*cp = v;
	return len;
}

void utf8_put(struct buf *out, uint32_t cp)
{
	if (cp < 0x80) {
		buf_u8(out, (uint8_t)cp);
	} else if (cp < 0x800) {
		buf_u8(out, (uint8_t)(0xc0 | cp >> 6));
		buf_u8(out, (uint8_t)(0x80 | (cp & 0x3f)));
	} else if (cp < 0x10000) {
		buf_u8(out, (uint8_t)(0xe0 | cp >> 12));
		buf_u8(out, (uint8_t)(0x80 | (cp >> 6 & 0x3f)));
		buf_u8(out, (uint8_t)(0x80 | (cp & 0x3f)));
	} else {
		buf_u8(out, (uint8_t)(0xf0 | cp >> 18));
		buf_u8(out, (uint8_t)(0x80 | (cp >> 12 & 0x3f)));
		buf_u8(out, (uint8_t)(0x80 | (cp >> 6 & 0x3f)));
		buf_u8(out, (uint8_t)(0x80 | (cp & 0x3f)));
	}
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Four hex digits at p; -1 when there are not four. */
static int32_t hex4(const uint8_t *p, size_t n)
{
	int32_t v = 0;

	if (n < 4)
		return -1;
	for (size_t i = 0; i < 4; i++) {
		int d = hex_digit(p[i]);

		if (d < 0)
			return -1;
		v = v * 16 + d;
	}
	return v;
}

static int bad_unicode(const uint8_t *hex, size_t n, struct err *err)
{
	char shown[96];

	json_quote_foreign(hex, n < 4 ? n : 4, shown);
	return err_set(err, EINVAL, "JSON parse error, \\u%s is not a valid Unicode character",
		       shown);
}

/* p stands behind "\u"; *used counts what is taken from there. */
static int unescape_unicode(const uint8_t *p, size_t n, size_t *used, struct buf *out,
			    struct err *err)
{
	int32_t hi = hex4(p, n), lo;

	*used = 4;
	if (hi < 0 || (hi >= 0xdc00 && hi <= 0xdfff))
		return bad_unicode(p, n, err);
	if (hi == 0) {
		buf_put(out, "\xc0\x80", 2);
		return 0;
	}
	if (hi < 0xd800 || hi > 0xdbff) {
		utf8_put(out, (uint32_t)hi);
		return 0;
	}
	lo = n >= 10 && p[4] == '\\' && p[5] == 'u' ? hex4(p + 6, n - 6) : -1;
	if (lo < 0xdc00 || lo > 0xdfff)
		return bad_unicode(p, n, err);
	*used = 10;
	utf8_put(out, 0x10000u + ((uint32_t)(hi - 0xd800) << 10) + (uint32_t)(lo - 0xdc00));
	return 0;
}

/* p stands behind the backslash. */
static int unescape_one(const uint8_t *p, size_t n, size_t *used, struct buf *out, struct err *err)
{
	static const char from[] = "\"'\\/bfnrt", to[] = "\"'\\/\b\f\n\r\t";
	const char *hit;
	int ret;

	if (n && *p == 'u') {
		ret = unescape_unicode(p + 1, n - 1, used, out, err);
		*used += 1;
		return ret;
	}
	hit = n && *p ? strchr(from, *p) : NULL;
	if (!hit)
		return err_set(err, EINVAL, "JSON parse error, invalid escape sequence in string");
	buf_u8(out, (uint8_t)to[hit - from]);
	*used = 1;
	return 0;
}

int json_unescape(const uint8_t *p, size_t n, struct buf *out, struct err *err)
{
	for (size_t i = 0; i < n;) {
		uint32_t cp;
		size_t used = 0;
		int ret;

		if (p[i] == '\\') {
			ret = unescape_one(p + i + 1, n - i - 1, &used, out, err);
			if (ret < 0)
				return ret;
			i += 1 + used;
			continue;
		}
		used = utf8_get(p + i, n - i, &cp);
		if (!used)
			return err_set(err, EINVAL,
				       "JSON parse error, invalid UTF-8 sequence in string");
		buf_put(out, p + i, used);
		i += used;
	}
	buf_u8(out, 0);
	return 0;
}

void json_quote_foreign(const uint8_t *p, size_t n, char out[96])
{
	size_t at = 0;

	for (size_t i = 0; i < n && at < QUOTE_MAX;) {
		uint32_t cp;
		size_t used = utf8_get(p + i, n - i, &cp);

		if (!used || !cp) {
			memcpy(out + at, "\xef\xbf\xbd", 3); /* U+FFFD */
			at += 3;
			i++;
			continue;
		}
		memcpy(out + at, p + i, used);
		at += used;
		i += used;
	}
	out[at] = '\0';
}
