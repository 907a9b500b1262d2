/*
 * hotplug.c - devices and network back ends while the guest runs: links and filters; the board
 * takes no device then (qmp-surface 5.4)
 */
#include <errno.h>
#include <string.h>

#include "devices/device-table.h"
#include "devices/microvm.h"
#include "devices/virtio/virtio-devices.h"
#include "qmp/command.h"
#include "vmm/base/error.h"
#include "vmm/machine.h"

static int not_found(struct qmp_call *call, const char *id, struct err *err)
{
	call->error_class = "DeviceNotFound";
	return err_set(err, ENOENT, "Device '%.96s' not found", id);
}

/* ---- device_add, device_del ---- */

struct device_args {
	const char *driver, *bus, *id;
};

static const struct qmp_member device_members[] = {
    QMP_REQ(struct device_args, driver, "driver"),
    QMP_SET(struct device_args, bus, "bus"),
    QMP_SET(struct device_args, id, "id"),
    {0},
};
static const struct qmp_type device_type = {
    .kind = QMP_KIND_OBJECT,
    .name = "q_obj_device_add-arg",
    .size = sizeof(struct device_args),
    .members = device_members,
    .open = true, /* the properties of the device */
};

static int no_hotplug(const struct machine *m, const char *bus, struct err *err)
{
	if (bus)
		return err_set(err, ENOTSUP, "Bus '%.96s' does not support hotplugging", bus);
	return err_set(err, ENOTSUP, "Bus 'virtio-mmio-bus.%u' does not support hotplugging",
		       board_virtio_slots(&m->board) - 1);
}

static int device_add(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct device_args *a = arg;
	int r = 0;

	(void)ret;
	if (device_row_find(&device_table, a->driver))
		return no_hotplug(call->m, a->bus, err);
	r = device_table.refuse(a->driver, err);
	return r < 0 ? r
		     : err_set(err, EINVAL, "'%.96s' is not a valid device model name", a->driver);
}

struct id_args {
	const char *id;
};

static const struct qmp_member id_members[] = {
    QMP_REQ(struct id_args, id, "id"),
    {0},
};
static const struct qmp_type device_del_type =
    QMP_OBJECT_TYPE(struct id_args, "q_obj_device_del-arg", id_members);

static int device_del(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const char *id = ((const struct id_args *)arg)->id;

	(void)ret;
	list_for_each (d, &call->m->devices, struct device, link)
		if (d->id && !strcmp(d->id, id))
			return no_hotplug(call->m, NULL, err);
	return not_found(call, id, err);
}

/* ---- netdev_del ---- */

static const struct qmp_type netdev_del_type =
    QMP_OBJECT_TYPE(struct id_args, "q_obj_netdev_del-arg", id_members);

static int netdev_del(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const char *id = ((const struct id_args *)arg)->id;

	(void)ret;
	if (!net_backends_find(&call->be->nets, id))
		return not_found(call, id, err);
	return net_backends_del(&call->be->nets, id, err);
}

/* ---- set_link ---- */

struct link_args {
	const char *name;
	bool up;
};

static const struct qmp_member link_members[] = {
    QMP_REQ(struct link_args, name, "name"),
    QMP_REQ(struct link_args, up, "up"),
    {0},
};
static const struct qmp_type link_type =
    QMP_OBJECT_TYPE(struct link_args, "q_obj_set_link-arg", link_members);

struct find {
	const char *name; /* of a card or of what is behind it; NULL: all */
	struct nic *nic;  /* found */
	size_t n;
};

static void find_nic(void *opaque, struct nic *nic)
{
	struct find *f = opaque;

	f->n++;
	if (f->name && (!strcmp(f->name, nic_id(nic)) || !strcmp(f->name, nic_netdev(nic))))
		f->nic = nic;
}

static int set_link(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct link_args *a = arg;
	struct find f = {.name = a->name};

	(void)ret;
	nic_for_each(call->m, find_nic, &f);
	if (f.nic)
		nic_set_link(f.nic, a->up);
	else if (!net_backends_find(&call->be->nets, a->name))
		return not_found(call, a->name, err);
	return 0;
}

/* ---- query-rx-filter ---- */

struct filter_info {
	const char *name, *main_mac;
	bool promiscuous, broadcast, multi_overflow, uni_overflow;
	int multicast, unicast, vlan;
	struct qmp_array vlans, unicasts, multicasts;
};

struct filter_args {
	const char *name;
};

