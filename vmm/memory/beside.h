/*
 * beside.h - a thread that others wait for runs on the processor of the one that waits
 *
 * To wake a thread on the same processor is a switch; on another one that is idle it is an
 * interrupt and the end of its sleep, which takes several times as long.  Who waits for a page
 * leaves its processor anyway.
 */
#ifndef MINIVMM_MEMORY_BESIDE_H
#define MINIVMM_MEMORY_BESIDE_H

#include <stdbool.h>
#include <stdint.h>

struct beside {
	/* set at creation and then constant */
	bool off; /* every thread runs where it likes */
	/* the thread's that looks */
	uint32_t tid;
	int64_t next_ns;
	/* atomic: the processor, plus 1; 0: none yet */
	int cpu;
};

/* Thread 'tid' waits: note its processor, if the last look is some time ago, and go there. */
void beside_follow(struct beside *b, uint32_t tid);
/* Another thread that helps: *here (0 at first) is where it was put last.  Goes there, too. */
void beside_join(const struct beside *b, int *here);

#endif
