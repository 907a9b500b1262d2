/* The description of a machine, and what another machine finds that does not fit. */
#include <errno.h>
#include <stdio.h>

#include "migration/peer/compare.h"
#include "migration/settings/capabilities.h"
#include "tests/unit/check-main.h"
#include "tests/unit/described-machine.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/describe.h"

/* What d says to the description, as one text; owned. */
static char *verdict(struct described *d, const bool *caps, const struct buf *description)
{
	struct buf diff = {0};
	struct err err = {0};
	char *text;

	ck_assert_msg(
	    machine_compare(&d->m, caps, description->data, description->len, &diff, &err) == 0,
	    "%s", err.msg);
	text = xasprintf("%.*s", (int)diff.len, (const char *)diff.data);
	buf_free(&diff);
	return text;
}

/* What happens to the destination ("there") or the source before they are compared. */
static void nothing(struct described *d)
{
	(void)d;
}

static void fewer_cpus(struct described *d)
{
	d->cfg.cpus = 1;
	d->cfg.cores = 1;
}

static void more_sockets(struct described *d)
{
	d->cfg.cores = 1;
}

static void no_rtc(struct described *d)
{
	d->cfg.rtc = false;
}

static void no_pic_pit_acpi(struct described *d)
{
	d->cfg.pic = d->cfg.pit = d->cfg.acpi = false;
}

static void other_model(struct described *d)
{
	(void)strcpy(d->x.model.name, "kvm64");
}

static void fewer_features(struct described *d)
{
	described_leaf(d, 1, 0)->ecx &= ~(F1_ECX_CX16 | 1U << 11);
	described_leaf(d, 7, 0)->ebx = 0;
	described_leaf(d, 7, 1)->eax = 0;
	described_leaf(d, 0x40000001, 0)->eax = 1U << 4;
}

static void more_features(struct described *d)
{
	described_leaf(d, 1, 0)->ecx = described_leaf(d, 1, 0)->edx = UINT32_MAX;
	described_leaf(d, 7, 0)->ebx = UINT32_MAX;
	described_leaf(d, 0xd, 0)->eax = 0xff;
	described_leaf(d, 0xa, 0)->eax = 0x300904;
	described_leaf(d, 0x80000008, 0)->eax = 57 << 8 | 52;
}

static void no_topology_bits(struct described *d)
{
	described_leaf(d, 1, 0)->edx &= ~F1_EDX_HTT;
	described_leaf(d, 0x80000001, 0)->ecx = 0;
}

static void other_vendor(struct described *d)
{
	struct kvm_cpuid_entry2 *e = described_leaf(d, 0, 0);

	e->ebx = 0x68747541;
	e->edx = 0x69746e65;
	e->ecx = 0x444d4163;
}

static void narrow(struct described *d)
{
	described_leaf(d, 0x80000008, 0)->eax = 48 << 8 | 39;
}

static void small_pmu(struct described *d)
{
	described_leaf(d, 0xa, 0)->eax = 0x300401;
}

static void no_avx_area(struct described *d)
{
	described_leaf(d, 0xd, 0)->eax = 3;
	described_leaf(d, 0xd, 2)->function = 0xdd;
}

static void other_avx_area(struct described *d)
{
	described_leaf(d, 0xd, 2)->ebx = 960;
}

static void lists_msrs(struct described *d, const uint32_t *list)
{
	x86_msrs_fini(&d->x);
	memcpy(d->msrs->indices, list, DESCRIBED_MSRS * sizeof(*list));
	x86_msrs_take_list(&d->x, d->msrs);
}

static void no_steal_time(struct described *d)
{
	lists_msrs(d, (uint32_t[]){0xc0000081, 0x10, 1, 0x4b564d02, 0x34});
}

/* No guest is told of it. */
static void no_smi_count(struct described *d)
{
	lists_msrs(d, (uint32_t[]){0xc0000081, 0x10, 0x4b564d03, 0x4b564d02, 1});
}

static void guest_without_steal_time(struct described *d)
{
	d->x.model.features[FEAT_KVM] = 0;
}

static void fixed_tsc(struct described *d)
{
	d->x.model.tsc_hz = 2000000000;
}

static void larger_disk(struct described *d)
{
	(void)strcpy(d->disk->props[0].text, "4096");
}

static void fewer_disk_features(struct described *d)
{
	(void)strcpy(d->disk->props[1].text, "0x100000000");
}

static void more_disk_features(struct described *d)
{
	(void)strcpy(d->disk->props[1].text, "0x1000000ff");
}

static void unknown_property(struct described *d)
{
	(void)strcpy(d->nic->props[0].name, "colour");
}

static void other_id(struct described *d)
{
	(void)strcpy(d->disk->id, "other");
}

static void other_order(struct described *d)
{
	d->disk->slot = 6;
	d->nic->slot = 7;
}

