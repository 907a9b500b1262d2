/*
 * virtio-devices.h - the virtio devices, as the board and migration see them
 *
 * Everything here is for the main thread under the machine lock unless said
 * otherwise.
 */
#ifndef MINIVMM_DEVICES_VIRTIO_VIRTIO_DEVICES_H
#define MINIVMM_DEVICES_VIRTIO_VIRTIO_DEVICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct device_row;
struct err;
struct machine;
struct nic;

/*
 * The models behind a virtio-mmio transport.  Each makes its registers,
 * interrupt, state and board entry, which belong to the machine afterwards.
 */
extern const struct device_row virtio_blk_row, virtio_net_row, virtio_rng_row;
extern const struct device_row virtio_balloon_row, virtio_serial_row;
/* The ports of a virtio-serial device that was made before them. */
extern const struct device_row virtconsole_row, virtserialport_row;
/* Properties of the transport itself. */
extern const struct device_row virtio_mmio_row;
/* -global virtio-mmio.force-legacy=, or what -machine stock= makes of it. */
bool virtio_mmio_is_legacy(const struct machine *m);
/* Answer for the transports whose bit in used_mask is 0: no device behind them
 * (machine-microvm 1.5). */
int virtio_mmio_add_empty_slots(struct machine *m, uint32_t used_mask, struct err *err);

/*
 * Machine lock.  Append to 'out' what the drivers of this guest have set up and a
 * QEMU of some release refuses, with the property that it needs: sentences
 * without a full stop, "; " between; nothing, if every release takes the guest.
 */
void virtio_hints(struct machine *m, struct buf *out);

/*
 * The balloon, of which a machine has one at most; NULL: none.  All under the
 * machine lock.
 */
struct balloon;
struct balloon *balloon_find(struct machine *m);
/* The guest's memory less what it says is in the balloon. */
uint64_t balloon_actual_bytes(struct balloon *b);
/* What the guest's driver last said of its memory (virtio 1.2, 5.5.6.4), by tag. */
#define BALLOON_N_STATS    10U
#define BALLOON_STAT_NEVER UINT64_MAX /* it has not told this one */
struct balloon_stats {
	uint64_t v[BALLOON_N_STATS];
	int64_t updated_s; /* since 1970; 0: never */
};
struct balloon_stats balloon_stats(struct balloon *b);
/* Seconds between two questions for them, 0: none are asked. */
uint64_t balloon_stats_interval(const struct balloon *b);
void balloon_set_stats_interval(struct balloon *b, uint64_t seconds);
/* Ask the guest's driver to leave the guest that much; more than all is all. */
void balloon_set_target(struct balloon *b, uint64_t bytes);

/*
 * Free page hinting (virtio 1.2, 5.5.6.6).  From balloon_hints_start() on drop(opaque, gpa,
 * len) is told of memory that the guest does not use: what it held when the hints were
 * started, or holds now, is of no interest unless the guest writes there later.  drop() runs
 * on the I/O thread with a leaf lock held, not after balloon_hints_stop() has returned.
 * False: the driver has not agreed to give hints, or wants pages to keep a pattern.
 */
typedef void balloon_drop_fn(void *opaque, uint64_t gpa, uint64_t len);
bool balloon_hints_start(struct balloon *b, balloon_drop_fn *drop, void *opaque);
/* Not started is fine.  Any thread; no lock needed. */
void balloon_hints_stop(struct balloon *b);

/*
 * Network cards, for announcements after a move.  fn is called for each in
 * order of creation and must not change the list.
 */
void nic_for_each(struct machine *m, void (*fn)(void *opaque, struct nic *nic), void *opaque);
/* The user's id; "" when none was given.  Lives as long as the nic. */
const char *nic_id(const struct nic *nic);
/* The id of what is behind it. */
const char *nic_netdev(const struct nic *nic);
/*
 * The cable is in, or out: frames are dropped both ways, and a guest that reads the state of the
 * link is told.  As a migration or a snapshot has it afterwards.
 */
void nic_set_link(struct nic *nic, bool up);
/* Which frames the guest wants, as it was at some moment. */
#define NIC_INFO_MACS  64
#define NIC_INFO_VLANS 4096
enum nic_rx { NIC_RX_NORMAL, NIC_RX_NONE, NIC_RX_ALL };
struct nic_filter_info {
	uint8_t main_mac[6];
	bool promiscuous, broadcast, multi_overflow, uni_overflow;
	enum nic_rx multicast, unicast, vlan;
	size_t n_macs, first_multi; /* unicast addresses come first */
	uint8_t macs[NIC_INFO_MACS][6];
	uint8_t vlans[NIC_INFO_VLANS / 8]; /* bits */
};
void nic_filter_read(struct nic *nic, struct nic_filter_info *out);
/* The address that the guest uses now. */
void nic_mac(struct nic *nic, uint8_t mac[6]);
/* Put one frame of n bytes (at least 14, at most 1514) on the back end as if the guest had sent it.
 */
void nic_send_raw(struct nic *nic, const uint8_t *frame, size_t n);
/* Ask the guest to announce itself, when its driver has negotiated that; else nothing happens. */
void nic_announce_guest(struct nic *nic);

#endif
