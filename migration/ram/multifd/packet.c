/*
 * packet.c - packets of multifd channels
 *
 * The layouts are those of migration-stream 4.  A channel begins with one init packet
 * (magic, version, UUID, channel number); each packet of pages has a header with
 * flags, the number of pages and zero pages, their offsets and the block's name.
 * Writing and reading are pure functions of bytes.  Every count and size that a
 * header announces is bounded here, so the caller may read and allocate by it;
 * offsets are aligned here, and checked against the block by the caller.
 */
#include "migration/ram/multifd/multifd.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vmm/base/bytes.h"
#include "vmm/base/error.h"

/* ---- the first packet ---- */

#define INIT_UUID 8
#define INIT_ID   24

void multifd_put_init(uint8_t out[MULTIFD_INIT_BYTES], const uint8_t uuid[16], unsigned id)
{
	memset(out, 0, MULTIFD_INIT_BYTES);
	put_be32(out, MULTIFD_MAGIC);
	put_be32(out + 4, MULTIFD_VERSION);
	memcpy(out + INIT_UUID, uuid, 16);
	out[INIT_ID] = (uint8_t)id;
}

static int check_magic(const uint8_t *in, struct err *err)
{
	uint32_t magic = get_be32(in), version = get_be32(in + 4);

	if (magic != MULTIFD_MAGIC)
		return err_set(err, EINVAL, "a packet begins with 0x%08x instead of 0x%08x", magic,
			       MULTIFD_MAGIC);
	if (version != MULTIFD_VERSION)
		return err_set(err, EINVAL, "a packet has version %u, only %u is understood",
			       version, MULTIFD_VERSION);
	return 0;
}

int multifd_get_init(const uint8_t in[MULTIFD_INIT_BYTES], const struct multifd_config *cfg,
		     unsigned *id, struct err *err)
{
	int ret = check_magic(in, err);

	if (ret < 0)
		return ret;
	if (memcmp(in + INIT_UUID, cfg->uuid, sizeof(cfg->uuid)) != 0)
		return err_set(err, EINVAL, "the source's machine has another UUID than this one");
	if (in[INIT_ID] >= cfg->channels)
		return err_set(err, EINVAL,
			       "the source opens channel %u, and 'multifd-channels' is %u here: "
			       "it must be the same on both sides",
			       in[INIT_ID], cfg->channels);
	*id = in[INIT_ID];
	return 0;
}

/* ---- headers ---- */

#define AT_FLAGS   8
#define AT_ALLOC   12
#define AT_PAGES   16
#define AT_PAYLOAD 20
#define AT_NUM     24
#define AT_ZERO    32
#define AT_BLOCK   64
#define AT_OFFSETS 320

void multifd_put_header(uint8_t out[MULTIFD_HEADER_BYTES], const struct multifd_packet *p)
{
	uint32_t n = p->n_pages + p->n_zero;

	memset(out, 0, AT_BLOCK);
	put_be32(out, MULTIFD_MAGIC);
	put_be32(out + 4, MULTIFD_VERSION);
	put_be32(out + AT_FLAGS, p->flags);
	put_be32(out + AT_ALLOC, MULTIFD_PAGES);
	put_be32(out + AT_PAGES, p->n_pages);
	put_be32(out + AT_PAYLOAD, p->payload_bytes);
	put_be64(out + AT_NUM, p->num);
	put_be32(out + AT_ZERO, p->n_zero);
	memcpy(out + AT_BLOCK, p->block, sizeof(p->block));
	for (uint32_t i = 0; i < n; i++)
		put_be64(out + AT_OFFSETS + 8UL * i, p->off[i]);
	memset(out + AT_OFFSETS + 8UL * n, 0, 8UL * (MULTIFD_PAGES - n));
}

static int check_method(uint32_t flags, enum multifd_compression method, struct err *err)
{
	uint32_t flag = (flags & MULTIFD_METHOD_MASK) >> MULTIFD_METHOD_SHIFT;

	if (flag != multifd_methods[method]->flag)
		return err_set(err, EINVAL,
			       "'multifd-compression' is %s at the source (0x%x) and %s here",
			       multifd_method_name(flag), flag, multifd_methods[method]->name);
	return 0;
}

static int check_payload(uint32_t bytes, uint32_t n_pages, enum multifd_compression method,
			 struct err *err)
{
	uint64_t plain = (uint64_t)n_pages * PAGE_BYTES;

	if (method == MULTIFD_NONE && bytes != plain)
		return err_set(err, EINVAL, "a packet of %u pages announces %u bytes", n_pages,
			       bytes);
	if (n_pages > 0 && (bytes == 0 || bytes > MULTIFD_MAX_PAYLOAD))
		return err_set(err, EINVAL,
			       "a packet of %u pages announces %u bytes, 1 to %zu are possible",
			       n_pages, bytes, MULTIFD_MAX_PAYLOAD);
	return 0;
}

static int get_block(const uint8_t *in, struct multifd_packet *p, struct err *err)
{
	memcpy(p->block, in + AT_BLOCK, sizeof(p->block));
	if (!memchr(p->block, 0, sizeof(p->block)))
		return err_set(err, EINVAL, "the name of a packet's RAM block does not end");
	return 0;
}

static int get_offsets(const uint8_t *in, struct multifd_packet *p, struct err *err)
{
	for (uint32_t i = 0; i < p->n_pages + p->n_zero; i++) {
		p->off[i] = get_be64(in + AT_OFFSETS + 8UL * i);
		if (p->off[i] % PAGE_BYTES)
			return err_set(err, EINVAL, "page offset 0x%" PRIx64 " is no page's start",
				       p->off[i]);
	}
	return 0;
}

int multifd_get_header(const uint8_t in[MULTIFD_HEADER_BYTES], enum multifd_compression method,
		       struct multifd_packet *p, struct err *err)
{
	uint32_t alloc = get_be32(in + AT_ALLOC);
	int ret = check_magic(in, err);

	if (ret < 0)
		return ret;
	p->flags = get_be32(in + AT_FLAGS);
	p->n_pages = get_be32(in + AT_PAGES);
	p->n_zero = get_be32(in + AT_ZERO);
	p->num = get_be64(in + AT_NUM);
	p->payload_bytes = 0;
	p->block[0] = 0;
	if (p->flags & MULTIFD_DEVICE_STATE)
		return err_set(err, EINVAL,
			       "a packet carries device state, which is not supported");
	if (p->flags & ~(MULTIFD_SYNC | MULTIFD_METHOD_MASK))
		return err_set(err, EINVAL, "a packet has unknown flags 0x%x", p->flags);
	if (alloc > MULTIFD_PAGES)
		return err_set(err, EINVAL, "a packet has room for %u pages, %u are possible",
			       alloc, MULTIFD_PAGES);
	if (p->n_pages > alloc || p->n_zero > alloc - p->n_pages)
		return err_set(err, EINVAL,
			       "a packet has %u pages and %u zero pages, room is for %u",
			       p->n_pages, p->n_zero, alloc);
	if (p->n_pages + p->n_zero == 0) /* what is left may be the packet's before it */
		return 0;
	ret = check_method(p->flags, method, err);
	if (ret == 0 && p->n_pages > 0) {
		p->payload_bytes = get_be32(in + AT_PAYLOAD);
		ret = check_payload(p->payload_bytes, p->n_pages, method, err);
	}
	if (ret == 0)
		ret = get_block(in, p, err);
	return ret < 0 ? ret : get_offsets(in, p, err);
}
