/*
 * kvm-stats.c - read KVM's statistics
 *
 * A descriptor has a header, descriptions of equal length, and 64-bit values, each at the offset
 * that the header or the description says.  Offsets come from the kernel and are checked all the
 * same.
 */
#include "vmm/kvm-stats.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/types.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define MAX_BYTES MiB

int kvm_stats_open(int fd)
{
	int stats = fd < 0 ? -1 : ioctl(fd, KVM_GET_STATS_FD, NULL);

	if (stats >= 0)
		(void)fcntl(stats, F_SETFD, FD_CLOEXEC);
	return stats;
}

void kvm_stats_fini(struct kvm_stats *s)
{
	free(s->v);
	free(s->bytes);
	*s = (struct kvm_stats){0};
}

static int unexpected(struct err *err)
{
	return err_set(err, EIO, "KVM's statistics are not as they are expected");
}

/* All of it, from the start: what lies behind the last value is not read. */
static ssize_t read_all(int fd, void *bytes, size_t room)
{
	size_t n = 0;

	while (n < room) {
		ssize_t got = pread(fd, (char *)bytes + n, room - n, (off_t)n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	return (ssize_t)n;
}

/* Where the last value ends. */
static uint64_t end_of(const struct kvm_stats_header *h, const uint8_t *descs)
{
	size_t each = sizeof(struct kvm_stats_desc) + h->name_size;
	uint64_t end = 0;

	for (uint32_t i = 0; i < h->num_desc; i++) {
		struct kvm_stats_desc d;

		memcpy(&d, descs + i * each, sizeof(d));
		end = MAX(end, (uint64_t)d.offset + (uint64_t)d.size * 8);
	}
	return end;
}

static int take(struct kvm_stat *s, const struct kvm_stats_header *h, uint8_t *bytes, size_t i)
{
	size_t each = sizeof(struct kvm_stats_desc) + h->name_size;
	uint8_t *at = bytes + h->desc_offset + i * each;
	struct kvm_stats_desc d;
	char *name = (char *)at + sizeof(d);

	memcpy(&d, at, sizeof(d));
	name[h->name_size - 1] = '\0';
	*s = (struct kvm_stat){
	    .name = name,
	    .type = (enum kvm_stat_type)(d.flags & KVM_STATS_TYPE_MASK),
	    .unit = (enum kvm_stat_unit)((d.flags & KVM_STATS_UNIT_MASK) >> KVM_STATS_UNIT_SHIFT),
	    .base = (d.flags & KVM_STATS_BASE_MASK) == KVM_STATS_BASE_POW2 ? 2 : 10,
	    .exponent = d.exponent,
	    .bucket_bytes = d.bucket_size,
	    .values = (const uint64_t *)(const void *)(bytes + h->data_offset + d.offset),
	    .n = d.size,
	};
	return s->type < KVM_STAT_TYPES && s->unit < KVM_STAT_UNITS && s->n > 0 && d.offset % 8 == 0
		   ? 0
		   : -EIO;
}

int kvm_stats_read(struct kvm_stats *s, int stats_fd, struct err *err)
{
	struct kvm_stats_header h;
	uint64_t descs_end, end;
	uint8_t *bytes;

	*s = (struct kvm_stats){0};
	if (stats_fd < 0)
		return 0;
	if (read_all(stats_fd, &h, sizeof(h)) != sizeof(h) || !h.name_size || h.data_offset % 8)
		return unexpected(err);
	descs_end =
	    h.desc_offset + (uint64_t)h.num_desc * (sizeof(struct kvm_stats_desc) + h.name_size);
	if (descs_end > MAX_BYTES || h.data_offset > MAX_BYTES)
		return unexpected(err);
	bytes = s->bytes = xcalloc(1, MAX(descs_end, (uint64_t)h.data_offset));
	if (read_all(stats_fd, bytes, descs_end) != (ssize_t)descs_end)
		return unexpected(err);
	end = MAX(descs_end, h.data_offset + end_of(&h, bytes + h.desc_offset));
	if (end > MAX_BYTES)
		return unexpected(err);
	bytes = s->bytes = xrealloc(s->bytes, end);
	if (read_all(stats_fd, bytes, end) != (ssize_t)end)
		return unexpected(err);
	s->v = xcalloc(h.num_desc, sizeof(*s->v));
	for (uint32_t i = 0; i < h.num_desc; i++)
		if (take(&s->v[s->n], &h, bytes, i) == 0)
			s->n++; /* one of a kind that is not known is left out */
	return 0;
}
