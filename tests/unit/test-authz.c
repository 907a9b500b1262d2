/* test-authz.c - who may come in: rules in their order, patterns, files that change */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check-main.h"
#include "migration/tls/authz.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/config.h"
#include "vmm/options/options.h"

#define DN(host) "C=GB,O=Example,CN=" host

/* What -object would make of it; NULL with *err set. */
static struct authz *made(const char *json, struct err *err)
{
	struct cfg_object o;
	struct authz *a;

	if (options_object(&o, json, err) < 0)
		return NULL;
	a = authz_new(&o, err);
	config_object_fini(&o);
	return a;
}

static bool allows(const char *json, const char *identity)
{
	struct err err = {0};
	struct authz *a = made(json, &err);
	bool yes;

	ck_assert_msg(a != NULL, "%s", err.msg);
	yes = authz_allows(a, identity, &err);
	ck_assert_str_eq(err.msg, "");
	authz_unref(a);
	return yes;
}

#define SIMPLE(id) "{'qom-type':'authz-simple','id':'a','identity':'" id "'}"
#define LIST(rest) "{'qom-type':'authz-list','id':'a'" rest "}"
#define RULE(match, policy, format)                                                                \
	"{'match':'" match "','policy':'" policy "','format':'" format "'}"

START_TEST(simple)
{
	ck_assert(allows(SIMPLE("C=GB,O=Example,CN=a"), DN("a")));
	ck_assert(!allows(SIMPLE("C=GB,O=Example,CN=a"), DN("ab")));
	ck_assert(!allows(SIMPLE("C=GB,O=Example,CN=*"), DN("a")));
	ck_assert(!allows(SIMPLE("x"), ""));
}
END_TEST

/* A list's rules, who comes, and whether that is allowed. */
#define CASE(json, identity, allowed)                                                              \
	{                                                                                          \
		LIST(json), identity, allowed                                                      \
	}

START_TEST(list)
{
	static const struct {
		const char *json, *identity;
		bool allowed;
	} rows[] = {
	    CASE("", "a", false),
	    CASE(",'policy':'deny'", "a", false),
	    CASE(",'policy':'allow'", "a", true),
	    CASE(",'rules':[{'match':'a','policy':'allow'}]", "a", true),
	    CASE(",'rules':[{'match':'a','policy':'allow'}]", "b", false),
	    /* exact is the default, and no pattern */
	    CASE(",'rules':[{'match':'*','policy':'allow'}]", "a", false),
	    CASE(",'rules':[" RULE("*", "allow", "exact") "]", "*", true),
	    CASE(",'rules':[" RULE("*CN=a*", "allow", "glob") "]", DN("ab"), true),
	    CASE(",'rules':[" RULE("*CN=a", "allow", "glob") "]", DN("ab"), false),
	    CASE(",'rules':[" RULE("*CN=[ab]", "allow", "glob") "]", DN("b"), true),
	    CASE(",'rules':[" RULE("*CN=?", "allow", "glob") "]", DN("bb"), false),
	    /* the first that fits decides */
	    CASE(",'rules':[" RULE("b*", "deny", "glob") "," RULE("*", "allow", "glob") "]", "bc",
		 false),
	    CASE(",'rules':[" RULE("b*", "deny", "glob") "," RULE("*", "allow", "glob") "]", "c",
		 true),
	    CASE(",'policy':'allow','rules':[" RULE("b", "deny", "exact") "]", "b", false),
	    CASE(",'policy':'allow','rules':[" RULE("b", "deny", "exact") "]", "c", true),
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		ck_assert_msg(allows(rows[i].json, rows[i].identity) == rows[i].allowed, "%s: %s",
			      rows[i].json, rows[i].identity);
}
END_TEST

#define REFUSED(json, text)                                                                        \
	{                                                                                          \
		json, text                                                                         \
	}

START_TEST(refused)
{
	static const struct {
		const char *json, *says;
	} rows[] = {
	    REFUSED("{'qom-type':'authz-simple','id':'a'}", "Parameter 'identity' is missing"),
	    REFUSED(LIST(",'policy':'perhaps'"),
		    "Parameter 'policy' does not accept value 'perhaps'"),
	    REFUSED(LIST(",'rules':[{'match':'a'}]"), "Parameter 'rules.0.policy' is missing"),
	    REFUSED(LIST(",'rules':[{'policy':'deny'}]"), "Parameter 'rules.0.match' is missing"),
	    REFUSED(LIST(",'rules':[" RULE("a", "deny", "regex") "]"),
		    "Parameter 'rules.0.format' does not accept value 'regex'"),
	    REFUSED(LIST(",'rules':[{'match':'a','policy':'no'}]"),
		    "Parameter 'rules.0.policy' does not accept value 'no'"),
	    REFUSED(LIST(",'other':1"), "Invalid parameter 'other'"),
	    REFUSED("{'qom-type':'authz-list','id':'a','rules.1.match':'a'}",
		    "Parameter 'rules.1.match' is not one of rules.0 to rules.99 in their order"),
	    REFUSED("{'qom-type':'authz-list-file','id':'a','filename':'/nope'}",
		    "Unable to read /nope: No such file or directory"),
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = {0};

		ck_assert(!made(rows[i].json, &err));
		ck_assert_str_eq(err.msg, rows[i].says);
	}
}
END_TEST

static char path[64];

static void write_file(const char *text)
{
	char other[80];
	FILE *f;

	(void)snprintf(other, sizeof(other), "%s.new", path);
	f = fopen(other, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(rename(other, path), 0);
}

static struct authz *of_file(const char *more, struct err *err)
{
	char json[256];

	(void)snprintf(json, sizeof(json),
		       "{'qom-type':'authz-listfile','id':'a','filename':'%s'%s}", path, more);
	return made(json, err);
}

/* It is read again when it has changed; nobody comes in while it cannot be. */
START_TEST(file)
{
	struct err err = {0};
	struct authz *again, *once;

	(void)snprintf(path, sizeof(path), "/tmp/test-authz-%d", (int)getpid());
	write_file(
	    "\n {\"policy\": \"deny\", \"rules\": [{\"match\": \"a\", \"policy\": \"allow\"}]}\n");
	again = of_file("", &err);
	once = of_file(",'refresh':false", &err);
	ck_assert_msg(again && once, "%s", err.msg);
	ck_assert(authz_allows(again, "a", &err) && !authz_allows(again, "b", &err));
	write_file("{\"policy\": \"allow\"}");
	ck_assert(authz_allows(again, "b", &err));
	ck_assert(!authz_allows(once, "b", &err));
	ck_assert_str_eq(err.msg, "");
	write_file("{\"policy\": \"allow\"");
	ck_assert(!authz_allows(again, "b", &err));
	ck_assert_ptr_nonnull(strstr(err.msg, "JSON parse error"));
	ck_assert(authz_allows(once, "a", NULL));
	write_file("{\"rulez\": 1}");
	ck_assert(!of_file("", &err));
	ck_assert_int_eq(unlink(path), 0);
	ck_assert(!authz_allows(again, "b", &err));
	ck_assert_ptr_nonnull(strstr(err.msg, "No such file"));
	authz_unref(again);
	authz_unref(once);
}
END_TEST

CHECK_MAIN("authz", simple, list, refused, file)
