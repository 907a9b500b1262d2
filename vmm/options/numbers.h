/* numbers.h - numbers as people write them on a command line, or in an address */
#ifndef MINIVMM_OPTIONS_NUMBERS_H
#define MINIVMM_OPTIONS_NUMBERS_H

#include <stdint.h>

/* 0, -EINVAL or -ERANGE, and *out untouched then. */
int opt_parse_u64(const char *s, uint64_t *out); /* decimal or 0x hexadecimal */
/* "1.5G", "64k", "0x1000": bytes. */
int opt_parse_size(const char *s, uint64_t *out);

#endif
