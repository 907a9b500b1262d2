/*
 * zero.c - is a piece of memory all zero?
 *
 * Most pages that are not zero differ in their first bytes, so those are
 * looked at first.  Then blocks of several vectors are ORed together and
 * tested once; what is left over at the end is covered by vectors that
 * overlap the last full block, so that no byte is handled alone unless the
 * buffer is shorter than one vector.
 */
#include "vmm/base/zero.h"

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

static bool always(void)
{
	return true;
}

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Below 16 bytes: two words that may overlap, or bytes. */
static bool short_is_zero(const uint8_t *p, size_t n)
{
	uint8_t any = 0;

	if (n >= 8)
		return (load64(p) | load64(p + n - 8)) == 0;
	for (size_t i = 0; i < n; i++)
		any |= p[i];
	return any == 0;
}

#define BLOCK 4 /* vectors tested together */
#define LINE  64U
/*
 * Bytes that are fetched in advance.  The processor does so by itself, but not
 * beyond the end of a page; and the page behind this one is mostly the next.
 */
#define AHEAD 2048U

/* The same algorithm over vectors of type V; TEST(v) says whether v is zero. */
#define DEFINE_TEST(name, isa, V, LOAD, OR, TEST, SHORTER)                                         \
	__attribute__((target(isa))) static bool name(const void *buf, size_t n)                   \
	{                                                                                          \
		const uint8_t *p = buf, *end = p + n;                                              \
                                                                                                   \
		if (n < sizeof(V))                                                                 \
			return SHORTER(p, n);                                                      \
		if (!TEST(LOAD((const void *)p)))                                                  \
			return false;                                                              \
		for (; (size_t)(end - p) >= BLOCK * sizeof(V); p += BLOCK * sizeof(V)) {           \
			V a = OR(LOAD((const void *)p), LOAD((const void *)(p + sizeof(V))));      \
			V b = OR(LOAD((const void *)(p + 2 * sizeof(V))),                          \
				 LOAD((const void *)(p + 3 * sizeof(V))));                         \
                                                                                                   \
			for (size_t i = 0; i < BLOCK * sizeof(V); i += LINE)                       \
				__builtin_prefetch(p + AHEAD + i);                                 \
			if (!TEST(OR(a, b)))                                                       \
				return false;                                                      \
		}                                                                                  \
		for (; (size_t)(end - p) >= sizeof(V); p += sizeof(V))                             \
			if (!TEST(LOAD((const void *)p)))                                          \
				return false;                                                      \
		return TEST(LOAD((const void *)(end - sizeof(V))));                                \
	}

#define TEST128(v) (_mm_movemask_epi8(_mm_cmpeq_epi8((v), _mm_setzero_si128())) == 0xffff)
#define TEST256(v) _mm256_testz_si256((v), (v))
#define TEST512(v) (_mm512_test_epi64_mask((v), (v)) == 0)

DEFINE_TEST(sse2_is_zero, "sse2", __m128i, _mm_loadu_si128, _mm_or_si128, TEST128, short_is_zero)
DEFINE_TEST(avx2_is_zero, "avx2", __m256i, _mm256_loadu_si256, _mm256_or_si256, TEST256,
	    sse2_is_zero)
DEFINE_TEST(avx512_is_zero, "avx512f", __m512i, _mm512_loadu_si512, _mm512_or_si512, TEST512,
	    avx2_is_zero)

static bool has_avx2(void)
{
	return __builtin_cpu_supports("avx2");
}

static bool has_avx512(void)
{
	return __builtin_cpu_supports("avx512f") && has_avx2();
}

const struct zero_test zero_tests[] = {
    {"avx512", has_avx512, avx512_is_zero},
    {"avx2",   has_avx2,   avx2_is_zero  },
    {"sse2",   always,     sse2_is_zero  },
    {NULL,     NULL,       NULL          },
};

bool buffer_is_zero(const void *p, size_t n)
{
	const struct zero_test *t = zero_tests;

	while (!t->usable())
		t++;
	return t->test(p, n);
}
