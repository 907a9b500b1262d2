/* qom-balloon.h - the balloon's statistics as properties of the device: part of qom.c */
#ifndef MINIVMM_QMP_QOM_BALLOON_H
#define MINIVMM_QMP_QOM_BALLOON_H

struct err;
struct machine;
struct qmp_any;
struct qom_list;

/* Add "guest-stats".  Machine lock held. */
void qom_balloon_list(struct machine *m, struct qom_list *out);
/* "guest-stats-polling-interval"; -ENOENT: it is another one.  Machine lock held. */
int qom_balloon_set(struct machine *m, const char *name, const struct qmp_any *value,
		    struct err *err);

#endif
