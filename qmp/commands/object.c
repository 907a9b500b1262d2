/*
 * object.c - objects that come and go (qmp-surface 5.4)
 *
 * What an object takes is in the tables of -object; the types here say it in the schema.
 */
#include <string.h>

#include "qmp/command.h"
#include "qmp/json.h"
#include "qmp/object-kinds.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/machine.h"
#include "vmm/objects.h"
#include "vmm/options/options.h"

/* ---- object-add ---- */

enum secret_format { SECRET_RAW, SECRET_BASE64 };

struct object_args {
	int type; /* index in 'types' */
	const char *id;
	const char *data, *file; /* secret */
	bool has_format;
	int format;
	const char *filename; /* rng-random, authz-list-file */
	/* tls-creds-* */
	bool has_verify_peer, verify_peer, has_endpoint, has_sanity_check, sanity_check;
	int endpoint;
	const char *dir, *priority, *username, *passwordid;
	/* authz-* */
	const char *identity;
	bool has_policy, has_refresh, refresh;
	int policy;
	struct qmp_array rules; /* struct rule_args */
};

static const char *const types[] = {"secret",
				    "rng-random",
				    "tls-creds-x509",
				    "tls-creds-psk",
				    "tls-creds-anon",
				    "authz-simple",
				    "authz-list",
				    "authz-listfile",
				    "authz-list-file",
				    "rng-builtin",
				    NULL};

static const char *refused(const char *type)
{
	for (size_t i = 0; object_kinds[i]; i++)
		if (!strcmp(object_kinds[i]->type, type))
			return object_kinds[i]->not_later;
	return options_object_refused(type);
}

static const struct qmp_type object_type_type = {
    .kind = QMP_KIND_ENUM,
    .name = "ObjectType",
    .size = sizeof(int),
    .values = types,
    .refused = refused,
};

static const char *const formats[] = {[SECRET_RAW] = "raw", [SECRET_BASE64] = "base64", NULL};
static const struct qmp_type format_type = QMP_ENUM_TYPE("QCryptoSecretFormat", formats);
static const struct qmp_member secret_members[] = {
    QMP_SET(struct object_args, data, "data"),
    QMP_SET(struct object_args, file, "file"),
    QMP_OPT_T(struct object_args, format, "format", &format_type),
    {0},
};
static const struct qmp_type secret_type =
    QMP_OBJECT_TYPE(struct object_args, "SecretProperties", secret_members);
static const struct qmp_member rng_random_members[] = {
    QMP_SET(struct object_args, filename, "filename"),
    {0},
};
static const struct qmp_type rng_random_type =
    QMP_OBJECT_TYPE(struct object_args, "RngRandomProperties", rng_random_members);

static const char *const ends[] = {"client", "server", NULL};
static const struct qmp_type end_type = QMP_ENUM_TYPE("QCryptoTLSCredsEndpoint", ends);

#define CREDS_MEMBERS                                                                              \
	QMP_OPT(struct object_args, verify_peer, "verify-peer"),                                   \
	    QMP_SET(struct object_args, dir, "dir"),                                               \
	    QMP_OPT_T(struct object_args, endpoint, "endpoint", &end_type),                        \
	    QMP_SET(struct object_args, priority, "priority")
static const struct qmp_member x509_members[] = {
    CREDS_MEMBERS,
    QMP_OPT(struct object_args, sanity_check, "sanity-check"),
    QMP_SET(struct object_args, passwordid, "passwordid"),
    {0},
};
static const struct qmp_type x509_type =
    QMP_OBJECT_TYPE(struct object_args, "TlsCredsX509Properties", x509_members);
static const struct qmp_member psk_members[] = {
    CREDS_MEMBERS,
    QMP_SET(struct object_args, username, "username"),
    {0},
};
static const struct qmp_type psk_type =
    QMP_OBJECT_TYPE(struct object_args, "TlsCredsPskProperties", psk_members);
