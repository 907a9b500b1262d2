/* serial-create.c - virtio-serial-device, virtserialport and virtconsole on the command line */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/chardev/chardev.h"
#include "devices/microvm.h"
#include "devices/virtio/props.h"
#include "devices/virtio/serial.h"
#include "devices/virtio/virtio-devices.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/board.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define DATA_QUEUE_SIZE    128
#define CONTROL_QUEUE_SIZE 32

static int serial_create(struct machine *m, const struct cfg_device *cfg, unsigned slot,
			 struct backends *be, struct err *err)
{
	uint16_t sizes[VIRTIO_MAX_QUEUES] = {0};
	struct vser *s = NEW(struct vser);
	int ret;

	(void)be;
	s->max_ports = (uint32_t)device_number(cfg, "max_ports");
	s->ports_map = 1; /* port 0 is kept for a console */
	s->v.host_features = props_features(cfg) | (s->max_ports > 1 ? VSER_F_MULTIPORT : 0);
	s->v.config_bytes =
	    device_bool(cfg, "emergency-write") ? VSER_CONFIG_BYTES : VSER_CONFIG_SHORT;
	for (unsigned i = 0; i < 2 * (s->max_ports + 1); i++)
		sizes[i] = i / 2 == VSER_CONTROL_IN / 2 ? CONTROL_QUEUE_SIZE : DATA_QUEUE_SIZE;
	ret = vser_init(s, m, err);
	if (ret >= 0) {
		ret = virtio_init(&s->v, m, &vser_ops, cfg, slot, sizes, err);
		if (ret < 0)
			virtio_fini(&s->v);
	}
	if (ret < 0) {
		vser_fini(s);
		free(s);
		return ret;
	}
	s->board = virtio_board_add(&s->v);
	if (s->board)
		board_prop(s->board, "max-ports", "%u", s->max_ports);
	return 0;
}

static const struct opt_prop props[] = {
    DEVICE_NUMBER("max_ports", 1, VSER_MAX_PORTS, "31", "how many ports it can have"),
    DEVICE_FEATURE("emergency-write", VSER_F_EMERG,
		   "a driver may write to the first console without queues"),
    VIRTIO_PROPS,
};

const struct device_row virtio_serial_row = {
    .name = "virtio-serial-device",
    .kind = DEVICE_VIRTIO,
    .help = "the bus of virtserialport and virtconsole",
    .props = props,
    .create = serial_create,
};

/* ---- ports ---- */

/* As QEMU names them: after the id, or counted. */
static void bus_name(const struct vser *s, unsigned nth, char *name, size_t n)
{
	if (s->v.dev.id)
		(void)snprintf(name, n, "%s.0", s->v.dev.id);
	else
		(void)snprintf(name, n, "virtio-serial-bus.%u", nth);
}

/* The device of that bus; NULL: the first. */
static struct vser *find_bus(struct machine *m, const char *bus)
{
	unsigned nameless = 0;

	list_for_each (d, &m->devices, struct device, link) {
		struct virtio_device *v = virtio_from_device(d);
		char name[96];

		if (!v || v->ops != &vser_ops)
			continue;
		bus_name(to_vser(v), nameless, name, sizeof(name));
		nameless += !v->dev.id;
		if (!bus || !strcmp(bus, name))
			return to_vser(v);
	}
	return NULL;
}

/* nr=, or the first that is free: a console may have port 0. */
static int choose_id(const struct vser *s, const struct cfg_device *cfg, bool console, uint32_t *id,
		     struct err *err)
{
	const char *nr = device_text(cfg, "nr");

	*id = console ? 0 : 1;
	while (!nr && *id < s->max_ports && (vser_find_port(s, *id) != NULL))
		++*id;
	if (nr)
		*id = (uint32_t)device_number(cfg, "nr");
	if (nr && *id >= s->max_ports)
		return err_set(err, EINVAL,
			       "virtio-serial-bus: Out-of-range port id specified, max. allowed: "
			       "%u; the virtio-serial-device's max_ports= says how many there are",
			       s->max_ports - 1);
	if (*id >= s->max_ports)
		return err_set(err, ENOSPC,
			       "virtio-serial-bus: Maximum port limit for this device reached; "
			       "its max_ports= is %u",
			       s->max_ports);
	if (vser_find_port(s, *id))
		return err_set(err, EEXIST, "virtio-serial-bus: A port already exists at id %u",
			       *id);
	if (*id == 0 && !console)
		return err_set(err, EINVAL,
			       "Port number 0 on virtio-serial devices reserved for virtconsole "
			       "devices for backward compatibility.");
	return 0;
}

