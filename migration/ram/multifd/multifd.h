/*
 * multifd.h - RAM pages over several connections beside the main one (migration-stream 4)
 *
 *     migration thread            channel threads         channel threads     load thread
 *     pages -> batch (128) ----> [compress] -> socket --> socket -> guest RAM
 *     zero pages, lists, EOS --------- main channel ------------------------> main records
 *
 * A batch holds pages of one block.  Any channel may carry it, so the order
 * between channels is made by sync rounds: each channel carries a packet with
 * SYNC, and no channel of the receiver goes beyond its SYNC before all channels
 * and the main one have got as far.  Which words of the main stream these are is
 * the source's choice: MULTIFD_FLUSH, one a pass over RAM and one in the START
 * record (QEMU since 8.1), or the EOS of every RAM record (QEMU up to 8.0).  The
 * START record tells a receiver which.  A page is sent at most once between two
 * rounds, so a newer copy never meets an older one.
 *
 * A receiver that takes the one for the other would place pages in the wrong
 * order, or never, and learn nothing of it.  So at the end of the stream each channel
 * must stand at the last round, with no page behind it (multifd_recv_finish).
 *
 * Buffers are fixed when the migration starts: four batches a channel (1 KiB
 * each), and a channel's own (a header; 1 MiB and the compressor's state where
 * pages are compressed).  Uncompressed pages are sent from and received into
 * guest memory without a copy in between.
 */
#ifndef MINIVMM_MIGRATION_RAM_MULTIFD_H
#define MINIVMM_MIGRATION_RAM_MULTIFD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/settings/params.h"
#include "vmm/base/units.h"
#include "vmm/memory/memory.h"

struct channel;
struct err;
struct iovec;
struct page_sink;
struct ram_load;

#define MULTIFD_MAGIC        0x11223344U
#define MULTIFD_VERSION      1U
#define MULTIFD_PAGES        128U /* of a packet: 512 KiB */
#define MULTIFD_INIT_BYTES   64U
#define MULTIFD_HEADER_BYTES (320U + 8U * MULTIFD_PAGES)
#define MULTIFD_MAX_PAYLOAD  ((size_t)MiB) /* of a packet; what QEMU's receiver has room for */

#define MULTIFD_SYNC         0x01U /* in a packet's flags */
#define MULTIFD_METHOD_SHIFT 1
#define MULTIFD_METHOD_MASK  0x3eU
#define MULTIFD_DEVICE_STATE 0x40U

struct multifd_config {
	unsigned channels; /* 1..255 */
	enum multifd_compression method;
	unsigned level;
	bool zero_copy;   /* source: MSG_ZEROCOPY */
	uint8_t uuid[16]; /* the machine's; zeros: it has none */
};

/* methods.c: the level that belongs to the chosen method is taken from the parameters. */
void multifd_config_fill(struct multifd_config *cfg, const struct migration_params *p,
			 bool zero_copy, const uint8_t uuid[16]);

/* ---- packets (packet.c); pure ---- */

void multifd_put_init(uint8_t out[MULTIFD_INIT_BYTES], const uint8_t uuid[16], unsigned id);
/* Check the first packet of a channel; *id is below cfg->channels. */
int multifd_get_init(const uint8_t in[MULTIFD_INIT_BYTES], const struct multifd_config *cfg,
		     unsigned *id, struct err *err);

struct multifd_packet {
	uint32_t flags;
	uint32_t n_pages;       /* with content */
	uint32_t n_zero;        /* pages that are zero; their offsets follow */
	uint32_t payload_bytes; /* 0 without n_pages */
	uint64_t num;
	char block[RAM_NAME_BYTES]; /* "" without pages */
	uint64_t off[MULTIFD_PAGES];
};

void multifd_put_header(uint8_t out[MULTIFD_HEADER_BYTES], const struct multifd_packet *p);
/*
 * Decode, and check all that can be checked without knowing the blocks; a
 * packet without pages has no other valid field than its flags.
 */
int multifd_get_header(const uint8_t in[MULTIFD_HEADER_BYTES], enum multifd_compression method,
		       struct multifd_packet *p, struct err *err);

/* ---- methods of compression: one row each, their table in methods.c ---- */

/*
 * One continuous stream per channel: a packet's payload continues the one
 * before it and ends with a flush.
 */
struct multifd_method {
	const char *name;
	uint32_t flag; /* in a packet's flags, unshifted; NULL functions: pages go as they are */
	/* Sender.  Returns owned, or NULL with *err set. */
	void *(*deflate_new)(unsigned level, struct err *err);
	void (*deflate_free)(void *state);
	/*
	 * Append one page, which does not change meanwhile, to out[*n..room);
	 * the last page of a packet is followed by a flush.
	 */
	int (*deflate_page)(void *state, const uint8_t *page, bool last, uint8_t *out, size_t room,
			    size_t *n, struct err *err);
	/* Receiver. */
	void *(*inflate_new)(struct err *err);
	void (*inflate_free)(void *state);
	/*
	 * A whole payload; it must fill the pieces exactly.  The pieces may be
	 * half filled when it does not.
	 */
	int (*inflate)(void *state, const uint8_t *in, size_t n, const struct iovec *to, int n_to,
		       struct err *err);
};

