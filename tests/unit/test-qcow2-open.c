/*
 * Opening images: those that QEMU wrote are read as documented, those of hostile hands are refused
 * in words, and what qemu-img makes with any of its options is taken.
 */
#include <sys/wait.h>
#include <zstd.h>

#include "tests/unit/check-main.h"
#include "tests/unit/qcow2-rig.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"

#define DATA "tests/data/qcow2/"

/* A sample, unpacked. */
static void load_sample(struct rig *r, const char *name)
{
	struct rig packed = {0};
	char path[200];
	ZSTD_inBuffer in;
	ZSTD_outBuffer out;
	ZSTD_DStream *z = ZSTD_createDStream();
	size_t left;

	(void)snprintf(path, sizeof(path), DATA "%s.qcow2.zst", name);
	rig_load(&packed, path);
	*r = (struct rig){0};
	rig_room(r, 2 * MiB);
	in = (ZSTD_inBuffer){packed.p, packed.bytes, 0};
	out = (ZSTD_outBuffer){r->p, r->cap, 0};
	do
		left = ZSTD_decompressStream(z, &out, &in);
	while (left && !ZSTD_isError(left) && in.pos < in.size);
	ck_assert_msg(left == 0, "%s", name);
	r->bytes = out.pos;
	(void)ZSTD_freeDStream(z);
	rig_fini(&packed);
}

static struct qcow2 *open_rig(struct rig *r, const struct qcow2_open *how)
{
	struct qcow2_storage s = rig_storage(r);
	struct err err = {0};
	struct qcow2 *q;

	ck_assert_msg(qcow2_open(&q, &s, how, &err) == 0, "%s", err.msg);
	return q;
}

static struct qcow2 *open_sample(struct rig *r, const char *name)
{
	static const struct qcow2_open how;

	load_sample(r, name);
	return open_rig(r, &how);
}

static void close_all(struct qcow2 *q, struct rig *r)
{
	ck_assert_int_eq(qcow2_close(q, NULL), 0);
	rig_fini(r);
}

/* [off, off + bytes) holds this byte. */
static void expect(struct qcow2 *q, uint64_t off, size_t bytes, uint8_t v)
{
	uint8_t *p = xcalloc(1, bytes);
	struct iovec iov = {p, bytes};

	ck_assert_int_eq(qcow2_readv(q, &iov, 1, off), 0);
	ck_assert(p[0] == v && memcmp(p, p + 1, bytes - 1) == 0);
	free(p);
}

START_TEST(test_samples)
{
	static const struct {
		const char *name;
		uint64_t off, bytes;
		uint8_t v;
	} rows[] = {
	    {"snap-7.2",              0,            65536,                0xd1},
	    {"snap-7.2",              65536,        MiB,                  0   },
	    {"snap-7.2",              MiB + 65536,  65536,                0xa2},
	    {"snap-7.2",              MiB + 131072, 4 * MiB,              0   },
	    {"snap-11.1",             0,            65536,                0xd1},
	    {"snap-11.1",             65536,        MiB,                  0   },
	    {"snap-11.1",             MiB + 65536,  65536,                0xa2},
	    {"snap-11.1",             MiB + 131072, 4 * MiB,              0   },
	    {"snap-7.2-second-disk",  0,            4096,                 0xb1},
	    {"snap-7.2-second-disk",  4096,         16384,                0   },
	    {"snap-11.1-second-disk", 0,            4096,                 0xb1},
	    {"v2-snapshot",           0,            65536,                3   },
	    {"v2-snapshot",           65536,        MiB,                  0   },
	    {"extended-l2",           0,            4096,                 0   },
	    {"extended-l2",           4096,         4096,                 7   },
	    {"extended-l2",           8192,         131072 + 2048 - 8192, 0   },
	    {"extended-l2",           133120,       63488,                1   },
	    {"bitmap-clean",          0,            16 * MiB,             0   },
	    {"bitmap-in-use",         0,            16 * MiB,             0   },
	    {"lazy-dirty",            0,            65536,                9   },
	    {"lazy-dirty",            65536,        MiB,                  0   },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct rig r;
		struct qcow2 *q = open_sample(&r, rows[i].name);

		expect(q, rows[i].off, rows[i].bytes, rows[i].v);
		close_all(q, &r);
	}
}
END_TEST

