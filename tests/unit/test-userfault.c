/*
 * userfaultfd: who may open it and what is said when nobody may; filling in and
 * protecting pages of every kind of memory; the fault thread, and what happens
 * when it ends while a thread waits for a page.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/check-main.h"
#include "vmm/base/error.h"
#include "vmm/base/thread.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/base/zero.h"
#include "vmm/memory/fault-thread.h"
#include "vmm/memory/memory.h"
#include "vmm/memory/userfault.h"

#define PAGES  8U
#define POOL   "/proc/sys/vm/nr_hugepages"
#define SYSCTL "/proc/sys/vm/unprivileged_userfaultfd"
#define NOBODY 65534

static const struct kind {
	const char *name;
	int backend;
	bool share, hugetlb;
} kinds[] = {
    {"anonymous",        RAM_ANONYMOUS, false, false},
    {"anonymous shared", RAM_ANONYMOUS, true,  false},
    {"memfd",            RAM_MEMFD,     true,  false},
    {"memfd private",    RAM_MEMFD,     false, false},
    {"hugetlb",          RAM_MEMFD,     true,  true },
    {"hugetlb private",  RAM_MEMFD,     false, true },
};

static long read_number(const char *path)
{
	FILE *f = fopen(path, "r");
	long n = -1;

	if (!f)
		return -1;
	if (fscanf(f, "%ld", &n) != 1)
		n = -1;
	(void)fclose(f);
	return n;
}

static void write_number(const char *path, long n)
{
	FILE *f = fopen(path, "w");

	if (!f)
		return;
	(void)fprintf(f, "%ld", n);
	(void)fclose(f);
}

/* ---- one block of memory ---- */

struct rig {
	struct memory mem;
	struct ram_block *b;
	struct userfault u;
	long pool; /* of huge pages before; -1: left alone */
};

static bool rig_init(struct rig *r, const struct kind *k, unsigned modes)
{
	struct ram_backend be = {.kind = k->backend, .share = k->share, .fd = -1};
	struct err err = {0};

	*r = (struct rig){.pool = -1};
	if (k->hugetlb) {
		be.hugetlb = true;
		be.hugetlb_bytes = 2 * MiB;
		r->pool = read_number(POOL);
		write_number(POOL, r->pool + 2 * PAGES);
	}
	memory_init(&r->mem, -1);
	r->b = memory_add_block(&r->mem, "ram", PAGES * (k->hugetlb ? 2 * MiB : PAGE_BYTES), &be,
				&err);
	if (!r->b && k->hugetlb) {
		skip_test("%s: %s", k->name, err.msg);
		write_number(POOL, r->pool);
		return false;
	}
	ck_assert_msg(r->b, "%s: %s", k->name, err.msg);
	ck_assert_msg(userfault_open(&r->u, modes, &err) == 0, "%s", err.msg);
	ck_assert_msg(userfault_register(&r->u, r->b, modes, &err) == 0, "%s: %s", k->name,
		      err.msg);
	return true;
}

static void rig_fini(struct rig *r)
{
	userfault_unregister(&r->u, r->b);
	userfault_close(&r->u);
	memory_fini(&r->mem);
	if (r->pool >= 0)
		write_number(POOL, r->pool);
}

static uint8_t *page(const struct rig *r, unsigned i)
{
	return r->b->hva + i * r->b->page_bytes;
}

/* ---- opening ---- */

/* The body in a process of its own, in which mounts and the user may change. */
static void in_child(void (*body)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		body();
		_exit(0);
	}
	ck_assert(waitpid(pid, &status, 0) == pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", status);
}

#define CHILD_CHECK(x)                                                                             \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			(void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);              \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static void become_nobody(void)
{
	CHILD_CHECK(setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0);
	CHILD_CHECK(setresuid(NOBODY, NOBODY, NOBODY) == 0);
}

