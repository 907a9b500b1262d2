/*
 * records.c - pages that come while the guest runs, from records to whole pages of the host
 *
 *     small pages    what was asked for is put in at once; others are gathered while they
 *                    come in a row and without waiting for the peer, and put in together
 *     huge pages     the parts of one come in a row, each exactly once; then it is put in
 *
 * Nothing stays in the buffer while the thread waits for bytes, but a huge page's parts.  What
 * was sent in another way than as a whole page or zeroes is refused: a delta needs the page that it
 * is one of, and a thread that unpacks would write into memory that is not there.
 */
#include "migration/ram/postcopy/records.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "migration/ram/load-direct.h"
#include "migration/ram/load.h"
#include "migration/stream/wire.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/units.h"
#include "vmm/memory/room.h"

#define WORD_BYTES 8U
#define FLAG_MASK  ((uint64_t)PAGE_BYTES - 1)
#define MAX_NAME   (1U + 255U)

static size_t huge_bytes(uint64_t pages)
{
	return pages * PAGE_BYTES + BITMAP_WORDS(pages) * sizeof(uint64_t);
}

static void huge_free(struct postcopy_huge *h)
{
	if (h->buf)
		(void)munmap(h->buf, huge_bytes(h->pages));
	*h = (struct postcopy_huge){0};
}

