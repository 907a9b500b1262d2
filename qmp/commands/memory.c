/* memory.c - guest RAM: sizes, backends, pmemsave (qmp-surface 5.2) */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migration/migration.h"
#include "qmp/command.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/units.h"
#include "vmm/host.h"
#include "vmm/machine.h"
#include "vmm/memory/room.h"
#include "vmm/options/config.h"

/* ---- query-memory-size-summary ---- */

struct memory_size {
	uint64_t base;
	bool has_plugged;
	uint64_t plugged;
};

static const struct qmp_member size_members[] = {
    QMP_REQ(struct memory_size, base, "base-memory"),
    QMP_OPT(struct memory_size, plugged, "plugged-memory"),
    {0},
};
static const struct qmp_type size_type =
    QMP_OBJECT_TYPE(struct memory_size, "MemoryInfo", size_members);

static int query_memory_size(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)arg;
	(void)err;
	*(struct memory_size *)ret =
	    (struct memory_size){.base = call->m->cfg->ram_bytes, .has_plugged = true};
	return 0;
}

/* ---- query-memdev ---- */

struct memdev {
	const char *id;
	uint64_t size;
	bool merge, dump, prealloc, share;
	bool has_reserve, reserve;
	struct qmp_array nodes; /* of int64_t; always empty */
	int policy;
};

static const char *const policies[] = {"default", "preferred", "bind", "interleave", NULL};
static const struct qmp_type policy_type = QMP_ENUM_TYPE("HostMemPolicy", policies);
static const struct qmp_type node_list = QMP_ARRAY_TYPE(&qmp_i64);
static const struct qmp_member memdev_members[] = {
    QMP_SET(struct memdev, id, "id"),
    QMP_REQ(struct memdev, size, "size"),
    QMP_REQ(struct memdev, merge, "merge"),
    QMP_REQ(struct memdev, dump, "dump"),
    QMP_REQ(struct memdev, prealloc, "prealloc"),
    QMP_REQ(struct memdev, share, "share"),
    QMP_OPT(struct memdev, reserve, "reserve"),
    QMP_REQ_T(struct memdev, nodes, "host-nodes", &node_list),
    QMP_REQ_T(struct memdev, policy, "policy", &policy_type),
    {0},
};
static const struct qmp_type memdev_type = QMP_OBJECT_TYPE(struct memdev, "Memdev", memdev_members);
static const struct qmp_type memdev_list = QMP_ARRAY_TYPE(&memdev_type);

static struct memdev memdev_of(const struct cfg_object *o)
{
	return (struct memdev){
	    .id = o->id,
	    .size = o->size,
	    .dump = true,
	    .prealloc = o->prealloc,
	    .share = o->share,
	};
}

/* The backends of -object, and the one that stands in when none was named for the machine. */
static int query_memdev(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct config *cfg = call->m->cfg;
	struct memdev *devs = qmp_alloc(call->pool, cfg->n_objects + 1, sizeof(*devs));
	size_t n = 0;

	(void)arg;
	(void)err;
	for (size_t i = 0; i < cfg->n_objects; i++)
		if (!strncmp(cfg->objects[i].type, "memory-backend-", 15))
			devs[n++] = memdev_of(&cfg->objects[i]);
	if (!cfg->memory_backend)
		devs[n++] =
		    (struct memdev){.id = "microvm.ram", .size = cfg->ram_bytes, .dump = true};
	*(struct qmp_array *)ret = (struct qmp_array){devs, n};
	return 0;
}

/* ---- pmemsave ---- */

struct pmemsave_args {
	uint64_t gpa, bytes;
	const char *filename;
};

static const struct qmp_member pmemsave_members[] = {
    QMP_REQ(struct pmemsave_args, gpa, "val"),
    QMP_REQ(struct pmemsave_args, bytes, "size"),
    QMP_REQ(struct pmemsave_args, filename, "filename"),
    {0},
};
static const struct qmp_type pmemsave_type =
    QMP_OBJECT_TYPE(struct pmemsave_args, "q_obj_pmemsave-arg", pmemsave_members);

