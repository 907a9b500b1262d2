/*
 * loader.c - the loop over a stream's records
 *
 * A section is found by name and instance when it is announced (START, FULL),
 * by the id of that announcement later (PART, END): ids have no meaning of
 * their own.  Order and completeness are not checked; a device that is not in
 * the stream keeps its reset state.  Every section ends with a footer, which
 * catches a layout that differs from what the source thinks it is.
 */
#include "migration/incoming/loader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "migration/channel/channel.h"
#include "migration/channel/checksum.h"
#include "migration/incoming/section-hint.h"
#include "migration/incoming/section-skip.h"
#include "migration/ram/lazy/lazy.h"
#include "migration/ram/mapped/mapped.h"
#include "migration/ram/postcopy/records.h"
#include "migration/ram/ram.h"
#include "migration/stream/parent-mark.h"
#include "migration/stream/reader.h"
#include "migration/stream/wire.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/probes.h"
#include "vmm/base/units.h"
#include "vmm/base/uuid.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define MACHINE_TYPE     "microvm"
#define MAX_NAME_BYTES   255U
#define MAX_CAPABILITIES 64U
#define MAX_DESCRIPTION  (4 * MiB)

void loader_init(struct loader *l, struct machine *m, struct reader *reader, struct src *in)
{
	*l = (struct loader){.m = m, .in = reader ? &reader->src : in, .reader = reader};
	l->ram = ram_load_new(m);
	l->commands.ch = reader ? reader->ch : NULL;
	l->commands.m = m;
	l->commands.ram = l->ram;
}

void loader_fini(struct loader *l)
{
	lazy_free(l->lazy);
	mapped_load_free(l->mapped);
	ram_load_free(l->ram);
	buf_free(&l->commands.differs);
	free(l->seen);
	*l = (struct loader){0};
}

int loader_map(struct loader *l, const struct mapped_config *cfg, struct err *err)
{
	l->mapped = mapped_load_new(l->reader, cfg, err);
	if (!l->mapped)
		return -EINVAL;
	ram_load_map(l->ram, l->mapped);
	return 0;
}

/*
 * Something below could not go on: when the channel was the cause, its words
 * say more than "the stream ends".
 */
static int explain(const struct loader *l, int ret, struct err *err)
{
	/* A page that cannot be had fails the read, too: what RAM says about itself is the cause.
	 */
	if (ret < 0 && ret != -ENOSPC && l->reader && l->reader->failed) {
		if (err)
			*err = l->reader->err;
		return l->reader->failed;
	}
	return ret;
}

static int err_ended(const struct loader *l, const char *what, struct err *err)
{
	int ret =
	    err_set(err, EIO, "the stream ends at offset 0x%" PRIx64 " in %s: it is cut short",
		    src_offset(l->in), what);

	return explain(l, ret, err);
}

/* ---- header and configuration ---- */

static int load_magic(struct loader *l, struct err *err)
{
	uint32_t magic, version;

	if (src_be32(l->in, &magic) < 0 || src_be32(l->in, &version) < 0)
		return err_ended(l, "its header", err);
	if (magic != STREAM_MAGIC)
		return err_set(
		    err, EINVAL, "this is not a migration stream (it begins with 0x%08x%s)", magic,
		    magic >> 16 == TLS_HELLO ? ", as TLS does: 'tls-creds' is not set here" : "");
	if (version == 2)
		return err_set(err, ENOTSUP, "the stream has the obsolete version 2");
	if (version != STREAM_VERSION)
		return err_set(err, ENOTSUP, "the stream has version %u, only %u is understood",
			       version, STREAM_VERSION);
	return 0;
}

static int load_page_bits(struct loader *l, struct err *err)
{
	uint32_t bits;

	if (src_be32(l->in, &bits) < 0)
		return err_ended(l, "configuration/target-page-bits", err);
	if (bits != PAGE_BITS)
		return err_set(err, EINVAL, "the source has pages of 2^%u bytes, here it is 2^%d",
			       bits, PAGE_BITS);
	return 0;
}

