/* Moving between two machines without KVM: every kind of address, cancel, failures on both sides.
 */
#include "tests/unit/check-main.h"
#include "tests/unit/migration-rig.h"

#define SOURCE_EVENTS "setup PASS active PASS STOP device PASS completed"

static char uri[320];

static const char *at_unix(void)
{
	(void)snprintf(uri, sizeof(uri), "unix:%s/s", rig_dir());
	return uri;
}

static void check_moved(struct rig *s, struct rig *d)
{
	rig_await(s, MIG_COMPLETED);
	rig_await(d, MIG_COMPLETED);
	rig_check_same(s, d);
	ck_assert_int_eq(rig_state(s), RS_POSTMIGRATE);
	ck_assert_int_eq(rig_state(d), RS_RUNNING);
	ck_assert(s->dev.given && !d->dev.given);
}

START_TEST(test_unix)
{
	struct rig *s = rig_new(RS_PRELAUNCH), *d = rig_new(RS_INMIGRATE);
	struct migration_info info;

	rig_fill(s, 7);
	memset(rig_block(d, 0)->hva + 5 * PAGE_BYTES, 0xee, PAGE_BYTES); /* must become zero */
	rig_run_guest(s);
	ck_assert_int_eq(rig_incoming(d, at_unix(), NULL), 0);
	info = rig_query(d);
	ck_assert(info.has_address && info.address.type == ADDR_UNIX);
	ck_assert_int_eq(rig_migrate(s, uri, NULL), 0);
	check_moved(s, d);
	ck_assert_str_eq(s->events, SOURCE_EVENTS);
	ck_assert_str_eq(d->events, "setup active RESUME completed");
	info = rig_query(s);
	ck_assert(info.has_downtime && info.has_ram && info.percent == 100);
	ck_assert_uint_eq(info.ram.total, RIG_RAM_BYTES + RIG_BIOS_BYTES);
	ck_assert_uint_eq(info.ram.normal + info.ram.duplicate + info.ram.skipped,
			  info.ram.total / PAGE_BYTES);
	ck_assert_uint_gt(info.ram.skipped, 0);
	ck_assert_uint_eq(info.ram.transferred, info.ram.precopy_bytes + info.ram.downtime_bytes);
	ck_assert(!rig_query(d).has_address);
	rig_free(s);
	rig_free(d);
	rig_remove_dir();
}
END_TEST

START_TEST(test_tcp_and_back)
{
	struct rig *s = rig_new(RS_PRELAUNCH), *d = rig_new(RS_INMIGRATE);
	struct migration_info info;

	rig_fill(s, 9);
	rig_run_guest(s);
	ck_assert_int_eq(rig_incoming(d, "tcp:127.0.0.1:0", NULL), 0);
	info = rig_query(d);
	ck_assert_str_eq(info.address.host, "127.0.0.1");
	(void)snprintf(uri, sizeof(uri), "tcp:127.0.0.1:%s", info.address.port);
	ck_assert_int_eq(rig_migrate(s, uri, NULL), 0);
	check_moved(s, d);
	/* A machine that has arrived may move on. */
	rig_free(s);
	s = rig_new(RS_INMIGRATE);
	ck_assert_int_eq(rig_incoming(s, "tcp:localhost:0", NULL), 0);
	info = rig_query(s);
	(void)snprintf(uri, sizeof(uri), "tcp:%s%s%s:%s", info.address.ipv6 ? "[" : "",
		       info.address.host, info.address.ipv6 ? "]" : "", info.address.port);
	ck_assert_int_eq(rig_migrate(d, uri, NULL), 0);
	check_moved(d, s);
	rig_free(s);
	rig_free(d);
}
END_TEST

START_TEST(test_name_lookup)
{
	struct rig *s = rig_new(RS_PRELAUNCH);
	struct migration_info info;

	rig_run_guest(s);
	ck_assert_int_eq(rig_migrate(s, "tcp:localhost:1", NULL), 0);
	rig_await(s, MIG_FAILED);
	info = rig_query(s);
	ck_assert_str_eq(info.error_desc, "Failed to connect to 'localhost:1': Connection refused");
	ck_assert_str_eq(s->events, "setup failed");
	ck_assert_int_eq(rig_state(s), RS_RUNNING);
	rig_free(s);
}
END_TEST

