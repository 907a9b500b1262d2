/*
 * mapped-ram: RAM of one machine at fixed places of a file, and out of it into another one; files
 * that lie about their places; and a disk that takes or gives less than it is asked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/channel/checksum.h"
#include "migration/ram/mapped/layout.h"
#include "migration/ram/mapped/mapped.h"
#include "migration/stream/reader.h"
#include "tests/unit/check-main.h"
#include "tests/unit/ram-rig.h"
#include "vmm/base/bytes.h"

/* ---- a disk that does as a test says; in place of the C library's ---- */

#define NEVER UINT64_MAX

static uint64_t most = NEVER;     /* bytes that one call moves; whole pages or one byte */
static uint64_t room_end = NEVER; /* file offset behind which there is no room */

ssize_t pwrite(int fd, const void *p, size_t n, off_t off)
{
	n = MIN(n, most);
	if ((uint64_t)off + n > room_end) {
		if ((uint64_t)off >= room_end) {
			errno = ENOSPC;
			return -1;
		}
		n = room_end - (uint64_t)off;
	}
	return syscall(SYS_pwrite64, fd, p, n, off);
}

ssize_t pread(int fd, void *p, size_t n, off_t off)
{
	return syscall(SYS_pread64, fd, p, MIN(n, most), off);
}

/* ---- from one machine into a file, and out of it ---- */

struct file_rig {
	struct ram_rig *r;
	char path[64];
	uint64_t offset; /* of the stream */
	struct mapped_config cfg;
	struct channel *ch;
	struct mapped_save *mapped;
};

static void file_rig_init(struct file_rig *f, unsigned threads, uint64_t offset)
{
	int fd;

	*f = (struct file_rig){.offset = offset, .cfg.threads = threads};
	most = room_end = NEVER;
	f->r = ram_rig_new();
	f->r->caps[CAP_MAPPED_RAM] = true;
	(void)snprintf(f->path, sizeof(f->path), "/tmp/minivmm-test-XXXXXX");
	fd = mkstemp(f->path);
	ck_assert_int_ge(fd, 0);
	(void)close(fd);
}

static void save_close(struct file_rig *f)
{
	ram_save_stop(&f->r->save);
	mapped_save_free(f->mapped);
	f->mapped = NULL;
	channel_close(f->ch);
	f->ch = NULL;
}

static void file_rig_fini(struct file_rig *f)
{
	save_close(f);
	ram_rig_free(f->r);
	(void)unlink(f->path);
}

/* The list of blocks; what the save said. */
static int save_begin(struct file_rig *f)
{
	struct ram_rig *r = f->r;
	struct err err = {0};
	uint64_t added;

	f->ch = channel_file_write(f->path, f->offset, -1, NULL, &err);
	ck_assert_msg(f->ch != NULL, "%s", err.msg);
	if (f->cfg.sums)
		f->ch = channel_checksum_write(f->ch);
	r->w->ch = f->ch;
	f->mapped = mapped_save_new(f->ch, &r->from.mem, &f->cfg, &err);
	ck_assert_msg(f->mapped != NULL, "%s", err.msg);
	ram_save_init(&r->save, &r->from, r->w, f->cfg.sums ? RAM_ID_CHECKSUM : 2);
	ck_assert_int_eq(ram_save_encoders(&r->save, r->caps, &r->params, &r->cache_bytes, NULL),
			 0);
	ram_save_map(&r->save, f->mapped);
	ck_assert_int_eq(ram_save_start(&r->save, NULL), 0);
	if (ram_save_begin(&r->save, &err) < 0)
		return -1;
	ck_assert_int_eq(ram_save_sync(&r->save, &added, NULL), 0);
	return 0;
}

static void save_finish(struct file_rig *f)
{
	struct err err = {0};

	ck_assert_int_eq(ram_save_record(&f->r->save, TAG_END, NULL, NULL), 0);
	ck_assert_msg(channel_finish(f->ch, &err) == 0, "%s", err.msg);
	save_close(f);
}

static void save(struct file_rig *f)
{
	ck_assert_int_eq(save_begin(f), 0);
	save_finish(f);
}

