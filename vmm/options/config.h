/*
 * config.h - what the command line asked for
 *
 * Filled once by options.c; constant and readable on any thread after that.
 * Strings are owned by the config; a NULL string was not given.
 */
#ifndef MINIVMM_CONFIG_H
#define MINIVMM_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One "key=value" of an option's list, in the order given; 'used' marks what a consumer has read.
 */
struct err;

struct keyval {
	char *key, *val;
};

struct device_row;

struct keyvals {
	struct keyval *v; /* owned */
	size_t n;
};

/* Who may come in: the first rule that fits decides, else 'allow' of the whole. */
struct cfg_authz_rule {
	char *match; /* owned */
	bool allow;
	bool glob; /* 'match' is a pattern, as of file names */
};
struct cfg_authz {
	struct cfg_authz_rule *rules; /* owned */
	size_t n_rules;
	bool allow;
};

/* -object TYPE,id=ID,... (memory-backend-ram|memfd|file, rng-random|builtin) */
struct cfg_object {
	char *type, *id;
	uint64_t size;          /* bytes */
	bool share;             /* MAP_SHARED */
	bool prealloc;          /* populate at start */
	bool hugetlb;           /* memfd only */
	uint64_t hugetlb_bytes; /* page size; 0: the host's default */
	bool reserve;           /* huge pages: be sure of them from the start (default) */
	char *mem_path;         /* file only */
	bool readonly;
	char *filename;       /* rng-random only */
	struct keyvals props; /* all of it as given and checked: secret, tls-creds-*, authz-* */
	char *where;          /* owned: the option as typed, for messages; NULL: a default */
};

enum cfg_auto { CFG_AUTO, CFG_ON, CFG_OFF };

/* locking=: byte locks on an image file */
enum block_locking {
	BLOCK_LOCKING_AUTO, /* where the file system has them */
	BLOCK_LOCKING_ON,
	BLOCK_LOCKING_OFF,
};

/* -blockdev, or what -drive stands for: one node over one file. */
struct cfg_blockdev {
	char *node_name;
	char *driver;   /* "raw", "qcow2" or "file" (the others name the file below them) */
	char *filename; /* host path, may be /dev/fdset/N */
	bool readonly;
	bool force_share;  /* other programs may write to the image; readonly only */
	bool direct;       /* O_DIRECT (cache.direct=on, cache=none) */
	bool no_flush;     /* cache=unsafe: flushes are not passed on */
	bool writeback;    /* the guest sees a write cache (default) */
	bool aio_threads;  /* aio=threads: preadv/pwritev instead of io_uring */
	unsigned locking;  /* enum block_locking */
	bool discard;      /* discard=unmap: what the guest discards is given back to the host */
	bool unsaid;       /* driver "raw" is the default, no format was given */
	char *file_node;   /* over a named file node: that node's name, else NULL */
	bool file_adopted; /* which was a node of its own */
	bool adopted;      /* a node below another: it was one of its own */
	char *drive_id;    /* -drive's id ("" for blockdev): what query-block calls device */
	/* qcow2 */
	unsigned pass_discard;   /* enum cfg_auto: give freed clusters back; auto: as 'discard' */
	unsigned lazy_refcounts; /* enum cfg_auto: the image must have them; auto: as it is */
	uint64_t cache_bytes;    /* for tables; 0: as much as it needs, 8 MiB at most */
	bool no_backing;         /* backing=null: what the header names is not opened */
	struct cfg_blockdev *backing; /* owned: instead of what the header names; NULL: that */
	char *where; /* owned: the option as typed, for messages; NULL: a default */
};

/* -netdev tap|stream|user|passt,id=... */
struct cfg_netdev {
	char *type, *id;
	char *ifname, *script, *downscript; /* tap; no script: NULL */
	int fd;                             /* tap or stream: given descriptor, else -1 */
	bool server;                        /* stream */
	char *addr_type;                    /* stream: "inet", "unix", "fd" */
	char *host, *port, *path;           /* stream */
	unsigned ipv4, ipv6;                /* ... enum ip_choice */
	uint64_t reconnect_ms;              /* stream client: try again after that time; 0: never */
	bool vnet_hdr;                      /* tap: offer offloads (default true) */
	struct keyvals props; /* as given and checked, members of lists without a number */
	char *where;          /* owned: the option as typed, for messages; NULL: a default */
};

/* -add-fd */
struct cfg_add_fd {
	int fd;
	uint64_t set;
	char *opaque; /* what the client calls it, or NULL */
	char *where;  /* owned: the option as typed, for messages */
};

/* -chardev, or what -serial, -qmp and -monitor stand for */
struct cfg_chardev {
	char *type, *id;                   /* stdio null file socket */
	char *path;                        /* file or unix socket */
	char *host, *port;                 /* tcp socket */
	unsigned ipv4, ipv6;               /* ... enum ip_choice */
	int fd;                            /* socket: given descriptor, else -1 */
	bool server, wait, append, signal; /* signal: stdio, ^C ends the program */
	uint64_t reconnect_ms;             /* socket client: try again after that time; 0: never */
	char *logfile;
	bool logappend; /* keep what the log file holds */
	char *where;    /* owned: the option as typed, for messages; NULL: a default */
};

/* -mon / -qmp: a QMP monitor on a chardev */
struct cfg_monitor {
	char *chardev;
	bool pretty;
};

/* -device DRIVER[,id=ID][,prop=value...]; props hold all but driver and id, spelled as in the row
 */
struct cfg_device {
	const struct device_row *row; /* borrowed */
	char *driver, *id;
	struct keyvals props;
	char *where; /* owned: the option as typed, for messages; NULL: a default */
};

