/*
 * machine.c - -machine, -accel, -cpu
 *
 * The board has variants: our own default and, with stock=on, QEMU's.  What is
 * typed is kept apart until the whole command line is known, since stock=on
 * may come first or last.  What no variant has is in the table too, and refused
 * by name.
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

#define AT(member) offsetof(struct config, member)

/* What QEMU has besides KVM. */
#define OTHER_ACCELERATORS "tcg|xen|hax|hvf|mshv|nvmm|whpx|qtest"

static int name_accelerators(struct opt_parse *p, const char *list, struct err *err)
{
	while (*list) {
		size_t n = strcspn(list, ":");

		if (n == 3 && !memcmp(list, "kvm", n)) {
			p->accel_kvm = true;
		} else if (opt_word_index(OTHER_ACCELERATORS, list, n) < 0) {
			return err_set(err, EINVAL, "invalid accelerator %.*s",
				       n < 64 ? (int)n : 64, list);
		} else if (!p->accel_other) {
			CLEANUP(cleanup_free) char *where = opt_where(p);

			p->accel_other =
			    xasprintf("%s: accelerator '%.*s' is not supported: "
				      "minivmm runs guests on KVM only; use -accel kvm",
				      where, (int)n, list);
		}
		list += n + (list[n] == ':');
	}
	return 0;
}

static int set_type(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	struct config *cfg = base;

	(void)p;
	cfg->no_board = !strcmp(val, "none");
	if (cfg->no_board || !strcmp(val, "microvm"))
		return 0;
	return err_set(err, EINVAL,
		       "unsupported machine type\nUse -machine help to list supported machines");
}

static int set_machine_accel(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	(void)base;
	p->accel_machine = true;
	return name_accelerators(p, val, err);
}

#define WHY_IRQCHIP "local APICs are KVM's own; use "
#define IRQCHIPS    "on|off|split"
#define HELP_IRQCHIP                                                                               \
	"where the interrupt controllers and the timer are: on, in KVM (default); split, all "     \
	"but the local APICs in minivmm (default with ioapic2=on)"

static const struct opt_prop machine_props[] = {
    PROP_CALL("type", "microvm|none", set_type,
	      "the board; none: no machine at all, for a client that asks what minivmm has"),
    PROP_CALL("accel", "kvm", set_machine_accel, "as -accel; in a list like kvm:tcg, kvm is taken"),
    PROP_ONLY("acpi", OPT_AUTO, AT(acpi), "on|off|auto", "on|auto",
	      "guests find their devices through ACPI tables; use acpi=on",
	      "ACPI tables and the power button (auto is on)"),
    PROP("stock", OPT_BOOL, AT(board.stock), "on|off",
	 "what is not given is as in QEMU's microvm: ioapic2=on, rtc=off, kernel_irqchip=split, "
	 "and -global virtio-mmio.force-legacy=on (default off)"),
    PROP("ioapic2", OPT_SWITCH, AT(board.ioapic2), "on|off|auto",
	 "a second IOAPIC, and 24 virtio slots on it instead of 8 (auto is as stock)"),
    PROP("pic", OPT_AUTO, AT(pic), "on|off|auto", "the pair of 8259 (auto is on)"),
    PROP("pit", OPT_AUTO, AT(pit), "on|off|auto", "the 8254 (auto is on)"),
    PROP("rtc", OPT_SWITCH, AT(board.rtc), "on|off|auto",
	 "the MC146818 (auto is on, and off with stock=on)"),
    PROP("isa-serial", OPT_BOOL, AT(isa_serial), "on|off", "the 16550 at port 0x3f8 (default on)"),
    PROP_ONLY("kernel_irqchip", OPT_ENUM, AT(board.irqchip), IRQCHIPS, "on|split",
	      WHY_IRQCHIP "kernel_irqchip=split", HELP_IRQCHIP),
    PROP("x-option-roms", OPT_BOOL, OPT_NOWHERE, "on|off",
	 "no effect: kernels are started without an option ROM"),
    PROP("auto-kernel-cmdline", OPT_BOOL, OPT_NOWHERE, "on|off",
	 "no effect with acpi=on: devices are never put on the command line"),
    PROP_ONLY("pcie", OPT_AUTO, OPT_NOWHERE, "on|off|auto", "off|auto",
	      "the board has no PCI bus; -device help lists what it has",
	      "the PCI Express host bridge (auto is off)"),
    PROP_ONLY("usb", OPT_BOOL, OPT_NOWHERE, "on|off", "off", "the board has no USB controller",
	      "a USB controller"),
    PROP_ONLY("smm", OPT_AUTO, OPT_NOWHERE, "on|off|auto", "off|auto",
	      "system management mode is not emulated; use smm=off",
	      "system management mode (auto is off)"),
    PROP_ONLY("graphics", OPT_BOOL, OPT_NOWHERE, "on|off", "off",
	      "the board has no display; use graphics=off", "a display"),
    PROP("memory-backend", OPT_STRING, AT(memory_backend), NULL,
	 "the -object that is the guest's RAM; its size is the size of -m"),
    PROP("dump-guest-core", OPT_BOOL, AT(dump_guest_core), "on|off",
	 "guest RAM in a core dump of minivmm (default on)"),
    PROP("mem-merge", OPT_BOOL, AT(mem_merge), "on|off",
	 "let the host merge equal pages, KSM (default on)"),
    PROP("dumpdtb", OPT_STRING, AT(dumpdtb), NULL,
	 "write the machine's flattened device tree to this file and exit"),
    PROP("suppress-vmdesc", OPT_BOOL, AT(suppress_vmdesc), "on|off",
	 "leave the JSON description out of migration streams (default off)"),
    PROP("kernel", OPT_STRING, AT(kernel), NULL, "as -kernel"),
    PROP("initrd", OPT_STRING, AT(initrd), NULL, "as -initrd"),
    PROP("append", OPT_STRING, AT(append), NULL, "as -append"),
    PROP("firmware", OPT_STRING, AT(bios), NULL, "as -bios"),
    PROP_REFUSED("confidential-guest-support", "encrypted guests are not offered"),
    PROP_END,
};

