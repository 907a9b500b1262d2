/* commands.c - the table of commands */
#include "ctl/commands.h"

#include <stddef.h>

/* clang-format off */
const struct ctl_command *const ctl_commands[] = {
    &ctl_status_command,
    &ctl_list_command,
    &ctl_move_command,
    &ctl_watch_command,
    &ctl_cancel_command,
    &ctl_save_command,
    &ctl_load_command,
    &ctl_snapshot_command,
    &ctl_pause_command,
    &ctl_cont_command,
    &ctl_reset_command,
    &ctl_powerdown_command,
    &ctl_quit_command,
    &ctl_qmp_command,
    &ctl_dirty_rate_command,
    &ctl_stats_command,
    &ctl_report_command,
    &ctl_shell_command,
    NULL,
};
/* clang-format on */
