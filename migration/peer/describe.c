/*
 * describe.c - the source's side of compare.h: what this machine is
 *
 * Described is what a guest sees and what the stream will carry.  What may
 * differ between two ends is not: host paths, back ends, names for the user
 * (they are there to name a device in a message), limits, the boot files.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migration/peer/compare.h"
#include "migration/peer/comparison.h"
#include "migration/stream/device-state.h"
#include "migration/stream/wire.h"
#include "migration/stream/writer.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/describe.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

static bool has_acpi(const struct config *cfg)
{
	return cfg->acpi;
}

static bool has_ioapic2(const struct config *cfg)
{
	return cfg->ioapic2;
}

static bool has_pic(const struct config *cfg)
{
	return cfg->pic;
}

static bool has_pit(const struct config *cfg)
{
	return cfg->pit;
}

static bool has_rtc(const struct config *cfg)
{
	return cfg->rtc;
}

const struct described_option described_options[] = {
    {"acpi",    has_acpi   },
    {"ioapic2", has_ioapic2},
    {"pic",     has_pic    },
    {"pit",     has_pit    },
    {"rtc",     has_rtc    },
};
const size_t n_described_options = ARRAY_LEN(described_options);

bool device_is_described(const struct board_device *d)
{
	return d->kind != BOARD_FW_CFG && d->kind != BOARD_GED && d->kind != BOARD_RTC;
}

static void describe_options(const struct machine *m, struct buf *out)
{
	for (size_t i = 0; i < n_described_options; i++) {
		const struct described_option *o = &described_options[i];
		size_t begun = desc_begin(out, DESC_OPTION);

		buf_str8(out, o->name);
		buf_str8(out, o->get(m->cfg) ? "on" : "off");
		desc_end(out, begun);
	}
}

static void describe_cpus(const struct machine *m, struct buf *out)
{
	const struct config *cfg = m->cfg;
	size_t begun = desc_begin(out, DESC_CPUS);

	buf_be32(out, cfg->cpus);
	buf_be32(out, MAX(cfg->dies, 1U) * MAX(cfg->cores, 1U));
	buf_be32(out, MAX(cfg->threads, 1U));
	desc_end(out, begun);
}

static void describe_blocks(const struct machine *m, struct buf *out)
{
	for (size_t i = 0; i < m->mem.n_blocks; i++) {
		const struct ram_block *b = m->mem.blocks[i];
		size_t begun = desc_begin(out, DESC_BLOCK);

		buf_str8(out, b->name);
		buf_be64(out, b->bytes);
		buf_be64(out, b->page_bytes);
		buf_u8(out, b->share);
		desc_end(out, begun);
	}
}

/*
 * What a guest may have taken without being asked is told as it is offered; rare
 * features only if its driver has them, for else a destination does without.
 */
static void describe_prop(const struct board_device *d, const struct board_prop *p, struct buf *out)
{
	char text[sizeof(p->text)];
	uint64_t offered;

	buf_str8(out, p->name);
	if (!d->rare_features || strcmp(p->name, "features") != 0) {
		buf_str8(out, p->text);
		return;
	}
	offered = strtoull(p->text, NULL, 16);
	(void)snprintf(text, sizeof(text), "0x%" PRIx64, offered & (~d->rare_features | *d->taken));
	buf_str8(out, text);
}

static void describe_device(const struct board_device *d, struct buf *out)
{
	size_t begun = desc_begin(out, DESC_DEVICE);

	buf_be16(out, d->slot < 0 ? DESC_NO_SLOT : (uint16_t)d->slot);
	buf_str8(out, d->name);
	buf_str8(out, d->id);
	buf_be64(out, d->base);
	buf_be32(out, d->gsi);
	buf_u8(out, (uint8_t)d->n_props);
	for (size_t i = 0; i < d->n_props; i++)
		describe_prop(d, &d->props[i], out);
	desc_end(out, begun);
}

/* Those of the first vCPU stand for all. */
static void describe_sections(const struct machine *m, struct buf *out)
{
	list_for_each (e, &m->vmstate.entries, struct vms_entry, link) {
		size_t begun;

		if (e->rank == VMS_RANK_CPU && e->instance > 0)
			continue;
		begun = desc_begin(out, DESC_SECTION);
		buf_str8(out, e->idstr);
		buf_be32(out, e->instance);
		buf_be32(out, e->desc->version);
		desc_end(out, begun);
	}
}

void machine_describe(struct machine *m, struct buf *out)
{
	buf_be16(out, DESC_FORMAT);
	describe_options(m, out);
	describe_cpus(m, out);
	describe_blocks(m, out);
	for (size_t i = 0; i < m->board.n; i++)
		if (device_is_described(&m->board.devices[i]))
			describe_device(&m->board.devices[i], out);
	describe_sections(m, out);
	if (m->arch && m->arch->describe)
		m->arch->describe(m, out);
}

/* ---- the question ---- */

int describe_send(struct machine *m, struct writer *w, struct err *err)
{
	struct buf b = {0};
	uint8_t cookie[4];
	int ret = 0;

	machine_lock(m);
	machine_describe(m, &b);
	machine_unlock(m);
	put_be32(cookie, COOKIE_COMPARED);
	if (b.len <= UINT16_MAX)
		ret = stream_put_command(w, CMD_DESCRIPTION, b.data, (uint16_t)b.len);
	else /* not with what this board can hold */
		log_warn("the machine's description has %zu bytes: it is not compared", b.len);
	if (ret == 0)
		ret = stream_put_command(w, CMD_PING, cookie, sizeof(cookie));
	buf_free(&b);
	return writer_explain(w, ret, err);
}
