/*
 * kvm-probe.c - can this host's /dev/kvm run a stock kernel?
 *
 * Some hosts offer the whole KVM interface but execute privileged guest code
 * with KVM's instruction emulator, which is slow and knows only part of the
 * instruction set: a stock kernel starts there and dies.  So a guest of four
 * instructions is run: compare a vector register with itself, which processors
 * do and the emulator does not, and hand over the result.
 *
 * Prints one word and a sentence:
 *   native     (exit 0) it can
 *   emulating  (exit 1) tiny guests only
 *   absent     (exit 2) there is no /dev/kvm, or none that is usable
 *   denied     (exit 3) there is one, but not for this user
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUEST_BYTES 0x1000
#define CR0_PE      0x1UL
#define CR0_ET      0x10UL
#define CR4_OSFXSR  0x200UL
#define DEADLINE_S  3

enum verdict { NATIVE, EMULATING, ABSENT, DENIED };

/* 32-bit protected mode, flat, no paging */
static const uint8_t guest_code[] = {
    0x66, 0x0f, 0x76, 0xc0, /* pcmpeqd %xmm0, %xmm0: all ones */
    0x66, 0x0f, 0x7e, 0xc0, /* movd %xmm0, %eax */
    0xf4,                   /* hlt */
};

static int verdict(enum verdict v, const char *sentence, int errnum)
{
	static const char *const words[] = {"native", "emulating", "absent", "denied"};

	printf("%s: %s%s%s\n", words[v], sentence, errnum ? ": " : "",
	       errnum ? strerrorname_np(errnum) : "");
	return (int)v;
}

static void on_alarm(int signum)
{
	(void)signum;
}

/* A guest that does not come back is interrupted in KVM_RUN. */
static int set_deadline(void)
{
	struct sigaction sa = {.sa_handler = on_alarm};

	if (sigaction(SIGALRM, &sa, NULL) < 0)
		return -errno;
	alarm(DEADLINE_S);
	return 0;
}

static int set_registers(int vcpu)
{
	struct kvm_regs regs = {.rflags = 2};
	struct kvm_sregs sregs;
	struct kvm_segment flat = {.limit = 0xffffffff,
				   .selector = 0x10,
				   .type = 3,
				   .present = 1,
				   .db = 1,
				   .s = 1,
				   .g = 1};

	if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat;
	sregs.cs = flat;
	sregs.cs.selector = 0x8;
	sregs.cs.type = 11;
	sregs.cr0 = CR0_PE | CR0_ET;
	sregs.cr4 = CR4_OSFXSR;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}

/* Run the guest to its end: 1 when it did what a processor does, 0 when not, -errno for trouble. */
static int run_guest(int vcpu, const struct kvm_run *run)
{
	struct kvm_regs regs;

	if (ioctl(vcpu, KVM_RUN, 0) < 0)
		return errno == EINTR ? 0 : -errno;
	if (run->exit_reason != KVM_EXIT_HLT)
		return 0;
	if (ioctl(vcpu, KVM_GET_REGS, &regs) < 0)
		return -errno;
	return (uint32_t)regs.rax == 0xffffffff;
}

/* What the guest says, on a VM of its own; descriptors end with the process. */
static int probe(int kvm)
{
	struct kvm_userspace_memory_region slot = {.memory_size = GUEST_BYTES};
	struct kvm_run *run;
	uint8_t *mem;
	int vm, vcpu, run_bytes, ret;

	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		return -errno;
	mem = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return -errno;
	memcpy(mem, guest_code, sizeof(guest_code));
	slot.userspace_addr = (uintptr_t)mem;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return -errno;
	run_bytes = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (run_bytes < 0 || vcpu < 0)
		return -errno;
	run = mmap(NULL, (size_t)run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		return -errno;
	ret = set_registers(vcpu);
	if (!ret)
		ret = set_deadline();
	return ret ? ret : run_guest(vcpu, run);
}

int main(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), ret;

	if (kvm < 0 && (errno == EACCES || errno == EPERM))
		return verdict(DENIED, "this user may not open /dev/kvm", errno);
	if (kvm < 0)
		return verdict(ABSENT, "/dev/kvm cannot be opened", errno);
	if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return verdict(ABSENT, "/dev/kvm does not speak version 12 of the interface", 0);
	ret = probe(kvm);
	if (ret < 0)
		return verdict(ABSENT, "/dev/kvm makes no virtual machine", -ret);
	if (ret == 0)
		return verdict(EMULATING,
			       "KVM emulates guest code here: tiny guests run, Linux does not", 0);
	return verdict(NATIVE, "KVM runs guest code on the processor: Linux runs", 0);
}