/* Something else stands where the device node was, for this process. */
static void replace_node(mode_t type, mode_t mode, dev_t dev)
{
	CHILD_CHECK(unshare(CLONE_NEWNS) == 0);
	CHILD_CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	CHILD_CHECK(mount("none", "/mnt", "tmpfs", 0, NULL) == 0);
	CHILD_CHECK(mknod("/mnt/node", type | 0600, dev) == 0 && chmod("/mnt/node", mode) == 0);
	CHILD_CHECK(mount("/mnt/node", "/dev/userfaultfd", NULL, MS_BIND, NULL) == 0);
}

static void nobody_is_told(void)
{
	struct userfault u;
	struct err err = {0};

	become_nobody();
	CHILD_CHECK(userfault_open(&u, USERFAULT_WP, &err) == -EPERM);
	CHILD_CHECK(u.fd < 0);
	CHILD_CHECK(strstr(err.msg, "access to /dev/userfaultfd"));
	CHILD_CHECK(strstr(err.msg, "vm.unprivileged_userfaultfd=1"));
	CHILD_CHECK(strstr(err.msg, "CAP_SYS_PTRACE"));
}

/* A kernel's fault: read() into a missing page waits, and is served. */
static void *read_into(void *page)
{
	int fd = open("/dev/zero", O_RDONLY);

	return (void *)(intptr_t)(read(fd, page, 1) == 1);
}

static void check_kernel_faults(void)
{
	static const uint8_t content[PAGE_BYTES] = {7};
	struct rig r;
	struct userfault_msg msg;
	pthread_t reader;
	void *result;
	int n;

	CHILD_CHECK(rig_init(&r, &kinds[0], USERFAULT_MISSING));
	CHILD_CHECK(pthread_create(&reader, NULL, read_into, page(&r, 1)) == 0);
	do
		n = userfault_read(&r.u, &msg, 1);
	while (n == 0);
	CHILD_CHECK(n == 1 && msg.hva / PAGE_BYTES == (uintptr_t)page(&r, 1) / PAGE_BYTES);
	CHILD_CHECK(userfault_copy(&r.u, r.b, PAGE_BYTES, content, PAGE_BYTES, false) == 0);
	CHILD_CHECK(pthread_join(reader, &result) == 0 && result);
}

static void node_is_enough(void)
{
	struct stat st;

	CHILD_CHECK(stat("/dev/userfaultfd", &st) == 0);
	replace_node(S_IFCHR, 0666, st.st_rdev);
	become_nobody();
	check_kernel_faults();
}

static void node_is_not_needed(void)
{
	replace_node(S_IFREG, 0666, 0); /* it opens, and does not know the call */
	check_kernel_faults();
}

static void node_may_be_shut(void)
{
	replace_node(S_IFSOCK, 0666, 0); /* ENXIO */
	check_kernel_faults();
}

START_TEST(test_open)
{
	if (geteuid() != 0 || access("/dev/userfaultfd", F_OK) != 0) {
		skip_test("who may open userfaultfd is tried by root, with /dev/userfaultfd");
		return;
	}
	if (read_number(SYSCTL) == 0)
		in_child(nobody_is_told);
	else
		skip_test("vm.unprivileged_userfaultfd is set: nobody is refused");
	in_child(node_is_enough);
	in_child(node_is_not_needed);
	in_child(node_may_be_shut);
}
END_TEST

/* ---- what can be registered ---- */

