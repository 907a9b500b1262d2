/*
 * device-file.c - the devices alone, as a file (xen-save-devices-state, -load-): what is around the
 * guest's memory for one who moves that himself
 *
 *     magic, version     as a stream begins, but without a configuration section
 *     FULL sections      of every device, as a stream has them
 *     EOF
 *
 * That is QEMU's layout.  QEMU itself refuses to load it outside of Xen, for want of the
 * configuration; here a file is loaded with or without one.  It is read twice: first nothing is
 * changed, and should a device refuse its state then, all get back what they had: a file which does
 * not fit leaves the guest as it is.
 */
#include "migration/device-file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migration/incoming/loader.h"
#include "migration/internal.h"
#include "migration/migration.h"
#include "migration/stream/device-state.h"
#include "migration/stream/wire.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/dirty.h"
#include "vmm/host.h"
#include "vmm/machine.h"

#define FILE_MAX (256 * MiB)

/* ---- both ---- */

/* Nothing else is being done to the guest: 0, or -EBUSY.  Machine lock held. */
static int check_free(struct migration *mg, enum machine_hold what, struct err *err)
{
	int ret = machine_check_holdable(mg->m, what, err);

	if (ret == 0 && migration_busy(mg))
		ret = err_set(err, EBUSY, "There's a migration process in progress");
	return ret < 0 ? ret : migration_check_complete(mg, err);
}

/* A pipe would hold up the commands of all monitors until its other end is there. */
static int open_file(const char *path, int flags, struct err *err)
{
	int fd = path_open(path, flags | O_NONBLOCK | O_NOCTTY, 0600, NULL);
	struct stat st;

	if (fd < 0)
		return err_set(err, -fd, "Unable to open %.200s: %s", path, err_text(-fd));
	if (fstat(fd, &st) == 0 && !S_ISFIFO(st.st_mode) && !S_ISDIR(st.st_mode))
		return fd;
	path_close(fd);
	return err_set(err, EINVAL, "Unable to open %.200s: it is a pipe or a folder", path);
}

static void close_file(const int *fd)
{
	path_close(*fd);
}

static int err_io(struct err *err, const char *why)
{
	return err_set(err, EIO, "An IO error has occurred: %.400s", why);
}

/* ---- save ---- */

