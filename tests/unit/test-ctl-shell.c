/* minivmm-ctl's shell: what may stand where, lines as requests; by a small schema and by hostile
 * ones. */
#include <string.h>

#include "ctl/complete.h"
#include "ctl/dictionary.h"
#include "ctl/shell-line.h"
#include "qmp/json.h"
#include "tests/unit/check-main.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

/* As query-qmp-schema has it: numbers for types, branches of a union, an alternate, lists. */
static const char schema[] =
    "[{'name': 'query-status', 'meta-type': 'command', 'arg-type': '0', 'ret-type': '0'},"
    " {'name': 'query-block', 'meta-type': 'command', 'arg-type': '0', 'ret-type': '0'},"
    " {'name': 'stop', 'meta-type': 'command', 'arg-type': '0', 'ret-type': '0'},"
    " {'name': 'add', 'meta-type': 'command', 'arg-type': '1', 'ret-type': '0'},"
    " {'name': 'set', 'meta-type': 'command', 'arg-type': '2', 'ret-type': '0'},"
    " {'name': 'STOP', 'meta-type': 'event', 'arg-type': '0'},"
    " {'name': '0', 'meta-type': 'object', 'members': []},"
    " {'name': '1', 'meta-type': 'object', 'tag': 'driver', 'members': ["
    "   {'name': 'driver', 'type': '3'}, {'name': 'node-name', 'type': 'str', 'default': null},"
    "   {'name': 'read-only', 'type': 'bool', 'default': null}],"
    "  'variants': [{'case': 'file', 'type': '4'}, {'case': 'qcow2', 'type': '5'}]},"
    " {'name': '2', 'meta-type': 'object', 'members': ["
    "   {'name': 'list', 'type': '[6]'}, {'name': 'limit', 'type': 'int', 'default': null},"
    "   {'name': 'ratio', 'type': 'number', 'default': null},"
    "   {'name': 'either', 'type': '7', 'default': null}, {'name': 'anything', 'type': 'any'}]},"
    " {'name': '3', 'meta-type': 'enum', 'values': ['qcow2', 'file', 'raw']},"
    " {'name': '4', 'meta-type': 'object', 'members': [{'name': 'filename', 'type': 'str'}]},"
    " {'name': '5', 'meta-type': 'object', 'members': [{'name': 'file', 'type': '8'}]},"
    " {'name': '6', 'meta-type': 'object', 'members': [{'name': 'state', 'type': 'bool'},"
    "   {'name': 'kind', 'type': '9'}]},"
    " {'name': '[6]', 'meta-type': 'array', 'element-type': '6'},"
    " {'name': '7', 'meta-type': 'alternate', 'members': [{'type': 'int'}, {'type': 'bool'},"
    "   {'type': 'str'}]},"
    " {'name': '8', 'meta-type': 'alternate', 'members': [{'type': 'str'}, {'type': '1'}]},"
    " {'name': '9', 'meta-type': 'enum', 'members': [{'name': 'new'}, {'name': 'newer'}]},"
    " {'name': 'str', 'meta-type': 'builtin', 'json-type': 'string'},"
    " {'name': 'int', 'meta-type': 'builtin', 'json-type': 'int'},"
    " {'name': 'number', 'meta-type': 'builtin', 'json-type': 'number'},"
    " {'name': 'bool', 'meta-type': 'builtin', 'json-type': 'boolean'},"
    " {'name': 'any', 'meta-type': 'builtin', 'json-type': 'value'}]";

static struct dictionary *dictionary_of(const char *text)
{
	struct json_object *tree = NULL;
	struct dictionary *d;
	struct err err;

	ck_assert_msg(json_parse(text, strlen(text), &tree, &err) == 0, "%s", err.msg);
	d = dictionary_new(tree);
	json_free(tree);
	return d;
}

/* ---- completion: '|' is the cursor ---- */

static void completes(const struct dictionary *d, const char *line, const char *want)
{
	const char *cursor = strchr(line, '|');
	CLEANUP(cleanup_free)
	char *text = xasprintf("%.*s%s", (int)(cursor - line), line, cursor + 1);
	struct completion c = complete_line(d, text, (size_t)(cursor - line));
	struct buf got = {0};

	ck_assert_uint_le(c.start, (size_t)(cursor - line));
	for (size_t i = 0; i < c.n; i++)
		buf_printf(&got, "%s%s", i ? "," : "", c.text[i]);
	buf_u8(&got, 0);
	ck_assert_msg(strcmp((char *)got.data, want) == 0, "'%s': got '%s', not '%s'", line,
		      (char *)got.data, want);
	buf_free(&got);
	completion_free(&c);
}

