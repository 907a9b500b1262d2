/* Options and files of minivmm-img's subcommands, and the options of -o. */
#include <string.h>

#include "img/img.h"
#include "tests/unit/check-main.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

enum { LONG_ONE = IMG_OUTPUT };

static const struct img_opt opts[] = {
    {'f',         NULL,     "FORMAT",  "a word"    },
    {'o',         NULL,     "OPTIONS", "a list"    },
    {'q',         "quiet",  NULL,      "a flag"    },
    {LONG_ONE,    "output", "HOW",     "a long one"},
    {IMG_REFUSED, "object", "OBJECT",  NULL        },
    {'C',         NULL,     NULL,      NULL        },
    {'h',         "help",   NULL,      "help"      },
    {0,	   NULL,     NULL,      NULL        },
};

static struct img_command command = {
    .name = "try", .files = "FILE [SIZE]", .opts = opts, .min_files = 1, .max_files = 2};

/* At most 8 words behind the command's name. */
static int parse(struct img_args *a, struct err *err, const char *const *words)
{
	static char *argv[10];
	int argc = 1;

	argv[0] = (char *)(uintptr_t) "try";
	for (; words[argc - 1]; argc++)
		argv[argc] = (char *)(uintptr_t)words[argc - 1];
	argv[argc] = NULL;
	return img_args_parse(a, &command, argc, argv, err);
}

#define PARSE(a, err, ...) parse((a), (err), (const char *const[]){__VA_ARGS__, NULL})

START_TEST(values_and_files)
{
	struct err err = {0};
	struct img_args a;

	ck_assert_msg(PARSE(&a, &err, "one", "-f", "raw", "--output=json", "-q", "two") == 0, "%s",
		      err.msg);
	ck_assert_str_eq(a.val['f'], "raw");
	ck_assert_str_eq(a.val[LONG_ONE], "json");
	ck_assert(img_has(&a, 'q') && !img_has(&a, 'o'));
	ck_assert_int_eq(a.n_files, 2);
	ck_assert_str_eq(a.file[0], "one");
	ck_assert_str_eq(a.file[1], "two");
	img_args_fini(&a);
}
END_TEST

START_TEST(several_o_are_one_list)
{
	struct err err = {0};
	struct img_args a;

	ck_assert_int_eq(PARSE(&a, &err, "-o", "a=1", "-o", "b=2,c=3", "one"), 0);
	ck_assert_str_eq(a.val['o'], "a=1,b=2,c=3");
	img_args_fini(&a);
}
END_TEST

/* "-1G" is a size, and no option. */
START_TEST(last_word_is_a_size)
{
	struct err err = {0};
	struct img_args a;

	command.last_is_size = true;
	ck_assert_msg(PARSE(&a, &err, "-q", "one", "-1G") == 0, "%s", err.msg);
	ck_assert_int_eq(a.n_files, 2);
	ck_assert_str_eq(a.file[1], "-1G");
	img_args_fini(&a);
	ck_assert_msg(PARSE(&a, &err, "one", "-q", "-1G") == 0, "%s", err.msg);
	ck_assert_str_eq(a.file[0], "one");
	ck_assert_str_eq(a.file[1], "-1G");
	img_args_fini(&a);
	ck_assert_int_eq(PARSE(&a, &err, "--help"), 0);
	ck_assert(a.help);
	img_args_fini(&a);
	command.last_is_size = false;
}
END_TEST

static void refused(const char *text, const char *const *words)
{
	struct err err = {0};
	struct img_args a;

	ck_assert_int_lt(parse(&a, &err, words), 0);
	ck_assert_msg(strstr(err.msg, text) != NULL, "'%s' does not say '%s'", err.msg, text);
	img_args_fini(&a);
}

#define REFUSED(text, ...) refused((text), (const char *const[]){__VA_ARGS__, NULL})

START_TEST(what_is_refused)
{
	REFUSED("needs FILE [SIZE]", "-q");
	REFUSED("unexpected argument: three", "one", "two", "three");
	REFUSED("unrecognized option '-z'", "-z", "one");
	REFUSED("unrecognized option '--zero'", "--zero", "one");
	REFUSED("'-f' needs an argument, FORMAT", "one", "-f");
	REFUSED("'--output' needs an argument, HOW", "one", "--output");
	REFUSED("'--object' of qemu-img is not supported", "--object=x", "one");
	REFUSED("'-C' of qemu-img is not supported", "-C", "one");
}
END_TEST