const struct opt_list opt_machine_list = {
    .title = "-machine microvm",
    .implied = "type",
    .style = OPT_STYLE_QOM,
    .owner = "microvm-machine",
    .props = machine_props,
};

int opt_machine(struct opt_parse *p, struct err *err)
{
	if (!strcmp(p->val, "help") || !strcmp(p->val, "type=help")) {
		(void)puts("Supported machines are:\n"
			   "microvm              virtio-mmio board for KVM (default)\n"
			   "none                 no machine: only tells over QMP what minivmm has");
		p->done = true;
		return 0;
	}
	if (opt_wants_help(p->val)) {
		opt_print_list(stdout, &opt_machine_list);
		p->done = true;
		return 0;
	}
	return opt_apply_list(p, &opt_machine_list, p->cfg, err);
}

static int set_accel(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	(void)base;
	if (!*val)
		return err_set(err, EINVAL, "invalid accelerator ");
	p->accel_option = true;
	return name_accelerators(p, val, err);
}

static int set_dirty_ring(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	uint64_t n;

	(void)base;
	if (opt_parse_u64(val, &n) < 0)
		return err_set(err, EINVAL, "Parameter 'dirty-ring-size' expects uint64");
	if (n & (n - 1))
		return err_set(err, EINVAL, "dirty-ring-size must be a power of two.");
	if (n && (n < 1024 || n > 65536))
		return err_set(err, EINVAL,
			       "dirty-ring-size must be 0 or between 1024 and 65536 entries");
	p->cfg->dirty_ring_size = (uint32_t)n;
	return 0;
}

static const struct opt_prop accel_props[] = {
    PROP_CALL("accel", "kvm", set_accel, "the accelerator; there is one"),
    PROP_CALL("dirty-ring-size", "N", set_dirty_ring,
	      "track written pages in a ring of N entries per vCPU: a power of two from 1024 to "
	      "65536; 0 is the dirty log (default)"),
    PROP_ONLY("kernel-irqchip", OPT_ENUM, AT(board.irqchip), IRQCHIPS, "on|split",
	      WHY_IRQCHIP "kernel-irqchip=split", HELP_IRQCHIP),
    PROP_REFUSED("kvm-shadow-mem", "KVM chooses the size of its page tables"),
    PROP_SEEN("thread", "single|multi", "ignored, belongs to tcg"),
    PROP_SEEN("tb-size", NULL, "ignored, belongs to tcg"),
    PROP_END,
};

