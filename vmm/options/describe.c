/* describe.c - the tables of the command line for other readers than the parser */
#include "vmm/options/internal.h"
#include "vmm/options/options.h"

static enum option_key_type type_of(enum opt_kind kind)
{
	switch (kind) {
	case OPT_BOOL:
		return OPTION_KEY_BOOLEAN;
	case OPT_U32:
	case OPT_FD:
		return OPTION_KEY_NUMBER;
	case OPT_SIZE:
		return OPTION_KEY_SIZE;
	default:
		return OPTION_KEY_STRING;
	}
}

static void each_of_list(const char *option, const struct opt_list *list,
			 void (*fn)(void *opaque, const struct option_key *key), void *opaque)
{
	for (const struct opt_prop *p = list->props; p->key; p++) {
		struct option_key key = {option, p->key, type_of(p->kind), p->help};

		if (p->kind != OPT_REFUSED)
			fn(opaque, &key);
	}
}

void options_each_key(void (*fn)(void *opaque, const struct option_key *key), void *opaque)
{
	for (const struct opt_row *r = option_table; r->name; r++)
		for (const struct opt_list *const *l = r->lists; l && *l; l++)
			each_of_list(r->name, *l, fn, opaque);
}
