/*
 * The loader of whole streams: what it must refuse and in which words, what it
 * must accept, a stream cut at every byte, and bytes changed at random.
 */
#include <sys/mman.h>

#include "migration/channel/channel.h"
#include "migration/incoming/loader.h"
#include "migration/stream/wire.h"
#include "tests/unit/check-main.h"
#include "tests/unit/migration-rig.h"

#define SMALL_RAM    (64 * KiB)
#define RAM_ID       77
#define DEVICE_ID    5
#define GLOBAL_ID    6
#define DEVICE_BYTES 20 /* of rig-device's fields */

static int load_bytes(struct rig *r, const struct buf *b, struct err *err)
{
	struct src in = src_mem(b->data, b->len);
	struct loader l;
	int ret;

	loader_init(&l, &r->m, NULL, &in);
	ret = loader_header(&l, err);
	if (ret == 0)
		ret = loader_records(&l, err);
	if (ret == 0)
		(void)loader_description(&l, NULL);
	loader_fini(&l);
	return ret;
}

/* ---- pieces of a stream ---- */

static void head(struct buf *b)
{
	buf_be32(b, STREAM_MAGIC);
	buf_be32(b, STREAM_VERSION);
	buf_u8(b, TAG_CONFIGURATION);
	buf_be32(b, 7);
	buf_put(b, "microvm", 7);
}

static void announce(struct buf *b, enum stream_tag tag, uint32_t id, const char *idstr,
		     uint32_t instance, uint32_t version)
{
	buf_u8(b, (uint8_t)tag);
	buf_be32(b, id);
	buf_str8(b, idstr);
	buf_be32(b, instance);
	buf_be32(b, version);
}

static void foot(struct buf *b, uint32_t id)
{
	buf_u8(b, TAG_FOOTER);
	buf_be32(b, id);
}

static void ram_start(struct buf *b)
{
	announce(b, TAG_START, RAM_ID, "ram", 0, 4);
	buf_be64(b, (SMALL_RAM + RIG_BIOS_BYTES + PAGE_BYTES) | 0x4);
	buf_str8(b, "microvm.ram");
	buf_be64(b, SMALL_RAM);
	buf_str8(b, "/rom@etc/acpi/tables");
	buf_be64(b, PAGE_BYTES);
	buf_str8(b, "pc.bios");
	buf_be64(b, RIG_BIOS_BYTES);
	buf_be64(b, 0x10);
	foot(b, RAM_ID);
}

static void ram_part(struct buf *b)
{
	buf_u8(b, TAG_PART);
	buf_be32(b, RAM_ID);
}

static void ram_end(struct buf *b)
{
	buf_be64(b, 0x10);
	foot(b, RAM_ID);
}

static void page(struct buf *b, uint64_t word, const char *name, int fill)
{
	buf_be64(b, word);
	if (name)
		buf_str8(b, name);
	memset(buf_room(b, PAGE_BYTES), fill, PAGE_BYTES);
	b->len += PAGE_BYTES;
}

static void device_fields(struct buf *b)
{
	buf_be32(b, 42);
	buf_zero(b, DEVICE_BYTES - 4);
}

static void device(struct buf *b)
{
	announce(b, TAG_FULL, DEVICE_ID, "rig/rig-device", 0, 2);
	device_fields(b);
	foot(b, DEVICE_ID);
}

static void global(struct buf *b, const char *state)
{
	announce(b, TAG_FULL, GLOBAL_ID, "globalstate", 0, 1);
	buf_be32(b, (uint32_t)strlen(state) + 1);
	buf_put(b, state, strlen(state));
	buf_zero(b, 100 - strlen(state));
	foot(b, GLOBAL_ID);
}

static void command(struct buf *b, unsigned cmd, unsigned n)
{
	buf_u8(b, TAG_COMMAND);
	buf_be16(b, (uint16_t)cmd);
	buf_be16(b, (uint16_t)n);
	buf_zero(b, n);
}

static void end(struct buf *b)
{
	buf_u8(b, TAG_EOF);
}

/* ---- what must be refused ---- */

