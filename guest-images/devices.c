/*
 * devices.c - exercises every device; one line for each: "ok NAME", "FAIL NAME why" or "skip NAME
 * why"
 *
 * only=NAME runs one of them, cpuid prints the CPUID leaves, reboot resets
 * once through the reset register: a byte in CMOS tells the second boot.
 */
#include "check.h"
#include "lib.h"

#define REBOOT_INDEX 0x6eu /* of CMOS, otherwise unused */
#define REBOOT_MARK  0xa5u

static const struct {
	const char *name;
	const char *(*run)(void);
} checks[] = {
    {"serial",      check_serial     },
    {"rtc",         check_rtc        },
    {"cmos",        check_cmos       },
    {"fw_cfg",      check_fw_cfg     },
    {"ged",         check_ged        },
    {"pit",         check_pit        },
    {"pic",         check_pic        },
    {"lapic-timer", check_lapic_timer},
    {"tsc",         check_tsc        },
    {"mmio",        check_mmio       },
    {"rng",         check_rng        },
    {"blk",         check_blk        },
    {"blk-errors",  check_blk_errors },
    {"net",         check_net        },
    {"malformed",   check_malformed  },
    {"acpi",        check_acpi       },
    {"smp",         check_smp        }
};

static bool is_skip(const char *why)
{
	return memcmp(why, SKIP, sizeof(SKIP) - 1) == 0;
}

static void report(const char *name, const char *why)
{
	if (!why) {
		text("ok ");
		text(name);
	} else {
		text(is_skip(why) ? "skip " : "FAIL ");
		text(name);
		text(" ");
		text(is_skip(why) ? why + sizeof(SKIP) - 1 : why);
	}
	text("\n");
}

static void reboot_once(void)
{
	if (cmos_read(REBOOT_INDEX) == REBOOT_MARK) {
		cmos_write(REBOOT_INDEX, 0);
		text("second boot\n");
		return;
	}
	cmos_write(REBOOT_INDEX, REBOOT_MARK);
	text("first boot\n");
	request_reset();
}

void guest_main(void)
{
	unsigned failed = 0, run = 0;

	ticks_start();
	if (arg("reboot"))
		reboot_once();
	if (arg("cpuid"))
		print_cpuid();
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		const char *why;

		if (arg("only") && !arg_is("only", checks[i].name))
			continue;
		why = checks[i].run();
		report(checks[i].name, why);
		run++;
		failed += why && !is_skip(why);
	}
	field("done ", run);
	field(" failed ", failed);
	text("\n");
	finish(failed ? 1 : 0);
}
