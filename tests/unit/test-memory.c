/* RAM blocks, slots, translation, dirty marks; buses. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/check-main.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/error.h"
#include "vmm/base/leftovers.h"
#include "vmm/base/units.h"
#include "vmm/bus.h"
#include "vmm/memory/aside.h"
#include "vmm/memory/fault.h"
#include "vmm/memory/memory.h"

static const struct ram_backend anonymous = {.kind = RAM_ANONYMOUS, .fd = -1};

/* Like the board: RAM below and above a hole, a small block that is seen twice. */
static void make(struct memory *mem)
{
	struct ram_block *ram, *bios;

	memory_init(mem, -1);
	ram = memory_add_block(mem, "ram", 4 * MiB, &anonymous, NULL);
	bios = memory_add_block(mem, "bios", 64 * KiB, &anonymous, NULL);
	ck_assert_ptr_nonnull(ram);
	ck_assert_ptr_nonnull(bios);
	ck_assert_int_eq(memory_map_block(mem, ram, 0, 0, 0xf0000, NULL), 0);
	ck_assert_int_eq(memory_map_block(mem, bios, 0, 0xf0000, 64 * KiB, NULL), 0);
	ck_assert_int_eq(memory_map_block(mem, ram, 1 * MiB, 1 * MiB, 2 * MiB, NULL), 0);
	ck_assert_int_eq(memory_map_block(mem, bios, 0, 0xffff0000, 64 * KiB, NULL), 0);
	ck_assert_int_eq(memory_map_block(mem, ram, 3 * MiB, 4 * GiB, 1 * MiB, NULL), 0);
}

/* A read beyond the end of a RAM file ends the process, and its sockets and PID file go with it. */
START_TEST(test_fault_removes_leftovers)
{
	char ram[] = "/tmp/minivmm-ram-XXXXXX", mine[] = "/tmp/minivmm-pid-XXXXXX";
	char other[] = "/tmp/minivmm-pid-XXXXXX";
	struct ram_block b = {.name = "ram", .fd = mkstemp(ram), .bytes = 4096};
	int status = 0, fd = mkstemp(mine), other_fd = mkstemp(other);
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		b.hva = mmap(NULL, b.bytes, PROT_READ, MAP_SHARED, b.fd, 0);
		leftover_add(mine);
		leftover_add(other);
		leftover_forget(other);
		fault_watch(&b);
		_exit(2 + *(volatile const uint8_t *)b.hva);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	ck_assert(access(mine, F_OK) < 0 && access(other, F_OK) == 0);
	(void)close(fd);
	(void)close(other_fd);
	(void)close(b.fd);
	(void)unlink(ram);
	(void)unlink(other);
}
END_TEST

START_TEST(test_translation)
{
	struct memory mem;
	uint64_t len;

	make(&mem);
	ck_assert_ptr_eq(memory_ptr(&mem, 0, 0xf0000), mem.blocks[0]->hva);
	ck_assert_ptr_null(memory_ptr(&mem, 0, 0xf0001));
	ck_assert_ptr_null(memory_ptr(&mem, 3 * MiB, 1));
	ck_assert_ptr_null(memory_ptr(&mem, 5 * GiB, 1));
	ck_assert_ptr_null(memory_ptr(&mem, UINT64_MAX, 1));
	ck_assert_ptr_null(memory_ptr(&mem, UINT64_MAX - 1, UINT64_MAX));
	ck_assert_ptr_null(memory_ptr(&mem, 4 * GiB, UINT64_MAX));
	ck_assert_ptr_eq(memory_ptr(&mem, 0xffff0010, 16), memory_ptr(&mem, 0xf0010, 16));
	ck_assert_ptr_eq(memory_ptr(&mem, 4 * GiB + 5, 1), mem.blocks[0]->hva + 3 * MiB + 5);
	len = 100;
	ck_assert_ptr_nonnull(memory_ptr_some(&mem, 0xeffff, &len));
	ck_assert_uint_eq(len, 1);
	ck_assert_uint_eq(mem.blocks[1]->gpa, 0xffff0000);
	ck_assert_uint_eq(memory_total_bytes(&mem), 4 * MiB + 64 * KiB);
	memory_fini(&mem);
}
END_TEST

START_TEST(test_copy_across_slots)
{
	struct memory mem;
	uint8_t in[64], out[64];

	make(&mem);
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i + 1);
	ck_assert_int_eq(memory_write(&mem, 0xf0000 - 32, in, sizeof(in)), 0);
	ck_assert_int_eq(memory_read(&mem, 0xf0000 - 32, out, sizeof(out)), 0);
	ck_assert_mem_eq(in, out, sizeof(in));
	ck_assert_uint_eq(mem.blocks[1]->hva[0], 33);
	ck_assert_int_eq(memory_read(&mem, 3 * MiB - 1, out, 2), -EFAULT);
	ck_assert_int_eq(memory_write(&mem, UINT64_MAX - 3, in, 8), -EFAULT);
	memory_fini(&mem);
}
END_TEST