#define BUILD(name, ...)                                                                           \
	static void name(struct buf *b)                                                            \
	{                                                                                          \
		__VA_ARGS__                                                                        \
		end(b);                                                                            \
	}

BUILD(bad_magic, buf_be32(b, 0x7f454c46); buf_be32(b, 3);)
BUILD(old_version, buf_be32(b, STREAM_MAGIC); buf_be32(b, 2);)
BUILD(new_version, buf_be32(b, STREAM_MAGIC); buf_be32(b, 4);)
BUILD(no_configuration, buf_be32(b, STREAM_MAGIC); buf_be32(b, 3); device(b);)
BUILD(other_machine, buf_be32(b, STREAM_MAGIC); buf_be32(b, 3); buf_u8(b, TAG_CONFIGURATION);
      buf_be32(b, 5); buf_put(b, "micro", 5);)
BUILD(long_machine, buf_be32(b, STREAM_MAGIC); buf_be32(b, 3); buf_u8(b, TAG_CONFIGURATION);
      buf_be32(b, 0xffffffff);)
BUILD(page_bits, head(b); buf_u8(b, 5); buf_str8(b, "configuration/target-page-bits");
      buf_be32(b, 1); buf_be32(b, 14);)
BUILD(same_page_bits, head(b); buf_u8(b, 5); buf_str8(b, "configuration/target-page-bits");
      buf_be32(b, 1); buf_be32(b, 12);)
BUILD(ignore_shared, head(b); buf_u8(b, 5); buf_str8(b, "configuration/capabilities");
      buf_be32(b, 1); buf_be32(b, 1); buf_str8(b, "x-ignore-shared");)
BUILD(many_capabilities, head(b); buf_u8(b, 5); buf_str8(b, "configuration/capabilities");
      buf_be32(b, 1); buf_be32(b, 0xffffffff);)
BUILD(uuid_not_set, head(b); buf_u8(b, 5); buf_str8(b, "configuration/uuid"); buf_be32(b, 1);
      buf_zero(b, 16);)
BUILD(unknown_config, head(b); buf_u8(b, 5); buf_str8(b, "configuration/zz"); buf_be32(b, 1);)
BUILD(config_version, head(b); buf_u8(b, 5); buf_str8(b, "configuration/uuid"); buf_be32(b, 2);)
BUILD(unknown_record, head(b); buf_u8(b, 0x55);)
BUILD(top_subsection, head(b); device(b); buf_u8(b, 5); buf_str8(b, "x");)
BUILD(unknown_device, head(b); announce(b, TAG_FULL, 1, "virtio-blk", 0, 2);)
BUILD(unknown_instance, head(b); announce(b, TAG_FULL, 1, "rig/rig-device", 1, 2);)
BUILD(unknown_id, head(b); ram_start(b); buf_u8(b, TAG_PART); buf_be32(b, 5); ram_end(b);)
BUILD(new_device, head(b); announce(b, TAG_FULL, 1, "rig/rig-device", 0, 3);)
BUILD(old_device, head(b); announce(b, TAG_FULL, 1, "rig/rig-device", 0, 1);)
BUILD(ram_version, head(b); announce(b, TAG_START, 1, "ram", 0, 3);)
BUILD(one_id_twice, head(b); ram_start(b); announce(b, TAG_FULL, RAM_ID, "rig/rig-device", 0, 2);)
BUILD(footer_tag, head(b); announce(b, TAG_FULL, 9, "rig/rig-device", 0, 2); device_fields(b);
      buf_u8(b, 0x7d); buf_be32(b, 9);)
BUILD(footer_id, head(b); announce(b, TAG_FULL, 9, "rig/rig-device", 0, 2); device_fields(b);
      foot(b, 8);)
BUILD(unknown_sub, head(b); announce(b, TAG_FULL, 9, "rig/rig-device", 0, 2); device_fields(b);
      buf_u8(b, 5); buf_str8(b, "rig-device/zz"); buf_be32(b, 1); foot(b, 9);)
BUILD(state_unknown, head(b); global(b, "dancing");)
BUILD(state_of_the_moment, head(b); global(b, "inmigrate");)
BUILD(state_endless, head(b); announce(b, TAG_FULL, 1, "globalstate", 0, 1); buf_be32(b, 7);
      memset(buf_room(b, 100), 'r', 100); b->len += 100; foot(b, 1);)