START_TEST(test_samples_compressed)
{
	static const char *const names[] = {"compressed-zlib", "compressed-zstd"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		static uint8_t want[MiB], got[MiB];
		struct rig r;
		struct qcow2 *q = open_sample(&r, names[i]);
		struct iovec v = {got, MiB};
		struct qcow2_extent x;

		memset(want, 0, MiB);
		for (uint32_t k = 0; k < 26215; k++) {
			uint8_t record[10] = "..abcdefgh";

			put_le16(record, (uint16_t)(k * 2654435761U));
			memcpy(want + k * 10, record, MIN(10, 262144 - k * 10));
		}
		ck_assert_int_eq(qcow2_readv(q, &v, 1, 0), 0);
		ck_assert(memcmp(want, got, MiB) == 0);
		ck_assert_str_eq(qcow2_info(q)->compression, i ? "zstd" : "zlib");
		ck_assert_int_eq(qcow2_map(q, 65536 + 512, MiB / 2, true, &x), 0);
		ck_assert(x.kind == QCOW2_COMPRESSED && x.bytes == 65536 - 512);
		close_all(q, &r);
	}
}
END_TEST

/* ---- hostile and unusual headers ---- */

static void make(struct rig *r, const struct qcow2_create *c)
{
	struct qcow2_storage s = rig_storage(r);
	struct err err = {0};

	*r = (struct rig){0};
	s = rig_storage(r);
	ck_assert_msg(qcow2_create(&s, c, &err) == 0, "%s", err.msg);
}

START_TEST(test_refused)
{
	static const struct {
		unsigned at, bytes;
		uint64_t v;
		int error;
		const char *words;
	} rows[] = {
	    {0,   4, 0,               -EINVAL,  "not a qcow2 image"       },
	    {4,   4, 4,               -ENOTSUP, "version 4"               },
	    {8,   8, 65534,           -EINVAL,  "not in the first cluster"},
	    {8,   8, 8,               -EINVAL,  "not in the first cluster"},
	    {16,  4, 2000,            -EINVAL,  "too long"                },
	    {20,  4, 8,               -EINVAL,  "cluster size is 2^8"     },
	    {20,  4, 22,              -EINVAL,  "cluster size is 2^22"    },
	    {20,  4, UINT32_MAX,      -EINVAL,  "cluster size"            },
	    {24,  8, UINT64_MAX,      -EFBIG,   "disk's size"             },
	    {24,  8, 1ULL << 50,      -EINVAL,  "too few"                 },
	    {32,  4, 1,               -ENOTSUP, "encrypted"               },
	    {36,  4, 4 * MiB + 1,     -EFBIG,   "L1 table"                },
	    {36,  4, 0,               -EINVAL,  "too few"                 },
	    {40,  8, 1000,            -EINVAL,  "L1 table"                },
	    {40,  8, 1ULL << 60,      -EINVAL,  "L1 table"                },
	    {48,  8, 1000,            -EINVAL,  "refcount table"          },
	    {56,  4, 129,             -EFBIG,   "refcount table"          },
	    {56,  4, 0,               -EINVAL,  "no refcount table"       },
	    {60,  4, 65537,           -EFBIG,   "snapshots"               },
	    {72,  8, 1ULL << 5,       -ENOTSUP, "0x20"                    },
	    {72,  8, 1ULL << 63 | 32, -ENOTSUP, "0x8000000000000020"      },
	    {72,  8, 4,               -ENOTSUP, "external data file"      },
	    {72,  8, 8,               -EINVAL,  "compression type"        },
	    {72,  8, 2,               -EACCES,  "corrupt"                 },
	    {96,  4, 7,               -EINVAL,  "refcounts"               },
	    {100, 4, 96,              -EINVAL,  "96 bytes long"           },
	    {100, 4, 1 << 20,         -EINVAL,  "bytes long"              },
	    {104, 1, 1,               -EINVAL,  "compression type"        },
	    {116, 4, 65500,           -EINVAL,  "extension"               },
	};
	static const struct qcow2_create c = {
	    .bytes = 64 * MiB, .backing = "below", .backing_format = "raw"};
	static const struct qcow2_open how = {.writable = true};

	(void)log_open("/dev/null", NULL);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = {0};
		struct qcow2_storage s;
		struct qcow2 *q;
		struct rig r;
		uint8_t be[8];
		int ret;

		make(&r, &c);
		put_be64(be, rows[i].v << (8 * (8 - rows[i].bytes)));
		memcpy(r.p + rows[i].at, be, rows[i].bytes);
		s = rig_storage(&r);
		ret = qcow2_open(&q, &s, &how, &err);
		ck_assert_msg(ret == rows[i].error && strstr(err.msg, rows[i].words),
			      "row %zu: %d, %s", i, ret, err.msg);
		rig_fini(&r);
	}
}
END_TEST