static bool is_on(const struct loader *l, int c)
{
	return l->commands.caps && l->commands.caps[c];
}

static int load_capabilities(struct loader *l, struct err *err)
{
	char name[256];
	uint32_t n;

	if (src_be32(l->in, &n) < 0)
		return err_ended(l, "configuration/capabilities", err);
	if (n > MAX_CAPABILITIES)
		return err_set(err, EINVAL, "the stream lists %u capabilities", n);
	for (uint32_t i = 0; i < n; i++) {
		int ret = src_str8(l->in, name), c = ret < 0 ? -1 : capability_parse(name);

		if (ret == -EIO)
			return err_ended(l, "configuration/capabilities", err);
		if (c < 0 || !is_on(l, c))
			return err_set(err, EINVAL,
				       "capability '%s' is on at the source and off here",
				       ret < 0 ? "?" : name);
		l->caps_seen[c] = true;
	}
	return 0;
}

/* A capability that is on here has to be in the list of the stream. */
static int check_capabilities(const struct loader *l, struct err *err)
{
	for (int c = 0; c < CAP_COUNT; c++)
		if (migration_capabilities[c].must_match && is_on(l, c) && !l->caps_seen[c])
			return err_set(err, EINVAL,
				       "capability '%s' is off at the source and on here",
				       migration_capabilities[c].name);
	return 0;
}

static int load_uuid(struct loader *l, struct err *err)
{
	const struct config *cfg = l->m->cfg;
	uint8_t uuid[16];

	if (src_get(l->in, uuid, sizeof(uuid)) < 0)
		return err_ended(l, "configuration/uuid", err);
	if (!cfg->uuid_set) {
		log_warn("UUID received, but this machine has none");
		return 0;
	}
	if (memcmp(uuid, cfg->uuid, sizeof(uuid)) != 0)
		return err_set(err, EINVAL, "UUID received is %s and local is %s",
			       uuid_text(uuid).s, uuid_text(cfg->uuid).s);
	return 0;
}

static const struct {
	const char *name;
	int (*load)(struct loader *l, struct err *err);
} config_subsections[] = {
    {"configuration/target-page-bits", load_page_bits   },
    {"configuration/capabilities",     load_capabilities},
    {"configuration/uuid",             load_uuid        },
};

static int load_config_subsection(struct loader *l, struct err *err)
{
	uint64_t at = src_offset(l->in);
	char name[256];
	uint32_t version;
	int ret;

	ret = src_skip(l->in, 1);
	if (ret == 0)
		ret = src_str8(l->in, name);
	if (ret == -EIO || (ret == 0 && src_be32(l->in, &version) < 0))
		return err_ended(l, "the configuration", err);
	for (size_t i = 0; ret == 0 && i < ARRAY_LEN(config_subsections); i++) {
		if (strcmp(config_subsections[i].name, name) != 0)
			continue;
		if (version != 1)
			return err_set(err, EINVAL, "%s has version %u, only 1 is understood", name,
				       version);
		return config_subsections[i].load(l, err);
	}
	return err_set(err, ENOENT,
		       "unknown subsection '%s' of the configuration at stream offset 0x%" PRIx64,
		       ret < 0 ? "?" : name, at);
}

static int load_machine_type(struct loader *l, struct err *err)
{
	char name[MAX_NAME_BYTES + 1];
	uint32_t n;

	if (src_be32(l->in, &n) < 0)
		return err_ended(l, "the configuration", err);
	if (n > MAX_NAME_BYTES)
		return err_set(err, EINVAL, "the machine type's name has %u bytes", n);
	if (src_get(l->in, name, n) < 0)
		return err_ended(l, "the machine type", err);
	name[n] = 0;
	for (uint32_t i = 0; i < n; i++)
		if (name[i] < ' ')
			name[i] = '?';
	if (strcmp(name, MACHINE_TYPE) != 0)
		return err_set(err, EINVAL, "Machine type received is '%s' and local is '%s'", name,
			       MACHINE_TYPE);
	return 0;
}

