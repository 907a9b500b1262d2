/* sink.c - whole pages over multifd's channels; what is no content stays in the stream */
#include "migration/ram/multifd/multifd.h"
#include "migration/ram/ram-stream.h"

static int multifd_put_page(struct ram_stream *rs, const struct page *p)
{
	rs->count.normal++;
	return multifd_send_page(rs->multifd, p->block, p->off);
}

static int multifd_sync(struct ram_stream *rs)
{
	return multifd_send_sync(rs->multifd);
}

const struct page_sink sink_multifd = {
    .name = "multifd",
    .put_page = multifd_put_page,
    .sync = multifd_sync,
};