/* All records of the file, into the other machine; what the load said. */
static int load(struct file_rig *f, struct err *err)
{
	struct ram_rig *r = f->r;
	struct channel *ch = channel_file_read(f->path, f->offset, -1, err);
	struct mapped_load *mapped;
	struct reader *in;
	uint8_t tag;
	int ret = 0;

	ck_assert_msg(ch != NULL, "%s", err->msg);
	ch = channel_checksum_read(ch);
	in = reader_new(ch, &r->to);
	mapped = mapped_load_new(in, &f->cfg, err);
	ck_assert_msg(mapped != NULL, "%s", err->msg);
	channel_checksum_expect(ch, f->cfg.sums);
	mapped_load_sums(mapped, f->cfg.sums);
	ram_load_map(r->load, mapped);
	while (ret == 0 && src_u8(&in->src, &tag) == 0 && tag != '\n') {
		char name[256];

		ck_assert_int_eq(src_skip(&in->src, 4), 0);
		if (tag == TAG_START) {
			ck_assert_int_eq(src_str8(&in->src, name), 0);
			ck_assert_int_eq(src_skip(&in->src, 8), 0);
		}
		ret = ram_load_body(r->load, &in->src, err);
		if (ret == 0)
			ck_assert_int_eq(src_skip(&in->src, 5), 0);
	}
	if (ret == 0 && f->cfg.sums) {
		ck_assert_int_eq(src_skip(&in->src, CHECKSUM_LINE_BYTES - 1), 0);
		ret = channel_checksum_verify(ch, f->path, err);
	}
	mapped_load_free(mapped);
	reader_free(in);
	channel_close(ch);
	return ret;
}

static void load_same(struct file_rig *f)
{
	struct err err = {0};

	ck_assert_msg(load(f, &err) == 0, "%s", err.msg);
	ram_rig_check_same(f->r);
}

/* Some pages with content, with gaps; one touched and zero. */
static void fill(struct ram_rig *r)
{
	for (uint64_t page = 0; page < RAM_PAGES; page += page % 7 == 3 ? 5 : 1)
		ram_rig_noise(ram_rig_page(r, 0, page), (uint32_t)page + 1);
	memset(ram_rig_page(r, 0, 2), 0, PAGE_BYTES);
	ram_rig_noise(ram_rig_page(r, 1, 7), 99);
}

static void patch(const struct file_rig *f, uint64_t at, const void *p, size_t n)
{
	int fd = open(f->path, O_WRONLY | O_CLOEXEC);

	ck_assert_int_eq(syscall(SYS_pwrite64, fd, p, n, at), (long)n);
	(void)close(fd);
}

static void get(const struct file_rig *f, uint64_t at, void *p, size_t n)
{
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(syscall(SYS_pread64, fd, p, n, at), (long)n);
	(void)close(fd);
}

/* ---- tests ---- */

START_TEST(test_round_trip)
{
	static const struct {
		unsigned threads;
		uint64_t offset;
		bool sums;
	} rows[] = {
	    {0, 0,     false},
            {3, 0,     false},
            {0, 65536, false},
            {2, 12345, true },
            {0, 0,     true }
        };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct file_rig f;
		struct stat st;

		file_rig_init(&f, rows[i].threads, rows[i].offset);
		f.cfg.sums = rows[i].sums;
		fill(f.r);
		save(&f);
		ck_assert_int_eq(stat(f.path, &st), 0);
		ck_assert_int_gt(st.st_size, 2 * (long)MiB);
		ck_assert_int_lt(st.st_blocks * 512, 80 * (long)PAGE_BYTES);
		load_same(&f);
		file_rig_fini(&f);
	}
}
END_TEST

/* Header, bitmap and pages are where QEMU has them. */
START_TEST(test_layout)
{
	const uint64_t header = 1 + 4 + 1 + 3 + 8 + 8 + (1 + 11 + 8); /* of the first block */
	struct mapped_place place;
	uint8_t in[MAPPED_HEADER_BYTES], page[PAGE_BYTES];
	struct file_rig f;
	uint64_t map;

	file_rig_init(&f, 0, 0x10000);
	fill(f.r);
	save(&f);
	get(&f, 0x10000 + header, in, sizeof(in));
	ck_assert_uint_eq(get_be32(in), 1);
	ck_assert_uint_eq(get_be64(in + 4), PAGE_BYTES);
	ck_assert_uint_eq(get_be64(in + 12), 0x10000 + header + sizeof(in));
	ck_assert_uint_eq(get_be64(in + 20), MiB);
	place = mapped_place_at(0x10000 + header + sizeof(in), RAM_PAGES * PAGE_BYTES);
	ck_assert_uint_eq(place.pages_off, MiB);
	get(&f, place.bitmap_off, &map, sizeof(map));
	for (unsigned i = 0; i < RAM_PAGES; i++)
		ck_assert_msg((map >> i & 1) == (*(uint64_t *)(void *)ram_rig_page(f.r, 0, i) != 0),
			      "page %u", i);
	get(&f, place.pages_off + PAGE_BYTES, page, sizeof(page));
	ck_assert_mem_eq(page, ram_rig_page(f.r, 0, 1), PAGE_BYTES);
	file_rig_fini(&f);
}
END_TEST