START_TEST(commands_are_completed)
{
	struct dictionary *d = dictionary_of(schema);

	completes(d, "|", "add ,exit ,help ,query-block ,query-status ,set ,stop ");
	completes(d, "qu|", "query-block ,query-status ");
	completes(d, "  st|", "stop ");
	completes(d, "STO|", ""); /* an event */
	completes(d, "help s|", "set ,stop ");
	completes(d, "nope |", "");
	completes(d, "stop |", "");
	completes(d, "{\"execute\": \"query-s|", "query-status\"");
	completes(d, "{\"execute\": \"stop\", \"arguments\": {\"|", "");
	dictionary_free(d);
}
END_TEST

START_TEST(names_are_completed)
{
	struct dictionary *d = dictionary_of(schema);

	completes(d, "add |", "driver=,node-name=,read-only=");
	completes(d, "add driver=file |", "filename=,node-name=,read-only=");
	completes(d, "add | driver=file", "filename=,node-name=,read-only=");
	completes(d, "add driver=qcow2 node-name=a |", "file.,file=,read-only=");
	completes(d, "add driver=qcow2 file.|", "file.driver=,file.node-name=,file.read-only=");
	completes(d, "add driver=qcow2 file.driver=file file.f|", "file.filename=");
	completes(d, "add driver=qcow2 file.driver=qcow2 file.file.r|", "file.file.read-only=");
	completes(d, "set l|", "limit=,list.,list=");
	completes(d, "set list.|", "list.0.");
	completes(d, "set list.0.|", "list.0.kind=,list.0.state=");
	completes(d, "set list.0.state=true list.|", "list.0.,list.1.");
	dictionary_free(d);
}
END_TEST

START_TEST(values_are_completed)
{
	struct dictionary *d = dictionary_of(schema);

	completes(d, "add driver=|", "file ,qcow2 ,raw ");
	completes(d, "add driver=f|", "file ");
	completes(d, "add read-only=|", "false ,true ");
	completes(d, "add node-name=|", "");
	completes(d, "set list.0.kind=new|", "new ,newer ");
	completes(d, "set either=|", "false ,true ");
	completes(d, "add driver=qcow2 file.driver=r|", "raw ");
	completes(d, "add node-name=\"a |", ""); /* within quotes */
	dictionary_free(d);
}
END_TEST

/* ---- requests ---- */

static void request_is(const struct dictionary *d, const char *line, const char *want)
{
	struct json_object *request = NULL;
	struct buf got = {0};
	struct json_writer w = json_writer(&got, false);
	struct err err = {0};

	if (shell_request(d, line, &request, &err) == 0)
		jw_value(&w, request);
	else
		buf_printf(&got, "%s", err.msg);
	buf_u8(&got, 0);
	ck_assert_msg(strcmp((char *)got.data, want) == 0, "'%s': got '%s', not '%s'", line,
		      (char *)got.data, want);
	buf_free(&got);
	json_free(request);
}

START_TEST(lines)
{
	struct dictionary *d = dictionary_of(schema);

	request_is(d, "stop", "{\"execute\": \"stop\"}");
	request_is(d, "{'execute': 'stop', 'id': 1}", "{\"execute\": \"stop\", \"id\": 1}");
	request_is(
	    d, "add driver=qcow2 read-only file.driver=file file.filename=\"a \\\"b\" node-name=12",
	    "{\"execute\": \"add\", \"arguments\": {\"driver\": \"qcow2\", \"read-only\": true, "
	    "\"file\": {\"driver\": \"file\", \"filename\": \"a \\\"b\"}, \"node-name\": \"12\"}}");
	request_is(d, "set list=[{'state': true}, {}] limit=5 ratio=1.5 anything={'a': [1, 2]}",
		   "{\"execute\": \"set\", \"arguments\": {\"list\": [{\"state\": true}, {}], "
		   "\"limit\": 5, \"ratio\": 1.5, \"anything\": {\"a\": [1, 2]}}}");
	request_is(d, "set list.0.state=on list.1.kind=new list.1.state=no",
		   "{\"execute\": \"set\", \"arguments\": {\"list\": [{\"state\": true}, "
		   "{\"kind\": \"new\", \"state\": false}]}}");
	request_is(d, "set either=5", "{\"execute\": \"set\", \"arguments\": {\"either\": 5}}");
	request_is(d, "set either='5'",
		   "{\"execute\": \"set\", \"arguments\": {\"either\": \"5\"}}");
	request_is(d, "set either=x", "{\"execute\": \"set\", \"arguments\": {\"either\": \"x\"}}");
	request_is(d, "set either=[1]",
		   "{\"execute\": \"set\", \"arguments\": {\"either\": \"[1]\"}}");
	request_is(d, "other a=1 b=x c.d=true",
		   "{\"execute\": \"other\", \"arguments\": {\"a\": 1, \"b\": \"x\", \"c\": "
		   "{\"d\": true}}}");
	dictionary_free(d);
}
END_TEST

