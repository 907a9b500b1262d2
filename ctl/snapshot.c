/*
 * snapshot.c - snapshots in the disks' images: save, load, delete, list
 *
 * Without --disks all disks of the guest take part that it can write to; each has to be one whose
 * format holds snapshots.  The memory goes to the first, or where --memory says; a load finds it
 * where the snapshot has a size.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/commands.h"
#include "ctl/job.h"
#include "ctl/say.h"
#include "qmp/json.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define MAX_DISKS 64

struct disks {
	struct json_object *reply; /* owned: query-block */
	const char *node[MAX_DISKS];
	struct json_object *image[MAX_DISKS]; /* borrowed, or NULL */
	size_t n;
};

static bool is_true(const struct json_object *o, const char *key)
{
	struct json_object *m;

	return json_get(o, key, &m) && json_kind(m) == JSON_BOOL && json_is_true(m);
}

/* What stands in a drive; NULL: nothing. */
static const struct json_object *inserted(const struct json_object *block)
{
	struct json_object *m;

	return json_kind(block) == JSON_OBJECT && json_get(block, "inserted", &m) &&
		       json_kind(m) == JSON_OBJECT && *json_get_text(m, "node-name")
		   ? m
		   : NULL;
}

static int take_disk(struct disks *d, const struct json_object *in, bool strict, struct err *err)
{
	struct json_object *image = NULL;

	if (is_true(in, "ro"))
		return 0;
	if (strcmp(json_get_text(in, "drv"), "qcow2") != 0) {
		if (!strict)
			return 0;
		return err_set(
		    err, EINVAL,
		    "the disk '%.100s' is %.30s, which holds no snapshots: name those that "
		    "take part with --disks",
		    json_get_text(in, "node-name"), json_get_text(in, "drv"));
	}
	if (d->n == MAX_DISKS)
		return err_set(err, E2BIG, "there are more than %d disks", MAX_DISKS);
	if (json_get(in, "image", &image) && json_kind(image) != JSON_OBJECT)
		image = NULL;
	d->image[d->n] = image;
	d->node[d->n++] = json_get_text(in, "node-name");
	return 0;
}

/* The guest's writable disks; strict: each must be able to hold a snapshot. */
static int find_disks(struct disks *d, struct client *c, bool strict, struct err *err)
{
	int ret = client_call(c, "query-block", NULL, &d->reply, err);

	for (size_t i = 0; ret == 0 && json_kind(d->reply) == JSON_ARRAY && i < json_len(d->reply);
	     i++) {
		const struct json_object *in = inserted(json_at(d->reply, i));

		if (in)
			ret = take_disk(d, in, strict, err);
	}
	if (ret == 0 && !d->n && strict)
		ret = err_set(err, ENOENT, "there is no disk whose format holds snapshots (qcow2)");
	return ret;
}

/* The i-th snapshot of an image; NULL behind the last. */
static const struct json_object *snapshot_at(const struct json_object *image, size_t i)
{
	struct json_object *list;

	if (!image || !json_get(image, "snapshots", &list) || json_kind(list) != JSON_ARRAY ||
	    i >= json_len(list) || json_kind(json_at(list, i)) != JSON_OBJECT)
		return NULL;
	return json_at(list, i);
}

/* Which disk has the memory of that snapshot, or the first. */
static const char *memory_node(const struct disks *d, const char *tag)
{
	const struct json_object *s;

	for (size_t k = 0; k < d->n; k++)
		for (size_t i = 0; (s = snapshot_at(d->image[k], i)); i++)
			if (!strcmp(json_get_text(s, "name"), tag) &&
			    json_get_int(s, "vm-state-size", 0) > 0)
				return d->node[k];
	return d->node[0];
}

/* ---- save, load, delete ---- */

static struct json_object *new_text(const char *text)
{
	return json_new_str(text, strlen(text));
}

/* "a,b" */
static struct json_object *split(const char *list)
{
	struct json_object *all = json_new_array();

	while (*list) {
		size_t n = strcspn(list, ",");

		if (n)
			json_append(all, json_new_str(list, n));
		list += n + (list[n] == ',');
	}
	return all;
}

static int make_args(const struct ctl_args *args, struct client *c, const char *verb,
		     struct json_object *to, struct err *err)
{
	const char *given = ctl_opt(args, "disks"), *memory = ctl_opt(args, "memory");
	const char *tag = args->word[1];
	struct json_object *devices = given ? split(given) : json_new_array();
	struct disks d = {0};
	int ret = find_disks(&d, c, !given, err);

	for (size_t i = 0; ret == 0 && !given && i < d.n; i++)
		json_append(devices, new_text(d.node[i]));
	if (ret == 0 && given && !json_len(devices))
		ret = err_set(err, EINVAL, "--disks '%s': it names none", given);
	json_set(to, "tag", new_text(tag));
	if (ret == 0 && strcmp(verb, "delete") != 0) {
		const char *first = json_len(devices) ? json_str(json_at(devices, 0)) : "";
		const char *found =
		    strcmp(verb, "load") != 0 || !d.n ? first : memory_node(&d, tag);

		json_set(to, "vmstate", new_text(memory ? memory : found));
	}
	json_set(to, "devices", devices);
	json_free(d.reply);
	return ret;
}

