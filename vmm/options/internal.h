/*
 * internal.h - what the files of the command line share
 *
 * Theory of operation.  option_table (table.c) has a row for each
 * option.  A row says how its argument is stored, or names a handler.  An
 * argument that is a list "key=value,..." is split into keyvals
 * (list.c, or json.c for {...}), and a table of typed
 * properties says what each key means and where its value goes
 * (props.c).  The same tables print the help and the manual page
 * (help.c, manual.c).  What only the whole command line can tell, dangling
 * references and defaults, is resolved at the end (options.c).
 */
#ifndef MINIVMM_OPTIONS_INT_H
#define MINIVMM_OPTIONS_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/options/config.h"
#include "vmm/options/device-row.h"
#include "vmm/options/numbers.h"
#include "vmm/options/prop.h"

struct err;

#define OPT_DEFAULT_RAM_MIB 128
#define OPT_MAX_CPUS        255
#define OPT_MAX_PAIRS       512 /* of one list */
#define OPT_JSON_DEPTH      16  /* brackets */
#define OPT_JSON_KEY_BYTES  255

/* A use of a chardev, checked when all are known. */
struct opt_ref {
	enum { REF_SERIAL, REF_MONITOR } kind;
	char *chardev; /* owned */
	char *where;   /* owned: "-mon chardev=x" */
};

/* -smp as given so far; 0: not given */
struct opt_smp {
	unsigned cpus, maxcpus, sockets, dies, clusters, modules, cores, threads;
};

/* One run of options_parse(). */
struct opt_parse {
	struct config *cfg;
	const struct device_table *devices;
	const char *opt; /* the option's name as typed: "-m" */
	const char *val; /* its argument, or NULL */

	bool done; /* a text was asked for and printed */
	bool nodefaults, nographic;
	bool ram_given;
	bool accel_option, accel_machine; /* -accel, -machine accel= */
	bool accel_kvm;
	char *accel_other; /* owned: the complaint if KVM is never named */
	struct opt_smp smp;
	bool serial_given; /* -serial or -device isa-serial */
	char *stdio_where; /* owned: the option whose chardev has stdio */
	struct opt_ref *refs;
	size_t n_refs;
	unsigned n_qmp;
	unsigned n_nodes;        /* automatic node names handed out */
	uint64_t drive_index[2]; /* taken index= of if=none and if=virtio, as bits */
	struct keyvals drives;   /* drives that want a disk: drive id, "" */
	struct keyvals globals;  /* -global of a device: "driver.property", value */
};

/* ---- lists ---- */

enum opt_style {
	OPT_STYLE_OPTS,   /* flags allowed, "Invalid parameter 'x'" */
	OPT_STYLE_OBJECT, /* the same with other words for sizes */
	OPT_STYLE_KEYVAL, /* no flags, "Parameter 'x' is unexpected" */
	OPT_STYLE_QOM,    /* no flags, "Property 'owner.x' not found", '_' is '-' */
};

struct opt_list {
	const char *title; /* "-netdev tap" */
	const char *implied;
	enum opt_style style;
	const char *owner;
	const struct opt_prop *props; /* ends with a NULL key */
};

/* The property of that name, or NULL. */
const struct opt_prop *opt_find_prop(const struct opt_list *list, const char *key);
/* The properties of a device as a list that stores nothing. */
struct opt_list opt_device_list(const struct device_row *row);
/* Store every pair of kv into *base as the list's table says.  What was stored stays on failure. */
int opt_apply(struct opt_parse *p, const struct opt_list *list, void *base,
	      const struct keyvals *kv, struct err *err);
/* Split p->val as the list says (JSON too where it begins with '{'), then opt_apply(). */
int opt_apply_list(struct opt_parse *p, const struct opt_list *list, void *base, struct err *err);
/* Check the pairs, store nothing, and miss nothing; for a list of OPT_NOWHERE. */
int opt_check(const struct opt_list *list, const struct keyvals *kv, struct err *err);

/* ---- splitting ---- */

/*
 * Append the pairs of "a=b,c=d,,e" to kv; the first may come without its key
 * when 'implied' is not NULL.  A flag "x" is x=on and "nox" is x=off with a
 * warning, or refused when 'strict'.
 */
