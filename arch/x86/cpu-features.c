/* cpu-features.c - the names of CPUID's feature bits, as -cpu takes them */
#include "arch/x86/cpuid.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/units.h"

#define NAMES(id) static const char *const id[32]

NAMES(names_1_edx) = {"fpu",  "vme",   "de",   "pse",     "tsc",  "msr", "pae",  "mce",
		      "cx8",  "apic",  NULL,   "sep",     "mtrr", "pge", "mca",  "cmov",
		      "pat",  "pse36", "pn",   "clflush", NULL,   "ds",  "acpi", "mmx",
		      "fxsr", "sse",   "sse2", "ss",      "ht",   "tm",  "ia64", "pbe"};
NAMES(names_1_ecx) = {"pni",    "pclmulqdq", "dtes64", "monitor",      "ds-cpl", "vmx",    "smx",
		      "est",    "tm2",       "ssse3",  "cid",          NULL,     "fma",    "cx16",
		      "xtpr",   "pdcm",      NULL,     "pcid",         "dca",    "sse4.1", "sse4.2",
		      "x2apic", "movbe",     "popcnt", "tsc-deadline", "aes",    "xsave",  NULL,
		      "avx",    "f16c",      "rdrand", "hypervisor"};
NAMES(names_7_ebx) = {"fsgsbase", "tsc-adjust", "sgx",      "bmi1",       "hle",      "avx2",
		      NULL,       "smep",       "bmi2",     "erms",       "invpcid",  "rtm",
		      NULL,       NULL,         "mpx",      NULL,         "avx512f",  "avx512dq",
		      "rdseed",   "adx",        "smap",     "avx512ifma", "pcommit",  "clflushopt",
		      "clwb",     "intel-pt",   "avx512pf", "avx512er",   "avx512cd", "sha-ni",
		      "avx512bw", "avx512vl"};
NAMES(names_7_ecx) = {[1] = "avx512vbmi",  [2] = "umip",          [3] = "pku",
		      [7] = "cet-ss",      [5] = "waitpkg",       [6] = "avx512vbmi2",
		      [8] = "gfni",        [9] = "vaes",          [10] = "vpclmulqdq",
		      [11] = "avx512vnni", [12] = "avx512bitalg", [14] = "avx512-vpopcntdq",
		      [16] = "la57",       [22] = "rdpid",        [24] = "bus-lock-detect",
		      [25] = "cldemote",   [27] = "movdiri",      [28] = "movdir64b",
		      [30] = "sgxlc",      [31] = "pks"};
NAMES(names_7_edx) = {[2] = "avx512-4vnniw",       [3] = "avx512-4fmaps",    [4] = "fsrm",
		      [8] = "avx512-vp2intersect", [10] = "md-clear",        [14] = "serialize",
		      [16] = "tsx-ldtrk",          [19] = "arch-lbr",        [20] = "cet-ibt",
		      [22] = "amx-bf16",           [23] = "avx512-fp16",     [24] = "amx-tile",
		      [25] = "amx-int8",           [26] = "spec-ctrl",       [27] = "stibp",
		      [29] = "arch-capabilities",  [30] = "core-capability", [31] = "ssbd"};
NAMES(names_7_1_eax) = {
    [4] = "avx-vnni", [5] = "avx512-bf16", [10] = "fzrm", [11] = "fsrs", [12] = "fsrc"};
NAMES(names_81_edx) = {
    [11] = "syscall", [20] = "nx", [22] = "mmxext",   [25] = "fxsr-opt", [26] = "pdpe1gb",
    [27] = "rdtscp",  [29] = "lm", [30] = "3dnowext", [31] = "3dnow"};
NAMES(names_81_ecx) = {
    "lahf-lm",     "cmp-legacy",    "svm",          "extapic",   "cr8legacy", "abm",        "sse4a",
    "misalignsse", "3dnowprefetch", "osvw",         "ibs",       "xop",       "skinit",     "wdt",
    NULL,          "lwp",           "fma4",         "tce",       NULL,        "nodeid-msr", NULL,
    "tbm",         "topoext",       "perfctr-core", "perfctr-nb"};
