/* minivmm-img: what a terminal's progress line says, and where runs of zeroes are found. */
#include <string.h>

#include "img/copy.h"
#include "img/progress.h"
#include "tests/unit/check-main.h"
#include "vmm/base/units.h"

#define SECOND 1000000000ULL

static void is(unsigned columns, uint64_t done, uint64_t total, uint64_t ns, const char *want)
{
	char line[512];

	progress_line(line, sizeof(line), columns, done, total, ns);
	ck_assert_str_eq(line, want);
	ck_assert_uint_le(strlen(line), MAX(columns, 24U));
}

START_TEST(wide)
{
	is(80, 0, 100 * MiB, 0,
	   "[>                                  ]   0.0 %  0 B of 100 MiB  0 B/s  0:00 left");
	is(80, 50 * MiB, 100 * MiB, 2 * SECOND,
	   "[==============>              ]  50.0 %  50 MiB of 100 MiB  25 MiB/s  0:02 left");
}
END_TEST

START_TEST(narrow)
{
	is(60, 50 * MiB, 100 * MiB, 2 * SECOND, " 50.0 %  50 MiB of 100 MiB  25 MiB/s  0:02 left");
	is(30, 50 * MiB, 100 * MiB, 2 * SECOND, " 50.0 %  0:02 left");
}
END_TEST

static void at_least(const char *line, const char *part)
{
	ck_assert_msg(strstr(line, part) != NULL, "'%s' does not have '%s'", line, part);
}

START_TEST(long_times)
{
	char line[512];

	progress_line(line, sizeof(line), 100, 1 * GiB, 3601 * GiB, 1 * SECOND);
	at_least(line, "1:00:00 left");
	progress_line(line, sizeof(line), 100, 10, 10, 3723 * SECOND);
	at_least(line, "1:02:03 in all");
	progress_line(line, sizeof(line), 100, 0, 0, 0); /* an empty disk */
	at_least(line, "100.0 %");
}
END_TEST

/* Blocks of 4 KiB: 'd' data, 'z' zero. */
static void runs(const char *blocks, uint64_t min, const char *want)
{
	static unsigned char p[32 * 4096];
	size_t n = strlen(blocks), used = 0;
	char got[64] = "";

	for (size_t i = 0; i < n; i++)
		memset(p + i * 4096, blocks[i] == 'd' ? (int)i + 1 : 0, 4096);
	for (uint64_t at = 0, length; at < n * 4096; at += length) {
		bool zero;

		length = copy_find_run(p + at, n * 4096 - at, 4096, min, &zero);
		ck_assert_uint_gt(length, 0);
		used += (size_t)snprintf(got + used, sizeof(got) - used, "%c%u", zero ? 'z' : 'd',
					 (unsigned)(length / 4096));
	}
	ck_assert_str_eq(got, want);
}

START_TEST(runs_of_zeroes)
{
	runs("zzzz", 4096, "z4");
	runs("dddd", 4096, "d4");
	runs("dzdz", 4096, "d1z1d1z1");
	runs("zddz", 4096, "z1d2z1");
	runs("dzdzzd", 8192, "d3z2d1");
	runs("zdzz", 8192, "d2z2");
	runs("ddz", 8192, "d2z1"); /* at the end any length will do */
	runs("z", 8192, "z1");
}
END_TEST

/* The end of a disk is not the end of a block. */
START_TEST(part_of_a_block)
{
	unsigned char p[5000] = {0};
	bool zero;

	ck_assert_uint_eq(copy_find_run(p, sizeof(p), 4096, 4096, &zero), sizeof(p));
	ck_assert(zero);
	p[4999] = 1;
	ck_assert_uint_eq(copy_find_run(p, sizeof(p), 4096, 4096, &zero), 4096);
	ck_assert(zero);
	ck_assert_uint_eq(copy_find_run(p + 4096, sizeof(p) - 4096, 4096, 4096, &zero), 904);
	ck_assert(!zero);
}
END_TEST

CHECK_MAIN("img-progress", wide, narrow, long_times, runs_of_zeroes, part_of_a_block)