static int run_job(struct ctl *ctl, const struct ctl_args *args, struct client *c, const char *verb,
		   const char *what)
{
	CLEANUP(cleanup_free) char *id = xasprintf("minivmm-ctl-%ld", (long)getpid());
	CLEANUP(cleanup_free) char *command = xasprintf("snapshot-%s", verb);
	struct json_object *to = json_new_object();
	const char *parent = ctl_opt(args, "parent");
	struct err err = {0};
	int ret = make_args(args, c, verb, to, &err);

	if (ret < 0) {
		json_free(to);
		return client_gone(c) ? say_call_error(ctl, ret, &err)
				      : say_error(ctl, CTL_FAILED, "%s", err.msg);
	}
	json_set(to, "job-id", new_text(id));
	if (ctl_opt(args, "track"))
		json_set(to, "x-minivmm-track", json_new_bool(true));
	if (parent)
		json_set(to, "x-minivmm-parent", new_text(parent));
	ret = client_call(c, command, to, NULL, &err);
	return ret < 0 ? say_call_error(ctl, ret, &err) : job_follow(ctl, c, id, what);
}

/* ---- list ---- */

static void print_snapshot(const char *node, const struct json_object *s)
{
	char size[SAY_BYTES], date[32] = "?";
	time_t when = (time_t)json_get_int(s, "date-sec", 0);
	int64_t bytes = json_get_int(s, "vm-state-size", 0);
	struct tm tm;

	if (localtime_r(&when, &tm))
		(void)strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	say_text("%-20s %-16s %9s  %s", json_get_text(s, "name"), node,
		 bytes > 0 ? say_size(size, (uint64_t)bytes) : "-", date);
}

static int list(struct ctl *ctl, struct client *c)
{
	CLEANUP(cleanup_json) struct json_object *all = json_new_array();
	struct disks d = {0};
	struct err err = {0};
	const struct json_object *s;
	int ret = find_disks(&d, c, false, &err);

	if (ret < 0)
		return say_call_error(ctl, ret, &err);
	for (size_t k = 0; k < d.n; k++)
		for (size_t i = 0; (s = snapshot_at(d.image[k], i)); i++) {
			struct json_object *one = json_new_object();

			if (!ctl->json && !json_len(all))
				say_text("%-20s %-16s %9s  %s", "TAG", "DISK", "VM STATE", "DATE");
			if (!ctl->json)
				print_snapshot(d.node[k], s);
			json_set(one, "disk", new_text(d.node[k]));
			json_set(one, "snapshot", json_share((struct json_object *)s));
			json_append(all, one);
		}
	if (ctl->json)
		say_value(ctl, all);
	else if (!json_len(all))
		say_note(ctl, "there are no snapshots");
	json_free(d.reply);
	return CTL_DONE;
}

static int snapshot_command(struct ctl *ctl, const struct ctl_args *args)
{
	static const char *const verbs[] = {"save", "load", "delete", "list"};
	static const char *const done[] = {"saved as", "loaded", "deleted"};
	CLEANUP(cleanup_free) char *what = NULL;
	int status = CTL_DONE;
	struct client *c;
	size_t verb = 0;

	while (verb < ARRAY_LEN(verbs) && strcmp(args->word[0], verbs[verb]) != 0)
		verb++;
	if (verb == ARRAY_LEN(verbs))
		return say_error(ctl, CTL_USAGE, "snapshot: save, load, delete or list, not '%s'",
				 args->word[0]);
	if ((args->n_words == 2) == (verb == 3))
		return say_error(ctl, CTL_USAGE, "snapshot %s: it needs %s", verbs[verb],
				 verb == 3 ? "no tag" : "a tag");
	c = ctl_client(ctl, &status);
	if (!c)
		return status;
	if (verb == 3)
		return list(ctl, c);
	what = xasprintf("%s %s", done[verb], args->word[1]);
	return run_job(ctl, args, c, verbs[verb], what);
}

static const struct ctl_opt snapshot_opts[] = {
    {"disks",  "NODE,NODE...",
     "the disks that take part, by their node names; all, unless it is said"                       },
    {"memory", "NODE",         "the disk that has the memory"                                      },
    {"track",  NULL,           "save: note what is written from now on, for one that has only that"},
    {"parent", "TAG",          "save: only what was written since that one"                        },
    {NULL,     NULL,           NULL								},
};

const struct ctl_command ctl_snapshot_command = {
    .name = "snapshot",
    .arguments = "save|load|delete|list [TAG]",
    .help = "memory, devices and disks at one instant, in the disks' own images",
    .opts = snapshot_opts,
    .min_words = 1,
    .max_words = 2,
    .run = snapshot_command};