NAMES(names_87_ebx) = {"overflow-recov", "succor"};
NAMES(names_87_edx) = {[8] = "invtsc"};
NAMES(names_88_ebx) = {
    [0] = "clzero",    [2] = "xsaveerptr", [9] = "wbnoinvd",         [12] = "ibpb",
    [14] = "ibrs",     [15] = "amd-stibp", [17] = "stibp-always-on", [28] = "amd-psfd",
    [24] = "amd-ssbd", [25] = "virt-ssbd", [26] = "amd-no-ssb"};
NAMES(names_8_21_eax) = {[0] = "no-nested-data-bp",
			 [1] = "fs-gs-base-ns",
			 [2] = "lfence-always-serializing",
			 [6] = "null-sel-clr-base",
			 [8] = "auto-ibrs"};
NAMES(names_arch_caps) = {
    [0] = "rdctl-no",  [1] = "ibrs-all",      [2] = "rsba",           [3] = "skip-l1dfl-vmentry",
    [4] = "ssb-no",    [5] = "mds-no",        [6] = "pschange-mc-no", [7] = "tsx-ctrl",
    [8] = "taa-no",    [13] = "sbdr-ssdp-no", [14] = "fbsdp-no",      [15] = "psdp-no",
    [17] = "fb-clear", [26] = "gds-no",       [27] = "rfds-no"};
NAMES(names_kvm) = {
    [0] = "kvmclock",         [1] = "kvm-nopiodelay",      [2] = "kvm-mmu",
    [3] = "kvmclock",         [4] = "kvm-asyncpf",         [5] = "kvm-steal-time",
    [6] = "kvm-pv-eoi",       [7] = "kvm-pv-unhalt",       [9] = "kvm-pv-tlb-flush",
    [11] = "kvm-pv-ipi",      [12] = "kvm-poll-control",   [13] = "kvm-pv-sched-yield",
    [14] = "kvm-asyncpf-int", [24] = "kvmclock-stable-bit"};
NAMES(names_kvm_hints) = {[0] = "kvm-hint-dedicated"};
NAMES(names_xsave) = {"xsaveopt", "xsavec", "xgetbv1", "xsaves", "xfd"};
NAMES(names_6_eax) = {[2] = "arat"};