/* A guest that runs: pages are written again in place, become zero, come to life. */
START_TEST(test_passes)
{
	for (unsigned threads = 0; threads < 3; threads++) {
		struct file_rig f;

		file_rig_init(&f, threads, 0);
		f.cfg.sums = threads == 1;
		fill(f.r);
		ck_assert_int_eq(save_begin(&f), 0);
		for (unsigned pass = 0; pass < 3; pass++) {
			ck_assert_int_eq(ram_save_record(&f.r->save, TAG_PART, NULL, NULL), 0);
			for (unsigned i = 0; i < 6; i++) {
				ram_rig_noise(ram_rig_page(f.r, 0, i), pass * 100 + i + 1000);
				ram_rig_dirty(f.r, 0, i);
			}
			memset(ram_rig_page(f.r, 0, 10 + pass), 0, PAGE_BYTES);
			ram_rig_dirty(f.r, 0, 10 + pass);
			ram_rig_noise(ram_rig_page(f.r, 1, pass), pass);
			ram_rig_dirty(f.r, 1, pass);
			ram_rig_sync(f.r);
		}
		save_finish(&f);
		load_same(&f);
		file_rig_fini(&f);
	}
}
END_TEST

/* Memory that an attempt before has filled is zero where the file has no page. */
START_TEST(test_older_content)
{
	struct file_rig f;

	file_rig_init(&f, 2, 0);
	for (size_t i = 0; i < 2; i++)
		memset(f.r->to.mem.blocks[i]->hva, 0x5a, f.r->to.mem.blocks[i]->bytes);
	fill(f.r);
	save(&f);
	load_same(&f);
	file_rig_fini(&f);
}
END_TEST

START_TEST(test_short_moves)
{
	for (unsigned threads = 0; threads < 2; threads++) {
		struct file_rig f;

		file_rig_init(&f, threads, 0);
		f.cfg.sums = true;
		most = 1000;
		fill(f.r);
		save(&f);
		load_same(&f);
		file_rig_fini(&f);
	}
}
END_TEST

/* The disk is full in the middle of pages: said once, and the file is not there. */
START_TEST(test_no_room)
{
	for (unsigned threads = 0; threads < 3; threads++) {
		struct file_rig f;
		char is[8];

		file_rig_init(&f, threads, 0);
		patch(&f, 0, "older", 6);
		room_end = MiB + 20 * PAGE_BYTES + 100;
		fill(f.r);
		ck_assert_int_eq(save_begin(&f), 0);
		ck_assert_int_eq(ram_save_record(&f.r->save, TAG_END, NULL, NULL), -ENOSPC);
		ck_assert_str_eq(f.r->w->err.msg,
				 "Unable to write to file: No space left on device");
		save_close(&f);
		get(&f, 0, is, 6);
		ck_assert_str_eq(is, "older");
		file_rig_fini(&f);
	}
}
END_TEST

/* ---- files that lie; HEADER is where the first block's header begins ---- */

#define HEADER (1 + 4 + 1 + 3 + 8 + 8 + (1 + 11 + 8))
#define PAGES  MiB
#define SECOND (PAGES + RAM_PAGES * PAGE_BYTES + (1 + 7 + 8)) /* the other block's header */

