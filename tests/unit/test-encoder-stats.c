/* What query-migrate says of the encoders: counts, and rates of the last pass that sent something.
 */
#include "migration/outgoing/encoder-stats.h"
#include "tests/unit/check-main.h"

START_TEST(test_counts_and_rates)
{
	struct encoder_stats es = {0};
	struct migration_info info = {0};
	struct ram_counters c = {.duplicate = 50, .normal = 30, .compress_pages = 20};

	c.compress_bytes = 20480;
	c.compress_busy = 10;
	ck_assert_uint_eq(encoder_stats_count(&es, &c), 20);
	encoder_stats_fill(&es, &info);
	ck_assert_uint_eq(info.compression.pages, 20);
	ck_assert_uint_eq(info.compression.compressed_size, 20480);
	ck_assert(info.compression.compression_rate == 0 && info.compression.busy_rate == 0);
	encoder_stats_pass(&es);
	encoder_stats_fill(&es, &info);
	ck_assert(info.compression.compression_rate == 4.0 && info.compression.busy_rate == 0.1);
	/* Two deltas, one unchanged page, one overflow that was a PAGE, and a miss. */
	c.xbzrle_pages = 4;
	c.xbzrle_overflow = 1;
	c.xbzrle_bytes = 8192;
	c.xbzrle_miss = 1;
	c.normal += 2;
	ck_assert_uint_eq(encoder_stats_count(&es, &c), 3);
	encoder_stats_pass(&es);
	encoder_stats_pass(&es); /* and nothing more */
	encoder_stats_fill(&es, &info);
	ck_assert_uint_eq(info.xbzrle.pages, 4);
	ck_assert_uint_eq(info.xbzrle.bytes, 8192);
	ck_assert_uint_eq(info.xbzrle.overflow, 1);
	ck_assert(info.xbzrle.cache_miss_rate == 0.2 && info.xbzrle.encoding_rate == 2.0);
	ck_assert(info.compression.compression_rate == 0 && info.compression.busy_rate == 0);
}
END_TEST

CHECK_MAIN("encoder-stats", test_counts_and_rates)
