/* check-acpi.c - the ACPI tables, the other processors, CPUID */
#include "check.h"
#include "virtio.h"

struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision;
	char creator[4];
	uint32_t creator_revision;
} __attribute__((packed));

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt, length;
	uint64_t xsdt;
	uint8_t checksum_all, reserved[3];
} __attribute__((packed));

static uint8_t sum(const void *at, size_t n)
{
	uint8_t s = 0;

	for (size_t i = 0; i < n; i++)
		s = (uint8_t)(s + ((const uint8_t *)at)[i]);
	return s;
}

static const struct rsdp *find_rsdp(void)
{
	if (machine_rsdp())
		return at_gpa(machine_rsdp());
	for (uintptr_t at = 0xe0000; at < 0x100000; at += 16) {
		const struct rsdp *r = at_gpa(at);

		if (memcmp(r->signature, "RSD PTR ", 8) == 0 && sum(r, 20) == 0)
			return r;
	}
	return NULL;
}

static bool table_good(const struct acpi_header *t, const char *signature)
{
	return memcmp(t->signature, signature, 4) == 0 && t->length >= sizeof(*t) &&
	       t->length < 65536 && sum(t, t->length) == 0;
}

static uint64_t get64(const void *at)
{
	uint64_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

static const struct acpi_header *find_table(const struct acpi_header *xsdt, const char *signature)
{
	const uint8_t *body = (const uint8_t *)(xsdt + 1);

	for (size_t off = 0; off + 8 <= xsdt->length - sizeof(*xsdt); off += 8) {
		const struct acpi_header *t = at_gpa(get64(body + off));

		if (table_good(t, signature))
			return t;
	}
	return NULL;
}

static unsigned count_text(const struct acpi_header *t, const char *what, size_t n)
{
	unsigned found = 0;

	for (size_t off = sizeof(*t); off + n <= t->length; off++)
		found += memcmp((const uint8_t *)t + off, what, n) == 0;
	return found;
}

static const char *check_fadt(const struct acpi_header *fadt)
{
	const uint8_t *f = (const uint8_t *)fadt;
	uint32_t flags;

	memcpy(&flags, f + 112, sizeof(flags));
	if (!(flags & 1u << 20) || !(flags & 1u << 10))
		return "FADT: not hardware reduced with a reset register";
	if (get64(f + 116 + 4) != GED_RESET || f[128] != 0x42)
		return "FADT: another reset register";
	if (get64(f + 244 + 4) != GED_SLEEP || get64(f + 256 + 4) != GED_STATUS)
		return "FADT: other sleep registers";
	return NULL;
}

static const char *check_madt(const struct acpi_header *madt)
{
	const uint8_t *m = (const uint8_t *)madt;
	unsigned cpus = 0, ioapics = 0;

	for (uint32_t off = 44; off + 2 <= madt->length && m[off + 1] >= 2; off += m[off + 1]) {
		if (m[off] == 0 && m[off + 4] & 1)
			cpus++;
		else if (m[off] == 1)
			ioapics++;
	}
	if (cpus != machine_cpus())
		return "MADT: not as many processors as in fw_cfg";
	return ioapics == (virtio_slots() > 8 ? 2 : 1) ? NULL
						       : "MADT: not as many IOAPICs as slots say";
}

static const char *check_dsdt(const struct acpi_header *dsdt)
{
	unsigned occupied = 0;

	for (unsigned i = 0; i < virtio_slots(); i++)
		occupied += mmio_read32(VIRTIO_SLOT(i) + VIRTIO_DEVICE_ID) != 0;
	if (count_text(dsdt, "LNRO0005", 9) != occupied)
		return "DSDT: not one LNRO0005 per occupied slot";
	if (count_text(dsdt, "ACPI0013", 9) != 1)
		return "DSDT: no GED";
	return NULL;
}

const char *check_acpi(void)
{
	const struct rsdp *r = find_rsdp();
	const struct acpi_header *xsdt, *fadt, *madt, *dsdt;
	const char *why;

	if (!r)
		return "no RSDP";
	if (r->revision != 2 || sum(r, 20) || sum(r, r->length))
		return "RSDP: wrong revision or checksum";
	xsdt = at_gpa(r->xsdt);
	if (!table_good(xsdt, "XSDT"))
		return "XSDT: wrong signature or checksum";
	fadt = find_table(xsdt, "FACP");
	madt = find_table(xsdt, "APIC");
	if (!fadt || !madt)
		return "XSDT: no valid FADT and MADT";
	dsdt = at_gpa(get64((const uint8_t *)fadt + 140));
	if (!table_good(dsdt, "DSDT"))
		return "DSDT: wrong signature or checksum";
	why = check_fadt(fadt);
	if (!why)
		why = check_madt(madt);
	return why ? why : check_dsdt(dsdt);
}

static volatile uint32_t counted;

static void count_up(unsigned cpu)
{
	(void)cpu;
	for (unsigned i = 0; i < 1000; i++)
		__atomic_add_fetch(&counted, 1, __ATOMIC_SEQ_CST);
}

const char *check_smp(void)
{
	unsigned cpus = machine_cpus();
	uint64_t guard = ticks[0] + 10 * TICKS_PER_SECOND;

	if (cpus == 1)
		return SKIP "one processor";
	if (cpus_start(cpus, count_up) != cpus)
		return "not every processor has started";
	while (counted < 1000 * (cpus - 1) && ticks[0] < guard)
		wait_for_interrupt();
	return counted == 1000 * (cpus - 1) ? NULL : "the processors have not counted to the end";
}

void print_cpuid(void)
{
	static const uint32_t bases[] = {0, 0x40000000, 0x80000000};

	for (unsigned b = 0; b < sizeof(bases) / sizeof(bases[0]); b++) {
		uint32_t last = cpuid(bases[b], 0).eax;

		for (uint32_t leaf = bases[b]; leaf <= last && leaf < bases[b] + 32; leaf++)
			print_cpuid_leaf(leaf, 0, cpuid(leaf, 0));
	}
}
