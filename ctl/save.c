/*
 * save.c - the guest into a file, and a waiting program's guest out of one
 *
 * A peer that knows file: opens the file itself. An older QEMU is handed a descriptor (getfd), into
 * a file with another name that takes its place when all is in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/commands.h"
#include "ctl/move.h"
#include "ctl/say.h"
#include "ctl/uri.h"
#include "qmp/json.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define FD_NAME "minivmm-ctl"

/* Is it the enumeration of the kinds of addresses, with files among them? */
static bool names_file(const struct json_object *e)
{
	static const char *const kinds[] = {"socket", "exec", "rdma", "file"};
	struct json_object *values;
	size_t found = 0;

	if (json_kind(e) != JSON_OBJECT || !json_get(e, "values", &values) ||
	    json_kind(values) != JSON_ARRAY || json_len(values) < ARRAY_LEN(kinds))
		return false;
	for (size_t i = 0; i < json_len(values); i++)
		for (size_t k = 0;
		     json_kind(json_at(values, i)) == JSON_STRING && k < ARRAY_LEN(kinds); k++)
			found += !strcmp(json_str(json_at(values, i)), kinds[k]);
	return found == ARRAY_LEN(kinds);
}

/* By its schema: since QEMU 8.2. */
static bool has_file(struct client *c)
{
	const struct json_object *all = client_is_minivmm(c) ? NULL : client_schema(c, NULL);
	bool found = client_is_minivmm(c);

	for (size_t i = 0; !found && json_kind(all) == JSON_ARRAY && i < json_len(all); i++)
		found = names_file(json_at(all, i));
	return found;
}

static struct json_object *uri_args(const char *uri)
{
	struct json_object *args = json_new_object();

	json_set(args, "uri", json_new_str(uri, strlen(uri)));
	return args;
}

/* Name a descriptor at the peer. */
static int hand_over(struct client *c, int fd, struct err *err)
{
	struct json_object *args = json_new_object();

	json_set(args, "fdname", json_new_str(FD_NAME, strlen(FD_NAME)));
	return client_call_fd(c, "getfd", args, fd, NULL, err);
}

/* QEMU says "completed" before it has closed the descriptor: that is done when its run state has
 * changed and it has been asked once more. */
static void wait_closed(struct client *c)
{
	bool busy = true;

	while (busy) {
		CLEANUP(cleanup_json) struct json_object *v = NULL;
		struct json_object *m;

		busy = client_call(c, "query-status", NULL, &v, NULL) == 0 &&
		       json_kind(v) == JSON_OBJECT && json_get(v, "status", &m) &&
		       json_kind(m) == JSON_STRING && !strcmp(json_str(m), "finish-migrate");
	}
	(void)client_call(c, "query-status", NULL, NULL, NULL);
}

/* Through a descriptor: 'part' takes the place of 'path' when it is whole. */
static int save_by_fd(struct ctl *ctl, struct settings *s, struct follow *f, const char *path,
		      const char *what)
{
	CLEANUP(cleanup_free) char *part = xasprintf("%s.part", path);
	CLEANUP(cleanup_close)
	int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct err err = {0};
	int status, ret;

	if (fd < 0)
		return say_error(ctl, CTL_FAILED, "%s: cannot be written: %s", part,
				 err_text(errno));
	ret = hand_over(f->client, fd, &err);
	if (ret < 0)
		status = say_call_error(ctl, ret, &err);
	else
		status = move_run(ctl, s, f, "migrate", uri_args("fd:" FD_NAME), what);
	if (status == CTL_DONE)
		wait_closed(f->client);
	if (status == CTL_DONE && (fsync(fd) < 0 || rename(part, path) < 0))
		return say_error(ctl, CTL_FAILED, "%s: %s; the guest is in %s", path,
				 err_text(errno), part);
	if (status == CTL_FAILED)
		(void)unlink(part);
	return status;
}

static int save_to(struct ctl *ctl, const struct ctl_args *args, struct settings *s)
{
	CLEANUP(cleanup_free) char *path = path_absolute(args->word[0]);
	CLEANUP(cleanup_free) char *what = xasprintf("saved to %s", path);
	CLEANUP(cleanup_free) char *uri = xasprintf("file:%s", path);
	int status = CTL_DONE;
	struct follow f = {.client = ctl_client(ctl, &status)};

	if (!f.client)
		return status;
	status = has_file(f.client) ? move_run(ctl, s, &f, "migrate", uri_args(uri), what)
				    : save_by_fd(ctl, s, &f, path, what);
	if (status == CTL_DONE && ctl_opt(args, "quit"))
		(void)client_call(f.client, "quit", NULL, NULL, NULL);
	return status;
}

