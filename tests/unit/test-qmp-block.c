/* Block nodes over QMP: nodes that come and go, sizes, what is said of images; and hand-overs. */
#include <errno.h>
#include <semaphore.h>

#include "devices/block/node.h"
#include "migration/snapshot/nodes.h"
#include "migration/snapshot/snapshot.h"
#include "tests/unit/check-main.h"
#include "tests/unit/image-files.h"
#include "tests/unit/qmp-rig.h"
#include "vmm/flush.h"

#define DISK (1 * MiB)

struct fix {
	struct rig *r;
	struct peer *p;
	struct files f;
	const char *other;
};

static void fix_init(struct fix *f)
{
	struct err err = {0};
	struct machine *m;

	files_init(&f->f);
	f->r = rig_new();
	m = &f->r->m;
	m->io = loop_new(NULL, &err);
	ck_assert_int_eq(loop_thread_start(m->io, "io", THREAD_IO, &err), 0);
	f->p = rig_peer(f->r, 0);
}

static void fix_fini(struct fix *f)
{
	struct machine *m = &f->r->m;

	list_for_each_safe (d, &m->devices, struct device, link) {
		list_del(&d->link);
		d->ops->destroy(d);
	}
	loop_thread_join(m->io);
	block_nodes_close(&f->r->be.blocks);
	loop_free(m->io);
	rig_free(f->r);
	files_fini(&f->f);
}

/* The reply to a command, in which '@' is a path. */
static const char *ask(struct fix *f, const char *command, const char *path)
{
	const char *at = strchr(command, '@');
	char *text = at ? xasprintf("%.*s%s%s", (int)(at - command), command, path, at + 1)
			: xstrdup(command);
	const char *reply = peer_ask(f->p, text);

	free(text);
	return reply;
}

#define OK(f, command, path) ck_assert_str_eq(ask(f, command, path), "{\"return\": {}}\r\n")
#define SAYS(f, command, path, words)                                                              \
	do {                                                                                       \
		const char *reply_ = ask(f, command, path);                                        \
                                                                                                   \
		ck_assert_msg(strstr(reply_, words) != NULL, "%s\nlacks %s", reply_, words);       \
	} while (0)
#define ADD   "{\"execute\":\"blockdev-add\",\"arguments\":"
#define DEL   "{\"execute\":\"blockdev-del\",\"arguments\":{\"node-name\":\""
#define SIZE  "{\"execute\":\"block_resize\",\"arguments\":{\"node-name\":\""
#define QUERY "{\"execute\":\"query-named-block-nodes\"}"
#define FLAT  "{\"execute\":\"query-named-block-nodes\",\"arguments\":{\"flat\":true}}"

START_TEST(test_come_and_go)
{
	struct qcow2_create c = {.bytes = DISK};
	struct fix f;
	const char *path;

	fix_init(&f);
	path = file_qcow2(&f.f, "a.qcow2", &c);
	OK(&f, ADD "{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"@\"}}", path);
	SAYS(&f, ADD "{\"driver\":\"raw\",\"node-name\":\"f\",\"file\":\"f\"}}", path,
	     "Duplicate nodes with node-name='f'");
	OK(&f,
	   ADD "{\"driver\":\"qcow2\",\"node-name\":\"q\",\"file\":\"f\",\"discard\":\"unmap\"}}",
	   path);
	ck_assert_uint_eq(f.r->be.blocks.n, 1);
	ck_assert(block_node_active(f.r->be.blocks.v[0]) && f.r->be.blocks.v[0]->locked);
	SAYS(&f, FLAT, path, "\"node-name\": \"f\"");
	SAYS(&f, FLAT, path, "\"cluster-size\": 65536");
	SAYS(&f, DEL "f\"}}", path, "Block device f is in use");
	SAYS(&f, DEL "g\"}}", path, "Failed to find node with node-name='g'");
	/* the same image again: it is locked */
	SAYS(&f,
	     ADD "{\"driver\":\"qcow2\",\"node-name\":\"r\",\"file\":{\"driver\":\"file\","
		 "\"filename\":\"@\"}}}",
	     path, "another disk of this machine");
	ck_assert_uint_eq(f.r->be.blocks.n, 1);
	OK(&f, DEL "q\"}}", path);
	judge(path, false);
	/* the file below is a node of its own again */
	SAYS(&f, QUERY, path, "\"drv\": \"file\"");
	OK(&f, DEL "f\"}}", path);
	ck_assert_uint_eq(f.r->be.blocks.n, 0);
	OK(&f,
	   ADD "{\"driver\":\"qcow2\",\"node-name\":\"r\",\"backing\":null,\"file\":{\"driver\":"
	       "\"file\",\"filename\":\"@\","
	       "\"node-name\":\"own\"}}}",
	   path);
	SAYS(&f, DEL "own\"}}", path, "Node own is not owned by the monitor");
	OK(&f, DEL "r\"}}", path);
	ck_assert_uint_eq(f.r->be.blocks.n, 0);
	fix_fini(&f);
}
END_TEST

