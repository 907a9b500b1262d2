/*
 * device-state.c - the records around RAM that a source writes (migration-stream 1)
 *
 * In front of RAM: magic, version, and the configuration section with the
 * machine type and the capabilities that both ends must agree on.  Behind
 * RAM: a FULL record for each registered table, in the registry's order.  They are
 * collected into memory while the machine stands still, so that a state that
 * cannot be saved fails before anything is sent.  One pass over the tables
 * writes both the sections and the JSON text that describes their layout,
 * which follows EOF.
 */
#include "migration/stream/device-state.h"

#include <errno.h>
#include <string.h>

#include "migration/settings/capabilities.h"
#include "migration/stream/writer.h"
#include "vmm/base/probes.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

static const char machine_type[] = "microvm";

/* Those that the other end must agree on (migration-stream 1.2). */
static void put_capabilities(struct buf *b, const bool *caps)
{
	uint32_t n = 0;

	for (int c = 0; c < CAP_COUNT; c++)
		n += caps[c] && migration_capabilities[c].must_match;
	if (!n)
		return;
	buf_u8(b, TAG_SUBSECTION);
	buf_str8(b, "configuration/capabilities");
	buf_be32(b, 1);
	buf_be32(b, n);
	for (int c = 0; c < CAP_COUNT; c++)
		if (caps[c] && migration_capabilities[c].must_match)
			buf_str8(b, migration_capabilities[c].name);
}

int stream_put_header(struct writer *w, const struct machine *m, const bool *caps)
{
	struct buf b = {0};
	int ret;

	buf_be32(&b, STREAM_MAGIC);
	buf_be32(&b, STREAM_VERSION);
	buf_u8(&b, TAG_CONFIGURATION);
	buf_be32(&b, sizeof(machine_type) - 1);
	buf_put(&b, machine_type, sizeof(machine_type) - 1);
	put_capabilities(&b, caps);
	if (caps[CAP_VALIDATE_UUID] && m->cfg->uuid_set) {
		buf_u8(&b, TAG_SUBSECTION);
		buf_str8(&b, "configuration/uuid");
		buf_be32(&b, 1);
		buf_put(&b, m->cfg->uuid, sizeof(m->cfg->uuid));
	}
	ret = writer_put(w, b.data, b.len);
	buf_free(&b);
	return ret;
}

void buf_command(struct buf *b, uint16_t command, const void *payload, uint16_t n)
{
	buf_u8(b, TAG_COMMAND);
	buf_be16(b, command);
	buf_be16(b, n);
	buf_put(b, payload, n);
}

int stream_put_command(struct writer *w, uint16_t command, const void *payload, uint16_t n)
{
	struct buf b = {0};
	int ret;

	buf_command(&b, command, payload, n);
	ret = writer_put(w, b.data, b.len);
	buf_free(&b);
	return ret < 0 ? ret : writer_flush(w);
}

static int collect_entry(struct device_state *ds, struct vms_entry *e, bool first, struct err *err)
{
	int ret;

	PROBE(section_save_begin, e->idstr, e->instance, ds->sections.len);
	buf_u8(&ds->sections, TAG_FULL);
	buf_be32(&ds->sections, e->section_id);
	buf_str8(&ds->sections, e->idstr);
	buf_be32(&ds->sections, e->instance);
	buf_be32(&ds->sections, e->desc->version);
	buf_printf(&ds->json, "%s{\"name\": \"%s\", \"instance_id\": %u, ", first ? "" : ", ",
		   e->idstr, e->instance);
	ret = vms_save(e->desc, e->dev, &ds->sections, &ds->json, err);
	if (ret < 0)
		return err_prefix(err, ret, "cannot save the state of '%s' instance %u", e->idstr,
				  e->instance);
	buf_printf(&ds->json, "}");
	buf_u8(&ds->sections, TAG_FOOTER);
	buf_be32(&ds->sections, e->section_id);
	PROBE(section_save_end, e->idstr, e->instance, ds->sections.len);
	return 0;
}

int device_state_collect(struct device_state *ds, struct machine *m, struct err *err)
{
	bool first = true;

	buf_clear(&ds->sections);
	buf_clear(&ds->json);
	buf_printf(&ds->json, "{\"page_size\": %lu, \"devices\": [", PAGE_BYTES);
	list_for_each (e, &m->vmstate.entries, struct vms_entry, link) {
		int ret = collect_entry(ds, e, first, err);

		if (ret < 0)
			return ret;
		first = false;
	}
	buf_printf(&ds->json, "]}");
	return 0;
}

void device_state_free(struct device_state *ds)
{
	buf_free(&ds->sections);
	buf_free(&ds->json);
}

int device_state_put(const struct device_state *ds, struct writer *w)
{
	return writer_ref(w, ds->sections.data, ds->sections.len);
}

int device_state_describe(const struct device_state *ds, struct writer *w)
{
	struct buf b = {0};
	int ret;

	buf_u8(&b, TAG_VMDESC);
	buf_be32(&b, (uint32_t)ds->json.len);
	ret = writer_put(w, b.data, b.len);
	if (ret == 0)
		ret = writer_ref(w, ds->json.data, ds->json.len);
	buf_free(&b);
	return ret;
}
