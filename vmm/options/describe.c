/* describe.c - the tables of the command line for other readers than the parser */
#include "vmm/base/units.h"
#include "vmm/options/internal.h"
#include "vmm/options/options.h"

static enum option_key_type type_of(enum opt_kind kind)
{
	switch (kind) {
	case OPT_BOOL:
		return OPTION_KEY_BOOLEAN;
	case OPT_U32:
	case OPT_U64:
	case OPT_FD:
		return OPTION_KEY_NUMBER;
	case OPT_SIZE:
		return OPTION_KEY_SIZE;
	default:
		return OPTION_KEY_STRING;
	}
}

/* The i-th word of "a|b|c". */
static void take_word(struct option_key *key, const char *words, unsigned i)
{
	while (i && *words)
		i -= *words++ == '|';
	key->text = words;
	key->text_len = strcspn(words, "|");
	key->has = key->text_len > 0;
}

static void take_value(struct option_key *key, const struct opt_prop *p, const void *base)
{
	const char *at = (const char *)base + p->off;

	key->has = true;
	switch (p->kind) {
	case OPT_STRING:
	case OPT_ID:
		memcpy(&key->text, at, sizeof(key->text));
		key->text_len = key->text ? strlen(key->text) : 0;
		break;
	case OPT_BOOL:
		key->number = *(const bool *)at;
		break;
	case OPT_AUTO:
		take_word(key, "off|on", *(const bool *)at);
		break;
	case OPT_SWITCH:
		take_word(key, "auto|on|off", *(const unsigned *)at);
		break;
	case OPT_SIZE:
	case OPT_U64:
		memcpy(&key->number, at, sizeof(key->number));
		break;
	case OPT_U32:
		key->number = *(const uint32_t *)at;
		break;
	case OPT_ENUM:
		take_word(key, p->values, *(const unsigned *)at);
		break;
	default:
		key->has = false;
		break;
	}
}

/* 'base': what the list's rows are offsets into, or NULL. */
static void each_of_list(const char *option, const struct opt_prop *props, const void *base,
			 option_key_fn *fn, void *opaque)
{
	for (const struct opt_prop *p = props; p->key; p++) {
		struct option_key key = {.option = option,
					 .key = p->key,
					 .type = type_of(p->kind),
					 .help = p->help,
					 .otherwise = p->otherwise};

		if (p->kind == OPT_REFUSED)
			continue;
		if (base && p->off != OPT_NOWHERE)
			take_value(&key, p, base);
		fn(opaque, &key);
	}
}

/* What QEMU's lists are called where that is not the option. */
static const char *list_name(const char *option)
{
	static const char *const names[][2] = {
	    {"smp",  "smp-opts" },
            {"boot", "boot-opts"},
            {"m",    "memory"   }
        };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (!strcmp(option, names[i][0]))
			return names[i][1];
	return option;
}

void options_each_key(option_key_fn *fn, void *opaque)
{
	for (const struct opt_row *r = option_table; r->name; r++)
		for (const struct opt_list *const *l = r->lists; l && *l; l++)
			each_of_list(list_name(r->name), (*l)->props, NULL, fn, opaque);
}

void options_each_machine_key(const struct config *cfg, option_key_fn *fn, void *opaque)
{
	each_of_list("machine", opt_machine_list.props, cfg, fn, opaque);
}

void options_each_device_key(const struct device_row *row, option_key_fn *fn, void *opaque)
{
	each_of_list(row->name, row->props, NULL, fn, opaque);
}

const char *options_object_type(size_t i)
{
	size_t n;
	const struct opt_type *types = opt_object_types(&n);

	return i < n ? types[i].name : NULL;
}

const char *options_chardev_type(size_t i)
{
	size_t n;
	const struct opt_type *types = opt_chardev_types(&n);

	return i < n ? types[i].name : NULL;
}

bool options_each_object_key(const char *type, const struct cfg_object *o, option_key_fn *fn,
			     void *opaque)
{
	size_t n;
	const struct opt_type *types = opt_object_types(&n);

	for (size_t i = 0; i < n; i++)
		if (!strcmp(types[i].name, type)) {
			each_of_list("object", types[i].list->props, o, fn, opaque);
			return true;
		}
	return false;
}
