/* commands.c - the table of subcommands */
#include "img/commands.h"

#include <stddef.h>

const struct img_command *const img_commands[] = {
    &img_create_command,  &img_info_command,
    &img_check_command,   &img_snapshot_command,
    &img_convert_command, &img_map_command,
    &img_compare_command, &img_resize_command,
    &img_bench_command,   NULL,
};
