/*
 * thread.h - the one way to start a thread: its name, its signals, its role
 *
 * A thread takes no signals but its own faults: the others are handled by the main
 * thread, and a write to a broken pipe is an error code; a vCPU's thread takes the one
 * that kicks it out of KVM_RUN.  The role says what a thread may be used for:
 * whether it may wait for guest memory, and which system calls a filter leaves it.
 */
#ifndef MINIVMM_BASE_THREAD_H
#define MINIVMM_BASE_THREAD_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct err;

#define THREAD_KICK_SIGNAL SIGUSR1

enum thread_role {
	THREAD_MAIN, /* the program's first thread, and any that thread_start() did not make */
	THREAD_CONTROL,
	THREAD_VCPU,
	THREAD_IO,
	THREAD_BLOCK,
	THREAD_MIGRATION,
	THREAD_FAULT,
	THREAD_HELPER,
	THREAD_ROLES
};

struct thread {
	pthread_t id;
	bool live; /* to be joined; the owner's */
	bool done; /* atomic: the thread ends now, and no longer takes a lock */
};

/* Whether threads are named, for debuggers and ps.  Before the first one is made; off unless
 * called. */
void threads_named(bool on);
/*
 * Start fn(opaque) in *t (zeroed, or joined before); at most 15 bytes of the
 * name are kept.  *t has its id before fn runs.  0, or -errno with *err set.
 */
int thread_start(struct thread *t, const char *name, enum thread_role role,
		 void *(*fn)(void *opaque), void *opaque, struct err *err);
/* Wait for its end; one that does not live is fine. */
void thread_join(struct thread *t);
/* The same, but not longer than this; false: the thread still runs. */
bool thread_join_ms(struct thread *t, unsigned ms);

/*
 * Waiting for a condition until a moment of CLOCK_MONOTONIC, which no change of
 * the host's date moves; only a condition that was made here may be waited for like that.
 */
void thread_cond_init(pthread_cond_t *cond);
/* May return early, as pthread_cond_wait() may.  Mutex held. */
void thread_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t ns);

/* From now on the calling thread gives way to others where processors are scarce; it cannot undo
 * it. */
void thread_give_way(void);

/* The caller's role. */
enum thread_role thread_role(void);

/* The thread is about to return: joining it will not wait. */
static inline void thread_set_done(struct thread *t)
{
	__atomic_store_n(&t->done, true, __ATOMIC_SEQ_CST);
}

static inline bool thread_is_done(const struct thread *t)
{
	return __atomic_load_n(&t->done, __ATOMIC_SEQ_CST);
}

#endif
