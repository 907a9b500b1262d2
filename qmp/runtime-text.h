/* runtime-text.h - what the runtime entry of this program says (vmm/runtime-entry.h) */
#ifndef MINIVMM_QMP_RUNTIME_TEXT_H
#define MINIVMM_QMP_RUNTIME_TEXT_H

#include <stdbool.h>

struct buf;
struct config;

/*
 * Append a JSON object: pid, name, program, started (seconds since 1970), ram (bytes), cpus,
 * monitors (paths, tcp:HOST:PORT), disks (paths of images).  False, and nothing is appended: no
 * monitor can be connected to.
 */
bool runtime_text(struct buf *out, const struct config *cfg);

#endif
