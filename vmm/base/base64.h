/* base64.h - RFC 4648, section 4 */
#ifndef MINIVMM_BASE_BASE64_H
#define MINIVMM_BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Decode n characters into 'to', which has room for 3 bytes for each 4 of them and may be where
 * they are.  White space is skipped; the padding must be there.  How many bytes, or -EINVAL.
 */
ssize_t base64_decode(uint8_t *to, const char *text, size_t n);
/* Room for the text of n bytes, with its NUL. */
#define BASE64_ROOM(n) (((n) + 2) / 3 * 4 + 1)
void base64_encode(char *to, const uint8_t *bytes, size_t n);

#endif
