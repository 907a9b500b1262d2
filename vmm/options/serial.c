/*
 * serial.c - -serial, -qmp, -mon, -monitor: the short form of a chardev
 *
 *     null  stdio  file:PATH  unix:PATH[,opts]  tcp:HOST:PORT[,opts]  chardev:ID
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

#define OTHER_SHORT "vc|pipe|udp|telnet|websocket|tn3270|con|tty|ringbuf|braille|msmouse"

/* Does val begin with "word:"?  Then what follows. */
static const char *after(const char *val, const char *word)
{
	size_t n = strlen(word);

	return !strncmp(val, word, n) && val[n] == ':' ? val + n + 1 : NULL;
}

/* "HOST:PORT" or "[HOST]:PORT" becomes host= and port= in front of the other options. */
static int split_address(struct keyvals *kv, struct err *err)
{
	const char *addr = keyvals_get(kv, "addr");
	const char *colon = addr ? strrchr(addr, ':') : NULL;
	struct keyvals out = {0};
	CLEANUP(cleanup_free) char *host = NULL;

	if (!colon || !colon[1])
		return err_set(err, EINVAL, "'tcp:" OPT_QUOTE "' is not tcp:HOST:PORT",
			       addr ? addr : "");
	if (*addr == '[' && colon - addr >= 2 && colon[-1] == ']')
		host = xstrndup(addr + 1, (size_t)(colon - addr) - 2);
	else
		host = xstrndup(addr, (size_t)(colon - addr));
	keyvals_add(&out, "host", host);
	keyvals_add(&out, "port", colon + 1);
	for (size_t i = 0; i < kv->n; i++) {
		if (strcmp(kv->v[i].key, "addr") != 0)
			keyvals_add(&out, kv->v[i].key, kv->v[i].val);
	}
	keyvals_fini(kv);
	*kv = out;
	return 0;
}

static int not_a_driver(const char *val, struct err *err)
{
	size_t n = strcspn(val, ":,");

	if (opt_word_index(OTHER_SHORT, val, n) >= 0 || *val == '/')
		return err_set(err, ENOTSUP,
			       "'" OPT_QUOTE "' is not supported: use unix:PATH, tcp:HOST:PORT, "
			       "file:PATH, pty, stdio or null",
			       val);
	return err_set(err, EINVAL,
		       "'" OPT_QUOTE "' is not a valid char driver: use unix:PATH, tcp:HOST:PORT, "
		       "file:PATH, pty, stdio or null",
		       val);
}

/* Make the chardev that the short form stands for. */
static int add_short(struct opt_parse *p, const char *val, const char *id, struct err *err)
{
	CLEANUP(keyvals_fini) struct keyvals kv = {0};
	const char *rest;
	int ret;

	if (!strcmp(val, "null") || !strcmp(val, "stdio") || !strcmp(val, "pty"))
		return opt_add_chardev(p, val, id, &kv, err);
	rest = after(val, "file");
	if (rest) {
		keyvals_add(&kv, "path", rest);
		return opt_add_chardev(p, "file", id, &kv, err);
	}
	rest = after(val, "unix");
	if (rest) {
		ret = opt_split(&kv, rest, "path", false, err);
		return ret < 0 ? ret : opt_add_chardev(p, "socket", id, &kv, err);
	}
	rest = after(val, "tcp");
	if (rest) {
		ret = opt_split(&kv, rest, "addr", false, err);
		if (ret == 0)
			ret = split_address(&kv, err);
		return ret < 0 ? ret : opt_add_chardev(p, "socket", id, &kv, err);
	}
	return not_a_driver(val, err);
}

/* ---- -serial ---- */

static int serial_mux(struct opt_parse *p, const char *val, struct err *err)
{
	int ret = add_short(p, val, "serial0", err);

	if (ret < 0)
		return ret;
	/* There is no human monitor to share with; what remains is that ^C goes to the guest. */
	p->cfg->chardevs[p->cfg->n_chardevs - 1].signal = false;
	opt_set_str(&p->cfg->serial, "serial0");
	opt_add_ref(p, REF_SERIAL, "serial0");
	return 0;
}

