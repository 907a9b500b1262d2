/*
 * announce.c - tell the network where the guest's addresses are now
 *
 * Each round sends a RARP request from every card, which teaches switches the
 * port behind which the address lives, and asks the guest's driver to
 * announce itself (gratuitous ARP knows the guest's IP addresses, RARP does
 * not).  Rounds follow each other at growing distances.
 */
#include "migration/announce.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/virtio-devices.h"
#include "migration/internal.h"
#include "migration/migration.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/units.h"
#include "vmm/loop.h"
#include "vmm/machine.h"

#define RARP_BYTES   60 /* the shortest Ethernet frame */
#define ETHER_RARP   0x8035
#define ETHER_IP     0x0800
#define ARP_ETHERNET 1
#define RARP_REQUEST 3

struct announcer {
	struct migration *mg;
	struct list link;
	struct loop_timer *timer;
	char *id; /* owned; NULL: the nameless one */
	uint64_t initial_ms, max_ms, rounds, step_ms;
	uint64_t done;     /* rounds sent */
	char **interfaces; /* owned; NULL: all */
	size_t n_interfaces;
};

static void announcer_free(struct announcer *a)
{
	list_del(&a->link);
	loop_timer_free(a->timer);
	for (size_t i = 0; i < a->n_interfaces; i++)
		free(a->interfaces[i]);
	free(a->interfaces);
	free(a->id);
	free(a);
}

static void make_rarp(uint8_t frame[RARP_BYTES], const uint8_t mac[6])
{
	uint8_t *arp = frame + 14;

	memset(frame, 0, RARP_BYTES);
	memset(frame, 0xff, 6);
	memcpy(frame + 6, mac, 6);
	put_be16(frame + 12, ETHER_RARP);
	put_be16(arp, ARP_ETHERNET);
	put_be16(arp + 2, ETHER_IP);
	arp[4] = 6; /* length of a hardware address */
	arp[5] = 4; /* length of a protocol address */
	put_be16(arp + 6, RARP_REQUEST);
	memcpy(arp + 8, mac, 6);  /* sender */
	memcpy(arp + 18, mac, 6); /* the one asked about: itself */
}

static bool announces_card(const struct announcer *a, const char *id)
{
	for (size_t i = 0; i < a->n_interfaces; i++)
		if (!strcmp(a->interfaces[i], id))
			return true;
	return !a->interfaces;
}

static void announce_nic(void *opaque, struct nic *nic)
{
	const struct announcer *a = opaque;
	uint8_t frame[RARP_BYTES], mac[6];

	if (!announces_card(a, nic_id(nic)))
		return;
	nic_mac(nic, mac);
	make_rarp(frame, mac);
	nic_send_raw(nic, frame, sizeof(frame));
	nic_announce_guest(nic);
}

/* Main loop. */
static void next_round(void *opaque)
{
	struct announcer *a = opaque;
	uint64_t delay;

	nic_for_each(a->mg->m, announce_nic, a);
	if (++a->done >= a->rounds) {
		announcer_free(a);
		return;
	}
	delay = a->initial_ms + (a->done - 1) * a->step_ms; /* all are bounded: no overflow */
	loop_timer_arm_ms(a->timer, MIN(delay, a->max_ms));
}

static bool same_id(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static void announce_replace(struct migration *mg, const char *id)
{
	list_for_each_safe (a, &mg->announcers, struct announcer, link)
		if (same_id(a->id, id))
			announcer_free(a);
}

/* The parameters' ranges (qmp-surface 3.2) hold here too. */
static int announce_check(const struct announce_args *args, struct err *err)
{
	if (args->initial_ms > 100000 || args->max_ms > 100000)
		return err_set(err, EINVAL, "Parameter '%s' expects a value between 0 and 100000",
			       args->initial_ms > 100000 ? "initial" : "max");
	if (args->rounds > 1000)
		return err_set(err, EINVAL,
			       "Parameter 'rounds' expects a value between 0 and 1000");
	if (args->step_ms > 10000)
		return err_set(err, EINVAL, "Parameter 'step' expects a value between 0 and 10000");
	return 0;
}

int migration_announce(struct migration *mg, const struct announce_args *args, struct err *err)
{
	struct announcer *a;
	int ret = announce_check(args, err);

	if (ret < 0)
		return ret;
	announce_replace(mg, args->id);
	if (!args->rounds)
		return 0;
	a = NEW(struct announcer);
	a->mg = mg;
	a->id = args->id ? xstrdup(args->id) : NULL;
	a->initial_ms = args->initial_ms;
	a->max_ms = args->max_ms;
	a->rounds = args->rounds;
	a->step_ms = args->step_ms;
	if (args->interfaces) {
		a->interfaces = xcalloc(args->n_interfaces + 1, sizeof(char *));
		for (size_t i = 0; i < args->n_interfaces; i++)
			a->interfaces[a->n_interfaces++] = xstrdup(args->interfaces[i]);
	}
	a->timer = loop_timer_new(mg->m->loop, next_round, a);
	list_add_tail(&mg->announcers, &a->link);
	next_round(a);
	return 0;
}

void announce_fini(struct migration *mg)
{
	list_for_each_safe (a, &mg->announcers, struct announcer, link)
		announcer_free(a);
}