static int write_all(int fd, const struct buf *b)
{
	for (size_t at = 0; at < b->len;) {
		ssize_t n = write(fd, b->data + at, b->len - at);

		if (n < 0 && errno != EINTR)
			return -errno;
		at += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* Machine lock held; the guest stands still. */
static int collect(struct migration *mg, struct buf *out, struct err *err)
{
	struct machine *m = mg->m;
	enum runstate before = m->before_stop;
	struct device_state ds = {0};
	int ret = m->needs_boot ? machine_reset(m, err) : 0;

	m->before_stop = RS_RUNNING; /* what the file says of it, as QEMU's does */
	if (ret == 0)
		ret = m->arch->fetch(m, err);
	if (ret == 0)
		ret = device_state_collect(&ds, m, err);
	m->before_stop = before;
	if (ret == 0) {
		buf_be32(out, STREAM_MAGIC);
		buf_be32(out, STREAM_VERSION);
		buf_put(out, ds.sections.data, ds.sections.len);
		buf_u8(out, TAG_EOF);
	}
	device_state_free(&ds);
	return ret;
}

/* The guest runs again if it did, whatever 'ret' is. */
static int go_on(struct machine *m, bool ran, int ret, struct err *err)
{
	struct err why = {0};

	if (!ran) {
		machine_resume(m);
		return ret;
	}
	if (m->state != RS_SAVE_VM) /* a 'stop' has come, or it has stopped by itself */
		return ret;
	if (machine_start(m, &why) == 0)
		return ret;
	(void)machine_set_state(m, RS_PAUSED, NULL);
	log_error("the guest stays paused: %s", why.msg);
	return ret < 0 ? ret : err_set(err, EIO, "the guest stays paused: %s", why.msg);
}

/* 'live' false, of a guest that does not run: somebody else gets the disks, until 'cont'. */
static int save_to(struct migration *mg, int fd, bool live, struct err *err)
{
	CLEANUP(buf_free) struct buf file = {0};
	struct machine *m = mg->m;
	bool ran = machine_running(m);
	int ret = ran ? machine_stop_cancellable(m, RS_SAVE_VM, m->stuck_fd)
		      : machine_pause_cancellable(m, m->stuck_fd);

	if (ret < 0)
		return err_set(err, EBUSY, "the guest cannot be stopped now");
	ret = collect(mg, &file, err);
	if (ret == 0) {
		machine_unlock(m); /* the file may take its time */
		ret = write_all(fd, &file);
		machine_lock(m);
		if (ret < 0)
			ret = err_io(err, err_text(-ret));
	}
	if (ret == 0 && !live && !ran)
		ret = machine_handover(m, HANDOVER_RELEASE, err);
	return go_on(m, ran, ret, err);
}

int migration_save_devices(struct migration *mg, const char *path, bool live, struct err *err)
{
	CLEANUP(cleanup_free) char *full = host_path(mg->m->host, path);
	CLEANUP(close_file) int fd = -1;
	int ret = check_free(mg, HOLD_SAVE, err);

	if (ret < 0)
		return ret;
	fd = open_file(full, O_WRONLY | O_CREAT | O_TRUNC, err);
	return fd < 0 ? fd : save_to(mg, fd, live, err);
}

/* ---- load ---- */

static int read_all(int fd, struct buf *b)
{
	for (;;) {
		uint8_t *room = buf_room(b, 64 * KiB);
		ssize_t n = read(fd, room, 64 * KiB);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return 0;
		b->len += n > 0 ? (size_t)n : 0;
		if (b->len > FILE_MAX)
			return -EFBIG;
	}
}

static int load_once(struct machine *m, const struct buf *file, bool checks, struct err *err)
{
	static const bool no_caps[CAP_COUNT];
	struct src in = src_mem(file->data, file->len);
	struct loader l;
	int ret;

	loader_init(&l, m, NULL, &in);
	l.checks = checks;
	l.devices_only = true;
	l.commands.caps = no_caps;
	ret = loader_header(&l, err);
	if (ret == 0)
		ret = loader_records(&l, err);
	loader_fini(&l);
	return ret;
}

/* The lock is not held; the guest is. */
static int load_whole(struct migration *mg, const struct buf *file, struct err *err)
{
	struct machine *m = mg->m;
	int ret = load_once(m, file, false, err);

	machine_lock(m);
	if (ret == 0)
		ret = m->arch->push(m, err);
	mg->globalstate.received = false; /* whether it ran when it was saved does not matter */
	machine_unlock(m);
	return ret;
}

/* A device may refuse what the check has let pass: then all of them get what they had.  'lost':
 * they did not. */
static int load_held(struct migration *mg, const struct buf *file, bool *lost, struct err *err)
{
	CLEANUP(buf_free) struct buf before = {0};
	struct err why = {0};
	int ret;

	machine_lock(mg->m);
	ret = collect(mg, &before, err);
	machine_unlock(mg->m);
	if (ret < 0)
		return ret;
	ret = load_whole(mg, file, err);
	if (ret < 0 && load_whole(mg, &before, &why) < 0) {
		*lost = true;
		log_error("the devices cannot get back what they had: %s", why.msg);
	}
	return ret;
}

/* Machine lock held; given up while files and devices are read. */
static int load_from(struct migration *mg, const struct buf *file, struct err *err)
{
	struct machine *m = mg->m;
	struct err why = {0};
	bool lost = false;
	int ret = load_once(m, file, true, &why);

	machine_lock(m);
	if (ret == 0) /* it does not run, so that no request is waited for */
		ret = machine_hold(m, HOLD_LOAD, -1, &why);
	if (ret == 0) {
		machine_unlock(m);
		ret = load_held(mg, file, &lost, &why);
		machine_lock(m);
		if (ret == 0) { /* memory is the caller's; a failed load before does not matter */
			m->needs_boot = false;
			m->broken.errnum = 0;
		}
		if (lost)
			machine_let_go_broken(m, &why);
		else
			(void)machine_let_go(m, NULL);
	}
	return ret < 0 ? err_io(err, why.msg) : 0;
}

int migration_load_devices(struct migration *mg, const char *path, struct err *err)
{
	CLEANUP(cleanup_free) char *full = host_path(mg->m->host, path);
	CLEANUP(buf_free) struct buf file = {0};
	CLEANUP(close_file) int fd = -1;
	struct machine *m = mg->m;
	int ret;

	if (machine_running(m))
		return err_set(err, EBUSY, "Cannot update device state while vm is running");
	ret = check_free(mg, HOLD_LOAD, err);
	if (ret < 0)
		return ret;
	fd = open_file(full, O_RDONLY, err);
	if (fd < 0)
		return fd;
	machine_unlock(m);
	ret = read_all(fd, &file);
	if (ret == 0)
		return load_from(mg, &file, err);
	machine_lock(m);
	return err_io(err, err_text(-ret));
}

/* ---- the dirty log ---- */

/* A migration, or a measurement, wants it. */
static void yield_log(void *opaque)
{
	struct migration *mg = opaque;

	mg->logs_dirty = false;
	dirty_stop(mg->m);
}

int migration_log_dirty(struct migration *mg, bool on, struct err *err)
{
	struct machine *m = mg->m;
	int ret = 0;

	if (on && !mg->logs_dirty && !dirty_taken(m)) {
		ret = dirty_start_yielding(m, yield_log, mg, err);
		mg->logs_dirty = ret == 0;
	} else if (!on && mg->logs_dirty) {
		yield_log(mg);
	}
	return ret;
}