/* A bit that is not known is named by the image itself. */
START_TEST(test_feature_names)
{
	static const struct qcow2_create c = {.bytes = MiB};
	static const struct qcow2_open how;
	struct err err = {0};
	struct qcow2_storage s;
	struct qcow2 *q;
	struct rig r;

	make(&r, &c);
	r.p[120 + 1] = 40; /* the name of bit 0 is that of bit 40 */
	put_be64(r.p + 72, 1ULL << 40);
	s = rig_storage(&r);
	ck_assert_int_eq(qcow2_open(&q, &s, &how, &err), -ENOTSUP);
	ck_assert_msg(strstr(err.msg, "0x10000000000 ('dirty bit')"), "%s", err.msg);
	rig_fini(&r);
}
END_TEST

/* Bits and fields that are not known: compatible ones stay, autoclear ones go with the first
 * writer. */
START_TEST(test_unknown_bits)
{
	static const struct qcow2_create c = {.bytes = MiB};
	struct qcow2_open how = {0};
	struct rig r;

	make(&r, &c);
	put_be64(r.p + 80, 1ULL << 50 | 1);
	put_be64(r.p + 88, 1ULL << 33);
	close_all(open_rig(&r, &how), &(struct rig){0});
	ck_assert_uint_eq(get_be64(r.p + 88), 1ULL << 33);
	how.inactive = how.writable = true;
	close_all(open_rig(&r, &how), &(struct rig){0});
	ck_assert_uint_eq(get_be64(r.p + 88), 1ULL << 33);
	how.inactive = false;
	close_all(open_rig(&r, &how), &(struct rig){0});
	ck_assert_uint_eq(get_be64(r.p + 88), 0);
	ck_assert_uint_eq(get_be64(r.p + 80), 1ULL << 50 | 1);
	ck_assert_uint_eq(get_be32(r.p + 112), 0x6803f857);
	rig_fini(&r);
}
END_TEST

/* ---- tables ---- */

