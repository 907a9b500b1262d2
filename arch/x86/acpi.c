/*
 * acpi.c - RSDP, XSDT, FADT, MADT, DSDT
 *
 * Hardware-reduced ACPI: no power management blocks, no PCI, no processor
 * objects.  A guest finds the devices that have no enumerable bus here, the
 * virtio-mmio transports above all, and powers off and resets through the GED.
 */
#include "arch/x86/acpi.h"

#include <stdio.h>
#include <string.h>

#include "arch/x86/aml.h"
#include "vmm/base/bytes.h"
#include "vmm/base/units.h"
#include "vmm/board.h"

#define HEADER_BYTES    36
#define CHECKSUM_OFFSET 9
#define TABLES_OFFSET   64 /* from the RSDP */

#define FADT_BYTES                268
#define FADT_FLAG_RESET_REG       (1U << 10)
#define FADT_FLAG_HW_REDUCED      (1U << 20)
#define GED_RESET_VALUE           0x42
#define GED_POWER_BUTTON          2
#define GED_GENERATION            0x100
#define SLEEP_TYPE_OFF            5
#define MADT_FLAG_PCAT            1
#define STA_PRESENT_ENABLED_WORKS 0xb
#define STA_ALL                   0xf

static void le(struct buf *out, uint64_t v, unsigned bytes)
{
	v = htole64(v);
	buf_put(out, &v, bytes);
}

static uint8_t checksum(const uint8_t *p, size_t n)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum = (uint8_t)(sum + p[i]);
	return (uint8_t)-sum;
}

/* Header and body as one table; 'body' is emptied.  Returns its offset in out. */
static size_t put_table(struct buf *out, const char sig[4], uint8_t revision, struct buf *body)
{
	size_t start = out->len;

	buf_put(out, sig, 4);
	le(out, HEADER_BYTES + body->len, 4);
	buf_u8(out, revision);
	buf_u8(out, 0); /* checksum */
	buf_put(out, "BOCHS BXPC    ", 14);
	le(out, 1, 4);
	buf_put(out, "BXPC", 4);
	le(out, 1, 4);
	buf_put(out, body->data, body->len);
	buf_free(body);
	out->data[start + CHECKSUM_OFFSET] = checksum(out->data + start, out->len - start);
	return start;
}

/* ---- DSDT ---- */

static void add_fw_cfg(struct buf *sb, const struct board *board, const struct board_device *d)
{
	struct buf dev = {0}, res = {0};

	(void)board;
	aml_name_string(&dev, "_HID", "QEMU0002");
	aml_name_int(&dev, "_STA", STA_PRESENT_ENABLED_WORKS);
	aml_res_io(&res, (uint16_t)d->base, 1, 12);
	aml_name_resources(&dev, "_CRS", &res);
	aml_device(sb, "FWCF", &dev);
}

static void add_serial(struct buf *sb, const struct board *board, const struct board_device *d)
{
	struct buf dev = {0}, res = {0};

	(void)board;
	aml_name_eisa(&dev, "_HID", "PNP0501");
	aml_name_int(&dev, "_UID", 1);
	aml_name_int(&dev, "_STA", STA_ALL);
	aml_res_io(&res, (uint16_t)d->base, 0, 8);
	aml_res_irq(&res, d->gsi);
	aml_name_resources(&dev, "_CRS", &res);
	aml_device(sb, "COM1", &dev);
}

static void add_rtc(struct buf *sb, const struct board *board, const struct board_device *d)
{
	struct buf dev = {0}, res = {0};

	(void)board;
	aml_name_eisa(&dev, "_HID", "PNP0B00");
	aml_res_io(&res, (uint16_t)d->base, 1, 8);
	aml_res_irq(&res, d->gsi);
	aml_name_resources(&dev, "_CRS", &res);
	aml_device(sb, "RTC_", &dev);
}

/* If ((Local0 & bit) == bit) { Notify (device, 0x80) } */
static void add_notify(struct buf *evt, uint32_t bit, const char device[4])
{
	struct buf cond = {0}, then = {0};

	aml_op(&cond, AML_EQUAL);
	aml_op(&cond, AML_AND);
	aml_op(&cond, AML_LOCAL0);
	aml_int(&cond, bit);
	aml_op(&cond, AML_NO_TARGET);
	aml_int(&cond, bit);
	aml_op(&then, AML_NOTIFY);
	aml_nameseg(&then, device);
	aml_int(&then, 0x80);
	aml_if(evt, &cond, &then);
}