START_TEST(test_hostile)
{
	static const struct {
		uint64_t at, value;
		unsigned bytes;
		const char *words;
	} rows[] = {
	    {HEADER,      2,			  4,
	     "the mapped-ram header of RAM block 'microvm.ram' has version 2, only 1"                                },
	    {HEADER,      0,			  4,
	     "the mapped-ram header of RAM block 'microvm.ram' has version 0, only 1"                                },
	    {HEADER + 4,  0x10000,                    8, "has a page size of 0x10000 bytes, here it is 0x1000"       },
	    {HEADER + 12, 0x10,                       8,
	     "the bitmap of RAM block 'microvm.ram' is at file offset 0x10, in front of"                             },
	    {HEADER + 12, 1ULL << 40,                 8,
	     "the bitmap of RAM block 'microvm.ram' is at file offset 0x10000000000, and its"                        },
	    {HEADER + 12, UINT64_MAX - 3,             8,
	     "is at file offset 0xfffffffffffffffc, and its 0x8 bytes"                                               },
	    {HEADER + 12, PAGES + 8,                  8, "overlap its bitmap, which ends at 0x100010"                },
	    {HEADER + 20, PAGES + 8,                  8, "are at file offset 0x100008, no multiple of a page"        },
	    {HEADER + 20, 0,                          8, "are at file offset 0x0 and overlap its bitmap"             },
	    {HEADER + 20, 1ULL << 50,                 8, "its 0x40000 bytes end beyond the file"                     },
	    {HEADER + 20, UINT64_MAX - 4095,          8, "its 0x40000 bytes end beyond the file"                     },
	    {SECOND,      7,			  4, "the mapped-ram header of RAM block 'pc.bios' has version 7"},
	    {SECOND + 12, HEADER,                     8,
	     "the bitmap of RAM block 'pc.bios' is at file offset 0x2d, in"                                          },
	    {SECOND + 28, 1ULL << 40,                 8,
	     "the bitmap of RAM block 'pc.bios' at file offset 0x14002c has "
	     "bits beyond the block's 8 pages"								       },
 /* back among the pages of the block in front: it is still in front of its own header */
	    {SECOND + 20, PAGES,                      8,
	     "the pages of RAM block 'pc.bios' are at file offset 0x100000 and"                                      },
	    {HEADER - 8,  RAM_PAGES * PAGE_BYTES * 2, 8,
	     "RAM block 'microvm.ram' has 0x80000 bytes at"                                                          },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct file_rig f;
		struct err err = {0};
		uint8_t v[8];

		file_rig_init(&f, (unsigned)i % 2, 0);
		fill(f.r);
		save(&f);
		if (rows[i].bytes == 4)
			put_be32(v, (uint32_t)rows[i].value);
		else
			put_be64(v, rows[i].value);
		patch(&f, rows[i].at, v, rows[i].bytes);
		ck_assert_msg(load(&f, &err) < 0, "row %zu: loaded", i);
		ck_assert_msg(strstr(err.msg, rows[i].words) != NULL, "row %zu: '%s'", i, err.msg);
		file_rig_fini(&f);
	}
}
END_TEST

START_TEST(test_cut)
{
	static const struct {
		off_t bytes;
		const char *words;
	} rows[] = {
	    {HEADER + 20,                    "the stream ends at offset 0x2d in a mapped-ram header: it is cut short"},
	    {HEADER + 28,                    "end beyond the file of 0x49"                                           },
	    {PAGES + 4096,                   "end beyond the file of 0x101000"                                       },
	    {PAGES + RAM_PAGES * PAGE_BYTES,
	     "the stream ends at offset 0x140000 in the list of RAM"                                                 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct file_rig f;
		struct err err = {0};

		file_rig_init(&f, 0, 0);
		fill(f.r);
		save(&f);
		ck_assert_int_eq(truncate(f.path, rows[i].bytes), 0);
		ck_assert_int_lt(load(&f, &err), 0);
		ck_assert_msg(strstr(err.msg, rows[i].words) != NULL, "row %zu: '%s'", i, err.msg);
		file_rig_fini(&f);
	}
}
END_TEST

/* Pages have places, so none comes as a record. */
START_TEST(test_record_among)
{
	struct file_rig f;
	struct err err = {0};
	uint64_t at = 2 * MiB + BIOS_PAGES * PAGE_BYTES + 13 + 5; /* the word of END */
	uint8_t word[8];

	file_rig_init(&f, 0, 0);
	fill(f.r);
	save(&f);
	put_be64(word, RAM_FLAG_PAGE);
	patch(&f, at, word, sizeof(word));
	ck_assert_int_lt(load(&f, &err), 0);
	ck_assert_msg(strstr(err.msg, "Received a page among the records") != NULL, "%s", err.msg);
	file_rig_fini(&f);
}
END_TEST

/* One bit anywhere that is read: in the stream, a bitmap or a page. */
START_TEST(test_checksum_notices)
{
	static const uint64_t places[] = {2, HEADER + 28 + 2, PAGES + PAGE_BYTES + 77};

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		struct file_rig f;
		struct err err = {0};
		uint8_t b;

		file_rig_init(&f, 2, 0);
		f.cfg.sums = true;
		fill(f.r);
		save(&f);
		get(&f, places[i], &b, 1);
		b ^= 1;
		patch(&f, places[i], &b, 1);
		ck_assert_msg(load(&f, &err) == -EBADMSG, "place %zu: '%s'", i, err.msg);
		ck_assert_msg(strstr(err.msg, "its checksum does not match") != NULL, "%s",
			      err.msg);
		file_rig_fini(&f);
	}
}
END_TEST

CHECK_MAIN("mapped", test_round_trip, test_layout, test_passes, test_older_content,
	   test_short_moves, test_no_room, test_hostile, test_cut, test_record_among,
	   test_checksum_notices)
