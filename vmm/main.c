/* main.c - reads options, builds the machine, runs the loop */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "arch/x86/x86.h"
#include "devices/device-table.h"
#include "devices/microvm.h"
#include "migration/migration.h"
#include "migration/settings/manual.h"
#include "migration/snapshot/snapshot.h"
#include "qmp/channels.h"
#include "qmp/object-kinds.h"
#include "qmp/reference.h"
#include "qmp/runtime-text.h"
#include "qmp/server.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/leftovers.h"
#include "vmm/base/log.h"
#include "vmm/base/terminal.h"
#include "vmm/base/thread.h"
#include "vmm/base/units.h"
#include "vmm/end-guard.h"
#include "vmm/host.h"
#include "vmm/job.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/memory/missing.h"
#include "vmm/merge-watch.h"
#include "vmm/objects.h"
#include "vmm/options/config.h"
#include "vmm/options/options.h"
#include "vmm/runtime-entry.h"
#include "vmm/vmstate-dump.h"

struct program {
	struct config cfg;
	struct host host;
	struct machine *m;
	struct backends be;
	struct migration *mg;
	struct qmp_server *qmp;
	struct loop_fd *signals;
	struct merge_watch *merging;
	int pid_fd;
	struct runtime_entry entry; /* for minivmm-ctl */
	int ready_fd;               /* daemonize: the parent waits for a byte here; else -1 */
};

/* ---- daemonize, pid file ---- */

/* The parent waits until the child is ready, and passes its status on. */
static void wait_for_child(int fd)
{
	unsigned char status;

	_exit(read(fd, &status, 1) == 1 ? status : 1);
}

/* Before any thread or KVM descriptor exists.  Only the child returns. */
static int daemonize(struct program *p, struct err *err)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_set(err, errno, "cannot daemonize: %s", err_text(errno));
	pid = fork();
	if (pid < 0)
		return err_set(err, errno, "cannot daemonize: %s", err_text(errno));
	if (pid > 0) {
		(void)close(fds[1]);
		wait_for_child(fds[0]);
	}
	(void)close(fds[0]);
	(void)setsid();
	p->ready_fd = fds[1];
	if (host_keep_folder(&p->host, err) < 0)
		return -EIO;
	config_make_absolute(&p->cfg, p->host.folder);
	return p->cfg.logfile ? log_open(p->cfg.logfile, err) : 0; /* known by its whole path */
}

static void tell_parent(struct program *p)
{
	int null;

	if (p->ready_fd < 0)
		return;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; null >= 0 && fd <= STDERR_FILENO; fd++)
		(void)dup2(null, fd);
	if (null > STDERR_FILENO)
		(void)close(null);
	log_use_stderr();
	(void)!chdir("/");
	(void)!write(p->ready_fd, "", 1);
	(void)close(p->ready_fd);
	p->ready_fd = -1;
}

/* The file stays open and locked while we live, so that a stale one can be told. */
static int write_pidfile(struct program *p, struct err *err)
{
	const char *path = p->cfg.pidfile;
	char text[16];
	int n, fd;

	if (!path)
		return 0;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_set(err, errno,
			       "-pidfile %s: cannot create PID file: Could not create '%s': %s",
			       path, path, err_text(errno));
	n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	if (flock(fd, LOCK_EX | LOCK_NB) < 0 || ftruncate(fd, 0) < 0 ||
	    write(fd, text, (size_t)n) != n) {
		(void)err_set(err, errno, "-pidfile %s: cannot create PID file: '%s' is in use: %s",
			      path, path, err_text(errno));
		(void)close(fd);
		return -EBUSY;
	}
	p->pid_fd = fd;
	leftover_add(path);
	return 0;
}

/* Behind the guest's start, which it does not hold up; without one the program is only not listed.
 */
static void add_entry(struct program *p)
{
	struct buf text = {0};

	if (p->cfg.n_monitors && runtime_text(&text, &p->cfg))
		(void)runtime_entry_add(&p->entry, text.data, text.len);
	buf_free(&text);
}

/* ---- signals ---- */

