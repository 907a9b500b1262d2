/*
 * chardev.h - byte streams to the outside: the connection of a UART or a monitor
 *
 * A chardev of a monitor is the control thread's, under the control
 * lock; others are the main loop's, under the machine lock.  Nothing here
 * blocks: output that the host does not take at once is refused, and the front
 * end is told when to go on.
 */
#ifndef MINIVMM_DEVICES_CHARDEV_H
#define MINIVMM_DEVICES_CHARDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cfg_chardev;
struct chardev;
struct err;
struct loop;
struct machine;

/* The callbacks of a front end.  Any member may be NULL. */
struct chardev_client {
	void (*opened)(void *opaque);     /* a peer is there (at once for files, null and stdio) */
	void (*closed)(void *opaque);     /* it left; output is dropped until the next opened */
	size_t (*can_read)(void *opaque); /* how many bytes the front end takes now */
	void (*read)(void *opaque, const uint8_t *p, size_t n);
	void (*writable)(void *opaque); /* after chardev_write took less than all */
	/* What a peer had sent that has left, and can_read() did not let in; before closed(). */
	void (*rest)(void *opaque, const uint8_t *p, size_t n);
	/* A descriptor came with SCM_RIGHTS, before the bytes it rode on; taken by the callee. */
	void (*receive_fd)(void *opaque, int fd);
	/* From now on it is on this chardev (borrowed).  NULL: it cannot move to another. */
	void (*moved)(void *opaque, struct chardev *to);
	/* The other end of the line sends a break.  NULL: it is no such line. */
	int (*take_break)(void *opaque, struct err *err);
	/*
	 * Input is bytes of a line that outlives a peer: what a peer sent before it
	 * left is delivered later.  False: it is dropped with the peer,
	 * as far as can_read() does not take it at once.
	 */
	bool line;
};

/* A back end; one file and one const table each. */
struct chardev_ops {
	const char *type; /* "stdio", "file", "socket", "null" */
	int (*open)(struct chardev *c, const struct cfg_chardev *cfg, struct err *err);
	ssize_t (*write)(struct chardev *c, const uint8_t *p,
			 size_t n);              /* taken, 0: none now, -errno */
	void (*accept_input)(struct chardev *c); /* the front end can read again */
	void (*close)(struct chardev *c);        /* frees its state */
	void (*start)(struct chardev *c);        /* the program is up; NULL: nothing to do */
	void (*reopen)(struct chardev *c);       /* a file was renamed; NULL: not a file */
	/* Drop the peer: closed() follows now or later.  NULL: there is no peer to drop. */
	void (*disconnect)(struct chardev *c);
};

struct chardev {
	const struct chardev_ops *ops;
	struct machine *m;
	struct loop *loop; /* m->control or m->loop */
	char *id;          /* owned */
	char *filename;    /* owned; as query-chardev shows it: "unix:/path,server=on" */
	int log_fd;        /* a copy of all output goes there; -1: none */
	char *log_path;    /* owned */
	bool connected;
	const struct chardev_client *client; /* borrowed, NULL: no front end */
	void *client_opaque;
	bool client_closed; /* a guest behind the front end does not use it: query-chardev */
	void *state;        /* the back end's */
};

/* Open what cfg says (chardevs.c).  Returns owned, or NULL. */
struct chardev *chardev_new(struct machine *m, const struct cfg_chardev *cfg, struct err *err);
void chardev_free(struct chardev *c); /* NULL is fine */
/* The last step of the program's start: a terminal becomes raw. */
void chardev_start(struct chardev *c);
/* Become the front end; 'opened' is called (now or when a peer comes).  -EBUSY if there is one. */
int chardev_attach(struct chardev *c, const struct chardev_client *client, void *opaque,
		   struct err *err);
void chardev_detach(struct chardev *c);
/* Whether the guest uses the front end; it does, unless this says otherwise after the attach. */
void chardev_set_client_open(struct chardev *c, bool open);
/* Bytes taken, 0 when none now (writable() follows), or -errno. */
ssize_t chardev_write(struct chardev *c, const uint8_t *p, size_t n);
/* can_read() has grown. */
void chardev_accept_input(struct chardev *c);

/* chardevs.c: all of a machine, by id (made by main.c from the config). */
struct chardevs {
	struct chardev **v;
	size_t n;
};
int chardevs_open(struct chardevs *cs, struct machine *m, struct err *err);
struct chardev *chardevs_find(const struct chardevs *cs, const char *id);
void chardevs_start(struct chardevs *cs);
/* Is there a log: logfile=, or a file chardev?  Open them anew, for they were renamed. */
bool chardevs_have_logs(const struct chardevs *cs);
void chardevs_reopen_logs(struct chardevs *cs);
void chardevs_close(struct chardevs *cs);
/*
 * change.c, while the program runs, machine lock: one more, one less, another back end for one,
 * which stays as it is when the new one cannot be made.  Nothing waits.  -EBUSY: it has a front
 * end.
 */
int chardevs_add(struct chardevs *cs, struct machine *m, const struct cfg_chardev *cfg,
		 struct err *err);
int chardevs_remove(struct chardevs *cs, const char *id, struct err *err);
int chardevs_change(struct chardevs *cs, struct machine *m, const struct cfg_chardev *cfg,
		    struct err *err);
int chardev_send_break(struct chardev *c, struct err *err);

#endif
