/* encode.c - how a page is represented: zero, plain, multifd (migration-stream 3.3) */
#include <string.h>

#include "migration/ram/multifd/multifd.h"
#include "migration/ram/ram.h"
#include "vmm/base/bytes.h"
#include "vmm/base/units.h"
#include "vmm/base/zero.h"

/* The word, and the block's name unless it is the one named last. */
static int put_header(struct ram_save *s, const struct page *p, uint64_t flags)
{
	uint8_t head[8 + 1 + RAM_NAME_BYTES];
	size_t n = 8;

	if (p->block == s->last_block) {
		flags |= RAM_FLAG_CONTINUE;
	} else {
		size_t len = strlen(p->block->name);

		head[n++] = (uint8_t)len;
		memcpy(head + n, p->block->name, len);
		n += len;
		s->last_block = p->block;
	}
	put_be64(head, p->off | flags);
	return writer_put(s->w, head, n);
}

static int put_plain(struct ram_save *s, const struct page *p, const void *content)
{
	int ret = put_header(s, p, RAM_FLAG_PAGE);

	s->count.normal++;
	return ret < 0 ? ret : writer_ref(s->w, content, PAGE_BYTES);
}

int ram_put_run(struct ram_save *s)
{
	uint64_t pages = s->run_pages;
	const uint8_t *content;
	uint8_t n[4];
	int ret;

	if (!pages)
		return 0;
	s->run_pages = 0;
	content = s->run.block->hva + s->run.off;
	if (pages == 1)
		return put_plain(s, &s->run, content);
	put_be32(n, (uint32_t)pages);
	ret = put_header(s, &s->run, RAM_FLAG_RUN);
	if (ret == 0)
		ret = writer_put(s->w, n, sizeof(n));
	s->count.normal += pages;
	return ret < 0 ? ret : writer_pages(s->w, content, pages * PAGE_BYTES);
}

int ram_put_page_header(struct ram_save *s, const struct page *p, uint64_t flags)
{
	int ret = ram_put_run(s);

	return ret < 0 ? ret : put_header(s, p, flags);
}

int ram_put_plain(struct ram_save *s, const struct page *p, const void *content)
{
	int ret = ram_put_run(s);

	if (ret == 0)
		ret = put_plain(s, p, content);
	return ret < 0 ? ret : 1;
}

static int zero_encode(struct ram_save *s, const struct page *p)
{
	static const uint8_t fill = 0;
	int ret;

	if (!p->untouched && !buffer_is_zero(p->block->hva + p->off, PAGE_BYTES))
		return 0;
	ret = ram_put_page_header(s, p, RAM_FLAG_ZERO);
	if (ret == 0)
		ret = writer_put(s->w, &fill, sizeof(fill));
	s->count.duplicate++;
	return ret < 0 ? ret : 1;
}

const struct page_encoder encode_zero = {.name = "zero", .encode = zero_encode};

/* With a peer that takes runs, wait for the page behind this one. */
static int plain_encode(struct ram_save *s, const struct page *p)
{
	int ret;

	if (!s->runs)
		return ram_put_plain(s, p, p->block->hva + p->off);
	if (s->run_pages && p->block == s->run.block &&
	    p->off == s->run.off + s->run_pages * PAGE_BYTES) {
		s->run_pages++;
		return 1;
	}
	ret = ram_put_run(s);
	s->run = *p;
	s->run_pages = 1;
	return ret < 0 ? ret : 1;
}

const struct page_encoder encode_plain = {.name = "plain", .encode = plain_encode};

const struct page_encoder *const precopy_encoders[] = {&encode_zero, &encode_plain, NULL};

static int multifd_encode(struct ram_save *s, const struct page *p)
{
	int ret = multifd_send_page(s->multifd, p->block, p->off);

	s->count.normal++;
	return ret < 0 ? ret : 1;
}

static int multifd_drain(struct ram_save *s)
{
	return multifd_send_sync(s->multifd);
}

const struct page_encoder encode_multifd = {
    .name = "multifd",
    .encode = multifd_encode,
    .drain = multifd_drain,
};

const struct page_encoder *const multifd_encoders[] = {&encode_zero, &encode_multifd, NULL};