static bool has(const struct board *board, enum board_kind kind)
{
	for (size_t i = 0; i < board->n; i++)
		if (board->devices[i].kind == kind)
			return true;
	return false;
}

/* Local0 = ESEL; then what each event is for */
static void add_ged_event(struct buf *ged, const struct board *board)
{
	struct buf evt = {0};

	aml_op(&evt, AML_STORE);
	aml_nameseg(&evt, "ESEL");
	aml_op(&evt, AML_LOCAL0);
	add_notify(&evt, GED_POWER_BUTTON, "PWRB");
	if (has(board, BOARD_VMGENID))
		add_notify(&evt, GED_GENERATION, "VGEN");
	aml_method(ged, "_EVT", 1, &evt);
}

static void add_ged(struct buf *sb, const struct board *board, const struct board_device *d)
{
	struct buf ged = {0}, res = {0}, button = {0};

	aml_name_string(&ged, "_HID", "ACPI0013");
	aml_name_string(&ged, "_UID", "GED");
	aml_res_interrupt(&res, d->gsi, true);
	aml_name_resources(&ged, "_CRS", &res);
	aml_region_memory(&ged, "EREG", (uint32_t)d->base, 4);
	aml_field32(&ged, "EREG", "ESEL");
	add_ged_event(&ged, board);
	aml_device(sb, "GED_", &ged);

	aml_name_string(&button, "_HID", "PNP0C0C");
	aml_name_int(&button, "_UID", 0);
	aml_device(sb, "PWRB", &button);
}

/* The generation ID, as "Virtual Machine Generation ID" (Microsoft, 2012) lays it down. */
static void add_vmgenid(struct buf *sb, const struct board *board, const struct board_device *d)
{
	const uint32_t halves[] = {(uint32_t)d->base, (uint32_t)(d->base >> 32)};
	struct buf dev = {0};

	(void)board;
	aml_name_string(&dev, "_HID", "QEMUVGID");
	aml_name_string(&dev, "_CID", "VM_Gen_Counter");
	aml_name_string(&dev, "_DDN", "VM_Gen_Counter");
	aml_name_package(&dev, "ADDR", halves, ARRAY_LEN(halves));
	aml_device(sb, "VGEN", &dev);
}

static void add_virtio(struct buf *sb, const struct board_device *d)
{
	struct buf dev = {0}, res = {0};
	char name[16];

	(void)snprintf(name, sizeof(name), "VR%02u", (unsigned)d->slot % 100);
	aml_name_string(&dev, "_HID", "LNRO0005");
	aml_name_int(&dev, "_UID", (uint64_t)d->slot);
	aml_name_int(&dev, "_CCA", 1);
	aml_res_memory32(&res, (uint32_t)d->base, (uint32_t)d->bytes);
	aml_res_interrupt(&res, d->gsi, false);
	aml_name_resources(&dev, "_CRS", &res);
	aml_device(sb, name, &dev);
}

/* In this order, whatever the order of creation; virtio from the highest slot down. */
static const struct {
	enum board_kind kind;
	void (*add)(struct buf *sb, const struct board *board, const struct board_device *d);
} isa_like[] = {
    {BOARD_FW_CFG,  add_fw_cfg },
    {BOARD_SERIAL,  add_serial },
    {BOARD_RTC,     add_rtc    },
    {BOARD_GED,     add_ged    },
    {BOARD_VMGENID, add_vmgenid},
};

static void add_devices(struct buf *sb, const struct board *board)
{
	for (size_t k = 0; k < ARRAY_LEN(isa_like); k++)
		for (size_t i = 0; i < board->n; i++)
			if (board->devices[i].kind == isa_like[k].kind)
				isa_like[k].add(sb, board, &board->devices[i]);
	for (int slot = BOARD_MAX_SLOTS - 1; slot >= 0; slot--)
		for (size_t i = 0; i < board->n; i++) {
			const struct board_device *d = &board->devices[i];

			if (d->kind == BOARD_VIRTIO_MMIO && d->slot == slot)
				add_virtio(sb, d);
		}
}

