/*
 * Any bytes as a delta must apply within the page or be refused; and any two
 * pages must make a delta that leads from the one to the other, or none.
 *
 * Input: the delta; its two halves are also the two pages, of 1 to 4096 bytes.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "migration/ram/encode/xbzrle-codec.h"
#include "vmm/base/units.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Bytes beside the page must stay as they are. */
#define GUARD 64
#define MARK  0xa5

static void decode(const uint8_t *data, size_t len)
{
	uint8_t room[GUARD + PAGE_BYTES + GUARD];

	memset(room, MARK, sizeof(room));
	(void)xbzrle_decode(data, len, room + GUARD, PAGE_BYTES);
	for (size_t i = 0; i < GUARD; i++)
		assert(room[i] == MARK && room[GUARD + PAGE_BYTES + i] == MARK);
}

static void there_and_back(const uint8_t *old, const uint8_t *now, size_t len)
{
	uint8_t delta[PAGE_BYTES], page[PAGE_BYTES];
	int n = xbzrle_encode(old, now, len, delta, len);

	assert(n == -EOVERFLOW || (n >= 0 && (size_t)n <= len));
	if (n < 0)
		return;
	assert((n == 0) == (memcmp(old, now, len) == 0));
	memcpy(page, old, len);
	assert(xbzrle_decode(delta, (size_t)n, page, len) == 0);
	assert(memcmp(page, now, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	size_t half = len / 2;

	if (len <= UINT16_MAX)
		decode(data, len);
	if (half > 0 && half <= PAGE_BYTES)
		there_and_back(data, data + half, half);
	return 0;
}
