/*
 * section-hint.h - which option gives a machine the device that a section is for
 */
#ifndef MINIVMM_MIGRATION_INCOMING_SECTION_HINT_H
#define MINIVMM_MIGRATION_INCOMING_SECTION_HINT_H

#include <stdint.h>

struct board;

struct section_hint {
	char s[160];
};

/* "give it -machine ioapic2=on", or a text without an option when nothing here has that device. */
struct section_hint section_hint(const struct board *board, const char *idstr, uint32_t instance);

#endif