START_TEST(test_dirty_marks)
{
	struct memory mem;

	make(&mem);
	memory_mark_dirty(&mem, 0, 1); /* not tracking: nothing */
	ck_assert_uint_eq(bitmap_count(mem.blocks[0]->dma_dirty, 1024), 0);
	mem.tracking = true;
	memory_mark_dirty(&mem, 0xfff, 2);
	ck_assert(bitmap_test(mem.blocks[0]->dma_dirty, 0) &&
		  bitmap_test(mem.blocks[0]->dma_dirty, 1));
	memory_mark_dirty(&mem, 0xffff1000, 1);
	ck_assert(bitmap_test(mem.blocks[1]->dma_dirty, 1));
	memory_mark_dirty(&mem, 4 * GiB + MiB - 1, 1);
	ck_assert(bitmap_test(mem.blocks[0]->dma_dirty, 1023));
	ck_assert_uint_eq(bitmap_count(mem.blocks[0]->dma_dirty, 1024), 3);
	memory_fini(&mem);
}
END_TEST

START_TEST(test_backends)
{
	char path[] = "/tmp/minivmm-test-ram-XXXXXX";
	int fd = mkstemp(path);
	struct ram_backend memfd = {.kind = RAM_MEMFD, .share = true, .fd = -1};
	struct ram_backend file = {.kind = RAM_FILE, .share = true, .path = path, .fd = -1};
	struct ram_backend missing = {.kind = RAM_FILE, .path = "/nope/ram", .fd = -1};
	struct ram_block *b;
	struct memory mem;
	struct err err = {0};
	struct stat st;
	char byte;

	memory_init(&mem, -1);
	b = memory_add_block(&mem, "a", 2 * MiB, &memfd, NULL);
	ck_assert_ptr_nonnull(b);
	b->hva[5] = 'x';
	ck_assert_int_eq(pread(b->fd, &byte, 1, 5), 1);
	ck_assert_int_eq(byte, 'x');
	b = memory_add_block(&mem, "b", 1 * MiB, &file, NULL);
	ck_assert_ptr_nonnull(b);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, MiB);
	b->hva[7] = 'y';
	ck_assert_int_eq(pread(fd, &byte, 1, 7), 1);
	ck_assert_int_eq(byte, 'y');
	ck_assert_ptr_null(memory_add_block(&mem, "c", MiB, &missing, &err));
	ck_assert_str_eq(
	    err.msg,
	    "can't open backing store /nope/ram for guest RAM 'c': No such file or directory");
	ck_assert_ptr_eq(memory_find_block(&mem, "b"), b);
	ck_assert_ptr_null(memory_find_block(&mem, "c"));
	memory_fini(&mem);
	(void)close(fd);
	(void)unlink(path);
}
END_TEST

/* The program itself touches a page that the file does not have any more: words, and status 1. */
START_TEST(test_sigbus)
{
	char path[] = "/tmp/minivmm-test-ram-XXXXXX", text[1024];
	struct ram_backend file = {.kind = RAM_FILE, .share = true, .path = path, .fd = -1};
	int fd = mkstemp(path), to[2], status;
	struct ram_block *b;
	struct memory mem;
	ssize_t n;
	pid_t pid;

	memory_init(&mem, -1);
	b = memory_add_block(&mem, "microvm.ram", MiB, &file, NULL);
	ck_assert_ptr_nonnull(b);
	ck_assert_int_eq(ftruncate(fd, (off_t)PAGE_BYTES), 0);
	b->hva[0] = 1;
	ck_assert_int_eq(pipe(to), 0);
	pid = fork();
	if (pid == 0) {
		(void)dup2(to[1], STDERR_FILENO);
		*(volatile uint8_t *)(b->hva + 2 * PAGE_BYTES + 5) = 1;
		_exit(0);
	}
	(void)close(to[1]);
	n = read(to[0], text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = 0;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 1, "0x%x", (unsigned)status);
	ck_assert_msg(strstr(text, "offset 0x2005 of RAM block 'microvm.ram'"), "%s", text);
	ck_assert_msg(strstr(text, path), "%s", text);
	(void)close(to[0]);
	(void)close(fd);
	(void)unlink(path);
	memory_fini(&mem);
}
END_TEST

/* A file with something in it is not enlarged; what was made for nothing is taken away. */
START_TEST(test_not_ours)
{
	char path[] = "/tmp/minivmm-test-ram-XXXXXX";
	struct ram_backend file = {.kind = RAM_FILE, .share = true, .path = path, .fd = -1};
	int fd = mkstemp(path);
	struct err err = {0};
	struct memory mem;
	struct stat st;

	memory_init(&mem, -1);
	ck_assert_int_eq(write(fd, "letter", 6), 6);
	ck_assert_ptr_null(memory_add_block(&mem, "ram", MiB, &file, &err));
	ck_assert_msg(strstr(err.msg, path) && strstr(err.msg, "holds 6 bytes"), "%s", err.msg);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, 6);
	/* A larger one is left as it is. */
	ck_assert_int_eq(ftruncate(fd, (off_t)(2 * MiB)), 0);
	ck_assert_ptr_nonnull(memory_add_block(&mem, "ram", MiB, &file, &err));
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, (off_t)(2 * MiB));
	memory_fini(&mem);
	(void)unlink(path);
	/* No host has room for this: the file goes again. */
	ck_assert_ptr_null(memory_add_block(&mem, "ram", 1ULL << 62, &file, &err));
	ck_assert_int_ne(access(path, F_OK), 0);
	(void)close(fd);
}
END_TEST

