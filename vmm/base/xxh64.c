/*
 * xxh64.c - XXH64 over a stream: four lanes of 8 bytes, the rest at the end
 *
 * Bytes are consumed in stripes of 32; what is left of a piece waits in
 * 'stripe' for the next one.  xxh64_value() joins the lanes, mixes in the rest
 * and does not change the state, so a value can be taken at any point of the
 * stream.
 */
#include "vmm/base/xxh64.h"

#include <string.h>

#include "vmm/base/bytes.h"
#include "vmm/base/units.h"

#define STRIPE_BYTES sizeof(((struct xxh64 *)0)->stripe)

#define P1 0x9e3779b185ebca87U
#define P2 0xc2b2ae3d27d4eb4fU
#define P3 0x165667b19e3779f9U
#define P4 0x85ebca77c2b2ae63U
#define P5 0x27d4eb2f165667c5U

static inline uint64_t rotate(uint64_t v, unsigned bits)
{
	return v << bits | v >> (64 - bits);
}

static inline uint64_t mix(uint64_t lane, uint64_t word)
{
	return rotate(lane + word * P2, 31) * P1;
}

void xxh64_init(struct xxh64 *h)
{
	*h = (struct xxh64){
	    .lane = {P1 + P2, P2, 0, 0 - P1}
        };
}

static void add_stripes(struct xxh64 *h, const uint8_t *p, size_t stripes)
{
	uint64_t a = h->lane[0], b = h->lane[1], c = h->lane[2], d = h->lane[3];

	for (; stripes > 0; stripes--, p += STRIPE_BYTES) {
		a = mix(a, get_le64(p));
		b = mix(b, get_le64(p + 8));
		c = mix(c, get_le64(p + 16));
		d = mix(d, get_le64(p + 24));
	}
	h->lane[0] = a;
	h->lane[1] = b;
	h->lane[2] = c;
	h->lane[3] = d;
}

void xxh64_add(struct xxh64 *h, const void *data, size_t n)
{
	size_t have = h->bytes % STRIPE_BYTES, piece;
	const uint8_t *p = data;

	h->bytes += n;
	if (have) {
		piece = MIN(n, STRIPE_BYTES - have);
		memcpy(h->stripe + have, p, piece);
		p += piece;
		n -= piece;
		if (have + piece < STRIPE_BYTES)
			return;
		add_stripes(h, h->stripe, 1);
	}
	add_stripes(h, p, n / STRIPE_BYTES);
	p += n / STRIPE_BYTES * STRIPE_BYTES;
	memcpy(h->stripe, p, n % STRIPE_BYTES);
}

static uint64_t join_lanes(const struct xxh64 *h)
{
	uint64_t v = rotate(h->lane[0], 1) + rotate(h->lane[1], 7) + rotate(h->lane[2], 12) +
		     rotate(h->lane[3], 18);

	for (int i = 0; i < 4; i++)
		v = (v ^ mix(0, h->lane[i])) * P1 + P4;
	return v;
}

uint64_t xxh64_value(const struct xxh64 *h)
{
	uint64_t v = h->bytes < STRIPE_BYTES ? P5 : join_lanes(h);
	size_t n = h->bytes % STRIPE_BYTES;
	const uint8_t *p = h->stripe;

	v += h->bytes;
	for (; n >= 8; n -= 8, p += 8)
		v = rotate(v ^ mix(0, get_le64(p)), 27) * P1 + P4;
	if (n >= 4) {
		v = rotate(v ^ get_le32(p) * P1, 23) * P2 + P3;
		n -= 4;
		p += 4;
	}
	for (; n > 0; n--, p++)
		v = rotate(v ^ *p * P5, 11) * P1;
	v = (v ^ v >> 33) * P2;
	v = (v ^ v >> 29) * P3;
	return v ^ v >> 32;
}
