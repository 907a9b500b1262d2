/*
 * fdt.c - the flattened device tree of the machine
 *
 * What was built, for guests that read a device tree and for -machine
 * dumpdtb=.  The devices stand below /board, a node
 * without "compatible": a kernel that reads both this and the ACPI tables must
 * not find every transport twice.
 */
#include <errno.h>
#include <inttypes.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/internal.h"
#include "arch/x86/x86.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define FDT_FIRST_BYTES ((int)(8 * KiB))
#define FDT_BYTES       ((int)(256 * KiB)) /* a full board needs a tenth of it */
#define PHANDLE_IOAPIC  1
#define IRQ_EDGE_HIGH   1
#define IRQ_LEVEL_HIGH  4

/* libfdt's errors, kept until the end: the first one counts. */
struct tree {
	void *fdt;
	int ret;
};

static void tree_check(struct tree *t, int ret)
{
	if (ret < 0 && t->ret == 0)
		t->ret = ret;
}

static void node_begin(struct tree *t, const char *name)
{
	tree_check(t, fdt_begin_node(t->fdt, name));
}

static void begin_at(struct tree *t, const char *name, uint64_t unit)
{
	char full[64];

	(void)snprintf(full, sizeof(full), "%.40s@%" PRIx64, name, unit);
	node_begin(t, full);
}

static void node_end(struct tree *t)
{
	tree_check(t, fdt_end_node(t->fdt));
}

static void u32(struct tree *t, const char *name, uint32_t v)
{
	tree_check(t, fdt_property_u32(t->fdt, name, v));
}

static void text(struct tree *t, const char *name, const char *s)
{
	tree_check(t, fdt_property(t->fdt, name, s, (int)strlen(s) + 1));
}

static void u64s(struct tree *t, const char *name, const uint64_t *v, size_t n)
{
	uint64_t be[8];

	for (size_t i = 0; i < n && i < ARRAY_LEN(be); i++)
		be[i] = htobe64(v[i]);
	tree_check(t, fdt_property(t->fdt, name, be, (int)(n * sizeof(be[0]))));
}

static void add_chosen(struct tree *t, const struct machine *m)
{
	const struct x86 *x = m->arch_state;

	node_begin(t, "chosen");
	if (m->cfg->append)
		text(t, "bootargs", m->cfg->append);
	if (x && x->boot.initrd_bytes > 0) {
		uint64_t start = x->boot.initrd_gpa, stop = start + x->boot.initrd_bytes;

		u64s(t, "linux,initrd-start", &start, 1);
		u64s(t, "linux,initrd-end", &stop, 1);
	}
	node_end(t);
}

static void add_memory(struct tree *t, uint64_t ram_bytes)
{
	uint64_t low = MIN(ram_bytes, BOARD_LOWMEM_LIMIT);
	uint64_t reg[4] = {0, low, BOARD_HIGHMEM_BASE, ram_bytes - low};

	begin_at(t, "memory", 0);
	text(t, "device_type", "memory");
	u64s(t, "reg", reg, ram_bytes > low ? 4 : 2);
	node_end(t);
}

static void add_cpus(struct tree *t, const struct machine *m)
{
	node_begin(t, "cpus");
	u32(t, "#address-cells", 1);
	u32(t, "#size-cells", 0);
	for (unsigned i = 0; i < m->cfg->cpus; i++) {
		begin_at(t, "cpu", i);
		text(t, "device_type", "cpu");
		text(t, "minivmm,model", m->cfg->cpu_model ? m->cfg->cpu_model : "qemu64");
		u32(t, "reg", i);
		node_end(t);
	}
	node_end(t);
}

static void add_ioapic(struct tree *t, unsigned index)
{
	uint64_t reg[2] = {BOARD_IOAPIC_BASE + index * BOARD_IOAPIC_BYTES, 0x1000};

	begin_at(t, "interrupt-controller", reg[0]);
	tree_check(t, fdt_property(t->fdt, "interrupt-controller", NULL, 0));
	u32(t, "#interrupt-cells", 2);
	u32(t, "phandle", PHANDLE_IOAPIC + index);
	u64s(t, "reg", reg, 2);
	node_end(t);
}