static const struct qmp_member anon_members[] = {CREDS_MEMBERS, {0}};
static const struct qmp_type anon_type =
    QMP_OBJECT_TYPE(struct object_args, "TlsCredsAnonProperties", anon_members);

struct rule_args {
	const char *match;
	int policy, format;
	bool has_format;
};

static const char *const policies[] = {"deny", "allow", NULL};
static const struct qmp_type policy_type = QMP_ENUM_TYPE("QAuthZListPolicy", policies);
static const char *const matches[] = {"exact", "glob", NULL};
static const struct qmp_type match_type = QMP_ENUM_TYPE("QAuthZListFormat", matches);
static const struct qmp_member rule_members[] = {
    QMP_REQ(struct rule_args, match, "match"),
    QMP_REQ_T(struct rule_args, policy, "policy", &policy_type),
    QMP_OPT_T(struct rule_args, format, "format", &match_type),
    {0},
};
static const struct qmp_type rule_type =
    QMP_OBJECT_TYPE(struct rule_args, "QAuthZListRule", rule_members);
static const struct qmp_type rules_type = QMP_ARRAY_TYPE(&rule_type);
static const struct qmp_member simple_members[] = {
    QMP_REQ(struct object_args, identity, "identity"),
    {0},
};
static const struct qmp_type simple_type =
    QMP_OBJECT_TYPE(struct object_args, "AuthZSimpleProperties", simple_members);
static const struct qmp_member list_members[] = {
    QMP_OPT_T(struct object_args, policy, "policy", &policy_type),
    QMP_SET_T(struct object_args, rules, "rules", &rules_type),
    {0},
};
static const struct qmp_type list_type =
    QMP_OBJECT_TYPE(struct object_args, "AuthZListProperties", list_members);
static const struct qmp_member list_file_members[] = {
    QMP_REQ(struct object_args, filename, "filename"),
    QMP_OPT(struct object_args, refresh, "refresh"),
    {0},
};
static const struct qmp_type list_file_type =
    QMP_OBJECT_TYPE(struct object_args, "AuthZListFileProperties", list_file_members);

static const struct qmp_type *const variants[] = {
    &secret_type, &rng_random_type, &x509_type,      &psk_type,       &anon_type,
    &simple_type, &list_type,       &list_file_type, &list_file_type, NULL,
};
static const struct qmp_member object_members[] = {
    QMP_REQ_T(struct object_args, type, "qom-type", &object_type_type),
    QMP_REQ(struct object_args, id, "id"),
    {0},
};
static const struct qmp_type object_type = {
    .kind = QMP_KIND_OBJECT,
    .name = "ObjectOptions",
    .size = sizeof(struct object_args),
    .members = object_members,
    .open = true, /* the table of -object says why it has no such member */
    .tag = "qom-type",
    .variants = variants,
};

static int object_add(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	CLEANUP(buf_free) struct buf text = {0};
	struct json_writer w = json_writer(&text, false);
	struct cfg_object o;
	int r;

	(void)arg;
	(void)ret;
	jw_value(&w, call->arguments);
	buf_u8(&text, 0);
	r = options_object(&o, (const char *)text.data, err);
	return r < 0 ? r : objects_add(call->m, &o, err);
}

/* ---- object-del ---- */

struct del_args {
	const char *id;
};

static const struct qmp_member del_members[] = {
    QMP_REQ(struct del_args, id, "id"),
    {0},
};
static const struct qmp_type del_type =
    QMP_OBJECT_TYPE(struct del_args, "q_obj_object-del-arg", del_members);

static int object_del(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)ret;
	return objects_del(call->m, ((const struct del_args *)arg)->id, err);
}

const struct qmp_command qmp_object_commands[] = {
    {"object-add", &object_type, NULL, object_add, 0},
    {"object-del",        &del_type, NULL, object_del, 0},
    {0	  },
};
