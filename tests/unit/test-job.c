/* test-job.c - jobs: the tables of states and verbs, and lives of a fake one */
#include <check.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "check-main.h"
#include "vmm/job.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

static struct config cfg;
static struct machine m;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static char told[512]; /* the states, as they were published */
static struct notify_listener listener;

/* What the fake job does; under the machine lock. */
static struct {
	bool go;       /* its work may end */
	bool final;    /* it cannot be taken back */
	int ret;       /* of the work */
	int commit;    /* of the last step */
	bool wordless; /* it fails without a text */
	bool deaf;     /* it does not hear of a cancel, as in a write that does not return */
	unsigned runs, commits, aborts, frees;
} fake;

static void heard(void *opaque, const struct notification *n)
{
	size_t len = strlen(told);

	(void)opaque;
	ck_assert_int_eq(n->kind, NOTIFY_JOB_STATUS);
	ck_assert_str_eq(n->text, "j0");
	(void)snprintf(told + len, sizeof(told) - len, "%s%s", len ? " " : "", n->text2);
	pthread_cond_broadcast(&changed);
}

static bool may_end(void)
{
	bool go;

	machine_lock(&m);
	go = fake.go;
	machine_unlock(&m);
	return go;
}

static int fake_run(struct job *j, struct err *err)
{
	fake.runs++;
	job_set_total(j, 100);
	job_add_done(j, 40);
	if (fake.final && job_commit_point(j) < 0)
		return -ECANCELED;
	while (fake.deaf && !may_end())
		(void)sched_yield();
	do {
		int ret = j->ops->completes ? job_wait_complete(j) : job_pause_point(j);

		if (ret < 0)
			return ret;
	} while (!j->ops->completes && !may_end());
	job_add_done(j, 60);
	if (fake.ret < 0 && !fake.wordless)
		return err_set(err, -fake.ret, "the fake has failed");
	return fake.ret;
}

static int fake_commit(struct job *j, struct err *err)
{
	(void)j;
	fake.commits++;
	return fake.commit < 0 ? err_set(err, -fake.commit, "the last step has failed") : 0;
}

static void fake_abort(struct job *j)
{
	ck_assert_int_eq(j->status, JOB_ABORTING);
	fake.aborts++;
}

static void fake_free(void *opaque)
{
	(void)opaque;
	fake.frees++;
}

static const struct job_ops plain_ops = {JOB_SNAPSHOT_SAVE, false,      fake_run,
					 fake_commit,       fake_abort, fake_free};
static const struct job_ops ready_ops = {JOB_MIRROR,  true,       fake_run,
					 fake_commit, fake_abort, fake_free};

static void set_up(void)
{
	ck_assert_int_eq(machine_init(&m, &cfg, NULL), 0);
	listener = (struct notify_listener){.fn = heard};
	machine_lock(&m);
	notify_subscribe(&m.notify, &listener);
}

static void tear_down(void)
{
	machine_unlock(&m);
	ck_assert(jobs_end(&m));
	machine_fini(&m);
}

static struct job *make(const struct job_ops *ops, bool manual_finalize, bool manual_dismiss)
{
	const struct job_config c = {.id = "j0",
				     .ops = ops,
				     .manual_finalize = manual_finalize,
				     .manual_dismiss = manual_dismiss};
	struct err err = {0};
	struct job *j = job_new(&m, &c, &err);

	ck_assert_msg(j != NULL, "%s", err.msg);
	return j;
}

static void await(const char *states)
{
	while (strcmp(told, states) != 0)
		pthread_cond_wait(&changed, &m.lock);
}

static void refused(struct job *j, enum job_verb v, const char *words)
{
	struct err err = {0};

	ck_assert_int_lt(job_apply(j, v, &err), 0);
	ck_assert_str_eq(err.msg, words);
}

static void applied(struct job *j, enum job_verb v)
{
	struct err err = {0};

	ck_assert_msg(job_apply(j, v, &err) == 0, "%s", err.msg);
}

START_TEST(table_of_transitions)
{
	static const char *const legal[] = {
	    "undefined>created", "created>running",   "created>aborting",   "created>null",
	    "running>paused",    "running>ready",     "running>waiting",    "running>aborting",
	    "paused>running",    "ready>standby",     "ready>waiting",      "ready>aborting",
	    "standby>ready",     "waiting>pending",   "waiting>aborting",   "pending>aborting",
	    "pending>concluded", "aborting>aborting", "aborting>concluded", "concluded>null",
	};
	size_t seen = 0;

	for (int from = 0; from < JOB_STATUSES; from++)
		for (int to = 0; to < JOB_STATUSES; to++) {
			char move[64];
			bool want = false;

			(void)snprintf(move, sizeof(move), "%s>%s", job_status_name(from),
				       job_status_name(to));
			for (size_t i = 0; i < sizeof(legal) / sizeof(legal[0]); i++)
				want = want || !strcmp(move, legal[i]);
			ck_assert_msg(job_may_move(from, to) == want, "%s", move);
			seen += want;
		}
	ck_assert_uint_eq(seen, sizeof(legal) / sizeof(legal[0]));
}
END_TEST

