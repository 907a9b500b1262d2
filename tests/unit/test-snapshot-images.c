/* Snapshots of a machine without KVM in real images: what qemu-img says of them, and back. */
#include "tests/unit/check-main.h"
#include "tests/unit/migration-rig.h"

#include "devices/block/image.h"
#include "devices/block/node-info.h"
#include "devices/block/node.h"
#include "devices/block/qcow2/qcow2.h"
#include "migration/snapshot/session.h"
#include "migration/snapshot/snapshot.h"
#include "vmm/base/iov.h"

#define DISK_BYTES MiB

struct shelf {
	struct rig *r;
	struct block_node node[2], *v[2];
	struct block_nodes blocks;
	char path[2][128];
};

static bool have_qemu_img(void)
{
	return system("qemu-img --version > /dev/null 2>&1") == 0; /* NOLINT(cert-env33-c) */
}

static void run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void run(const char *fmt, ...)
{
	char line[512];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	ck_assert_msg(system(line) == 0, "%s", line); /* NOLINT(cert-env33-c) */
}

static void open_disk(struct shelf *s, int i)
{
	static char names[2][3] = {"d0", "d1"}, format[] = "qcow2";
	static int device;
	const struct image_open how = {.format = IMAGE_QCOW2, .writable = true};
	struct err err = {0};

	s->node[i] = (struct block_node){.name = names[i], .drive_id = names[i], .format = format};
	s->node[i].img = image_open(s->path[i], &how, &err);
	ck_assert_msg(s->node[i].img != NULL, "%s", err.msg);
	s->node[i].filename = s->path[i];
	s->node[i].bytes = DISK_BYTES;
	s->node[i].active = true;
	pthread_mutex_init(&s->node[i].info_mutex, NULL);
	s->node[i].user = &device;
	s->v[i] = &s->node[i];
}

static void close_disk(struct shelf *s, int i)
{
	struct err err = {0};

	ck_assert_msg(image_close(s->node[i].img, &err) == 0, "%s", err.msg);
	s->node[i].img = NULL;
	block_node_info_free(s->node[i].info);
	s->node[i].info = NULL;
}

static void shelf_init(struct shelf *s, const char *options)
{
	*s = (struct shelf){
	    .r = rig_new(RS_PRELAUNCH), .blocks = {.v = s->v, .n = 2}
        };
	for (int i = 0; i < 2; i++) {
		(void)snprintf(s->path[i], sizeof(s->path[i]), "%s/d%d.qcow2", rig_dir(), i);
		run("qemu-img create -q -f qcow2 %s %s 1M", options, s->path[i]);
		open_disk(s, i);
	}
	rig_run_guest(s->r);
}

static void shelf_fini(struct shelf *s)
{
	rig_free(s->r); /* pages may still come from the disks */
	for (int i = 0; i < 2; i++) {
		if (s->node[i].img)
			close_disk(s, i);
		run("qemu-img check -q %s", s->path[i]);
		run("rm -f %s %s.*.working-set", s->path[i], s->path[i]);
	}
	rig_remove_dir();
}

/* Memory, device and disks are of this seed. */
static void fill(struct shelf *s, unsigned seed)
{
	uint8_t buf[6144];
	struct iovec iov = {buf, sizeof(buf)};

	memset(buf, (int)seed, sizeof(buf));
	rig_fill(s->r, seed);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(image_writev(s->node[i].img, &iov, 1, 65536 * (seed % 3) + 4096),
				 0);
}

static void check(struct shelf *s, unsigned seed)
{
	uint8_t buf[6144];
	struct iovec iov = {buf, sizeof(buf)};
	struct rig *r = s->r;

	ck_assert_uint_eq(r->dev.counter, seed);
	for (uint64_t page = 0; page < RIG_RAM_BYTES / PAGE_BYTES; page += 3)
		ck_assert_uint_eq(rig_block(r, 0)->hva[page * PAGE_BYTES + 5],
				  (seed + page) & 0xff);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(image_readv(s->node[i].img, &iov, 1, 65536 * (seed % 3) + 4096),
				 0);
		ck_assert_uint_eq(buf[0], seed);
		ck_assert_uint_eq(buf[sizeof(buf) - 1], seed);
	}
}

