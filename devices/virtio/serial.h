/*
 * serial.h - virtio-serial (virtio 1.2, 5.3): a device with ports, each of which joins two queues
 * and a chardev
 *
 * The queues are the I/O loop's, the chardevs the main loop's, which holds the
 * machine lock and may therefore not touch guest memory.  A port has a buffer
 * in each direction between them; vser.lock guards what both sides look at.
 *
 *     guest --chain--> I/O loop --out--> main loop --> chardev
 *     guest <--chain-- I/O loop <--in--- main loop <-- chardev
 *
 * The main loop takes no more from the chardev than the guest has room for
 * ('room').  A chain of the guest is given back when the chardev has taken the
 * whole of it; one that it has taken in part is in the stream, with how much.
 * So no byte is in minivmm alone when the guest moves.
 */
#ifndef MINIVMM_DEVICES_VIRTIO_SERIAL_H
#define MINIVMM_DEVICES_VIRTIO_SERIAL_H

#include "devices/virtio/virtio.h"

struct board_device;
struct chardev;
struct loop_timer;

#define VSER_MAX_PORTS    31
#define VSER_BUFFER_BYTES 4096
#define VSER_CONTROL_IN   2 /* queues: to the guest, from the guest */
#define VSER_CONTROL_OUT  3
#define VSER_MAX_NAME     255
#define VSER_CONFIG_SHORT 8 /* bytes of the configuration space, without the emergency byte */
#define VSER_CONFIG_BYTES 12

#define VSER_F_MULTIPORT VIRTIO_BIT(1)
#define VSER_F_EMERG     VIRTIO_BIT(2)

/* A chain from the guest that the chardev has not taken to its end. */
struct vser_chain {
	uint16_t head;
	unsigned n;
	uint64_t bytes, at; /* in all; copied to the port's 'out' so far */
	struct vser_piece {
		uint64_t gpa, bytes;
		const uint8_t *hva; /* while the queues are served */
	} piece[];
};

struct vser_port {
	/* set at creation and then constant */
	struct vser *s;
	uint32_t id;
	bool console;
	char *name, *dev_id; /* owned, or NULL */
	struct chardev *chr; /* borrowed, or NULL */
	unsigned in_queue, out_queue;
	/* machine lock */
	bool event_open; /* what the last VSERPORT_CHANGE said */
	int64_t event_ns;
	/* s->lock */
	bool guest_open; /* the guest has opened the port */
	bool host_open;  /* there is a peer; always, for a console with a chardev */
	bool reopened;   /* it has been away since the guest was told */
	bool hold;       /* the guest has come here, and no peer yet: what it sent waits for one */
	bool discard;    /* it has left: the chain at hand is not for the next one */
	bool accept;     /* 'room' has grown: tell the chardev */
	size_t room;     /* what the guest takes besides n_in */
	size_t n_in, out_at, n_out; /* n_out > 0: 'out' is the main loop's, else the I/O loop's */
	uint8_t in[VSER_BUFFER_BYTES], out[VSER_BUFFER_BYTES];
	/* I/O loop; machine lock while the device is idle */
	struct vser_chain *chain; /* owned */
	bool ready;               /* the guest knows the port */
	bool told_open;           /* what the guest was told of host_open */
	bool say_add, say_console, say_name;
};

/* A port in the stream. */
struct vser_wire_port {
	uint32_t id;
	uint8_t guest_open, host_open;
	uint32_t popped, piece;
	uint64_t offset;
	struct vser_chain *chain;
};

struct vser_wire {
	uint16_t cols, rows;
	uint32_t max_ports, ports_map, n_ports;
	struct vser_wire_port port[VSER_MAX_PORTS];
	bool owned; /* the chains are: a load has not come to its end */
};

struct vser {
	struct virtio_device v; /* first */
	/* set at creation and then constant */
	uint32_t max_ports;
	struct board_device *board;
	int wake_fd; /* eventfd for the main loop */
	struct loop_fd *wake;
	struct loop_timer *event_timer;
	/* set before the machine runs */
	struct vser_port *ports[VSER_MAX_PORTS]; /* owned, in order of creation */
	unsigned n_ports;
	uint32_t ports_map;    /* bit n: port n is there; bit 0 always */
	pthread_mutex_t lock;  /* a leaf (vmm/machine.h) */
	struct vser_wire wire; /* machine lock; during save and load */
};

static inline struct vser *to_vser(struct virtio_device *v)
{
	return (struct vser *)v;
}

extern const struct virtio_ops vser_ops; /* serial.c */
extern const struct vms_desc vser_section, vser_body;
int vser_loaded(struct virtio_device *v, struct err *err);
/* The part of the device that is not every virtio device's; fini after a failed init, too. */
int vser_init(struct vser *s, struct machine *m, struct err *err);
void vser_fini(struct vser *s);
struct vser_port *vser_find_port(const struct vser *s, uint32_t id); /* or NULL */
void vser_wire_free(struct vser_wire *w);

/* Any thread: have the main loop look at the ports. */
void vser_wake_main(struct vser *s);

/* ---- serial-port.c: I/O loop unless said otherwise ---- */
/* Before the first serve: the chain at hand is looked up in guest memory again. */
void vser_port_start(struct vser_port *p);
void vser_port_input(struct vser_port *p);
void vser_port_output(struct vser_port *p);
/* The guest opens or closes the port. */
void vser_port_guest_open(struct vser_port *p, bool open);
/* Machine lock, queues not served: the driver is gone. */
void vser_port_reset(struct vser_port *p);

/* ---- serial-chardev.c: main loop ---- */
/* Become the front end of p->chr, if there is one; -EBUSY: it has another. */
int vser_port_attach(struct vser_port *p, struct err *err);
void vser_port_free(struct vser_port *p); /* takes p, attached or not */
/* Pass on what waits, and tell of what has changed. */
void vser_port_pump(struct vser_port *p);

#endif