static const struct feature_info infos[FEAT_COUNT] = {
    [FEAT_1_EDX] = {.leaf = 1,                       .reg = CPUID_EDX,                   .names = names_1_edx                           },
    [FEAT_1_ECX] = {.leaf = 1,                       .reg = CPUID_ECX,                   .names = names_1_ecx                           },
    [FEAT_7_EBX] = {.leaf = 7,                       .indexed = true,                    .reg = CPUID_EBX,                                .names = names_7_ebx},
    [FEAT_7_ECX] = {.leaf = 7,			       .indexed = true,							 .reg = CPUID_ECX,                                                           .names = names_7_ecx},
    [FEAT_7_EDX] = {.leaf = 7,           .indexed = true,                                             .reg = CPUID_EDX,                          .names = names_7_edx},
    [FEAT_7_1_EAX] =
	{.leaf = 7,               .subleaf = 1,.indexed = true,       .reg = CPUID_EAX, .names = names_7_1_eax},
    [FEAT_8000_0001_EDX] = {.leaf = 0x80000001,     .reg = CPUID_EDX,                                        .names = names_81_edx                                                                },
 /* the host's caches and cores are not what topoext would describe */
    [FEAT_8000_0001_ECX] = {.leaf = 0x80000001,
                    .reg = CPUID_ECX,
                    .names = names_81_ecx,
                    .unmigratable = F81_ECX_TOPOEXT},
 /* "host" has these where a model asks for them only: QEMU 7.2 has not */
    [FEAT_8000_0007_EBX] = {.leaf = 0x80000007,
                    .reg = CPUID_EBX,
                    .names = names_87_ebx,
                    .unmigratable = UINT32_MAX},
    [FEAT_8000_0021_EAX] = {.leaf = 0x80000021,
                    .reg = CPUID_EAX,
                    .names = names_8_21_eax,
                    .unmigratable = UINT32_MAX},
    [FEAT_ARCH_CAPS] = {.leaf = MSR_ARCH_CAPS,
                    .reg = CPUID_EAX,
                    .names = names_arch_caps,
                    .unmigratable = UINT32_MAX},
    [FEAT_8000_0007_EDX] = {.leaf = 0x80000007,
                    .reg = CPUID_EDX,
                    .names = names_87_edx,
                    .unmigratable = F87_EDX_INVTSC},
    [FEAT_8000_0008_EBX] = {.leaf = 0x80000008,
                    .reg = CPUID_EBX,
                    .names = names_88_ebx,
                    .unmigratable = F88_EBX_NEWER},
    [FEAT_KVM] = {.leaf = 0x40000001,                               .reg = CPUID_EAX,                                                .names = names_kvm												    },
    [FEAT_KVM_HINTS] = {.leaf = 0x40000001,
                    .reg = CPUID_EDX,
                    .names = names_kvm_hints,
                    .unmigratable = 1},
    [FEAT_XSAVE] =
	{.leaf = 0xd,           .subleaf = 1,				       .indexed = true,										      .reg = CPUID_EAX, .names = names_xsave},
    [FEAT_6_EAX] = {.leaf = 6,.reg = CPUID_EAX,.names = names_6_eax},
};

const struct feature_info *feature_info(enum feature_word w)
{
	return &infos[w];
}

struct feature_text feature_text(enum feature_word w, unsigned bit)
{
	static const char *const regs[] = {"EAX", "EBX", "ECX", "EDX"};
	const struct feature_info *info = &infos[w];
	const char *name = info->names[bit];
	struct feature_text t;
	char subleaf[8] = "";

	if (w == FEAT_ARCH_CAPS) {
		(void)snprintf(t.s, sizeof(t.s), "MSR(%XH)%s%s [bit %u]", MSR_ARCH_CAPS,
			       name ? "." : "", name ? name : "", bit);
		return t;
	}
	if (info->subleaf)
		(void)snprintf(subleaf, sizeof(subleaf), ".%02XH", info->subleaf & 0xff);
	(void)snprintf(t.s, sizeof(t.s), "CPUID.%02" PRIX32 "H%s:%s%s%s [bit %u]", info->leaf,
		       subleaf, regs[info->reg], name ? "." : "", name ? name : "", bit);
	return t;
}

static bool same_name(const char *a, const char *b)
{
	for (; *a && *b; a++, b++) {
		bool dashes = (*a == '-' || *a == '_') && (*b == '-' || *b == '_');

		if (*a != *b && !dashes)
			return false;
	}
	return *a == *b;
}

static const struct {
	const char *alias, *name;
} aliases[] = {
    {"sse3",            "pni"               },
    {"pclmuldq",        "pclmulqdq"         },
    {"sse4-1",          "sse4.1"            },
    {"sse4-2",          "sse4.2"            },
    {"xd",	      "nx"		},
    {"i64",             "lm"                },
    {"ffxsr",           "fxsr-opt"          },
    {"kvm-sched-yield", "kvm-pv-sched-yield"},
};

bool feature_find(const char *name, enum feature_word *word, unsigned *bit)
{
	for (size_t i = 0; i < ARRAY_LEN(aliases); i++)
		if (same_name(name, aliases[i].alias))
			name = aliases[i].name;
	for (unsigned w = 0; w < FEAT_COUNT; w++)
		for (unsigned b = 0; b < 32; b++) {
			if (!infos[w].names[b] || !same_name(name, infos[w].names[b]))
				continue;
			*word = (enum feature_word)w;
			*bit = b;
			return true;
		}
	return false;
}
