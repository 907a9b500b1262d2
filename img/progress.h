/*
 * progress.h - how far a subcommand is: a bar with rate and remaining time, or percent
 *
 * On a terminal a line is drawn again and again:
 *
 *     [==============>             ]  52.3 %  1.4 GiB of 2.7 GiB  312 MiB/s  0:04 left
 *
 * Elsewhere it is what qemu-img -p prints: "    (52.30/100%)\r" each time that two percent more
 * are done.  Any thread may report; the others go on while one prints.
 */
#ifndef MINIVMM_IMG_PROGRESS_H
#define MINIVMM_IMG_PROGRESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
	/* set at creation and then constant */
	FILE *out; /* borrowed; NULL: nothing is printed */
	bool terminal;
	unsigned columns;
	uint64_t total_bytes;
	uint64_t begin_ns; /* CLOCK_MONOTONIC */

	uint64_t done_bytes;  /* atomic */
	pthread_mutex_t lock; /* who prints; a leaf, only tried */
	double printed;       /* percent; under lock */
	uint64_t printed_ns;  /* under lock */
};

/* 'out' NULL: quiet. */
void progress_init(struct progress *p, FILE *out, uint64_t total_bytes);
void progress_add(struct progress *p, uint64_t bytes);
/* At the end of the work; 'complete': the last line says 100 %. */
void progress_fini(struct progress *p, bool complete);

/* A terminal's line for so much, after so long, at most 'columns' wide.  (for tests) */
void progress_line(char *line, size_t n, unsigned columns, uint64_t done, uint64_t total,
		   uint64_t ns);

#endif
