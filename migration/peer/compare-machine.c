/*
 * compare-machine.c - what two machines are held against each other by: options, vCPUs, RAM,
 * sections
 */
#include "migration/peer/comparison.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "migration/settings/capabilities.h"
#include "vmm/base/units.h"
#include "vmm/describe.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

/* ---- options and processors ---- */

int compare_option(struct comparison *c, struct src *in)
{
	char name[256], theirs[256];

	if (src_str8(in, name) < 0 || src_str8(in, theirs) < 0)
		return -EIO;
	for (size_t i = 0; i < n_described_options; i++) {
		const struct described_option *o = &described_options[i];
		const char *ours = o->get(c->m->cfg) ? "on" : "off";

		if (strcmp(o->name, name) == 0 && strcmp(ours, theirs) != 0)
			desc_differ(c->diff,
				    "machine option '%s': %s at the source, %s at the destination",
				    name, theirs, ours);
	}
	return 0;
}

int compare_cpus(struct comparison *c, struct src *in)
{
	const struct config *cfg = c->m->cfg;
	uint32_t cpus, cores, threads, our_cores = MAX(cfg->dies, 1U) * MAX(cfg->cores, 1U);

	if (src_be32(in, &cpus) < 0 || src_be32(in, &cores) < 0 || src_be32(in, &threads) < 0)
		return -EIO;
	if (cpus != cfg->cpus)
		desc_differ(c->diff, "vCPUs: %" PRIu32 " at the source, %u at the destination",
			    cpus, cfg->cpus);
	else if (cores != our_cores || threads != MAX(cfg->threads, 1U))
		desc_differ(c->diff,
			    "vCPU topology: %" PRIu32 " cores of %" PRIu32
			    " threads a socket at the source, %u of %u at the destination",
			    cores, threads, our_cores, MAX(cfg->threads, 1U));
	return 0;
}

/* ---- memory ---- */

struct size_text {
	char s[32];
};

static struct size_text size_text(uint64_t bytes)
{
	struct size_text t;

	if (bytes && bytes % MiB == 0)
		(void)snprintf(t.s, sizeof(t.s), "%" PRIu64 " MiB", (uint64_t)(bytes / MiB));
	else if (bytes && bytes % KiB == 0)
		(void)snprintf(t.s, sizeof(t.s), "%" PRIu64 " KiB", (uint64_t)(bytes / KiB));
	else
		(void)snprintf(t.s, sizeof(t.s), "%" PRIu64 " bytes", bytes);
	return t;
}

/*
 * Pages are sent and placed 4 KiB at a time, so what backs the memory matters
 * only where the backing itself is shared.
 */
static void compare_backing(struct comparison *c, const struct ram_block *b, uint64_t page_bytes)
{
	if (!b->share)
		desc_differ(c->diff,
			    "RAM block '%s': shared at the source, private at the destination: "
			    "x-ignore-shared needs share=on at both",
			    b->name);
	else if (page_bytes != b->page_bytes)
		desc_differ(c->diff,
			    "RAM block '%s': pages of %s at the source, of %s at the destination",
			    b->name, size_text(page_bytes).s, size_text(b->page_bytes).s);
}

int compare_block(struct comparison *c, struct src *in)
{
	const struct memory *mem = &c->m->mem;
	uint64_t bytes, page_bytes;
	char name[256];
	uint8_t shared;

	if (src_str8(in, name) < 0 || src_be64(in, &bytes) < 0 || src_be64(in, &page_bytes) < 0 ||
	    src_u8(in, &shared) < 0)
		return -EIO;
	for (size_t i = 0; i < mem->n_blocks; i++) {
		const struct ram_block *b = mem->blocks[i];

		if (strcmp(b->name, name) != 0)
			continue;
		c->blocks[i] = true;
		if (bytes != b->bytes && !machine_adopts(c->m, b, bytes))
			desc_differ(c->diff,
				    "RAM block '%s': %s at the source, %s at the destination", name,
				    size_text(bytes).s, size_text(b->bytes).s);
		if (shared && c->caps && c->caps[CAP_X_IGNORE_SHARED])
			compare_backing(c, b, page_bytes);
		return 0;
	}
	desc_differ(c->diff, "RAM block '%s': %s at the source, missing at the destination", name,
		    size_text(bytes).s);
	return 0;
}

void compare_blocks_left(struct comparison *c)
{
	const struct memory *mem = &c->m->mem;

	for (size_t i = 0; i < mem->n_blocks; i++)
		if (!c->blocks[i])
			desc_differ(c->diff,
				    "RAM block '%s': missing at the source, %s at the destination",
				    mem->blocks[i]->name, size_text(mem->blocks[i]->bytes).s);
}

/* ---- state tables ---- */

/*
 * Where a section has no taker, a device, a vCPU or an option has been named
 * already: this is the net below.
 */
int compare_section(struct comparison *c, struct src *in)
{
	uint32_t instance, version;
	const struct vms_entry *e;
	char idstr[256];

	if (src_str8(in, idstr) < 0 || src_be32(in, &instance) < 0 || src_be32(in, &version) < 0)
		return -EIO;
	e = vms_find(&c->m->vmstate, idstr, instance);
	if (!e)
		memcpy(c->lacking, idstr, sizeof(c->lacking));
	else if (version < e->desc->min_version || version > e->desc->version)
		desc_differ(c->diff,
			    "section '%s': version %" PRIu32
			    " at the source, %u to %u are understood at the destination",
			    idstr, version, e->desc->min_version, e->desc->version);
	return 0;
}

void compare_sections_left(struct comparison *c)
{
	if (c->lacking[0] && !c->diff->len)
		desc_differ(c->diff, "section '%s': the destination does not have it", c->lacking);
}
