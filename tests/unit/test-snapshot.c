/* Snapshots of a machine without KVM, in images that fail when they are told to. */
#include "tests/unit/check-main.h"
#include "tests/unit/fake-qcow2.h"
#include "tests/unit/migration-rig.h"

#include "migration/snapshot/snapshot.h"
#include "vmm/hold.h"
#include "vmm/job.h"
#include "vmm/memory/userfault.h"

#define LOADED "created running STOP RESUME waiting pending concluded"
#define KEPT   "created running aborting concluded" /* refused before anything was touched */

/* The guest runs on from the instant, or stands still to the end: what is told of a save. */
enum way { RUNS_ON, STOPPED, WAYS };
static const char *const saved[] = {
    "created running setup active STOP RESUME completed waiting pending concluded",
    "created running STOP setup PASS completed RESUME waiting pending concluded",
};
static const char *const saved_still[] = {
    "created running setup active completed waiting pending concluded",
    "created running setup PASS completed waiting pending concluded",
};

static bool can_run_on(void)
{
	struct err err = {0};

	if (userfault_probe(NULL, USERFAULT_WP, &err) == 0)
		return true;
	skip_test("%s", err.msg);
	return false;
}

/* Is this row of a test to be skipped? */
#define SKIP_WAY(way)                                                                              \
	do {                                                                                       \
		if ((way) == RUNS_ON && !can_run_on())                                             \
			return;                                                                    \
	} while (0)

/* A machine with two disks. */
struct shelf {
	struct rig *r;
	struct fake_disk disk[2];
	struct block_node *v[2];
	struct block_nodes blocks;
	unsigned jobs;
	enum way way;
	pthread_t writer;
};

static void shelf_init_with(struct shelf *s, enum way way, uint64_t ram_bytes)
{
	s->way = way;
	s->r = rig_new_with(RS_PRELAUNCH, ram_bytes, NULL);
	fake_disk_init(&s->disk[0], "d0");
	fake_disk_init(&s->disk[1], "d1");
	for (int i = 0; i < 2; i++)
		s->v[i] = &s->disk[i].node;
	s->blocks = (struct block_nodes){.v = s->v, .n = 2};
	s->jobs = 0;
	rig_fill(s->r, 7);
	s->disk[0].q.disk = 70;
	s->disk[1].q.disk = 71;
}

static void shelf_init(struct shelf *s, enum way way)
{
	shelf_init_with(s, way, RIG_RAM_BYTES);
}

static void shelf_fini(struct shelf *s)
{
	machine_lock(&s->r->m);
	for (struct job *j; (j = job_at(&s->r->m, 0));)
		ck_assert_int_eq(job_apply(j, JOB_DISMISS, NULL), 0);
	machine_unlock(&s->r->m);
	ck_assert(jobs_end(&s->r->m));
	ck_assert_uint_eq(s->disk[0].q.savings + s->disk[1].q.savings, 0);
	rig_free(s->r); /* pages may still come from the disks */
	fake_disk_fini(&s->disk[0]);
	fake_disk_fini(&s->disk[1]);
}

/* The guest goes on: everything of it differs from what it was. */
static void shelf_change(struct shelf *s, unsigned seed)
{
	rig_fill(s->r, seed);
	s->disk[0].q.disk = (int)seed * 10;
	s->disk[1].q.disk = (int)seed * 10 + 1;
}

/* All of it is of this seed. */
static void shelf_check(struct shelf *s, unsigned seed)
{
	struct rig *r = s->r;

	ck_assert_int_eq(s->disk[0].q.disk, (int)seed * 10);
	ck_assert_int_eq(s->disk[1].q.disk, (int)seed * 10 + 1);
	ck_assert_uint_eq(r->dev.counter, seed);
	for (uint64_t page = 0; page < rig_block(r, 0)->bytes / PAGE_BYTES; page += 3)
		ck_assert_uint_eq(rig_block(r, 0)->hva[page * PAGE_BYTES + 5],
				  (seed + page) & 0xff);
}

static const char *const both[] = {"d0", "d1"};

