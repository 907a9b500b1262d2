/* check.h - what check.c, check-refs.c and rebuild.c share */
#ifndef MINIVMM_DEVICES_BLOCK_QCOW2_CHECK_H
#define MINIVMM_DEVICES_BLOCK_QCOW2_CHECK_H

#include "devices/block/qcow2/counts.h"
#include "devices/block/qcow2/internal.h"

struct check {
	struct qcow2 *q;
	struct qcow2_check *c; /* counted and told there */
	struct counts refs;    /* references to each cluster */
	struct counts diff;    /* its refcount in the file without those */
	uint64_t clusters;     /* of the storage, the last in part */
	uint64_t end;          /* behind the last cluster with a reference */
	/* What could not be followed: refcounts that seem too high may not be, and nothing is
	 * repaired. */
	bool blind;
	bool refcounts_wrong; /* too low somewhere, or their blocks are damaged */
	uint8_t *l2;          /* owned: one L2 table */
};

int check_init(struct check *k, struct qcow2 *q, struct qcow2_check *c);
void check_fini(struct check *k);
/* A finding that is an error, counted. */
void check_error(struct check *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void check_say(const struct check *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * References of all tables but those of the refcounts.  What is wrong in them is told; -errno is
 * for what says nothing of the image: no memory, too large.
 */
int check_count_tables(struct check *k);
/* Those of the refcount table and its blocks. */
int check_count_refcounts(struct check *k);
/* References to a place, if it is one. */
int check_count(struct check *k, uint64_t host, uint64_t bytes, const char *what);

/* A table as it is on the storage: n entries, owned; NULL: told, and k->blind. */
uint64_t *check_read_table(struct check *k, uint64_t host, uint32_t n, const char *what);
/* The L2 table at 'host' as it is on the storage, in k->l2; -errno. */
int check_read_l2(struct check *k, uint64_t host);
struct qcow2_entry check_entry(const struct check *k, uint32_t i);

/*
 * Refcounts are what k->refs says, in new blocks behind all that is there, and the header knows
 * them; k->refs counts them, too, then.  Those of the old blocks must not be counted.
 */
int check_rebuild(struct check *k, struct err *err);
/* COPIED flags of the active tables are what k->refs says; tables in memory are read anew. */
int check_fix_flags(struct check *k, struct err *err);

#endif
