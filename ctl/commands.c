/* commands.c - the table of commands */
#include "ctl/commands.h"

#include <stddef.h>

const struct ctl_command *const ctl_commands[] = {
    &ctl_status_command,    &ctl_pause_command, &ctl_cont_command, &ctl_reset_command,
    &ctl_powerdown_command, &ctl_quit_command,  &ctl_qmp_command,  NULL,
};