extern const struct multifd_method multifd_zlib, multifd_zstd;
extern const struct multifd_method *const multifd_methods[]; /* by enum multifd_compression */
/* What a method's field in a packet means, for messages. */
const char *multifd_method_name(uint32_t flag);

/* ---- sender: the migration thread calls ---- */

struct multifd_send;

/* 'cancel_fd' (borrowed): readable once the migration is cancelled. */
struct multifd_send *multifd_send_new(const struct multifd_config *cfg, int cancel_fd,
				      struct err *err);
/* Ends the threads, closes the channels, frees; NULL is fine. */
void multifd_send_free(struct multifd_send *s);
/*
 * A descriptor that becomes readable when the migration is cancelled or a
 * channel has failed: what every other channel of this migration waits for too.
 */
int multifd_send_alarm(const struct multifd_send *s);
/* The destination is minivmm: see channel_use_splice().  Before the first page. */
void multifd_send_splice(struct multifd_send *s);
/* Channel 0, then 1, ...: sends its first packet and starts its thread.  Takes 'ch' either way. */
int multifd_send_add(struct multifd_send *s, struct channel *ch, struct err *err);

/* The destination takes zero pages in packets: look for them.  Before the first page. */
void multifd_send_zero_pages(struct multifd_send *s);

extern const struct page_sink sink_multifd;

/*
 * One page; waits for a channel when all batches are on their way.  'untouched': it is zero and
 * must not be read, which only goes with multifd_send_zero_pages().  -errno when a channel failed.
 */
int multifd_send_page(struct multifd_send *s, const struct ram_block *block, uint64_t off,
		      bool untouched);
/* Returns when all pages have been given to the sockets, and are counted. */
int multifd_send_drain(struct multifd_send *s);
/* A sync round; returns when everything up to it has been given to the sockets. */
int multifd_send_sync(struct multifd_send *s);
/* Has a channel failed?  Then its cause: -errno with *err set, else 0. */
int multifd_send_failure(struct multifd_send *s, struct err *err);
/* Has the peer closed a channel?  Migration thread. */
int multifd_send_check(struct multifd_send *s, struct err *err);
/* Bytes for the channels up to now, and pages; exact after a sync and a drain. */
uint64_t multifd_send_bytes(const struct multifd_send *s);
struct multifd_pages multifd_send_pages(const struct multifd_send *s);
/* Bytes that pages which are not counted yet may become, where they are not compressed. */
uint64_t multifd_send_pending(const struct multifd_send *s);
/* Sync rounds of a channel in which zero copy was asked for and never happened. */
uint64_t multifd_send_copied(const struct multifd_send *s);

/* ---- receiver ---- */

struct multifd_recv;

/*
 * pending(opaque) (may be NULL): may another connection have come that has
 * not been added yet?  The load thread asks; multifd_recv_poke() makes it ask
 * again.
 */
struct multifd_recv *multifd_recv_new(const struct multifd_config *cfg, int cancel_fd,
				      bool (*pending)(void *opaque), void *opaque, struct err *err);
void multifd_recv_poke(struct multifd_recv *r);
/*
 * Load thread, before the first EOS: the main connection (borrowed).  When the
 * source has closed it, the wait for channels on which nothing comes ends.
 */
void multifd_recv_main(struct multifd_recv *r, int fd);
void multifd_recv_free(struct multifd_recv *r); /* stops first; NULL is fine */
/* As multifd_send_alarm(); failures show in it once the list of RAM blocks has been loaded. */
int multifd_recv_alarm(const struct multifd_recv *r);
/*
 * Main thread: a connection whose first bytes are a multifd channel's.  Takes 'ch'.  One too many
 * is a failure until all have been at work once, and is closed from then on.
 */
void multifd_recv_add(struct multifd_recv *r, struct channel *ch);
/*
 * Load thread, where the main stream has a sync round.  At the first one it waits for
 * the channels; when none has come for a moment, the source uses none.
 */
int multifd_recv_sync(struct multifd_recv *r, struct ram_load *ram, struct err *err);
/* Load thread, before the first round: the source has said that it uses channels. */
void multifd_recv_expect(struct multifd_recv *r);
/*
 * Load thread, behind the last record: all that has come over the channels has been
 * placed, and it was in front of the last sync round.
 */
int multifd_recv_finish(struct multifd_recv *r, struct err *err);
/* Has the source any channel?  Without one no page comes by one before the next sync. */
bool multifd_recv_used(struct multifd_recv *r);
/* As multifd_send_failure(). */
int multifd_recv_failure(struct multifd_recv *r, struct err *err);
/* End the threads and close the channels; the blocks may go away afterwards. */
void multifd_recv_stop(struct multifd_recv *r);

#endif