/* Save, end, load: over file: and exec:. */
static void save_and_load(const char *out, const char *in)
{
	struct rig *s = rig_new(RS_PRELAUNCH), *d = rig_new(RS_INMIGRATE);

	rig_fill(s, 3);
	rig_run_guest(s);
	ck_assert_int_eq(rig_migrate(s, out, NULL), 0);
	rig_await(s, MIG_COMPLETED);
	ck_assert_str_eq(s->events, SOURCE_EVENTS);
	ck_assert_int_eq(rig_incoming(d, in, NULL), 0);
	check_moved(s, d);
	rig_free(s);
	rig_free(d);
}

START_TEST(test_file_and_exec)
{
	char file[128], out[160], in[160];
	struct stat st;

	(void)snprintf(file, sizeof(file), "%s/saved", rig_dir());
	(void)snprintf(out, sizeof(out), "file:%s", file);
	save_and_load(out, out);
	ck_assert_int_eq(stat(file, &st), 0);
	(void)snprintf(out, sizeof(out), "file:%s,offset=8192", file);
	(void)snprintf(in, sizeof(in), "file:%s,offset=0x2000", file);
	save_and_load(out, in);
	(void)snprintf(out, sizeof(out), "file:%s,offset=8k", file);
	save_and_load(out, in);
	(void)snprintf(out, sizeof(out), "exec:gzip -1 > %s", file);
	(void)snprintf(in, sizeof(in), "exec:gzip -dc < %s", file);
	save_and_load(out, in);
	rig_remove_dir();
}
END_TEST

START_TEST(test_offset_keeps_header)
{
	struct rig *s = rig_new(RS_PRELAUNCH);
	char file[128], out[160];
	struct buf b = {0};
	FILE *f;

	(void)snprintf(file, sizeof(file), "%s/saved", rig_dir());
	f = fopen(file, "wbe");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs("HEADER", f), 0);
	ck_assert_int_eq(fclose(f), 0);
	(void)snprintf(out, sizeof(out), "file:%s,offset=4096", file);
	ck_assert_int_eq(rig_migrate(s, out, NULL), 0);
	rig_await(s, MIG_COMPLETED);
	rig_read_file(file, &b);
	ck_assert_mem_eq(b.data, "HEADER", 6);
	ck_assert_mem_eq(b.data + 4096, "QEVM", 4);
	buf_free(&b);
	rig_free(s);
	rig_remove_dir();
}
END_TEST

#define PIPE "Unable to write to command: Broken pipe ("

START_TEST(test_exec_that_fails)
{
	static const struct {
		const char *uri, *error;
	} cases[] = {
	    {"exec:false",                  PIPE "the command ended with status 1)"  },
	    {"exec:exit 3",                 PIPE "the command ended with status 3)"  },
	    {"exec:kill -9 $$",             PIPE "the command was ended by signal 9)"},
	    {"exec:",		       PIPE "the command ended with status 0)"  },
	    {"exec:cat >/dev/null; exit 3", "the command ended with status 3"        },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct rig *s = rig_new(RS_PRELAUNCH);

		rig_fill(s, 3);
		rig_run_guest(s);
		ck_assert_int_eq(rig_migrate(s, cases[i].uri, NULL), 0);
		rig_await(s, MIG_FAILED);
		ck_assert_str_eq(rig_query(s).error_desc, cases[i].error);
		rig_await_state(s, RS_RUNNING);
		ck_assert(!s->dev.given);
		rig_free(s);
	}
}
END_TEST