int loader_header(struct loader *l, struct err *err)
{
	const uint8_t *p;
	uint8_t tag;
	int ret = load_magic(l, err);

	if (ret < 0)
		return ret;
	if (l->checks)
		ram_load_check_only(l->ram);
	if (l->devices_only && (p = src_peek(l->in, 1)) && *p != TAG_CONFIGURATION)
		return 0;
	if (src_u8(l->in, &tag) < 0)
		return err_ended(l, "its header", err);
	if (tag != TAG_CONFIGURATION)
		return err_set(err, EINVAL, "Configuration section missing");
	ret = load_machine_type(l, err);
	while (ret == 0 && (p = src_peek(l->in, 1)) && *p == TAG_SUBSECTION)
		ret = load_config_subsection(l, err);
	if (ret == 0)
		ret = check_capabilities(l, err);
	if (ret == 0 && is_on(l, CAP_X_IGNORE_SHARED))
		ram_load_ignore_shared(l->ram);
	return ret;
}

/* ---- sections ---- */

static struct seen_section *find_seen(struct loader *l, uint32_t id)
{
	for (size_t i = 0; i < l->n_seen; i++)
		if (l->seen[i].id == id)
			return &l->seen[i];
	return NULL;
}

/* Remember under which id an entry (NULL: ram) comes; there are no more of these than entries. */
static struct seen_section *note_seen(struct loader *l, struct vms_entry *entry, uint32_t id)
{
	struct seen_section *s = NULL;

	for (size_t i = 0; i < l->n_seen; i++)
		if (l->seen[i].entry == entry)
			s = &l->seen[i];
	if (!s) {
		l->seen = xrealloc(l->seen, (l->n_seen + 1) * sizeof(*l->seen));
		s = &l->seen[l->n_seen++];
		s->entry = entry;
	}
	s->id = id;
	return s;
}

static void lock_machine(struct loader *l, bool on)
{
	if (on)
		machine_lock(l->m);
	if (l->reader)
		l->reader->locked = on;
	if (!on)
		machine_unlock(l->m);
}

/* Pages of a guest that may run already. */
static int load_late_pages(struct loader *l, struct err *err)
{
	int ret = postcopy_records_load(l->postcopy, l->in, err);

	if (ret > 0)
		return err_ended(l, "a RAM record", err);
	return ret < 0 ? ret : ram_load_sync(l->ram, err);
}

static int load_body(struct loader *l, const struct seen_section *s, struct err *err)
{
	int ret;

	if (!s->entry && l->postcopy)
		return explain(l, load_late_pages(l, err), err);
	if (!s->entry)
		return explain(l, ram_load_body(l->ram, l->in, err), err);
	if (l->postcopy)
		return err_set(err, EINVAL, "it comes behind POSTCOPY_LISTEN");
	if (l->checks || l->pages_only)
		return section_skip(l->in, s->id) < 0 ? err_ended(l, "a section", err) : 0;
	lock_machine(l, true);
	PROBE(section_load_begin, s->entry->idstr, s->entry->instance);
	ret = vms_load(s->entry->desc, s->entry->dev, l->in, s->version, err);
	PROBE(section_load_end, s->entry->idstr, s->entry->instance, ret);
	lock_machine(l, false);
	return explain(l, ret, err);
}

static const char *name_of(const struct seen_section *s)
{
	return s->entry ? s->entry->idstr : RAM_SECTION;
}

static int load_footer(struct loader *l, const struct seen_section *s, struct err *err)
{
	uint64_t at = src_offset(l->in);
	uint32_t id;
	uint8_t tag;

	if (src_u8(l->in, &tag) < 0)
		return err_ended(l, "a section's footer", err);
	if (tag == TAG_SUBSECTION)
		return err_set(err, EINVAL,
			       "section '%s' goes on at stream offset 0x%" PRIx64
			       " with a subsection that is not its own, or cut short",
			       name_of(s), at);
	if (tag != TAG_FOOTER)
		return err_set(err, EINVAL,
			       "section '%s' does not end at stream offset 0x%" PRIx64
			       ": its layout differs from what is known here",
			       name_of(s), at);
	if (src_be32(l->in, &id) < 0)
		return err_ended(l, "a section's footer", err);
	if (id != s->id)
		return err_set(err, EINVAL,
			       "section '%s' with id %u has a footer with id %u at stream offset "
			       "0x%" PRIx64,
			       name_of(s), s->id, id, at);
	return 0;
}

