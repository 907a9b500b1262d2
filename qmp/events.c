/*
 * events.c - notifications of the machine as QMP events
 *
 * One row per event: the kind of notification, the type of its data, and the
 * function that fills the data in.  qmp_event_write() is the only writer, and
 * the introspection reads the same rows.
 */
#include "qmp/events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "qmp/json.h"
#include "qmp/types.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

/* ---- SHUTDOWN, RESET ---- */

struct shutdown_data {
	bool guest;
	int reason;
};

static const char *cause_at(const struct qmp_type *t, size_t i, unsigned *features)
{
	(void)t;
	*features = 0;
	return i <= CAUSE_SNAPSHOT_LOAD ? shutdown_cause_name((enum shutdown_cause)i) : NULL;
}

static const struct qmp_type cause_type = {
    .kind = QMP_KIND_ENUM,
    .name = "ShutdownCause",
    .size = sizeof(int),
    .value_at = cause_at,
};
static const struct qmp_member shutdown_members[] = {
    QMP_REQ(struct shutdown_data, guest, "guest"),
    QMP_REQ_T(struct shutdown_data, reason, "reason", &cause_type),
    {0},
};
static const struct qmp_type shutdown_type =
    QMP_OBJECT_TYPE(struct shutdown_data, "q_obj_SHUTDOWN-arg", shutdown_members);

static void fill_shutdown(const struct notification *n, struct qmp_pool *pool, void *data)
{
	struct shutdown_data *d = data;

	(void)pool;
	d->guest = shutdown_cause_by_guest(n->cause);
	d->reason = (int)n->cause;
}

/* ---- GUEST_PANICKED ---- */

struct panic_data {
	int action;
};

static const char *const panic_actions[] = {"pause", "poweroff", "run", NULL};
static const struct qmp_type panic_action_type = QMP_ENUM_TYPE("GuestPanicAction", panic_actions);
/* What other machines tell besides. */
static const char *const panic_kinds[] = {"hyper-v", "s390", NULL};
static const struct qmp_type panic_kind_type =
    QMP_ENUM_TYPE("GuestPanicInformationType", panic_kinds);
static const char *const s390_reasons[] = {"unknown",     "disabled-wait", "extint-loop",
					   "pgmint-loop", "opint-loop",    NULL};
static const struct qmp_type s390_reason_type = QMP_ENUM_TYPE("S390CrashReason", s390_reasons);
static const struct qmp_member hyperv_members[] = {
    QMP_ONLY("arg1", &qmp_u64), QMP_ONLY("arg2", &qmp_u64), QMP_ONLY("arg3", &qmp_u64),
    QMP_ONLY("arg4", &qmp_u64), QMP_ONLY("arg5", &qmp_u64), {0},
};
static const struct qmp_member s390_members[] = {
    QMP_ONLY("core", &qmp_u32),
    QMP_ONLY("psw-mask", &qmp_u64),
    QMP_ONLY("psw-addr", &qmp_u64),
    QMP_ONLY("reason", &s390_reason_type),
    {0},
};
static const struct qmp_type hyperv_type =
    QMP_SHAPE_TYPE("GuestPanicInformationHyperV", hyperv_members);
static const struct qmp_type s390_type = QMP_SHAPE_TYPE("GuestPanicInformationS390", s390_members);
static const struct qmp_type *const panic_variants[] = {&hyperv_type, &s390_type};
static const struct qmp_member panic_info_members[] = {
    QMP_ONLY("type", &panic_kind_type),
    {0},
};
static const struct qmp_type panic_info_type = {
    .kind = QMP_KIND_OBJECT,
    .name = "GuestPanicInformation",
    .size = 1,
    .members = panic_info_members,
    .tag = "type",
    .variants = panic_variants,
};
static const struct qmp_member panic_members[] = {
    QMP_REQ_T(struct panic_data, action, "action", &panic_action_type),
    QMP_NONE("info", &panic_info_type),
    {0},
};
static const struct qmp_type panic_type =
    QMP_OBJECT_TYPE(struct panic_data, "q_obj_GUEST_PANICKED-arg", panic_members);

static void fill_panic(const struct notification *n, struct qmp_pool *pool, void *data)
{
	int i = qmp_value_find(&panic_action_type, n->text ? n->text : "");

	(void)pool;
	((struct panic_data *)data)->action = i < 0 ? 0 : i;
}

/* ---- MIGRATION, MIGRATION_PASS ---- */

struct migration_data {
	int status;
};