static int check_name(const struct vser *s, const char *name, struct err *err)
{
	if (name && strlen(name) > VSER_MAX_NAME)
		return err_set(err, EINVAL, "name= of a port has at most %d bytes", VSER_MAX_NAME);
	for (unsigned i = 0; name && i < s->n_ports; i++)
		if (s->ports[i]->name && !strcmp(s->ports[i]->name, name))
			return err_set(err, EEXIST,
				       "virtio-serial-bus: A port already exists by name %s", name);
	return 0;
}

static int find_chardev(struct machine *m, struct backends *be, const char *driver, const char *id,
			struct chardev **chr, struct err *err)
{
	if (!id)
		return 0;
	*chr = chardevs_find(&be->chardevs, id);
	if (!*chr)
		return err_set(err, ENOENT,
			       "Property '%s.chardev' can't find value '%s'; give a -chardev "
			       "...,id=%s",
			       driver, id, id);
	if ((*chr)->loop != m->loop)
		return err_set(err, EBUSY, "Device '%s' is in use: a monitor has it", id);
	return 0;
}

/* Two ends of a move compare this before a page is sent. */
static void show_ports(const struct vser *s)
{
	struct board_device *b = s->board;
	size_t i = 0;

	if (!b)
		return;
	while (i < b->n_props && strcmp(b->props[i].name, "ports") != 0)
		i++;
	if (i == b->n_props)
		board_prop(b, "ports", "0x%x", s->ports_map);
	else
		(void)snprintf(b->props[i].text, sizeof(b->props[i].text), "0x%x", s->ports_map);
}

static int port_create(struct machine *m, const struct cfg_device *cfg, bool console,
		       struct backends *be, struct err *err)
{
	const char *bus = device_text(cfg, "bus"), *name = device_text(cfg, "name");
	struct vser *s = find_bus(m, bus);
	struct chardev *chr = NULL;
	struct vser_port *p;
	uint32_t id = 0;
	int ret;

	if (!s && bus)
		return err_set(err, ENOENT,
			       "Bus '%s' not found; a -device virtio-serial-device,id=ID before "
			       "this one has bus ID.0",
			       bus);
	if (!s)
		return err_set(err, ENOENT,
			       "No 'virtio-serial-bus' bus found for device '%s'; put -device "
			       "virtio-serial-device before it",
			       cfg->driver);
	ret = choose_id(s, cfg, console, &id, err);
	if (ret >= 0)
		ret = check_name(s, name, err);
	if (ret >= 0)
		ret = find_chardev(m, be, cfg->driver, device_text(cfg, "chardev"), &chr, err);
	if (ret < 0)
		return ret;
	p = NEW(struct vser_port);
	p->s = s;
	p->id = id;
	p->console = console;
	p->name = name ? xstrdup(name) : NULL;
	p->dev_id = cfg->id ? xstrdup(cfg->id) : NULL;
	p->chr = chr;
	p->in_queue = id ? 2 * (id + 1) : 0;
	p->out_queue = p->in_queue + 1;
	ret = vser_port_attach(p, err);
	if (ret < 0) {
		vser_port_free(p);
		return ret;
	}
	s->ports[s->n_ports++] = p;
	s->ports_map |= 1U << id;
	show_ports(s);
	return 0;
}

static int virtserialport_create(struct machine *m, const struct cfg_device *cfg, unsigned slot,
				 struct backends *be, struct err *err)
{
	(void)slot;
	return port_create(m, cfg, false, be, err);
}

static int virtconsole_create(struct machine *m, const struct cfg_device *cfg, unsigned slot,
			      struct backends *be, struct err *err)
{
	(void)slot;
	return port_create(m, cfg, true, be, err);
}

static const struct opt_prop port_props[] = {
    DEVICE_TEXT("chardev", "ID", "the -chardev at the other end; none: nothing comes, all is lost"),
    DEVICE_TEXT("name", "NAME", "what the guest knows it by, as org.qemu.guest_agent.0"),
    DEVICE_NUMBER("nr", 0, UINT32_MAX, NULL, "its number; default: the first that is free"),
    DEVICE_TEXT("bus", "ID.0", "on the virtio-serial-device ID; default: the first"),
    {.key = NULL},
};

const struct device_row virtserialport_row = {
    .name = "virtserialport",
    .kind = DEVICE_PORT,
    .help = "a port of a virtio-serial-device",
    .props = port_props,
    .create = virtserialport_create,
};
const struct device_row virtconsole_row = {
    .name = "virtconsole",
    .kind = DEVICE_PORT,
    .help = "a console (hvc0) on a virtio-serial-device",
    .props = port_props,
    .create = virtconsole_create,
};
