/* beside.c - which processor a thread used last is in its stat file; to read that is not free */
#include "vmm/memory/beside.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_NS   10000000
#define CPU_FIELD 37 /* behind the name in parentheses */

static int64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* -1: not known. */
static int last_cpu(uint32_t tid)
{
	char path[40], text[1024];
	const char *p;
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%u/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	text[n > 0 ? n : 0] = '\0';
	p = strrchr(text, ')');
	for (int i = 0; p && i < CPU_FIELD; i++)
		p = strchr(p + 1, ' ');
	return p ? (int)strtol(p + 1, NULL, 10) : -1;
}

static void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	(void)sched_setaffinity(0, sizeof(set), &set); /* or it stays where it is */
}

void beside_follow(struct beside *b, uint32_t tid)
{
	int64_t now = now_ns();
	int cpu;

	if (b->off || !tid || now < b->next_ns)
		return;
	b->next_ns = now + LOOK_NS;
	cpu = last_cpu(tid);
	if (cpu < 0 || cpu >= CPU_SETSIZE || cpu + 1 == b->cpu)
		return;
	run_on(cpu);
	__atomic_store_n(&b->cpu, cpu + 1, __ATOMIC_RELAXED);
}

void beside_join(const struct beside *b, int *here)
{
	int cpu = __atomic_load_n(&b->cpu, __ATOMIC_RELAXED);

	if (cpu == *here || !cpu)
		return;
	run_on(cpu - 1);
	*here = cpu;
}
