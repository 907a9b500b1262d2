/* qmp-fakes.h - stand-ins for chardevs, block nodes and migration behind the QMP tests */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/node.h"
#include "devices/chardev/chardev.h"
#include "migration/migration.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"

ssize_t chardev_write(struct chardev *c, const uint8_t *p, size_t n)
{
	return c->connected ? c->ops->write(c, p, n) : (ssize_t)n;
}
void chardev_accept_input(struct chardev *c)
{
	if (c->ops->accept_input)
		c->ops->accept_input(c);
}
int chardev_attach(struct chardev *c, const struct chardev_client *client, void *opaque,
		   struct err *err)
{
	if (c->client)
		return err_set(err, EBUSY, "chardev '%s' is in use", c->id);
	c->client = client;
	c->client_opaque = opaque;
	if (c->connected)
		client->opened(opaque);
	return 0;
}
void chardev_detach(struct chardev *c)
{
	c->client = NULL;
}
struct chardev *chardevs_find(const struct chardevs *cs, const char *id)
{
	for (size_t i = 0; i < cs->n; i++)
		if (!strcmp(cs->v[i]->id, id))
			return cs->v[i];
	return NULL;
}
int block_node_flush(struct block_node *n)
{
	return n->state ? -EIO : 0;
}
struct migration {
	bool caps[CAP_COUNT];
	struct migration_params params;
};
struct migration *migration_new(struct machine *m, struct err *err)
{
	struct migration *mg = NEW(struct migration);
	(void)m;
	(void)err;
	mg->params.max_bandwidth = 128 << 20;
	return mg;
}
void migration_free(struct migration *mg)
{
	free(mg);
}
bool migration_get_capability(struct migration *mg, enum migration_capability c)
{
	return mg->caps[c];
}
int migration_set_capabilities(struct migration *mg, const enum migration_capability *caps,
			       const bool *states, size_t n, struct err *err)
{
	(void)err;
	for (size_t i = 0; i < n; i++)
		mg->caps[caps[i]] = states[i];
	return 0;
}
const struct migration_params *migration_get_params(struct migration *mg)
{
	return &mg->params;
}
const struct migration_param_info migration_param_table[] = {
    {"max-bandwidth",                   PARAM_SIZE, offsetof(struct migration_params, max_bandwidth), 0, UINT64_MAX,
     0, NULL, NULL, true, false, NULL},
    {"multifd-channels", PARAM_U8, offsetof(struct migration_params, multifd_channels), 0, 0, 0,
     NULL, NULL, true, false, NULL},
    {"x-checkpoint-delay",				PARAM_U32, offsetof(struct migration_params, x_checkpoint_delay), 0, 0,
     0, NULL, NULL, true, true, NULL},
    {"tls-creds",				 PARAM_STR_OR_NULL, offsetof(struct migration_params, tls_creds), 0, 0, 0, NULL,
     NULL, true, false, NULL},
    {"block-incremental",			     PARAM_BOOL, offsetof(struct migration_params, block_incremental), 0, 0, 0,
     NULL, NULL, true, false, NULL},
    {"multifd-compression",			    PARAM_ENUM, offsetof(struct migration_params, multifd_compression), 0,
     0, 0, NULL, (const char *const[]){"none", "zlib", "zstd", NULL}, true, false, NULL},
    {.name = NULL				},
};
const struct migration_capability_info migration_capabilities[CAP_COUNT] = {
    {"xbzrle",		  0, 0, 0},
    {"rdma-pin-all",            0, 0, 0},
    {"auto-converge",           0, 0, 0},
    {"zero-blocks",             0, 0, 0},
    {"compress",                0, 0, 0},
    {"events",		  1, 0, 0},
    {"postcopy-ram",            0, 0, 0},
    {"x-colo",		  0, 1, 0},
    {"release-ram",             0, 0, 0},
    {"block",		   0, 0, 0},
    {"return-path",             0, 0, 0},
    {"pause-before-switchover", 0, 0, 0},
    {"multifd",		 0, 0, 0},
    {"dirty-bitmaps",           0, 0, 0},
    {"postcopy-blocktime",      0, 0, 0},
    {"late-block-activate",     0, 0, 0},
    {"x-ignore-shared",         0, 1, 0},
    {"validate-uuid",           0, 0, 0},
    {"background-snapshot",     0, 0, 0},
    {"zero-copy-send",          0, 0, 0},
    {"postcopy-preempt",        0, 0, 0}
};
int migration_set_params(struct migration *mg, const struct migration_params_set *set,
			 struct err *err)
{
	(void)err;
	if (set->given[0])
		mg->params.max_bandwidth = set->value.max_bandwidth;
	return 0;
}
int migration_start(struct migration *mg, const struct migrate_args *args, struct err *err)
{
	(void)mg;
	return args->fd < 0 ? err_set(err, EINVAL, "fake") : 0;
}
int migration_incoming(struct migration *mg, const char *uri, int fd, bool from_qmp,
		       struct err *err)
{
	(void)mg;
	(void)uri;
	(void)fd;
	(void)from_qmp;
	return err_set(err, EINVAL, "fake");
}
void migration_cancel(struct migration *mg)
{
	(void)mg;
}
int migration_continue(struct migration *mg, enum migration_status expected, struct err *err)
{
	(void)mg;
	(void)expected;
	(void)err;
	return 0;
}
void migration_query(struct migration *mg, struct migration_info *info)
{
	(void)mg;
	memset(info, 0, sizeof(*info));
}
const char *const *migration_blockers(struct migration *mg, size_t *n)
{
	(void)mg;
	*n = 0;
	return NULL;
}
int migration_announce(struct migration *mg, const struct announce_args *args, struct err *err)
{
	(void)mg;
	(void)args;
	(void)err;
	return 0;
}
const char *migration_status_name(enum migration_status s)
{
	static const char *const names[] = {"none",
					    "setup",
					    "cancelling",
					    "cancelled",
					    "active",
					    "postcopy-active",
					    "postcopy-paused",
					    "postcopy-recover",
					    "completed",
					    "failed",
					    "colo",
					    "pre-switchover",
					    "device",
					    "wait-unplug"};
	return names[s];
}