const struct opt_list opt_accel_list = {
    .title = "-accel kvm",
    .implied = "accel",
    .style = OPT_STYLE_QOM,
    .owner = "kvm-accel",
    .props = accel_props,
};

int opt_accel(struct opt_parse *p, struct err *err)
{
	if (opt_wants_help(p->val)) {
		(void)puts("Accelerators supported:\nkvm");
		p->done = true;
		return 0;
	}
	if (!*p->val)
		return set_accel(p, NULL, "", err);
	return opt_apply_list(p, &opt_accel_list, p->cfg, err);
}

int opt_enable_kvm(struct opt_parse *p, struct err *err)
{
	(void)err;
	p->accel_option = true;
	p->accel_kvm = true;
	return 0;
}

int opt_check_accel(struct opt_parse *p, struct err *err)
{
	if (p->accel_option && p->accel_machine)
		return err_set(err, EINVAL,
			       "The -accel and \"-machine accel=\" options are incompatible");
	if (p->accel_other && !p->accel_kvm)
		return err_set(err, ENOTSUP, "%s", p->accel_other);
	return 0;
}

int opt_check_no_board(struct opt_parse *p, struct err *err)
{
	const struct config *cfg = p->cfg;
	const struct {
		bool given;
		const char *what;
	} needs[] = {
	    {cfg->kernel || cfg->bios, "-kernel and -bios"   },
	    {cfg->incoming,            "-incoming"           },
	    {cfg->loadvm,              "-loadvm"             },
	    {cfg->n_devices,           "-device"             },
	    {cfg->n_blockdevs,         "-drive and -blockdev"},
	    {cfg->n_netdevs,           "-netdev and -nic"    },
	    {cfg->dumpdtb,             "-machine dumpdtb="   },
	    {cfg->dump_vmstate,        "-dump-vmstate"       },
	};

	for (size_t i = 0; cfg->no_board && i < ARRAY_LEN(needs); i++)
		if (needs[i].given)
			return err_set(err, EINVAL,
				       "with -machine none there is no guest for %s: use -machine "
				       "microvm",
				       needs[i].what);
	return 0;
}

static bool switch_is_on(unsigned given, bool otherwise)
{
	return given == CFG_AUTO ? otherwise : given == CFG_ON;
}

int opt_finish_board(struct opt_parse *p, struct err *err)
{
	struct config *cfg = p->cfg;
	const struct cfg_board *b = &cfg->board;

	cfg->ioapic2 = switch_is_on(b->ioapic2, b->stock);
	cfg->rtc = switch_is_on(b->rtc, !b->stock);
	cfg->split_irqchip = b->irqchip == IRQCHIP_SPLIT;
	if (b->irqchip == IRQCHIP_DEFAULT)
		cfg->split_irqchip = b->stock || cfg->ioapic2;
	if (cfg->ioapic2 && !cfg->split_irqchip)
		return err_set(err, ENOTSUP,
			       "-machine ioapic2=on does not go with kernel_irqchip=on: KVM "
			       "does not tell the end of the second IOAPIC's interrupts; use "
			       "kernel_irqchip=split, or ioapic2=off");
	return 0;
}

int opt_cpu(struct opt_parse *p, struct err *err)
{
	size_t n = strcspn(p->val, ",");

	if (!strcmp(p->val, "help") || !strcmp(p->val, "?")) {
		p->cfg->text = TEXT_CPU_MODELS;
		p->done = true;
		return 0;
	}
	if (n == 0)
		return err_set(err, EINVAL, "-cpu option cannot be empty");
	free(p->cfg->cpu_model);
	free(p->cfg->cpu_features);
	p->cfg->cpu_model = xstrndup(p->val, n);
	p->cfg->cpu_features = p->val[n] && p->val[n + 1] ? xstrdup(p->val + n + 1) : NULL;
	return 0;
}
