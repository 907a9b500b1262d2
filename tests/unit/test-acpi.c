/* ACPI tables: the bytes that QEMU 7.2 makes for the same board; the disassembler takes them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/x86/acpi.h"
#include "tests/unit/check-main.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/units.h"
#include "vmm/board.h"

#define GPA 0xd0000ULL

static struct board *test_board(int virtio_devices)
{
	struct board *b = NEW(struct board);
	static const struct {
		enum board_kind kind;
		uint64_t base;
		unsigned gsi;
	} fixed[] = {
	    {BOARD_FW_CFG, BOARD_PORT_FW_CFG, 0               },
	    {BOARD_GED,    BOARD_GED_EVENT,   BOARD_GSI_GED   },
	    {BOARD_RTC,    BOARD_PORT_RTC,    BOARD_GSI_RTC   },
	    {BOARD_SERIAL, BOARD_PORT_SERIAL, BOARD_GSI_SERIAL}
        };

	for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
		struct board_device *d = board_add(b, fixed[i].kind, "device");

		d->base = fixed[i].base;
		d->gsi = fixed[i].gsi;
		d->slot = -1;
	}
	for (int i = 0; i < virtio_devices; i++) {
		struct board_device *d = board_add(b, BOARD_VIRTIO_MMIO, "virtio");

		d->slot = BOARD_VIRTIO_SLOTS - 1 - i;
		d->base = BOARD_VIRTIO_BASE + BOARD_VIRTIO_BYTES * (unsigned)d->slot;
		d->bytes = BOARD_VIRTIO_BYTES;
		d->gsi = BOARD_VIRTIO_GSI + (unsigned)d->slot;
	}
	return b;
}

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	for (size_t i = 0; i < n; i++)
		s = (uint8_t)(s + p[i]);
	return s;
}

/* The table at a guest address, its checksum right; length in *bytes. */
static const uint8_t *table(const struct buf *b, uint64_t gpa, const char *sig, size_t *bytes)
{
	const uint8_t *p = b->data + (gpa - GPA);

	ck_assert(gpa >= GPA && gpa - GPA + 36 <= b->len);
	ck_assert_mem_eq(p, sig, 4);
	*bytes = get_le32(p + 4);
	ck_assert_uint_le(gpa - GPA + *bytes, b->len);
	ck_assert_msg(sum(p, *bytes) == 0, "checksum of %s", sig);
	return p;
}

struct tables {
	const uint8_t *dsdt, *facp, *apic;
	size_t dsdt_bytes, facp_bytes, apic_bytes;
};

static struct tables walk(const struct buf *b)
{
	struct tables t;
	const uint8_t *xsdt;
	size_t bytes;

	ck_assert_mem_eq(b->data, "RSD PTR ", 8);
	ck_assert_uint_eq(sum(b->data, 20), 0);
	ck_assert_uint_eq(sum(b->data, ACPI_RSDP_BYTES), 0);
	ck_assert_uint_eq(b->data[15], 2);
	ck_assert_uint_eq(get_le32(b->data + 16), 0);
	xsdt = table(b, get_le64(b->data + 24), "XSDT", &bytes);
	ck_assert_uint_eq(bytes, 36 + 16);
	t.facp = table(b, get_le64(xsdt + 36), "FACP", &t.facp_bytes);
	t.apic = table(b, get_le64(xsdt + 44), "APIC", &t.apic_bytes);
	t.dsdt = table(b, get_le64(t.facp + 140), "DSDT", &t.dsdt_bytes);
	ck_assert_uint_eq(get_le32(t.facp + 40), get_le64(t.facp + 140));
	return t;
}

static uint8_t *read_fixture(const char *name, size_t bytes)
{
	char *path = xasprintf("tests/data/acpi/%s", name);
	FILE *f = fopen(path, "rbe");
	uint8_t *p = xcalloc(1, bytes + 1);

	ck_assert_msg(f != NULL, "cannot open %s", path);
	ck_assert_msg(fread(p, 1, bytes + 1, f) == bytes, "%s is not %zu bytes long", path, bytes);
	ck_assert_int_eq(fclose(f), 0);
	free(path);
	return p;
}

/* The guest of stream irqk1: five virtio devices, two vCPUs.  Checksums and pointers are set later
 * there. */
START_TEST(test_same_as_qemu)
{
	struct board *board = test_board(5);
	struct buf b = {0};
	struct tables t;
	uint8_t *want;

	acpi_build(board, 2, GPA, &b);
	t = walk(&b);
	want = read_fixture("irqk1.dsdt", t.dsdt_bytes);
	want[9] = t.dsdt[9];
	ck_assert_mem_eq(t.dsdt, want, t.dsdt_bytes);
	free(want);
	want = read_fixture("irqk1.apic", t.apic_bytes);
	want[9] = t.apic[9];
	ck_assert_mem_eq(t.apic, want, t.apic_bytes);
	free(want);
	want = read_fixture("irqk1.facp", t.facp_bytes);
	want[9] = t.facp[9];
	memcpy(want + 40, t.facp + 40, 4);
	memcpy(want + 140, t.facp + 140, 8);
	ck_assert_mem_eq(t.facp, want, t.facp_bytes);
	free(want);
	buf_free(&b);
	free(board);
}
END_TEST

