/* CPU models: the same tables as QEMU 7.2 gives its guests; names, and what is refused. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/cpuid.h"
#include "tests/unit/check-main.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define TSC_KHZ     2596120
#define ENTRIES_MAX 128

static struct kvm_cpuid2 *read_table(const char *name)
{
	struct kvm_cpuid2 *t = xcalloc(1, sizeof(*t) + ENTRIES_MAX * sizeof(t->entries[0]));
	char *path = xasprintf("tests/data/cpuid/%s", name);
	FILE *f = fopen(path, "re");
	char line[256];

	ck_assert_msg(f != NULL, "cannot open %s", path);
	while (fgets(line, sizeof(line), f)) {
		struct kvm_cpuid_entry2 *e = &t->entries[t->nent];
		uint32_t *const to[] = {&e->eax, &e->ebx, &e->ecx, &e->edx};
		char *at = line;

		ck_assert_uint_lt(t->nent, ENTRIES_MAX);
		e->function = (uint32_t)strtoul(at, &at, 16);
		if (at[1] == '-') {
			at += 2;
		} else {
			e->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
			e->index = (uint32_t)strtoul(at, &at, 16);
		}
		for (unsigned i = 0; i < 4; i++)
			*to[i] = (uint32_t)strtoul(at, &at, 16);
		t->nent++;
	}
	ck_assert_int_eq(fclose(f), 0);
	free(path);
	return t;
}

/* The host on which the tables were taken. */
static struct cpu_host test_host(struct kvm_cpuid2 **supported)
{
	*supported = read_table("supported");
	return (struct cpu_host){
	    .supported = *supported, .brand = "AMD EPYC", .phys_bits = 48, .tsc_deadline = true};
}

static void check_covered(const char *name, const struct kvm_cpuid2 *a, const char *what,
			  const struct kvm_cpuid2 *b)
{
	for (uint32_t i = 0; i < a->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &a->entries[i];
		uint32_t want[] = {e->eax, e->ebx, e->ecx, e->edx};

		for (unsigned r = 0; r < 4; r++)
			ck_assert_msg(
			    cpuid_reg(b, e->function, e->index, (enum cpuid_reg)r) == want[r],
			    "%s: leaf %x.%x register %u is %x, not %x (%s)", name, e->function,
			    e->index, r, cpuid_reg(b, e->function, e->index, (enum cpuid_reg)r),
			    want[r], what);
	}
}

static const struct {
	const char *file, *model, *features;
	struct cpu_topology topo;
	unsigned apic_id;
} cases[] = {
    {"qemu64-1",         "qemu64", NULL,								{1, 1}, 0},
    {"qemu64-2.0",       "qemu64", NULL,								{2, 1}, 0},
    {"qemu64-2.1",       "qemu64", NULL,								{2, 1}, 1},
    {"qemu64-3.1",       "qemu64", "",								  {3, 1}, 1},
    {"qemu64-4s.2",      "qemu64", NULL,								{2, 1}, 2},
    {"qemu64-4t.3",      "qemu64", NULL,								{2, 2}, 3},
    {"kvm64-1",          "kvm64",  NULL,								{1, 1}, 0},
    {"kvm64-2.1",        "kvm64",  NULL,								{2, 1}, 1},
    {"qemu64-nokvm",     "qemu64", "kvm=off",							   {1, 1}, 0},
    {"qemu64-changed.1",
     "qemu64",		     "+avx,+avx2,-sse2,+aes,+popcnt,+xsave,hypervisor=off,+pku,+topoext",
     {2, 1},
     1													   },
    {"qemu64-extras",
     "qemu64",		     "+tsc-deadline,+arat,+gfni,+umip,+tsc_adjust,+clwb,+invtsc,+kvm-pv-unhalt,kvm-pv-eoi=off,"
     "-x2apic",									   {1, 1},
     0													   },
    {"host-1",           "host",   NULL,								{1, 1}, 0},
    {"host-4t.0",        "host",   NULL,								{2, 2}, 0},
    {"intel-4t.0",       "qemu64", "vendor=GenuineIntel",                                               {2, 2}, 0},
    {"intel-4t.3",       "qemu64", "vendor=GenuineIntel",                                               {2, 2}, 3},
    {"kvm64-intel",      "kvm64",  "vendor=GenuineIntel",                                               {1, 1}, 0},
};