static void no_serial(struct described *d)
{
	d->serial->kind = BOARD_FW_CFG;
}

static void serial_elsewhere(struct described *d)
{
	d->serial->base = 0x2f8;
}

static void other_interrupt(struct described *d)
{
	d->serial->gsi = 3;
}

static void one_more(struct described *d)
{
	board_add(&d->m.board, BOARD_DEBUG_EXIT, "isa-debug-exit")->base = 0x501;
}

static void other_block(struct described *d)
{
	(void)strcpy(d->m.mem.blocks[0]->name, "ram0");
}

static void larger_firmware(struct described *d)
{
	d->m.mem.blocks[1]->bytes = 128 * KiB + 1;
}

static bool adopts_any(const struct machine *m, const struct ram_block *b, uint64_t bytes)
{
	(void)m;
	(void)bytes;
	return strcmp(b->name, "pc.bios") == 0;
}

static void adopts_firmware(struct described *d)
{
	static const struct board_ops ops = {.adopts = adopts_any};

	d->m.board.ops = &ops;
	d->m.mem.blocks[1]->bytes = 128 * KiB;
}

static void huge_pages(struct described *d)
{
	d->m.mem.blocks[0]->page_bytes = 2 * MiB;
}

static void shared(struct described *d)
{
	d->m.mem.blocks[0]->share = true;
}

static void shared_huge(struct described *d)
{
	shared(d);
	huge_pages(d);
}

static void newer_section(struct described *d)
{
	d->section.version = 4;
}

static void much_newer_section(struct described *d)
{
	d->section.version = 7;
	d->section.min_version = 5;
}

static void another_section(struct described *d)
{
	vms_register(&d->m.vmstate, VMS_RANK_SERIAL, "pvclock", 0, -1, &d->section, d);
}

static void several(struct described *d)
{
	fewer_cpus(d);
	narrow(d);
	larger_disk(d);
	no_serial(d);
}

/* The model is the cause of most of what else is missing. */
static void another_cpu(struct described *d)
{
	fewer_cpus(d);
	no_rtc(d);
	no_steal_time(d);
	described_leaf(d, 7, 0)->ebx = 0;
	other_vendor(d);
	other_model(d);
}

#define NEXT   "\n    "
#define THERE  "not offered at the destination"
#define FITS   ""
#define IGNORE true