static struct snapshot_request request(const struct shelf *s, const char *tag)
{
	return (struct snapshot_request){.blocks = &s->blocks, .tag = tag};
}

static void save(struct shelf *s, const char *tag)
{
	struct snapshot_request r = request(s, tag);
	struct err err = {0};

	ck_assert_msg(snapshot_save(migration_snapshots(s->r->mg), &r, NULL, &err) == 0, "%s",
		      err.msg);
}

static void load(struct shelf *s, const char *tag)
{
	struct snapshot_request r = request(s, tag);
	struct err err = {0};

	ck_assert_msg(snapshot_load(migration_snapshots(s->r->mg), &r, NULL, &err) == 0, "%s",
		      err.msg);
}

/* All memory is here: the disks are not needed for it any more. */
static void complete(struct shelf *s)
{
	struct err err = {0};

	machine_lock(&s->r->m);
	ck_assert_msg(snapshots_await_pages(migration_snapshots(s->r->mg), NULL, &err) == 0, "%s",
		      err.msg);
	machine_unlock(&s->r->m);
}

static const char *const layouts[] = {
    "-o cluster_size=64k",
    "-o cluster_size=4k",
    "-o cluster_size=512",
    "-o cluster_size=2M",
    "-o cluster_size=16k,extended_l2=on",
    "-o compat=0.10",
    "-o lazy_refcounts=on",
    "-o refcount_bits=64",
};

START_TEST(test_there_and_back)
{
	struct shelf s;

	if (!have_qemu_img()) {
		skip_test("no qemu-img");
		return;
	}
	shelf_init(&s, layouts[_i]);
	fill(&s, 7);
	save(&s, "one");
	fill(&s, 8);
	save(&s, "two");
	fill(&s, 9);
	load(&s, "one");
	check(&s, 7);
	load(&s, "two");
	check(&s, 8);
	complete(&s);
	/* As another program finds them. */
	close_disk(&s, 0);
	close_disk(&s, 1);
	run("qemu-img check -q %s", s.path[0]);
	run("test $(qemu-img snapshot -l %s | grep -c -e one -e two) = 2", s.path[0]);
	run("qemu-img snapshot -a one %s", s.path[1]);
	open_disk(&s, 0);
	open_disk(&s, 1);
	fill(&s, 10);
	load(&s, "one");
	check(&s, 7);
	shelf_fini(&s);
}
END_TEST

START_TEST(test_delete)
{
	struct shelf s;
	struct snapshot_request r;
	struct err err = {0};

	if (!have_qemu_img()) {
		skip_test("no qemu-img");
		return;
	}
	shelf_init(&s, layouts[_i]);
	fill(&s, 7);
	save(&s, "one");
	fill(&s, 8);
	save(&s, "two");
	r = request(&s, "one");
	ck_assert_msg(snapshot_delete(migration_snapshots(s.r->mg), &r, NULL, &err) == 0, "%s",
		      err.msg);
	fill(&s, 9);
	load(&s, "two");
	check(&s, 8);
	r.tag = "two";
	r.replace = true;
	fill(&s, 10);
	ck_assert_msg(snapshot_save(migration_snapshots(s.r->mg), &r, NULL, &err) == 0, "%s",
		      err.msg);
	close_disk(&s, 0);
	run("test $(qemu-img snapshot -l %s | grep -c two) = 1", s.path[0]);
	shelf_fini(&s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("snapshot-images");
	TCase *tc = tcase_create("snapshot-images");
	SRunner *r;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, test_there_and_back, 0, ARRAY_LEN(layouts));
	tcase_add_loop_test(tc, test_delete, 0, ARRAY_LEN(layouts));
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
