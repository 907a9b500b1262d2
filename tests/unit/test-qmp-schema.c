/* The schema: what it says of each command and event is true, and a client can walk it. */
#include "qmp/command.h"
#include "qmp/events.h"
#include "qmp/json.h"
#include "tests/unit/check-main.h"
#include "tests/unit/qmp-rig.h"

/* What a command returns; owned by the caller through *reply. */
static struct json_object *ask(struct peer *p, const char *command, struct json_object **reply)
{
	char text[200];
	const char *line;
	struct json_reader *r = json_reader_new();
	struct json_object *v = NULL;
	struct err err = {0};
	size_t used;

	(void)snprintf(text, sizeof(text), "{\"execute\":\"%s\"}", command);
	line = peer_ask(p, text);
	ck_assert_int_eq(
	    json_reader_feed(r, (const uint8_t *)line, strlen(line), &used, reply, &err),
	    JSON_VALUE);
	json_reader_free(r);
	ck_assert_msg(json_get(*reply, "return", &v), "%s: %.200s", command, line);
	return v;
}

static const char *str(const struct json_object *o, const char *key)
{
	struct json_object *v;

	ck_assert_msg(json_get(o, key, &v), "no member %s", key);
	return json_str(v);
}

static struct json_object *find(const struct json_object *schema, const char *name)
{
	struct json_object *hit = NULL;

	for (size_t i = 0; i < json_len(schema); i++) {
		struct json_object *e = json_at(schema, i);

		if (strcmp(str(e, "name"), name) != 0)
			continue;
		ck_assert_msg(!hit, "two entries are called %s", name);
		hit = e;
	}
	ck_assert_msg(hit != NULL, "no entry is called %s", name);
	return hit;
}

static void check_reference(const struct json_object *schema, const struct json_object *e,
			    const char *key)
{
	const char *meta = str(find(schema, str(e, key)), "meta-type");

	ck_assert_str_ne(meta, "command");
	ck_assert_str_ne(meta, "event");
}

static void check_object(const struct json_object *schema, const struct json_object *e)
{
	struct json_object *v;

	ck_assert(json_get(e, "members", &v));
	for (size_t i = 0; i < json_len(v); i++) {
		struct json_object *d;

		(void)str(json_at(v, i), "name");
		check_reference(schema, json_at(v, i), "type");
		if (json_get(json_at(v, i), "default", &d))
			ck_assert_int_eq(json_kind(d), JSON_NULL);
	}
	if (!json_get(e, "variants", &v))
		return;
	(void)str(e, "tag");
	for (size_t i = 0; i < json_len(v); i++) {
		(void)str(json_at(v, i), "case");
		check_reference(schema, json_at(v, i), "type");
	}
}

static void check_enum(const struct json_object *e)
{
	struct json_object *members, *values;

	ck_assert(json_get(e, "members", &members) && json_get(e, "values", &values));
	ck_assert_uint_eq(json_len(members), json_len(values));
	ck_assert_uint_gt(json_len(values), 0);
	for (size_t i = 0; i < json_len(values); i++)
		ck_assert_str_eq(str(json_at(members, i), "name"), json_str(json_at(values, i)));
}

static void check_entry(const struct json_object *schema, const struct json_object *e)
{
	const char *meta = str(e, "meta-type"), *name = str(e, "name");
	struct json_object *v;
	char want[80];

	(void)find(schema, name); /* once */
	if (!strcmp(meta, "object")) {
		check_object(schema, e);
	} else if (!strcmp(meta, "enum")) {
		check_enum(e);
	} else if (!strcmp(meta, "array")) {
		check_reference(schema, e, "element-type");
		(void)snprintf(want, sizeof(want), "[%s]", str(e, "element-type"));
		ck_assert_str_eq(name, want);
	} else if (!strcmp(meta, "alternate")) {
		ck_assert(json_get(e, "members", &v));
		for (size_t i = 0; i < json_len(v); i++)
			check_reference(schema, json_at(v, i), "type");
	} else if (!strcmp(meta, "command")) {
		check_reference(schema, e, "arg-type");
		check_reference(schema, e, "ret-type");
		ck_assert_ptr_nonnull(qmp_command_find(name));
	} else if (!strcmp(meta, "event")) {
		check_reference(schema, e, "arg-type");
	} else {
		ck_assert_str_eq(meta, "builtin");
	}
}