int opt_split(struct keyvals *kv, const char *text, const char *implied, bool strict,
	      struct err *err);
/* Append the members of a JSON object, nested ones as "a.b", array members as "a.0". */
int opt_split_json(struct keyvals *kv, const char *text, struct err *err);
/* One of the two, by the first character. */
int opt_split_any(struct keyvals *kv, const char *text, const char *implied, bool strict,
		  struct err *err);

/* ---- scalars; numbers are in numbers.h ---- */

/* 0, or -EINVAL, and *out untouched then. */
int opt_parse_bool(const char *s, bool *out);
/* Is the value of this key the name of a file? */
bool opt_is_file_key(const char *key);
/* Is the n-byte word one of "a|b|c"?  Its index, or -1. */
int opt_word_index(const char *words, const char *s, size_t n);

/* The same with the interface's error sentences; 'key' is the parameter's name. */
int opt_need_id(const char *key, const char *val, struct err *err);
int opt_duplicate(const char *id, const char *what, struct err *err);
int opt_missing(const char *key, struct err *err);

/* ---- nearest.c: the word that was meant ---- */

#define OPT_NEAR_BYTES 80
struct opt_near {
	const char *word; /* as typed */
	const char *best; /* the nearest candidate up to now, or NULL: none is near */
	unsigned distance;
};
void opt_near_try(struct opt_near *n, const char *candidate);
/* " (did you mean DASHbest?)", or ""; returns 'out'. */
const char *opt_near_text(const struct opt_near *n, const char *dash, char out[OPT_NEAR_BYTES]);
/* The same for one of "a|b|c". */
const char *opt_near_words(const char *word, const char *words, char out[OPT_NEAR_BYTES]);

/* "-opt value", shortened; returns owned. */
char *opt_where(const struct opt_parse *p);
/* Replace an owned string. */
void opt_set_str(char **dst, const char *val);

/* A zeroed member at the end of an owned array of n. */
#define OPT_ADD(arr, n)                                                                            \
	((arr) = xrealloc((arr), ((n) + 1) * sizeof((arr)[0])),                                    \
	 memset(&(arr)[n], 0, sizeof((arr)[0])), &(arr)[(n)++])

/* ---- the table ---- */

enum opt_row_kind {
	OPT_ROW_HANDLE,
	OPT_ROW_STRING,  /* cfg + off: char * */
	OPT_ROW_FLAG,    /* cfg + off: bool becomes true */
	OPT_ROW_LIST,    /* lists[0] applied to the config */
	OPT_ROW_NOTHING, /* a flag without a meaning here */
	OPT_ROW_REFUSED, /* known and not offered; help says what to use */
	OPT_ROW_HEADING, /* name is the title of the rows that follow */
};

struct opt_row {
	const char *name; /* without the dash */
	const char *arg;  /* sketch of the argument; NULL: takes none */
	enum opt_row_kind kind;
	size_t off;
	int (*handle)(struct opt_parse *p, struct err *err);
	const struct opt_list *const *lists; /* ends with NULL */
	const char *help;
};

extern const struct opt_row option_table[]; /* ends with a NULL name */

/* ---- texts on 'out' ---- */

void opt_print_version(FILE *out);
void opt_print_help(FILE *out);
/* Is the property offered?  One that is refused has no help. */
bool opt_is_shown(const struct opt_prop *pr);
/* "number from 4 to 1024: descriptors of the queue (default 256)"; returns owned. */
char *opt_describe(const struct opt_prop *pr);
/* What a key takes: the values that are offered, "on|off", or a placeholder, "SIZE". */
const char *opt_sketch(const struct opt_prop *pr);
/* The keys of a list with type, meaning and default. */
void opt_print_list(FILE *out, const struct opt_list *list);
/* A kind of what an option makes. */
struct opt_type {
	const char *name;
	const struct opt_list *list;
};
/*
 * When the argument asks for help: "help" prints the heading and the names,
 * "NAME,help" the keys of that type.  False: it does not, or it names no type,
 * which the parser refuses.
 */
bool opt_type_help(struct opt_parse *p, const char *heading, const struct opt_type *types,
		   size_t n);
/* Does the argument ask for help: "help", "?" or one of them as an element of the list? */
bool opt_wants_help(const char *val);

