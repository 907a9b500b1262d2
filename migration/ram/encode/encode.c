/* encode.c - the encoders that every way of moving RAM has: zero pages, and pages as they are */
#include "migration/ram/ram-stream.h"
#include "vmm/base/units.h"
#include "vmm/base/zero.h"

static bool looks_zero(const struct ram_stream *rs, const struct page *p)
{
	return rs->zero_pages == ZERO_IN_STREAM && buffer_is_zero(page_content(p), PAGE_BYTES);
}

static int zero_encode(struct ram_stream *rs, const struct page *p)
{
	static const uint8_t fill = 0;
	int ret;

	if (rs->zero_pages == ZERO_IN_CHANNELS || (!p->untouched && !looks_zero(rs, p)))
		return 0;
	ret = ram_put_page_header(rs, p, RAM_FLAG_ZERO);
	if (ret == 0)
		ret = writer_put(rs->w, &fill, sizeof(fill));
	ram_note_zero(rs, p);
	rs->count.duplicate++;
	return ret < 0 ? ret : 1;
}

const struct page_encoder encode_zero = {.name = "zero", .encode = zero_encode};

static int plain_encode(struct ram_stream *rs, const struct page *p)
{
	int ret = rs->sink->put_page(rs, p);

	return ret < 0 ? ret : 1;
}

const struct page_encoder encode_plain = {.name = "plain", .encode = plain_encode};
