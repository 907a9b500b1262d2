/*
 * thread-name.h - names of threads, for debuggers and ps
 *
 * Whether threads get names is, like the level of the log, a switch of the
 * whole program: on while debug_threads was asked for.
 */
#ifndef MINIVMM_BASE_THREAD_NAME_H
#define MINIVMM_BASE_THREAD_NAME_H

#include <pthread.h>
#include <stdbool.h>

/* Before the first thread is made.  Off unless called. */
void thread_names_switch(bool on);
void thread_name(pthread_t t, const char *name); /* at most 15 bytes are kept */

#endif
