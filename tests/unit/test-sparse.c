/* Pages that were never touched and do not travel: what the other end makes of it. */
#include <errno.h>
#include <sys/stat.h>

#include "migration/incoming/commands.h"
#include "migration/outgoing/forecast.h"
#include "migration/outgoing/stats.h"
#include "migration/peer/process.h"
#include "tests/unit/check-main.h"
#include "tests/unit/ram-rig.h"

#define JUNK 0x5a

/* A SPARSE command, behind its tag; 'cut' bytes of its payload are missing. */
static int take(struct command_state *cs, const char *block, const char *boot_id,
		const struct stat *file, size_t cut, struct err *err)
{
	struct buf p = {0}, b = {0};
	struct src in;
	int ret;

	buf_str8(&p, block);
	buf_str8(&p, boot_id);
	buf_be64(&p, file ? file->st_dev : 0);
	buf_be64(&p, file ? file->st_ino : 0);
	buf_be16(&b, CMD_SPARSE);
	buf_be16(&b, (uint16_t)(p.len - cut));
	buf_put(&b, p.data, p.len - cut);
	in = src_mem(b.data, b.len);
	ret = commands_load(cs, &in, err);
	buf_free(&p);
	buf_free(&b);
	return ret;
}

static struct ram_rig *rig_with_junk(void)
{
	struct ram_rig *r = ram_rig_new();

	for (size_t i = 0; i < r->to.mem.n_blocks; i++)
		memset(r->to.mem.blocks[i]->hva, JUNK, r->to.mem.blocks[i]->bytes);
	return r;
}

static struct command_state state_of(struct ram_rig *r)
{
	return (struct command_state){.m = &r->to, .ram = r->load, .minivmm = true};
}

/* As ram_rig_begin(), but a move that leaves out what was not touched. */
static void begin_sparse(struct ram_rig *r)
{
	uint64_t added;

	ram_save_init(&r->save, &r->from, r->w, 2);
	r->save.sparse = true;
	ck_assert_int_eq(ram_save_encoders(&r->save, r->caps, &r->params, &r->cache_bytes, NULL),
			 0);
	ck_assert_int_eq(ram_save_start(&r->save, NULL), 0);
	ck_assert_int_eq(ram_save_begin(&r->save, NULL), 0);
	ck_assert_int_eq(ram_save_sync(&r->save, &added, NULL), 0);
	ram_rig_load(r);
}

/* Two pages have content, both ends know an encoder, and the other end is told. */
static struct ram_rig *rig_with_encoder(int cap)
{
	struct ram_rig *r = rig_with_junk();
	struct command_state cs = state_of(r);

	if (cap >= 0)
		r->caps[cap] = true;
	if (cap == CAP_COMPRESS)
		ck_assert_int_eq(ram_load_compressed(r->load, 1, NULL), 0);
	ram_rig_noise(ram_rig_page(r, 0, 3), 1);
	ram_rig_noise(ram_rig_page(r, 1, 1), 2);
	ck_assert_int_eq(take(&cs, "microvm.ram", "", NULL, 0, NULL), 0);
	ck_assert_int_eq(take(&cs, "pc.bios", "", NULL, 0, NULL), 0);
	return r;
}

/* Every encoder: touched pages go, the others are zero, what is touched later goes later. */
START_TEST(test_left_out_is_zero)
{
	static const int encoders[] = {-1, CAP_XBZRLE, CAP_COMPRESS};
	struct ram_rig *r = rig_with_encoder(encoders[_i]);
	const struct ram_counters *c = &r->save.stream.count;

	begin_sparse(r);
	ck_assert_uint_eq(ram_save_left_pages(&r->save), 2);
	ck_assert_uint_eq(c->skipped, RAM_PAGES + BIOS_PAGES - 2);
	(void)ram_rig_move(r, TAG_PART);
	ck_assert_uint_eq(c->duplicate, 0);
	ram_rig_noise(ram_rig_page(r, 0, 4), 3);
	ram_rig_dirty(r, 0, 4);
	ram_rig_dirty(r, 0, 5); /* written with zeros */
	ram_rig_sync(r);
	ck_assert_uint_eq(ram_save_left_pages(&r->save), 2);
	(void)ram_rig_move(r, TAG_END);
	ck_assert_uint_eq(c->duplicate, 1);
	ck_assert_uint_eq(c->skipped, RAM_PAGES + BIOS_PAGES - 2);
	ram_rig_free(r);
}
END_TEST

/* Without the command memory stays what it is where nothing is sent. */
START_TEST(test_only_when_told)
{
	struct ram_rig *r = rig_with_junk();
	struct command_state cs = state_of(r);

	ck_assert_int_eq(take(&cs, "microvm.ram", "", NULL, 0, NULL), 0);
	begin_sparse(r);
	ck_assert_uint_eq(r->to.mem.blocks[0]->hva[0], 0);
	ck_assert_uint_eq(r->to.mem.blocks[0]->hva[RAM_PAGES * PAGE_BYTES - 1], 0);
	ck_assert_uint_eq(r->to.mem.blocks[1]->hva[0], JUNK);
	ram_rig_free(r);
}
END_TEST

