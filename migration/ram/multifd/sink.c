/*
 * sink.c - whole pages over multifd's channels; what is no content stays in the stream
 *
 * What the stream says of a sync round depends on the receiver (multifd.h): nothing, as each
 * record has one, or MULTIFD_FLUSH where a pass ends.
 */
#include "migration/ram/multifd/multifd.h"
#include "migration/ram/ram-stream.h"
#include "vmm/base/bytes.h"

static int multifd_put_page(struct ram_stream *rs, const struct page *p)
{
	return multifd_send_page(rs->multifd, p->block, p->off, p->untouched);
}

static void count_pages(struct ram_stream *rs)
{
	struct multifd_pages now = multifd_send_pages(rs->multifd);

	rs->count.normal += now.normal - rs->counted.normal;
	rs->count.duplicate += now.zero - rs->counted.zero;
	rs->counted = now;
}

static int put_flush(struct ram_stream *rs)
{
	uint8_t word[8];

	put_be64(word, RAM_FLAG_MULTIFD_FLUSH);
	return writer_put(rs->w, word, sizeof(word));
}

static int multifd_end(struct ram_stream *rs, bool flush)
{
	int ret = 0;

	if (rs->held)
		return 0;
	if (flush || !rs->flush_pass)
		ret = multifd_send_sync(rs->multifd);
	else if (rs->exact)
		ret = multifd_send_drain(rs->multifd);
	count_pages(rs);
	return ret == 0 && flush && rs->flush_pass ? put_flush(rs) : ret;
}

const struct page_sink sink_multifd = {
    .name = "multifd",
    .put_page = multifd_put_page,
    .end = multifd_end,
};