static int load_section(struct loader *l, const struct seen_section *s, uint64_t at,
			struct err *err)
{
	int ret = load_body(l, s, err);

	if (ret == 0)
		ret = load_footer(l, s, err);
	if (ret < 0 && ret != -ECANCELED)
		return err_prefix(err, ret, "section '%s' at stream offset 0x%" PRIx64, name_of(s),
				  at);
	return ret;
}

static int check_version(const struct vms_entry *entry, const char *idstr, uint32_t version,
			 struct err *err)
{
	uint32_t max = entry ? entry->desc->version : RAM_SECTION_VERSION;
	uint32_t min = entry ? entry->desc->min_version : RAM_SECTION_VERSION;

	if (version < min || version > max)
		return err_set(err, EINVAL,
			       "section '%s' has version %u at the source, %u to %u are understood "
			       "here",
			       idstr, version, min, max);
	return 0;
}

/* It stands on another stream: only who has that can load it. */
static int load_parent(struct loader *l, uint32_t id, uint32_t version, uint64_t at,
		       struct err *err)
{
	struct parent_mark mark;
	uint32_t end;
	uint8_t tag;
	int ret;

	if (version != PARENT_SECTION_VERSION)
		return err_set(err, EINVAL, "section '%s' has version %u, only %u is understood",
			       PARENT_SECTION, version, PARENT_SECTION_VERSION);
	ret = parent_mark_load(&mark, l->in, err);
	if (ret == -EINVAL)
		return ret;
	if (ret < 0 || src_u8(l->in, &tag) < 0 || src_be32(l->in, &end) < 0)
		return err_ended(l, "section '" PARENT_SECTION "'", err);
	if (tag != TAG_FOOTER || end != id)
		return err_set(err, EINVAL,
			       "section '%s' at stream offset 0x%" PRIx64 " has no footer",
			       PARENT_SECTION, at);
	if (!l->parent)
		return err_set(
		    err, ENOTSUP,
		    "the stream has only what was written since snapshot '%.100s': it is "
		    "loaded from the image that has both, or when it has been made whole "
		    "(minivmm-img snapshot --merge)",
		    mark.tag);
	*l->parent = mark;
	return 0;
}

/* START, FULL: which device is it for? */
static int load_announced(struct loader *l, uint64_t at, struct err *err)
{
	struct vms_entry *entry = NULL;
	const struct seen_section *other;
	struct seen_section *s;
	uint32_t id, instance, version;
	char idstr[256];
	int ret = src_be32(l->in, &id);

	if (ret == 0)
		ret = src_str8(l->in, idstr);
	if (ret == -EINVAL)
		return err_set(err, EINVAL,
			       "the section at stream offset 0x%" PRIx64 " has a NUL in its name",
			       at);
	if (ret < 0 || src_be32(l->in, &instance) < 0 || src_be32(l->in, &version) < 0)
		return err_ended(l, "a section's header", err);
	if (strcmp(idstr, PARENT_SECTION) == 0)
		return load_parent(l, id, version, at, err);
	if (strcmp(idstr, RAM_SECTION) != 0 || instance != 0) {
		entry = vms_find(&l->m->vmstate, idstr, instance);
		if (!entry)
			return err_set(err, EINVAL,
				       "unknown section '%s' instance %u at stream offset "
				       "0x%" PRIx64 ": this machine has no such device; %s",
				       idstr, instance, at,
				       section_hint(&l->m->board, idstr, instance).s);
	}
	ret = check_version(entry, idstr, version, err);
	if (ret < 0)
		return ret;
	other = find_seen(l, id);
	if (other && other->entry != entry)
		return err_set(err, EINVAL, "sections '%s' and '%s' have the same id %u",
			       name_of(other), idstr, id);
	if (l->package ? !entry : l->postcopy != NULL)
		return err_set(err, EINVAL,
			       "section '%s' at stream offset 0x%" PRIx64
			       " has no place %s a postcopy's package",
			       idstr, at, l->package ? "in" : "behind");
	if (l->devices_only && !entry)
		return err_set(err, EINVAL,
			       "section '%s' at stream offset 0x%" PRIx64
			       " has no place in a file of devices",
			       idstr, at);
	if (!entry && l->reader)
		channel_checksum_expect(l->reader->ch, id == RAM_ID_CHECKSUM);
	if (!entry && l->mapped)
		mapped_load_sums(l->mapped, id == RAM_ID_CHECKSUM);
	s = note_seen(l, entry, id);
	s->version = version;
	return load_section(l, s, at, err);
}