START_TEST(test_cancelled_file_leaves_older)
{
	struct rig *s = rig_new(RS_PRELAUNCH);
	char file[128], out[160], cmd[160];
	struct buf b = {0};
	FILE *f;

	(void)snprintf(file, sizeof(file), "%s/saved", rig_dir());
	f = fopen(file, "wbe");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs("older", f), 0);
	ck_assert_int_eq(fclose(f), 0);
	rig_fill(s, 1);
	rig_run_guest(s);
	rig_parameter(s, "max-bandwidth", "1");
	(void)snprintf(out, sizeof(out), "file:%s", file);
	ck_assert_int_eq(rig_migrate(s, out, NULL), 0);
	rig_await(s, MIG_ACTIVE);
	rig_cancel(s);
	rig_await(s, MIG_CANCELLED);
	ck_assert_str_eq(s->events, "setup PASS active cancelling cancelled");
	rig_read_file(file, &b);
	ck_assert_uint_eq(b.len, 5);
	(void)snprintf(cmd, sizeof(cmd), "test $(ls -A %s | wc -l) = 1", rig_dir());
	ck_assert_int_eq(system(cmd), 0);
	/* and once more, to the end */
	rig_parameter(s, "max-bandwidth", "0");
	ck_assert_int_eq(rig_migrate(s, out, NULL), 0);
	rig_await(s, MIG_COMPLETED);
	buf_clear(&b);
	rig_read_file(file, &b);
	ck_assert_mem_eq(b.data, "QEVM", 4);
	buf_free(&b);
	rig_free(s);
	rig_remove_dir();
}
END_TEST

START_TEST(test_cancel_active)
{
	struct rig *s = rig_new(RS_PRELAUNCH), *d = rig_new(RS_INMIGRATE);

	rig_fill(s, 1);
	rig_run_guest(s);
	rig_parameter(s, "max-bandwidth", "1");
	ck_assert_int_eq(rig_incoming(d, at_unix(), NULL), 0);
	ck_assert_int_eq(rig_migrate(s, uri, NULL), 0);
	rig_await(s, MIG_ACTIVE);
	rig_cancel(s);
	rig_await(s, MIG_CANCELLED);
	ck_assert_int_eq(rig_state(s), RS_RUNNING);
	rig_await(d, MIG_FAILED);
	ck_assert_int_eq(rig_state(d), RS_INMIGRATE);
	ck_assert_ptr_nonnull(strstr(rig_query(d).error_desc, "the stream ends at offset"));
	rig_free(s);
	rig_free(d);
	rig_remove_dir();
}
END_TEST

START_TEST(test_cancel_connecting)
{
	struct rig *s = rig_new(RS_PRELAUNCH);

	rig_run_guest(s);
	/* TEST-NET-1: no host answers; where the host refuses at once it fails instead */
	ck_assert_int_eq(rig_migrate(s, "tcp:192.0.2.1:4444", NULL), 0);
	rig_cancel(s);
	machine_lock(&s->m);
	while (!rig_ended(s))
		pthread_cond_wait(&s->changed, &s->m.lock);
	machine_unlock(&s->m);
	ck_assert_int_eq(rig_state(s), RS_RUNNING);
	rig_free(s);
}
END_TEST

START_TEST(test_pause_before_switchover)
{
	for (int cancel = 0; cancel < 2; cancel++) {
		struct rig *s = rig_new(RS_PRELAUNCH), *d = rig_new(RS_INMIGRATE);

		rig_fill(s, 5);
		rig_run_guest(s);
		rig_capability(s, CAP_PAUSE_BEFORE_SWITCHOVER, true);
		ck_assert_int_eq(rig_incoming(d, at_unix(), NULL), 0);
		ck_assert_int_eq(rig_migrate(s, uri, NULL), 0);
		rig_await(s, MIG_PRE_SWITCHOVER);
		ck_assert_int_eq(rig_state(s), RS_FINISH_MIGRATE);
		if (cancel) {
			rig_cancel(s);
			rig_await(s, MIG_CANCELLED);
			ck_assert_str_eq(s->events, "setup PASS active PASS STOP pre-switchover "
						    "cancelling RESUME cancelled");
			ck_assert_int_eq(rig_state(s), RS_RUNNING);
			rig_await(d, MIG_FAILED);
		} else {
			rig_continue(s);
			check_moved(s, d);
			ck_assert_str_eq(s->events, "setup PASS active PASS STOP pre-switchover "
						    "device PASS completed");
		}
		rig_free(s);
		rig_free(d);
	}
	rig_remove_dir();
}
END_TEST