/* SIGHUP, while the terminal lives: a program that rotates logs asks for new files. */
static bool reopen_logs(struct program *p)
{
	struct err err = {0};

	if (!p->cfg.logfile && !chardevs_have_logs(&p->be.chardevs))
		return false;
	if (log_reopen(&err) < 0)
		log_warn("%s", err.msg);
	chardevs_reopen_logs(&p->be.chardevs);
	return true;
}

static void on_signal(void *opaque, int ready)
{
	struct program *p = opaque;
	bool by_terminal = false;
	int signum = host_next_signal(&p->host, &by_terminal);

	(void)ready;
	if (!signum || (signum == SIGHUP && !by_terminal && reopen_logs(p)))
		return;
	log_info("terminating on signal %d", signum);
	machine_request_exit(p->m, 0, CAUSE_HOST_SIGNAL);
}

/* ---- building ---- */

static int dump_dtb(const struct program *p, struct err *err)
{
	const char *path = p->cfg.dumpdtb;
	struct buf fdt = {0};
	int ret = x86_build_fdt(p->m, &fdt, err);
	FILE *f = ret < 0 ? NULL : fopen(path, "we");

	if (ret >= 0 && !f)
		ret = err_set(err, errno, "cannot write the device tree to '%s': %s", path,
			      err_text(errno));
	if (f && (fwrite(fdt.data, 1, fdt.len, f) != fdt.len || fflush(f)))
		ret = err_set(err, EIO, "cannot write the device tree to '%s'", path);
	if (f && fclose(f) && ret >= 0)
		ret = err_set(err, EIO, "cannot write the device tree to '%s'", path);
	buf_free(&fdt);
	return ret;
}

static int program_build(struct program *p, struct err *err)
{
	struct machine *m = p->m;
	/* Memory first: behind the interrupt controllers the first slot takes milliseconds. */
	int ret;

	if (p->cfg.no_board)
		return chardevs_open(&p->be.chardevs, m, err);
	host_let_signals_kill(&p->host, true); /* to populate it takes long, and leaves nothing */
	ret = microvm_create_memory(m, err);
	host_let_signals_kill(&p->host, false);
	if (ret >= 0)
		ret = x86_create(m, err);
	if (ret >= 0)
		ret = chardevs_open(&p->be.chardevs, m, err);
	if (ret >= 0)
		ret = block_nodes_open(&p->be.blocks, &p->cfg, err);
	if (ret >= 0)
		ret = net_backends_open(&p->be.nets, m, err);
	if (ret >= 0)
		ret = microvm_create_devices(m, &p->be, err);
	if (ret >= 0)
		ret = x86_load_boot_files(m, err);
	if (ret >= 0)
		ret = machine_add_vcpus(m, p->cfg.cpus, err);
	return ret;
}

/* "defer" implies a manager that can query the error; without one the program ends with it. */
static int await_guest(struct program *p, struct err *err)
{
	const char *uri = p->cfg.incoming;
	bool exits = p->cfg.exit_on_error == CFG_ON ||
		     (p->cfg.exit_on_error == CFG_AUTO && strcmp(uri, "defer") != 0);
	struct migration_where where = {.uri = uri};
	struct migration_uri members;
	struct qmp_pool pool;
	int ret = 0;

	migration_set_exit_on_error(p->mg, exits, false);
	qmp_pool_init(&pool);
	if (*uri == '{') {
		ret = qmp_channel_parse(&pool, uri, &members, err);
		where = (struct migration_where){.members = &members};
	}
	if (ret == 0)
		ret = migration_incoming(p->mg, &where, -1, false, err);
	qmp_pool_fini(&pool);
	if (ret < 0 && p->cfg.exit_on_error == CFG_OFF) {
		migration_incoming_refused(p->mg, err);
		return 0;
	}
	return ret < 0 ? err_prefix(err, ret, "-incoming %s", uri) : 0;
}

/* The loop does not run yet, so this may wait.  Machine lock held; given up meanwhile. */
static int load_snapshot(struct program *p, struct err *err)
{
	struct snapshot_request r = {.blocks = &p->be.blocks, .tag = p->cfg.loadvm};
	int ret;

	machine_unlock(p->m);
	host_let_signals_kill(&p->host, true);
	ret = snapshot_load(migration_snapshots(p->mg), &r, NULL, err);
	host_let_signals_kill(&p->host, false);
	machine_lock(p->m);
	return ret < 0 ? err_prefix(err, ret, "-loadvm %s", p->cfg.loadvm) : 0;
}

