/*
 * worker.c - what the Linux guest does while it is moved: work that can be checked
 *
 * One process per job, all counting in one shared page; the first process
 * reports on the console, which is slow, so lines are short:
 *
 *     W cpus=2 ram=112 disk=16 net=1     the work begins
 *     T 12 up=14.210 mem=8192 disk=96 net=40 err=0
 *         a line per work.beat milliseconds, numbered: uptime in seconds, then
 *         pages verified, disk blocks verified, network blocks echoed, and faults found so far
 *     E mem page 17 word 0 ...           a fault, when it is found (the first few)
 *     B                                  the power button was pressed
 *
 * A character read from the console: 's' a line now, 'd' the time of day, 'o' power off, 'r' reboot.
 *
 * memory   one process per CPU, pinned.  Each page holds words made from its
 *          number and a generation.  The first half of a region is written
 *          once and verified again and again; a page of the second half is
 *          verified, then written with the next generation.
 * disk     O_DIRECT: blocks of a pass are written, read back, and verified
 *          again before the next pass overwrites them.
 * net      one TCP connection for the whole life: blocks go out, the peer
 *          returns them.  Losing the connection is a fault.
 * clock    no process ever sees CLOCK_MONOTONIC behind a value that any
 *          process has seen before; CLOCK_REALTIME keeps its distance from it.
 *
 * From the kernel command line: work.mem=MiB per CPU (4), work.pause=ms after
 * each batch (20), work.beat=ms (1000), work.disk=1 (/dev/vda), work.net=IP (port 7000).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/input.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES      4096U
#define PAGE_WORDS      (PAGE_BYTES / sizeof(uint64_t))
#define BATCH_PAGES     16U
#define BLOCK_BYTES     65536U
#define BLOCK_WORDS     (BLOCK_BYTES / sizeof(uint64_t))
#define MAX_BLOCKS      256U
#define NET_WORDS       128U
#define NET_PORT        7000
#define MAX_FAULT_LINES 8U
#define CLOCK_SLACK_NS  1000000000LL
#define NS_PER_S        1000000000LL

struct span {
	int64_t least, most;
};

/* Shared by all processes. */
struct shared {
	atomic_ullong mem_pages, disk_blocks, net_blocks, faults;
	atomic_llong clock_ns; /* the latest CLOCK_MONOTONIC that any process has seen */
	int64_t realtime_ns;   /* CLOCK_REALTIME - CLOCK_MONOTONIC at start */
	unsigned mem_mib, pause_ms, beat_ms;
	bool disk, net;
	char peer[32];
	atomic_bool button; /* the power button was pressed */
};