START_TEST(numbers)
{
	struct img_args a = {
	    .val = {['S'] = "64k", ['m'] = "17", ['x'] = "12q"}
        };
	struct err err = {0};
	uint64_t v = 7;

	ck_assert_int_eq(img_arg_size(&a, 'S', "size", &v, &err), 0);
	ck_assert_uint_eq(v, 64 * KiB);
	ck_assert_int_eq(img_arg_size(&a, 'T', "size", &v, &err), 0); /* was not given */
	ck_assert_uint_eq(v, 64 * KiB);
	ck_assert_int_lt(img_arg_size(&a, 'x', "size", &v, &err), 0);
	ck_assert_int_lt(img_arg_number(&a, 'm', "number", 1, 16, &v, &err), 0);
	ck_assert_int_eq(img_arg_number(&a, 'm', "number", 1, 17, &v, &err), 0);
	ck_assert_uint_eq(v, 17);
}
END_TEST

START_TEST(caches)
{
	struct img_cache c;

	ck_assert_int_eq(img_cache_parse(NULL, &c, NULL), 0);
	ck_assert(!c.direct && !c.no_flush && !c.writethrough);
	ck_assert_int_eq(img_cache_parse("directsync", &c, NULL), 0);
	ck_assert(c.direct && !c.no_flush && c.writethrough);
	ck_assert_int_eq(img_cache_parse("unsafe", &c, NULL), 0);
	ck_assert(!c.direct && c.no_flush);
	ck_assert_int_lt(img_cache_parse("", &c, NULL), 0);
}
END_TEST

START_TEST(create_options)
{
	struct err err = {0};
	struct img_create c;

	ck_assert_msg(img_create_parse(&c, "qcow2",
				       "size=1M,,cluster_size=4k,backing_file=a,,b,"
				       "backing_fmt=raw,extended_l2=off,lazy_refcounts",
				       &err) < 0,
		      "'1M,cluster_size=4k' is no size");
	img_create_fini(&c);
	ck_assert_msg(img_create_parse(&c, "qcow2",
				       "size=1M,cluster_size=4k,backing_file=a,,b,backing_fmt=raw,"
				       "extended_l2=off,lazy_refcounts",
				       &err) == 0,
		      "%s", err.msg);
	ck_assert(c.has_size && c.bytes == 1 * MiB && c.cluster_bytes == 4 * KiB);
	ck_assert_str_eq(c.backing, "a,b");
	ck_assert(c.lazy_refcounts && !c.extended_l2);
	ck_assert_int_eq(img_create_check(&c, &err), 0);
	ck_assert_uint_eq(c.version, 3);
	img_create_fini(&c);
	ck_assert_int_lt(img_create_parse(&c, "raw", "cluster_size=4k", &err), 0);
	img_create_fini(&c);
	ck_assert(img_create_wants_help("a=b,help") && !img_create_wants_help("help=x"));
}
END_TEST

START_TEST(sizes_for_people)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} rows[] = {
	    {0,          "0 B"      },
            {999,        "999 B"    },
            {1000,       "0.977 KiB"},
	    {1 * MiB,    "1 MiB"    },
            {196 * KiB,  "196 KiB"  },
            {1536 * MiB, "1.5 GiB"  },
	    {1ULL << 62, "4 EiB"    }
        };
	char out[IMG_SIZE_BYTES];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		ck_assert_str_eq(img_size_text(out, rows[i].bytes), rows[i].text);
}
END_TEST

/* Each option has help or is refused, and no two have one key. */
START_TEST(tables)
{
	for (size_t i = 0; img_commands[i]; i++) {
		bool seen[IMG_KEYS] = {false};

		for (const struct img_opt *o = img_commands[i]->opts; o->key; o++) {
			ck_assert_int_lt(o->key, IMG_KEYS);
			ck_assert_msg(!seen[o->key], "%s: two options have the key %d",
				      img_commands[i]->name, o->key);
			ck_assert_msg(o->key < IMG_OUTPUT || o->name, "an option without a name");
			seen[o->key] = true;
		}
	}
}
END_TEST

CHECK_MAIN("img-args", values_and_files, several_o_are_one_list, last_word_is_a_size,
	   what_is_refused, numbers, caches, create_options, sizes_for_people, tables)
