/*
 * Any bytes as a migration stream must load or be refused with a sentence, and
 * never write beside guest memory (guard pages stand around it).
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "migration/incoming/loader.h"
#include "migration/ram/ram.h"
#include "migration/stream/globalstate.h"
#include "tests/fuzz/piecewise.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define RAM_BYTES (64 * KiB)

struct thing {
	uint32_t n;
	uint8_t list[16];
	bool extra;
};

static bool extra_needed(void *dev)
{
	return ((struct thing *)dev)->extra;
}

static const struct vms_field extra_fields[] = {
    VMS_BOOL(struct thing, extra, "extra"),
    VMS_LAST,
};

static const struct vms_desc extra = {
    .name = "fuzz-device/extra",
    .version = 1,
    .min_version = 1,
    .fields = extra_fields,
    .needed = extra_needed,
};

static const struct vms_desc *const subs[] = {&extra, NULL};

static const struct vms_field fields[] = {
    VMS_U32(struct thing, n, "n"),
    VMS_ARRAY(uint8_t, struct thing, list, "list", .counted = true,
	      .count_at = offsetof(struct thing, n)),
    VMS_LAST,
};

static const struct vms_desc vmstate = {
    .name = "fuzz-device",
    .version = 3,
    .min_version = 1,
    .fields = fields,
    .subs = subs,
};

/* A machine without KVM: what the loader needs. */
struct world {
	struct config cfg;
	struct machine m;
	struct thing dev;
	struct globalstate globalstate;
};

static struct world *world_new(void)
{
	static const struct ram_backend anon = {.kind = RAM_ANONYMOUS, .fd = -1};
	struct world *w = calloc(1, sizeof(*w));
	struct machine *m;

	assert(w);
	m = &w->m;
	m->cfg = &w->cfg;
	m->kvm_fd = m->vm_fd = -1;
	m->state = RS_INMIGRATE;
	pthread_mutex_init(&m->lock, NULL);
	list_init(&m->devices);
	notify_init(&m->notify);
	vms_registry_init(&m->vmstate);
	memory_init(&m->mem, -1);
	(void)memory_add_block(&m->mem, "microvm.ram", RAM_BYTES, &anon, NULL);
	(void)memory_add_block(&m->mem, "pc.bios", RAM_BYTES, &anon, NULL);
	assert(m->mem.n_blocks == 2);
	vms_register(&m->vmstate, VMS_RANK_TIMER, "timer", 0, -1, &vclock_vmstate, &m->vclock);
	vms_register(&m->vmstate, VMS_RANK_SERIAL, "fuzz-device", 0, 0x3f8, &vmstate, &w->dev);
	globalstate_init(&w->globalstate, m);
	return w;
}

static void world_free(struct world *w)
{
	vms_registry_fini(&w->m.vmstate);
	memory_fini(&w->m.mem);
	pthread_mutex_destroy(&w->m.lock);
	free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct world *w = world_new();
	struct piecewise *socket = piecewise_new(data, len, len % 4 * 3000 + 1);
	struct src memory = src_mem(data, len);
	struct err err = {0};
	struct loader l;
	int ret = 0;

	(void)log_open("/dev/null", NULL);
	loader_init(&l, &w->m, NULL, len % 4 ? &socket->src : &memory);
	if (len % 8 == 1) /* as if the capability 'compress' were on */
		ret = ram_load_compressed(l.ram, 1, &err);
	assert(ret == 0);
	ret = loader_header(&l, &err);
	if (ret == 0)
		ret = loader_records(&l, &err);
	if (ret == 0)
		(void)loader_description(&l, NULL);
	assert(ret == 0 || (ret < 0 && err.msg[0]));
	loader_fini(&l);
	world_free(w);
	free(socket);
	return 0;
}
