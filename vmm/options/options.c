/*
 * options.c - one pass over argv, then what only the whole can tell
 *
 * An option takes one dash or two, and its argument is the next word.  A word
 * without a dash is a disk image.  A message begins with the words at fault.
 */
#include "vmm/options/options.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

static void config_defaults(struct config *cfg)
{
	*cfg = (struct config){
	    .acpi = true,
	    .pic = true,
	    .pit = true,
	    .rtc = true,
	    .isa_serial = true,
	    .board.irqchip = IRQCHIP_DEFAULT,
	    .ram_bytes = OPT_DEFAULT_RAM_MIB * MiB,
	    .cpus = 1,
	    .maxcpus = 1,
	    .sockets = 1,
	    .dies = 1,
	    .cores = 1,
	    .threads = 1,
	    .dump_guest_core = true,
	    .mem_merge = true,
	    .panic = PANIC_SHUTDOWN,
	    .cpu_model = xstrdup("host"),
	};
}

static const struct opt_row *find_row(const char *word)
{
	const char *name = word + (word[0] == '-' && word[1] == '-' ? 2 : 1);

	for (const struct opt_row *r = option_table; r->name; r++) {
		if (r->kind != OPT_ROW_HEADING && !strcmp(r->name, name))
			return r;
	}
	return NULL;
}

static int unknown_option(const char *word, struct err *err)
{
	struct opt_near n = {.word = word + strspn(word, "-")};
	char near[OPT_NEAR_BYTES];

	for (const struct opt_row *r = option_table; r->name; r++)
		if (r->kind != OPT_ROW_HEADING && r->kind != OPT_ROW_REFUSED)
			opt_near_try(&n, r->name);
	return err_set(err, EINVAL, OPT_QUOTE ": invalid option%s", word,
		       opt_near_text(&n, "-", near));
}

static int run_row(struct opt_parse *p, const struct opt_row *r, struct err *err)
{
	char *base = (char *)p->cfg + (r->off == OPT_NOWHERE ? 0 : r->off);
	const bool yes = true;
	char *copy, *old;

	switch (r->kind) {
	case OPT_ROW_HANDLE:
		return r->handle(p, err);
	case OPT_ROW_STRING:
		copy = xstrdup(p->val);
		memcpy(&old, base, sizeof(old));
		free(old);
		memcpy(base, &copy, sizeof(copy));
		return 0;
	case OPT_ROW_FLAG:
		memcpy(base, &yes, sizeof(yes));
		return 0;
	case OPT_ROW_LIST:
		return opt_apply_list(p, r->lists[0], p->cfg, err);
	case OPT_ROW_REFUSED:
		return err_set(err, ENOTSUP, "not supported: %s", r->help);
	case OPT_ROW_NOTHING:
	case OPT_ROW_HEADING:
		break;
	}
	return 0;
}

/* One option; *at moves over its argument. */
static int take_option(struct opt_parse *p, int argc, char *const *argv, int *at, struct err *err)
{
	const struct opt_row *r = find_row(argv[*at]);
	int ret;

	p->opt = argv[*at];
	p->val = NULL;
	if (!r)
		return unknown_option(p->opt, err);
	if (r->arg) {
		if (*at + 1 >= argc)
			return err_set(err, EINVAL, "%s: requires an argument", p->opt);
		p->val = argv[++*at];
	}
	ret = run_row(p, r, err);
	if (ret < 0) {
		CLEANUP(cleanup_free) char *where = opt_where(p);

		return err_prefix(err, ret, "%s", where);
	}
	return 0;
}

static int take_word(struct opt_parse *p, const char *word, struct err *err)
{
	int ret;

	p->opt = word;
	p->val = NULL;
	ret = opt_disk_image(p, word, err);
	return ret < 0 ? err_prefix(err, ret, OPT_QUOTE, word) : 0;
}

static int check_boot(const struct config *cfg, struct err *err)
{
	if (!cfg->kernel && cfg->append)
		return err_set(err, EINVAL, "-append only allowed with -kernel option");
	if (!cfg->kernel && cfg->initrd)
		return err_set(err, EINVAL, "-initrd only allowed with -kernel option");
	return 0;
}

/* What only the whole command line can tell. */
static int options_finish(struct opt_parse *p, struct err *err)
{
	int (*const checks[])(struct opt_parse *, struct err *) = {
	    opt_check_accel,    opt_finish_board, opt_check_memory,   opt_check_chardevs,
	    opt_check_run_with, opt_check_loadvm, opt_check_no_board, opt_finish_serial,
	};
	int ret = check_boot(p->cfg, err);

	for (size_t i = 0; ret == 0 && i < ARRAY_LEN(checks); i++)
		ret = checks[i](p, err);
	if (ret < 0)
		return ret;
	opt_finish_devices(p);
	opt_check_peers(p);
	return 0;
}

static void parse_fini(struct opt_parse *p)
{
	for (size_t i = 0; i < p->n_refs; i++) {
		free(p->refs[i].chardev);
		free(p->refs[i].where);
	}
	free(p->refs);
	free(p->accel_other);
	free(p->stdio_where);
	keyvals_fini(&p->drives);
	keyvals_fini(&p->globals);
}

int options_parse(struct config *cfg, const struct device_table *devices, int argc,
		  char *const *argv, struct err *err)
{
	CLEANUP(parse_fini) struct opt_parse p = {.cfg = cfg, .devices = devices};
	int ret = 0;

	config_defaults(cfg);
	for (int i = 1; i < argc && ret == 0 && !p.done; i++) {
		if (argv[i][0] == '-')
			ret = take_option(&p, argc, argv, &i, err);
		else
			ret = take_word(&p, argv[i], err);
	}
	if (ret < 0)
		return ret;
	if (cfg->text)
		return 0;
	return p.done ? 1 : options_finish(&p, err);
}
