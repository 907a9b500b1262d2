/* The help, the manual page and the documentation say what the table says. */
#include <stdio.h>

#include "migration/settings/capabilities.h"
#include "migration/settings/manual.h"
#include "migration/settings/params.h"
#include "tests/unit/options-run.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"
#include "vmm/options/options.h"

static char *text_of(void (*print)(FILE *))
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	ck_assert_ptr_nonnull(f);
	print(f);
	ck_assert_int_eq(fclose(f), 0);
	return text;
}

/* Does the page say prefix + name at the start of a line? */
static bool has_line(const char *page, const char *prefix, const char *name)
{
	CLEANUP(cleanup_free) char *line = xasprintf("\n%s%s", prefix, name);

	return strstr(page, line) != NULL;
}

START_TEST(help_text)
{
	CLEANUP(cleanup_free) char *help = text_of(opt_print_help);
	CLEANUP(cleanup_free) char *version = text_of(opt_print_version);

	ck_assert_int_eq(strncmp(version, "minivmm ", 8), 0);
	ck_assert_ptr_eq(strstr(help, version), help);
	for (const struct opt_row *r = option_table; r->name; r++) {
		bool shown = r->kind != OPT_ROW_HEADING && r->kind != OPT_ROW_REFUSED;

		ck_assert_msg(!shown || has_line(help, "-", r->name), "-%s", r->name);
	}
	for (const char *line = help; line; line = strchr(line + 1, '\n'))
		ck_assert_uint_le(strcspn(line + 1, "\n"), 79);
}
END_TEST

/* Each option has its paragraph, with its name spelled for roff. */
static char *man_of(const struct device_table *devices)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	options_print_man(f, devices, migration_manual);
	ck_assert_int_eq(fclose(f), 0);
	return text;
}

START_TEST(man_text)
{
	CLEANUP(cleanup_free) char *man = man_of(&device_table);

	ck_assert_int_eq(strncmp(man, ".TH MINIVMM 1 ", 14), 0);
	ck_assert(has_line(man, ".SS ", "Machine"));
	ck_assert(has_line(man, ".BR \"\\-", "smp\" "));
	ck_assert(has_line(man, ".B \\-", "vnc"));
	ck_assert(has_line(man, ".RI \"", "dirty\\-ring\\-size=\" \"N\"\n"));
	for (const struct opt_row *r = option_table; r->name; r++) {
		bool shown = r->kind != OPT_ROW_HEADING && !strchr(r->name, '-');

		ck_assert_msg(!shown || has_line(man, ".BR \"\\-", r->name) ||
				  has_line(man, ".B \\-", r->name),
			      "-%s", r->name);
	}
}
END_TEST

/* Rows are well formed and their names are unique. */
static void check_prop(const struct opt_prop *p)
{
	bool whole = (!p->only || p->why) && (p->kind != OPT_CALL || p->set) &&
		     (p->kind != OPT_ENUM || p->values) && (p->kind != OPT_REFUSED || p->why);

	ck_assert_msg(whole, "%s", p->key);
}

static void check_row(const struct opt_row *r)
{
	bool whole = (r->kind != OPT_ROW_HANDLE || r->handle) &&
		     (r->kind != OPT_ROW_LIST || (r->lists && r->lists[0] && r->arg)) &&
		     (r->kind == OPT_ROW_HEADING || r->help);

	ck_assert_msg(whole, "%s", r->name);
	for (const struct opt_row *o = option_table; o != r; o++)
		ck_assert_str_ne(o->name, r->name);
}

START_TEST(table)
{
	for (const struct opt_row *r = option_table; r->name; r++) {
		check_row(r);
		for (size_t i = 0; r->lists && r->lists[i]; i++) {
			for (const struct opt_prop *p = r->lists[i]->props; p->key; p++)
				check_prop(p);
		}
	}
}
END_TEST

/* So are the rows of the devices: each property says what it is, and its default is one it takes.
 */