static const struct qmp_member migration_members[] = {
    QMP_REQ_T(struct migration_data, status, "status", &qmp_migration_status_type),
    {0},
};
static const struct qmp_type migration_type =
    QMP_OBJECT_TYPE(struct migration_data, "q_obj_MIGRATION-arg", migration_members);

static void fill_migration(const struct notification *n, struct qmp_pool *pool, void *data)
{
	int i = qmp_value_find(&qmp_migration_status_type, n->text ? n->text : "");

	(void)pool;
	((struct migration_data *)data)->status = i < 0 ? 0 : i;
}

struct pass_data {
	int64_t pass;
};

static const struct qmp_member pass_members[] = {
    QMP_REQ(struct pass_data, pass, "pass"),
    {0},
};
static const struct qmp_type pass_type =
    QMP_OBJECT_TYPE(struct pass_data, "q_obj_MIGRATION_PASS-arg", pass_members);

static void fill_pass(const struct notification *n, struct qmp_pool *pool, void *data)
{
	(void)pool;
	((struct pass_data *)data)->pass = n->number;
}

/* ---- NIC_RX_FILTER_CHANGED ---- */

struct nic_data {
	const char *name, *path;
};

static const struct qmp_member nic_members[] = {
    QMP_SET(struct nic_data, name, "name"),
    QMP_REQ(struct nic_data, path, "path"),
    {0},
};
static const struct qmp_type nic_type =
    QMP_OBJECT_TYPE(struct nic_data, "q_obj_NIC_RX_FILTER_CHANGED-arg", nic_members);

static void fill_nic(const struct notification *n, struct qmp_pool *pool, void *data)
{
	struct nic_data *d = data;

	if (!n->text || !*n->text) {
		d->path = "/machine/peripheral-anon/virtio-backend";
		return;
	}
	d->name = n->text;
	d->path = qmp_printf(pool, "/machine/peripheral/%s/virtio-backend", n->text);
}

/* ---- NETDEV_STREAM_CONNECTED, _DISCONNECTED ---- */

struct netdev_data {
	const char *id;
	struct qmp_socket_address addr;
};

static const struct qmp_member connected_members[] = {
    QMP_REQ(struct netdev_data, id, "netdev-id"),
    QMP_REQ_T(struct netdev_data, addr, "addr", &qmp_socket_address_type),
    {0},
};
static const struct qmp_member disconnected_members[] = {
    QMP_REQ(struct netdev_data, id, "netdev-id"),
    {0},
};
static const struct qmp_type connected_type =
    QMP_OBJECT_TYPE(struct netdev_data, "q_obj_NETDEV_STREAM_CONNECTED-arg", connected_members);
static const struct qmp_type disconnected_type = QMP_OBJECT_TYPE(
    struct netdev_data, "q_obj_NETDEV_STREAM_DISCONNECTED-arg", disconnected_members);

/* "unix:PATH", "fd:N", or HOST:PORT with or without "tcp:" before it and [] around the host. */
static void fill_address(struct qmp_socket_address *a, const char *text, struct qmp_pool *pool)
{
	const char *colon;
	size_t n;

	if (!strncmp(text, "unix:", 5) || !strncmp(text, "fd:", 3)) {
		a->type = *text == 'u' ? QMP_SOCKET_UNIX : QMP_SOCKET_FD;
		a->path = strchr(text, ':') + 1;
		return;
	}
	if (!strncmp(text, "tcp:", 4))
		text += 4;
	colon = strrchr(text, ':');
	n = colon ? (size_t)(colon - text) : strlen(text);
	if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
		text++;
		n -= 2;
	}
	a->type = QMP_SOCKET_INET;
	a->host = qmp_printf(pool, "%.*s", (int)n, text);
	a->port = colon ? colon + 1 : "";
}

static void fill_netdev(const struct notification *n, struct qmp_pool *pool, void *data)
{
	struct netdev_data *d = data;

	d->id = n->text ? n->text : "";
	fill_address(&d->addr, n->text2 ? n->text2 : "", pool);
}

/* ---- BLOCK_IO_ERROR ---- */

struct io_error_data {
	const char *device, *node;
	int operation, action;
	bool has_nospace, nospace;
	const char *reason;
};