START_TEST(test_walk)
{
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0);
	struct json_object *reply, *schema = ask(p, "query-qmp-schema", &reply);

	ck_assert_uint_lt(p->got.len, 256 << 10);
	for (size_t i = 0; i < json_len(schema); i++)
		check_entry(schema, json_at(schema, i));
	/* type names are numbers, but for the builtins and their arrays */
	for (size_t i = 0; i < json_len(schema); i++) {
		const char *meta = str(json_at(schema, i), "meta-type");
		const char *name = str(json_at(schema, i), "name");

		if (!strcmp(meta, "object") || !strcmp(meta, "enum") || !strcmp(meta, "alternate"))
			ck_assert_uint_eq(strspn(name, "0123456789"), strlen(name));
	}
	json_free(reply);
	rig_free(r);
}
END_TEST

START_TEST(test_commands_and_events_are_in_it)
{
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0);
	struct json_object *r1, *r2, *schema = ask(p, "query-qmp-schema", &r1);
	struct json_object *commands = ask(p, "query-commands", &r2);
	size_t in_schema = 0;

	for (size_t i = 0; i < json_len(commands); i++) {
		const char *name = str(json_at(commands, i), "name");

		ck_assert_str_eq(str(find(schema, name), "meta-type"), "command");
		ck_assert_ptr_nonnull(qmp_command_find(name));
		ck_assert_ptr_nonnull(qmp_command_find(name)->run);
	}
	for (size_t i = 0; i < json_len(schema); i++)
		in_schema += !strcmp(str(json_at(schema, i), "meta-type"), "command");
	ck_assert_uint_eq(in_schema, json_len(commands));
	for (size_t i = 0; qmp_event_at(i); i++)
		ck_assert_str_eq(str(find(schema, qmp_event_at(i)->name), "meta-type"), "event");
	json_free(r1);
	json_free(r2);
	rig_free(r);
}
END_TEST

static struct json_object *member(const struct json_object *type, const char *name)
{
	struct json_object *v;

	ck_assert(json_get(type, "members", &v));
	for (size_t i = 0; i < json_len(v); i++)
		if (!strcmp(str(json_at(v, i), "name"), name))
			return json_at(v, i);
	ck_abort_msg("no member %s", name);
	return NULL;
}

/* Has it that feature, and no other? */
static bool is(const struct json_object *member, const char *feature)
{
	struct json_object *v;

	return json_get(member, "features", &v) && json_len(v) == 1 &&
	       !strcmp(json_str(json_at(v, 0)), feature);
}

static bool is_plain(const struct json_object *member)
{
	struct json_object *v;

	return !json_get(member, "features", &v);
}

