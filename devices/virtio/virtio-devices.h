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
extern const struct device_row virtio_blk_row, virtio_net_row, virtio_rng_row, virtio_serial_row;
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
 * Network cards, for announcements after a move.  fn is called for each in
 * order of creation and must not change the list.
 */
void nic_for_each(struct machine *m, void (*fn)(void *opaque, struct nic *nic), void *opaque);
/* The user's id; "" when none was given.  Lives as long as the nic. */
const char *nic_id(const struct nic *nic);
/* The address that the guest uses now. */
void nic_mac(struct nic *nic, uint8_t mac[6]);
/* Put one frame of n bytes (at least 14, at most 1514) on the back end as if the guest had sent it.
 */
void nic_send_raw(struct nic *nic, const uint8_t *frame, size_t n);
/* Ask the guest to announce itself, when its driver has negotiated that; else nothing happens. */
void nic_announce_guest(struct nic *nic);

#endif
