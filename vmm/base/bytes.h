/* bytes.h - integers in foreign byte orders, at any alignment */
#ifndef MINIVMM_BASE_BYTES_H
#define MINIVMM_BASE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define BYTES_GET_PUT_(bits, order)                                                                \
	static inline uint##bits##_t get_##order##bits(const void *p)                              \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
		memcpy(&v, p, sizeof(v));                                                          \
		return order##bits##toh(v);                                                        \
	}                                                                                          \
	static inline void put_##order##bits(void *p, uint##bits##_t v)                            \
	{                                                                                          \
		v = hto##order##bits(v);                                                           \
		memcpy(p, &v, sizeof(v));                                                          \
	}

/* get_be16(p), put_be16(p, v), ... get_le64(p), put_le64(p, v) */
BYTES_GET_PUT_(16, be)
BYTES_GET_PUT_(32, be)
BYTES_GET_PUT_(64, be)
BYTES_GET_PUT_(16, le)
BYTES_GET_PUT_(32, le)
BYTES_GET_PUT_(64, le)

#endif
