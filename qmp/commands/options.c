/* options.c - query-command-line-options: what lists of options can hold (qmp-surface 5.1) */
#include <errno.h>
#include <string.h>

#include "qmp/command.h"
#include "vmm/base/error.h"
#include "vmm/options/options.h"

struct key {
	const char *name;
	int type; /* enum option_key_type */
	const char *help;
};

struct option {
	const char *name;
	struct qmp_array keys; /* struct key */
};

struct options_args {
	const char *option;
};

static const char *const key_types[] = {"string", "boolean", "number", "size", NULL};
static const struct qmp_type key_type_enum = QMP_ENUM_TYPE("CommandLineParameterType", key_types);
static const struct qmp_member key_members[] = {
    QMP_REQ(struct key, name, "name"),
    QMP_REQ_T(struct key, type, "type", &key_type_enum),
    QMP_SET(struct key, help, "help"),
    {0},
};
static const struct qmp_type key_type =
    QMP_OBJECT_TYPE(struct key, "CommandLineParameterInfo", key_members);
static const struct qmp_type key_list = QMP_ARRAY_TYPE(&key_type);
static const struct qmp_member option_members[] = {
    QMP_REQ(struct option, name, "option"),
    QMP_REQ_T(struct option, keys, "parameters", &key_list),
    {0},
};
static const struct qmp_type option_type =
    QMP_OBJECT_TYPE(struct option, "CommandLineOptionInfo", option_members);
static const struct qmp_type option_list = QMP_ARRAY_TYPE(&option_type);
static const struct qmp_member args_members[] = {
    QMP_SET(struct options_args, option, "option"),
    {0},
};
static const struct qmp_type args_type =
    QMP_OBJECT_TYPE(struct options_args, "q_obj_query-command-line-options-arg", args_members);

struct collect {
	const char *only; /* NULL: all */
	struct key *keys; /* of all options, one after the other */
	struct option *options;
	size_t n_keys, n_options;
};

static bool is_wanted(const struct collect *c, const struct option_key *key)
{
	return !c->only || !strcmp(c->only, key->option);
}

static void count_key(void *opaque, const struct option_key *key)
{
	struct collect *c = opaque;

	c->n_keys += is_wanted(c, key);
}

static bool have_key(const struct option *o, const char *name)
{
	const struct key *keys = o->keys.v;

	for (size_t i = 0; i < o->keys.n; i++)
		if (!strcmp(keys[i].name, name))
			return true;
	return false;
}

/* The option that the last key was of, or the next one. */
static struct option *option_of(struct collect *c, const char *name)
{
	struct option *next = c->options + c->n_options;

	if (c->n_options && !strcmp(next[-1].name, name))
		return next - 1;
	*next = (struct option){
	    name, {c->keys + c->n_keys, 0}
        };
	c->n_options++;
	return next;
}

static void take_key(void *opaque, const struct option_key *key)
{
	struct collect *c = opaque;
	struct option *o;

	if (!is_wanted(c, key))
		return;
	o = option_of(c, key->option);
	if (have_key(o, key->key))
		return;
	c->keys[c->n_keys++] = (struct key){key->key, (int)key->type, key->help};
	o->keys.n++;
}

static int query_options(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	struct collect c = {.only = ((const struct options_args *)arg)->option};
	size_t n;

	options_each_key(count_key, &c);
	n = c.n_keys;
	if (c.only && !n)
		return err_set(err, ENOENT, "invalid option name: %.200s", c.only);
	c = (struct collect){
	    .only = c.only,
	    .keys = qmp_alloc(call->pool, n, sizeof(struct key)),
	    .options = qmp_alloc(call->pool, n, sizeof(struct option)),
	};
	options_each_key(take_key, &c);
	*(struct qmp_array *)ret = (struct qmp_array){c.options, c.n_options};
	return 0;
}

const struct qmp_command qmp_options_commands[] = {
    {"query-command-line-options", &args_type, &option_list, query_options, 0},
    {0	       },
};
