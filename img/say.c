/* say.c - what is said to people: errors, sizes, the table of snapshots */
#include "img/img.h"

#include <inttypes.h>
#include <stdarg.h>
#include <time.h>

#include "devices/block/qcow2/qcow2.h"
#include "migration/snapshot/chain.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

int img_fail(int status, const struct err *err)
{
	(void)fprintf(stderr, "minivmm-img: %s\n", err->msg);
	return status;
}

int img_refuse(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)fprintf(stderr, "minivmm-img: ");
	(void)vfprintf(stderr, fmt, ap);
	(void)fprintf(stderr, "\n");
	va_end(ap);
	return status;
}

void img_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)fprintf(stderr, "minivmm-img: warning: ");
	(void)vfprintf(stderr, fmt, ap);
	(void)fprintf(stderr, "\n");
	va_end(ap);
}

const char *img_size_text(char out[IMG_SIZE_BYTES], uint64_t bytes)
{
	static const char *const units[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
	double v = (double)bytes;
	size_t unit = 0;

	for (; v >= 1000 && unit + 1 < ARRAY_LEN(units); unit++)
		v /= 1024;
	(void)snprintf(out, IMG_SIZE_BYTES, "%0.3g %sB", v, units[unit]);
	return out;
}

char *img_snapshot_parent(struct qcow2 *q, const struct qcow2_snapshot *s)
{
	struct parent_mark mark;

	return snapshot_parent(q, s, &mark, NULL) > 0 ? xstrdup(mark.tag) : NULL;
}

static bool any_has_parent(struct qcow2 *q)
{
	const struct qcow2_snapshot *s;
	bool any = false;

	for (size_t i = 0; !any && (s = qcow2_snapshot_at(q, i)) != NULL; i++) {
		CLEANUP(cleanup_free) char *parent = img_snapshot_parent(q, s);

		any = parent;
	}
	return any;
}

static void print_snapshot(FILE *out, const struct qcow2_snapshot *s, const char *parent)
{
	uint64_t ms = s->vm_clock_ns / 1000000, secs = ms / 1000;
	char size[IMG_SIZE_BYTES], date[32] = "", clock[48], icount[24] = "";
	time_t when = (time_t)s->date_s;
	struct tm tm;

	if (localtime_r(&when, &tm))
		(void)strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	(void)snprintf(clock, sizeof(clock), "%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64 ".%03" PRIu64,
		       secs / 3600, secs / 60 % 60, secs % 60, ms % 1000);
	if (s->icount != QCOW2_NO_ICOUNT)
		(void)snprintf(icount, sizeof(icount), "%" PRId64, (int64_t)s->icount);
	(void)fprintf(out, "%-9s %-16s %8s%20s%13s%11s%s%s\n", s->id, s->name,
		      img_size_text(size, s->vmstate_bytes), date, clock, icount,
		      parent ? "  " : "", parent ? parent : "");
}

void img_print_snapshots(FILE *out, struct qcow2 *q)
{
	const struct qcow2_snapshot *s = q ? qcow2_snapshot_at(q, 0) : NULL;

	if (!s)
		return;
	/* As qemu-img prints it, but for a column that it has not, where there is something in it.
	 */
	(void)fprintf(out, "Snapshot list:\n%-9s %-16s %8s%20s%13s%11s%s\n", "ID", "TAG", "VM SIZE",
		      "DATE", "VM CLOCK", "ICOUNT", any_has_parent(q) ? "  PARENT" : "");
	for (size_t i = 0; (s = qcow2_snapshot_at(q, i)) != NULL; i++) {
		CLEANUP(cleanup_free) char *parent = img_snapshot_parent(q, s);

		print_snapshot(out, s, parent);
	}
}