START_TEST(table_of_verbs)
{
	/* by state: cancel pause resume set-speed complete dismiss finalize */
	static const char *const accepts[JOB_STATUSES] = {
	    [JOB_UNDEFINED] = "-------", [JOB_CREATED] = "cprs---", [JOB_RUNNING] = "cprs---",
	    [JOB_PAUSED] = "cprs---",    [JOB_READY] = "cprsC--",   [JOB_STANDBY] = "cprsC--",
	    [JOB_WAITING] = "c------",   [JOB_PENDING] = "c-----f", [JOB_ABORTING] = "-------",
	    [JOB_CONCLUDED] = "-----d-", [JOB_NULL] = "-------",
	};

	for (int s = 0; s < JOB_STATUSES; s++)
		for (int v = 0; v < JOB_VERBS; v++)
			ck_assert_msg(job_accepts(v, s) == (accepts[s][v] != '-'), "%s in %s",
				      job_verb_name(v), job_status_name(s));
}
END_TEST

START_TEST(life_of_a_success)
{
	struct job *j;

	set_up();
	j = make(&plain_ops, false, true);
	fake.go = true;
	job_start(j);
	ck_assert_str_eq(told, "created running");
	await("created running waiting pending concluded");
	ck_assert_int_eq(j->err.errnum, 0);
	ck_assert_uint_eq(j->done_bytes, 100);
	ck_assert_uint_eq(j->total_bytes, 100);
	refused(j, JOB_CANCEL, "Job 'j0' in state 'concluded' cannot accept command verb 'cancel'");
	refused(j, JOB_PAUSE, "Job 'j0' in state 'concluded' cannot accept command verb 'pause'");
	ck_assert_ptr_eq(job_find(&m, "j0"), j);
	ck_assert_ptr_eq(job_at(&m, 0), j);
	applied(j, JOB_DISMISS);
	ck_assert_str_eq(told, "created running waiting pending concluded null");
	ck_assert_ptr_null(job_find(&m, "j0"));
	ck_assert_uint_eq(fake.commits, 1);
	ck_assert_uint_eq(fake.aborts, 0);
	ck_assert_uint_eq(fake.frees, 1);
	tear_down();
}
END_TEST

START_TEST(one_that_dismisses_itself_leaves_its_name)
{
	set_up();
	fake.go = true;
	job_start(make(&plain_ops, false, false));
	await("created running waiting pending concluded null");
	ck_assert_ptr_null(job_find(&m, "j0"));
	ck_assert_ptr_null(job_at(&m, 0));
	told[0] = 0;
	job_start(make(&plain_ops, false, false));
	ck_assert_uint_eq(fake.frees, 1);
	await("created running waiting pending concluded null");
	tear_down();
	ck_assert_uint_eq(fake.frees, 2);
}
END_TEST

START_TEST(life_of_a_failure)
{
	static const struct {
		int ret, commit;
		bool wordless;
		const char *states, *words;
	} rows[] = {
	    {-ENOSPC, 0,    false, "created running aborting concluded",                 "the fake has failed"    },
	    {-ENOSPC, 0,    true,  "created running aborting concluded",                 "No space left on device"},
	    {0,       -EIO, false, "created running waiting pending aborting concluded",
	     "the last step has failed"									   },
	};

	set_up();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct job *j = make(&plain_ops, false, true);

		fake.go = true;
		fake.ret = rows[i].ret;
		fake.commit = rows[i].commit;
		fake.wordless = rows[i].wordless;
		job_start(j);
		await(rows[i].states);
		ck_assert_str_eq(j->err.msg, rows[i].words);
		ck_assert_uint_eq(fake.aborts, i + 1);
		applied(j, JOB_DISMISS);
		told[0] = 0;
	}
	tear_down();
}
END_TEST

START_TEST(pause_and_resume)
{
	struct job *j;

	set_up();
	j = make(&plain_ops, false, true);
	job_start(j);
	refused(j, JOB_RESUME, "Can't resume a job that was not paused");
	applied(j, JOB_PAUSE);
	await("created running paused");
	refused(j, JOB_PAUSE, "Job is already paused");
	refused(j, JOB_COMPLETE,
		"Job 'j0' in state 'paused' cannot accept command verb 'complete'");
	fake.go = true;
	applied(j, JOB_RESUME);
	await("created running paused running waiting pending concluded");
	tear_down();
}
END_TEST

START_TEST(ready_standby_complete)
{
	struct job *j;

	set_up();
	j = make(&ready_ops, false, true);
	job_start(j);
	await("created running ready");
	applied(j, JOB_PAUSE);
	await("created running ready standby");
	applied(j, JOB_COMPLETE); /* kept until it goes on, as QEMU 7.2 does */
	ck_assert_str_eq(told, "created running ready standby");
	applied(j, JOB_RESUME);
	await("created running ready standby ready waiting pending concluded");
	tear_down();
}
END_TEST