START_TEST(test_refused)
{
	struct fix f;
	const char *path;

	fix_init(&f);
	path = file_raw(&f.f, "raw", DISK, 1);
	SAYS(&f,
	     ADD "{\"driver\":\"qcow2\",\"node-name\":\"q\",\"file\":{\"driver\":\"file\","
		 "\"filename\":\"@\"}}}",
	     path, "qcow2");
	SAYS(&f, ADD "{\"driver\":\"vmdk\",\"node-name\":\"q\"}}", path,
	     "Parameter 'driver' does not accept value 'vmdk'");
	SAYS(&f, ADD "{\"node-name\":\"q\"}}", path, "Parameter 'driver' is missing");
	SAYS(&f, ADD "{\"driver\":\"file\",\"filename\":\"@\"}}", path,
	     "'node-name' must be specified for the root node");
	SAYS(&f, ADD "{\"driver\":\"raw\",\"node-name\":\"q\",\"file\":\"zz\"}}", path,
	     "Cannot find device='zz' nor node-name='zz'");
	SAYS(&f, ADD "{\"driver\":\"raw\",\"node-name\":\"q\",\"zz\":1,\"file\":\"zz\"}}", path,
	     "Parameter 'zz' is unexpected");
	SAYS(&f, ADD "{\"driver\":\"file\",\"node-name\":\"q\",\"filename\":\"/nowhere\"}}", path,
	     "Could not open '/nowhere': No such file or directory");
	ck_assert_uint_eq(f.r->be.blocks.n, 0);
	fix_fini(&f);
}
END_TEST

START_TEST(test_resize)
{
	struct qcow2_create c = {.bytes = DISK};
	struct fix f;
	const char *path;

	fix_init(&f);
	path = file_qcow2(&f.f, "a.qcow2", &c);
	OK(&f,
	   ADD "{\"driver\":\"qcow2\",\"node-name\":\"q\",\"file\":{\"driver\":\"file\","
	       "\"filename\":\"@\"}}}",
	   path);
	OK(&f, SIZE "q\",\"size\":2097152}}", path);
	SAYS(&f, QUERY, path, "\"virtual-size\": 2097152");
	OK(&f, SIZE "q\",\"size\":65536}}", path);
	SAYS(&f, QUERY, path, "\"virtual-size\": 65536");
	SAYS(&f, SIZE "q\",\"size\":1000}}", path, "The new size must be a multiple of 512");
	SAYS(&f, SIZE "q\",\"size\":-1}}", path, "Parameter 'size' expects a >0 size");
	SAYS(&f, SIZE "zz\",\"size\":512}}", path, "Cannot find device='' nor node-name='zz'");
	OK(&f, DEL "q\"}}", path);
	judge(path, false);
	path = file_raw(&f.f, "raw", DISK, 1);
	OK(&f, ADD "{\"driver\":\"file\",\"node-name\":\"r\",\"filename\":\"@\"}}", path);
	OK(&f, SIZE "r\",\"size\":4096}}", path);
	SAYS(&f, QUERY, path, "\"virtual-size\": 4096");
	OK(&f, DEL "r\"}}", path);
	OK(&f,
	   ADD "{\"driver\":\"file\",\"node-name\":\"r\",\"filename\":\"@\",\"read-only\":true}}",
	   path);
	SAYS(&f, SIZE "r\",\"size\":8192}}", path, "Node 'r' is read-only");
	fix_fini(&f);
}
END_TEST

