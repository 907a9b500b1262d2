/* nic.c - -nic: a network card and what is behind it, in one option */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

#define WHY_PLACE "the card is on virtio-mmio, in the next free slot; leave it out"

/* What -nic has besides the keys of -netdev. */
static const struct opt_prop nic_props[] = {
    PROP("model", OPT_STRING, OPT_NOWHERE, "NAME",
	 "the card (default, and the only one, "
	 "virtio-net-device)"),
    PROP("mac", OPT_STRING, OPT_NOWHERE, "MAC", "its Ethernet address"),
    PROP_REFUSED("addr", WHY_PLACE),
    PROP_REFUSED("vectors", WHY_PLACE),
    PROP_REFUSED("netdev", "use -device with netdev="),
    PROP_END,
};

const struct opt_list opt_nic_list = {
    .title = "-nic",
    .style = OPT_STYLE_OPTS,
    .props = nic_props,
};

/* The keys of the card and those of its network; passt has a mac= too, and -nic means the card. */
static void divide(const struct keyvals *kv, struct keyvals *card, struct keyvals *net)
{
	for (size_t i = 0; i < kv->n; i++)
		keyvals_add(opt_find_prop(&opt_nic_list, kv->v[i].key) ? card : net, kv->v[i].key,
			    kv->v[i].val);
}

static int check_model(const struct opt_parse *p, const char *model, struct err *err)
{
	const char *ours = p->devices->nic->name;
	int ret;

	if (!model || !strcmp(model, ours))
		return 0;
	ret = p->devices->refuse(model, err);
	if (ret < 0)
		return err_prefix(err, ret, "model=" OPT_QUOTE, model);
	return err_set(err, ENOTSUP, "model=" OPT_QUOTE " is not supported: use %s", model, ours);
}

/* "#net0": no id that a user may give. */
static char *free_id(const struct config *cfg)
{
	return xasprintf("#net%zu", cfg->n_netdevs);
}

static int add_card(struct opt_parse *p, const struct keyvals *card, struct keyvals *net,
		    struct err *err)
{
	const char *given = keyvals_get(net, "id"), *mac = keyvals_get(card, "mac");
	CLEANUP(cleanup_free) char *id = given ? xstrdup(given) : free_id(p->cfg);
	CLEANUP(keyvals_fini) struct keyvals device = {0};
	int ret;

	if (!given)
		keyvals_add(net, "id", "nic"); /* stands for the other one while it is checked */
	ret = opt_add_netdev(p, net, given ? NULL : id, err);
	if (ret < 0)
		return ret;
	keyvals_add(&device, "driver", p->devices->nic->name);
	keyvals_add(&device, "netdev", id);
	if (mac)
		keyvals_add(&device, "mac", mac);
	return opt_add_device(p, &device, err);
}

int opt_nic(struct opt_parse *p, struct err *err)
{
	CLEANUP(keyvals_fini) struct keyvals kv = {0}, card = {0}, net = {0};
	const char *model;
	int ret;

	if (!strcmp(p->val, "none") || opt_netdev_help(p))
		return 0;
	ret = opt_split_any(&kv, p->val, "type", false, err);
	if (ret < 0)
		return ret;
	divide(&kv, &card, &net);
	model = keyvals_get(&card, "model");
	if (model && opt_wants_help(model)) {
		p->done = true;
		(void)printf("%s\n", p->devices->nic->name);
		return 0;
	}
	ret = opt_check(&opt_nic_list, &card, err);
	if (ret == 0)
		ret = check_model(p, model, err);
	return ret < 0 ? ret : add_card(p, &card, &net, err);
}

int opt_net(struct opt_parse *p, struct err *err)
{
	if (!strcmp(p->val, "none"))
		return 0;
	return err_set(err, ENOTSUP,
		       "only none is supported here: use -nic, or -netdev and a -device that takes "
		       "netdev=");
}