START_TEST(test_tables)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct kvm_cpuid2 *want = read_table(cases[i].file), *supported, *got;
		struct cpu_host host = test_host(&supported);
		struct cpu_model model;
		struct err err = {0};

		ck_assert_msg(cpu_model_make(&model, cases[i].model, cases[i].features, &host, NULL,
					     NULL, &err) == 0,
			      "%s: %s", cases[i].file, err.msg);
		got = cpuid_build(&model, &cases[i].topo, cases[i].apic_id, TSC_KHZ, &host);
		check_covered(cases[i].file, want, "missing", got);
		check_covered(cases[i].file, got, "too much", want);
		free(got);
		free(supported);
		free(want);
	}
}
END_TEST

/* All that a model lost, a line each. */
static void note(void *opaque, const char *what)
{
	char *all = opaque;

	(void)snprintf(all + strlen(all), 512 - strlen(all), "%s\n", what);
}

static char *lost(const char *model, const char *features)
{
	static char all[512];
	struct kvm_cpuid2 *supported;
	struct cpu_host host = test_host(&supported);
	struct cpu_model m;

	all[0] = '\0';
	ck_assert_int_eq(cpu_model_make(&m, model, features, &host, note, all, NULL), 0);
	free(supported);
	return all;
}

START_TEST(test_missing_are_named)
{
	ck_assert_str_eq(lost("qemu64", NULL), "CPUID.01H:ECX.pni [bit 0]\n");
	ck_assert_str_eq(lost("kvm64", "-sse3"), "");
	ck_assert_str_eq(lost("host", NULL), "");
	ck_assert_str_eq(lost("qemu64", "check=off"), "");
	ck_assert_str_eq(lost("qemu64", "+pku,+avx,-pni"),
			 "CPUID.01H:ECX.avx [bit 28]\nCPUID.07H:ECX.pku [bit 3]\n");
	ck_assert_str_eq(
	    lost("qemu64", "sse3=off,+3dnow,kvm_mmu=on"),
	    "CPUID.80000001H:EDX.3dnow [bit 31]\nCPUID.40000001H:EAX.kvm-mmu [bit 2]\n");
}
END_TEST

static const char *refusal(const char *model, const char *features)
{
	static struct err err;
	struct kvm_cpuid2 *supported;
	struct cpu_host host = test_host(&supported);
	struct cpu_model m;

	ck_assert_int_lt(cpu_model_make(&m, model, features, &host, NULL, NULL, &err), 0);
	free(supported);
	return err.msg;
}

START_TEST(test_refusals)
{
	ck_assert_str_eq(refusal("zz", NULL),
			 "unable to find CPU model 'zz' (-cpu help lists them)");
	ck_assert_str_eq(refusal("", NULL), "unable to find CPU model '' (-cpu help lists them)");
	ck_assert_str_eq(refusal("qemu64", "zz=on"), "Property 'qemu64-x86_64-cpu.zz' not found");
	ck_assert_str_eq(refusal("kvm64", "+zz"), "Property 'kvm64-x86_64-cpu.zz' not found");
	ck_assert_str_eq(refusal("kvm64", "zz=7"), "Property 'kvm64-x86_64-cpu.zz' not found");
	ck_assert_str_eq(refusal("qemu64", "x2apic=maybe"),
			 "Parameter 'x2apic' expects 'on' or 'off'");
	ck_assert_str_eq(refusal("qemu64", "enforce"),
			 "Host doesn't support requested features: CPUID.01H:ECX.pni [bit 0]");
	ck_assert_ptr_nonnull(strstr(refusal("qemu64", "hv-relaxed"), "Hyper-V"));
	ck_assert_ptr_nonnull(strstr(refusal("qemu64", "+svm"), "'svm' is not supported"));
	ck_assert_ptr_nonnull(strstr(refusal("host", "vmx=on"), "'vmx' is not supported"));
	ck_assert_ptr_nonnull(strstr(refusal("qemu64", "tsc-frequency=fast"), "tsc-frequency"));
	ck_assert_ptr_nonnull(strstr(refusal("qemu64", "vendor=short"), "vendor"));
	ck_assert_ptr_nonnull(strstr(refusal("qemu64", "host-phys-bits=off"), "host-phys-bits"));
}
END_TEST

