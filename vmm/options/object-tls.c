/* object-tls.c - -object: who the ends of a migration over TLS are, and who may come in */
#include <errno.h>
#include <stdlib.h>

#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"
#include "vmm/options/options.h"

#define ID offsetof(struct cfg_object, id)

#define RULES_MAX 100

#define CREDS_PROPS                                                                                \
	PROP_SEEN("qom-type", "tls-creds-...", "the kind of object"),                              \
	    PROP_NEEDED("id", OPT_ID, ID, NULL, "the name for the parameter tls-creds"),           \
	    PROP("endpoint", OPT_ENUM, OPT_NOWHERE, "client|server",                               \
		 "client for a source, server for a destination (default client)"),                \
	    PROP("priority", OPT_STRING, OPT_NOWHERE, "TEXT",                                      \
		 "versions and ciphers, as GnuTLS writes them (default NORMAL)")
#define VERIFY_PEER(h) PROP("verify-peer", OPT_BOOL, OPT_NOWHERE, "on|off", h)

static const struct opt_prop x509_props[] = {
    CREDS_PROPS,
    PROP_NEEDED("dir", OPT_STRING, OPT_NOWHERE, "PATH",
		"the folder of ca-cert.pem, ca-crl.pem and of server-cert.pem and server-key.pem, "
		"or client-cert.pem and client-key.pem"),
    VERIFY_PEER("refuse a peer whose certificate is not one of ca-cert.pem's (default on)"),
    PROP("sanity-check", OPT_BOOL, OPT_NOWHERE, "on|off",
	 "look at our own certificates when the object is made (default on)"),
    PROP("passwordid", OPT_STRING, OPT_NOWHERE, "ID",
	 "the secret with the password of the key file"),
    PROP_END,
};

static const struct opt_prop psk_props[] = {
    CREDS_PROPS,
    PROP_NEEDED("dir", OPT_STRING, OPT_NOWHERE, "PATH", "the folder of keys.psk"),
    PROP("username", OPT_STRING, OPT_NOWHERE, "NAME", "of a client (default qemu)"),
    VERIFY_PEER("no effect: who has the key is the peer"),
    PROP_END,
};

static const struct opt_prop anon_props[] = {
    CREDS_PROPS,
    PROP("dir", OPT_STRING, OPT_NOWHERE, "PATH",
	 "no effect: the Diffie-Hellman group is a known one"),
    VERIFY_PEER("no effect: the peer is not known"),
    PROP_END,
};

#define AUTHZ_PROPS                                                                                \
	PROP_SEEN("qom-type", "authz-...", "the kind of object"),                                  \
	    PROP_NEEDED("id", OPT_ID, ID, NULL, "the name for the parameter tls-authz")

static const struct opt_prop simple_props[] = {
    AUTHZ_PROPS,
    PROP_NEEDED("identity", OPT_STRING, OPT_NOWHERE, "NAME",
		"the one name that may come in, as it stands in the certificate"),
    PROP_END,
};

static const struct opt_prop list_props[] = {
    AUTHZ_PROPS,
    PROP("policy", OPT_ENUM, OPT_NOWHERE, "deny|allow", "what no rule fits (default deny)"),
    PROP_SEEN("rules.0.match", "NAME", "what the first rule fits"),
    PROP_SEEN("rules.0.policy", "deny|allow", "what becomes of that"),
    PROP_SEEN("rules.0.format", "exact|glob", "is match a pattern? (default exact)"),
    PROP_END,
};

static const struct opt_prop file_props[] = {
    AUTHZ_PROPS,
    PROP_NEEDED("filename", OPT_STRING, OPT_NOWHERE, "PATH",
		"JSON with the members policy and rules of authz-list"),
    PROP("refresh", OPT_BOOL, OPT_NOWHERE, "on|off",
	 "read it again when it has changed (default on)"),
    PROP_END,
};

#define OBJECT_LIST(name, type, rows)                                                              \
	const struct opt_list name = {                                                             \
	    .title = "-object " type,                                                              \
	    .implied = "qom-type",                                                                 \
	    .style = OPT_STYLE_OBJECT,                                                             \
	    .props = rows,                                                                         \
	}