static const char *const states[] = {"normal", "none", "all", NULL};
static const struct qmp_type state_type = QMP_ENUM_TYPE("RxState", states);
static const struct qmp_type i64_list = QMP_ARRAY_TYPE(&qmp_i64);
static const struct qmp_member filter_members[] = {
    QMP_REQ(struct filter_info, name, "name"),
    QMP_REQ(struct filter_info, promiscuous, "promiscuous"),
    QMP_REQ_T(struct filter_info, multicast, "multicast", &state_type),
    QMP_REQ_T(struct filter_info, unicast, "unicast", &state_type),
    QMP_REQ_T(struct filter_info, vlan, "vlan", &state_type),
    QMP_REQ(struct filter_info, broadcast, "broadcast-allowed"),
    QMP_REQ(struct filter_info, multi_overflow, "multicast-overflow"),
    QMP_REQ(struct filter_info, uni_overflow, "unicast-overflow"),
    QMP_REQ(struct filter_info, main_mac, "main-mac"),
    QMP_REQ_T(struct filter_info, vlans, "vlan-table", &i64_list),
    QMP_REQ_T(struct filter_info, unicasts, "unicast-table", &qmp_str_array),
    QMP_REQ_T(struct filter_info, multicasts, "multicast-table", &qmp_str_array),
    {0},
};
static const struct qmp_type filter_type =
    QMP_OBJECT_TYPE(struct filter_info, "RxFilterInfo", filter_members);
static const struct qmp_type filter_list = QMP_ARRAY_TYPE(&filter_type);
static const struct qmp_member query_members[] = {
    QMP_SET(struct filter_args, name, "name"),
    {0},
};
static const struct qmp_type query_type =
    QMP_OBJECT_TYPE(struct filter_args, "q_obj_query-rx-filter-arg", query_members);

static const char *mac_text(struct qmp_pool *pool, const uint8_t m[6])
{
	return qmp_printf(pool, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4],
			  m[5]);
}

static struct qmp_array mac_list(struct qmp_pool *pool, const uint8_t (*macs)[6], size_t n)
{
	const char **v = qmp_alloc(pool, n, sizeof(*v));

	for (size_t i = 0; i < n; i++)
		v[i] = mac_text(pool, macs[i]);
	return (struct qmp_array){v, n};
}

static struct qmp_array vlan_list(struct qmp_pool *pool, const uint8_t *bits)
{
	int64_t *v = qmp_alloc(pool, NIC_INFO_VLANS, sizeof(*v));
	size_t n = 0;

	for (unsigned i = 0; i < NIC_INFO_VLANS; i++)
		if (bits[i / 8] >> i % 8 & 1)
			v[n++] = i;
	return (struct qmp_array){v, n};
}

struct collect {
	struct qmp_call *call;
	const char *name;
	struct filter_info *infos;
	size_t n;
};

static void add_filter(void *opaque, struct nic *nic)
{
	struct collect *c = opaque;
	struct qmp_pool *pool = c->call->pool;
	struct nic_filter_info f;

	if (c->name && strcmp(c->name, nic_id(nic)) != 0)
		return;
	nic_filter_read(nic, &f);
	c->infos[c->n++] = (struct filter_info){
	    .name = qmp_printf(pool, "%s", nic_id(nic)),
	    .main_mac = mac_text(pool, f.main_mac),
	    .promiscuous = f.promiscuous,
	    .broadcast = f.broadcast,
	    .multi_overflow = f.multi_overflow,
	    .uni_overflow = f.uni_overflow,
	    .multicast = (int)f.multicast,
	    .unicast = (int)f.unicast,
	    .vlan = (int)f.vlan,
	    .vlans = vlan_list(pool, f.vlans),
	    .unicasts = mac_list(pool, (const uint8_t(*)[6])f.macs, f.first_multi),
	    .multicasts = mac_list(pool, (const uint8_t(*)[6])f.macs + f.first_multi,
				   f.n_macs - f.first_multi),
	};
}

static int query_rx_filter(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct filter_args *a = arg;
	struct find all = {0};
	struct collect c = {.call = call, .name = a->name};

	nic_for_each(call->m, find_nic, &all);
	c.infos = qmp_alloc(call->pool, all.n, sizeof(*c.infos));
	nic_for_each(call->m, add_filter, &c);
	if (a->name && !c.n)
		return err_set(err, ENOENT, "invalid net client name: %.96s", a->name);
	*(struct qmp_array *)ret = (struct qmp_array){c.infos, c.n};
	return 0;
}

const struct qmp_command qmp_hotplug_commands[] = {
    {"device_add", &device_type, NULL, device_add, 0},
    {"device_del",        &device_del_type, NULL, device_del, 0},
    {"netdev_del",           &netdev_del_type, NULL, netdev_del, 0},
    {"set_link", &link_type, NULL, set_link, 0},
    {"query-rx-filter",        &query_type, &filter_list, query_rx_filter, 0},
    {0	  },
};