START_TEST(test_disk_file_refused)
{
	static const struct ram_backend anon = {.kind = RAM_ANONYMOUS, .fd = -1};
	char path[] = "/var/tmp/minivmm-userfault.XXXXXX";
	int fd = mkstemp(path);
	struct ram_backend be = {.kind = RAM_FILE, .path = path, .share = true, .fd = -1};
	struct memory mem;
	struct err err = {0};

	ck_assert_int_ge(fd, 0);
	(void)close(fd);
	memory_init(&mem, -1);
	ck_assert_ptr_nonnull(memory_add_block(&mem, "fast", PAGE_BYTES, &anon, NULL));
	ck_assert_int_eq(userfault_probe(&mem, USERFAULT_WP, &err), 0);
	ck_assert_ptr_nonnull(memory_add_block(&mem, "slow", PAGE_BYTES, &be, NULL));
	ck_assert_int_eq(userfault_probe(&mem, USERFAULT_WP, &err), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(err.msg, "'slow'"));
	ck_assert_ptr_nonnull(strstr(err.msg, path));
	ck_assert_ptr_nonnull(strstr(err.msg, "memfd"));
	ck_assert_int_eq(userfault_probe(&mem, USERFAULT_MISSING, &err), -ENOTSUP);
	/* Nothing stays registered: another descriptor may have it. */
	memory_fini(&mem);
	(void)unlink(path);
}
END_TEST

START_TEST(test_registered_once)
{
	struct rig r;
	struct userfault other;
	struct err err = {0};
	uint64_t off;

	ck_assert(rig_init(&r, &kinds[0], USERFAULT_MISSING));
	ck_assert_int_eq(userfault_open(&other, USERFAULT_WP, NULL), 0);
	ck_assert_int_eq(userfault_register(&other, r.b, USERFAULT_WP, &err), -EBUSY);
	ck_assert_ptr_nonnull(strstr(err.msg, "'ram'"));
	ck_assert_ptr_eq(userfault_block_at(&r.u, (uintptr_t)r.b->hva + 5000, &off), r.b);
	ck_assert_uint_eq(off, 5000);
	ck_assert_ptr_null(userfault_block_at(&r.u, (uintptr_t)r.b->hva + r.b->bytes, &off));
	ck_assert_ptr_null(userfault_block_at(&other, (uintptr_t)r.b->hva, &off));
	userfault_close(&other);
	rig_fini(&r);
}
END_TEST

/* ---- pages ---- */

static void check_page(const struct rig *r, unsigned i, uint8_t first)
{
	ck_assert_msg(page(r, i)[0] == first, "page %u begins with %u, not %u", i, page(r, i)[0],
		      first);
	ck_assert(buffer_is_zero(page(r, i) + 1, r->b->page_bytes - 1));
}

/* Filling in leaves what is there, wherever in the range it is. */
static void check_filling(const struct kind *k)
{
	struct rig r;
	uint64_t n;
	uint8_t *from;

	if (!rig_init(&r, k, USERFAULT_MISSING))
		return;
	n = r.b->page_bytes;
	from = mmap(NULL, PAGES * n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert(from != MAP_FAILED);
	for (unsigned i = 0; i < PAGES; i++)
		from[i * n] = (uint8_t)(10 + i);
	ck_assert_int_eq(userfault_copy(&r.u, r.b, 0, from + n, n, false), 0);
	ck_assert_int_eq(userfault_copy(&r.u, r.b, 3 * n, from + 4 * n, n, false), 0);
	ck_assert_int_eq(userfault_copy(&r.u, r.b, 0, from, 6 * n, false), 0);
	ck_assert_int_eq(userfault_zero(&r.u, r.b, 5 * n, 3 * n), 0);
	ck_assert_int_eq(userfault_zero(&r.u, r.b, 0, 8 * n), 0);
	for (unsigned i = 0; i < PAGES; i++)
		check_page(&r, i,
			   i == 0 || i == 3 ? (uint8_t)(11 + i)
			   : i < 6          ? (uint8_t)(10 + i)
					    : 0);
	(void)munmap(from, PAGES * n);
	rig_fini(&r);
}

START_TEST(test_filling)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		check_filling(&kinds[i]);
}
END_TEST

/* ---- the fault thread ---- */

struct server {
	struct rig r;
	struct fault_thread thread;
	unsigned faults, woken; /* atomic */
	unsigned flags;         /* of the last fault */
	uint32_t tid;           /* ... who waited */
	uint8_t content[2 * MiB];
	unsigned ahead, more; /* atomic: calls of ahead(); how often it has something to do */
	int fail;             /* what handle() returns, when not 0 */
	int failed_fd;        /* wake: failed() was called */
	struct err why;
};

