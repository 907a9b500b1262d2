/*
 * saved.c - the machine's description in a saved stream: put at its end, found there
 *
 * The description is the last member of the JSON text behind EOF, in hex, so that a
 * file can be read from its end without parsing JSON: the closing braces, the
 * digits, the member's name.  A file that can be seeked is compared before a
 * byte is loaded; anything else when the text has come.  Text that does not end
 * in this way has no description and is not compared.
 */
#include "migration/peer/saved.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/channel/checksum.h"
#include "migration/peer/compare.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

static const char head[] = ", \"x-minivmm\": {\"machine\": \"", tail[] = "\"}}";

#define HEAD_BYTES (sizeof(head) - 1)
#define TAIL_BYTES (sizeof(tail) - 1)
/* In hex, and what stands around it. */
#define MAX_BYTES (2 * (size_t)UINT16_MAX + HEAD_BYTES + TAIL_BYTES + CHECKSUM_LINE_BYTES)

void saved_describe(struct machine *m, struct buf *json)
{
	static const char digits[] = "0123456789abcdef";
	struct buf b = {0};

	machine_describe(m, &b);
	if (b.len <= UINT16_MAX && json->len > 0) {
		json->len--; /* the last brace comes again */
		buf_put(json, head, HEAD_BYTES);
		for (size_t i = 0; i < b.len; i++) {
			buf_u8(json, (uint8_t)digits[b.data[i] >> 4]);
			buf_u8(json, (uint8_t)digits[b.data[i] & 15]);
		}
		buf_put(json, tail, TAIL_BYTES);
	}
	buf_free(&b);
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The description at the end of the text; false: there is none. */
static bool find_description(const uint8_t *text, size_t n, struct buf *out)
{
	size_t end, at;

	if (n < HEAD_BYTES + TAIL_BYTES || memcmp(text + n - TAIL_BYTES, tail, TAIL_BYTES) != 0)
		return false;
	end = n - TAIL_BYTES;
	for (at = end; at > 0 && hex_digit(text[at - 1]) >= 0; at--)
		;
	if (at < HEAD_BYTES || memcmp(text + at - HEAD_BYTES, head, HEAD_BYTES) != 0 ||
	    (end - at) % 2)
		return false;
	for (; at < end; at += 2)
		buf_u8(out, (uint8_t)(hex_digit(text[at]) * 16 + hex_digit(text[at + 1])));
	return true;
}

int saved_compare(struct machine *m, const bool *caps, const void *json, size_t n,
		  struct buf *differs, struct err *err)
{
	struct buf theirs = {0}, diff = {0};
	int ret = 0;

	if (find_description(json, n, &theirs)) {
		machine_lock(m);
		ret = machine_compare(m, caps, theirs.data, theirs.len, &diff, err);
		machine_unlock(m);
	}
	if (ret == 0 && diff.len) {
		buf_clear(differs);
		buf_printf(differs, "the saved machine and this one differ: %.*s", (int)diff.len,
			   (const char *)diff.data);
		ret = err_set(err, EINVAL, "%.*s", (int)differs->len, (const char *)differs->data);
	}
	buf_free(&theirs);
	buf_free(&diff);
	return ret;
}

int saved_compare_file(struct machine *m, const bool *caps, const struct channel *ch, bool *checked,
		       struct buf *differs, struct err *err)
{
	CLEANUP(cleanup_free) uint8_t *text = xcalloc(1, MAX_BYTES);
	struct stat st;
	size_t n;

	*checked = fstat(channel_fd(ch), &st) == 0 && S_ISREG(st.st_mode);
	if (!*checked)
		return 0;
	n = MIN((size_t)st.st_size, MAX_BYTES);
	if (pread(channel_fd(ch), text, n, st.st_size - (off_t)n) != (ssize_t)n)
		return 0; /* the load says so */
	n -= checksum_line_at_end(text, n);
	return saved_compare(m, caps, text, n, differs, err);
}