START_TEST(test_known_entries)
{
	struct rig *r = rig_new();
	struct json_object *reply, *none, *schema = ask(rig_peer(r, 0), "query-qmp-schema", &reply);
	struct json_object *e, *m;

	/* optional members have a default, required ones have not */
	e = find(schema, str(find(schema, "migrate"), "arg-type"));
	ck_assert(json_get(member(e, "uri"), "default", &none)); /* 'channels' may stand for it */
	ck_assert(json_get(member(e, "blk"), "default", &none));
	ck_assert_str_eq(str(member(e, "blk"), "type"), "bool");
	ck_assert(is(member(e, "blk"), "deprecated") && is_plain(member(e, "resume")));
	e = find(schema, str(find(schema, "migrate-continue"), "arg-type"));
	ck_assert(!json_get(member(e, "state"), "default", &none));
	ck_assert_str_eq(str(find(schema, "migrate"), "ret-type"), "0");
	ck_assert_str_eq(str(find(schema, "STOP"), "arg-type"), "0");
	/* all widths are int; a null or string is an alternate */
	e = find(schema, str(find(schema, "migrate-set-parameters"), "arg-type"));
	ck_assert_str_eq(str(member(e, "multifd-channels"), "type"), "int");
	ck_assert_str_eq(str(find(schema, str(member(e, "tls-creds"), "type")), "meta-type"),
			 "alternate");
	ck_assert(is(member(e, "x-checkpoint-delay"), "unstable"));
	ck_assert(is_plain(member(e, "max-bandwidth")));
	ck_assert(is(member(e, "compress-level"), "deprecated"));
	e = find(schema, str(find(schema, "query-migrate-parameters"), "ret-type"));
	ck_assert_str_eq(str(member(e, "tls-creds"), "type"), "str");
	ck_assert(json_get(member(e, "tls-creds"), "default", &none));
	/* features of enum values */
	e = find(schema, str(find(schema, "query-migrate-capabilities"), "ret-type"));
	e = find(schema, str(e, "element-type"));
	e = find(schema, str(member(e, "capability"), "type"));
	ck_assert(is(member(e, "x-colo"), "unstable"));
	ck_assert(is_plain(member(e, "events")));
	ck_assert(is(member(e, "compress"), "deprecated"));
	ck_assert(json_get(e, "values", &m));
	ck_assert_uint_eq(json_len(m), CAP_COUNT);
	/* what only we have is marked */
	e = find(schema, str(find(schema, "query-migrate"), "ret-type"));
	ck_assert(is(member(e, "x-minivmm"), "unstable"));
	ck_assert(is(member(e, "compression"), "deprecated"));
	/* commands have features, too */
	ck_assert(is(find(schema, "query-kvm"), "deprecated") &&
		  is_plain(find(schema, "query-name")));
	json_free(reply);
	rig_free(r);
}
END_TEST

START_TEST(test_queries_answer)
{
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0);

	for (size_t i = 0; qmp_command_at(i); i++) {
		struct json_object *reply;

		if (strncmp(qmp_command_at(i)->name, "query-", 6) != 0)
			continue;
		/* There are no such devices here, nor KVM, and they say so; the last one asks back.
		 */
		if (!strcmp(qmp_command_at(i)->name, "query-balloon") ||
		    !strncmp(qmp_command_at(i)->name, "query-cpu-", 10) ||
		    !strcmp(qmp_command_at(i)->name, "query-vm-generation-id") ||
		    !strcmp(qmp_command_at(i)->name, "query-stats"))
			continue;
		(void)ask(p, qmp_command_at(i)->name, &reply);
		json_free(reply);
	}
	rig_free(r);
}
END_TEST

/* ---- the tables against the C structs they describe ---- */

static void check_type(const struct qmp_type *t, bool argument, int depth);

static void check_members(const struct qmp_type *t, bool argument, int depth)
{
	struct qmp_member m;

	for (size_t i = 0; qmp_member_at(t, i, &m); i++) {
		check_type(m.type, argument, depth + 1);
		if (m.has == QMP_NEVER || m.has == QMP_SHAPE)
			continue;
		ck_assert_msg(m.size == m.type->size, "%s.%s", t->name, m.name);
		ck_assert_msg(m.offset + m.size <= t->size, "%s.%s", t->name, m.name);
		if (m.has < QMP_SHAPE)
			ck_assert_msg(m.has < t->size, "%s.%s", t->name, m.name);
		if (m.has == QMP_IF_SET)
			ck_assert(m.type->kind == QMP_KIND_STR || m.type->kind == QMP_KIND_ARRAY ||
				  m.type->kind == QMP_KIND_ANY || m.type->kind == QMP_KIND_BELOW);
		if (argument)
			ck_assert_msg(m.has != QMP_ALWAYS, "%s.%s", t->name, m.name);
	}
}