START_TEST(refused_lines)
{
	struct dictionary *d = dictionary_of(schema);

	request_is(d, "set limit=12x", "limit: a whole number, not '12x'");
	request_is(d, "set limit=1.5", "limit: a whole number, not '1.5'");
	request_is(d, "set limit=", "limit: a whole number, not ''");
	request_is(d, "set ratio=[]", "ratio: a number, not '[]'");
	request_is(d, "add read-only=maybe", "read-only: true or false, not 'maybe'");
	request_is(d, "add nonsense", "'nonsense' is no argument: arguments are NAME=VALUE");
	request_is(d, "add driver=file driver=raw", "'driver' is given twice");
	request_is(d, "add node-name=\"a", "'node-name': a quote or a bracket is not closed");
	request_is(d, "set list=x", "list: a list in JSON, or its elements (NAME.0=), not 'x'");
	request_is(d, "set list.1.state=on",
		   "list.1.state: the next element of that list is number 0");
	request_is(
	    d, "add file=a file.driver=raw",
	    "file.driver: what 'driver' is to be in has a value already, which is no object");
	request_is(d, "other a..b=1", "'a..b' has an empty part");
	request_is(d, "a=b", "a line begins with a command ('help' lists them)");
	request_is(d, "{'execute':", "JSON parse error, premature EOI");
	dictionary_free(d);
}
END_TEST

/* ---- schemas that are none ---- */

START_TEST(hostile_schemas)
{
	static const char *const texts[] = {
	    "null",
	    "5",
	    "[]",
	    "[1, null, {}, {'name': 5}, {'name': 'add'}]",
	    "[{'name': 'add', 'meta-type': 'command', 'arg-type': 'add'}]",
	    "[{'name': 'add', 'meta-type': 'command', 'arg-type': '1'}, {'name': '1',"
	    " 'meta-type': 'object', 'members': 5, 'variants': {}, 'tag': []}]",
	    "[{'name': 'add', 'meta-type': 'command', 'arg-type': '1'}, {'name': '1', 'meta-type':"
	    " 'object', 'members': [{}, 5, {'name': 'a', 'type': '1'}], 'tag': 'a', 'variants':"
	    " [{'case': 'a', 'type': '1'}]}]",
	    "[{'name': 'add', 'meta-type': 'command', 'arg-type': '1'}, {'name': '1', 'meta-type':"
	    " 'alternate', 'members': [{'type': '1'}, {'type': '2'}]}, {'name': '2', 'meta-type':"
	    " 'array', 'element-type': '1'}]",
	    "[{'name': 'add', 'meta-type': 'command', 'arg-type': '1'}, {'name': '1', 'meta-type':"
	    " 'enum', 'values': [5, {}]}]",
	};
	static const char *const typed[] = {
	    "",       "add ",   "add a=a ",     "add a.a.a.a.a.a.a.a", "add a=a a.a=a a.",
	    "add a=", "add 0=", "add a.0.a.0=1"};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct dictionary *d = dictionary_of(texts[i]);
		struct buf text = {0};

		for (size_t k = 0; k < ARRAY_LEN(typed); k++) {
			struct completion c = complete_line(d, typed[k], strlen(typed[k]));
			struct json_object *request = NULL;
			struct err err;

			completion_free(&c);
			if (shell_request(d, typed[k], &request, &err) == 0)
				json_free(request);
		}
		type_text(d, command_arguments(d, "add"), &text);
		ck_assert_uint_le(text.len, 4096); /* however types contain each other */
		buf_free(&text);
		dictionary_free(d);
	}
}
END_TEST

CHECK_MAIN("ctl-shell", commands_are_completed, names_are_completed, values_are_completed, lines,
	   refused_lines, hostile_schemas)