START_TEST(test_order_of_options)
{
	struct kvm_cpuid2 *supported;
	struct cpu_host host = test_host(&supported);
	struct cpu_model m;

	/* "-" wins over "+", both over "=" */
	ck_assert_int_eq(cpu_model_make(&m, "qemu64", "-cx16,+cx16,cx16=on,,+nx,nx=off", &host,
					NULL, NULL, NULL),
			 0);
	ck_assert(!(m.features[FEAT_1_ECX] & F1_ECX_CX16));
	ck_assert(m.features[FEAT_8000_0001_EDX] & 1U << 20);
	/* one name for two bits */
	ck_assert_int_eq(cpu_model_make(&m, "qemu64", "-kvmclock", &host, NULL, NULL, NULL), 0);
	ck_assert_uint_eq(m.features[FEAT_KVM] & 9, 0);
	ck_assert_int_eq(
	    cpu_model_make(&m, "qemu64", "tsc-frequency=2.5G,enforce=off", &host, NULL, NULL, NULL),
	    0);
	ck_assert_uint_eq(m.tsc_hz, 2500000000);
	free(supported);
}
END_TEST

/* Extended state appears with its features, at the host's offsets. */
START_TEST(test_xsave_leaf)
{
	struct kvm_cpuid2 *supported, *t;
	struct cpu_host host = test_host(&supported);
	const struct cpu_topology topo = {1, 1};
	struct cpu_model m;

	for (uint32_t i = 0; i < supported->nent; i++) {
		if (supported->entries[i].function == 1)
			supported->entries[i].ecx |= F1_ECX_XSAVE | F1_ECX_AVX;
		if (supported->entries[i].function == 0xd && supported->entries[i].index == 1)
			supported->entries[i].eax = 0xf;
	}
	ck_assert_int_eq(
	    cpu_model_make(&m, "qemu64", "+xsave,+avx,+xsaveopt", &host, NULL, NULL, NULL), 0);
	t = cpuid_build(&m, &topo, 0, TSC_KHZ, &host);
	ck_assert_uint_eq(cpuid_reg(t, 0xd, 0, CPUID_EAX), 7);
	ck_assert_uint_eq(cpuid_reg(t, 0xd, 0, CPUID_ECX), 832);
	ck_assert_uint_eq(cpuid_reg(t, 0xd, 0, CPUID_EBX), 832);
	ck_assert_uint_eq(cpuid_reg(t, 0xd, 1, CPUID_EAX), 1);
	ck_assert_uint_eq(cpuid_reg(t, 0xd, 1, CPUID_EBX), 0);
	ck_assert_uint_eq(cpuid_reg(t, 0xd, 2, CPUID_EAX), 256);
	ck_assert_uint_eq(cpuid_reg(t, 0xd, 2, CPUID_EBX), 576);
	ck_assert_ptr_null(cpuid_find(t, 0xd, 5));
	free(t);
	free(supported);
}
END_TEST

CHECK_MAIN("cpuid", test_tables, test_missing_are_named, test_refusals, test_order_of_options,
	   test_xsave_leaf)
