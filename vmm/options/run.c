/* run.c - identity, running and ending, and what has no meaning on this board */
#include <errno.h>
#include <stdlib.h>

#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/base/uuid.h"
#include "vmm/options/internal.h"

#define AT(member) offsetof(struct config, member)
#define ON_OFF     "on|off"

/* ---- -name, -uuid ---- */

static const struct opt_prop name_props[] = {
    PROP("guest", OPT_STRING, AT(name), "NAME", "what query-name says"),
    PROP("process", OPT_STRING, AT(process), "NAME", "the process's name for ps"),
    PROP("debug-threads", OPT_BOOL, AT(debug_threads), ON_OFF, "name the threads (default off)"),
    PROP_END,
};
const struct opt_list opt_name_list = {"-name", "guest", .props = name_props};

int opt_uuid(struct opt_parse *p, struct err *err)
{
	if (!uuid_parse(p->val, p->cfg->uuid))
		return err_set(err, EINVAL, "failed to parse UUID string: wrong format");
	p->cfg->uuid_set = true;
	return 0;
}

/* ---- -action, -incoming, -msg ---- */

static int set_reboot(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	int i = opt_word_index("reset|shutdown", val, strlen(val));

	(void)p;
	if (i < 0)
		return err_set(err, EINVAL,
			       "Parameter 'reboot' does not accept value '" OPT_QUOTE "'", val);
	((struct config *)base)->no_reboot = i == 1;
	return 0;
}

static int set_shutdown(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	int i = opt_word_index("poweroff|pause", val, strlen(val));

	(void)p;
	if (i < 0)
		return err_set(err, EINVAL,
			       "Parameter 'shutdown' does not accept value '" OPT_QUOTE "'", val);
	((struct config *)base)->no_shutdown = i == 1;
	return 0;
}

_Static_assert(PANIC_PAUSE == 0 && PANIC_SHUTDOWN == 1 && PANIC_EXIT_FAILURE == 2 &&
		   PANIC_NONE == 3,
	       "the values of -action panic= are in the enum's order");

static const struct opt_prop action_props[] = {
    PROP_CALL("reboot", "reset|shutdown", set_reboot, "when the guest reboots (default reset)"),
    PROP_CALL("shutdown", "poweroff|pause", set_shutdown,
	      "when the guest powers off (default poweroff: minivmm ends)"),
    PROP("panic", OPT_ENUM, AT(panic), "pause|shutdown|exit-failure|none",
	 "when the guest panics (default shutdown)"),
    PROP("watchdog", OPT_ENUM, OPT_NOWHERE, "reset|shutdown|poweroff|inject-nmi|pause|debug|none",
	 "no effect: the board has no watchdog"),
    PROP_END,
};
const struct opt_list opt_action_list = {"-action", .props = action_props};

static const struct opt_prop msg_props[] = {
    PROP("timestamp", OPT_BOOL, AT(log_timestamp), ON_OFF,
	 "an ISO time in front of each message (default off)"),
    PROP_ONLY("guest-name", OPT_BOOL, OPT_NOWHERE, ON_OFF, "off", "give each guest its own -D file",
	      "the guest's name in each message"),
    PROP_END,
};
const struct opt_list opt_msg_list = {"-msg", .props = msg_props};

/* "[exit-on-error=on|off,]URI": in front, for the command of exec: may have commas. */
int opt_incoming(struct opt_parse *p, struct err *err)
{
	static const char key[] = "exit-on-error=";
	const char *uri = p->val;

	if (!strncmp(uri, key, strlen(key))) {
		const char *val = uri + strlen(key);
		size_t n = strcspn(val, ",");
		int i = opt_word_index("on|off", val, n);

		if (i < 0)
			return err_set(err, EINVAL,
				       "Parameter 'exit-on-error' expects 'on' or 'off'");
		p->cfg->exit_on_error = i == 0 ? CFG_ON : CFG_OFF;
		uri = val + n + (val[n] == ',');
	}
	if (!*uri)
		return err_set(err, EINVAL, "unknown migration protocol: ");
	opt_set_str(&p->cfg->incoming, uri);
	return 0;
}

/* ---- accepted as far as it says what is so here ---- */

static int set_rtc_base(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	size_t digits = strspn(val, "0123456789-:T");

	(void)p;
	(void)base;
	if (!strcmp(val, "utc"))
		return 0;
	if (!strcmp(val, "localtime") || (*val && !val[digits]))
		return err_set(
		    err, ENOTSUP,
		    "base=" OPT_QUOTE " is not supported: the clock is UTC; use base=utc", val);
	return err_set(err, EINVAL, "invalid datetime format");
}

static const struct opt_prop rtc_props[] = {
    PROP_CALL("base", "utc", set_rtc_base, "what the RTC starts from"),
    PROP_ONLY("clock", OPT_ENUM, OPT_NOWHERE, "host|rt|vm", "host",
	      "the RTC follows the host's clock; use clock=host", "what drives the RTC"),
    PROP_ONLY("driftfix", OPT_ENUM, OPT_NOWHERE, "none|slew", "none",
	      "lost ticks are not replayed; use driftfix=none", "replay of lost ticks"),
    PROP_END,
};
const struct opt_list opt_rtc_list = {"-rtc", "base", .props = rtc_props};

static int set_boot_order(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	(void)p;
	(void)base;
	for (; *val; val++) {
		if (*val < 'a' || *val > 'p')
			return err_set(err, EINVAL, "Invalid boot device '%c'", *val);
	}
	return 0;
}

