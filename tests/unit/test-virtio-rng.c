/* Where virtio-rng's bytes come from: objects, and a file that has nothing at the moment. */
#include <sys/stat.h>

#include "tests/unit/check-main.h"
#include "tests/unit/virtio-backends.h"

#define SLOT 2
#define DATA 0x40000

struct rig {
	char folder[32], path[48];
	int writer;
	struct cfg_object objects[3];
	struct config config;
	struct machine *m;
	struct ring r;
};

static void rig_begin(struct rig *g)
{
	*g = (struct rig){.folder = "/tmp/rng-XXXXXX"};
	ck_assert_ptr_nonnull(mkdtemp(g->folder));
	(void)snprintf(g->path, sizeof(g->path), "%s/source", g->folder);
	ck_assert_int_eq(mkfifo(g->path, 0600), 0);
	g->writer = open(g->path, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(g->writer, 0);
	g->objects[0] = (struct cfg_object){
	    .type = (char *)"rng-random", .id = (char *)"file", .filename = g->path};
	g->objects[1] = (struct cfg_object){.type = (char *)"rng-builtin", .id = (char *)"own"};
	g->objects[2] = (struct cfg_object){
	    .type = (char *)"memory-backend-ram", .id = (char *)"ram", .size = MiB};
	g->config = (struct config){.objects = g->objects, .n_objects = 3};
	g->m = guest_machine_of(&g->config);
}

static int rig_device(struct rig *g, const char *rng, struct err *err)
{
	struct cfg_device cfg = test_device("virtio-rng-device", "r0");
	int ret;

	keyvals_add(&cfg.props, "rng", rng);
	ret = device_create(g->m, &cfg, SLOT, NULL, err);
	device_free(&cfg);
	return ret;
}

static void rig_start(struct rig *g, const char *rng)
{
	struct err err = {0};

	ck_assert_msg(rig_device(g, rng, &err) == 0, "%s", err.msg);
	guest_resume(g->m);
	g->r = ring_at(&g->m->mem, 0x10000, 8);
	(void)driver_start(g->m, SLOT, UINT64_MAX, &g->r, 1);
}

static void rig_end(struct rig *g)
{
	guest_end_devices(g->m);
	guest_free(g->m);
	(void)close(g->writer);
	(void)unlink(g->path);
	(void)rmdir(g->folder);
}

static void ask(struct rig *g, uint16_t i)
{
	ring_desc(&g->r, i, DATA + 64ULL * i, 64, VIRTQ_DESC_WRITE, 0);
	ring_avail(&g->r, i);
	kick(g->m, SLOT, 0);
	guest_sync(g->m);
}

static void wait_used(struct rig *g)
{
	while (ring_used_idx(&g->r) == g->r.seen)
		guest_sync(g->m);
}

START_TEST(a_file_without_bytes_holds_nothing_up)
{
	struct rig g;

	rig_begin(&g);
	rig_start(&g, "file");
	ask(&g, 0);
	ask(&g, 1);
	guest_wait_idle(g.m); /* the device can be stopped meanwhile, and goes on waiting */
	ck_assert_uint_eq(ring_used_idx(&g.r), 0);
	ck_assert_int_eq(write(g.writer, "abcde", 5), 5);
	wait_used(&g);
	ck_assert_uint_eq(ring_take(&g.r, 0), 5);
	ck_assert_int_eq(memcmp(memory_ptr(&g.m->mem, DATA, 5), "abcde", 5), 0);
	guest_sync(g.m);
	ck_assert_uint_eq(ring_used_idx(&g.r), 1);
	ck_assert_int_eq(write(g.writer, "fg", 2), 2);
	wait_used(&g);
	ck_assert_uint_eq(ring_take(&g.r, 1), 2);
	ask(&g, 2); /* and ends while it waits */
	rig_end(&g);
}
END_TEST

START_TEST(a_file_that_ends_gives_nothing)
{
	struct rig g;

	rig_begin(&g);
	g.objects[0].filename = (char *)"/dev/null";
	rig_start(&g, "file");
	ask(&g, 0);
	wait_used(&g);
	ck_assert_uint_eq(ring_take(&g.r, 0), 0);
	rig_end(&g);
}
END_TEST

START_TEST(builtin_and_devices)
{
	static const char *const names[] = {"own", "file"};

	for (size_t i = 0; i < 2; i++) {
		struct rig g;

		rig_begin(&g);
		g.objects[0].filename = (char *)"/dev/urandom";
		rig_start(&g, names[i]);
		ask(&g, 0);
		wait_used(&g);
		ck_assert_uint_eq(ring_take(&g.r, 0), 64);
		rig_end(&g);
	}
}
END_TEST

START_TEST(refused)
{
	static const struct {
		const char *rng, *says;
	} rows[] = {
	    {"zz",   "Device 'zz' not found: rng= is the id of an -object rng-random or rng-builtin"},
	    {"ram",  "Invalid parameter type for 'rng', expected: rng-backend ('ram' is a "
		    "memory-backend-ram)"                                        },
	    {"file",
	     "-object rng-random,id=file: Could not open '/nope': No such file or directory"        },
	};
	struct err err = {0};
	struct rig g;

	rig_begin(&g);
	g.objects[0].filename = (char *)"/nope";
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		ck_assert_int_lt(rig_device(&g, rows[i].rng, &err), 0);
		ck_assert_str_eq(err.msg, rows[i].says);
	}
	g.objects[0].filename = (char *)"/tmp";
	ck_assert_int_lt(rig_device(&g, "file", &err), 0);
	ck_assert_str_eq(err.msg,
			 "-object rng-random,id=file: Could not open '/tmp': Is a directory");
	rig_end(&g);
}
END_TEST

CHECK_MAIN("virtio-rng", a_file_without_bytes_holds_nothing_up, a_file_that_ends_gives_nothing,
	   builtin_and_devices, refused)