static const char *compatible(enum board_kind kind)
{
	switch (kind) {
	case BOARD_VIRTIO_MMIO:
		return "virtio,mmio";
	case BOARD_SERIAL:
		return "ns16550a";
	case BOARD_RTC:
		return "motorola,mc146818";
	case BOARD_GED:
		return "minivmm,ged";
	case BOARD_FW_CFG:
		return "qemu,fw-cfg";
	case BOARD_DEBUG_EXIT:
		return "minivmm,debug-exit";
	case BOARD_PVPANIC:
		return "qemu,pvpanic";
	case BOARD_VMGENID:
		return "minivmm,vmgenid";
	}
	return "minivmm,unknown";
}

static bool is_memory_mapped(const struct board_device *d)
{
	return d->kind == BOARD_VIRTIO_MMIO || d->kind == BOARD_GED || d->kind == BOARD_VMGENID;
}

static void add_device(struct tree *t, const struct board_device *d)
{
	uint64_t reg[2] = {d->base, d->bytes};
	unsigned ioapic = d->gsi / BOARD_IOAPIC_PINS;
	uint32_t irq[2] = {htobe32(d->gsi % BOARD_IOAPIC_PINS),
			   htobe32(d->kind == BOARD_VIRTIO_MMIO ? IRQ_LEVEL_HIGH : IRQ_EDGE_HIGH)};

	begin_at(t, d->name, d->base);
	text(t, "compatible", compatible(d->kind));
	/* a port is no address of the memory bus */
	u64s(t, is_memory_mapped(d) ? "reg" : "minivmm,ports", reg, 2);
	if (d->gsi > 0) {
		tree_check(t, fdt_property(t->fdt, "interrupts", irq, sizeof(irq)));
		u32(t, "interrupt-parent", PHANDLE_IOAPIC + ioapic);
	}
	if (d->slot >= 0)
		u32(t, "minivmm,slot", (uint32_t)d->slot);
	if (d->id[0])
		text(t, "minivmm,id", d->id);
	for (size_t i = 0; i < d->n_props; i++) {
		char name[sizeof(d->props[i].name) + 8];

		(void)snprintf(name, sizeof(name), "minivmm,%s", d->props[i].name);
		text(t, name, d->props[i].text);
	}
	node_end(t);
}

static void add_root(struct tree *t, const struct machine *m)
{
	node_begin(t, "");
	text(t, "model", "microvm");
	text(t, "compatible", "minivmm,microvm");
	u32(t, "#address-cells", 2);
	u32(t, "#size-cells", 2);
	add_chosen(t, m);
	add_memory(t, m->cfg->ram_bytes);
	add_cpus(t, m);
	node_begin(t, "board");
	u32(t, "#address-cells", 2);
	u32(t, "#size-cells", 2);
	for (unsigned i = 0; i < board_ioapics(&m->board); i++)
		add_ioapic(t, i);
	for (size_t i = 0; i < m->board.n; i++)
		add_device(t, &m->board.devices[i]);
	node_end(t);
	node_end(t);
}

/* 0 or a libfdt error; FDT_ERR_NOSPACE: it needs more room than that. */
static int build_in(const struct machine *m, int room, struct buf *out)
{
	CLEANUP(cleanup_free) void *mem = xcalloc(1, (size_t)room);
	struct tree t = {.fdt = mem};

	tree_check(&t, fdt_create(mem, room));
	tree_check(&t, fdt_finish_reservemap(mem));
	add_root(&t, m);
	tree_check(&t, fdt_finish(mem));
	if (t.ret >= 0)
		buf_put(out, mem, fdt_totalsize(mem));
	return t.ret;
}

/* libfdt writes to all the room it gets, and most trees need a few KiB of it. */
int x86_build_fdt(const struct machine *m, struct buf *out, struct err *err)
{
	int room = FDT_FIRST_BYTES, ret = build_in(m, room, out);

	while (ret == -FDT_ERR_NOSPACE && room < FDT_BYTES) {
		room *= 4;
		ret = build_in(m, room, out);
	}
	if (ret < 0)
		return err_set(err, ENOSPC, "the device tree cannot be built: %s",
			       fdt_strerror(ret));
	return 0;
}
