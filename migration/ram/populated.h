/* populated.h - which pages of guest memory were ever touched */
#ifndef MINIVMM_MIGRATION_POPULATED_H
#define MINIVMM_MIGRATION_POPULATED_H

#include <stdint.h>

struct ram_block;

/*
 * Set the bit of every 4 KiB page that may hold something but zeros; 'map'
 * is zeroed.  A clear bit promises that the page read as zero at some moment
 * of the call.  Nothing is populated by asking.  Where the host cannot tell,
 * all bits are set.
 */
void ram_populated(const struct ram_block *b, uint64_t *map);

#endif