BUILD(state_long, head(b); announce(b, TAG_FULL, 1, "globalstate", 0, 1); buf_be32(b, 101);
      buf_zero(b, 100); foot(b, 1);)
BUILD(block_unknown, head(b); announce(b, TAG_START, 1, "ram", 0, 4); buf_be64(b, 0x1004);
      buf_str8(b, "pc.ram"); buf_be64(b, 0x1000);)
BUILD(block_length, head(b); announce(b, TAG_START, 1, "ram", 0, 4); buf_be64(b, 0x20004);
      buf_str8(b, "microvm.ram"); buf_be64(b, 0x20000);)
BUILD(blob_length, head(b); announce(b, TAG_START, 1, "ram", 0, 4); buf_be64(b, 0x201004);
      buf_str8(b, "/rom@etc/acpi/tables"); buf_be64(b, 0x201000);)
BUILD(block_beyond_total, head(b); announce(b, TAG_START, 1, "ram", 0, 4); buf_be64(b, 0x1004);
      buf_str8(b, "microvm.ram"); buf_be64(b, SMALL_RAM);)
BUILD(block_empty, head(b); announce(b, TAG_START, 1, "ram", 0, 4); buf_be64(b, 0x1004);
      buf_str8(b, "/rom@etc/acpi/rsdp"); buf_be64(b, 0);)
BUILD(block_nul, head(b); announce(b, TAG_START, 1, "ram", 0, 4); buf_be64(b, 0x1004);
      buf_put(b, "\3a\0b", 4); buf_be64(b, 0x1000);)
BUILD(page_beyond, head(b); ram_start(b); ram_part(b); page(b, SMALL_RAM | 0x8, "microvm.ram", 1);
      ram_end(b);)
BUILD(page_far_beyond, head(b); ram_start(b); ram_part(b);
      page(b, 0xfffffffffffff008, "microvm.ram", 1); ram_end(b);)
BUILD(blob_page_beyond, head(b); ram_start(b); ram_part(b);
      page(b, 0x1008, "/rom@etc/acpi/tables", 1); ram_end(b);)
BUILD(blob_not_listed, head(b); ram_start(b); ram_part(b); page(b, 0x8, "/rom@etc/acpi/rsdp", 1);
      ram_end(b);)
BUILD(page_unknown_block, head(b); ram_start(b); ram_part(b); page(b, 0x8, "zz", 1); ram_end(b);)
BUILD(continue_first, head(b); ram_start(b); ram_part(b); page(b, 0x28, NULL, 1); ram_end(b);)
BUILD(two_flags, head(b); ram_start(b); ram_part(b); page(b, 0xa, "microvm.ram", 1); ram_end(b);)
BUILD(no_flag, head(b); ram_start(b); ram_part(b); page(b, 0, "microvm.ram", 1); ram_end(b);)
BUILD(full_flag, head(b); ram_start(b); ram_part(b); page(b, 1, "microvm.ram", 1); ram_end(b);)
BUILD(xbzrle, head(b); ram_start(b); ram_part(b); page(b, 0x40, "microvm.ram", 1); ram_end(b);)
BUILD(compressed, head(b); ram_start(b); ram_part(b); page(b, 0x100, "microvm.ram", 1);)
BUILD(hook, head(b); ram_start(b); ram_part(b); buf_be64(b, 0x80);)
BUILD(multifd, head(b); ram_start(b); ram_part(b); buf_be64(b, 0x200);)
BUILD(command_0, head(b); command(b, 0, 0);)
BUILD(command_12, head(b); command(b, 12, 0);)
BUILD(command_length, head(b); command(b, 1, 1);)
BUILD(ping_early, head(b); command(b, 2, 4);)
BUILD(postcopy_early, head(b); command(b, 4, 0);)
BUILD(packaged, head(b); command(b, 7, 4);)
BUILD(advise_16, head(b); command(b, 3, 16);)
BUILD(go_early, head(b); command(b, 1, 0); command(b, 0x4d02, 0);)
BUILD(description_unasked, head(b); command(b, 0x4d01, 9);)

