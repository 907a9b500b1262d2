/*
 * fault.c - the SIGBUS handler of guest memory
 *
 * All that it says is prepared when a block is made: the handler only looks the
 * address up in a table and writes.  The table is at file scope because a signal
 * handler has no argument of ours; its entries are published by their length, so that
 * a handler on another thread sees a whole one or none.
 */
#include "vmm/memory/fault.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/leftovers.h"
#include "vmm/base/log.h"
#include "vmm/base/terminal.h"
#include "vmm/memory/memory.h"

struct watched {
	uintptr_t first;
	size_t bytes; /* atomic; 0: free */
	char where[RAM_NAME_BYTES + sizeof(struct ram_file) + 32];
};

static struct watched table[2 * MEMORY_MAX_BLOCKS];

struct ram_file ram_file_of(int fd)
{
	char self[32], target[512];
	struct ram_file f;
	ssize_t n;

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	n = readlink(self, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = 0;
	(void)snprintf(f.s, sizeof(f.s), "'%.120s'", target);
	return f;
}

static void write_parts(const char *const *parts)
{
	char line[768];
	size_t n = 0;

	for (; *parts; parts++)
		for (const char *c = *parts; *c && n < sizeof(line) - 1; c++)
			line[n++] = *c;
	line[n++] = '\n';
	log_write_signal(line, n);
}

static const char *hex(uint64_t v, char out[20])
{
	char *p = out + 19;

	*p = 0;
	do
		*--p = "0123456789abcdef"[v & 15];
	while (v >>= 4);
	*--p = 'x';
	*--p = '0';
	return p;
}

static const char *cause(int code)
{
	switch (code) {
	case BUS_ADRERR:
		return "there is no room for the page, or the file was cut short";
	case BUS_MCEERR_AR:
	case BUS_MCEERR_AO:
		return "the host's memory has a hardware error there";
	default:
		return "the page cannot be had";
	}
}

static void on_sigbus(int signum, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr;
	char offset[20];

	(void)context;
	for (size_t i = 0; info->si_code > 0 && i < sizeof(table) / sizeof(table[0]); i++) {
		const struct watched *w = &table[i];

		if (at - w->first >= __atomic_load_n(&w->bytes, __ATOMIC_ACQUIRE))
			continue;
		terminal_restore(); /* first, so that the message begins at the left */
		write_parts((const char *const[]){"minivmm: cannot touch guest memory at offset ",
						  hex(at - w->first, offset), " of ", w->where,
						  ": ", cause(info->si_code), NULL});
		leftovers_remove();
		_exit(1);
	}
	/* Not ours: it faults again, or is raised again, with the default effect. */
	(void)signal(signum, SIG_DFL);
	if (info->si_code <= 0)
		(void)raise(signum);
}

static void install(void)
{
	struct sigaction sa = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};

	(void)sigemptyset(&sa.sa_mask);
	(void)sigaction(SIGBUS, &sa, NULL);
}

void fault_watch(const struct ram_block *b)
{
	if (b->fd < 0)
		return; /* anonymous memory: the host kills instead */
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct watched *w = &table[i];

		if (w->bytes)
			continue;
		w->first = (uintptr_t)b->hva;
		(void)snprintf(w->where, sizeof(w->where), "RAM block '%s' (%s)", b->name,
			       ram_file_of(b->fd).s);
		__atomic_store_n(&w->bytes, b->bytes, __ATOMIC_RELEASE);
		install();
		return;
	}
}

void fault_forget(const struct ram_block *b)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].bytes && table[i].first == (uintptr_t)b->hva)
			__atomic_store_n(&table[i].bytes, 0, __ATOMIC_RELEASE);
}
