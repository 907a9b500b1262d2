/*
 * kvm-stats.h - KVM's own statistics of a machine and of its vCPUs (KVM_CAP_BINARY_STATS_FD)
 *
 * KVM tells what there is with names and units; this program knows none of them.
 */
#ifndef MINIVMM_KVM_STATS_H
#define MINIVMM_KVM_STATS_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct machine;

/* Of Linux's interface, and in the order of QMP's StatsType and StatsUnit. */
enum kvm_stat_type {
	KVM_STAT_CUMULATIVE,
	KVM_STAT_INSTANT,
	KVM_STAT_PEAK,
	KVM_STAT_LINEAR,
	KVM_STAT_LOG,
	KVM_STAT_TYPES
};
enum kvm_stat_unit {
	KVM_STAT_NONE,
	KVM_STAT_BYTES,
	KVM_STAT_SECONDS,
	KVM_STAT_CYCLES,
	KVM_STAT_BOOLEAN,
	KVM_STAT_UNITS
};

struct kvm_stat {
	const char *name;
	enum kvm_stat_type type;
	enum kvm_stat_unit unit;
	int base, exponent;    /* the unit's: base^exponent */
	uint32_t bucket_bytes; /* KVM_STAT_LINEAR: the width of a bucket */
	const uint64_t *values;
	size_t n; /* 1, or the buckets of a histogram */
};

struct kvm_stats {
	struct kvm_stat *v; /* owned; what it points to is in 'bytes' */
	size_t n;
	void *bytes; /* owned */
};

/* A descriptor for the statistics of a VM or a vCPU's descriptor; -1: this KVM has none.  Of a
 * vCPU only before it runs, for KVM would wait for it. */
int kvm_stats_open(int fd);
/* Read them.  Any thread, no lock.  0 with none for -1; -EIO: not what is expected.  Free with
 * kvm_stats_fini(), also after an error. */
int kvm_stats_read(struct kvm_stats *s, int stats_fd, struct err *err);
void kvm_stats_fini(struct kvm_stats *s);

#endif