static const struct {
	void (*build)(struct buf *b);
	const char *words;
} refused[] = {
    {bad_magic,           "this is not a migration stream (it begins with 0x7f454c46)"                 },
    {old_version,         "the stream has the obsolete version 2"                                      },
    {new_version,         "the stream has version 4, only 3 is understood"                             },
    {no_configuration,    "Configuration section missing"                                              },
    {other_machine,       "Machine type received is 'micro' and local is 'microvm'"                    },
    {long_machine,        "the machine type's name has 4294967295 bytes"                               },
    {page_bits,           "the source has pages of 2^14 bytes, here it is 2^12"                        },
    {ignore_shared,       "capability 'x-ignore-shared' is on at the source and off here"              },
    {many_capabilities,   "the stream lists 4294967295 capabilities"                                   },
    {unknown_config,      "unknown subsection 'configuration/zz' of the configuration at stream "
		     "offset 0x14"						 },
    {config_version,      "configuration/uuid has version 2, only 1 is understood"                     },
    {unknown_record,      "unknown record 0x55 at stream offset 0x14"                                  },
    {top_subsection,      "unknown record 0x05"							},
    {unknown_device,      "unknown section 'virtio-blk' instance 0 at stream offset 0x14: this "
		     "machine has no such device"                                  },
    {unknown_instance,    "unknown section 'rig/rig-device' instance 1"                                },
    {unknown_id,          "continues one with the unknown id 5"                                        },
    {new_device,          "section 'rig/rig-device' has version 3 at the source, 2 to 2 are understood"},
    {old_device,          "section 'rig/rig-device' has version 1 at the source"                       },
    {ram_version,         "section 'ram' has version 3 at the source, 4 to 4 are understood here"      },
    {one_id_twice,        "sections 'ram' and 'rig/rig-device' have the same id 77"                    },
    {footer_tag,          "section 'rig/rig-device' does not end at stream offset 0x44: its layout "
		 "differs"							     },
    {footer_id,           "section 'rig/rig-device' with id 9 has a footer with id 8"                  },
    {unknown_sub,         "rig-device: unknown subsection 'rig-device/zz' at stream offset"            },
    {state_unknown,       "globalstate: unknown run state 'dancing'"                                   },
    {state_of_the_moment, "globalstate: run state 'inmigrate' cannot be taken over"                    },
    {state_endless,       "globalstate: the run state's name does not end"                             },
    {state_long,          "globalstate: the run state's name does not end"                             },
    {block_unknown,       "unknown RAM block 'pc.ram'"						 },
    {block_length,        "RAM block 'microvm.ram' has 0x20000 bytes at the source and 0x10000 here"   },
    {blob_length,         "RAM block '/rom@etc/acpi/tables' has 0x201000 bytes at the source, at most "
		  "0x200000 are possible"					     },
    {block_beyond_total,  "RAM block 'microvm.ram' has 0x10000 bytes, of the total 0x1000 are "
			 "left"						},
    {block_empty,         "RAM block '/rom@etc/acpi/rsdp' has 0x0 bytes"                               },
    {block_nul,           "the name of a RAM block contains a NUL byte"                                },
    {page_beyond,         "page offset 0x10000 is beyond RAM block 'microvm.ram' of 0x10000 bytes"     },
    {page_far_beyond,     "page offset 0xfffffffffffff000 is beyond RAM block 'microvm.ram'"           },
    {blob_page_beyond,    "page offset 0x1000 is beyond RAM block '/rom@etc/acpi/tables'"              },
    {blob_not_listed,     "page offset 0x0 is beyond RAM block '/rom@etc/acpi/rsdp' of 0x0 bytes"      },
    {page_unknown_block,  "unknown RAM block 'zz'"						     },
    {continue_first,      "the first RAM page at stream offset"                                        },
    {two_flags,           "unknown combination of flags 0xa in the RAM record at stream offset"        },
    {no_flag,             "unknown combination of flags 0x0"                                           },
    {full_flag,           "unknown combination of flags 0x1"                                           },
    {xbzrle,	      "the XBZRLE page at offset 0x0 of RAM block 'microvm.ram' is no delta"       },
    {compressed,          "Received an unexpected compressed page"                                     },
    {hook,		"Received an RDMA record"						    },
    {multifd,             "Received a multifd flush"						   },
    {command_0,           "unknown command 0 at stream offset 0x15"                                    },
    {command_12,          "unknown command 12"							 },
    {command_length,      "command OPEN_RETURN_PATH at stream offset 0x15 has 1 bytes instead of 0"    },
    {ping_early,          "the source sends PING without a return path"                                },
    {postcopy_early,      "command POSTCOPY_LISTEN at stream offset 0x15: it makes no sense"           },
    {packaged,            "command PACKAGED"							   },
    {advise_16,           "RAM postcopy is disabled but have 16 byte advise"                           },
    {go_early,            "command GO"								 },
    {description_unasked, "command DESCRIPTION"							},
};