/* A chain that is made of nodes, and taken to pieces again. */
START_TEST(test_chain)
{
	struct qcow2_create mid = {.bytes = DISK, .backing = "base", .backing_format = "raw"};
	struct qcow2_create top = {
	    .bytes = DISK, .version = 2, .backing = "gone", .backing_format = "raw"};
	struct fix f;
	const char *path;

	fix_init(&f);
	path = file_raw(&f.f, "base", DISK, 1);
	OK(&f, ADD "{\"driver\":\"file\",\"node-name\":\"b\",\"filename\":\"@\"}}", path);
	path = file_qcow2(&f.f, "mid.qcow2", &mid);
	OK(&f,
	   ADD "{\"driver\":\"qcow2\",\"node-name\":\"m\",\"backing\":\"b\",\"file\":{\"driver\":"
	       "\"file\",\"filename\":\"@\"}}}",
	   path);
	path = file_qcow2(&f.f, "top.qcow2", &top);
	OK(&f,
	   ADD "{\"driver\":\"qcow2\",\"node-name\":\"t\",\"backing\":\"m\",\"file\":{\"driver\":"
	       "\"file\",\"filename\":\"@\"}}}",
	   path);
	ck_assert_uint_eq(f.r->be.blocks.n, 1);
	SAYS(&f, QUERY, path, "\"backing_file_depth\": 2");
	SAYS(&f, QUERY, path, "\"compat\": \"0.10\"");
	SAYS(&f, QUERY, path, "\"backing-filename\": \"gone\"");
	SAYS(&f, QUERY, path, "/base\", \"format\": \"raw\"");
	SAYS(&f, QUERY, path, "\"node-name\": \"m\"");
	SAYS(&f, QUERY, path, "\"node-name\": \"b\"");
	SAYS(&f, DEL "m\"}}", path, "Block device m is in use");
	OK(&f, DEL "t\"}}", path);
	ck_assert_uint_eq(f.r->be.blocks.n, 1);
	SAYS(&f, DEL "b\"}}", path, "Block device b is in use");
	OK(&f, DEL "m\"}}", path);
	OK(&f, DEL "b\"}}", path);
	ck_assert_uint_eq(f.r->be.blocks.n, 0);
	fix_fini(&f);
}
END_TEST

static bool free_for_others(const char *path)
{
	const struct image_open how = {.format = IMAGE_QCOW2, .inactive = true, .writable = true};
	struct image *img = image_open(path, &how, NULL);
	int ret;

	ck_assert_ptr_nonnull(img);
	ret = image_lock(img, block_disk_perms(false, false), true, NULL);
	(void)image_close(img, NULL);
	return ret == 0;
}

/* As the switchover of a move does it. */
START_TEST(test_handover)
{
	struct qcow2_create c = {.bytes = DISK, .lazy_refcounts = true};
	struct err err = {0};
	struct fix f;
	struct machine *m;
	struct block_node *n;
	const char *path;

	fix_init(&f);
	m = &f.r->m;
	path = file_qcow2(&f.f, "a.qcow2", &c);
	OK(&f,
	   ADD "{\"driver\":\"qcow2\",\"node-name\":\"q\",\"file\":{\"driver\":\"file\","
	       "\"filename\":\"@\"}}}",
	   path);
	n = f.r->be.blocks.v[0];
	ck_assert_int_eq(machine_flush(m, -1, &err), 0);
	ck_assert(!free_for_others(path));
	for (unsigned i = 0; i < 2; i++) { /* each may be asked again */
		ck_assert_msg(machine_handover(m, HANDOVER_RELEASE, &err) == 0, "%s", err.msg);
		ck_assert(!block_node_active(n) && !n->locked && free_for_others(path));
	}
	ck_assert_int_eq(machine_flush(m, -1, &err), 0);
	judge(path, false);
	SAYS(&f, SIZE "q\",\"size\":2097152}}", path, "is another process's now");
	ck_assert_int_eq(machine_handover(m, HANDOVER_PROBE, &err), 0);
	ck_assert(!n->locked);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_msg(machine_handover(m, HANDOVER_ACQUIRE, &err) == 0, "%s", err.msg);
		ck_assert(block_node_active(n) && n->locked && !free_for_others(path));
	}
	OK(&f, SIZE "q\",\"size\":2097152}}", path);
	fix_fini(&f);
}
END_TEST

/* ---- a command that waits for the node has given the machine lock up ---- */

struct waiting {
	struct fix *f;
	sem_t holds_lock, io_waits, io_goes_on;
	int (*run)(struct fix *f);
	int ret;
};