/* ---- handlers and lists, by file ---- */

/* machine.c */
extern const struct opt_list opt_machine_list, opt_accel_list;
int opt_machine(struct opt_parse *p, struct err *err);
int opt_accel(struct opt_parse *p, struct err *err);
int opt_enable_kvm(struct opt_parse *p, struct err *err);
int opt_cpu(struct opt_parse *p, struct err *err);
int opt_check_accel(struct opt_parse *p, struct err *err);
/* -machine none with what needs a guest. */
int opt_check_no_board(struct opt_parse *p, struct err *err);
/* What the board has, from what was given and from stock=on. */
int opt_finish_board(struct opt_parse *p, struct err *err);
/* smp.c */
extern const struct opt_list opt_smp_list, opt_m_list;
int opt_smp(struct opt_parse *p, struct err *err);
int opt_m(struct opt_parse *p, struct err *err);
/* add-fd.c */
extern const struct opt_list opt_add_fd_list;
int opt_add_fd(struct opt_parse *p, struct err *err);
/* object.c */
extern const struct opt_list opt_memory_ram_list, opt_memory_memfd_list, opt_memory_file_list;
extern const struct opt_list opt_rng_random_list, opt_rng_builtin_list, opt_secret_list;
int opt_object(struct opt_parse *p, struct err *err);
/* object-tls.c */
extern const struct opt_list opt_tls_x509_list, opt_tls_psk_list, opt_tls_anon_list;
extern const struct opt_list opt_authz_simple_list, opt_authz_list_list, opt_authz_file_list;
/* opt_apply() for authz-list, whose rules are checked as well. */
int opt_apply_authz(struct opt_parse *p, void *base, const struct keyvals *kv, struct err *err);
/* object.c: both are tables of all types there are. */
const struct opt_type *opt_object_types(size_t *n);
const struct opt_type *opt_chardev_types(size_t *n);
int opt_check_memory(struct opt_parse *p, struct err *err);
/* drive.c, blockdev.c */
extern const struct opt_list opt_drive_list;
int opt_drive(struct opt_parse *p, struct err *err);
int opt_blockdev(struct opt_parse *p, struct err *err);
int opt_disk_image(struct opt_parse *p, const char *path, struct err *err);
/* blockdev-props.c */
extern const struct opt_list opt_blockdev_file_list, opt_blockdev_raw_list, opt_blockdev_qcow2_list;
int opt_set_aio(struct opt_parse *p, void *base, const char *val, struct err *err);
int opt_set_discard(struct opt_parse *p, void *base, const char *val, struct err *err);
int opt_set_pass_discard(struct opt_parse *p, void *base, const char *val, struct err *err);
int opt_set_lazy_refcounts(struct opt_parse *p, void *base, const char *val, struct err *err);
/* What only a qcow2 image has; 'base': where the struct cfg_blockdev is in what they fill. */
#define OPT_QCOW2_PROPS(base)                                                                      \
	PROP("cache-size", OPT_SIZE, (base) + offsetof(struct cfg_blockdev, cache_bytes), "SIZE",  \
	     "memory for the image's tables (default enough for 64 GiB of 64 KiB clusters)"),      \
	    PROP("l2-cache-size", OPT_SIZE, (base) + offsetof(struct cfg_blockdev, cache_bytes),   \
		 "SIZE", "the same as cache-size="),                                               \
	    PROP_CALL("pass-discard-request", "on|off", opt_set_pass_discard,                      \
		      "clusters that are freed are given back to the host (default as discard=)"), \
	    PROP_CALL("lazy-refcounts", "on|off", opt_set_lazy_refcounts,                          \
		      "must be as the image was made (default so)"),                               \
	    PROP_REFUSED("pass-discard-snapshot", "pass-discard-request stands for it"),           \
	    PROP_REFUSED("pass-discard-other", "pass-discard-request stands for it"),              \
	    PROP_REFUSED("discard-no-unref", "clusters that are discarded are freed"),             \
	    PROP_REFUSED("overlap-check", "there is one kind of check, which is always on"),       \
	    PROP_REFUSED("refcount-cache-size", "that cache has one size; use cache-size"),        \
	    PROP_REFUSED("l2-cache-entry-size", "an entry is a table; use cache-size"),            \
	    PROP_REFUSED("cache-clean-interval", "tables stay in memory; use cache-size"),         \
	    PROP_REFUSED("data-file", "the image's data is in the image"),                         \
	    PROP_REFUSED("encrypt.format", "encrypted images are not supported")