static struct snapshot_request request(const struct shelf *s, const char *tag)
{
	return (struct snapshot_request){.blocks = &s->blocks,
					 .tag = tag,
					 .vmstate = "d0",
					 .devices = both,
					 .n_devices = 2,
					 .eager = s->way != RUNS_ON,
					 .stopped = s->way == STOPPED};
}

static struct job *start(struct shelf *s, enum job_type type, const struct snapshot_request *r)
{
	struct machine *m = &s->r->m;
	struct err err = {0};
	char id[16];
	struct job *j;

	(void)snprintf(id, sizeof(id), "job%u", s->jobs++);
	machine_lock(m);
	s->r->events[0] = 0;
	ck_assert_msg(snapshots_start_job(migration_snapshots(s->r->mg), type, id, r, &err) == 0,
		      "%s", err.msg);
	j = job_find(m, id);
	machine_unlock(m);
	return j;
}

static const struct err *await(struct shelf *s, struct job *j)
{
	machine_lock(&s->r->m);
	while (j->status != JOB_CONCLUDED)
		pthread_cond_wait(&s->r->changed, &s->r->m.lock);
	machine_unlock(&s->r->m);
	ck_assert_uint_eq(j->done_bytes, j->total_bytes);
	return &j->err;
}

static const struct err *run(struct shelf *s, enum job_type type, const struct snapshot_request *r)
{
	return await(s, start(s, type, r));
}

static void run_well(struct shelf *s, enum job_type type, const char *tag)
{
	struct snapshot_request r = request(s, tag);
	const struct err *e = run(s, type, &r);

	ck_assert_msg(!e->errnum, "%s", e->msg);
}

static size_t count(const struct shelf *s)
{
	return s->disk[0].q.n + s->disk[1].q.n;
}

START_TEST(test_save_and_load)
{
	struct shelf s;
	const struct qcow2_snapshot *snap;

	SKIP_WAY(_i);
	shelf_init(&s, _i);
	rig_run_guest(s.r);
	run_well(&s, JOB_SNAPSHOT_SAVE, "one");
	ck_assert_str_eq(s.r->events, saved[_i]);
	ck_assert_int_eq(rig_state(s.r), RS_RUNNING);
	snap = qcow2_snapshot_named(&s.disk[0].q, "one");
	ck_assert(snap && snap->vmstate_bytes > 0 && snap->icount == QCOW2_NO_ICOUNT);
	ck_assert(snap->date_s > 0);
	snap = qcow2_snapshot_named(&s.disk[1].q, "one");
	ck_assert(snap && snap->vmstate_bytes == 0);
	shelf_change(&s, 9);
	run_well(&s, JOB_SNAPSHOT_SAVE, "two");
	shelf_change(&s, 11);
	run_well(&s, JOB_SNAPSHOT_LOAD, "one");
	ck_assert_str_eq(s.r->events, LOADED);
	shelf_check(&s, 7);
	run_well(&s, JOB_SNAPSHOT_LOAD, "two");
	shelf_check(&s, 9);
	ck_assert_int_eq(rig_state(s.r), RS_RUNNING);
	run_well(&s, JOB_SNAPSHOT_DELETE, "one");
	ck_assert_str_eq(s.r->events, "created running waiting pending concluded");
	ck_assert_uint_eq(count(&s), 2);
	run_well(&s, JOB_SNAPSHOT_DELETE, "never was");
	shelf_fini(&s);
}
END_TEST

/* It stays as it is, whether it ran when it was saved or not. */
START_TEST(test_stopped)
{
	struct shelf s;

	SKIP_WAY(_i);
	shelf_init(&s, _i);
	run_well(&s, JOB_SNAPSHOT_SAVE, "still");
	ck_assert_str_eq(s.r->events, saved_still[_i]);
	ck_assert_int_eq(rig_state(s.r), RS_PRELAUNCH);
	rig_run_guest(s.r);
	run_well(&s, JOB_SNAPSHOT_SAVE, "ran");
	run_well(&s, JOB_SNAPSHOT_LOAD, "still");
	ck_assert_int_eq(rig_state(s.r), RS_RUNNING);
	machine_lock(&s.r->m);
	ck_assert_int_eq(machine_stop(&s.r->m, RS_PAUSED), 0);
	machine_unlock(&s.r->m);
	run_well(&s, JOB_SNAPSHOT_LOAD, "ran");
	ck_assert_str_eq(s.r->events, "created running waiting pending concluded");
	ck_assert_int_eq(rig_state(s.r), RS_PAUSED);
	rig_run_guest(s.r);
	shelf_fini(&s);
}
END_TEST