static const struct {
	void (*source)(struct described *d), (*destination)(struct described *d);
	const char *words;
	bool ignore_shared;
} cases[] = {
    {nothing,		  nothing,             FITS,							     false },
    {nothing,		  fewer_cpus,          "vCPUs: 2 at the source, 1 at the destination",                   false },
    {nothing,		  more_sockets,
     "vCPU topology: 2 cores of 1 threads a socket at the source, 1 of 1 at the destination",			 false },
    {nothing,		  no_rtc,              "machine option 'rtc': on at the source, off at the destination", false },
    {no_pic_pit_acpi,          nothing,
     "machine option 'acpi': off at the source, on at the destination\n    machine option 'pic': "
     "off "
     "at the source, on at the destination\n    machine option 'pit': off at the source, on at the "
     "destination",												   false },
    {nothing,		  other_model,         "CPU model: 'qemu64' at the source, 'kvm64' at the destination",  false },
    {nothing,		  fewer_features,
     "CPUID.01H:ECX [bit 11]: on at the source, " THERE NEXT
     "CPUID.01H:ECX.cx16 [bit 13]: on at the source, " THERE NEXT
     "CPUID.07H:EBX.avx2 [bit 5]: on at the source, " THERE NEXT
     "CPUID.07H:EBX.bmi2 [bit 8]: on at the source, " THERE NEXT
     "CPUID.07H.01H:EAX.avx-vnni [bit 4]: on at the source, " THERE NEXT
     "CPUID.40000001H:EAX.kvm-steal-time [bit 5]: on at the source, " THERE,
     false														  },
    {nothing,		  more_features,       FITS,							     false },
    {nothing,		  no_topology_bits,    FITS,							     false },
    {nothing,		  other_vendor,
     "CPU vendor: GenuineIntel at the source, AuthenticAMD at the destination",                                       false },
    {nothing,		  narrow,              "physical address bits: 46 at the source, 39 at the destination", false },
    {nothing,		  small_pmu,
     "PMU version: 2 at the source, 1 at the destination\n    PMU counters: 8 at the source, 4 at "
     "the "
     "destination",												   false },
    {nothing,		  no_avx_area,         "XSAVE component avx: on at the source, " THERE,                  false },
    {nothing,		  other_avx_area,
     "XSAVE component avx: 256 bytes at offset 576 at the source, 256 bytes at offset 960 at the "
     "destination",												   false },
    {nothing,		  no_steal_time,
     "MSR 0x4b564d03 (KVM_STEAL_TIME): KVM has it at the source and lacks it at the destination",		     false },
    {nothing,		  no_smi_count,        FITS,							     false },
    {guest_without_steal_time, no_steal_time,       FITS,							     false },
    {nothing,		  fixed_tsc,
     "TSC: 0 kHz at the source, 2000000 kHz (tsc-frequency=) at the destination",                                     false },
    {fixed_tsc,		nothing,             FITS,							     false },
    {nothing,		  larger_disk,
     "virtio-blk 'root' in slot 7: capacity: 2048 at the source, 4096 at the destination",                            false },
    {nothing,		  fewer_disk_features,
     "virtio-blk 'root' in slot 7: features: config-wce, bit 6: on at the source, " THERE,                            false },
    {nothing,		  more_disk_features,  FITS,							     false },
    {nothing,		  unknown_property,    FITS,							     false },
    {nothing,		  other_id,            FITS,							     false },
    {nothing,		  other_order,
     "slot 7: virtio-blk 'root' at the source, virtio-net at the destination\n    slot 6: "
     "virtio-net "
     "at "
     "the source, virtio-blk 'root' at the destination",							      false },
    {nothing,		  no_serial,           "serial at 0x3f8: missing at the destination",                    false },
    {no_serial,		nothing,             "serial at 0x3f8: missing at the source",                         false },
    {nothing,		  serial_elsewhere,
     "serial at 0x3f8: missing at the destination\n    serial at 0x2f8: missing at the source",		       false },
    {nothing,		  other_interrupt,
     "serial at 0x3f8: at 0x3f8, interrupt 4 at the source, at 0x3f8, interrupt 3 at the "
     "destination",												   false },
    {nothing,		  one_more,            "isa-debug-exit at 0x501: missing at the source",                 false },
    {one_more,		 nothing,             "isa-debug-exit at 0x501: missing at the destination",            false },
    {nothing,		  other_block,
     "RAM block 'microvm.ram': 2 MiB at the source, missing at the destination\n    RAM block "
     "'ram0': "
     "missing at the source, 2 MiB at the destination",							       false },
    {nothing,		  larger_firmware,
     "RAM block 'pc.bios': 64 KiB at the source, 131073 bytes at the destination",                                    false },
    {nothing,		  adopts_firmware,     FITS,							     false },
 /* pages travel 4 KiB at a time, whatever backs them ... */
    {huge_pages,               nothing,             FITS,							     false },
    {nothing,		  huge_pages,          FITS,							     IGNORE},
    {shared_huge,              shared,              FITS,							     false },
    {shared,		   nothing,             FITS,							     false },
    {nothing,		  shared,              FITS,							     IGNORE},
 /* ... unless they stay where they are */
    {shared_huge,              shared,
     "RAM block 'microvm.ram': pages of 2 MiB at the source, of 4 KiB at the destination",                            IGNORE},
    {shared,		   nothing,
     "RAM block 'microvm.ram': shared at the source, private at the destination: x-ignore-shared "
     "needs share=on at both",											IGNORE},
    {nothing,		  newer_section,       FITS,							     false },
    {newer_section,            nothing,
     "section 'serial': version 4 at the source, 2 to 3 are understood at the destination",                           false },
    {nothing,		  much_newer_section,
     "section 'serial': version 3 at the source, 5 to 7 are understood at the destination",                           false },
    {another_section,          nothing,             "section 'pvclock': the destination does not have it",            false },
    {nothing,		  another_section,     FITS,							     false },
    {nothing,		  another_cpu,
     "CPU model: 'qemu64' at the source, 'kvm64' at the destination" NEXT
     "CPU vendor: GenuineIntel at the source, AuthenticAMD at the destination" NEXT
     "CPUID.07H:EBX.avx2 [bit 5]: on at the source, " THERE NEXT
     "CPUID.07H:EBX.bmi2 [bit 8]: on at the source, " THERE NEXT
     "MSR 0x4b564d03 (KVM_STEAL_TIME): KVM has it at the source and lacks it at the "
     "destination" NEXT "machine option 'rtc': on at the source, off at the destination" NEXT
     "vCPUs: 2 at the source, 1 at the destination",								  false },
    {nothing,		  several,
     "physical address bits: 46 at the source, 39 at the destination" NEXT
     "vCPUs: 2 at the source, 1 at the destination" NEXT
     "serial at 0x3f8: missing at the destination" NEXT
     "virtio-blk 'root' in slot 7: capacity: 2048 at the source, 4096 at the destination",			    false },
};

