/* job.h - watching a job of the peer to its end */
#ifndef MINIVMM_CTL_JOB_H
#define MINIVMM_CTL_JOB_H

struct client;
struct ctl;

/*
 * Watch the job until it is concluded, dismiss it, and say what 'what' ("saved as monday") has
 * become.  A line on a terminal, a line for each change elsewhere.  The exit status.
 */
int job_follow(struct ctl *ctl, struct client *c, const char *id, const char *what);

#endif