START_TEST(test_many_cpus)
{
	struct board *board = test_board(8);
	struct buf b = {0};
	struct tables t;

	acpi_build(board, 288, GPA, &b);
	t = walk(&b);
	ck_assert_uint_eq(t.apic_bytes, 44 + 255 * 8 + 33 * 16 + 12 + 6);
	ck_assert_uint_eq(t.apic[44 + 255 * 8], 9);
	ck_assert_uint_eq(get_le32(t.apic + 44 + 255 * 8 + 4), 255);
	ck_assert_uint_le(b.len, 0x10000);
	buf_free(&b);
	free(board);
}
END_TEST

START_TEST(test_bare_board)
{
	struct board *board = NEW(struct board);
	struct buf b = {0};

	acpi_build(board, 1, GPA, &b);
	(void)walk(&b);
	buf_free(&b);
	free(board);
}
END_TEST

/* The child's exit status; its words go nowhere. */
static int run(const char *dir, const char *const argv[])
{
	int status = -1, null;
	pid_t pid = fork();

	if (pid == 0) {
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		(void)dup2(null, STDOUT_FILENO);
		(void)dup2(null, STDERR_FILENO);
		if (chdir(dir) == 0)
			(void)execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void add_generation(struct board *board)
{
	struct board_device *d = board_add(board, BOARD_VMGENID, "vmgenid");

	d->base = BOARD_VMGENID_GPA;
	d->bytes = 16;
	d->slot = -1;
}

static const uint8_t *find(const struct tables *t, const void *what, size_t n)
{
	return memmem(t->dsdt, t->dsdt_bytes, what, n);
}

/* Device VGEN, the address in two halves, and its event at the GED. */
START_TEST(test_generation)
{
	static const uint8_t addr[] = {'A',  'D',  'D',  'R',  0x12, 8,   2,
				       0x0c, 0x00, 0xf0, 0x0d, 0x00, 0x00};
	/* And (Local0, 0x100) == 0x100, then Notify (VGEN, 0x80) */
	static const uint8_t notify[] = {0x93, 0x7b, 0x60, 0x0b, 0x00, 0x01, 0x00, 0x0b, 0x00,
					 0x01, 0x86, 'V',  'G',  'E',  'N',  0x0a, 0x80};
	struct board *board = test_board(1);
	struct buf b = {0};
	struct tables t;

	acpi_build(board, 1, GPA, &b);
	t = walk(&b);
	ck_assert_ptr_null(find(&t, "VGEN", 4));
	buf_free(&b);
	add_generation(board);
	acpi_build(board, 1, GPA, &b);
	t = walk(&b);
	ck_assert_ptr_nonnull(find(&t, "_CID\x0dVM_Gen_Counter", 20));
	ck_assert_ptr_nonnull(find(&t, "_HID\x0dQEMUVGID", 14));
	ck_assert_ptr_nonnull(find(&t, addr, sizeof(addr)));
	ck_assert_ptr_nonnull(find(&t, notify, sizeof(notify)));
	ck_assert_ptr_nonnull(find(&t, "PWRB\x0a\x80", 6));
	buf_free(&b);
	free(board);
}
END_TEST

/* Disassembled, and compiled again from that, it is the same. */
START_TEST(test_disassembles)
{
	static const char *const probe[] = {"iasl", "-v", NULL};
	static const char *const disassemble[] = {"iasl", "-d", "dsdt.aml", NULL};
	/* 6035: QEMU's name of the generation ID, QEMUVGID, is not one of the registry's */
	static const char *const compile[] = {"iasl",  "-vw",      "6035", "-p",
					      "again", "dsdt.dsl", NULL};
	char dir[] = "/tmp/acpi-XXXXXX";
	struct board *board;
	struct buf b = {0};
	struct tables t;
	FILE *f;
	char *path;

	if (run("/", probe) == 127) {
		skip_test("no iasl");
		return;
	}
	board = test_board(8);
	add_generation(board);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	acpi_build(board, 2, GPA, &b);
	t = walk(&b);
	path = xasprintf("%s/dsdt.aml", dir);
	f = fopen(path, "wbe");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(t.dsdt, 1, t.dsdt_bytes, f), t.dsdt_bytes);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(run(dir, disassemble), 0);
	ck_assert_int_eq(run(dir, compile), 0);
	(void)run("/tmp", (const char *const[]){"rm", "-r", dir, NULL});
	free(path);
	buf_free(&b);
	free(board);
}
END_TEST

CHECK_MAIN("acpi", test_same_as_qemu, test_many_cpus, test_bare_board, test_generation,
	   test_disassembles)