static int program_run(struct program *p, struct err *err)
{
	struct machine *m = p->m;
	int ret;

	if (p->cfg.no_board) /* prelaunch, for ever */
		return 0;
	if (p->cfg.incoming) {
		ret = machine_set_state(m, RS_INMIGRATE, err);
		if (ret >= 0)
			ret = machine_reset(m, err);
		return ret < 0 ? ret : await_guest(p, err);
	}
	ret = machine_reset(m, err);
	if (ret >= 0 && p->cfg.loadvm)
		ret = load_snapshot(p, err);
	if (ret >= 0 && !p->cfg.paused)
		ret = machine_start(m, err);
	return ret;
}

/* At start: checks for enough free descriptors, so that the message can say how many. */
static int fds_needed(const struct config *cfg)
{
	size_t devices = cfg->n_devices + cfg->n_blockdevs + cfg->n_netdevs + cfg->n_chardevs;

	return (int)(28 + 3 * cfg->cpus + 4 * devices);
}

/* Without all of these nothing would ever happen.  Asked last: an option that is wrong is named
 * first. */
static int check_purpose(const struct config *cfg, struct err *err)
{
	if (cfg->kernel || cfg->bios || cfg->paused || cfg->incoming || cfg->loadvm ||
	    cfg->n_monitors || cfg->dumpdtb || cfg->dump_vmstate)
		return 0;
	return err_set(err, EINVAL,
		       "there is nothing to run: give -kernel FILE or -bios FILE, -incoming URI to "
		       "take a guest in, or a monitor (-qmp) or -S to decide later");
}

/* 0: run the loop; 1: all is done; -errno. */
static int program_start(struct program *p, struct err *err)
{
	int ret = host_check_room(fds_needed(&p->cfg), err);

	if (ret >= 0)
		ret = host_take_signals(&p->host, err);
	if (ret < 0)
		return ret;
	ret = host_pass_fds(&p->host, &p->cfg, err);
	if (ret < 0)
		return ret;
	p->m = machine_new(&p->cfg, err);
	if (!p->m)
		return -EIO;
	p->m->host = &p->host;
	machine_lock(p->m);
	ret = objects_start(p->m, object_kinds, err);
	if (ret >= 0)
		ret = program_build(p, err);
	if (ret >= 0 && p->cfg.dumpdtb) {
		ret = dump_dtb(p, err);
		machine_unlock(p->m);
		return ret < 0 ? err_prefix(err, ret, "-machine dumpdtb=%s", p->cfg.dumpdtb) : 1;
	}
	if (ret >= 0) {
		p->mg = migration_new(p->m, err);
		ret = p->mg ? 0 : -EIO;
	}
	if (ret >= 0 && p->cfg.dump_vmstate) {
		ret = vms_dump(&p->m->vmstate, "microvm", p->cfg.dump_vmstate, err);
		machine_unlock(p->m);
		return ret < 0 ? err_prefix(err, ret, "-dump-vmstate %s", p->cfg.dump_vmstate) : 1;
	}
	if (ret >= 0)
		ret = check_purpose(&p->cfg, err);
	if (ret >= 0) {
		p->qmp = qmp_server_new(p->m, &p->be, p->mg, err);
		ret = p->qmp ? 0 : -EIO;
	}
	if (ret >= 0)
		ret = write_pidfile(p, err);
	if (ret >= 0)
		ret = qmp_server_start(p->qmp, err);
	if (ret >= 0) {
		p->signals =
		    loop_fd_add(p->m->loop, p->host.signal_fd, LOOP_READABLE, on_signal, p);
		p->merging = merge_watch_new(p->m);
		ret = program_run(p, err);
	}
	machine_unlock(p->m);
	return ret;
}