/* Is the image read-only, if other programs may write to it? */
int opt_check_force_share(const struct cfg_blockdev *bd, struct err *err);
/* No node and no drive may have this name already. */
int opt_check_node_name(const struct config *cfg, const char *name, struct err *err);
/* Make room for a node in the config and take *bd over. */
void opt_add_blockdev(struct config *cfg, const struct cfg_blockdev *bd);
/* device.c */
int opt_device(struct opt_parse *p, struct err *err);
/* Add the device of these pairs, as -device has them. */
int opt_add_device(struct opt_parse *p, const struct keyvals *kv, struct err *err);
int opt_global(struct opt_parse *p, struct err *err);
/* Disks of -drive if=virtio, and what -global says about devices. */
void opt_finish_devices(struct opt_parse *p);
/* net.c */
extern const struct opt_list opt_tap_list, opt_stream_list;
int opt_netdev(struct opt_parse *p, struct err *err);
/* Add the back end of these pairs; 'id': what it is called instead of what they say, or NULL. */
int opt_add_netdev(struct opt_parse *p, const struct keyvals *kv, const char *id, struct err *err);
bool opt_netdev_help(struct opt_parse *p);
void opt_check_peers(const struct opt_parse *p);
/* net-user.c */
extern const struct opt_list opt_user_list, opt_passt_list;
/* nic.c */
extern const struct opt_list opt_nic_list;
int opt_nic(struct opt_parse *p, struct err *err);
int opt_net(struct opt_parse *p, struct err *err);
/* chardev.c */
extern const struct opt_list opt_null_list, opt_stdio_list, opt_file_list, opt_socket_list,
    opt_pty_list, opt_ringbuf_list;
int opt_chardev(struct opt_parse *p, struct err *err);
/* Add a chardev of this type from the pairs; takes nothing.  Refuses a second stdio, a used id. */
int opt_add_chardev(struct opt_parse *p, const char *type, const char *id, const struct keyvals *kv,
		    struct err *err);
void opt_add_ref(struct opt_parse *p, int kind, const char *chardev);
int opt_check_run_with(struct opt_parse *p, struct err *err);
int opt_check_loadvm(struct opt_parse *p, struct err *err);
int opt_check_chardevs(struct opt_parse *p, struct err *err);
/* serial.c */
extern const struct opt_list opt_mon_list;
int opt_serial(struct opt_parse *p, struct err *err);
int opt_mon(struct opt_parse *p, struct err *err);
int opt_qmp(struct opt_parse *p, struct err *err);
int opt_qmp_pretty(struct opt_parse *p, struct err *err);
int opt_monitor(struct opt_parse *p, struct err *err);
int opt_finish_serial(struct opt_parse *p, struct err *err);
/* run.c */
/* What reconnect= (seconds) and reconnect-ms= of a socket say, both checked by its table. */
int opt_reconnect(const struct keyvals *kv, bool server, uint64_t *ms, struct err *err);
extern const struct opt_list opt_name_list, opt_action_list, opt_msg_list, opt_rtc_list;
extern const struct opt_list opt_boot_list, opt_overcommit_list, opt_run_with_list;
int opt_sandbox(struct opt_parse *p, struct err *err);
int opt_uuid(struct opt_parse *p, struct err *err);
int opt_incoming(struct opt_parse *p, struct err *err);
int opt_none_only(struct opt_parse *p, struct err *err);
int opt_nodefaults(struct opt_parse *p, struct err *err);
int opt_nographic(struct opt_parse *p, struct err *err);
int opt_help(struct opt_parse *p, struct err *err);
int opt_version(struct opt_parse *p, struct err *err);
int opt_man(struct opt_parse *p, struct err *err);
int opt_completion(struct opt_parse *p, struct err *err);
int opt_completion_zsh(struct opt_parse *p, struct err *err);
int opt_qmp_reference(struct opt_parse *p, struct err *err);

#endif