OBJECT_LIST(opt_tls_x509_list, "tls-creds-x509", x509_props);
OBJECT_LIST(opt_tls_psk_list, "tls-creds-psk", psk_props);
OBJECT_LIST(opt_tls_anon_list, "tls-creds-anon", anon_props);
OBJECT_LIST(opt_authz_simple_list, "authz-simple", simple_props);
OBJECT_LIST(opt_authz_list_list, "authz-list", list_props);
OBJECT_LIST(opt_authz_file_list, "authz-list-file", file_props);

/* ---- rules ---- */

static int take_policy(const char *key, const char *val, bool *allow, struct err *err)
{
	int i = opt_word_index("deny|allow", val, strlen(val));

	if (i < 0)
		return err_set(err, EINVAL, "Parameter '%s' does not accept value '" OPT_QUOTE "'",
			       key, val);
	*allow = i;
	return 0;
}

/* rules.N.MEMBER=val; the rules are numbered from 0, and N is at most the next one. */
static int take_member(struct cfg_authz *a, bool decided[RULES_MAX], const struct keyval *kv,
		       struct err *err)
{
	const char *number = kv->key + strlen("rules."), *member;
	char *end;
	unsigned long i = strtoul(number, &end, 10);
	struct cfg_authz_rule *r;

	if (*number < '0' || *number > '9' || *end != '.' || i > a->n_rules || i >= RULES_MAX)
		return err_set(err, EINVAL,
			       "Parameter '" OPT_QUOTE "' is not one of rules.0 to rules.%u in "
			       "their order",
			       kv->key, RULES_MAX - 1);
	member = end + 1;
	r = i < a->n_rules ? &a->rules[i] : OPT_ADD(a->rules, a->n_rules);
	if (!strcmp(member, "match")) {
		opt_set_str(&r->match, kv->val);
		return 0;
	}
	if (!strcmp(member, "policy")) {
		decided[i] = true;
		return take_policy(kv->key, kv->val, &r->allow, err);
	}
	if (!strcmp(member, "format") &&
	    opt_word_index("exact|glob", kv->val, strlen(kv->val)) >= 0) {
		r->glob = !strcmp(kv->val, "glob");
		return 0;
	}
	return err_set(err, EINVAL,
		       "Parameter '" OPT_QUOTE "' does not accept value '" OPT_QUOTE "'", kv->key,
		       kv->val);
}

static bool is_rule(const struct keyval *kv)
{
	return strncmp(kv->key, "rules.", strlen("rules.")) == 0 && strcmp(kv->key, "rules.") != 0;
}

int options_authz(struct cfg_authz *a, const struct keyvals *props, struct err *err)
{
	bool decided[RULES_MAX] = {false};
	const char *policy = keyvals_get(props, "policy");
	int ret = policy ? take_policy("policy", policy, &a->allow, err) : 0;

	for (size_t i = 0; ret == 0 && i < props->n; i++)
		if (is_rule(&props->v[i]))
			ret = take_member(a, decided, &props->v[i], err);
	for (size_t i = 0; ret == 0 && i < a->n_rules; i++)
		if (!a->rules[i].match || !decided[i])
			ret = err_set(err, EINVAL, "Parameter 'rules.%zu.%s' is missing", i,
				      a->rules[i].match ? "policy" : "match");
	return ret;
}

int options_authz_json(struct cfg_authz *a, const char *json, struct err *err)
{
	CLEANUP(keyvals_fini) struct keyvals kv = {0};
	int ret = opt_split_json(&kv, json, err);

	for (size_t i = 0; ret == 0 && i < kv.n; i++)
		if (!is_rule(&kv.v[i]) && strcmp(kv.v[i].key, "policy") != 0)
			ret = err_set(err, EINVAL, "Parameter '" OPT_QUOTE "' is unexpected",
				      kv.v[i].key);
	return ret == 0 ? options_authz(a, &kv, err) : ret;
}

int opt_apply_authz(struct opt_parse *p, void *base, const struct keyvals *kv, struct err *err)
{
	CLEANUP(keyvals_fini) struct keyvals plain = {0};
	CLEANUP(config_authz_fini) struct cfg_authz rules = {0};

	for (size_t i = 0; i < kv->n; i++)
		if (!is_rule(&kv->v[i]))
			keyvals_add(&plain, kv->v[i].key, kv->v[i].val);
	if (opt_apply(p, &opt_authz_list_list, base, &plain, err) < 0)
		return -EINVAL;
	return options_authz(&rules, kv, err);
}
