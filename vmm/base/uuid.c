/* uuid.c - UUIDs (RFC 9562): text, random ones, the order of bytes that firmware uses */
#include "vmm/base/uuid.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

/* A '-' stands in front of these bytes. */
static bool begins_group(unsigned i)
{
	return i == 4 || i == 6 || i == 8 || i == 10;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool uuid_parse(const char *s, uint8_t out[UUID_BYTES])
{
	uint8_t uuid[UUID_BYTES];

	for (unsigned i = 0; i < UUID_BYTES; i++) {
		int high, low;

		if (begins_group(i) && *s++ != '-')
			return false;
		high = hex_digit(s[0]);
		low = high < 0 ? -1 : hex_digit(s[1]);
		if (low < 0)
			return false;
		uuid[i] = (uint8_t)(high << 4 | low);
		s += 2;
	}
	if (*s)
		return false;
	memcpy(out, uuid, UUID_BYTES);
	return true;
}

struct uuid_text uuid_text(const uint8_t uuid[UUID_BYTES])
{
	struct uuid_text t = {""};
	char *at = t.s;

	for (unsigned i = 0; i < UUID_BYTES; i++) {
		if (begins_group(i))
			*at++ = '-';
		(void)snprintf(at, 3, "%02x", uuid[i]);
		at += 2;
	}
	return t;
}

int uuid_random(uint8_t out[UUID_BYTES])
{
	uint8_t uuid[UUID_BYTES];

	if (getrandom(uuid, sizeof(uuid), 0) != (ssize_t)sizeof(uuid))
		return errno ? -errno : -EIO;
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
	memcpy(out, uuid, UUID_BYTES);
	return 0;
}

void uuid_swap(const uint8_t in[UUID_BYTES], uint8_t out[UUID_BYTES])
{
	static const uint8_t from[UUID_BYTES] = {3, 2, 1,  0,  5,  4,  7,  6,
						 8, 9, 10, 11, 12, 13, 14, 15};
	uint8_t swapped[UUID_BYTES];

	for (unsigned i = 0; i < UUID_BYTES; i++)
		swapped[i] = in[from[i]];
	memcpy(out, swapped, UUID_BYTES);
}