enum cfg_irqchip { IRQCHIP_ON, IRQCHIP_OFF, IRQCHIP_SPLIT, IRQCHIP_DEFAULT };

/* -M microvm,... as typed; opt_finish_board() makes the machine's own fields of it. */
struct cfg_board {
	bool stock;            /* what was not given is as in QEMU's microvm, not as in ours */
	unsigned ioapic2, rtc; /* enum cfg_auto */
	unsigned irqchip;      /* enum cfg_irqchip */
};

enum cfg_action_panic { PANIC_PAUSE, PANIC_SHUTDOWN, PANIC_EXIT_FAILURE, PANIC_NONE };

/* A text that was asked for and that higher floors have a part in. */
enum config_text {
	TEXT_NONE,
	TEXT_CPU_MODELS,
	TEXT_MAN,
	TEXT_COMPLETION,
	TEXT_COMPLETION_ZSH,
	TEXT_QMP_MARKDOWN,
	TEXT_QMP_MAN
};

struct config {
	/* identity */
	char *name;    /* -name guest= */
	char *process; /* -name process= */
	bool debug_threads;
	uint8_t uuid[16]; /* all zero unless uuid_set */
	bool uuid_set;

	/* machine */
	bool no_board; /* -machine none: there is no guest, the program only tells what it has */
	struct cfg_board board;
	bool acpi, pic, pit, rtc, isa_serial; /* -M microvm,... */
	bool ioapic2;         /* a second IOAPIC, and 24 virtio slots on it instead of 8 */
	bool split_irqchip;   /* of the interrupt controllers KVM has the local APICs only */
	char *memory_backend; /* id of an object, or NULL */
	uint64_t ram_bytes;
	unsigned cpus, maxcpus, sockets, dies, cores, threads;
	char *cpu_model;          /* "host", "qemu64", "kvm64" */
	char *cpu_features;       /* "+f,-g,h=on" as given, or NULL */
	uint32_t dirty_ring_size; /* entries per vCPU; 0: dirty log */
	char *dumpdtb;            /* write the device tree here and exit */
	char *dump_vmstate;       /* write the state tables here and exit */
	bool suppress_vmdesc;
	bool dump_guest_core; /* default true; false: RAM stays out of core dumps (MADV_DONTDUMP) */
	bool mem_merge;       /* default true: RAM may be shared by KSM (MADV_MERGEABLE) */

	/* boot */
	char *kernel, *initrd, *append, *bios;

	/* devices */
	struct cfg_add_fd *add_fds;
	struct cfg_object *objects;
	struct cfg_blockdev *blockdevs;
	struct cfg_netdev *netdevs;
	struct cfg_chardev *chardevs;
	struct cfg_monitor *monitors;
	struct cfg_device *devices;
	size_t n_add_fds;
	size_t n_objects, n_blockdevs, n_netdevs, n_chardevs, n_monitors, n_devices;
	/* -global of a part of the board: "driver.property", checked, in order */
	struct keyvals globals;
	char *serial; /* id of the chardev behind the UART, or NULL: no UART */

	/* running */
	char *incoming; /* URI or "defer" */
	char *loadvm;   /* tag of a snapshot */
	bool paused;    /* -S */
	bool no_reboot, no_shutdown;
	enum cfg_action_panic panic;
	bool only_migratable;
	bool daemonize;
	bool exit_with_parent; /* -run-with */
	char *pidfile, *logfile;
	bool log_timestamp;
	enum config_text text; /* main.c prints it and exits */
	/* -incoming exit-on-error=, -global migration.exit-on-error=: a failed load ends us */
	enum cfg_auto exit_on_error;
	/* -global migration.NAME=VALUE, all others, in order; consumed by migration/ */
	struct keyvals migration_globals;
};

/* The entry whose id (node name) is given, or NULL. */
const struct cfg_object *config_object(const struct config *c, const char *id);
const struct cfg_blockdev *config_blockdev(const struct config *c, const char *name);
const struct cfg_netdev *config_netdev(const struct config *c, const char *id);
const struct cfg_chardev *config_chardev(const struct config *c, const char *id);
/* A deep copy; config_object_fini() frees all that it owns, not the struct. */
struct cfg_object config_object_copy(const struct cfg_object *o);
void config_object_fini(struct cfg_object *o);
void config_authz_fini(struct cfg_authz *a);
/* A deep copy; config_blockdev_fini() frees it. */
struct cfg_blockdev config_blockdev_copy(const struct cfg_blockdev *bd);
/* Frees all that it owns, not the struct. */
void config_blockdev_fini(struct cfg_blockdev *bd);
/* The last value given for key, or NULL. */
const char *keyvals_get(const struct keyvals *kv, const char *key);
/* The same as a switch, checked before. */
bool keyvals_bool(const struct keyvals *kv, const char *key, bool otherwise);
/*
 * All values of a key that may come several times, NULL-terminated.  The array is the caller's
 * (free()), the strings are borrowed.
 */
const char **keyvals_all(const struct keyvals *kv, const char *key);
/* Put "where: " in front of the message if there is a 'where'; returns 'ret'. */
int config_where(const char *where, int ret, struct err *err);
/* Append a copy of key=val. */
void keyvals_add(struct keyvals *kv, const char *key, const char *val);
/* Frees what it holds, leaves an empty list. */
void keyvals_fini(struct keyvals *kv);
/*
 * -daemonize: paths that are used again later (sockets and the PID file are
 * removed, logs are opened anew) begin at 'folder', the working directory.
 */
void config_make_absolute(struct config *c, const char *folder);
/* Frees all that the config owns, not the struct. */
void config_fini(struct config *c);

#endif