START_TEST(test_stopped_guest_keeps_its_state)
{
	static const struct {
		enum runstate source;
		bool autostart;
		enum runstate destination;
	} cases[] = {
	    {RS_RUNNING,        true,  RS_RUNNING       },
	    {RS_RUNNING,        false, RS_PAUSED        },
	    {RS_PAUSED,         true,  RS_PAUSED        },
	    {RS_PAUSED,         false, RS_PAUSED        },
	    {RS_PRELAUNCH,      true,  RS_PRELAUNCH     },
	    {RS_PRELAUNCH,      false, RS_PRELAUNCH     },
	    {RS_GUEST_PANICKED, true,  RS_GUEST_PANICKED},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct rig *s = rig_new(RS_PRELAUNCH), *d = rig_new(RS_INMIGRATE);

		if (cases[i].source == RS_RUNNING)
			rig_run_guest(s);
		else
			s->m.state = cases[i].source;
		d->m.autostart = cases[i].autostart;
		ck_assert_int_eq(rig_incoming(d, at_unix(), NULL), 0);
		ck_assert_int_eq(rig_migrate(s, uri, NULL), 0);
		rig_await(s, MIG_COMPLETED);
		rig_await(d, MIG_COMPLETED);
		ck_assert_int_eq(rig_state(s), RS_POSTMIGRATE);
		ck_assert_int_eq(rig_state(d), cases[i].destination);
		rig_free(s);
		rig_free(d);
	}
	rig_remove_dir();
}
END_TEST

START_TEST(test_destination_refuses)
{
	struct rig *s = rig_new(RS_PRELAUNCH), *d = rig_new(RS_INMIGRATE);
	struct migration_info info;

	rig_fill(s, 2);
	rig_run_guest(s);
	d->dev.refuse_load = true;
	ck_assert_int_eq(rig_incoming(d, "defer", NULL), 0);
	ck_assert_int_eq(rig_incoming_fd(d, at_unix(), -1, true, NULL), 0);
	ck_assert_int_eq(rig_migrate(s, uri, NULL), 0);
	rig_await(s, MIG_FAILED);
	rig_await(d, MIG_FAILED);
	info = rig_query(d);
	ck_assert_ptr_nonnull(strstr(info.error_desc, "rig-device: counter does not please"));
	ck_assert_ptr_nonnull(strstr(info.error_desc, "section 'rig/rig-device' at stream offset"));
	ck_assert_ptr_nonnull(strstr(rig_query(s).error_desc, info.error_desc));
	rig_await_state(s, RS_RUNNING);
	ck_assert_int_eq(rig_state(d), RS_INMIGRATE);
	ck_assert(!s->dev.given);
	ck_assert_str_eq(s->events, "setup PASS active PASS STOP device PASS failed RESUME");
	/* Both may try again. */
	d->dev.refuse_load = false;
	ck_assert_int_eq(rig_incoming_fd(d, uri, -1, true, NULL), 0);
	ck_assert_int_eq(rig_migrate(s, uri, NULL), 0);
	check_moved(s, d);
	ck_assert_int_lt(rig_incoming_fd(d, uri, -1, true, NULL), 0);
	rig_free(s);
	rig_free(d);
	rig_remove_dir();
}
END_TEST

START_TEST(test_destination_cannot_take_disk)
{
	struct rig *s = rig_new(RS_PRELAUNCH), *d = rig_new(RS_INMIGRATE);

	rig_run_guest(s);
	d->dev.refuse_acquire = true;
	ck_assert_int_eq(rig_incoming(d, at_unix(), NULL), 0);
	ck_assert_int_eq(rig_migrate(s, uri, NULL), 0);
	rig_await(s, MIG_FAILED);
	ck_assert_str_eq(rig_query(s).error_desc,
			 "the destination refused: rig-device: another program holds the disk");
	rig_await_state(s, RS_RUNNING);
	rig_free(s);
	rig_free(d);
	rig_remove_dir();
}
END_TEST

START_TEST(test_sizes_differ)
{
	struct rig *s = rig_new(RS_PRELAUNCH);
	struct rig *d = rig_new_with(RS_INMIGRATE, 2 * RIG_RAM_BYTES, NULL);
	struct err err = {0};

	rig_run_guest(s);
	rig_parameter(s, "max-bandwidth", "1000000");
	rig_fill(s, 1);
	ck_assert_int_eq(rig_incoming(d, at_unix(), NULL), 0);
	ck_assert_int_eq(rig_migrate(s, uri, NULL), 0);
	rig_await(s, MIG_FAILED);
	ck_assert_str_eq(rig_query(s).error_desc,
			 "the destination refused: the machines differ: RAM block 'microvm.ram': 4 "
			 "MiB at the source, 8 MiB at the destination");
	rig_await(d, MIG_FAILED);
	ck_assert_str_eq(rig_query(d).error_desc,
			 "the machines differ: RAM block 'microvm.ram': 4 MiB at the source, 8 MiB "
			 "at the destination");
	ck_assert_int_eq(rig_state(s), RS_RUNNING);
	/* The next attempt fails at once: what is said is about that one. */
	ck_assert_int_lt(rig_incoming_fd(d, "nowhere", -1, true, &err), 0);
	ck_assert_str_eq(rig_query(d).error_desc, err.msg);
	rig_free(s);
	rig_free(d);
	rig_remove_dir();
}
END_TEST