int opt_serial(struct opt_parse *p, struct err *err)
{
	struct config *cfg = p->cfg;
	const char *mon = after(p->val, "mon"), *id = after(p->val, "chardev");
	int ret = 0;

	p->serial_given = true;
	if (!strcmp(p->val, "none"))
		return 0;
	if (cfg->serial)
		return err_set(err, ENOTSUP, "the board has one serial port, and it is in use");
	if (mon)
		return serial_mux(p, mon, err);
	if (!id) {
		id = "serial0";
		ret = add_short(p, p->val, id, err);
	}
	if (ret < 0)
		return ret;
	opt_set_str(&cfg->serial, id);
	opt_add_ref(p, REF_SERIAL, id);
	return 0;
}

int opt_finish_serial(struct opt_parse *p, struct err *err)
{
	struct config *cfg = p->cfg;
	struct cfg_chardev *c;
	bool stdio = !p->stdio_where && !cfg->daemonize;

	if (p->serial_given && cfg->serial && !cfg->isa_serial) {
		log_warn("isa-serial=off: there is no UART for -serial");
		free(cfg->serial);
		cfg->serial = NULL;
	}
	if (p->serial_given || p->nodefaults || !cfg->isa_serial)
		return 0;
	if (p->nographic && cfg->daemonize && !cfg->no_board)
		return err_set(err, EINVAL, "-nographic cannot be used with -daemonize");
	if (config_chardev(cfg, "serial0"))
		return err_set(err, EEXIST,
			       "the chardev id 'serial0' belongs to the serial port: "
			       "use -serial chardev:serial0, or another id");
	c = OPT_ADD(cfg->chardevs, cfg->n_chardevs);
	c->id = xstrdup("serial0");
	c->type = xstrdup(stdio ? "stdio" : "null");
	c->fd = -1;
	opt_set_str(&cfg->serial, "serial0");
	return 0;
}

/* ---- monitors ---- */

struct mon_args {
	char *chardev;
	unsigned mode;
	bool pretty;
};

#define WHY_HMP "the human monitor is not offered; use mode=control"

static const struct opt_prop mon_props[] = {
    PROP_NEEDED("chardev", OPT_STRING, offsetof(struct mon_args, chardev), "ID",
		"the chardev to talk through"),
    PROP_SEEN("id", NULL, "a name, not used"),
    PROP_ONLY("mode", OPT_ENUM, offsetof(struct mon_args, mode), "readline|control", "control",
	      WHY_HMP, "QMP; must be given"),
    PROP("pretty", OPT_BOOL, offsetof(struct mon_args, pretty), "on|off",
	 "indent what is sent (default off)"),
    PROP_END,
};

const struct opt_list opt_mon_list = {
    .title = "-mon",
    .implied = "chardev",
    .style = OPT_STYLE_OPTS,
    .props = mon_props,
};

static void add_monitor(struct opt_parse *p, const char *chardev, bool pretty)
{
	struct cfg_monitor *m = OPT_ADD(p->cfg->monitors, p->cfg->n_monitors);

	m->chardev = xstrdup(chardev);
	m->pretty = pretty;
	opt_add_ref(p, REF_MONITOR, chardev);
}

int opt_mon(struct opt_parse *p, struct err *err)
{
	struct mon_args m = {0};
	int ret = opt_apply_list(p, &opt_mon_list, &m, err);

	if (ret == 0 && m.mode == 0)
		ret = err_set(err, ENOTSUP, "mode=readline is not supported: " WHY_HMP);
	if (ret == 0)
		add_monitor(p, m.chardev, m.pretty);
	free(m.chardev);
	return ret;
}

static int add_qmp(struct opt_parse *p, bool pretty, struct err *err)
{
	const char *id = after(p->val, "chardev");
	char label[32];
	int ret = 0;

	if (!id) {
		(void)snprintf(label, sizeof(label), "compat_monitor%u", p->n_qmp++);
		id = label;
		ret = add_short(p, p->val, id, err);
	}
	if (ret < 0)
		return ret;
	add_monitor(p, id, pretty);
	return 0;
}

int opt_qmp(struct opt_parse *p, struct err *err)
{
	return add_qmp(p, false, err);
}

int opt_qmp_pretty(struct opt_parse *p, struct err *err)
{
	return add_qmp(p, true, err);
}

int opt_monitor(struct opt_parse *p, struct err *err)
{
	if (!strcmp(p->val, "none") || !strcmp(p->val, "null"))
		return 0;
	return err_set(err, ENOTSUP,
		       "the human monitor is not offered: use -qmp, or -monitor none");
}