/* PART, END */
static int load_continued(struct loader *l, uint64_t at, struct err *err)
{
	const struct seen_section *s;
	uint32_t id;

	if (src_be32(l->in, &id) < 0)
		return err_ended(l, "a section's header", err);
	s = find_seen(l, id);
	if (!s)
		return err_set(err, EINVAL,
			       "the section at stream offset 0x%" PRIx64
			       " continues one with the unknown id %u",
			       at, id);
	return load_section(l, s, at, err);
}

static int skip_command(struct loader *l, struct err *err)
{
	uint16_t command, n;

	if (src_be16(l->in, &command) < 0 || src_be16(l->in, &n) < 0 || src_skip(l->in, n) < 0)
		return err_ended(l, "a command", err);
	return 0;
}

/* Records that nobody needs to look at. */
static int pass_over_pages(struct loader *l, struct err *err)
{
	uint64_t at = src_offset(l->in);

	if (at != l->pages_start || l->pages_end <= at || !ram_load_passes(l->ram))
		return 0;
	return explain(l, ram_load_pass(l->in, l->pages_end, err), err);
}

int loader_records(struct loader *l, struct err *err)
{
	for (;;) {
		int ret = pass_over_pages(l, err);
		uint64_t at = src_offset(l->in);
		uint8_t tag;

		if (ret < 0)
			return ret;
		if (l->package && (l->commands.run || !src_peek(l->in, 1)))
			return 0;
		if (src_u8(l->in, &tag) < 0)
			return err_ended(l, "front of its EOF record", err);
		switch (tag) {
		case TAG_EOF:
			return 0;
		case TAG_START:
		case TAG_FULL:
			ret = load_announced(l, at, err);
			break;
		case TAG_PART:
		case TAG_END:
			ret = load_continued(l, at, err);
			break;
		case TAG_COMMAND:
			ret = l->checks || l->pages_only
				  ? skip_command(l, err)
				  : explain(l, commands_load(&l->commands, l->in, err), err);
			break;
		default:
			return err_set(err, EINVAL,
				       "unknown record 0x%02x at stream offset 0x%" PRIx64, tag,
				       at);
		}
		if (ret < 0)
			return ret;
	}
}

/* n bytes, which may end early. */
static void read_text(struct loader *l, uint32_t n, struct buf *text)
{
	while (n > 0) {
		uint32_t piece = MIN(n, PAGE_BYTES);
		const uint8_t *p = src_take(l->in, piece);

		if (!p)
			return;
		buf_put(text, p, piece);
		n -= piece;
	}
}

int loader_description(struct loader *l, struct buf *text)
{
	const uint8_t *p = src_peek(l->in, 1);
	uint32_t n;

	if (!p || *p != TAG_VMDESC)
		return 0;
	/* Whatever happens within it has no meaning: the guest is complete. */
	if (src_skip(l->in, 1) < 0 || src_be32(l->in, &n) < 0)
		return 1;
	if (text && n <= MAX_DESCRIPTION)
		read_text(l, n, text);
	else
		(void)src_skip(l->in, n);
	return 1;
}
