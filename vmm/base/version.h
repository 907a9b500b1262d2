/* version.h - what this program is called, and the interface that it speaks */
#ifndef MINIVMM_BASE_VERSION_H
#define MINIVMM_BASE_VERSION_H

#ifndef MINIVMM_VERSION /* the Makefile's */
#define MINIVMM_VERSION "0"
#endif

/* QMP's and the command line's: clients decide by this number of QEMU's what they may ask. */
#define INTERFACE_MAJOR 7
#define INTERFACE_MINOR 2

/* What -version and query-version say. */
#define VERSION_TEXT                                                                               \
	"minivmm " MINIVMM_VERSION " (interface of QEMU 7.2; migration of 7.2, 10.0 and 11.1)"

#endif