static int serve(void *opaque, const struct userfault_msg *msg)
{
	struct server *s = opaque;
	uint64_t off = 0;

	ck_assert_ptr_eq(userfault_block_at(&s->r.u, msg->hva, &off), s->r.b);
	off = ALIGN_DOWN(off, s->r.b->page_bytes);
	s->flags = msg->flags;
	s->tid = msg->tid;
	__atomic_add_fetch(&s->faults, 1, __ATOMIC_SEQ_CST);
	if (s->fail)
		return s->fail;
	if (msg->flags & USERFAULT_PROTECTED)
		return userfault_protect(&s->r.u, s->r.b, off, s->r.b->page_bytes, false);
	return userfault_copy(&s->r.u, s->r.b, off, s->content, s->r.b->page_bytes, false);
}

/* The next pages, one a call. */
static bool serve_ahead(void *opaque)
{
	struct server *s = opaque;
	unsigned n = __atomic_add_fetch(&s->ahead, 1, __ATOMIC_SEQ_CST);
	unsigned faults = __atomic_load_n(&s->faults, __ATOMIC_SEQ_CST);

	if (!faults || n > s->more)
		return false;
	ck_assert_int_eq(
	    userfault_protect(&s->r.u, s->r.b, n * s->r.b->page_bytes, s->r.b->page_bytes, false),
	    0);
	return true;
}

static void count_woken(void *opaque)
{
	struct server *s = opaque;

	__atomic_add_fetch(&s->woken, 1, __ATOMIC_SEQ_CST);
	wake_set(s->failed_fd);
}

static void note_failed(void *opaque, const struct err *why)
{
	struct server *s = opaque;

	s->why = *why;
	wake_set(s->failed_fd);
}

static const struct fault_ops server_ops = {
    .name = "test-fault", .handle = serve, .woken = count_woken, .failed = note_failed};
static const struct fault_ops ahead_ops = {
    .name = "test-fault", .handle = serve, .ahead = serve_ahead, .failed = note_failed};

static bool server_start_with(struct server *s, const struct kind *k, unsigned modes,
			      const struct fault_ops *ops)
{
	*s = (struct server){.failed_fd = wake_open()};
	s->content[0] = 42;
	if (!rig_init(&s->r, k, modes))
		return false;
	ck_assert_int_eq(fault_thread_start(&s->thread, &s->r.u, ops, s, NULL), 0);
	return true;
}

static bool server_start(struct server *s, const struct kind *k, unsigned modes)
{
	return server_start_with(s, k, modes, &server_ops);
}

static void server_stop(struct server *s)
{
	fault_thread_stop(&s->thread);
	rig_fini(&s->r);
	(void)close(s->failed_fd);
}

static struct server server; /* 2 MiB: not on the stack */

static void check_missing(const struct kind *k)
{
	if (!server_start(&server, k, USERFAULT_MISSING))
		return;
	check_page(&server.r, 2, 42);
	ck_assert_uint_eq(server.flags, 0);
	ck_assert_uint_eq(server.tid, (uint32_t)gettid());
	page(&server.r, 3)[0]++;
	ck_assert_uint_eq(server.flags, USERFAULT_WRITE);
	check_page(&server.r, 3, 43);
	ck_assert_uint_eq(server.faults, 2);
	/* All pages are there; then it may end. */
	ck_assert_int_eq(userfault_zero(&server.r.u, server.r.b, 0, server.r.b->bytes), 0);
	check_page(&server.r, 4, 0);
	server_stop(&server);
}

START_TEST(test_missing)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		check_missing(&kinds[i]);
}
END_TEST