/* What save and load have in common: 's' holds what the options ask for. */
typedef int save_fn(struct ctl *ctl, const struct ctl_args *args, struct settings *s);

static int with_settings(struct ctl *ctl, const struct ctl_args *args, save_fn *run)
{
	struct settings s;
	struct err err = {0};
	int status;

	ctl_settings_init(&s);
	settings_cap(&s, "events", true, NULL);
	if (settings_read(&s, args, &err) < 0)
		status = say_error(ctl, CTL_USAGE, "%s", err.msg);
	else
		status = run(ctl, args, &s);
	settings_fini(&s);
	return status;
}

static int save_command(struct ctl *ctl, const struct ctl_args *args)
{
	return with_settings(ctl, args, save_to);
}

/* ---- load ---- */

/* A guest that is here would only be let run, or stopped. */
static int check_awaited(struct client *c, struct err *err)
{
	CLEANUP(cleanup_json) struct json_object *v = NULL;
	struct json_object *m;
	int ret = client_call(c, "query-status", NULL, &v, err);

	if (ret < 0)
		return ret;
	if (json_kind(v) == JSON_OBJECT && json_get(v, "status", &m) &&
	    json_kind(m) == JSON_STRING && !strcmp(json_str(m), "inmigrate"))
		return 0;
	return err_set(err, EBUSY,
		       "%s: no guest is awaited there: start the program with '-incoming defer'",
		       client_where(c));
}

static int start_load(struct follow *f, const char *path, struct json_object **args,
		      struct err *err)
{
	CLEANUP(cleanup_free) char *uri = xasprintf("file:%s", path);
	CLEANUP(cleanup_close) int fd = -1;
	int ret;

	if (has_file(f->client)) {
		*args = uri_args(uri);
		return 0;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno, "%s: cannot be read: %s", path, err_text(errno));
	ret = hand_over(f->client, fd, err);
	if (ret == 0)
		*args = uri_args("fd:" FD_NAME);
	return ret;
}

static int load_from(struct ctl *ctl, const struct ctl_args *args, struct settings *s)
{
	CLEANUP(cleanup_free) char *path = path_absolute(args->word[0]);
	CLEANUP(cleanup_free) char *what = xasprintf("loaded from %s", path);
	int status = CTL_DONE, ret;
	struct follow f = {.incoming = true, .client = ctl_client(ctl, &status)};
	struct json_object *from = NULL;
	struct err err = {0};

	if (!f.client)
		return status;
	if (check_awaited(f.client, &err) < 0)
		return say_error(ctl, CTL_FAILED, "%s", err.msg);
	if (start_load(&f, path, &from, &err) < 0)
		return say_error(ctl, CTL_FAILED, "%s", err.msg);
	/* While a guest is awaited this says what becomes of it when it is there. */
	ret = client_call(f.client, ctl_opt(args, "paused") ? "stop" : "cont", NULL, NULL, &err);
	if (ret < 0) {
		json_free(from);
		return say_call_error(ctl, ret, &err);
	}
	return move_run(ctl, s, &f, "migrate-incoming", from, what);
}

static int load_command(struct ctl *ctl, const struct ctl_args *args)
{
	return with_settings(ctl, args, load_from);
}

static const struct ctl_opt save_opts[] = {
    MOVE_COMMON_OPTS,
    {"mapped",     NULL, "each page at a place of its own: mapped-ram, which loads at once"},
    {"background", NULL, "the guest as it is now, and it runs on meanwhile"                },
    {"quit",       NULL, "end the program once the guest is saved"                         },
    {NULL,         NULL, NULL							      },
};
static const struct ctl_opt load_opts[] = {
    {"mapped",  NULL,            "the file was saved with --mapped"    },
    {"multifd", "N[:zlib|zstd]", "by so many channels, as it was saved"},
    {"paused",  NULL,            "do not let the guest run"            },
    {NULL,      NULL,            NULL				  },
};

const struct ctl_command ctl_save_command = {.name = "save",
					     .arguments = "FILE",
					     .help = "save the guest, running or not, into a file",
					     .opts = save_opts,
					     .min_words = 1,
					     .max_words = 1,
					     .run = save_command};
const struct ctl_command ctl_load_command = {
    .name = "load",
    .arguments = "FILE",
    .help = "a program that was started with '-incoming defer' takes the guest of a file",
    .opts = load_opts,
    .min_words = 1,
    .max_words = 1,
    .run = load_command};