/* One entry is damaged: -EIO, the image is marked and not written any more. */
START_TEST(test_damaged)
{
	static const struct {
		bool l1; /* else L2 */
		uint64_t v;
	} rows[] = {
	    {true,  0x8000000000010200}, /* not at a cluster */
	    {true,  0x8000000000010000}, /* the refcount table */
	    {true,  0x8000000000020000}, /* a refcount block */
	    {false, 0x8000000000050200}, /* not at a cluster */
	    {false, 0x8000000000030000}, /* the L1 table */
	    {false, 0x8000000000040000}, /* the L2 table itself */
	};
	static const struct qcow2_create c = {.bytes = 64 * MiB};
	static const struct qcow2_open how = {.writable = true};
	static uint8_t data[65536];
	struct iovec v = {data, sizeof(data)};

	(void)log_open("/dev/null", NULL);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct qcow2 *q;
		struct rig r, was;
		uint64_t l1;

		make(&r, &c);
		q = open_rig(&r, &how);
		ck_assert_int_eq(qcow2_writev(q, &v, 1, 0), 0);
		close_all(q, &(struct rig){0});
		l1 = get_be64(r.p + 40);
		put_be64(r.p + (rows[i].l1 ? l1 : get_be64(r.p + l1) & 0xffffffffffffff),
			 rows[i].v);
		was = (struct rig){.p = malloc(r.bytes), .bytes = r.bytes};
		memcpy(was.p, r.p, r.bytes);
		q = open_rig(&r, &how);
		ck_assert_msg(qcow2_writev(q, &v, 1, 0) == -EIO, "row %zu", i);
		ck_assert_int_eq(qcow2_writev(q, &v, 1, MiB), -EIO);
		ck_assert_int_lt(qcow2_close(q, NULL), 0);
		ck_assert_uint_eq(get_be64(r.p + 72), 2); /* the corrupt bit, and nothing else */
		put_be64(r.p + 72, 0);
		ck_assert(r.bytes == was.bytes && memcmp(r.p, was.p, r.bytes) == 0);
		rig_fini(&r);
		rig_fini(&was);
	}
}
END_TEST

/* A cluster that the refcounts call free is a table: it is not handed out. */
START_TEST(test_table_is_not_free)
{
	static const struct qcow2_create c = {.bytes = 64 * MiB};
	static const struct qcow2_open how = {.writable = true};
	static uint8_t data[65536];
	struct iovec v = {data, sizeof(data)};
	struct qcow2 *q;
	struct rig r;

	(void)log_open("/dev/null", NULL);
	make(&r, &c);
	q = open_rig(&r, &how);
	ck_assert_int_eq(qcow2_writev(q, &v, 1, 0), 0);
	close_all(q, &(struct rig){0});
	memset(r.p + 0x20000 + 8, 0, 2); /* the refcount of the L2 table */
	q = open_rig(&r, &how);
	ck_assert_int_eq(qcow2_writev(q, &v, 1, MiB), -EIO);
	ck_assert(qcow2_info(q)->corrupt);
	(void)qcow2_close(q, NULL);
	rig_fini(&r);
}
END_TEST

/* ---- beside qemu-img ---- */