/* Written, only read and (where the kernel can) never touched pages: a write makes a fault. */
static void check_protected(const struct kind *k)
{
	struct rig *r = &server.r;
	unsigned n = 2;

	if (!server_start(&server, k, USERFAULT_WP))
		return;
	page(r, 0)[0] = 1;
	ck_assert_uint_eq(*(volatile uint8_t *)page(r, 1), 0);
	ck_assert_uint_eq(server.faults, 0);
	ck_assert_int_eq(userfault_protect(&r->u, r->b, 0, r->b->bytes, true), 0);
	check_page(r, 0, 1); /* reading is free */
	ck_assert_uint_eq(server.faults, 0);
	page(r, 0)[0]++;
	page(r, 1)[0]++;
	if (r->u.wp_unpopulated || k->backend != RAM_ANONYMOUS || k->share) {
		page(r, 2)[0]++;
		n++;
	}
	ck_assert_uint_eq(server.faults, n);
	ck_assert_uint_eq(server.flags, USERFAULT_WRITE | USERFAULT_PROTECTED);
	page(r, 0)[0]++; /* released: once is enough */
	ck_assert_uint_eq(server.faults, n);
	check_page(r, 0, 3);
	server_stop(&server);
}

START_TEST(test_protected)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		check_protected(&kinds[i]);
}
END_TEST

/* What is done ahead, while no fault waits, makes no fault; when there is nothing the thread
 * sleeps. */
START_TEST(test_ahead)
{
	struct rig *r = &server.r;

	if (!server_start_with(&server, &kinds[0], USERFAULT_WP, &ahead_ops))
		return;
	memset(page(r, 0), 1, 4 * r->b->page_bytes);
	server.more = 3;
	ck_assert_int_eq(userfault_protect(&r->u, r->b, 0, r->b->bytes, true), 0);
	page(r, 0)[0]++;
	while (__atomic_load_n(&server.ahead, __ATOMIC_SEQ_CST) <= server.more)
		(void)sched_yield();
	for (unsigned i = 1; i <= server.more; i++)
		page(r, i)[0]++;
	ck_assert_uint_eq(server.faults, 1);
	server_stop(&server);
}
END_TEST

static void await(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	while (poll(&p, 1, -1) < 0)
		ck_assert_int_eq(errno, EINTR);
}

START_TEST(test_woken)
{
	ck_assert(server_start(&server, &kinds[0], USERFAULT_WP));
	fault_thread_wake(&server.thread);
	await(server.failed_fd);
	ck_assert_uint_eq(server.woken, 1);
	server_stop(&server);
}
END_TEST

/* ---- a fault thread that dies ---- */

struct victim {
	uint8_t *page;
	uint8_t *seen; /* shared with the parent: what it has read, plus 1 */
};

static void *touch(void *opaque)
{
	struct victim *v = opaque;

	*v->seen = (uint8_t)(*(volatile uint8_t *)v->page + 1);
	return NULL;
}

static uint8_t *seen;

static void die_with_faults_pending(void)
{
	struct victim v[2];
	pthread_t t[2];

	CHILD_CHECK(server_start(&server, &kinds[2], USERFAULT_MISSING));
	server.fail = -EIO;
	for (unsigned i = 0; i < 2; i++) {
		v[i] = (struct victim){.page = page(&server.r, i), .seen = &seen[i]};
		CHILD_CHECK(pthread_create(&t[i], NULL, touch, &v[i]) == 0);
	}
	await(server.failed_fd);
	CHILD_CHECK(strstr(server.why.msg, "Input/output error"));
	fault_thread_stop(&server.thread);
	userfault_close(&server.r.u); /* stays open: the two would go on with zeroes */
	_exit(0);
}

START_TEST(test_dead_thread)
{
	seen = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(seen != MAP_FAILED);
	for (unsigned i = 0; i < 20; i++) { /* the end of a process has many orders */
		in_child(die_with_faults_pending);
		ck_assert_uint_eq(seen[0], 0);
		ck_assert_uint_eq(seen[1], 0);
	}
	(void)munmap(seen, PAGE_BYTES);
}
END_TEST

CHECK_MAIN("userfault", test_open, test_disk_file_refused, test_registered_once, test_filling,
	   test_missing, test_protected, test_ahead, test_woken, test_dead_thread)
