/* section-skip.h - pass over a device's section without loading it */
#ifndef MINIVMM_MIGRATION_INCOMING_SECTION_SKIP_H
#define MINIVMM_MIGRATION_INCOMING_SECTION_SKIP_H

#include <stdint.h>

struct src;

/* Read up to the footer of the section with that id, which is left.  0, or -EIO: there is none. */
int section_skip(struct src *in, uint32_t id);

#endif
