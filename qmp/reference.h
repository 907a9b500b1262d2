/*
 * reference.h - the reference of QMP, made from the tables that carry out the commands
 *
 * docs/qmp-reference.md and minivmm-qmp(7) are what this writes.
 */
#ifndef MINIVMM_QMP_REFERENCE_H
#define MINIVMM_QMP_REFERENCE_H

#include <stdio.h>

/* What the tables do not say of a command (reference-texts.c). */
struct qmp_text {
	const char *name;
	const char *since;  /* of QEMU; "minivmm": it has none such */
	const char *help;   /* sentences */
	const char *errors; /* its own ones, besides those of a wrong request; NULL: none */
};
extern const struct qmp_text qmp_texts[]; /* ends with a NULL name */

/* NULL: it has none. */
const struct qmp_text *qmp_text_of(const char *command);

enum qmp_reference { QMP_REFERENCE_MARKDOWN, QMP_REFERENCE_MAN };
void qmp_reference_print(FILE *out, enum qmp_reference form);

#endif