/* The tag says what else is there, so it always is. */
static void check_variants(const struct qmp_type *t, bool argument, int depth)
{
	struct qmp_member m;
	const char *value;
	unsigned features;

	if (!t->tag)
		return;
	for (size_t i = 0;; i++) {
		ck_assert_msg(qmp_member_at(t, i, &m), "%s", t->name);
		if (!strcmp(m.name, t->tag))
			break;
	}
	ck_assert((m.has == QMP_REQUIRED || m.has == QMP_SHAPE) && m.type->kind == QMP_KIND_ENUM);
	for (size_t i = 0; (value = qmp_value_at(m.type, i, &features)); i++) {
		if (!t->variants[i])
			continue;
		ck_assert_msg(t->variants[i]->size <= t->size, "%s, %s", t->name, value);
		check_type(t->variants[i], argument, depth + 1);
	}
}

static void check_type(const struct qmp_type *t, bool argument, int depth)
{
	unsigned features;

	ck_assert_int_lt(depth, 16);
	ck_assert_ptr_nonnull(t->name);
	switch (t->kind) {
	case QMP_KIND_OBJECT:
		check_members(t, argument, depth);
		check_variants(t, argument, depth);
		break;
	case QMP_KIND_ARRAY:
		ck_assert_uint_eq(t->size, sizeof(struct qmp_array));
		check_type(t->element, argument, depth + 1);
		break;
	case QMP_KIND_BELOW: /* what it points at contains it */
		ck_assert(!argument && t->element->kind == QMP_KIND_OBJECT);
		break;
	case QMP_KIND_ALTERNATE:
		ck_assert(!argument && t->variants[0]);
		break;
	case QMP_KIND_ENUM:
		ck_assert(t->size == 1 || t->size == sizeof(int));
		ck_assert_ptr_nonnull(qmp_value_at(t, 0, &features));
		break;
	default:
		break;
	}
}

START_TEST(test_tables)
{
	const struct qmp_command *c;

	for (size_t i = 0; (c = qmp_command_at(i)); i++) {
		if (c->arg) {
			ck_assert_int_eq(c->arg->kind, QMP_KIND_OBJECT);
			check_type(c->arg, true, 0);
		}
		if (c->ret)
			check_type(c->ret, false, 0);
		ck_assert_ptr_eq(qmp_command_find(c->name), c);
	}
	for (size_t i = 0; qmp_event_at(i); i++)
		if (qmp_event_at(i)->data)
			check_type(qmp_event_at(i)->data, false, 0);
}
END_TEST

START_TEST(test_docs_list_every_command_and_event)
{
	FILE *f = fopen("docs/qmp.md", "re");
	struct buf text = {0};
	char name[80];
	size_t n;

	ck_assert_msg(f != NULL, "docs/qmp.md cannot be read (run from the repository's root)");
	do {
		n = fread(buf_room(&text, 4096), 1, 4096, f);
		text.len += n;
	} while (n);
	(void)fclose(f);
	buf_u8(&text, 0);
	for (size_t i = 0; qmp_command_at(i); i++) {
		(void)snprintf(name, sizeof(name), "`%s`", qmp_command_at(i)->name);
		ck_assert_msg(strstr((char *)text.data, name) != NULL, "docs/qmp.md lacks %s",
			      name);
	}
	for (size_t i = 0; qmp_event_at(i); i++) {
		(void)snprintf(name, sizeof(name), "`%s`", qmp_event_at(i)->name);
		ck_assert_msg(strstr((char *)text.data, name) != NULL, "docs/qmp.md lacks %s",
			      name);
	}
	buf_free(&text);
}
END_TEST

CHECK_MAIN("qmp-schema", test_walk, test_commands_and_events_are_in_it, test_known_entries,
	   test_queries_answer, test_tables, test_docs_list_every_command_and_event)