static const char *const one[] = {"d0"}, *const other[] = {"d1"}, *const unknown[] = {"d0", "x"};

/* A disk of another kind than can be saved. */
enum odd { ODD_NONE, ODD_RAW, ODD_READONLY, ODD_BUSY };

static const struct {
	enum job_type type;
	const char *tag, *vmstate;
	const char *const *devices;
	size_t n;
	bool complete;
	enum odd odd; /* d1 */
	const char *text;
} refusals[] = {
    {JOB_SNAPSHOT_SAVE,   "old", "d0", both,    2, false, ODD_NONE,
     "Snapshot 'old' already exists in one or more devices ('d0' has it)"                         },
    {JOB_SNAPSHOT_SAVE,   "new", "x",  both,    2, false, ODD_NONE,
     "vmstate block device 'x' does not exist"						    },
    {JOB_SNAPSHOT_SAVE,   "new", "d0", other,   1, false, ODD_NONE,
     "vmstate block device 'd0' is not one of 'devices'"                                          },
    {JOB_SNAPSHOT_SAVE,   "new", "d0", unknown, 2, false, ODD_NONE,     "No block device node 'x'"},
    {JOB_SNAPSHOT_SAVE,   "new", "d0", both,    0, false, ODD_NONE,
     "At least one device is required for snapshot"                                               },
    {JOB_SNAPSHOT_SAVE,   "new", "d0", both,    2, false, ODD_RAW,
     "Device 'd1' is writable but does not support snapshots (its format is raw; qcow2 does)"     },
    {JOB_SNAPSHOT_SAVE,   "new", "d0", both,    2, false, ODD_READONLY,
     "Device 'd1' is read-only: it cannot have snapshots"                                         },
    {JOB_SNAPSHOT_SAVE,   "new", "d0", both,    2, false, ODD_BUSY,
     "Device 'd1' is busy: a command works on it"						 },
    {JOB_SNAPSHOT_LOAD,   "old", "d0", both,    2, false, ODD_BUSY,
     "Device 'd1' is busy: a command works on it"						 },
    {JOB_SNAPSHOT_SAVE,   "new", "d0", one,     1, true,  ODD_NONE,
     "the guest can write to 'd1', which 'devices' leaves out (x-minivmm-complete)"               },
    {JOB_SNAPSHOT_LOAD,   "new", "d0", both,    2, false, ODD_NONE,
     "Snapshot 'new' does not exist in one or more devices ('d0' lacks it)"                       },
    {JOB_SNAPSHOT_LOAD,   "old", "d1", both,    2, false, ODD_NONE,
     "This is a disk-only snapshot. Revert to it  offline using qemu-img"                         },
    {JOB_SNAPSHOT_LOAD,   "old", "x",  both,    2, false, ODD_NONE,
     "vmstate block device 'x' does not exist"						    },
    {JOB_SNAPSHOT_DELETE, "old", NULL, unknown, 2, false, ODD_NONE,     "No block device node 'x'"},
};

START_TEST(test_refused)
{
	struct shelf s;
	const struct err *e;
	struct snapshot_request r;

	shelf_init(&s, STOPPED);
	rig_run_guest(s.r);
	run_well(&s, JOB_SNAPSHOT_SAVE, "old");
	shelf_change(&s, 9);
	if (refusals[_i].odd == ODD_RAW) {
		s.v[1]->img = NULL;
		memcpy(s.v[1]->format, "raw", 4);
	}
	s.v[1]->readonly = refusals[_i].odd == ODD_READONLY;
	s.v[1]->jobs = refusals[_i].odd == ODD_BUSY;
	r = (struct snapshot_request){
	    .blocks = &s.blocks,
	    .tag = refusals[_i].tag,
	    .vmstate = refusals[_i].vmstate,
	    .devices = refusals[_i].devices,
	    .n_devices = refusals[_i].n,
	    .complete = refusals[_i].complete,
	};
	e = run(&s, refusals[_i].type, &r);
	ck_assert_str_eq(e->msg, refusals[_i].text);
	ck_assert_str_eq(s.r->events, KEPT);
	ck_assert_uint_eq(count(&s), 2);
	shelf_check(&s, 9);
	shelf_fini(&s);
}
END_TEST