START_TEST(test_refused)
{
	struct rig *r = rig_new_with(RS_INMIGRATE, SMALL_RAM, NULL);

	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		struct err err = {0};
		struct buf b = {0};

		refused[i].build(&b);
		ck_assert_msg(load_bytes(r, &b, &err) < 0, "accepted: %s", refused[i].words);
		ck_assert_msg(strstr(err.msg, refused[i].words) != NULL, "'%s' is not in '%s'",
			      refused[i].words, err.msg);
		buf_free(&b);
	}
	rig_free(r);
}
END_TEST

START_TEST(test_hook_refuses)
{
	struct rig *r = rig_new_with(RS_INMIGRATE, SMALL_RAM, NULL);
	struct err err = {0};
	struct buf b = {0};

	r->dev.refuse_load = true;
	head(&b);
	device(&b);
	end(&b);
	ck_assert_int_lt(load_bytes(r, &b, &err), 0);
	ck_assert_str_eq(err.msg, "section 'rig/rig-device' at stream offset 0x14: rig-device: "
				  "counter does not please");
	buf_free(&b);
	rig_free(r);
}
END_TEST

/* ---- what must be accepted ---- */

BUILD(nothing_at_all, head(b);)
BUILD(devices_first, head(b); global(b, "running"); device(b); ram_start(b); ram_part(b);
      ram_end(b);)
BUILD(everything_twice, head(b); ram_start(b); ram_start(b); device(b); device(b);
      global(b, "paused"); global(b, "running");)
BUILD(advise_0, head(b); command(b, 3, 0);)
BUILD(ping, head(b); command(b, 1, 0); command(b, 1, 0); command(b, 2, 4);)
BUILD(switchover_start, head(b); command(b, 11, 0); device(b);)
BUILD(trailing, head(b); end(b); buf_zero(b, 99);)
BUILD(broken_description, head(b); end(b); buf_u8(b, TAG_VMDESC); buf_be32(b, 0xffffffff);)
BUILD(device_continued, head(b); device(b); buf_u8(b, TAG_END); buf_be32(b, DEVICE_ID);
      device_fields(b); foot(b, DEVICE_ID);)
BUILD(pages, head(b); ram_start(b); ram_part(b); page(b, 0x1008, "microvm.ram", 0x11);
      page(b, 0x2028, NULL, 0x22); buf_be64(b, 0x3022); buf_u8(b, 0x55);
      page(b, 0x8, "/rom@etc/acpi/tables", 0x33); page(b, 0x8, "pc.bios", 0x44);
      buf_be64(b, 0x1022); buf_u8(b, 0); ram_end(b); ram_part(b); page(b, 0x2028, NULL, 0x66);
      ram_end(b);)

START_TEST(test_accepted)
{
	void (*const build[])(struct buf * b) = {
	    nothing_at_all,   devices_first, everything_twice, advise_0,           ping,
	    switchover_start, trailing,      same_page_bits,   broken_description, device_continued,
	    uuid_not_set,
	};
	struct rig *r = rig_new_with(RS_INMIGRATE, SMALL_RAM, NULL);

	for (size_t i = 0; i < ARRAY_LEN(build); i++) {
		struct err err = {0};
		struct buf b = {0};

		build[i](&b);
		ck_assert_msg(load_bytes(r, &b, &err) == 0, "%zu: %s", i, err.msg);
		buf_free(&b);
	}
	rig_free(r);
}
END_TEST

