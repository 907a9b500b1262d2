/* jobs.c - the three jobs of snapshots: what a request is, kept while the job's thread works */
#include <stdlib.h>

#include "migration/snapshot/snapshot.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/machine.h"

struct snapshot_task {
	struct snapshots *s;
	int (*run)(struct snapshots *s, const struct snapshot_request *r, struct job *j,
		   struct err *err);
	struct snapshot_request request; /* its strings are owned, all in 'strings' */
	char **strings;
};

static int task_run(struct job *j, struct err *err)
{
	struct snapshot_task *t = j->opaque;

	return t->run(t->s, &t->request, j, err);
}

static void task_free(void *opaque)
{
	struct snapshot_task *t = opaque;

	for (size_t i = 0; t->strings[i]; i++)
		free(t->strings[i]);
	free(t->strings);
	free(t);
}

static struct snapshot_task *task_new(struct snapshots *s, const struct snapshot_request *r)
{
	struct snapshot_task *t = NEW(struct snapshot_task);
	size_t n = 0;

	t->s = s;
	t->request = *r;
	t->strings = xcalloc(r->n_devices + 4, sizeof(char *));
	for (size_t i = 0; i < r->n_devices; i++)
		t->strings[n++] = xstrdup(r->devices[i]);
	t->request.devices = (const char *const *)t->strings;
	t->strings[n++] = xstrdup(r->tag);
	t->request.tag = t->strings[n - 1];
	if (r->vmstate) {
		t->strings[n] = xstrdup(r->vmstate);
		t->request.vmstate = t->strings[n++];
	}
	if (r->parent) {
		t->strings[n] = xstrdup(r->parent);
		t->request.parent = t->strings[n];
	}
	return t;
}

static const struct {
	struct job_ops ops;
	int (*run)(struct snapshots *s, const struct snapshot_request *r, struct job *j,
		   struct err *err);
} kinds[] = {
    {{.type = JOB_SNAPSHOT_SAVE, .run = task_run, .free = task_free},   snapshot_save  },
    {{.type = JOB_SNAPSHOT_LOAD, .run = task_run, .free = task_free},   snapshot_load  },
    {{.type = JOB_SNAPSHOT_DELETE, .run = task_run, .free = task_free}, snapshot_delete},
};

void snapshots_fini(struct snapshots *s)
{
	track_forget(&s->track, "the program ends");
}

int snapshots_start_job(struct snapshots *s, enum job_type type, const char *id,
			const struct snapshot_request *r, struct err *err)
{
	struct job_config cfg = {.id = id, .manual_dismiss = true};
	struct snapshot_task *t = task_new(s, r);
	struct job *j;
	size_t i = 0;

	while (kinds[i].ops.type != type)
		i++;
	t->run = kinds[i].run;
	cfg.ops = &kinds[i].ops;
	cfg.opaque = t;
	j = job_new(s->m, &cfg, err);
	if (!j) {
		task_free(t);
		return -1;
	}
	job_start(j);
	return 0;
}