/* An image refuses something: nothing of the snapshot is left, and the guest runs. */
static const struct {
	enum way way;
	int disk;
	enum fake_failure at;
	const char *events;
} failures[] = {
    {STOPPED, 0, FAKE_BEGIN,  "created running STOP setup failed RESUME aborting concluded"       },
    {STOPPED, 1, FAKE_BEGIN,  "created running STOP setup failed RESUME aborting concluded"       },
    {STOPPED, 0, FAKE_WRITE,  "created running STOP setup PASS failed RESUME aborting concluded"  },
    {STOPPED, 0, FAKE_COMMIT,
     "created running STOP setup PASS completed RESUME aborting concluded"                        },
    {STOPPED, 1, FAKE_COMMIT,
     "created running STOP setup PASS completed RESUME aborting concluded"                        },
    {RUNS_ON, 0, FAKE_BEGIN,  "created running setup active STOP RESUME failed aborting concluded"},
    {RUNS_ON, 1, FAKE_BEGIN,  "created running setup active STOP RESUME failed aborting concluded"},
    {RUNS_ON, 0, FAKE_WRITE,  "created running setup active STOP RESUME failed aborting concluded"},
    {RUNS_ON, 0, FAKE_COMMIT,
     "created running setup active STOP RESUME completed aborting concluded"                      },
    {RUNS_ON, 1, FAKE_COMMIT,
     "created running setup active STOP RESUME completed aborting concluded"                      },
};

START_TEST(test_save_fails)
{
	struct shelf s;
	struct snapshot_request r;
	const struct err *e;

	SKIP_WAY(failures[_i].way);
	shelf_init(&s, failures[_i].way);
	rig_run_guest(s.r);
	r = request(&s, "one");
	s.disk[failures[_i].disk].q.fails[failures[_i].at] = 1;
	e = run(&s, JOB_SNAPSHOT_SAVE, &r);
	ck_assert_int_eq(e->errnum, ENOSPC);
	ck_assert_msg(strstr(e->msg, "the image is full") != NULL, "%s", e->msg);
	ck_assert_str_eq(s.r->events, failures[_i].events);
	ck_assert_uint_eq(count(&s), 0);
	ck_assert_int_eq(rig_state(s.r), RS_RUNNING);
	shelf_check(&s, 7);
	run_well(&s, JOB_SNAPSHOT_SAVE, "one");
	shelf_fini(&s);
}
END_TEST

/* A save that comes while the last pages do waits for them, and the guest runs on. */
START_TEST(test_save_behind_load)
{
	struct shelf s;

	if (!can_run_on())
		return;
	shelf_init(&s, RUNS_ON);
	rig_run_guest(s.r);
	run_well(&s, JOB_SNAPSHOT_SAVE, "one");
	for (int i = 0; i < 50; i++) {
		run_well(&s, JOB_SNAPSHOT_LOAD, "one");
		run_well(&s, JOB_SNAPSHOT_SAVE, "two");
		ck_assert_str_eq(s.r->events, "created running setup active STOP RESUME completed "
					      "waiting pending concluded");
		run_well(&s, JOB_SNAPSHOT_DELETE, "two");
	}
	shelf_fini(&s);
}
END_TEST

/* Where no call can be made, what was begun is left for later: requests are in flight. */
START_TEST(test_save_fails_without_call)
{
	struct shelf s;
	struct snapshot_request r;

	shelf_init(&s, STOPPED);
	r = request(&s, "one");
	s.disk[1].q.fails[FAKE_COMMIT] = 1;
	s.disk[1].q.call_fails = -EMFILE;
	(void)run(&s, JOB_SNAPSHOT_SAVE, &r);
	ck_assert_uint_eq(s.disk[1].q.left, 1);
	ck_assert_uint_eq(s.disk[1].q.savings + s.disk[0].q.savings, 0);
	shelf_fini(&s);
}
END_TEST