START_TEST(finalized_by_a_client)
{
	struct job *j;

	set_up();
	j = make(&plain_ops, true, true);
	fake.go = true;
	job_start(j);
	await("created running waiting pending");
	ck_assert_uint_eq(fake.commits, 0);
	applied(j, JOB_FINALIZE);
	ck_assert_str_eq(told, "created running waiting pending concluded");
	ck_assert_uint_eq(fake.commits, 1);
	tear_down();
}
END_TEST

/* In each state in which that is possible. */
START_TEST(cancelled)
{
	static const struct {
		const struct job_ops *ops;
		bool start, pause, go;
		const char *before, *after;
	} rows[] = {
	    {&plain_ops, false, false, false, "created",                         "created aborting concluded"},
	    {&plain_ops, true,  false, false, "created running",
	     "created running aborting concluded"							    },
	    {&plain_ops, true,  true,  false, "created running paused",
	     "created running paused running aborting concluded"                                             },
	    {&ready_ops, true,  false, false, "created running ready",
	     "created running ready aborting concluded"                                                      },
	    {&plain_ops, true,  false, true,  "created running waiting pending",
	     "created running waiting pending aborting concluded"                                            },
	};

	set_up();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct job *j = make(rows[i].ops, true, true);

		fake.go = rows[i].go;
		if (rows[i].start)
			job_start(j);
		if (rows[i].pause)
			applied(j, JOB_PAUSE);
		await(rows[i].before);
		applied(j, JOB_CANCEL);
		await(rows[i].after);
		ck_assert_str_eq(j->err.msg, "Operation canceled");
		ck_assert_uint_eq(fake.aborts, i + 1);
		ck_assert_uint_eq(fake.commits, 0);
		applied(j, JOB_DISMISS);
		told[0] = 0;
	}
	tear_down();
}
END_TEST

START_TEST(names)
{
	static const char *const bad[] = {"", "0a", " a", "a b", "#a", "a/b"};
	struct job_config c = {.id = "j0", .ops = &plain_ops};
	struct err err = {0};
	char words[64];

	set_up();
	(void)make(&plain_ops, false, true);
	ck_assert_ptr_null(job_new(&m, &c, &err));
	ck_assert_str_eq(err.msg, "Job ID 'j0' already in use");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		c.id = bad[i];
		ck_assert_ptr_null(job_new(&m, &c, &err));
		(void)snprintf(words, sizeof(words), "Invalid job ID '%s'", bad[i]);
		ck_assert_str_eq(err.msg, words);
	}
	tear_down();
}
END_TEST

START_TEST(the_end_of_the_machine_ends_them)
{
	set_up();
	job_start(make(&plain_ops, false, true));
	tear_down();
	ck_assert_str_eq(told, "created running aborting concluded");
	ck_assert_uint_eq(fake.frees, 1);
}
END_TEST

START_TEST(one_that_does_not_end_is_given_up)
{
	struct job *j;

	set_up();
	fake.deaf = true;
	j = make(&plain_ops, false, true);
	job_start(j);
	machine_unlock(&m);
	while (!__atomic_load_n(&j->total_bytes, __ATOMIC_RELAXED))
		(void)sched_yield();
	ck_assert(!jobs_end(&m));
	ck_assert_uint_eq(fake.frees, 0);
	machine_lock(&m);
	fake.go = true;
	tear_down();
	ck_assert_str_eq(told, "created running aborting concluded");
	ck_assert_uint_eq(fake.frees, 1);
}
END_TEST

/* Cancelled before, nothing is done; after, it is refused, also at the end of the machine. */
START_TEST(point_of_no_return)
{
	struct job *j;

	set_up();
	fake.final = true;
	j = make(&plain_ops, false, true);
	job_start(j);
	while (!j->committed) {
		machine_unlock(&m);
		(void)sched_yield();
		machine_lock(&m);
	}
	refused(j, JOB_CANCEL, "Job 'j0' is about to end: it is too late to cancel it");
	fake.go = true;
	tear_down();
	ck_assert_str_eq(told, "created running waiting pending concluded");
	ck_assert_uint_eq(fake.aborts, 0);
}
END_TEST

START_TEST(cancelled_before_it)
{
	struct job *j;

	set_up();
	fake.final = true;
	j = make(&plain_ops, false, true);
	applied(j, JOB_PAUSE);
	job_start(j);
	await("created running paused");
	applied(j, JOB_CANCEL);
	await("created running paused running aborting concluded");
	ck_assert(!j->committed);
	tear_down();
}
END_TEST

CHECK_MAIN("job", table_of_transitions, table_of_verbs, life_of_a_success,
	   one_that_dismisses_itself_leaves_its_name, life_of_a_failure, pause_and_resume,
	   ready_standby_complete, finalized_by_a_client, cancelled, names,
	   the_end_of_the_machine_ends_them, one_that_does_not_end_is_given_up, point_of_no_return,
	   cancelled_before_it)
