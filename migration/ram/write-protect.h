/*
 * write-protect.h - the guest's memory as it was at one instant, while the guest runs on
 *
 * The tracker row write-protect, and what a background snapshot does with it
 * beyond the row:
 *
 *     ram_save_start             blocks are registered, the fault thread serves
 *     ram_save_begin             armed: all pages are protected; a write releases its page
 *     write_protect_rearm        until few are open
 *     write_protect_instant      the guest stands still: the open ones are protected again
 *     write_protect_look_again   of a part of memory (ram_save.partial): what of it is there
 *     ram_save_record            each page once, as it was at the instant
 *     ram_save_stop              nothing is protected
 *
 * Migration thread.
 */
#ifndef MINIVMM_MIGRATION_WRITE_PROTECT_H
#define MINIVMM_MIGRATION_WRITE_PROTECT_H

struct err;
struct ram_save;

/*
 * Protect pages again that were written since, until few are left: the guest's own writes go
 * on meanwhile.  0 or -errno.
 */
int write_protect_rearm(struct ram_save *s, struct err *err);
/*
 * This is the instant: nothing writes to guest memory (vCPUs parked, devices
 * idle).  Touches no guest memory: the machine lock may be held.  0 or -errno.
 */
int write_protect_instant(struct ram_save *s, struct err *err);
/* After the instant, with ram_save.partial: what has been given back need not be read. */
void write_protect_look_again(struct ram_save *s);
/*
 * A descriptor (borrowed, until the end) that is readable when stop_fd is, or when page faults
 * cannot be resolved any more: for waits that are to end then.  -errno.
 */
int write_protect_watch(struct ram_save *s, int stop_fd);
/* Nothing is protected any more, as by ram_save_stop(), but without a lock. */
void write_protect_end(struct ram_save *s);
/* Page faults cannot be resolved any more: -errno with *err set; nothing is protected then. */
int write_protect_check(const struct ram_save *s, struct err *err);

#endif
