/* The generation ID: its values, its place, its change, its section. */
#include <errno.h>
#include <string.h>

#include "devices/device-table.h"
#include "devices/ged.h"
#include "devices/vmgenid.h"
#include "tests/unit/bare-machine.h"
#include "tests/unit/check-main.h"
#include "vmm/base/buf.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define ONE "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87"
#define TWO "11111111-2222-3333-4444-555555555555"

static struct config cfg;
static struct machine *m;

static void setup(bool kernel, bool incoming)
{
	const struct ram_backend be = {.kind = RAM_ANONYMOUS, .fd = -1};
	struct ram_block *ram;

	cfg = (struct config){.kernel = (char *)(kernel ? "k" : NULL),
			      .incoming = (char *)(incoming ? "defer" : NULL)};
	m = bare_machine_new(&cfg);
	memory_init(&m->mem, -1);
	ram = memory_add_block(&m->mem, "microvm.ram", MiB, &be, NULL);
	ck_assert_ptr_nonnull(ram);
	ck_assert_int_eq(memory_map_block(&m->mem, ram, 0, 0, MiB, NULL), 0);
	ck_assert_int_eq(ged_create(m, NULL), 0);
}

static void teardown(void)
{
	bare_machine_free(m);
}

static int create(const char *guid, struct err *err)
{
	struct keyval kv = {.key = (char *)"guid", .val = (char *)guid};
	struct cfg_device d = {
	    .row = &vmgenid_row,
	    .driver = (char *)"vmgenid",
	    .id = (char *)"vg",
	    .props = {.v = &kv, .n = guid ? 1 : 0}
        };

	return device_create(m, &d, 0, NULL, err);
}

static const char *guid_of(void)
{
	static struct uuid_text t;

	t = uuid_text(vmgenid_find(m)->guid);
	return t.s;
}

static uint64_t event(void)
{
	return bus_read(&m->mmio, BOARD_GED_EVENT, 4);
}

static void put_in_memory(const char *text)
{
	uint8_t guid[UUID_BYTES];

	ck_assert(uuid_parse(text, guid));
	uuid_swap(guid, guid);
	ck_assert_int_eq(memory_write(&m->mem, BOARD_VMGENID_GPA, guid, sizeof(guid)), 0);
}

/* What the guest reads there. */
static const char *in_memory(uint64_t gpa)
{
	static struct uuid_text t;
	uint8_t bytes[UUID_BYTES];

	ck_assert_int_eq(memory_read(&m->mem, gpa, bytes, sizeof(bytes)), 0);
	uuid_swap(bytes, bytes);
	t = uuid_text(bytes);
	return t.s;
}

static void load_address(uint64_t gpa, int want)
{
	struct vmgenid *v = vmgenid_find(m);
	uint8_t le[8];
	struct src in = src_mem(le, sizeof(le));
	struct err err = {0};

	put_le64(le, gpa);
	ck_assert_int_eq(vms_load(&vmgenid_vmstate, v, &in, 1, &err), want);
	if (want < 0)
		ck_assert_ptr_nonnull(strstr(err.msg, "vmgenid_addr_le"));
}

START_TEST(wrong_values)
{
	static const char *const wrong[] = {"", "xx", "Auto", ONE "0"};
	struct err err = {0};

	setup(true, false);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		ck_assert_int_eq(create(wrong[i], &err), -EINVAL);
		ck_assert_ptr_nonnull(
		    strstr(err.msg, "Property 'vmgenid.guid' doesn't take value"));
	}
	ck_assert_ptr_null(vmgenid_find(m));
	ck_assert_int_eq(create("auto", NULL), 0);
	ck_assert_int_lt(create(ONE, &err), 0);
	ck_assert_str_eq(err.msg, "at most one vmgenid device is permitted");
	teardown();
}
END_TEST

/* A booted guest has guid=, at the place that the tables name; without one, a random ID. */
START_TEST(booted)
{
	const struct board_device *b;
	char first[37];

	setup(true, false);
	ck_assert_int_eq(create(ONE, NULL), 0);
	ck_assert_str_eq(guid_of(), ONE);
	b = &m->board.devices[m->board.n - 1];
	ck_assert_int_eq(b->kind, BOARD_VMGENID);
	ck_assert_uint_eq(b->base, BOARD_VMGENID_GPA);
	ck_assert_uint_eq(b->bytes, UUID_BYTES);
	ck_assert_uint_eq(get_le32(b->content), 0x324e6eaf); /* little-endian in memory */
	ck_assert_uint_eq(get_le64(vmgenid_find(m)->address_le), BOARD_VMGENID_GPA);
	teardown();

	setup(true, false);
	ck_assert_int_eq(create(NULL, NULL), 0);
	(void)snprintf(first, sizeof(first), "%s", guid_of());
	teardown();
	setup(false, false);
	ck_assert_int_eq(create(NULL, NULL), 0);
	ck_assert_str_ne(guid_of(), first);
	ck_assert_uint_eq(get_le64(vmgenid_find(m)->address_le), 0); /* nothing tells the guest */
	teardown();
}
END_TEST