static void fault(struct shared *sh, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void fault(struct shared *sh, const char *fmt, ...)
{
	char line[160];
	va_list ap;
	int n;

	if (atomic_fetch_add(&sh->faults, 1) >= MAX_FAULT_LINES)
		return;
	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	if ((size_t)n > sizeof(line) - 2)
		n = (int)sizeof(line) - 2;
	line[n] = '\n';
	if (write(STDOUT_FILENO, line, (size_t)n + 1) < 0)
		_exit(1);
}

static int64_t now_ns(clockid_t id)
{
	struct timespec ts = {0};

	if (clock_gettime(id, &ts) < 0)
		_exit(1);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

/* CLOCK_REALTIME - CLOCK_MONOTONIC.  The process may lose its processor between the two. */
static struct span realtime_offset(void)
{
	int64_t before = now_ns(CLOCK_MONOTONIC), real = now_ns(CLOCK_REALTIME);

	return (struct span){.least = real - now_ns(CLOCK_MONOTONIC), .most = real - before};
}

/* See the theory above; the latest value is read before the clock, so that no race looks like a
 * fault. */
static void check_clock(struct shared *sh)
{
	long long latest = atomic_load(&sh->clock_ns), now = now_ns(CLOCK_MONOTONIC);
	struct span off;

	if (now < latest)
		fault(sh, "E clock back %lld ns", latest - now);
	while (now > latest && !atomic_compare_exchange_weak(&sh->clock_ns, &latest, now))
		;
	off = realtime_offset();
	if (off.least > sh->realtime_ns + CLOCK_SLACK_NS ||
	    off.most < sh->realtime_ns - CLOCK_SLACK_NS) {
		fault(sh, "E realtime moved %lld to %lld ns",
		      (long long)(off.least - sh->realtime_ns),
		      (long long)(off.most - sh->realtime_ns));
		sh->realtime_ns = off.least;
	}
}

static void pause_ms(unsigned ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

/* ---- patterns: words that say which page or block they are and of which generation ---- */

static uint64_t first_word(uint64_t index, uint64_t generation)
{
	return (index << 40) ^ (generation * 0x9e3779b97f4a7c15ULL);
}

static void fill(uint64_t *w, size_t n, uint64_t index, uint64_t generation)
{
	uint64_t v = first_word(index, generation);

	for (size_t i = 0; i < n; i++)
		w[i] = v + i;
}

static void verify(struct shared *sh, const char *what, const uint64_t *w, size_t n, uint64_t index,
		   uint64_t generation)
{
	unsigned long long want = first_word(index, generation);

	for (size_t i = 0; i < n; i++, want++) {
		if (w[i] != want) {
			fault(sh, "E %s %llu gen %llu word %zu: %llx not %llx", what,
			      (unsigned long long)index, (unsigned long long)generation, i,
			      (unsigned long long)w[i], want);
			return;
		}
	}
}

/* ---- the jobs ---- */

static void mem_job(struct shared *sh, int cpu)
{
	size_t pages = (size_t)sh->mem_mib * (1024 * 1024 / PAGE_BYTES), still = pages / 2;
	uint64_t *mem = mmap(NULL, pages * PAGE_BYTES, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (mem == MAP_FAILED || sched_setaffinity(0, sizeof(set), &set) < 0) {
		fault(sh, "E mem cannot start: errno %d", errno);
		_exit(1);
	}
	for (size_t p = 0; p < pages; p++)
		fill(mem + p * PAGE_WORDS, PAGE_WORDS, p, 1);
	for (uint64_t generation = 1;; generation++) {
		for (size_t p = 0; p < pages; p++) {
			uint64_t *page = mem + p * PAGE_WORDS;

			verify(sh, "mem", page, PAGE_WORDS, p, p < still ? 1 : generation);
			if (p >= still)
				fill(page, PAGE_WORDS, p, generation + 1);
			atomic_fetch_add(&sh->mem_pages, 1);
			if (p % BATCH_PAGES == 0) {
				check_clock(sh);
				pause_ms(sh->pause_ms);
			}
		}
	}
}

static void disk_io(struct shared *sh, int fd, bool writes, void *buf, uint64_t block)
{
	int64_t off = (int64_t)block * BLOCK_BYTES;
	ssize_t n = writes ? pwrite(fd, buf, BLOCK_BYTES, off) : pread(fd, buf, BLOCK_BYTES, off);

	if (n != (ssize_t)BLOCK_BYTES)
		fault(sh, "E disk %s block %llu: %zd errno %d", writes ? "write" : "read",
		      (unsigned long long)block, n, errno);
}

static void disk_job(struct shared *sh)
{
	int fd = open("/dev/vda", O_RDWR | O_DIRECT | O_CLOEXEC);
	uint64_t *buf = aligned_alloc(PAGE_BYTES, BLOCK_BYTES), bytes = 0, blocks;

	if (fd < 0 || !buf || ioctl(fd, BLKGETSIZE64, &bytes) < 0 || bytes < BLOCK_BYTES) {
		fault(sh, "E disk cannot start: errno %d", errno);
		_exit(1);
	}
	blocks = bytes / BLOCK_BYTES < MAX_BLOCKS ? bytes / BLOCK_BYTES : MAX_BLOCKS;
	for (uint64_t pass = 1;; pass++) {
		for (uint64_t b = 0; b < blocks; b++) {
			if (pass > 1) {
				disk_io(sh, fd, false, buf, b);
				verify(sh, "disk", buf, BLOCK_WORDS, b, pass - 1);
			}
			fill(buf, BLOCK_WORDS, b, pass);
			disk_io(sh, fd, true, buf, b);
			memset(buf, 0, BLOCK_BYTES);
			disk_io(sh, fd, false, buf, b);
			verify(sh, "disk", buf, BLOCK_WORDS, b, pass);
			atomic_fetch_add(&sh->disk_blocks, 1);
			pause_ms(sh->pause_ms);
		}
		if (fdatasync(fd) < 0)
			fault(sh, "E disk flush: errno %d", errno);
	}
}

static int net_connect(const struct shared *sh)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(NET_PORT)};
	int fd;

	if (inet_pton(AF_INET, sh->peer, &to.sin_addr) != 1)
		return -EINVAL;
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		int ret = -errno;

		close(fd);
		return ret;
	}
	return fd;
}

/* Send the block and take its echo; false when the connection is gone. */
static bool net_echo(int fd, uint64_t *words, size_t bytes)
{
	if (send(fd, words, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
		return false;
	memset(words, 0, bytes);
	return recv(fd, words, bytes, MSG_WAITALL) == (ssize_t)bytes;
}

static void net_job(struct shared *sh)
{
	uint64_t words[NET_WORDS];
	int fd = net_connect(sh);

	for (int tries = 0; fd < 0 && tries < 10; tries++) {
		pause_ms(500);
		fd = net_connect(sh);
	}
	if (fd < 0) {
		fault(sh, "E net cannot connect to %s: errno %d", sh->peer, -fd);
		_exit(1);
	}
	for (uint64_t seq = 0;; seq++) {
		fill(words, NET_WORDS, seq, 1);
		if (!net_echo(fd, words, sizeof(words))) {
			fault(sh, "E net lost after %llu blocks: errno %d", (unsigned long long)seq,
			      errno);
			_exit(1);
		}
		verify(sh, "net", words, NET_WORDS, seq, 1);
		atomic_fetch_add(&sh->net_blocks, 1);
		pause_ms(sh->pause_ms);
	}
}

/*
 * By the first process only.  The kernel takes its devices down before it
 * ends: the jobs must have gone, or they would see errors.
 */
static void end_machine(int how)
{
	if (kill(-1, SIGKILL) < 0 && errno != ESRCH)
		_exit(1);
	while (waitpid(-1, NULL, 0) > 0)
		;
	sync();
	if (reboot(how) < 0)
		_exit(1);
}

/* The first input device is the power button; without one this process just ends. */
static void button_job(struct shared *sh)
{
	struct input_event ev;
	int fd = open("/dev/input/event0", O_RDONLY | O_CLOEXEC);

	while (fd >= 0 && read(fd, &ev, sizeof(ev)) == (ssize_t)sizeof(ev)) {
		if (ev.type == EV_KEY && ev.code == KEY_POWER && ev.value == 1)
			atomic_store(&sh->button, true);
	}
}

/* ---- start and report ---- */

/* Copies the value of "name=value" on the kernel command line, or the default. */
static void option(const char *cmdline, const char *name, const char *def, char *out, size_t size)
{
	size_t len = strlen(name);
	const char *p = cmdline;

	while ((p = strstr(p, name)) && p[len] != '=')
		p += len;
	p = p ? p + len + 1 : def;
	len = strcspn(p, " \n");
	if (len >= size)
		len = size - 1;
	memcpy(out, p, len);
	out[len] = '\0';
}

static unsigned option_number(const char *cmdline, const char *name, const char *def)
{
	char text[16];

	option(cmdline, name, def, text, sizeof(text));
	return (unsigned)strtoul(text, NULL, 10);
}

static void read_options(struct shared *sh)
{
	char cmdline[2048] = "";
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, cmdline, sizeof(cmdline) - 1);

	cmdline[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
	sh->mem_mib = option_number(cmdline, "work.mem", "4");
	sh->pause_ms = option_number(cmdline, "work.pause", "20");
	sh->beat_ms = option_number(cmdline, "work.beat", "1000");
	sh->disk = option_number(cmdline, "work.disk", "0") != 0;
	option(cmdline, "work.net", "", sh->peer, sizeof(sh->peer));
	sh->net = sh->peer[0] != '\0';
}

static void start_jobs(struct shared *sh, int cpus)
{
	for (int cpu = 0; cpu < cpus; cpu++) {
		if (fork() == 0) {
			mem_job(sh, cpu);
			_exit(0);
		}
	}
	if (sh->disk && fork() == 0) {
		disk_job(sh);
		_exit(0);
	}
	if (sh->net && fork() == 0) {
		net_job(sh);
		_exit(0);
	}
	if (fork() == 0) {
		button_job(sh);
		_exit(0);
	}
}

static void report(struct shared *sh, unsigned long n)
{
	int64_t up_ms = now_ns(CLOCK_MONOTONIC) / 1000000;

	check_clock(sh);
	printf("T %lu up=%lld.%03lld mem=%llu disk=%llu net=%llu err=%llu\n", n,
	       (long long)(up_ms / 1000), (long long)(up_ms % 1000), atomic_load(&sh->mem_pages),
	       atomic_load(&sh->disk_blocks), atomic_load(&sh->net_blocks),
	       atomic_load(&sh->faults));
}

/* Characters as they come, without echo. */
static void console_raw(void)
{
	struct termios t;

	if (tcgetattr(STDIN_FILENO, &t) < 0)
		return;
	t.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	if (tcsetattr(STDIN_FILENO, TCSANOW, &t) < 0)
		_exit(1);
}

/* One character from the console, if there is one. */
static void obey(void)
{
	char c;

	if (read(STDIN_FILENO, &c, 1) != 1)
		return;
	if (c == 'd')
		printf("D %lld\n", (long long)(now_ns(CLOCK_REALTIME) / 1000000));
	if (c == 'o')
		end_machine(RB_POWER_OFF);
	if (c == 'r')
		end_machine(RB_AUTOBOOT);
}

int main(void)
{
	struct shared *sh =
	    mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	struct sysinfo si = {0};
	struct span at_start;
	int cpus = get_nprocs();

	if (sh == MAP_FAILED || sysinfo(&si) < 0)
		return 1;
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	console_raw();
	read_options(sh);
	do {
		at_start = realtime_offset();
	} while (at_start.most - at_start.least > CLOCK_SLACK_NS / 10);
	sh->realtime_ns = at_start.least;
	printf("W cpus=%d ram=%lu disk=%d net=%d\n", cpus, si.totalram / 1048576, sh->disk,
	       sh->net);
	start_jobs(sh, cpus);
	for (unsigned long n = 1;; n++) {
		report(sh, n);
		if (poll(&in, 1, (int)sh->beat_ms) > 0)
			obey();
		if (atomic_load(&sh->button)) {
			puts("B");
			end_machine(RB_POWER_OFF);
		}
	}
}
