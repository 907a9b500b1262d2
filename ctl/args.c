/* args.c - options and words of a command, by its table */
#include "ctl/ctl.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/numbers.h"

const struct ctl_opt ctl_global_opts[] = {
    {"socket",  "PATH",    "the monitor's socket, or tcp:HOST:PORT; also -s"         },
    {"name",    "NAME",    "a running one by its name or pid, see 'list'; also -n"   },
    {"timeout", "SECONDS", "how long an answer is waited for: 10; 0: without end"    },
    {"json",    NULL,      "for machines: one JSON object a line, on standard output"},
    {"help",    NULL,      "print this help; also -h"                                },
    {"version", NULL,      "print the version; also -V"                              },
    {NULL,      NULL,      NULL						      },
};

static int find_in(const struct ctl_opt *opts, const char *name, size_t n)
{
	for (int i = 0; opts && opts[i].name; i++)
		if (strlen(opts[i].name) == n && !strncmp(opts[i].name, name, n))
			return i;
	return -1;
}

static int find_opt(const struct ctl_command *c, const char *name, size_t n)
{
	return find_in(c->opts, name, n);
}

static int take_timeout(struct ctl *ctl, const char *text, struct err *err)
{
	uint64_t s;

	if (opt_parse_u64(text, &s) < 0 || s > 1000000)
		return err_set(err, EINVAL, "--timeout %s: a number of seconds, 0 for no end",
			       text);
	ctl->timeout_ms = (int)s * 1000;
	return 0;
}

int ctl_take_global(struct ctl *ctl, int argc, char **argv, int at, struct err *err)
{
	static const char letters[] = "snhV", *const longs[] = {"socket", "name", "help",
								"version"};
	const char *word = argv[at], *name = word + 2, *value = strchr(word, '=');
	size_t n = value && value > name ? (size_t)(value - name) : strlen(word) - 2;
	const struct ctl_opt *o;
	int i, taken = 1;

	if (word[0] == '-' && word[1] != '-' && word[1] && !word[2] && strchr(letters, word[1])) {
		name = longs[strchr(letters, word[1]) - letters];
		n = strlen(name);
		value = NULL;
	} else if (strncmp(word, "--", 2) != 0 || !word[2]) {
		return 0;
	}
	i = find_in(ctl_global_opts, name, n);
	if (i < 0)
		return 0;
	o = &ctl_global_opts[i];
	if (!o->arg && value)
		return err_set(err, EINVAL, "--%s takes no argument", o->name);
	if (o->arg && !value && at + 1 >= argc)
		return err_set(err, EINVAL, "%s needs an argument, %s", word, o->arg);
	if (o->arg && !value)
		taken = 2;
	value = !o->arg ? NULL : value ? value + 1 : argv[at + 1];
	if (!strcmp(o->name, "socket"))
		ctl->socket = value;
	else if (!strcmp(o->name, "name"))
		ctl->name = value;
	else if (!strcmp(o->name, "json"))
		ctl->json = true;
	else if (!strcmp(o->name, "help"))
		ctl->help = true;
	else if (!strcmp(o->name, "version"))
		ctl->version = true;
	else if (take_timeout(ctl, value, err) < 0)
		return -EINVAL;
	return taken;
}

/* argv[at] begins with '-'; returns how many words were taken, or -EINVAL. */
static int take_option(struct ctl_args *a, struct ctl *ctl, int argc, char **argv, int at,
		       struct err *err)
{
	const struct ctl_command *c = a->command;
	const char *name = argv[at] + 2, *value = strchr(name, '=');
	size_t n = value ? (size_t)(value - name) : strlen(name);
	int i = argv[at][1] == '-' ? find_opt(c, name, n) : -1;

	if (i < 0) {
		int taken = ctl_take_global(ctl, argc, argv, at, err);

		return taken
			   ? taken
			   : err_set(
				 err, EINVAL,
				 "%s: there is no option '%s' ('minivmm-ctl %s --help' lists them)",
				 c->name, argv[at], c->name);
	}
	if (!c->opts[i].arg) {
		a->val[i] = "";
		return value ? err_set(err, EINVAL, "%s: --%s takes no argument", c->name,
				       c->opts[i].name)
			     : 1;
	}
	if (!value && at + 1 >= argc)
		return err_set(err, EINVAL, "%s: --%s needs an argument, %s", c->name,
			       c->opts[i].name, c->opts[i].arg);
	a->val[i] = value ? value + 1 : argv[at + 1];
	return value ? 1 : 2;
}

static int check_words(const struct ctl_args *a, struct err *err)
{
	const struct ctl_command *c = a->command;

	if (a->n_words < c->min_words)
		return err_set(err, EINVAL,
			       "%s: it needs %s ('minivmm-ctl %s --help' says what there is)",
			       c->name, c->arguments, c->name);
	if (a->n_words > c->max_words)
		return err_set(err, EINVAL, "%s: unexpected argument: %s", c->name,
			       a->word[c->max_words]);
	return 0;
}

int ctl_args_parse(struct ctl_args *a, const struct ctl_command *c, struct ctl *ctl, int argc,
		   char **argv, struct err *err)
{
	bool options = true;

	*a = (struct ctl_args){.command = c, .word = argv};
	for (int i = 0; i < argc;) {
		int taken = 1;

		if (options && !strcmp(argv[i], "--"))
			options = false;
		else if (options && argv[i][0] == '-' && argv[i][1])
			taken = take_option(a, ctl, argc, argv, i, err);
		else
			argv[a->n_words++] = argv[i];
		if (taken < 0)
			return taken;
		i += taken;
	}
	return ctl->help || ctl->version ? 0 : check_words(a, err);
}

const char *ctl_opt(const struct ctl_args *a, const char *name)
{
	int i = find_opt(a->command, name, strlen(name));

	return i < 0 ? NULL : a->val[i];
}

int ctl_opt_number(const struct ctl_args *a, const char *name, uint64_t min, uint64_t max,
		   uint64_t *out, struct err *err)
{
	const char *text = ctl_opt(a, name);
	uint64_t v;

	if (!text)
		return 0;
	if (opt_parse_u64(text, &v) < 0 || v < min || v > max)
		return err_set(err, EINVAL, "%s: --%s %s: a number from %llu to %llu",
			       a->command->name, name, text, (unsigned long long)min,
			       (unsigned long long)max);
	*out = v;
	return 0;
}

int ctl_opt_size(const struct ctl_args *a, const char *name, uint64_t *out, struct err *err)
{
	const char *text = ctl_opt(a, name);
	uint64_t v;

	if (!text)
		return 0;
	if (opt_parse_size(text, &v) < 0 || v > INT64_MAX)
		return err_set(
		    err, EINVAL,
		    "%s: --%s %s: a number of bytes, or with one of the suffixes k, M, G, T",
		    a->command->name, name, text);
	*out = v;
	return 0;
}
