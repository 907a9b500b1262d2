/* encoders.c - which encoders a migration has, in which order they are asked */
#include <errno.h>

#include "migration/ram/encode/compress.h"
#include "migration/ram/encode/xbzrle.h"
#include "migration/ram/mapped/mapped.h"
#include "migration/ram/ram.h"
#include "migration/settings/params.h"
#include "vmm/base/units.h"

const struct page_encoder *const precopy_encoders[] = {&encode_zero, &encode_plain, NULL};

static const struct page_encoder *const with_xbzrle[] = {
    &encode_zero_noted,
    &encode_xbzrle,
    &encode_plain,
    NULL,
};

static const struct page_encoder *const with_compress[] = {
    &encode_block_order, &encode_zero, &encode_compress, &encode_plain, NULL,
};

/* The first pass is compressed, later ones are deltas. */
static const struct page_encoder *const with_both[] = {
    &encode_block_order, &encode_zero_noted, &encode_compress, &encode_xbzrle, &encode_plain, NULL,
};

static const struct {
	bool xbzrle, compress, mapped;
	const struct page_encoder *const *encoders;
} modes[] = {
    {false, false, false, precopy_encoders},
    {true,  false, false, with_xbzrle     },
    {false, true,  false, with_compress   },
    {true,  true,  false, with_both       },
    {false, false, true,  mapped_encoders },
};

int ram_save_encoders(struct ram_save *s, const bool caps[CAP_COUNT],
		      const struct migration_params *p, const uint64_t *cache_bytes,
		      struct err *err)
{
	int ret = 0;

	for (size_t i = 0; i < ARRAY_LEN(modes); i++)
		if (modes[i].xbzrle == caps[CAP_XBZRLE] &&
		    modes[i].compress == caps[CAP_COMPRESS] &&
		    modes[i].mapped == caps[CAP_MAPPED_RAM])
			s->stream.encoders = modes[i].encoders;
	if (p->zero_page_detection == ZERO_PAGES_NONE)
		s->stream.zero_pages = ZERO_UNTOUCHED;
	if (caps[CAP_XBZRLE])
		ret = xbzrle_save_start(&s->stream, cache_bytes, err);
	if (ret == 0 && caps[CAP_COMPRESS])
		ret = compress_save_start(&s->stream, p->compress_threads, p->compress_level,
					  p->compress_wait_thread, err);
	return ret;
}
