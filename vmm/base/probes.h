/*
 * probes.h - static probes (USDT): the places at which a tracer can look into the running program
 *
 * PROBE_TABLE has a row for each: name, how many arguments, what they are.  PROBE(name, ...) is a
 * nop in the code and a note in the ELF file that tells a tracer (bpftrace, perf, SystemTap, gdb)
 * where it is and where the arguments are at that moment; so an argument is something that is at
 * hand: a member, a local variable, a pointer to a text.  It is not evaluated for the tracer's sake
 * only, takes no lock and fits any thread.
 *
 * Times are the tracer's: no probe has one.  Where <sys/sdt.h> (Debian: systemtap-sdt-dev) is
 * missing, or with MINIVMM_NO_PROBES, there are none.  docs/tracing.md has the same table and how
 * to use it.
 */
#ifndef MINIVMM_BASE_PROBES_H
#define MINIVMM_BASE_PROBES_H

/* clang-format off */
#define PROBE_TABLE(P)                                                                              \
	/* vCPUs; on the vCPU's thread, without a lock */                                           \
	P(vcpu_enter, 1, "vCPU")                                                                    \
	P(vcpu_exit, 3, "vCPU, reason (KVM_EXIT_*), 0 or -errno of KVM_RUN")                        \
	/* the machine */                                                                           \
	P(run_state, 1, "name of the run state that begins")                                        \
	P(job_status, 2, "the job's ID, name of the status that begins")                            \
	/* moving, both ends */                                                                     \
	P(migration_status, 1, "name of the status that begins")                                    \
	P(section_save_begin, 3, "name, instance, bytes that are in memory by now")                 \
	P(section_save_end, 3, "name, instance, bytes that are in memory by now")                   \
	P(section_load_begin, 2, "name, instance")                                                  \
	P(section_load_end, 3, "name, instance, 0 or -errno")                                       \
	/* moving, the source */                                                                    \
	P(pass, 3, "its number, pages that were written in the one before, bytes to go")            \
	P(slice, 3, "pages, bytes on the wire, ns: pages that went before the engine looks around") \
	P(switchover_begin, 1, "pages to go")                                                       \
	P(switchover_stopped, 0, "the guest stands still")                                          \
	P(switchover_collected, 1, "bytes of device state")                                         \
	P(switchover_sent, 1, "bytes on the main channel")                                          \
	P(switchover_released, 0, "the guest no longer is this end's")                              \
	P(switchover_end, 1, "0: the other end has it, or -errno")                                  \
	P(guest_kept, 1, "the guest goes on here: 0, or -errno and it stays paused")                \
	/* page faults of guest memory: postcopy, lazy loading, background snapshots */             \
	P(fault, 3, "address of the page in this process, 1 write | 2 protected, thread or 0")      \
	P(fault_filled, 3, "address in this process, bytes, 0 or -errno")                           \
	P(fault_released, 3, "address in this process, bytes that may be written again, 0 or -errno")
/* clang-format on */

/* How many arguments each has: PROBE_ARGS_name. */
#define PROBE_COUNT_ROW(name, n, what) PROBE_ARGS_##name = (n),
enum { PROBE_TABLE(PROBE_COUNT_ROW) };
#undef PROBE_COUNT_ROW

#define PROBE_NTH(z, a, b, c, d, n, ...) n
#define PROBE_COUNT(...)                 PROBE_NTH(0, ##__VA_ARGS__, 4, 3, 2, 1, 0)

#if __has_include(<sys/sdt.h>) && !defined(MINIVMM_NO_PROBES)
#define SDT_USE_VARIADIC
#include <sys/sdt.h>
#define PROBE_FIRE(name, ...) STAP_PROBEV(minivmm, name, ##__VA_ARGS__)
#else
int probe_none(int none, ...); /* nowhere, and never called: it makes its arguments used */
#define PROBE_FIRE(name, ...) ((void)sizeof(probe_none(0, ##__VA_ARGS__)))
#endif

/* A statement: the probe 'name' of the table, with as many arguments as it says there. */
#define PROBE(name, ...)                                                                           \
	({                                                                                         \
		_Static_assert(PROBE_COUNT(__VA_ARGS__) == PROBE_ARGS_##name,                      \
			       "the table has another number of arguments for this probe");        \
		PROBE_FIRE(name, ##__VA_ARGS__);                                                   \
	})

#endif
