/* uuid.h - UUIDs as text and as 16 bytes, the first digits first */
#ifndef MINIVMM_UUID_H
#define MINIVMM_UUID_H

#include <stdbool.h>
#include <stdint.h>

#define UUID_BYTES 16

struct uuid_text {
	char s[37];
};

/* 8-4-4-4-12 hexadecimal digits of either case; false: it is something else, 'out' is untouched. */
bool uuid_parse(const char *s, uint8_t out[UUID_BYTES]);
/* In lower case. */
struct uuid_text uuid_text(const uint8_t uuid[UUID_BYTES]);
/* A new random one (version 4); 0 or -errno. */
int uuid_random(uint8_t out[UUID_BYTES]);
/* Between the order of the digits and that of a guest's memory, where the first three groups are
 * little-endian numbers; each is the other's undoing. */
void uuid_swap(const uint8_t in[UUID_BYTES], uint8_t out[UUID_BYTES]);

#endif
