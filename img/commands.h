/* commands.h - the subcommands, a file each; the table of them is commands.c */
#ifndef MINIVMM_IMG_COMMANDS_H
#define MINIVMM_IMG_COMMANDS_H

#include "img/img.h"

extern const struct img_command img_bench_command, img_check_command, img_compare_command,
    img_convert_command, img_create_command, img_info_command, img_map_command, img_resize_command,
    img_snapshot_command;

/* What each has, and what of qemu-img each refuses; the end of a table of options. */
#define IMG_COMMON_OPTS                                                                            \
	{'h', "help", NULL, "print this help"}, {IMG_REFUSED, "object", "OBJECT", NULL},           \
	    {IMG_REFUSED + 1, "image-opts", NULL, NULL},                                           \
	    {IMG_REFUSED + 2, "trace", "EVENTS", NULL},                                            \
	{                                                                                          \
		0, NULL, NULL, NULL                                                                \
	}

#endif