static void check_page(struct rig *r, size_t block, size_t page_nr, int fill)
{
	const uint8_t *p = rig_block(r, block)->hva + page_nr * PAGE_BYTES;

	for (size_t i = 0; i < PAGE_BYTES; i++)
		ck_assert_int_eq(p[i], fill);
}

START_TEST(test_pages_are_placed)
{
	struct rig *r = rig_new_with(RS_INMIGRATE, SMALL_RAM, NULL);
	struct err err = {0};
	struct buf b = {0};

	memset(rig_block(r, 1)->hva + PAGE_BYTES, 0x77, PAGE_BYTES);
	pages(&b);
	ck_assert_msg(load_bytes(r, &b, &err) == 0, "%s", err.msg);
	check_page(r, 0, 0, 0);
	check_page(r, 0, 1, 0x11);
	check_page(r, 0, 2, 0x22);
	check_page(r, 0, 3, 0x55);
	check_page(r, 1, 0, 0x44);
	check_page(r, 1, 1, 0);
	check_page(r, 1, 2, 0x66);
	buf_free(&b);
	rig_free(r);
}
END_TEST

/* A page that is zero and was never touched stays so. */
START_TEST(test_zero_pages_stay_unpopulated)
{
	struct rig *r = rig_new_with(RS_INMIGRATE, 4 * MiB, NULL);
	unsigned char present[1024];
	struct err err = {0};
	struct buf b = {0};

	head(&b);
	announce(&b, TAG_START, RAM_ID, "ram", 0, 4);
	buf_be64(&b, (4 * MiB) | 0x4);
	buf_str8(&b, "microvm.ram");
	buf_be64(&b, 4 * MiB);
	for (uint64_t i = 0; i < 1024; i++) {
		buf_be64(&b, i * PAGE_BYTES | (i ? 0x22 : 0x2));
		if (!i)
			buf_str8(&b, "microvm.ram");
		buf_u8(&b, 0);
	}
	ram_end(&b);
	end(&b);
	ck_assert_msg(load_bytes(r, &b, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(mincore(rig_block(r, 0)->hva, 4 * MiB, present), 0);
	for (size_t i = 0; i < 1024; i++)
		ck_assert_int_eq(present[i] & 1, 0);
	buf_free(&b);
	rig_free(r);
}
END_TEST

/* ---- whole streams ---- */

static void make_small_stream(struct buf *out)
{
	struct rig *s = rig_new_with(RS_PRELAUNCH, SMALL_RAM, NULL);
	char path[128], uri[160];

	(void)snprintf(path, sizeof(path), "%s/stream", rig_dir());
	(void)snprintf(uri, sizeof(uri), "file:%s", path);
	memset(rig_block(s, 0)->hva + 3 * PAGE_BYTES, 0xa5, PAGE_BYTES);
	s->dev.counter = 9;
	s->dev.extra = true;
	rig_run_guest(s);
	ck_assert_int_eq(rig_migrate(s, uri, NULL), 0);
	rig_await(s, MIG_COMPLETED);
	rig_read_file(path, out);
	rig_free(s);
	rig_remove_dir();
}

/* Offset of the EOF record: the description follows it. */
static size_t eof_offset(const struct buf *b)
{
	const uint8_t *json = memmem(b->data, b->len, "{\"page_size\"", 12);

	ck_assert_ptr_nonnull(json);
	return (size_t)(json - b->data) - 6;
}

START_TEST(test_own_stream)
{
	struct rig *r = rig_new_with(RS_INMIGRATE, SMALL_RAM, NULL);
	static const char more[] = ", \"x-minivmm\": {\"machine\": \"";
	struct buf b = {0};
	struct err err = {0};
	size_t eof;

	make_small_stream(&b);
	eof = eof_offset(&b);
	ck_assert_msg(load_bytes(r, &b, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(r->dev.counter, 9);
	ck_assert(r->dev.extra);
	check_page(r, 0, 3, 0xa5);
	ck_assert_int_eq(b.data[eof], TAG_EOF);
	ck_assert_int_eq(b.data[eof + 1], TAG_VMDESC);
	buf_u8(&b, 0);
	/* The machine's description follows (peer/saved.h). */
	ck_assert_ptr_nonnull(strstr((const char *)b.data + eof + 6, more));
	*strstr((char *)b.data + eof + 6, more) = 0;
	ck_assert_str_eq(
	    (const char *)b.data + eof + 6,
	    "{\"page_size\": 4096, \"devices\": ["
	    "{\"name\": \"timer\", \"instance_id\": 0, \"vmsd_name\": \"timer\", \"version\": 2, "
	    "\"fields\": [{\"name\": \"cpu_ticks_offset\", \"type\": \"int64\", \"size\": 8}, "
	    "{\"name\": \"unused\", \"type\": \"unused_buffer\", \"size\": 8}, "
	    "{\"name\": \"cpu_clock_offset\", \"type\": \"int64\", \"size\": 8}]}, "
	    "{\"name\": \"rig/rig-device\", \"instance_id\": 0, \"vmsd_name\": \"rig-device\", "
	    "\"version\": 2, \"fields\": [{\"name\": \"counter\", \"type\": \"uint32\", "
	    "\"size\": 4}, {\"name\": \"bytes\", \"type\": \"buffer\", \"size\": 16}], "
	    "\"subsections\": [{\"vmsd_name\": \"rig-device/extra\", \"version\": 1, \"fields\": "
	    "[{\"name\": \"extra\", \"type\": \"bool\", \"size\": 1}]}]}, "
	    "{\"name\": \"globalstate\", \"instance_id\": 0, \"vmsd_name\": \"globalstate\", "
	    "\"version\": 1, \"fields\": [{\"name\": \"size\", \"type\": \"uint32\", \"size\": 4}, "
	    "{\"name\": \"runstate\", \"type\": \"buffer\", \"size\": 100}]}]");
	buf_free(&b);
	rig_free(r);
}
END_TEST

START_TEST(test_cut_at_every_byte)
{
	struct rig *r = rig_new_with(RS_INMIGRATE, SMALL_RAM, NULL);
	struct buf b = {0};
	size_t eof, len;

	make_small_stream(&b);
	len = b.len;
	eof = eof_offset(&b);
	for (size_t cut = 0; cut < len; cut++) {
		struct err err = {0};
		int ret;

		/* the cut ends the memory too, so that an overrun is seen */
		struct buf part = {0};

		buf_put(&part, b.data, cut);
		ret = load_bytes(r, &part, &err);
		ck_assert_msg((ret == 0) == (cut > eof), "cut at %zu of %zu: %s", cut, eof,
			      err.msg);
		ck_assert_msg(ret == 0 || strstr(err.msg, "cut short"), "%zu: %s", cut, err.msg);
		buf_free(&part);
	}
	buf_free(&b);
	rig_free(r);
}
END_TEST

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

START_TEST(test_changed_at_random)
{
	struct rig *r = rig_new_with(RS_INMIGRATE, SMALL_RAM, NULL);
	struct buf b = {0}, copy = {0};
	uint32_t seed = 20240607;
	unsigned ok = 0, bad = 0;

	make_small_stream(&b);
	for (int round = 0; round < 5000; round++) {
		struct err err = {0};
		unsigned n = 1 + next_random(&seed) % 4;

		buf_clear(&copy);
		buf_put(&copy, b.data, b.len);
		for (unsigned i = 0; i < n; i++)
			copy.data[next_random(&seed) % copy.len] = (uint8_t)next_random(&seed);
		if (load_bytes(r, &copy, &err) == 0) {
			ok++;
		} else {
			bad++;
			ck_assert_int_ne(err.msg[0], 0);
		}
	}
	ck_assert(ok > 0 && bad > 0);
	buf_free(&b);
	buf_free(&copy);
	rig_free(r);
}
END_TEST

CHECK_MAIN("migration-stream", test_refused, test_hook_refuses, test_accepted,
	   test_pages_are_placed, test_zero_pages_stay_unpopulated, test_own_stream,
	   test_cut_at_every_byte, test_changed_at_random)