/* An AddressSanitizer build must let the signal through that the guard tests wait for. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "handle_segv=0";
}

static void touch_guard(long off)
{
	struct memory mem;

	make(&mem);
	*(volatile uint8_t *)(mem.blocks[1]->hva + off) = 1;
}

START_TEST(test_guard_before)
{
	touch_guard(-1);
}
END_TEST

START_TEST(test_guard_behind)
{
	touch_guard(64 * 1024);
}
END_TEST

static uint64_t seen;

static uint64_t reg_read(void *dev, uint64_t off, unsigned len)
{
	return (uint64_t)(uintptr_t)dev * 1000 + off * 10 + len;
}

static void reg_write(void *dev, uint64_t off, unsigned len, uint64_t val)
{
	seen = (uint64_t)(uintptr_t)dev * 1000 + off * 10 + len + val;
}

START_TEST(test_bus)
{
	static const struct bus_ops ops = {reg_read, reg_write};
	struct bus b = {0};
	struct err err = {0};

	ck_assert_int_eq(bus_add(&b, 0x100, 8, &ops, (void *)2, NULL), 0);
	ck_assert_int_eq(bus_add(&b, 0x80, 16, &ops, (void *)1, NULL), 0);
	ck_assert_int_eq(bus_add(&b, 0x108, 8, &ops, (void *)3, NULL), 0);
	ck_assert_int_eq(bus_add(&b, 0x10f, 1, &ops, (void *)4, &err), -EEXIST);
	ck_assert_int_eq(bus_add(&b, 0x7f, 2, &ops, (void *)4, &err), -EEXIST);
	ck_assert_uint_eq(bus_read(&b, 0x80, 1), 1001);
	ck_assert_uint_eq(bus_read(&b, 0x107, 1), 2071);
	ck_assert_uint_eq(bus_read(&b, 0x108, 4), 3004);
	ck_assert_uint_eq(bus_read(&b, 0x107, 2), UINT64_MAX); /* leaves the region */
	ck_assert_uint_eq(bus_read(&b, 0x90, 1), UINT64_MAX);
	bus_write(&b, 0x84, 2, 5);
	ck_assert_uint_eq(seen, 1000 + 40 + 2 + 5);
}
END_TEST

/* What a block held is somewhere else, and the block is empty where it was; a file's pages cannot
 * go. */
START_TEST(test_aside)
{
	static const bool stop[] = {false, true};
	static const struct ram_backend memfd = {.kind = RAM_MEMFD, .share = true, .fd = -1};

	for (size_t i = 0; i < ARRAY_LEN(stop); i++) {
		struct memory mem;
		struct memory_aside aside = {.map = NULL};
		const struct ram_block *b;

		memory_init(&mem, -1);
		b = memory_add_block(&mem, "ram", 33 * MiB, &anonymous, NULL);
		ck_assert_ptr_nonnull(b);
		memset(b->hva, 7, b->bytes);
		ck_assert_int_eq(memory_move_aside(b, &aside), 0);
		ck_assert_uint_eq(aside.bytes, b->bytes);
		for (uint64_t at = 0; at < b->bytes; at += PAGE_BYTES) {
			ck_assert_uint_eq(aside.map[at + 1], 7);
			ck_assert_uint_eq(b->hva[at + 1], 0);
		}
		memory_aside_free(&aside, &stop[i]);
		ck_assert_ptr_null(aside.map);
		memory_aside_free(&aside, &stop[i]);
		b = memory_add_block(&mem, "shared", MiB, &memfd, NULL);
		ck_assert_ptr_nonnull(b);
		memset(b->hva, 9, b->bytes);
		ck_assert_int_eq(memory_move_aside(b, &aside), -ENOTSUP);
		ck_assert_uint_eq(b->hva[5], 9);
		memory_fini(&mem);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("memory");
	TCase *tc = tcase_create("memory");
	SRunner *r;
	int failed;

	tcase_add_test(tc, test_fault_removes_leftovers);
	tcase_add_test(tc, test_translation);
	tcase_add_test(tc, test_copy_across_slots);
	tcase_add_test(tc, test_dirty_marks);
	tcase_add_test(tc, test_aside);
	tcase_add_test(tc, test_backends);
	tcase_add_test(tc, test_sigbus);
	tcase_add_test(tc, test_not_ours);
	tcase_add_test(tc, test_bus);
	tcase_add_test_raise_signal(tc, test_guard_before, SIGSEGV);
	tcase_add_test_raise_signal(tc, test_guard_behind, SIGSEGV);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