/* False: something is left that cannot be waited for: a name server, a disk. */
static bool program_end(struct program *p, int status)
{
	struct end_guard guard = {.stop_fd = -1};
	bool all = true;

	if (p->m) {
		end_guard_start(&guard, status);
		all = machine_quit(p->m) && jobs_end(p->m);
		machine_lock(p->m);
		if (p->mg)
			migration_report_given_up(p->mg);
		qmp_server_stop(p->qmp);
		if (all)
			qmp_server_free(p->qmp);
		machine_unlock(p->m);
		/* Threads that wait for a page that does not come cannot be waited for. */
		all = all && (!p->mg || migration_check_pages(p->mg, NULL) == 0);
		if (all)
			migration_free(p->mg);
		all = all && machine_end(p->m) && memory_end_missing(&p->m->mem);
		loop_fd_del(p->signals);
		merge_watch_free(p->merging);
		if (all) {
			net_backends_close(&p->be.nets);
			block_nodes_close(&p->be.blocks);
			end_guard_stop(&guard);
		}
		chardevs_close(&p->be.chardevs);
		if (all) {
			all = !loop_left_behind(p->m->loop);
			machine_free(p->m);
		}
	}
	runtime_entry_remove(&p->entry);
	if (p->pid_fd >= 0) {
		leftover_forget(p->cfg.pidfile);
		(void)unlink(p->cfg.pidfile);
		(void)close(p->pid_fd);
	}
	terminal_restore();
	log_close();
	if (!all || p->host.abandoned) /* a thread that is left may look at them */
		return false;
	fdset_end();
	config_fini(&p->cfg);
	host_fini(&p->host);
	return all;
}

/* What the options alone do not know. */
static void print_text(enum config_text text)
{
	if (text == TEXT_CPU_MODELS)
		x86_list_cpu_models(stdout);
	else if (text == TEXT_MAN)
		options_print_man(stdout, &device_table, migration_manual);
	else if (text == TEXT_COMPLETION)
		options_print_completion(stdout, COMPLETION_BASH, &device_table, migration_manual);
	else if (text == TEXT_COMPLETION_ZSH)
		options_print_completion(stdout, COMPLETION_ZSH, &device_table, migration_manual);
	else if (text == TEXT_QMP_MARKDOWN)
		qmp_reference_print(stdout, QMP_REFERENCE_MARKDOWN);
	else if (text == TEXT_QMP_MAN)
		qmp_reference_print(stdout, QMP_REFERENCE_MAN);
}

int main(int argc, char **argv)
{
	struct program p = {.pid_fd = -1, .ready_fd = -1, .entry.fd = -1};
	struct err err = {0};
	int ret, status;

	/* Fixed, where glibc would raise it: a large request's memory goes back to the host. */
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): there is no other thread yet */
	(void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
	host_init(&p.host);
	log_use_stderr();
	ret = options_parse(&p.cfg, &device_table, argc, argv, &err);
	if (ret == 0 && p.cfg.text) {
		print_text(p.cfg.text);
		ret = 1;
	}
	if (ret == 0) {
		(void)signal(SIGPIPE, SIG_IGN);
		(void)signal(SIGXFSZ, SIG_IGN); /* a file that is too large is an error, EFBIG */
		log_set_timestamp(p.cfg.log_timestamp);
		if (p.cfg.process)
			(void)prctl(PR_SET_NAME, p.cfg.process);
		threads_named(p.cfg.debug_threads);
		ret = p.cfg.logfile ? log_open(p.cfg.logfile, &err) : 0;
		if (ret < 0)
			ret = err_prefix(&err, ret, "-D %s", p.cfg.logfile);
	}
	if (ret == 0 && p.cfg.exit_with_parent)
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (ret == 0 && p.cfg.daemonize)
		ret = daemonize(&p, &err);
	if (ret == 0)
		ret = program_start(&p, &err);
	if (ret < 0)
		log_error("%s", err.msg);
	if (ret == 0) {
		add_entry(&p);
		tell_parent(&p);
		chardevs_start(&p.be.chardevs);
		loop_run(p.m->loop);
	}
	status = ret < 0 ? 1 : p.m ? p.m->exit_status : 0;
	if (!program_end(&p, status)) {
		(void)fflush(NULL);
		_exit(status);
	}
	return status;
}
