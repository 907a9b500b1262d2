/*
 * img.h - what the subcommands of minivmm-img share
 *
 * A subcommand is a row of img_commands (commands.c): its options are a table, too, from which
 * parsing, help, the manual page and the completion are made.  Options, output and exit codes
 * are qemu-img's where both have them; an option that only qemu-img has is refused by name.
 */
#ifndef MINIVMM_IMG_H
#define MINIVMM_IMG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "devices/block/image.h"

struct err;
struct qcow2_snapshot;

/* ---- options (args.c) ---- */

/* Keys of options without a letter; those with one have it as their key. */
enum {
	IMG_OUTPUT = 128,
	IMG_BACKING_CHAIN,
	IMG_FLUSH_INTERVAL,
	IMG_NO_DRAIN,
	IMG_PATTERN,
	IMG_SHRINK,
	IMG_PREALLOCATION,
	IMG_TARGET_IS_ZERO,
	IMG_MERGE,
	IMG_REFUSED, /* this and what follows: options that are refused, one key each */
	IMG_KEYS = 160
};

struct img_opt {
	int key;
	const char *name; /* of the long form; NULL: there is none */
	const char *arg;  /* what its argument looks like, as in the help; NULL: it takes none */
	const char *help; /* NULL: it is refused */
};

struct img_args {
	const struct img_command *command;
	/* What was given with a key: the last one ("" where it takes none), or NULL.  That of
	 * several -o is all of them with commas between. */
	const char *val[IMG_KEYS];
	char *options; /* owned: -o */
	char **file;   /* borrowed: what is no option */
	int n_files;
	bool help; /* was asked for: nothing else is checked */
};

struct img_command {
	const char *name;
	const char *files; /* "FILE [SIZE]" */
	const char *help;
	const struct img_opt *opts; /* ends with key 0 */
	int min_files, max_files;
	bool last_is_size; /* the last word is no option, though it may begin with '-' */
	/* The status to exit with. */
	int (*run)(const struct img_args *a);
};

extern const struct img_command *const img_commands[]; /* ends with NULL */

/* argv[0] is the command's name.  0, or -errno with *err; img_args_fini() follows in any case. */
int img_args_parse(struct img_args *a, const struct img_command *c, int argc, char **argv,
		   struct err *err);
void img_args_fini(struct img_args *a);
static inline bool img_has(const struct img_args *a, int key)
{
	return a->val[key] != NULL;
}

/* The number of an option, or *out untouched where it was not given. */
int img_arg_size(const struct img_args *a, int key, const char *what, uint64_t *out,
		 struct err *err);
int img_arg_number(const struct img_args *a, int key, const char *what, uint64_t min, uint64_t max,
		   uint64_t *out, struct err *err);
/* --output */
int img_arg_json(const struct img_args *a, bool *json, struct err *err);

/* cache=MODE of -t and -T; NULL is 'writeback'. */
struct img_cache {
	bool direct, no_flush, writethrough;
};
int img_cache_parse(const char *mode, struct img_cache *c, struct err *err);

/* ---- messages (say.c) ---- */

/* "minivmm-img: text" on stderr; returns 'status'. */
int img_fail(int status, const struct err *err);
int img_refuse(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));
void img_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2), cold));

/* "1.5 MiB" in out[]; returns it. */
#define IMG_SIZE_BYTES 32
const char *img_size_text(char out[IMG_SIZE_BYTES], uint64_t bytes);
/* The first with that id, else the first of that name; what is NULL is not looked for. */
const struct qcow2_snapshot *img_find_snapshot(const struct qcow2 *q, const char *id,
					       const char *name);
/*
 * The snapshot's memory has only what was written since another one: the name of that, owned; NULL:
 * it is whole, or cannot be read.
 */
char *img_snapshot_parent(struct qcow2 *q, const struct qcow2_snapshot *s);
/* The table of snapshots with its head; nothing where there is none. */
void img_print_snapshots(FILE *out, struct qcow2 *q);

/* ---- images (open.c) ---- */

struct img_open {
	const char *format; /* NULL: what the file's first bytes say */
	bool writable, checking, no_backing;
	bool force_share; /* -U */
	bool no_io;       /* nothing but the header is looked at: others may be sharing less */
	struct img_cache cache;
};

/*
 * Open an image with what lies below it, locked; owned, or NULL with *err.  A file that another
 * program writes to is refused, but for raw files that are only read, and force_share.
 * Without a format: qcow2 where the file begins like one, else raw.  A guest that was given the
 * file as a raw one may have written that beginning, so what such a header says of other files is
 * not believed: an overlay without its format is refused.
 */
struct image *img_open(const char *filename, const struct img_open *how, struct err *err);
/* "other/base" as the header of "dir/top" names it -> "dir/other/base"; owned. */
char *img_full_name(const char *top, const char *name);

/*
 * block_lock(), with advice for a person at a command line; a file system that has no locks is no
 * hindrance.
 */
int img_lock(int fd, const char *filename, struct block_perms perms, bool writable,
	     struct err *err);

/* Is the piece at 'off' in one of the files at all, be it as zeroes?  (map.c)  0 or -errno. */
int img_map_present(const struct image_extent *e, uint64_t off, bool *present);

/* ---- creating (create.c, create-options.c) ---- */

struct img_create {
	enum image_format format;
	bool has_size;
	uint64_t bytes;
	uint32_t version;   /* 2, 3 */
	const char *compat; /* as given; NULL: not given */
	uint64_t cluster_bytes, refcount_bits;
	bool extended_l2, lazy_refcounts;
	const char *prealloc;                 /* as given; NULL: not given */
	const char *compression;              /* "zlib", "zstd" */
	const char *backing, *backing_format; /* NULL: none */
	char *text;                           /* owned: what the pointers point into */
};

/* The option text of -o; "help" is img_create_wants_help()'s affair.  img_create_fini() follows. */
int img_create_parse(struct img_create *c, const char *format, const char *options,
		     struct err *err);
void img_create_fini(struct img_create *c);
bool img_create_wants_help(const char *options);
void img_create_help(FILE *out, enum image_format f);
/* What cannot be made of it, named as the option that is wrong; 'version' is known then. */
int img_create_check(struct img_create *c, struct err *err);
/*
 * Make the file and the image in it; -EBUSY: another program uses it; -EINVAL: it is its own
 * backing file.  '*made': there was none before (may be NULL).  What was made is removed when it
 * fails.
 */
int img_create_file(const char *filename, const struct img_create *c, bool *made, struct err *err);
/*
 * Before a file with a backing file is made: that one can be opened, and 'filename' is not it or
 * one of those below it.  Its size is that of the image where none was given.
 */
int img_create_look_below(const char *filename, struct img_create *c, struct err *err);
/* Space for a raw file, by the name of a mode: "off", "falloc", "full". */
int img_preallocate_raw(int fd, const char *filename, const char *mode, uint64_t from, uint64_t to,
			struct err *err);

#endif
