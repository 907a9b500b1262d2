/*
 * start.S - from the PVH entry to 64-bit C, on the first processor and on the others
 *
 * PVH enters in 32-bit protected mode without paging, EBX = the start info.
 * The page tables are data of the image (identity, 2 MiB pages, 4 GiB), so
 * nothing has to be computed here.  The other processors start in real mode at
 * ap_trampoline's copy in low memory and join at enter_long.
 */
	.set	CODE64, 0x08
	.set	DATA, 0x10
	.set	CODE32, 0x18
	.set	PAGE_FLAGS_2M, 0x83	/* present, writable, 2 MiB */
	.set	PAGE_FLAGS_TABLE, 0x03
	.set	TRAMPOLINE, 0x8000
	.set	STACK_BYTES, 8192

	.section .note.Xen, "a", @note
	.align	4
	.long	4, 4, 18		/* name size, value size, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	_start

	.section .text.start, "ax"
	.code32
	.globl	_start
_start:
	cli
	cld
	lgdt	gdt_pointer
	movl	%ebx, start_info
	movl	$__bss_start, %edi
	movl	$__bss_end, %ecx
	subl	%edi, %ecx
	shrl	$2, %ecx
	xorl	%eax, %eax
	rep	stosl
	xorl	%ebp, %ebp		/* processor 0 */

/* 32-bit, paging off, EBP = the processor's number */
enter_long:
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	%cr4, %eax
	orl	$0x20, %eax		/* PAE */
	movl	%eax, %cr4
	movl	$0xc0000080, %ecx	/* EFER */
	rdmsr
	orl	$0x100, %eax		/* LME */
	wrmsr
	movl	%cr0, %eax
	orl	$0x80000001, %eax	/* PG, PE */
	movl	%eax, %cr0
	ljmpl	$CODE64, $in_long

	.code64
in_long:
	movl	$DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	xorl	%eax, %eax
	movl	%eax, %fs
	movl	%eax, %gs
	movl	%ebp, %eax		/* the stack of processor N ends at stacks + (N + 1) * STACK_BYTES */
	incl	%eax
	imull	$STACK_BYTES, %eax, %eax
	leaq	stacks(%rax), %rsp
	movl	%ebp, %edi
	testl	%ebp, %ebp
	jnz	1f
	call	cpu_init
	movl	start_info(%rip), %edi
	call	guest_start
	jmp	2f
1:	call	cpu_init
	movl	%ebp, %edi
	call	ap_start
2:	cli
	hlt
	jmp	2b

/*
 * Copied to TRAMPOLINE.  Each processor takes the next number from
 * ap_next_number, which is why they may start all at once.
 */
	.code16
	.globl	ap_trampoline, ap_trampoline_end
ap_trampoline:
	cli
	cld
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	ap_gdt_pointer - ap_trampoline
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$CODE32, $ap_protected
	.align	4
ap_gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt
ap_trampoline_end:

	.code32
ap_protected:
	movl	$DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$1, %ebp
	lock xaddl %ebp, ap_next_number
	jmp	enter_long

/* One entry per vector, 16 bytes apart: push the vector, go to the common part. */
	.code64
	.text
	.globl	vectors
	.align	16
vectors:
	.set	i, 0
	.rept	256
	.align	16
	.if (i == 8) || ((i >= 10) && (i <= 14)) || (i == 17)
	/* the processor has pushed an error code */
	.else
	pushq	$0
	.endif
	pushq	$i
	jmp	vector_common
	.set	i, i + 1
	.endr

vector_common:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	cld
	movq	72(%rsp), %rdi		/* vector */
	movq	80(%rsp), %rsi		/* error code */
	movq	88(%rsp), %rdx		/* rip */
	call	trap
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rax
	addq	$16, %rsp
	iretq

	.data
	.align	8
gdt:
	.quad	0
	.quad	0x00af9a000000ffff	/* 64-bit code */
	.quad	0x00cf92000000ffff	/* data */
	.quad	0x00cf9a000000ffff	/* 32-bit code */
gdt_end:
gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt
	.align	4
	.globl	start_info, ap_next_number
start_info:
	.long	0
ap_next_number:
	.long	1

	.align	4096
pml4:
	.quad	pdpt + PAGE_FLAGS_TABLE
	.fill	511, 8, 0
pdpt:
	.set	i, 0
	.rept	4
	.quad	pd + i * 4096 + PAGE_FLAGS_TABLE
	.set	i, i + 1
	.endr
	.fill	508, 8, 0
pd:
	.set	i, 0
	.rept	2048
	.quad	(i << 21) + PAGE_FLAGS_2M
	.set	i, i + 1
	.endr

	.bss
	.align	16
	.globl	stacks
stacks:
	.skip	STACK_BYTES * 8

	.section .note.GNU-stack, "", @progbits