/* A source that sends records for all gets them all placed, as ever. */
START_TEST(test_not_sparse)
{
	struct ram_rig *r = rig_with_junk();

	ram_rig_begin(r);
	ck_assert_uint_eq(ram_save_left_pages(&r->save), RAM_PAGES + BIOS_PAGES);
	(void)ram_rig_move(r, TAG_END);
	ck_assert_uint_eq(r->save.stream.count.duplicate, RAM_PAGES + BIOS_PAGES);
	ck_assert_uint_eq(r->save.stream.count.skipped, 0);
	ram_rig_free(r);
}
END_TEST

START_TEST(test_refused)
{
	struct ram_rig *r = rig_with_junk();
	struct command_state cs = state_of(r);
	struct err err = {0};

	ck_assert_int_eq(take(&cs, "zz", "", NULL, 0, &err), -EINVAL);
	ck_assert_msg(strstr(err.msg, "command SPARSE at") &&
			  strstr(err.msg, "unknown RAM block 'zz'"),
		      "%s", err.msg);
	for (size_t cut = 1; cut <= 1 + 7 + 1 + 16; cut++) {
		ck_assert_int_eq(take(&cs, "pc.bios", "", NULL, cut, &err), -EINVAL);
		ck_assert_msg(strstr(err.msg, "it is broken") != NULL, "%s", err.msg);
	}
	cs.minivmm = false; /* from whom it must not come */
	ck_assert_int_eq(take(&cs, "pc.bios", "", NULL, 0, &err), -EINVAL);
	ck_assert_msg(strstr(err.msg, "no sense") != NULL, "%s", err.msg);
	cs.minivmm = true;
	ram_rig_begin(r);
	ck_assert_int_eq(take(&cs, "pc.bios", "", NULL, 0, &err), -EBUSY);
	ck_assert_msg(strstr(err.msg, "after the list of RAM blocks") != NULL, "%s", err.msg);
	ck_assert_uint_eq(r->to.mem.blocks[0]->hva[0], JUNK);
	ram_rig_free(r);
}
END_TEST

/* The file that is the source's memory, too, is left alone; another is not. */
START_TEST(test_same_file)
{
	static const struct ram_backend memfd = {.kind = RAM_MEMFD, .share = true, .fd = -1};
	struct ram_rig *r = ram_rig_new();
	struct command_state cs = state_of(r);
	struct err err = {0};
	struct peer self;
	struct stat st;

	peer_self(&self);
	ram_load_free(r->load);
	ck_assert_ptr_nonnull(memory_add_block(&r->to.mem, "shared", PAGE_BYTES, &memfd, NULL));
	cs.ram = r->load = ram_load_new(&r->to);
	ck_assert_int_eq(fstat(r->to.mem.blocks[2]->fd, &st), 0);
	ck_assert_int_eq(take(&cs, "shared", self.boot_id, &st, 0, &err), -EBUSY);
	ck_assert_msg(strstr(err.msg, "RAM block 'shared' has the same file at both ends") != NULL,
		      "%s", err.msg);
	ck_assert_int_eq(take(&cs, "shared", "another kernel", &st, 0, &err), 0);
	st.st_ino++;
	ck_assert_int_eq(take(&cs, "shared", self.boot_id, &st, 0, &err), 0);
	st.st_ino--;
	r->to.mem.blocks[2]->share = false; /* what is written here stays here */
	ck_assert_int_eq(take(&cs, "shared", self.boot_id, &st, 0, &err), 0);
	ram_rig_free(r);
}
END_TEST

/* The list of blocks is not enough to say what the channel carries: no switchover for that. */
START_TEST(test_no_rate_before_a_page)
{
	struct migration_stats st;

	stats_init(&st);
	stats_start(&st, 8 * GiB, 300);
	stats_sent(&st, 100 * MiB, 0, 0, 1 * MiB);
	stats_active(&st);
	ck_assert_uint_eq(stats_bandwidth(&st), 0);
	stats_sent(&st, 1 * MiB, 0, 256, 0);
	ck_assert_uint_gt(stats_bandwidth(&st), 0);
	stats_fini(&st);
}
END_TEST

/* What need not go is not done either. */
START_TEST(test_percent)
{
	struct forecast_figures f = {.phase = MIG_PHASE_PASS,
				     .passes = 1,
				     .total = 100 * GiB,
				     .skipped = 80 * GiB,
				     .remaining = 20 * GiB};

	ck_assert_uint_eq(forecast_percent(&f), 0);
	f.remaining = 10 * GiB;
	ck_assert_uint_eq(forecast_percent(&f), 45);
	f.remaining = 0;
	ck_assert_uint_eq(forecast_percent(&f), 90);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sparse");
	TCase *tc = tcase_create("sparse");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, test_left_out_is_zero, 0, 3);
	tcase_add_test(tc, test_only_when_told);
	tcase_add_test(tc, test_not_sparse);
	tcase_add_test(tc, test_refused);
	tcase_add_test(tc, test_same_file);
	tcase_add_test(tc, test_no_rate_before_a_page);
	tcase_add_test(tc, test_percent);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