/* What was saved in one image cannot be taken back: it is said where. */
START_TEST(test_save_leaves_some)
{
	struct shelf s;
	struct snapshot_request r;
	const struct err *e;

	shelf_init(&s, STOPPED);
	r = request(&s, "one");
	s.disk[0].q.fails[FAKE_COMMIT] = 1; /* the second in turn */
	s.disk[1].q.fails[FAKE_DELETE] = 1;
	e = run(&s, JOB_SNAPSHOT_SAVE, &r);
	ck_assert_str_eq(e->msg, "disk 'd1' keeps a useless snapshot 'one' (the image is full): "
				 "disk 'd0': the image is full");
	run_well(&s, JOB_SNAPSHOT_DELETE, "one");
	ck_assert_uint_eq(count(&s), 0);
	shelf_fini(&s);
}
END_TEST

START_TEST(test_delete_fails)
{
	struct shelf s;
	struct snapshot_request r;
	const struct err *e;

	shelf_init(&s, STOPPED);
	run_well(&s, JOB_SNAPSHOT_SAVE, "one");
	r = request(&s, "one");
	s.disk[1].q.fails[FAKE_DELETE] = 1;
	e = run(&s, JOB_SNAPSHOT_DELETE, &r);
	ck_assert_str_eq(e->msg, "snapshot 'one' is still in 'd1': the image is full");
	ck_assert_uint_eq(s.disk[0].q.n, 0); /* the one that could be loaded */
	run_well(&s, JOB_SNAPSHOT_DELETE, "one");
	ck_assert_uint_eq(count(&s), 0);
	shelf_fini(&s);
}
END_TEST

/* The job, as a write into the image sees it. */
static void cancel_it(void *opaque)
{
	struct shelf *s = opaque;

	machine_lock(&s->r->m);
	ck_assert_int_eq(job_apply(job_at(&s->r->m, 0), JOB_CANCEL, NULL), 0);
	machine_unlock(&s->r->m);
}

static bool is_waited(struct machine *m)
{
	bool waited;

	machine_lock(m);
	waited = !list_empty(&m->requests.waiters);
	machine_unlock(m);
	return waited;
}

/* The work loop is busy with a reset that does not end: a disk does not answer, say. */
START_TEST(test_cancel_beside_request)
{
	struct shelf s;
	struct snapshot_request r;
	struct job *j;

	shelf_init(&s, STOPPED);
	rig_run_guest(s.r);
	r = request(&s, "one");
	machine_lock(&s.r->m);
	s.r->m.requests.busy = true;
	machine_request_reset(&s.r->m, CAUSE_HOST_QMP_SYSTEM_RESET);
	machine_unlock(&s.r->m);
	j = start(&s, JOB_SNAPSHOT_SAVE, &r);
	while (!is_waited(&s.r->m))
		sched_yield();
	cancel_it(&s);
	ck_assert_int_eq(await(&s, j)->errnum, ECANCELED);
	ck_assert_uint_eq(count(&s), 0);
	machine_lock(&s.r->m);
	machine_request_delivered(&s.r->m, REQUEST_RESET);
	s.r->m.requests.busy = false;
	machine_unlock(&s.r->m);
	shelf_fini(&s);
}
END_TEST

START_TEST(test_cancel)
{
	struct shelf s;
	struct snapshot_request r;
	const struct err *e;

	SKIP_WAY(_i);
	shelf_init(&s, _i);
	rig_run_guest(s.r);
	r = request(&s, "one");
	s.disk[0].q.writing = cancel_it;
	s.disk[0].q.opaque = &s;
	e = run(&s, JOB_SNAPSHOT_SAVE, &r);
	ck_assert_int_eq(e->errnum, ECANCELED);
	ck_assert_uint_eq(count(&s), 0);
	for (int i = 0; i < 2; i++) /* given up alone: a read in flight may be of what is let go */
		ck_assert_uint_eq(s.disk[i].q.calls, 1);
	ck_assert_int_eq(rig_state(s.r), RS_RUNNING);
	ck_assert_msg(strstr(s.r->events, "aborting concluded") != NULL, "%s", s.r->events);
	shelf_fini(&s);
}
END_TEST