static __attribute__((format(printf, 1, 2))) int shell(const char *fmt, ...)
{
	char cmd[500];
	va_list args;
	int status;

	va_start(args, fmt);
	(void)vsnprintf(cmd, sizeof(cmd), fmt, args);
	va_end(args);
	status = system(cmd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void temp_path(char *path)
{
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	(void)close(fd);
}

/* What qemu-img makes with these options is written to, and it approves. */
static void made_by_qemu(const char *const *options, size_t n)
{
	char path[] = "/tmp/qcow2-open-XXXXXX";
	static const struct qcow2_open how = {.writable = true};
	static uint8_t data[100000 / 512 * 512];

	temp_path(path);
	memset(data, 0x5a, sizeof(data));
	for (size_t i = 0; i < n; i++) {
		struct iovec v = {data, sizeof(data)};
		struct qcow2 *q;
		struct rig r = {0};

		ck_assert_int_eq(
		    shell("qemu-img create -q -f qcow2 -o %s %s 16M", options[i], path), 0);
		rig_load(&r, path);
		q = open_rig(&r, &how);
		ck_assert_uint_eq(qcow2_info(q)->bytes, 16 * MiB);
		expect(q, 0, 16 * MiB, 0);
		ck_assert_int_eq(qcow2_writev(q, &v, 1, 3 * MiB + 512), 0);
		ck_assert_int_eq(qcow2_writev(q, &v, 1, 16 * MiB - sizeof(data)), 0);
		ck_assert_int_eq(qcow2_close(q, NULL), 0);
		rig_store(&r, path);
		ck_assert_msg(shell("qemu-img check -q -f qcow2 %s", path) == 0, "%s", options[i]);
		ck_assert_int_eq(shell("qemu-io -f qcow2 -c 'read -P 0x5a 3146240 99840' "
				       "-c 'read -P 0 0 3M' %s | grep -q 'verification failed'",
				       path),
				 1);
		rig_fini(&r);
	}
	(void)unlink(path);
}

START_TEST(test_made_by_qemu)
{
	static const char *const options[] = {
	    "cluster_size=512",
	    "cluster_size=2M",
	    "compat=0.10",
	    "refcount_bits=1",
	    "refcount_bits=64,cluster_size=1k",
	    "extended_l2=on",
	};

	made_by_qemu(options, ARRAY_LEN(options));
}
END_TEST

START_TEST(test_made_by_qemu_more)
{
	static const char *const options[] = {
	    "lazy_refcounts=on",
	    "preallocation=metadata",
	    "preallocation=falloc,cluster_size=4k",
	    "preallocation=full,extended_l2=on",
	    "compression_type=zstd",
	};

	made_by_qemu(options, ARRAY_LEN(options));
}
END_TEST

/* Whatever is made here is one to qemu-img, of the same size in the same layout. */
START_TEST(test_made_here)
{
	static const struct {
		uint64_t bytes;
		uint32_t version, cluster, bits;
		bool extended, more, backing; /* more: lazy refcounts, zstd */
		enum qcow2_prealloc prealloc;
	} rows[] = {
	    {64 * MiB,      0, 0,       0,  false, false, false, QCOW2_PREALLOC_OFF     },
	    {0,             0, 0,       0,  false, false, false, QCOW2_PREALLOC_OFF     },
	    {1000,          0, 0,       0,  false, false, false, QCOW2_PREALLOC_OFF     },
	    {64 * MiB,      2, 0,       0,  false, false, false, QCOW2_PREALLOC_OFF     },
	    {64 * MiB,      0, 512,     1,  false, false, false, QCOW2_PREALLOC_OFF     },
	    {2 * GiB,       0, 512,     64, false, false, false, QCOW2_PREALLOC_OFF     },
	    {64 * MiB,      0, 512,     0,  false, false, true,  QCOW2_PREALLOC_OFF     },
	    {64 * GiB,      0, 2 * MiB, 8,  false, false, false, QCOW2_PREALLOC_OFF     },
	    {64 * MiB,      0, 0,       0,  true,  true,  false, QCOW2_PREALLOC_OFF     },
	    {4 * MiB,       0, 0,       0,  false, false, false, QCOW2_PREALLOC_METADATA},
	    {4 * MiB + 512, 0, 4096,    0,  false, false, false, QCOW2_PREALLOC_FALLOC  },
	    {4 * MiB,       0, 0,       0,  true,  false, false, QCOW2_PREALLOC_FULL    },
	    {4 * MiB,       0, 0,       0,  true,  false, true,  QCOW2_PREALLOC_METADATA},
	};
	char path[] = "/tmp/qcow2-made-XXXXXX";

	temp_path(path);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct qcow2_create c = {
		    .bytes = rows[i].bytes,
		    .version = rows[i].version,
		    .cluster_bytes = rows[i].cluster,
		    .refcount_bits = rows[i].bits,
		    .extended_l2 = rows[i].extended,
		    .lazy_refcounts = rows[i].more,
		    .zstd = rows[i].more,
		    .backing = rows[i].backing ? "no-such-file-of-minivmm" : NULL,
		    .backing_format = "raw",
		    .prealloc = rows[i].prealloc};
		struct rig r;

		make(&r, &c);
		rig_store(&r, path);
		ck_assert_msg(
		    shell("qemu-img check -q 'json:{\"driver\":\"qcow2\",\"backing\":null,"
			  "\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}'",
			  path) == 0,
		    "row %zu", i);
		ck_assert_int_eq(
		    shell("qemu-img info --backing-chain -f qcow2 %s >/dev/null 2>&1", path),
		    rows[i].backing ? 1 : 0);
		rig_fini(&r);
	}
	(void)unlink(path);
}
END_TEST

CHECK_MAIN("qcow2-open", test_samples, test_samples_compressed, test_refused, test_feature_names,
	   test_unknown_bits, test_damaged, test_table_is_not_free, test_made_by_qemu,
	   test_made_by_qemu_more, test_made_here)