static const struct opt_prop boot_props[] = {
    PROP_CALL("order", "LETTERS", set_boot_order, "no effect: the kernel is given with -kernel"),
    PROP_CALL("once", "LETTERS", set_boot_order, "no effect"),
    PROP("strict", OPT_BOOL, OPT_NOWHERE, ON_OFF, "no effect"),
    PROP_ONLY("menu", OPT_BOOL, OPT_NOWHERE, ON_OFF, "off", "the board has no boot menu",
	      "a boot menu"),
    PROP_END,
};
const struct opt_list opt_boot_list = {"-boot", "order", OPT_STYLE_KEYVAL, .owner = "boot.",
				       .props = boot_props};

static const struct opt_prop overcommit_props[] = {
    PROP_ONLY("mem-lock", OPT_BOOL, OPT_NOWHERE, ON_OFF, "off",
	      "use -object memory-backend-memfd with hugetlb=on", "keep all memory in RAM"),
    PROP_ONLY("cpu-pm", OPT_BOOL, OPT_NOWHERE, ON_OFF, "off",
	      "the host manages its processors' power", "let guests halt processors"),
    PROP_END,
};
const struct opt_list opt_overcommit_list = {"-overcommit", .props = overcommit_props};

#define WHY_SANDBOX "start minivmm in a sandbox of the host, or use -sandbox off"

static const struct opt_prop sandbox_props[] = {
    PROP_ONLY("enable", OPT_BOOL, OPT_NOWHERE, ON_OFF, "off", WHY_SANDBOX, "filter system calls"),
    PROP("obsolete", OPT_ENUM, OPT_NOWHERE, "allow|deny", "no effect when off"),
    PROP("elevateprivileges", OPT_ENUM, OPT_NOWHERE, "allow|deny|children", "no effect when off"),
    PROP("spawn", OPT_ENUM, OPT_NOWHERE, "allow|deny", "no effect when off"),
    PROP("resourcecontrol", OPT_ENUM, OPT_NOWHERE, "allow|deny", "no effect when off"),
    PROP_END,
};
static const struct opt_list sandbox_list = {"-sandbox", "enable", .props = sandbox_props};

/* Its list is not shown: a manager that sees it asks for enable=on. */
int opt_sandbox(struct opt_parse *p, struct err *err)
{
	return opt_apply_list(p, &sandbox_list, p->cfg, err);
}

static const struct opt_prop run_with_props[] = {
    PROP("exit-with-parent", OPT_BOOL, AT(exit_with_parent), ON_OFF,
	 "end when the process ends that started minivmm (default off)"),
    PROP_ONLY("async-teardown", OPT_BOOL, OPT_NOWHERE, ON_OFF, "off",
	      "the guest's memory is given back as minivmm ends", "give memory back after the end"),
    PROP_REFUSED("chroot", "start minivmm within it"),
    PROP_REFUSED("user", "start minivmm as that user"),
    PROP_END,
};
const struct opt_list opt_run_with_list = {"-run-with", .props = run_with_props};

/* Both say where the guest comes from. */
int opt_check_loadvm(struct opt_parse *p, struct err *err)
{
	if (p->cfg->loadvm && p->cfg->incoming)
		return err_set(err, EINVAL, "-loadvm cannot be used with -incoming");
	return 0;
}

/* Its parent ends as soon as it is in the background. */
int opt_check_run_with(struct opt_parse *p, struct err *err)
{
	if (p->cfg->daemonize && p->cfg->exit_with_parent)
		return err_set(err, EINVAL,
			       "-run-with exit-with-parent=on cannot be used with -daemonize");
	return 0;
}

int opt_none_only(struct opt_parse *p, struct err *err)
{
	CLEANUP(keyvals_fini) struct keyvals kv = {0};
	int ret = opt_split_any(&kv, p->val, "type", false, err);
	const char *type = keyvals_get(&kv, "type"), *driver = keyvals_get(&kv, "driver");

	if (ret < 0)
		return ret;
	if (!type)
		type = driver;
	if (type && !strcmp(type, "none"))
		return 0;
	return err_set(err, ENOTSUP, "the board has no such device: only none is supported");
}

int opt_nodefaults(struct opt_parse *p, struct err *err)
{
	(void)err;
	p->nodefaults = true;
	return 0;
}

int opt_nographic(struct opt_parse *p, struct err *err)
{
	(void)err;
	p->nographic = true;
	return 0;
}

/* ---- texts ---- */

int opt_help(struct opt_parse *p, struct err *err)
{
	(void)err;
	opt_print_help(stdout);
	p->done = true;
	return 0;
}

int opt_version(struct opt_parse *p, struct err *err)
{
	(void)err;
	opt_print_version(stdout);
	p->done = true;
	return 0;
}

/* main.c prints these: some of what they say is known on higher floors only. */
static int request_text(struct opt_parse *p, enum config_text text)
{
	p->cfg->text = text;
	p->done = true;
	return 0;
}

int opt_man(struct opt_parse *p, struct err *err)
{
	(void)err;
	return request_text(p, TEXT_MAN);
}

int opt_completion(struct opt_parse *p, struct err *err)
{
	(void)err;
	return request_text(p, TEXT_COMPLETION);
}

int opt_completion_zsh(struct opt_parse *p, struct err *err)
{
	(void)err;
	return request_text(p, TEXT_COMPLETION_ZSH);
}

int opt_qmp_reference(struct opt_parse *p, struct err *err)
{
	if (!strcmp(p->val, "md"))
		return request_text(p, TEXT_QMP_MARKDOWN);
	if (!strcmp(p->val, "man"))
		return request_text(p, TEXT_QMP_MAN);
	return err_set(err, EINVAL, "'%.100s' is no form of it: md or man", p->val);
}