START_TEST(test_uuid)
{
	struct config a = {.uuid_set = true, .uuid = {1}}, b = {.uuid_set = true, .uuid = {2}};
	struct rig *s = rig_new_with(RS_PRELAUNCH, RIG_RAM_BYTES, &a);
	struct rig *d = rig_new_with(RS_INMIGRATE, RIG_RAM_BYTES, &b);

	rig_run_guest(s);
	rig_capability(s, CAP_VALIDATE_UUID, true);
	ck_assert_int_eq(rig_incoming(d, at_unix(), NULL), 0);
	ck_assert_int_eq(rig_migrate(s, uri, NULL), 0);
	rig_await(d, MIG_FAILED);
	ck_assert_str_eq(rig_query(d).error_desc,
			 "UUID received is 01000000-0000-0000-0000-000000000000 and local is "
			 "02000000-0000-0000-0000-000000000000");
	rig_await(s, MIG_FAILED);
	ck_assert_ptr_nonnull(strstr(rig_query(s).error_desc, "UUID received is 01000000"));
	rig_free(s);
	rig_free(d);
	rig_remove_dir();
}
END_TEST

#define FORMS        "tcp:HOST:PORT, unix:PATH, fd:NAME, exec:COMMAND or file:PATH"
#define BAD_PROTOCOL "Parameter 'uri' expects a valid migration protocol (" FORMS "), not 'zz:1'"
#define BAD_OFFSET(s)                                                                              \
	"error parsing address 'x,offset=" s "': offset=N wants bytes: 4096, 0x1000, 4k"
#define BAD_TCP(text) "error parsing address '" text "': tcp: wants HOST:PORT, [IPV6]:PORT or :PORT"
#define BAD_TCP_OPTION                                                                             \
	"error parsing address 'h:1': 'zz=on' is none of to=PORT, ipv4=on|off, ipv6=on|off, "      \
	"keep-alive=on|off"

static const struct {
	const char *uri, *error;
} refused_uris[] = {
    {"zz:1",	      BAD_PROTOCOL					     },
    {"tcp:",	      BAD_TCP("")					      },
    {"tcp:1",             BAD_TCP("1")					     },
    {"tcp:h:",            BAD_TCP("h:")					    },
    {"tcp:h:99999",       "error parsing address 'h:99999': no port is above 65535"},
    {"tcp:h:1,zz=on",     BAD_TCP_OPTION					   },
    {"unix:",             "invalid Unix socket address: unix: wants a path"        },
    {"fd:zz",             "File descriptor named 'zz' has not been found"          },
    {"file:",             "error parsing address '': the file has no name"         },
    {"file:x,offset=abc", BAD_OFFSET("abc")                                        },
    {"file:x,offset=8E",  BAD_OFFSET("8E")					 },
};

START_TEST(test_refused_uris)
{
	struct rig *s = rig_new(RS_PRELAUNCH);
	struct err err;

	rig_run_guest(s);
	for (size_t i = 0; i < ARRAY_LEN(refused_uris); i++) {
		ck_assert_int_lt(rig_migrate(s, refused_uris[i].uri, &err), 0);
		ck_assert_str_eq(err.msg, refused_uris[i].error);
		ck_assert_str_eq(rig_query(s).error_desc, err.msg);
		ck_assert(rig_query(s).status == MIG_FAILED);
	}
	ck_assert_int_eq(rig_migrate(s, "unix:/nope/x", NULL), 0);
	rig_await(s, MIG_FAILED);
	ck_assert_str_eq(rig_query(s).error_desc,
			 "Failed to connect to '/nope/x': No such file or directory");
	ck_assert_int_eq(rig_state(s), RS_RUNNING);
	rig_free(s);
}
END_TEST