static void hold_io(void *opaque)
{
	struct waiting *w = opaque;

	(void)sem_post(&w->io_waits);
	(void)sem_wait(&w->io_goes_on);
}

static void *run_waiting(void *opaque)
{
	struct waiting *w = opaque;

	machine_lock(&w->f->r->m);
	(void)sem_post(&w->holds_lock);
	w->ret = w->run(w->f);
	machine_unlock(&w->f->r->m);
	return NULL;
}

static int run_del(struct fix *f)
{
	return block_nodes_del(&f->r->be.blocks, &f->r->m, "q", NULL);
}

static int run_resize(struct fix *f)
{
	return block_node_resize(f->r->be.blocks.v[0], &f->r->m, 2 * DISK, NULL);
}

static int run_adopt(struct fix *f)
{
	return block_nodes_add(&f->r->be.blocks, &f->r->m,
			       "{\"driver\":\"qcow2\",\"node-name\":\"top\",\"backing\":\"q\","
			       "\"file\":{\"driver\":\"file\",\"filename\":\"/nowhere\"}}",
			       NULL);
}

static int run_add(struct fix *f)
{
	char *text = xasprintf("{\"driver\":\"qcow2\",\"node-name\":\"other\",\"file\":"
			       "{\"driver\":\"file\",\"filename\":\"%s\"}}",
			       f->other);
	int ret = block_nodes_add(&f->r->be.blocks, &f->r->m, text, NULL);

	free(text);
	return ret;
}

static const struct {
	int (*run)(struct fix *f);
	int ret, busy;
	size_t left;
} between[] = {
    {run_del,    0,       -EBUSY, 0},
    {run_resize, 0,       -EBUSY, 1},
    {run_adopt,  -EINVAL, -EBUSY, 1},
    {run_add,    0,       0,      2},
};

static void between_one(size_t i)
{
	static const char *const devices[] = {"q"};
	struct qcow2_create c = {.bytes = DISK};
	struct snapshot_request r = {.devices = devices, .n_devices = 1, .vmstate = "q"};
	struct waiting w = {.run = between[i].run};
	struct snapshot_nodes ns;
	struct err err = {0};
	struct fix f;
	pthread_t t;

	fix_init(&f);
	w.f = &f;
	(void)sem_init(&w.holds_lock, 0, 0);
	(void)sem_init(&w.io_waits, 0, 0);
	(void)sem_init(&w.io_goes_on, 0, 0);
	OK(&f,
	   ADD "{\"driver\":\"qcow2\",\"node-name\":\"q\",\"file\":{\"driver\":\"file\","
	       "\"filename\":\"@\"}}}",
	   file_qcow2(&f.f, "a.qcow2", &c));
	f.other = file_qcow2(&f.f, "other.qcow2", &c);
	loop_post(f.r->m.io, hold_io, &w);
	(void)sem_wait(&w.io_waits);
	ck_assert_int_eq(pthread_create(&t, NULL, run_waiting, &w), 0);
	machine_unlock(&f.r->m);
	(void)sem_wait(&w.holds_lock);
	machine_lock(&f.r->m); /* it waits */
	r.blocks = &f.r->be.blocks;
	ck_assert_int_eq(snapshot_nodes_find(&ns, &r, true, &err), between[i].busy);
	if (between[i].busy)
		ck_assert_str_eq(err.msg, "Device 'q' is busy: a command works on it");
	snapshot_nodes_fini(&ns);
	machine_unlock(&f.r->m);
	(void)sem_post(&w.io_goes_on);
	(void)pthread_join(t, NULL);
	ck_assert_int_eq(w.ret, between[i].ret);
	machine_lock(&f.r->m);
	ck_assert_uint_eq(f.r->be.blocks.n, between[i].left);
	if (between[i].left) {
		ck_assert_int_eq(snapshot_nodes_find(&ns, &r, true, &err), 0);
		snapshot_nodes_fini(&ns);
	}
	fix_fini(&f);
}

/* No snapshot is begun of a node that goes away, or gets another size, at that moment. */
START_TEST(test_between)
{
	for (size_t i = 0; i < ARRAY_LEN(between); i++)
		between_one(i);
}
END_TEST

CHECK_MAIN("qmp-block", test_come_and_go, test_refused, test_resize, test_chain, test_handover,
	   test_between)
