/* commands.h - the commands, a file each or a few alike in one; the table of them is commands.c */
#ifndef MINIVMM_CTL_COMMANDS_H
#define MINIVMM_CTL_COMMANDS_H

#include "ctl/ctl.h"

extern const struct ctl_command ctl_status_command, ctl_list_command, ctl_qmp_command,
    ctl_pause_command, ctl_cont_command, ctl_reset_command, ctl_powerdown_command, ctl_quit_command,
    ctl_move_command, ctl_watch_command, ctl_cancel_command, ctl_save_command, ctl_load_command,
    ctl_snapshot_command;

extern const struct ctl_command ctl_shell_command, ctl_dirty_rate_command, ctl_stats_command,
    ctl_report_command;

extern const struct ctl_command *const ctl_commands[]; /* ends with NULL */

#endif