START_TEST(test_cases)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct described *s = described_new(), *d = described_new();
		bool caps[CAP_COUNT] = {[CAP_X_IGNORE_SHARED] = cases[i].ignore_shared};
		struct buf b = {0};
		char *said;

		cases[i].source(s);
		cases[i].destination(d);
		machine_describe(&s->m, &b);
		said = verdict(d, caps, &b);
		ck_assert_msg(strcmp(said, cases[i].words) == 0, "row %zu: '%s' instead of '%s'", i,
			      said, cases[i].words);
		free(said);
		buf_free(&b);
		d->m.mem.blocks[1]->bytes = 64 * KiB;
		described_free(s);
		described_free(d);
	}
}
END_TEST

/* Of every length: whole records are compared, anything else is refused with a sentence. */
START_TEST(test_cut)
{
	struct described *d = described_new();
	struct buf b = {0};
	size_t whole = 0;

	machine_describe(&d->m, &b);
	for (size_t n = 0; n < b.len; n++) {
		uint8_t *copy = xcalloc(1, n + !n); /* so that sanitizers see its end */
		struct buf diff = {0};
		struct err err = {0};

		memcpy(copy, b.data, n);
		if (machine_compare(&d->m, NULL, copy, n, &diff, &err) == 0)
			whole++;
		else
			ck_assert_ptr_nonnull(strstr(err.msg, "description"));
		buf_free(&diff);
		free(copy);
	}
	/* 5 options, vCPUs, 2 blocks, 3 devices, a section, 10 leaves, 4 MSRs, model, TSC, clock */
	ck_assert_uint_eq(whole, 5 + 1 + 2 + 3 + 1 + 10 + 4 + 3);
	buf_free(&b);
	described_free(d);
}
END_TEST

/* Whatever a peer makes up, the list stays bounded, and printable. */
START_TEST(test_flood)
{
	struct described *d = described_new();
	struct buf b = {0};
	char *said;

	buf_be16(&b, DESC_FORMAT);
	for (unsigned i = 0; i < 3000; i++) {
		size_t begun = desc_begin(&b, DESC_MSR);

		buf_be32(&b, 0x12340000 + i);
		buf_be16(&b, 1);
		buf_str8(&b, "\x1b[2J\xc3\xa4\n");
		desc_end(&b, begun);
	}
	said = verdict(d, NULL, &b);
	ck_assert_uint_le(strlen(said), DESC_DIFF_BYTES + 16);
	ck_assert_str_eq(said + strlen(said) - strlen(NEXT "and more"), NEXT "and more");
	for (const char *c = said; *c; c++) /* no line begins at the margin */
		ck_assert((*c >= ' ' && *c <= '~') || (*c == '\n' && c[1] == ' '));
	free(said);
	buf_free(&b);
	described_free(d);
}
END_TEST

/* Whatever the order in which a source tells: the model first, then the processor, then the board.
 */
START_TEST(test_order_of_records)
{
	struct described *d = described_new();
	struct buf b = {0}, back = {0};
	size_t starts[64], n = 0;
	char *said, *turned;

	another_cpu(d);
	machine_describe(&d->m, &b);
	described_free(d);
	for (size_t at = 2; at < b.len; at += 4 + (size_t)(b.data[at + 2] << 8 | b.data[at + 3]))
		starts[n++] = at;
	buf_be16(&back, DESC_FORMAT);
	while (n-- > 0)
		buf_put(&back, b.data + starts[n],
			4 + (size_t)(b.data[starts[n] + 2] << 8 | b.data[starts[n] + 3]));
	ck_assert_uint_eq(back.len, b.len);
	d = described_new();
	said = verdict(d, NULL, &b);
	turned = verdict(d, NULL, &back);
	ck_assert_int_eq(strncmp(said, "CPU model", 9), 0);
	ck_assert_int_eq(strncmp(turned, "CPU model", 9), 0);
	ck_assert_uint_eq(strlen(turned), strlen(said));
	ck_assert_ptr_nonnull(strstr(strstr(turned, "CPU vendor"), "machine option"));
	free(said);
	free(turned);
	buf_free(&b);
	buf_free(&back);
	described_free(d);
}
END_TEST

START_TEST(test_other_formats)
{
	static const uint8_t later[] = {0, 2, 0xff, 0xff, 0xff};
	static const uint8_t empty[] = {0};
	struct described *d = described_new();
	struct buf diff = {0};
	struct err err = {0};

	ck_assert_int_eq(log_open("/dev/null", NULL), 0);
	ck_assert_int_eq(machine_compare(&d->m, NULL, later, sizeof(later), &diff, &err), 0);
	ck_assert_uint_eq(diff.len, 0);
	ck_assert_int_eq(machine_compare(&d->m, NULL, empty, sizeof(empty), &diff, &err), -EINVAL);
	ck_assert_str_eq(err.msg, "the description is empty");
	described_free(d);
}
END_TEST

CHECK_MAIN("compare", test_cases, test_order_of_records, test_cut, test_flood, test_other_formats)