static void pause_it(void *opaque)
{
	struct shelf *s = opaque;

	s->disk[0].q.writing = NULL;
	machine_lock(&s->r->m);
	ck_assert_int_eq(job_apply(job_at(&s->r->m, 0), JOB_PAUSE, NULL), 0);
	machine_unlock(&s->r->m);
}

/* While it is paused the guest is held: nothing else is done to it but to say what becomes of it.
 */
START_TEST(test_pause)
{
	struct shelf s;
	struct machine *m;
	struct snapshot_request r;
	struct err err = {0};
	struct job *j;

	shelf_init(&s, STOPPED);
	m = &s.r->m;
	rig_run_guest(s.r);
	r = request(&s, "one");
	s.disk[0].q.writing = pause_it;
	s.disk[0].q.opaque = &s;
	j = start(&s, JOB_SNAPSHOT_SAVE, &r);
	machine_lock(m);
	while (j->status != JOB_PAUSED)
		pthread_cond_wait(&s.r->changed, &m->lock);
	ck_assert_int_eq(m->state, RS_SAVE_VM);
	ck_assert_int_lt(machine_start(m, &err), 0);
	ck_assert_str_eq(err.msg, "A snapshot is being saved: ask again when that has ended");
	machine_request_reset(m, CAUSE_HOST_QMP_SYSTEM_RESET);
	ck_assert(migration_busy(s.r->mg));
	ck_assert_int_eq(machine_stay_stopped(m, &err), 0); /* 'stop' */
	ck_assert_int_eq(job_apply(j, JOB_RESUME, NULL), 0);
	machine_unlock(m);
	(void)await(&s, j);
	ck_assert(!j->err.errnum);
	rig_await_event(s.r, "RESET"); /* it was asked for, and has waited */
	rig_await_state(s.r, RS_PRELAUNCH);
	ck_assert(!strstr(s.r->events, "RESUME"));
	shelf_fini(&s);
}
END_TEST

/* The guest writes while its memory is saved: what is saved is older. */
static void write_on(void *opaque)
{
	struct shelf *s = opaque;

	for (uint64_t page = 0; page < rig_block(s->r, 0)->bytes / PAGE_BYTES; page += 3)
		memset(rig_block(s->r, 0)->hva + page * PAGE_BYTES, 0xee, PAGE_BYTES);
	s->disk[0].q.disk = s->disk[1].q.disk = -1;
}

static void *write_thread(void *opaque)
{
	write_on(opaque);
	return NULL;
}

/* On a thread of its own: it may wait for the one that saves. */
static void begin_to_write(void *opaque)
{
	static pthread_t t;
	struct shelf *s = opaque;

	s->disk[0].q.writing = NULL;
	ck_assert_int_eq(pthread_create(&t, NULL, write_thread, s), 0);
	s->writer = t;
}

START_TEST(test_instant)
{
	struct shelf s;
	struct snapshot_request r;
	struct job *j;

	SKIP_WAY(RUNS_ON);
	shelf_init_with(&s, RUNS_ON, 4 * RIG_RAM_BYTES);
	rig_run_guest(s.r);
	r = request(&s, "one");
	s.disk[0].q.writing = begin_to_write;
	s.disk[0].q.opaque = &s;
	j = start(&s, JOB_SNAPSHOT_SAVE, &r);
	ck_assert_int_eq(await(&s, j)->errnum, 0);
	ck_assert_int_eq(pthread_join(s.writer, NULL), 0);
	ck_assert_uint_eq(rig_block(s.r, 0)->hva[5], 0xee);
	run_well(&s, JOB_SNAPSHOT_LOAD, "one");
	shelf_check(&s, 7);
	shelf_fini(&s);
}
END_TEST