static const char *const io_operations[] = {"read", "write", NULL};
static const struct qmp_type io_operation_type = QMP_ENUM_TYPE("IoOperationType", io_operations);
/* the guest is told of the error and nothing is stopped or hidden */
static const char *const io_actions[] = {"ignore", "report", "stop", NULL};
static const struct qmp_type io_action_type = QMP_ENUM_TYPE("BlockErrorAction", io_actions);
static const struct qmp_member io_error_members[] = {
    QMP_REQ(struct io_error_data, device, "device"),
    QMP_SET(struct io_error_data, node, "node-name"),
    QMP_REQ_T(struct io_error_data, operation, "operation", &io_operation_type),
    QMP_REQ_T(struct io_error_data, action, "action", &io_action_type),
    QMP_OPT(struct io_error_data, nospace, "nospace"),
    QMP_REQ(struct io_error_data, reason, "reason"),
    {0},
};
static const struct qmp_type io_error_type =
    QMP_OBJECT_TYPE(struct io_error_data, "q_obj_BLOCK_IO_ERROR-arg", io_error_members);

static void fill_io_error(const struct notification *n, struct qmp_pool *pool, void *data)
{
	struct io_error_data *d = data;
	int errnum = (int)(n->number < 0 ? -n->number : n->number);

	(void)pool;
	d->device = n->text ? n->text : "";
	d->operation = n->text2 && !strcmp(n->text2, "read") ? 0 : 1;
	d->node = n->text3 && *n->text3 ? n->text3 : NULL;
	d->action = 1; /* report */
	d->has_nospace = true;
	d->nospace = errnum == ENOSPC;
	d->reason = err_text(errnum);
}

/* ---- RTC_CHANGE ---- */

struct rtc_data {
	int64_t offset;
	const char *path;
};

static const struct qmp_member rtc_members[] = {
    QMP_REQ(struct rtc_data, offset, "offset"),
    QMP_REQ(struct rtc_data, path, "qom-path"),
    {0},
};
static const struct qmp_type rtc_type =
    QMP_OBJECT_TYPE(struct rtc_data, "q_obj_RTC_CHANGE-arg", rtc_members);

static void fill_rtc(const struct notification *n, struct qmp_pool *pool, void *data)
{
	struct rtc_data *d = data;

	(void)pool;
	d->offset = n->number;
	d->path = "/machine/rtc";
}

/* ---- BALLOON_CHANGE ---- */

struct balloon_data {
	int64_t actual;
};

static const struct qmp_member balloon_members[] = {
    QMP_REQ(struct balloon_data, actual, "actual"),
    {0},
};
static const struct qmp_type balloon_type =
    QMP_OBJECT_TYPE(struct balloon_data, "q_obj_BALLOON_CHANGE-arg", balloon_members);

static void fill_balloon(const struct notification *n, struct qmp_pool *pool, void *data)
{
	(void)pool;
	((struct balloon_data *)data)->actual = n->number;
}

/* ---- VSERPORT_CHANGE ---- */

struct vserport_data {
	const char *id;
	bool open;
};

static const struct qmp_member vserport_members[] = {
    QMP_REQ(struct vserport_data, id, "id"),
    QMP_REQ(struct vserport_data, open, "open"),
    {0},
};
static const struct qmp_type vserport_type =
    QMP_OBJECT_TYPE(struct vserport_data, "q_obj_VSERPORT_CHANGE-arg", vserport_members);

static void fill_vserport(const struct notification *n, struct qmp_pool *pool, void *data)
{
	struct vserport_data *d = data;

	(void)pool;
	d->id = n->text ? n->text : "";
	d->open = n->number != 0;
}

/* ---- JOB_STATUS_CHANGE ---- */

struct job_data {
	const char *id;
	int status;
};

static const struct qmp_member job_members[] = {
    QMP_REQ(struct job_data, id, "id"),
    QMP_REQ_T(struct job_data, status, "status", &qmp_job_status_type),
    {0},
};
static const struct qmp_type job_type =
    QMP_OBJECT_TYPE(struct job_data, "q_obj_JOB_STATUS_CHANGE-arg", job_members);

static void fill_job(const struct notification *n, struct qmp_pool *pool, void *data)
{
	struct job_data *d = data;
	int i = qmp_value_find(&qmp_job_status_type, n->text2 ? n->text2 : "");

	(void)pool;
	d->id = n->text ? n->text : "";
	d->status = i < 0 ? 0 : i;
}

/* ---- what this program has no cause to send ---- */

#define NEVER ((enum notify_kind) - 1)

static const struct qmp_member colo_members[] = {
    QMP_ONLY("mode", &qmp_colo_mode_type),
    QMP_ONLY("reason", &qmp_colo_exit_type),
    {0},
};
static const struct qmp_type colo_type = QMP_SHAPE_TYPE("q_obj_COLO_EXIT-arg", colo_members);
static const struct qmp_member failover_members[] = {
    QMP_ONLY("device-id", &qmp_str),
    {0},
};
static const struct qmp_type unplug_type =
    QMP_SHAPE_TYPE("q_obj_UNPLUG_PRIMARY-arg", failover_members);