/* All of it must be RAM before a byte is written. */
static int check_range(const struct memory *mem, uint64_t gpa, uint64_t bytes, struct err *err)
{
	uint64_t end, at = gpa;

	if (!bytes)
		return err_set(err, EINVAL, "Parameter 'size' expects at least one byte");
	if (__builtin_add_overflow(gpa, bytes, &end))
		return err_set(err, EINVAL, "Parameter 'size' reaches beyond the address space");
	while (at < end) {
		uint64_t n = end - at;

		if (!memory_ptr_some(mem, at, &n) || n == 0)
			return err_set(err, EFAULT,
				       "guest memory 0x%" PRIx64 " + 0x%" PRIx64
				       " cannot be saved: there is no RAM at 0x%" PRIx64,
				       gpa, bytes, at);
		at += n;
	}
	return 0;
}

static int write_range(int fd, const struct memory *mem, uint64_t gpa, uint64_t bytes)
{
	while (bytes) {
		uint64_t n = MIN(bytes, 16 * MiB);
		const void *p = memory_ptr_some(mem, gpa, &n);
		ssize_t done = p ? write(fd, p, n) : -1;

		if (!p)
			return -EFAULT;
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		gpa += (uint64_t)done;
		bytes -= (uint64_t)done;
	}
	return 0;
}

/* A descriptor of a client: the file has no name that we could put another in the place of. */
static int save_to_set(const char *path, const struct memory *mem, const struct pmemsave_args *a,
		       struct err *err)
{
	int fd = path_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0, err), ret;
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
		ret = err_set(err, EINVAL,
			      "Could not open '%.200s': it is neither a regular file nor a disk",
			      path);
	else if ((ret = write_range(fd, mem, a->gpa, a->bytes)) < 0)
		(void)err_set(err, -ret, "Could not write '%.200s': %s", path, err_text(-ret));
	path_close(fd);
	return ret;
}

/* The file appears whole: what is a regular file, or none yet, is replaced by a finished one. */
static int save_file(const char *path, const struct memory *mem, const struct pmemsave_args *a,
		     struct err *err)
{
	struct stat st;
	bool direct = stat(path, &st) == 0 && !S_ISREG(st.st_mode); /* a device */
	CLEANUP(cleanup_free) char *part = xasprintf(direct ? "%s" : "%s.part", path);
	int flags = O_WRONLY | O_CLOEXEC | (direct ? O_NONBLOCK | O_NOCTTY : O_CREAT | O_TRUNC);
	int fd, ret;

	/* The commands of all monitors would wait for the other end. */
	if (direct && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)))
		return err_set(
		    err, EINVAL,
		    "Could not open '%.200s': it is a pipe or a socket; give the name of a "
		    "regular file",
		    path);
	fd = open(part, flags, 0600);
	if (fd < 0)
		return err_set(err, errno, "Could not open '%.200s': %s", path, err_text(errno));
	ret = write_range(fd, mem, a->gpa, a->bytes);
	if (close(fd) < 0 && ret == 0)
		ret = -errno;
	if (ret == 0 && !direct && rename(part, path) < 0)
		ret = -errno;
	if (ret == 0)
		return 0;
	if (!direct)
		(void)unlink(part);
	return err_set(err, -ret, "Could not write '%.200s': %s", path, err_text(-ret));
}

static int pmemsave(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct pmemsave_args *a = arg;
	int r = machine_check_memory(call->m, err);

	(void)ret;
	if (r == 0)
		r = migration_check_pages(call->mg, err);
	if (r == 0 && migration_check_complete(call->mg, err) < 0)
		r = err_prefix(err, -EBUSY, "pmemsave has to wait");
	if (r == 0)
		r = check_range(&call->m->mem, a->gpa, a->bytes, err);
	if (r == 0) {
		CLEANUP(cleanup_free) char *path = host_path(call->m->host, a->filename);

		machine_unlock(call->m); /* the file, or a page, may take its time */
		r = path_is_fdset(path) ? save_to_set(path, &call->m->mem, a, err)
					: save_file(path, &call->m->mem, a, err);
		machine_lock(call->m);
		if (r == -EFAULT)
			(void)room_check_files(&call->m->mem, err); /* why */
	}
	return r;
}

const struct qmp_command qmp_memory_commands[] = {
    {"query-memory-size-summary", NULL, &size_type, query_memory_size, 0},
    {"query-memdev",                 NULL, &memdev_list, query_memdev, 0},
    {"pmemsave",			  &pmemsave_type, NULL, pmemsave, QMP_WAITS | QMP_GUEST},
    {0	     },
};
