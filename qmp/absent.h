/* absent.h - commands of QEMU that minivmm has not, and what to use in their place */
#ifndef MINIVMM_QMP_ABSENT_H
#define MINIVMM_QMP_ABSENT_H

struct qmp_absent {
	const char *names; /* one or more, with blanks between them */
	const char *instead;
};

/* Ends with a NULL name.  None of them is in the schema. */
extern const struct qmp_absent qmp_absent[];

/* What to use in the place of this command; NULL: it is none of these. */
const char *qmp_absent_instead(const char *name);

#endif