/* What is on for moves plays no part. */
START_TEST(test_capabilities)
{
	struct shelf s;

	SKIP_WAY(_i);
	shelf_init(&s, _i);
	rig_run_guest(s.r);
	rig_capability(s.r, CAP_MULTIFD, true);
	rig_capability(s.r, CAP_XBZRLE, false);
	rig_capability(s.r, CAP_RELEASE_RAM, true);
	rig_capability(s.r, CAP_PAUSE_BEFORE_SWITCHOVER, true);
	rig_capability(s.r, CAP_VALIDATE_UUID, true);
	rig_capability(s.r, CAP_X_IGNORE_SHARED, true);
	run_well(&s, JOB_SNAPSHOT_SAVE, "one");
	shelf_change(&s, 9);
	run_well(&s, JOB_SNAPSHOT_LOAD, "one");
	shelf_check(&s, 7);
	ck_assert_int_eq(rig_state(s.r), RS_RUNNING);
	shelf_fini(&s);
}
END_TEST

/* Wherever a byte is wrong, or the stream ends: refused before the guest is touched, or loaded. */
START_TEST(test_damaged)
{
	struct shelf s;
	struct snapshot_request r;
	struct buf *b;
	size_t whole, refused = 0;

	shelf_init(&s, STOPPED);
	rig_run_guest(s.r);
	run_well(&s, JOB_SNAPSHOT_SAVE, "one");
	shelf_change(&s, 9);
	r = request(&s, "one");
	b = &s.disk[0].q.list[0].vmstate;
	whole = b->len;
	for (size_t n = 0; n < whole - 600; n += whole / 50) {
		const struct err *e;

		s.disk[0].q.list[0].s.vmstate_bytes = n + 1;
		e = run(&s, JOB_SNAPSHOT_LOAD, &r);
		ck_assert_msg(e->errnum != 0, "cut at %zu: loaded", n + 1);
		ck_assert_str_eq(s.r->events, KEPT);
		shelf_check(&s, 9);
	}
	s.disk[0].q.list[0].s.vmstate_bytes = whole;
	for (size_t at = 0; at < 80; at++) {
		const struct err *e;

		b->data[at] ^= 0xff;
		e = run(&s, JOB_SNAPSHOT_LOAD, &r);
		refused += e->errnum != 0;
		if (e->errnum) {
			ck_assert_str_eq(s.r->events, KEPT);
			shelf_check(&s, 9);
		}
		b->data[at] ^= 0xff;
		shelf_change(&s, 9);
	}
	ck_assert_uint_gt(refused, 60);
	run_well(&s, JOB_SNAPSHOT_LOAD, "one");
	shelf_check(&s, 7);
	shelf_fini(&s);
}
END_TEST

START_TEST(test_other_machine)
{
	struct shelf s, t;
	struct snapshot_request r;
	const struct err *e;

	shelf_init(&s, STOPPED);
	run_well(&s, JOB_SNAPSHOT_SAVE, "one");
	shelf_init_with(&t, STOPPED, 2 * RIG_RAM_BYTES);
	rig_run_guest(t.r);
	t.v[0] = s.v[0];
	t.v[1] = s.v[1];
	r = request(&t, "one");
	e = run(&t, JOB_SNAPSHOT_LOAD, &r);
	ck_assert_msg(strstr(e->msg, "RAM block 'microvm.ram'") != NULL, "%s", e->msg);
	ck_assert_str_eq(t.r->events, KEPT);
	ck_assert_int_eq(rig_state(t.r), RS_RUNNING);
	shelf_fini(&t);
	shelf_fini(&s);
}
END_TEST

/* What could not be foreseen: there is no guest any more, until there is one again. */
static const struct {
	int disk;
	enum fake_failure at;
	bool device; /* it does not accept what it is to load */
	bool again;  /* loading another heals, else a reset does */
} breaks[] = {
    {1, FAKE_APPLY, false, false},
    {1, FAKE_APPLY, false, true },
    {0, FAKE_APPLY, true,  false},
};

