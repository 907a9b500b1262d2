/* shell-help.c - a command of the schema, for people */
#include <stdio.h>
#include <string.h>

#include "ctl/dictionary.h"
#include "ctl/say.h"
#include "ctl/shell.h"
#include "qmp/json.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/units.h"

#define NAME_COLUMN 26
#define NESTED_MAX  3 /* objects in each other that are shown */

/* Members are printed as they are walked. */
struct printer {
	const struct dictionary *d;
	const char *prefix;
	unsigned depth;
	size_t n;
	bool names_only;
};

static bool print_member(const struct member *m, void *opaque)
{
	struct printer *p = opaque;
	CLEANUP(buf_free) struct buf type = {0};
	CLEANUP(cleanup_free) char *name = xasprintf("%s%s", p->prefix, m->name);
	const struct json_object *of = array_of(p->d, m->type);
	CLEANUP(cleanup_free) char *inner = xasprintf(of ? "%s.0." : "%s.", name);
	struct printer nested = {p->d, inner, p->depth + 1, 0, false};

	p->n++;
	if (p->depth < NESTED_MAX && type_kind(of ? of : m->type) == TYPE_OBJECT) {
		type_members(p->d, of ? of : m->type, inner, NULL, print_member, &nested);
		if (nested.n)
			return true;
	}
	type_text(p->d, m->type, &type);
	buf_u8(&type, 0);
	shell_put("  %c%s%-*s %s%s%s", m->optional ? '[' : ' ', name,
		  (int)(NAME_COLUMN > strlen(name) ? NAME_COLUMN - strlen(name) : 0),
		  m->optional ? "=]" : "=", (const char *)type.data,
		  m->deprecated ? "; deprecated" : "", m->unstable ? "; unstable" : "");
	(void)printf("\n");
	return true;
}

static bool print_result(const struct member *m, void *opaque)
{
	struct printer *p = opaque;

	shell_put("%s%s", p->n++ ? ", " : " ", m->name);
	return true;
}

/* A union's tag chooses what else there is. */
static void print_branches(const struct json_object *type)
{
	struct json_object *tag;

	if (json_kind(type) == JSON_OBJECT && json_get(type, "tag", &tag) &&
	    json_kind(tag) == JSON_STRING)
		say_text("  and what '%s' asks for", json_str(tag));
}

static void print_flags(const struct json_object *command)
{
	struct json_object *list, *oob;

	if (json_get(command, "allow-oob", &oob) && json_is_true(oob))
		(void)printf("It may be sent out of band.\n");
	if (!json_get(command, "features", &list) || json_kind(list) != JSON_ARRAY)
		return;
	for (size_t i = 0; i < json_len(list); i++)
		if (json_kind(json_at(list, i)) == JSON_STRING)
			say_text("It is %s.", json_str(json_at(list, i)));
}

bool shell_help(const struct dictionary *d, const char *command)
{
	const struct json_object *entity = dictionary_command(d, command), *type, *of;
	struct printer p = {.d = d, .prefix = ""};
	struct json_object *ret;

	if (!entity) {
		(void)fflush(stdout);
		(void)fprintf(stderr, "minivmm-ctl: there is no command '%s' ('help' lists them)\n",
			      command);
		return false;
	}
	type = command_arguments(d, command);
	type_members(d, type, "", NULL, print_member, &p);
	if (!p.n)
		say_text("  %s takes no arguments", command);
	print_branches(type);
	type = json_get(entity, "ret-type", &ret) && json_kind(ret) == JSON_STRING
		   ? dictionary_find(d, json_str(ret))
		   : NULL;
	of = array_of(d, type);
	p.n = 0;
	(void)printf("It returns%s", of ? " a list of:" : "");
	type_members(d, of ? of : type, "", NULL, print_result, &p);
	if (!p.n && type && type_kind(type) != TYPE_OBJECT) {
		CLEANUP(buf_free) struct buf text = {0};

		type_text(d, of ? of : type, &text);
		buf_u8(&text, 0);
		shell_put(" %s", (const char *)text.data);
	} else if (!p.n) {
		(void)printf(" nothing");
	}
	(void)printf(".\n");
	print_flags(entity);
	return true;
}
