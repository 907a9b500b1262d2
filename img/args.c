/*
 * args.c - options and files of a subcommand, by its table
 *
 * getopt_long() takes them apart; its two lists of options are made of the command's table.
 * It is told to be silent: what is wrong is said here, in one sentence.
 */
#include "img/img.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/numbers.h"

#define MAX_OPTS 40

struct lists {
	char letters[2 * MAX_OPTS + 2];
	struct option longs[MAX_OPTS + 1];
};

static const struct img_opt *find_key(const struct img_command *c, int key)
{
	for (const struct img_opt *o = c->opts; o->key; o++)
		if (o->key == key)
			return o;
	return NULL;
}

static void make_lists(const struct img_command *c, struct lists *l)
{
	char *at = l->letters;
	size_t n = 0;

	*at++ = ':'; /* an argument that is missing is told from an option that is unknown */
	for (const struct img_opt *o = c->opts; o->key && n < MAX_OPTS; o++) {
		if (o->key < IMG_OUTPUT) {
			*at++ = (char)o->key;
			if (o->arg)
				*at++ = ':';
		}
		if (o->name)
			l->longs[n++] = (struct option){
			    .name = o->name, .has_arg = o->arg ? 1 : 0, .val = o->key};
	}
	*at = '\0';
	l->longs[n] = (struct option){0};
}

static int refuse_option(const struct img_command *c, int got, const char *word, struct err *err)
{
	const struct img_opt *o = optopt ? find_key(c, optopt) : NULL;

	if (got == ':' && o)
		return err_set(err, EINVAL, "%s: '%s' needs an argument, %s", c->name, word,
			       o->arg);
	if (word[0] == '-' && word[1] != '-' && optopt)
		return err_set(err, EINVAL,
			       "%s: unrecognized option '-%c' ('minivmm-img %s --help' lists them)",
			       c->name, optopt, c->name);
	return err_set(err, EINVAL,
		       "%s: unrecognized option '%s' ('minivmm-img %s --help' lists them)", c->name,
		       word, c->name);
}

static void add_options(struct img_args *a, const char *text)
{
	char *all = a->options ? xasprintf("%s,%s", a->options, text) : xstrdup(text);

	free(a->options);
	a->options = all;
	a->val['o'] = all;
}

static int take_option(struct img_args *a, const struct img_opt *o, struct err *err)
{
	const struct img_command *c = a->command;

	if (!o->help && o->key < IMG_OUTPUT)
		return err_set(err, ENOTSUP, "%s: option '-%c' of qemu-img is not supported",
			       c->name, o->key);
	if (!o->help)
		return err_set(err, ENOTSUP, "%s: option '--%s' of qemu-img is not supported",
			       c->name, o->name);
	a->help = a->help || o->key == 'h';
	if (o->key == 'o' && *o->arg == 'O') /* a list, unlike bench's offset */
		add_options(a, optarg);
	else
		a->val[o->key] = o->arg ? optarg : "";
	return 0;
}

static int check_files(const struct img_args *a, struct err *err)
{
	const struct img_command *c = a->command;

	if (img_create_wants_help(a->options))
		return 0;
	if (a->n_files < c->min_files)
		return err_set(err, EINVAL,
			       "%s: it needs %s ('minivmm-img %s --help' says what there is)",
			       c->name, c->files, c->name);
	if (a->n_files > c->max_files)
		return err_set(err, EINVAL, "%s: unexpected argument: %s", c->name,
			       a->file[c->max_files]);
	return 0;
}

int img_args_parse(struct img_args *a, const struct img_command *c, int argc, char **argv,
		   struct err *err)
{
	bool size_apart = c->last_is_size && argc > 1 && strcmp(argv[argc - 1], "--help") != 0;
	int got, ret = 0, n = size_apart ? argc - 1 : argc;
	struct lists l;

	*a = (struct img_args){.command = c};
	make_lists(c, &l);
	opterr = 0;
	optind = 0; /* begins anew */
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): there is no other thread yet */
	while (ret == 0 && (got = getopt_long(n, argv, l.letters, l.longs, NULL)) != -1) {
		const struct img_opt *o = got == '?' || got == ':' ? NULL : find_key(c, got);

		ret = o ? take_option(a, o, err) : refuse_option(c, got, argv[optind - 1], err);
	}
	a->file = argv + optind;
	a->n_files = n - optind;
	if (size_apart) { /* getopt has moved the files behind the options, up to it */
		a->n_files++;
	}
	return ret < 0 || a->help ? ret : check_files(a, err);
}

void img_args_fini(struct img_args *a)
{
	free(a->options);
	*a = (struct img_args){0};
}

int img_arg_size(const struct img_args *a, int key, const char *what, uint64_t *out,
		 struct err *err)
{
	if (!a->val[key])
		return 0;
	if (opt_parse_size(a->val[key], out) < 0 || *out > INT64_MAX)
		return err_set(err, EINVAL,
			       "Invalid %s '%s': a number of bytes, or with one of the suffixes k, "
			       "M, G, T, P, E",
			       what, a->val[key]);
	return 0;
}

int img_arg_number(const struct img_args *a, int key, const char *what, uint64_t min, uint64_t max,
		   uint64_t *out, struct err *err)
{
	uint64_t v;

	if (!a->val[key])
		return 0;
	if (opt_parse_u64(a->val[key], &v) < 0 || v < min || v > max)
		return err_set(err, EINVAL, "Invalid %s '%s': a number from %llu to %llu", what,
			       a->val[key], (unsigned long long)min, (unsigned long long)max);
	*out = v;
	return 0;
}

int img_arg_json(const struct img_args *a, bool *json, struct err *err)
{
	const char *how = a->val[IMG_OUTPUT];

	*json = how && !strcmp(how, "json");
	if (how && !*json && strcmp(how, "human") != 0)
		return err_set(err, EINVAL, "--output must be human or json, not '%s'", how);
	return 0;
}

int img_cache_parse(const char *mode, struct img_cache *c, struct err *err)
{
	static const struct {
		const char *name;
		struct img_cache cache;
	} modes[] = {
	    {"none",         {.direct = true}                      },
	    {"off",          {.direct = true}                      },
	    {"directsync",   {.direct = true, .writethrough = true}},
	    {"writeback",    {0}				   },
	    {"unsafe",       {.no_flush = true}                    },
	    {"writethrough", {.writethrough = true}                },
	};

	for (size_t i = 0; i < ARRAY_LEN(modes); i++)
		if (!strcmp(mode ? mode : "writeback", modes[i].name)) {
			*c = modes[i].cache;
			return 0;
		}
	return err_set(err, EINVAL,
		       "Invalid cache mode '%s': none, writeback, writethrough, directsync or "
		       "unsafe",
		       mode);
}
