/* base64.c - four characters, three bytes */
#include "vmm/base/base64.h"

#include <errno.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

ssize_t base64_decode(uint8_t *to, const char *text, size_t n)
{
	uint32_t word = 0;
	unsigned have = 0, pads = 0;
	size_t out = 0;

	for (size_t i = 0; i < n; i++) {
		char c = text[i];
		const char *at = c ? strchr(digits, c) : NULL;

		if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
			continue;
		if (c == '=' && have >= 2)
			pads++;
		else if (!at || pads)
			return -EINVAL;
		word = word << 6 | (at ? (uint32_t)(at - digits) : 0);
		if (++have < 4)
			continue;
		for (unsigned k = 0; k < 3 - pads; k++)
			to[out++] = (uint8_t)(word >> (16 - 8 * k));
		if (pads && word & ((1U << (8 * pads)) - 1))
			return -EINVAL;
		word = 0;
		have = 0;
	}
	return have ? -EINVAL : (ssize_t)out;
}

void base64_encode(char *to, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i += 3) {
		size_t some = n - i < 3 ? n - i : 3;
		uint32_t word = 0;

		for (size_t k = 0; k < 3; k++)
			word = word << 8 | (k < some ? bytes[i + k] : 0);
		for (size_t k = 0; k < 4; k++)
			*to++ = k <= some ? digits[word >> (18 - 6 * k) & 63] : '=';
	}
	*to = 0;
}