static size_t put_dsdt(struct buf *out, const struct board *board)
{
	static const uint32_t s5[] = {SLEEP_TYPE_OFF, 0, 0, 0};
	struct buf body = {0}, sb = {0}, root = {0};

	add_devices(&sb, board);
	aml_scope(&body, "_SB_", &sb);
	aml_name_package(&root, "_S5_", s5, ARRAY_LEN(s5));
	aml_scope(&body, "\\", &root);
	return put_table(out, "DSDT", 2, &body);
}

/* ---- FADT, MADT, XSDT, RSDP ---- */

/* A generic address in memory, 8 bits wide. */
static void put_gas(uint8_t *at, uint64_t gpa)
{
	at[0] = 0;
	at[1] = 8;
	put_le64(at + 4, gpa);
}

static size_t put_fadt(struct buf *out, uint64_t dsdt_gpa)
{
	struct buf body = {0};
	uint8_t t[FADT_BYTES] = {0};

	put_le32(t + 40, (uint32_t)dsdt_gpa);
	put_le32(t + 112, FADT_FLAG_HW_REDUCED | FADT_FLAG_RESET_REG);
	put_gas(t + 116, BOARD_GED_REGS + 2);
	t[128] = GED_RESET_VALUE;
	put_le64(t + 140, dsdt_gpa);
	put_gas(t + 244, BOARD_GED_REGS);
	put_gas(t + 256, BOARD_GED_REGS + 1);
	buf_put(&body, t + HEADER_BYTES, sizeof(t) - HEADER_BYTES);
	return put_table(out, "FACP", 5, &body);
}

static size_t put_madt(struct buf *out, const struct board *board, unsigned cpus)
{
	struct buf body = {0};

	le(&body, BOARD_LAPIC_BASE, 4);
	le(&body, MADT_FLAG_PCAT, 4);
	for (unsigned i = 0; i < cpus; i++) {
		if (i < 255) {
			le(&body, 0 | 8 << 8, 2); /* local APIC, 8 bytes */
			buf_u8(&body, (uint8_t)i);
			buf_u8(&body, (uint8_t)i);
			le(&body, 1, 4); /* enabled */
		} else {
			le(&body, 9 | 16 << 8, 2); /* local x2APIC, 16 bytes */
			le(&body, 0, 2);
			le(&body, i, 4);
			le(&body, 1, 4);
			le(&body, i, 4);
		}
	}
	for (unsigned i = 0; i < board_ioapics(board); i++) {
		le(&body, 1 | 12 << 8, 2); /* IOAPIC */
		le(&body, i, 2);           /* id */
		le(&body, BOARD_IOAPIC_BASE + i * BOARD_IOAPIC_BYTES, 4);
		le(&body, (uint64_t)i * BOARD_IOAPIC_PINS, 4); /* first GSI */
	}
	le(&body, 4 | 6 << 8, 2); /* NMI on LINT1 of every local APIC */
	buf_u8(&body, 0xff);
	le(&body, 0, 2);
	buf_u8(&body, 1);
	return put_table(out, "APIC", 1, &body);
}

void acpi_build(const struct board *board, unsigned cpus, uint64_t gpa, struct buf *out)
{
	struct buf tables = {0}, body = {0}, rsdp = {0};
	uint64_t base = gpa + TABLES_OFFSET;
	uint64_t dsdt = base + put_dsdt(&tables, board);
	uint64_t fadt = base + put_fadt(&tables, dsdt);
	uint64_t madt = base + put_madt(&tables, board, cpus);
	uint64_t xsdt;

	le(&body, fadt, 8);
	le(&body, madt, 8);
	xsdt = base + put_table(&tables, "XSDT", 1, &body);

	buf_put(&rsdp, "RSD PTR ", 8);
	buf_u8(&rsdp, 0); /* checksum of the first 20 bytes */
	buf_put(&rsdp, "BOCHS ", 6);
	buf_u8(&rsdp, 2);
	le(&rsdp, 0, 4); /* no RSDT */
	le(&rsdp, ACPI_RSDP_BYTES, 4);
	le(&rsdp, xsdt, 8);
	le(&rsdp, 0, 4); /* extended checksum and 3 reserved bytes */
	rsdp.data[8] = checksum(rsdp.data, 20);
	rsdp.data[32] = checksum(rsdp.data, ACPI_RSDP_BYTES);
	buf_zero(&rsdp, TABLES_OFFSET - rsdp.len);

	buf_put(out, rsdp.data, rsdp.len);
	buf_put(out, tables.data, tables.len);
	buf_free(&rsdp);
	buf_free(&tables);
}