/* Each load gives another one, and the event. */
START_TEST(loaded)
{
	setup(false, true);
	ck_assert_int_eq(create(TWO, NULL), 0);
	ck_assert_str_ne(guid_of(), TWO);
	load_address(BOARD_VMGENID_GPA, 0);
	put_in_memory(ONE);
	ck_assert_int_eq(vmgenid_changed(m, NULL), 0);
	ck_assert_str_eq(guid_of(), TWO);
	ck_assert_str_eq(in_memory(BOARD_VMGENID_GPA), TWO);
	ck_assert_uint_eq(event(), GED_EVENT_GENERATION);
	ck_assert_mem_eq(m->board.devices[m->board.n - 1].content,
			 memory_ptr(&m->mem, BOARD_VMGENID_GPA, UUID_BYTES), UUID_BYTES);
	/* a second time into the same process */
	put_in_memory(ONE);
	ck_assert_int_eq(vmgenid_changed(m, NULL), 0);
	ck_assert_str_ne(guid_of(), TWO);
	ck_assert_str_ne(guid_of(), ONE);
	ck_assert_str_eq(in_memory(BOARD_VMGENID_GPA), guid_of());
	ck_assert_uint_eq(event(), GED_EVENT_GENERATION);
	teardown();
}
END_TEST

/* -loadvm: the machine has guid= for the guest of the snapshot, and not for one that is booted. */
START_TEST(wanted_by_snapshot)
{
	setup(true, false);
	cfg.loadvm = (char *)"tag";
	ck_assert_int_eq(create(TWO, NULL), 0);
	ck_assert_str_ne(guid_of(), TWO);
	put_in_memory(ONE);
	ck_assert_int_eq(vmgenid_changed(m, NULL), 0);
	ck_assert_str_eq(guid_of(), TWO);
	ck_assert_str_eq(in_memory(BOARD_VMGENID_GPA), TWO);
	teardown();
}
END_TEST

/* What the guest has already is nothing new. */
START_TEST(wanted_again)
{
	setup(false, true);
	ck_assert_int_eq(create(ONE, NULL), 0);
	load_address(BOARD_VMGENID_GPA, 0);
	put_in_memory(ONE);
	ck_assert_int_eq(vmgenid_changed(m, NULL), 0);
	ck_assert_str_ne(guid_of(), ONE);
	ck_assert_str_eq(in_memory(BOARD_VMGENID_GPA), guid_of());
	teardown();
}
END_TEST

START_TEST(moved)
{
	setup(false, true);
	ck_assert_int_eq(create(TWO, NULL), 0);
	load_address(BOARD_VMGENID_GPA, 0);
	put_in_memory(ONE);
	ck_assert_int_eq(vmgenid_kept(m, NULL), 0);
	ck_assert_str_eq(guid_of(), ONE);
	ck_assert_str_eq(in_memory(BOARD_VMGENID_GPA), ONE);
	ck_assert_uint_eq(event(), 0);
	teardown();
}
END_TEST

/* A guest that was never told has no bytes to be changed, and no event. */
START_TEST(no_place)
{
	char first[37];

	setup(false, true);
	ck_assert_int_eq(create("auto", NULL), 0);
	load_address(0, 0);
	(void)snprintf(first, sizeof(first), "%s", guid_of());
	ck_assert_int_eq(vmgenid_kept(m, NULL), 0);
	ck_assert_str_eq(guid_of(), first);
	ck_assert_int_eq(vmgenid_changed(m, NULL), 0);
	ck_assert_str_ne(guid_of(), first);
	ck_assert_uint_eq(event(), 0);
	ck_assert_uint_eq(get_le64(memory_ptr(&m->mem, 0, 8)), 0);
	teardown();
}
END_TEST

/* A foreign address is RAM for all 16 bytes, or refused. */
START_TEST(foreign_places)
{
	setup(false, true);
	ck_assert_int_eq(create("auto", NULL), 0);
	load_address(MiB, -EINVAL);
	load_address(MiB - 15, -EINVAL);
	load_address(UINT64_MAX, -EINVAL);
	load_address(UINT64_MAX - 15, -EINVAL);
	load_address(MiB - 16, 0);
	ck_assert_int_eq(vmgenid_changed(m, NULL), 0);
	ck_assert_str_eq(in_memory(MiB - 16), guid_of());
	teardown();
}
END_TEST

START_TEST(none)
{
	setup(false, true);
	ck_assert_ptr_null(vmgenid_find(m));
	ck_assert_int_eq(vmgenid_changed(m, NULL), 0);
	ck_assert_int_eq(vmgenid_kept(m, NULL), 0);
	ck_assert_uint_eq(event(), 0);
	teardown();
}
END_TEST

CHECK_MAIN("vmgenid", wrong_values, booted, loaded, wanted_by_snapshot, wanted_again, moved,
	   no_place, foreign_places, none)