START_TEST(device_rows)
{
	for (const struct device_row *const *r = device_table.rows; *r; r++) {
		const struct opt_list list = opt_device_list(*r);

		ck_assert((*r)->name && (*r)->help && ((*r)->create || (*r)->kind >= DEVICE_UART));
		ck_assert_ptr_eq(device_row_find(&device_table, (*r)->name), *r);
		for (const struct opt_prop *p = (*r)->props; p->key; p++) {
			CLEANUP(keyvals_fini) struct keyvals kv = {0};
			struct err err = {0};

			check_prop(p);
			ck_assert_msg(p->off == OPT_NOWHERE || p->kind == OPT_REFUSED, "%s",
				      p->key);
			ck_assert_msg(p->help || p->kind == OPT_REFUSED, "%s", p->key);
			ck_assert_ptr_eq(opt_find_prop(&list, p->key), p);
			if (p->otherwise)
				keyvals_add(&kv, p->key, p->otherwise);
			ck_assert_msg(opt_check(&list, &kv, &err) == 0, "%s", err.msg);
		}
	}
}
END_TEST

/* The hand-written page speaks of every option of the table. */
START_TEST(page)
{
	FILE *f = fopen("docs/command-line.md", "r");
	char *text = xcalloc(1, MiB);
	size_t n;

	ck_assert_msg(f != NULL, "docs/command-line.md: run from the top of the tree");
	n = fread(text, 1, MiB - 1, f);
	ck_assert_uint_gt(n, 0);
	ck_assert_int_eq(fclose(f), 0);
	for (const struct opt_row *r = option_table; r->name; r++) {
		CLEANUP(cleanup_free) char *plain = xasprintf("`-%s`", r->name);
		CLEANUP(cleanup_free) char *with_argument = xasprintf("`-%s ", r->name);

		if (r->kind != OPT_ROW_HEADING)
			ck_assert_msg(strstr(text, plain) || strstr(text, with_argument),
				      "-%s is not on the page", r->name);
	}
	free(text);
}
END_TEST

static const char *const text_requests[] = {
    "-help",
    "-h",
    "--version",
    "-machine help",
    "-M microvm,help",
    "-accel help",
    "-device help",
    "-object help",
    "-chardev help",
    "-netdev help",
    "-device virtio-blk-device,help",
    "-object memory-backend-ram,help",
    "-netdev tap,help",
    "-chardev socket,help",
    "-help -zz",
};

START_TEST(text_only)
{
	struct config cfg;

	ck_assert_int_eq(run_options(&cfg, text_requests[_i], NULL), 1);
	ck_assert_int_eq(cfg.text, TEXT_NONE);
	config_fini(&cfg);
}
END_TEST

/* What main.c prints. */
static const struct {
	const char *line;
	enum config_text text;
} asked[] = {
    {"-append x -cpu help -zz", TEXT_CPU_MODELS    },
    {"-man -zz",                TEXT_MAN           },
    {"-completion -zz",         TEXT_COMPLETION    },
    {"-completion-zsh -zz",     TEXT_COMPLETION_ZSH},
};

START_TEST(text_for_main)
{
	struct config cfg;

	ck_assert_int_eq(run_options(&cfg, asked[_i].line, NULL), 0);
	ck_assert_int_eq(cfg.text, asked[_i].text);
	config_fini(&cfg);
}
END_TEST

/* Whatever is offered says what it is, and is in the manual. */
START_TEST(migration_rows)
{
	CLEANUP(cleanup_free) char *man = man_of(&device_table);

	for (int c = 0; c < CAP_COUNT; c++) {
		const struct migration_capability_info *info = &migration_capabilities[c];

		ck_assert_msg(info->offered == (info->help != NULL), "%s", info->name);
		ck_assert_msg(!info->help || strchr(info->help, '-') || strstr(man, info->help),
			      "%s", info->name);
	}
	for (const struct migration_param_info *r = migration_param_table; r->name; r++) {
		ck_assert_msg(r->offered == (r->help != NULL), "%s", r->name);
		ck_assert_msg(!r->help || strchr(r->help, '-') || strstr(man, r->help), "%s",
			      r->name);
	}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("options-texts");
	TCase *tc = tcase_create("texts");

	tcase_add_test(tc, help_text);
	tcase_add_test(tc, man_text);
	tcase_add_test(tc, table);
	tcase_add_test(tc, device_rows);
	tcase_add_test(tc, page);
	tcase_add_loop_test(tc, text_only, 0, (int)ARRAY_LEN(text_requests));
	tcase_add_loop_test(tc, text_for_main, 0, (int)ARRAY_LEN(asked));
	tcase_add_test(tc, migration_rows);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(suite());
}