START_TEST(test_broken)
{
	struct shelf s;
	struct machine *m;
	struct snapshot_request r;
	const struct err *e;
	struct err err = {0};

	shelf_init(&s, STOPPED);
	m = &s.r->m;
	rig_run_guest(s.r);
	run_well(&s, JOB_SNAPSHOT_SAVE, "one");
	r = request(&s, "one");
	s.r->dev.refuse_load = breaks[_i].device;
	s.disk[breaks[_i].disk].q.fails[breaks[_i].at] = !breaks[_i].device;
	e = run(&s, JOB_SNAPSHOT_LOAD, &r);
	ck_assert_msg(strstr(e->msg, "snapshot 'one' could not be loaded, and there is no guest to "
				     "run until one is loaded or the machine is reset") != NULL,
		      "%s", e->msg);
	ck_assert_str_eq(s.r->events, "created running STOP aborting concluded");
	ck_assert_int_eq(rig_state(s.r), RS_RESTORE_VM);
	machine_lock(m);
	ck_assert_int_eq(machine_start(m, &err), -EBUSY);
	ck_assert_str_eq(err.msg, e->msg);
	ck_assert_int_eq(machine_start_forced(m, &err), -EBUSY);
	machine_unlock(m);
	e = run(&s, JOB_SNAPSHOT_SAVE,
		&(struct snapshot_request){.blocks = &s.blocks,
					   .tag = "two",
					   .vmstate = "d0",
					   .devices = both,
					   .n_devices = 2});
	ck_assert_int_eq(e->errnum, EBUSY);
	s.r->dev.refuse_load = false;
	if (breaks[_i].again) {
		run_well(&s, JOB_SNAPSHOT_LOAD, "one");
		shelf_check(&s, 7);
	} else {
		machine_lock(m);
		ck_assert_int_eq(machine_reset(m, &err), 0);
		machine_unlock(m);
	}
	machine_lock(m);
	ck_assert_msg(machine_start(m, &err) == 0, "%s", err.msg);
	machine_unlock(m);
	shelf_fini(&s);
}
END_TEST

/* savevm: all disks, and instead of one of that name. */
START_TEST(test_replace)
{
	struct shelf s;
	struct snapshot_request r;
	struct err err = {0};

	shelf_init(&s, STOPPED);
	rig_run_guest(s.r);
	r = (struct snapshot_request){.blocks = &s.blocks, .tag = "one", .replace = true};
	ck_assert_int_eq(snapshot_save(migration_snapshots(s.r->mg), &r, NULL, &err), 0);
	shelf_change(&s, 9);
	ck_assert_int_eq(snapshot_save(migration_snapshots(s.r->mg), &r, NULL, &err), 0);
	ck_assert_uint_eq(count(&s), 2);
	s.disk[1].q.fails[FAKE_COMMIT] = 1;
	shelf_change(&s, 11);
	ck_assert_int_lt(snapshot_save(migration_snapshots(s.r->mg), &r, NULL, &err), 0);
	ck_assert_uint_eq(count(&s), 2);
	ck_assert_int_eq(snapshot_load(migration_snapshots(s.r->mg), &r, NULL, &err), 0);
	shelf_check(&s, 9);
	shelf_fini(&s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("snapshot");
	TCase *tc = tcase_create("snapshot");
	SRunner *r;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, test_save_and_load, 0, WAYS);
	tcase_add_loop_test(tc, test_stopped, 0, WAYS);
	tcase_add_loop_test(tc, test_refused, 0, ARRAY_LEN(refusals));
	tcase_add_loop_test(tc, test_save_fails, 0, ARRAY_LEN(failures));
	tcase_add_test(tc, test_save_leaves_some);
	tcase_add_test(tc, test_save_fails_without_call);
	tcase_add_test(tc, test_save_behind_load);
	tcase_add_test(tc, test_delete_fails);
	tcase_add_loop_test(tc, test_cancel, 0, WAYS);
	tcase_add_test(tc, test_cancel_beside_request);
	tcase_add_test(tc, test_pause);
	tcase_add_test(tc, test_instant);
	tcase_add_loop_test(tc, test_capabilities, 0, WAYS);
	tcase_add_test(tc, test_damaged);
	tcase_add_test(tc, test_other_machine);
	tcase_add_loop_test(tc, test_broken, 0, ARRAY_LEN(breaks));
	tcase_add_test(tc, test_replace);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