static const struct qmp_type failover_type =
    QMP_SHAPE_TYPE("q_obj_FAILOVER_NEGOTIATED-arg", failover_members);

/* ---- all ---- */

static const struct qmp_event events[] = {
    {"COLO_EXIT",		  NOTIFY_NEVER,                      &colo_type,         NULL,           false},
    {"UNPLUG_PRIMARY",             NOTIFY_NEVER,                      &unplug_type,       NULL,           false},
    {"FAILOVER_NEGOTIATED",        NOTIFY_NEVER,                      &failover_type,     NULL,           false},
    {"SUSPEND",		    NOTIFY_NEVER,                      NULL,               NULL,           false},
    {"SUSPEND_DISK",               NOTIFY_NEVER,                      NULL,               NULL,           false},
    {"WAKEUP",		     NOTIFY_NEVER,                      NULL,               NULL,           false},
    {"STOP",		       NOTIFY_STOP,                       NULL,               NULL,           false},
    {"RESUME",		     NOTIFY_RESUME,                     NULL,               NULL,           false},
    {"RESET",		      NOTIFY_RESET,                      &shutdown_type,     fill_shutdown,  false},
    {"SHUTDOWN",		   NOTIFY_SHUTDOWN,                   &shutdown_type,     fill_shutdown,  false},
    {"POWERDOWN",		  NOTIFY_POWERDOWN,                  NULL,               NULL,           false},
    {"GUEST_PANICKED",             NOTIFY_GUEST_PANICKED,             &panic_type,        fill_panic,     false},
    {"MIGRATION",		  NOTIFY_MIGRATION,                  &migration_type,    fill_migration, false},
    {"MIGRATION_PASS",             NOTIFY_MIGRATION_PASS,             &pass_type,         fill_pass,      false},
    {"NIC_RX_FILTER_CHANGED",      NOTIFY_NIC_RX_FILTER_CHANGED,      &nic_type,          fill_nic,       false},
    {"NETDEV_STREAM_CONNECTED",    NOTIFY_NETDEV_STREAM_CONNECTED,    &connected_type,    fill_netdev,
     false												     },
    {"NETDEV_STREAM_DISCONNECTED", NOTIFY_NETDEV_STREAM_DISCONNECTED, &disconnected_type,
     fill_netdev,											 false},
    {"BLOCK_IO_ERROR",             NOTIFY_BLOCK_IO_ERROR,             &io_error_type,     fill_io_error,  false},
    {"RTC_CHANGE",                 NOTIFY_RTC_CHANGE,                 &rtc_type,          fill_rtc,       true },
    {"BALLOON_CHANGE",             NOTIFY_BALLOON_CHANGE,             &balloon_type,      fill_balloon,   true },
    {"VSERPORT_CHANGE",            NOTIFY_VSERPORT_CHANGE,            &vserport_type,     fill_vserport,  false},
    {"JOB_STATUS_CHANGE",          NOTIFY_JOB_STATUS,                 &job_type,          fill_job,       false},
};

const struct qmp_event *qmp_event_at(size_t i)
{
	return i < ARRAY_LEN(events) ? &events[i] : NULL;
}

const struct qmp_event *qmp_event_of(enum notify_kind kind)
{
	for (size_t i = 0; i < ARRAY_LEN(events); i++)
		if (events[i].kind == kind)
			return &events[i];
	return NULL;
}

void qmp_event_write(const struct qmp_event *ev, const struct notification *n,
		     const struct timespec *when, bool pretty, struct buf *out)
{
	struct json_writer w = json_writer(out, pretty);
	struct qmp_pool pool;
	void *data;

	jw_open(&w, '{');
	jw_key(&w, "timestamp");
	jw_open(&w, '{');
	jw_key(&w, "seconds");
	jw_int(&w, when->tv_sec);
	jw_key(&w, "microseconds");
	jw_int(&w, when->tv_nsec < 0 ? -1 : when->tv_nsec / 1000);
	jw_close(&w, '}');
	jw_key(&w, "event");
	jw_str(&w, ev->name);
	if (ev->data) {
		qmp_pool_init(&pool);
		data = qmp_alloc(&pool, 1, ev->data->size);
		ev->fill(n, &pool, data);
		jw_key(&w, "data");
		qmp_write(&w, ev->data, data);
		qmp_pool_fini(&pool);
	}
	jw_close(&w, '}');
}
