/* A new device is one row: the command line, the help, the manual page and the board take it. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "devices/device-table.h"
#include "devices/microvm.h"
#include "tests/unit/bare-machine.h"
#include "tests/unit/check-main.h"
#include "tests/unit/options-run.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"
#include "vmm/options/options.h"

/* ---- the row ---- */

static struct {
	unsigned n;
	uint64_t number;
	bool on;
	char text[32], id[32];
} made;

static int lamp_create(struct machine *m, const struct cfg_device *cfg, unsigned slot,
		       struct backends *be, struct err *err)
{
	(void)m;
	(void)slot;
	(void)be;
	made.n++;
	made.number = device_number(cfg, "watts");
	made.on = device_bool(cfg, "on-at-start");
	(void)snprintf(made.text, sizeof(made.text), "%s", device_text(cfg, "colour"));
	(void)snprintf(made.id, sizeof(made.id), "%s", cfg->id ? cfg->id : "");
	return made.number == 13 ? err_set(err, EINVAL, "lamp: 13 watts bring bad luck") : 0;
}

static const struct opt_prop lamp_props[] = {
    DEVICE_NUMBER("watts", 1, 100, "40", "how bright it is"),
    DEVICE_BOOL("on-at-start", "on", "whether it shines at once"),
    DEVICE_WORD("colour", "white|red|blue", "white|red", "blue ones are sold out", "white",
		"its light"),
    PROP_REFUSED("dimmer", "turn it off"),
    {.key = NULL},
};

static const struct device_row lamp = {
    .name = "test-lamp",
    .kind = DEVICE_PORT,
    .help = "a lamp: watts=N",
    .props = lamp_props,
    .create = lamp_create,
};

static int refuse(const char *name, struct err *err)
{
	return strcmp(name, "test-candle") != 0
		   ? 0
		   : err_set(err, ENOTSUP, "test-candle: no fire here; use test-lamp");
}

/* ---- a command line with it ---- */

static int parse(struct config *cfg, const char *option, const char *val, struct err *err)
{
	const struct device_row *rows[] = {&lamp, NULL};
	const struct device_table table = {.rows = rows, .disk = &lamp, .refuse = refuse};
	char *argv[] = {(char *)"minivmm", (char *)(uintptr_t)option, (char *)(uintptr_t)val, NULL};

	return options_parse(cfg, &table, 3, argv, err);
}

/* What the program prints on stdout for it; the caller frees. */
static char *printed(const char *val)
{
	FILE *f = tmpfile();
	int saved = dup(STDOUT_FILENO);
	char *text = xcalloc(1, 64 * KiB);
	struct config cfg;

	ck_assert(f != NULL && saved >= 0);
	(void)fflush(stdout);
	ck_assert_int_ge(dup2(fileno(f), STDOUT_FILENO), 0);
	ck_assert_int_eq(parse(&cfg, "-device", val, NULL), 1);
	(void)fflush(stdout);
	(void)dup2(saved, STDOUT_FILENO);
	(void)close(saved);
	rewind(f);
	(void)fread(text, 1, 64 * KiB - 1, f);
	(void)fclose(f);
	config_fini(&cfg);
	return text;
}

START_TEST(help_lists_it)
{
	CLEANUP(cleanup_free) char *models = printed("help");
	CLEANUP(cleanup_free) char *keys = printed("test-lamp,help");

	ck_assert_str_eq(models, "test-lamp            a lamp: watts=N\n");
	ck_assert_str_eq(
	    keys, "test-lamp options:\n"
		  "  watts=N                         number from 1 to 100: how bright it is\n"
		  "                                  (default 40)\n"
		  "  on-at-start=on|off              switch: whether it shines at once (default\n"
		  "                                  on)\n"
		  "  colour=white|red                word: its light (default white)\n");
}
END_TEST

START_TEST(manual_page_has_it)
{
	const struct device_row *rows[] = {&lamp, NULL};
	const struct device_table table = {.rows = rows, .disk = &lamp, .refuse = refuse};
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	options_print_man(f, &table, (const struct manual_part[]){{.title = NULL}});
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_msg(strstr(text, "test\\-lamp") != NULL, "%s", text);
	ck_assert(strstr(text, "number from 1 to 100: how bright it is (default 40)") != NULL);
	free(text);
}
END_TEST

static const struct {
	const char *val, *says;
} refusals[] = {
    {"test-lamp,zz=1",        "Property 'test-lamp.zz' not found"                          },
    {"test-lamp,watts=101",   "Parameter 'watts' expects a number from 1 to 100, not '101'"},
    {"test-lamp,watts=x",     "Parameter 'watts' expects a number from 1 to 100, not 'x'"  },
    {"test-lamp,colour=blue", "colour=blue is not supported: blue ones are sold out"       },
    {"test-lamp,colour=pink", "Parameter 'colour' does not accept value 'pink'"            },
    {"test-lamp,dimmer=1",    "'dimmer' is not supported: turn it off"                     },
    {"test-candle",           "test-candle: no fire here; use test-lamp"                   },
    {"virtio-blk-device",     "'virtio-blk-device' is not a valid device model name"       },
};

START_TEST(refusals_name_it)
{
	for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
		CLEANUP(cleanup_free)
		char *want = xasprintf("-device %s: %s", refusals[i].val, refusals[i].says);
		struct config cfg;
		struct err err = {0};

		ck_assert_int_lt(parse(&cfg, "-device", refusals[i].val, &err), 0);
		ck_assert_str_eq(err.msg, want);
		config_fini(&cfg);
	}
}
END_TEST

START_TEST(global_reaches_it)
{
	struct config cfg;
	struct err err = {0};

	ck_assert_int_eq(parse(&cfg, "-global", "test-lamp.watts=60", &err), 0);
	config_fini(&cfg);
	ck_assert_int_lt(parse(&cfg, "-global", "test-lamp.watts=0", &err), 0);
	ck_assert(strstr(err.msg, "can't apply global test-lamp.watts=0: Parameter 'watts'"));
	config_fini(&cfg);
}
END_TEST

/* The board makes it with what was given, and with the row's defaults. */
static void board_makes(const char *val, int ret, const char *says)
{
	struct config cfg;
	struct machine *m;
	struct backends be = {0};
	struct err err = {0};

	ck_assert_int_eq(parse(&cfg, "-device", val, &err), 0);
	cfg.ram_bytes = 16 * MiB;
	cfg.isa_serial = false;
	m = bare_machine_new(&cfg);
	ck_assert_int_eq(microvm_create_memory(m, &err), 0);
	made.n = 0;
	ck_assert_int_eq(microvm_create_devices(m, &be, &err), ret);
	ck_assert_str_eq(err.msg, says);
	ck_assert_uint_eq(made.n, 1);
	bare_machine_free(m);
	config_fini(&cfg);
}

START_TEST(board_makes_it)
{
	board_makes("test-lamp", 0, "");
	ck_assert_uint_eq(made.number, 40);
	ck_assert(made.on);
	ck_assert_str_eq(made.text, "white");
	board_makes("test-lamp,id=l,watts=0x10,on_at_start=off,colour=red", 0, "");
	ck_assert_uint_eq(made.number, 16);
	ck_assert(!made.on);
	ck_assert_str_eq(made.text, "red");
	ck_assert_str_eq(made.id, "l");
	board_makes("test-lamp,watts=13", -EINVAL,
		    "-device test-lamp,watts=13: lamp: 13 watts bring bad luck");
}
END_TEST

CHECK_MAIN("device-rows", help_lists_it, manual_page_has_it, refusals_name_it, global_reaches_it,
	   board_makes_it)