START_TEST(test_refusals_by_state)
{
	struct rig *s = rig_new(RS_PRELAUNCH), *d = rig_new(RS_INMIGRATE);
	struct err err;

	ck_assert_int_lt(rig_incoming_fd(s, at_unix(), -1, true, &err), 0);
	ck_assert_str_eq(err.msg, "'-incoming' was not specified on the command line");
	ck_assert_int_lt(rig_migrate(d, uri, &err), 0);
	ck_assert_str_eq(err.msg, "Guest is waiting for an incoming migration");
	ck_assert_int_lt(rig_incoming(d, "zz:", &err), 0);
	ck_assert_str_eq(err.msg, "unknown migration protocol: zz: (" FORMS ")");
	ck_assert_int_lt(rig_incoming(d, "unix:/nope/zz", &err), 0);
	ck_assert_str_eq(err.msg, "Failed to bind socket to /nope/zz: No such file or directory");
	ck_assert_int_eq(rig_incoming(d, at_unix(), NULL), 0);
	ck_assert_int_lt(rig_incoming_fd(d, uri, -1, true, &err), 0);
	ck_assert_str_eq(err.msg, "The incoming migration has already been started");
	rig_run_guest(s);
	rig_parameter(s, "max-bandwidth", "1");
	rig_fill(s, 1);
	ck_assert_int_eq(rig_migrate(s, uri, NULL), 0);
	ck_assert_int_lt(rig_migrate(s, uri, &err), 0);
	ck_assert_str_eq(err.msg, "There's a migration process in progress");
	rig_await(s, MIG_ACTIVE);
	rig_parameter(s, "max-bandwidth", "0"); /* takes effect at once */
	check_moved(s, d);
	ck_assert_int_lt(rig_migrate(s, uri, &err), 0);
	ck_assert_str_eq(err.msg, "Can't migrate the vm that was paused due to previous migration");
	rig_free(s);
	rig_free(d);
	rig_remove_dir();
}
END_TEST

START_TEST(test_arrival_is_announced_when_it_runs)
{
	struct rig *s = rig_new(RS_PRELAUNCH), *d = rig_new(RS_INMIGRATE);

	rig_run_guest(s);
	d->m.autostart = false;
	ck_assert_int_eq(rig_incoming(d, at_unix(), NULL), 0);
	ck_assert_int_eq(rig_migrate(s, uri, NULL), 0);
	rig_await(d, MIG_COMPLETED);
	rig_await(s, MIG_COMPLETED);
	ck_assert_uint_eq(d->dev.arrived, 0);
	rig_run_guest(d);
	while (!__atomic_load_n(&d->dev.arrived, __ATOMIC_SEQ_CST))
		(void)sched_yield();
	rig_free(s);
	rig_free(d);
	rig_remove_dir();
}
END_TEST

START_TEST(test_end_in_the_middle)
{
	struct rig *s = rig_new(RS_PRELAUNCH), *d = rig_new(RS_INMIGRATE);

	rig_run_guest(s);
	rig_fill(s, 1);
	rig_parameter(s, "max-bandwidth", "1");
	ck_assert_int_eq(rig_incoming(d, at_unix(), NULL), 0);
	ck_assert_int_eq(rig_migrate(s, uri, NULL), 0);
	rig_await(s, MIG_ACTIVE);
	rig_free(d); /* the destination ends: it joins its threads, the source goes on */
	rig_await(s, MIG_FAILED);
	ck_assert_int_eq(rig_state(s), RS_RUNNING);
	rig_free(s);
	rig_remove_dir();
}
END_TEST

CHECK_MAIN("migration-engine", test_unix, test_tcp_and_back, test_name_lookup, test_file_and_exec,
	   test_offset_keeps_header, test_exec_that_fails, test_cancelled_file_leaves_older,
	   test_cancel_active, test_cancel_connecting, test_pause_before_switchover,
	   test_stopped_guest_keeps_its_state, test_destination_refuses,
	   test_destination_cannot_take_disk, test_sizes_differ, test_uuid, test_refused_uris,
	   test_refusals_by_state, test_arrival_is_announced_when_it_runs, test_end_in_the_middle)
