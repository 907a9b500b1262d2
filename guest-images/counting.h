/*
 * counting.h - a range of pages that proves from outside where every page comes from
 *
 * Processor N owns 'pages' pages from start + N * pages * 4096.  In round G it
 * goes over them in order and stamps each with G, so at any instant pages
 * below 'index' are of round G and the others of round G - 1; only the page at
 * 'index' may be half written.  The place is kept in a status page, where the
 * host reads it.  Before it stamps a page it checks the old stamp, so the
 * guest itself finds a page that was lost or is too old.
 */
#ifndef GUEST_COUNTING_H
#define GUEST_COUNTING_H

#include "lib.h"

#define COUNTING_STATUS 0xf00000u /* GPA of processor 0's status page; one page each */
#define COUNTING_MAGIC  0x31746e436d76696eull
#define STAMP_MAGIC     0x5bd1e995c6a4a793ull

/* All little-endian words; the harness reads them by position. */
struct counting_status {
	uint64_t magic, cpu, base, pages, generation, index;
	uint64_t errors;    /* pages that did not hold the stamp of the round before */
	uint64_t ticks;     /* timer interrupts */
	uint64_t backwards; /* times the TSC was seen going back */
	uint64_t tsc;
	/* device work, processor 0 only */
	uint64_t disk, disk_errors, rng, rng_errors, net, net_errors, net_lost;
	uint64_t gap; /* writer: TSC ticks of the longest piece since the host has set it to 0 */
};

/* The stamp: words 0, 1 and 511 of a page, stored in this order. */
struct stamp {
	uint64_t generation, index, unused[509], check;
};

/*
 * Counts forever.  Command line: start=16M pages=1000 rate=0 (pages a second,
 * 0: as fast as it goes), every=64 (pages between two rounds of device work).
 * Commands: r report, b burst (no rate), n normal rate, q power off, x reset.
 */
_Noreturn void counting_run(bool all_cpus, bool devices);

#endif
