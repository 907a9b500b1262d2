/*
 * boot-firmware.c - what stands at the reset vector
 *
 * The firmware given with -bios.  Without one, code for the two ways that
 * lead a processor there: after the start of a machine that was given
 * nothing to run, and when a kernel reboots by jumping to the firmware as a PC
 * does in the end.  The second asks for a reset of the machine, which boots
 * the kernel again.
 */
#include "arch/x86/boot.h"

#include "vmm/base/log.h"
#include "vmm/machine.h"

#define FIRMWARE_END  0x100000000ULL
#define VECTOR_BYTES  16
#define RESTART_BYTES 64

/* At the reset vector: stay there.  An idle processor is easier to look at than one in zeros. */
static const uint8_t idle[VECTOR_BYTES] = {0xf4, 0xeb, 0xfd}; /* hlt; jmp -3 */

/*
 * The last bytes of the firmware block, in real mode at f000:ffc0 or
 * ffff0000:ffc0: a flat data segment, then the value at BOARD_GED_REGS that resets.
 */
static const uint8_t restart[RESTART_BYTES] = {
    0xfa,                                           /* ffc0  cli */
    0x2e, 0x66, 0x0f, 0x01, 0x16, 0xe0, 0xff,       /* ffc1  lgdtl %cs:0xffe0 */
    0x0f, 0x20, 0xc0,                               /* ffc8  mov %cr0, %eax */
    0x0c, 0x01,                                     /* ffcb  or $1, %al */
    0x0f, 0x22, 0xc0,                               /* ffcd  mov %eax, %cr0 */
    0xbb, 0x08, 0x00,                               /* ffd0  mov $8, %bx */
    0x8e, 0xdb,                                     /* ffd3  mov %bx, %ds */
    0x67, 0xc6, 0x05, 0x02, 0x02, 0xa0, 0xfe, 0x42, /* ffd5  movb $0x42, 0xfea00202 */
    0xf4, 0xeb, 0xfd,                               /* ffdd  hlt; jmp -3 */
    /* ffe0  the descriptor table's limit and base, in its own first, unused entry */
    0x0f, 0x00, 0xe0, 0xff, 0x0f, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x92, 0xcf,
    0x00,             /* ffe8  flat data */
    0xe9, 0xcd, 0xff, /* fff0  jmp 0xffc0 */
};

/* Nothing at the reset vector, no firmware that came with a migration either. */
static bool vector_is_free(struct machine *m)
{
	uint8_t at[VECTOR_BYTES];

	if (memory_read(&m->mem, FIRMWARE_END - sizeof(at), at, sizeof(at)) < 0)
		return false;
	for (size_t i = 0; i < sizeof(at); i++)
		if (at[i])
			return false;
	return true;
}

int boot_stage_firmware(struct machine *m, const struct boot_image *b, struct err *err)
{
	if (b->firmware)
		return boot_write(m, FIRMWARE_END - b->firmware_bytes, b->firmware,
				  b->firmware_bytes, "firmware", err);
	if (!vector_is_free(m))
		return 0;
	if (b->kind != BOOT_NONE)
		return boot_write(m, FIRMWARE_END - sizeof(restart), restart, sizeof(restart),
				  "restart code", err);
	log_warn("no -kernel and no -bios: the guest has nothing to run");
	return boot_write(m, FIRMWARE_END - sizeof(idle), idle, sizeof(idle), "idle loop", err);
}