/* Room for a huge page of the block, of which no part has come.  0 or -ENOMEM. */
static int huge_begin(struct postcopy_huge *h, const struct postcopy_block *pb, struct err *err)
{
	uint8_t *p;

	if (h->pages < pb->unit) {
		huge_free(h);
		p = mmap(NULL, huge_bytes(pb->unit), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			return err_set(err, ENOMEM,
				       "no memory to put a huge page of %llu MiB of RAM block '%s' "
				       "together in: %s",
				       (unsigned long long)(pb->unit * PAGE_BYTES / MiB),
				       pb->block->name, err_text(errno));
		(void)madvise(p, huge_bytes(pb->unit), MADV_HUGEPAGE); /* fewer faults */
		*h = (struct postcopy_huge){p, (uint64_t *)(p + pb->unit * PAGE_BYTES), pb->unit};
	}
	bitmap_reset(h->parts, pb->unit);
	return 0;
}

int postcopy_records_init(struct postcopy_records *r, struct postcopy_ram *ram,
			  struct ram_load *load, bool urgent, struct err *err)
{
	*r = (struct postcopy_records){
	    .ram = ram,
	    .load = load,
	    .urgent = urgent,
	    .runs = load->take_runs,
	    .buf = aligned_alloc(PAGE_BYTES, POSTCOPY_GATHER_PAGES * PAGE_BYTES),
	};
	return r->buf ? 0 : err_set(err, ENOMEM, "no memory for a page of the guest");
}

void postcopy_records_fini(struct postcopy_records *r)
{
	free(r->buf);
	huge_free(&r->huge);
	*r = (struct postcopy_records){0};
}

void postcopy_records_reset(struct postcopy_records *r)
{
	r->last = NULL;
	r->last_here = NULL;
	r->n = 0;
}

/* ---- putting in ---- */

static int say_not_put(const struct postcopy_block *pb, uint64_t page, int ret, struct err *err)
{
	if (ret == 0)
		return 0;
	if (ret == -ENOMEM || ret == -ENOSPC)
		return room_say_none(pb->block, err);
	return err_set(err, -ret,
		       "cannot put the page at offset 0x%llx of RAM block '%s' into memory: %s",
		       (unsigned long long)(page * PAGE_BYTES), pb->block->name, err_text(-ret));
}

static int put(struct postcopy_records *r, struct postcopy_block *pb, uint64_t page, uint64_t n,
	       const uint8_t *from, struct err *err)
{
	return say_not_put(pb, page, postcopy_ram_put(r->ram, pb, page, n, from), err);
}

static int put_zero(struct postcopy_records *r, struct postcopy_block *pb, uint64_t page,
		    uint64_t n, struct err *err)
{
	return say_not_put(pb, page, postcopy_ram_put_zero(r->ram, pb, page, n), err);
}

static bool holds_part(const struct postcopy_records *r)
{
	return r->n && r->block->unit > 1;
}

/* Small pages that were gathered. */
static int flush(struct postcopy_records *r, struct err *err)
{
	uint64_t n = r->n;

	if (!n || holds_part(r))
		return 0;
	r->n = 0;
	return put(r, r->block, r->first, n, r->buf, err);
}

/* ---- huge pages ---- */

static int refuse_part(const struct postcopy_records *r, uint64_t page, const char *why,
		       struct err *err)
{
	return err_set(err, EINVAL,
		       "the page at offset 0x%llx of RAM block '%s' %s the one at 0x%llx, of which "
		       "%llu of %llu parts have come",
		       (unsigned long long)(page * PAGE_BYTES), r->last->name, why,
		       (unsigned long long)(r->first * PAGE_BYTES), (unsigned long long)r->n,
		       (unsigned long long)r->block->unit);
}

/* *to: where in the buffer the part goes. */
static int part_place(struct postcopy_records *r, uint64_t page, uint8_t **to, struct err *err)
{
	struct postcopy_block *pb = r->last_here;
	uint64_t part = page % pb->unit;
	int ret = flush(r, err); /* small pages of another block */

	if (ret == 0 && !r->n)
		ret = huge_begin(&r->huge, pb, err);
	if (ret < 0)
		return ret;
	if (!r->n) {
		r->block = pb;
		r->first = page - part;
		r->zero = true;
	}
	if (pb != r->block || page - part != r->first)
		return refuse_part(r, page, "comes in the middle of", err);
	if (bitmap_test(r->huge.parts, part))
		return refuse_part(r, page, "comes twice in", err);
	bitmap_set(r->huge.parts, part);
	r->n++;
	*to = r->huge.buf + part * PAGE_BYTES;
	return 0;
}

static int part_done(struct postcopy_records *r, struct err *err)
{
	struct postcopy_block *pb = r->block;

	if (r->n < pb->unit)
		return 0;
	r->n = 0;
	return r->zero ? put_zero(r, pb, r->first, pb->unit, err)
		       : put(r, pb, r->first, pb->unit, r->huge.buf, err);
}

static int load_part(struct postcopy_records *r, struct src *in, uint64_t page, struct err *err)
{
	uint8_t *to;
	int ret = part_place(r, page, &to, err);

	if (ret < 0)
		return ret;
	r->zero = false;
	if (direct_get(in, to, PAGE_BYTES) < 0)
		return ram_load_say_ended(in, "a page", err);
	return part_done(r, err);
}

static int load_zero_part(struct postcopy_records *r, uint64_t page, struct err *err)
{
	uint8_t *to;
	int ret = part_place(r, page, &to, err);

	if (ret < 0)
		return ret;
	memset(to, 0, PAGE_BYTES);
	return part_done(r, err);
}

/* ---- records ---- */

/* Are n bytes at hand?  Else what was gathered is put in, for the peer may take its time. */
static int about_to_read(struct postcopy_records *r, const struct src *in, size_t n,
			 struct err *err)
{
	return in->len - in->at < n ? flush(r, err) : 0;
}

static int gather(struct postcopy_records *r, uint64_t page, const uint8_t *from, struct err *err)
{
	struct postcopy_block *pb = r->last_here;
	int ret = 0;

	if (holds_part(r))
		return refuse_part(r, page, "comes in the middle of", err);
	if (r->n && (pb != r->block || page != r->first + r->n || r->n == POSTCOPY_GATHER_PAGES))
		ret = flush(r, err);
	if (ret < 0)
		return ret;
	if (r->urgent)
		beside_join(&r->ram->beside, &r->here);
	if (r->urgent || postcopy_ram_wanted(pb, page)) {
		ret = flush(r, err);
		return ret < 0 ? ret : put(r, pb, page, 1, from, err);
	}
	if (!r->n) {
		r->block = pb;
		r->first = page;
	}
	memcpy(r->buf + r->n++ * PAGE_BYTES, from, PAGE_BYTES);
	return 0;
}

static int load_page(struct postcopy_records *r, struct src *in, uint64_t page, struct err *err)
{
	const uint8_t *from;
	int ret;

	if (r->last_here && r->last_here->unit > 1)
		return load_part(r, in, page, err);
	ret = about_to_read(r, in, PAGE_BYTES, err);
	if (ret < 0)
		return ret;
	from = src_take(in, PAGE_BYTES);
	if (!from)
		return ram_load_say_ended(in, "a page", err);
	return r->last_here ? gather(r, page, from, err) : 0;
}

static int load_zero(struct postcopy_records *r, struct src *in, uint64_t page, struct err *err)
{
	uint8_t fill;

	if (src_u8(in, &fill) < 0)
		return ram_load_say_ended(in, "a zero page", err);
	if (fill)
		return err_set(err, ENOTSUP,
			       "the page at offset 0x%llx of RAM block '%s' is one byte, 0x%02x, "
			       "repeated, which nothing sends in postcopy",
			       (unsigned long long)(page * PAGE_BYTES), r->last->name, fill);
	if (!r->last_here)
		return 0;
	if (r->last_here->unit > 1)
		return load_zero_part(r, page, err);
	return put_zero(r, r->last_here, page, 1, err);
}

/* Small pages of a run: straight into the buffer, and from there into memory. */
static int load_row(struct postcopy_records *r, struct src *in, uint64_t page, uint64_t pages,
		    struct err *err)
{
	int ret = flush(r, err);

	while (ret == 0 && pages > 0) {
		uint64_t n = MIN(pages, POSTCOPY_GATHER_PAGES);

		if (direct_get(in, r->buf, n * PAGE_BYTES) < 0)
			return ram_load_say_ended(in, "a run of pages", err);
		ret = put(r, r->last_here, page, n, r->buf, err);
		page += n;
		pages -= n;
	}
	return ret;
}

static int load_run(struct postcopy_records *r, struct src *in, uint64_t page, struct err *err)
{
	uint64_t left = r->last->bytes / PAGE_BYTES - page;
	uint32_t pages;
	int ret = 0;

	if (src_be32(in, &pages) < 0)
		return ram_load_say_ended(in, "a run of pages", err);
	if (!pages || pages > left)
		return err_set(
		    err, EINVAL,
		    "a run of %u pages from offset 0x%llx on does not fit RAM block '%s' "
		    "of 0x%" PRIx64 " bytes",
		    pages, (unsigned long long)(page * PAGE_BYTES), r->last->name, r->last->bytes);
	if (!r->last_here)
		return src_skip(in, pages * (uint64_t)PAGE_BYTES) < 0
			   ? ram_load_say_ended(in, "a run of pages", err)
			   : 0;
	if (r->last_here->unit == 1)
		return load_row(r, in, page, pages, err);
	for (uint32_t i = 0; ret == 0 && i < pages; i++)
		ret = load_part(r, in, page + i, err);
	return ret;
}

/* ---- which block ---- */

static int name_block(struct postcopy_records *r, struct src *in, struct err *err)
{
	const struct load_block *lb;
	char name[256];
	int ret = src_str8(in, name);

	if (ret == -EIO)
		return ram_load_say_ended(in, "a RAM page's block name", err);
	lb = ret < 0 ? NULL : ram_load_find(r->load, name);
	if (!lb)
		return err_set(err, EINVAL, "unknown RAM block '%s'", ret < 0 ? "?" : name);
	if (ram_load_ignores(r->load, lb))
		return err_set(err, EINVAL,
			       "a page of RAM block '%s' came, which both ends share and the "
			       "source should have left out",
			       lb->name);
	r->last = lb;
	r->last_here = lb->block ? postcopy_ram_find(r->ram, lb->block) : NULL;
	return 0;
}

static int choose_block(struct postcopy_records *r, struct src *in, uint64_t off, bool again,
			struct err *err)
{
	int ret = 0;

	if (again && !r->last)
		return err_set(err, EINVAL,
			       "the first RAM page at stream offset 0x%" PRIx64
			       " refers to a block named before",
			       src_offset(in));
	if (!again)
		ret = name_block(r, in, err);
	if (ret < 0)
		return ret;
	if (off >= r->last->bytes)
		return err_set(err, EINVAL,
			       "page offset 0x%" PRIx64 " is beyond RAM block '%s' of 0x%" PRIx64
			       " bytes",
			       off, r->last->name, r->last->bytes);
	return 0;
}

static int refuse_flags(uint64_t flags, uint64_t at, struct err *err)
{
	const char *what = "";

	if (flags & RAM_FLAG_XBZRLE)
		what = ": an XBZRLE delta";
	else if (flags & RAM_FLAG_COMPRESS)
		what = ": a compressed page";
	else if (flags & RAM_FLAG_MULTIFD_FLUSH)
		what = ": a multifd flush";
	return err_set(err, EINVAL,
		       "flags 0x%" PRIx64 " in the RAM record at stream offset 0x%" PRIx64
		       " have no place in postcopy%s",
		       flags, at, what);
}

static int load_record(struct postcopy_records *r, struct src *in, uint64_t word, uint64_t at,
		       struct err *err)
{
	uint64_t off = word & ~FLAG_MASK, flags = word & FLAG_MASK;
	uint64_t kind = flags & ~(uint64_t)RAM_FLAG_CONTINUE;
	int ret;

	if (kind != RAM_FLAG_PAGE && kind != RAM_FLAG_ZERO && (kind != RAM_FLAG_RUN || !r->runs))
		return refuse_flags(flags, at, err);
	if (!(flags & RAM_FLAG_CONTINUE)) {
		ret = about_to_read(r, in, MAX_NAME, err);
		if (ret < 0)
			return ret;
	}
	ret = choose_block(r, in, off, flags & RAM_FLAG_CONTINUE, err);
	if (ret < 0)
		return ret;
	if (kind == RAM_FLAG_PAGE)
		return load_page(r, in, off / PAGE_BYTES, err);
	return kind == RAM_FLAG_ZERO ? load_zero(r, in, off / PAGE_BYTES, err)
				     : load_run(r, in, off / PAGE_BYTES, err);
}

/* On the main stream a huge page may go on in the next body: urgent ones came in between. */
static int end_of_body(struct postcopy_records *r, struct err *err)
{
	if (holds_part(r) && r->urgent)
		return err_set(err, EINVAL,
			       "the records end in the middle of the page at offset 0x%llx of RAM "
			       "block '%s'",
			       (unsigned long long)(r->first * PAGE_BYTES), r->block->block->name);
	return flush(r, err);
}

int postcopy_records_load(struct postcopy_records *r, struct src *in, struct err *err)
{
	for (;;) {
		uint64_t at = src_offset(in), word;
		int ret = about_to_read(r, in, WORD_BYTES, err);

		if (ret < 0)
			return ret;
		if (r->urgent && !r->told && !postcopy_ram_left(r->ram)) {
			r->told = true;
			return POSTCOPY_RECORDS_ALL_HERE;
		}
		if (src_be64(in, &word) < 0)
			return src_offset(in) == at && in->at == in->len
				   ? POSTCOPY_RECORDS_CLOSED
				   : ram_load_say_ended(in, "a RAM record", err);
		if ((word & FLAG_MASK) == RAM_FLAG_EOS)
			return end_of_body(r, err);
		ret = load_record(r, in, word, at, err);
		if (ret < 0)
			return ret;
	}
}
