/*
 * channel.h - where a migration stream goes to or comes from
 *
 * One channel is one byte stream: a socket, a pipe, a child process, a file.
 * The kinds differ in how one attempt to move bytes is made and in what it
 * takes until the bytes are safe (finish); waiting and cancelling are the same
 * for all: poll() on the channel and on an eventfd that becomes readable when
 * the migration is cancelled.
 *
 * Channels stack: one that transforms the bytes of another (encryption) owns
 * it as 'below' and makes its own attempts with channel_try_read() and
 * channel_try_writev() on it.  Only the lowest one has a descriptor, and waiting
 * is for that one; bytes that a layer has read and transformed already, which
 * poll() does not show, are told by 'pending', and end a wait to read at once.
 *
 * A channel belongs to one thread at a time.
 */
#ifndef MINIVMM_MIGRATION_CHANNEL_H
#define MINIVMM_MIGRATION_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>

struct channel;
struct err;
struct migration_address;
struct patience;
struct sockaddr_list;
struct splicer;

#define CHANNEL_MAX_FDS 8

/* How the peer has ended, in words: "the command ended with status 3". */
struct channel_end {
	char s[48];
};

struct channel_ops {
	const char *kind; /* what messages call it: "socket", "command", "file" */
	/*
	 * One attempt: bytes moved, 0 at the end (read only), -EAGAIN, or another -errno.  A write
	 * that got -EAGAIN is tried again with the same bytes, so a layer may have passed on a
	 * part.
	 */
	ssize_t (*read)(struct channel *c, void *buf, size_t n);
	ssize_t (*readv)(struct channel *c, struct iovec *iov,
			 int n_iov); /* sockets only, else NULL */
	ssize_t (*writev)(struct channel *c, struct iovec *iov, int n_iov);
	/* One attempt to read that leaves the bytes where they are; may be short.  NULL: cannot. */
	ssize_t (*peek)(struct channel *c, void *buf, size_t n);
	/* Bytes that read() gives without the descriptor; layers only, NULL: none. */
	size_t (*pending)(const struct channel *c);
	/*
	 * Poll has said that there is something to read: is it for the reader, bytes, the end or a
	 * failure, and not only a part of what the layer makes bytes of?  Layers only, NULL: yes.
	 */
	bool (*fill)(const struct channel *c);
	/* One attempt at what has to be agreed with the peer first: 0: it is; -EAGAIN, or another
	 * -errno.  Layers only, NULL: nothing.  A read and a peek do it too. */
	int (*handshake)(struct channel *c);
	/* It has failed, and knows more than an errno value: true, and *err says it.  NULL: no. */
	bool (*explain)(const struct channel *c, struct err *err);
	/* Has the peer closed its end?  Does not read.  NULL: as 'below', else not known. */
	bool (*hung_up)(const struct channel *c);
	/* The place in the file of the next byte.  Regular files and disks only, else NULL. */
	off_t (*tell)(struct channel *c);
	void (*seek)(struct channel *c, off_t to);
	/* Poll says that there is something to read once n bytes have come, or the end or a
	 * failure.  NULL: it does at the first byte. */
	void (*low_water)(const struct channel *c, size_t n);
	/* All is written: make it last (exit status, fsync and rename).  NULL: nothing to do. */
	int (*finish)(struct channel *c, struct err *err);
	/* See channel_peer_end().  NULL: not known. */
	struct channel_end (*peer_end)(const struct channel *c);
	/* Tell the peer that nothing follows; reading goes on.  Two-way channels only.  A layer
	 * does this, finish and close for the channel below it too. */
	void (*end_writing)(struct channel *c);
	/* Give up what was not finished, and free. */
	void (*close)(struct channel *c);
};

struct channel {
	/* set at creation and then constant */
	const struct channel_ops *ops;
	struct channel *below;     /* owned; whose bytes this one transforms; NULL: the lowest */
	int fd;                    /* owned; polled, unless 'steady'; -1: that of the lowest is */
	int cancel_fd;             /* borrowed eventfd; -1: cannot be cancelled */
	bool two_way;              /* the peer can answer on it */
	bool steady;               /* a regular file: never has to be waited for */
	const char *set_path;      /* owned by the kind; the descriptor set it is of, or NULL */
	size_t unheeded;           /* bytes read since a cancel was last looked for; the reader's */
	struct patience *patience; /* borrowed; with the peer's not reading; NULL: without end */
	struct splicer *splicer;   /* owned; NULL: bytes are copied into the channel */
	/* descriptors that came with what was read (SCM_RIGHTS), oldest first; owned */
	bool accepts_fds;
	int fds[CHANNEL_MAX_FDS];
	int n_fds;
};

/* An iovec for writing: its base is not const, though nothing is changed behind it. */
static inline struct iovec iov_of(const void *p, size_t n)
{
	struct iovec v = {.iov_len = n};

	memcpy(&v.iov_base, &p, sizeof(p));
	return v;
}

/* Wait until the channel is ready for what poll's 'events' ask: 1, 0 after timeout_ms (-1: never),
 * -ECANCELED, -ETIME (the patience with the peer has ended) or another -errno. */
int channel_wait(const struct channel *c, short events, int timeout_ms);
bool channel_cancelled(const struct channel *c);

/* The lowest channel's descriptor: to wait for, to shut down, to tell the peer by.  Borrowed. */
int channel_fd(const struct channel *c);
/* reopen.c: the same file once more, open(2)'s flags: owned (path_close()), or -errno. */
int channel_open_again(const struct channel *c, int flags, struct err *err);
/* Has the file a name of its own, as one of a descriptor set has not? */
bool channel_has_name(const struct channel *c);
/* Bytes that can be read though poll() on the descriptor does not say so. */
size_t channel_pending(const struct channel *c);
/* Has the peer closed its end, or gone?  Nothing is read; bytes may still have to be. */
bool channel_hung_up(const struct channel *c);
/*
 * Up to n of the next bytes, which stay there.  One attempt, without waiting:
 * how many (fewer: the rest has not come), 0 at the end of the stream, -EAGAIN,
 * -EOPNOTSUPP where the channel cannot, or another -errno.
 */
ssize_t channel_peek(struct channel *c, void *buf, size_t n);

/*
 * A file's places: that of the next byte, or -ESPIPE where the channel has none;
 * and the bytes go on at another one.  Whoever knows the descriptor may read and
 * write elsewhere in the file at the same time.
 */
off_t channel_tell(struct channel *c);
void channel_seek(struct channel *c, off_t to);

/* ---- for a channel that transforms another one's bytes ---- */

/* 'c' (zeroed) becomes a layer on 'below', which it owns from now on. */
void channel_put_above(struct channel *c, const struct channel_ops *ops, struct channel *below);
/* One attempt each, as in struct channel_ops; no cancel is looked for. */
ssize_t channel_try_read(struct channel *c, void *buf, size_t n);
ssize_t channel_try_writev(struct channel *c, struct iovec *iov, int n_iov);

/*
 * Agree with the peer on what the layers need, waiting for it: 0, or -errno with *err set.  Who
 * is going to write first calls it before.
 */
int channel_handshake(struct channel *c, struct err *err);
/* One attempt of it: 0: done; -EAGAIN: the peer has to say more; another -errno. */
int channel_try_handshake(struct channel *c);
/* Why it has failed, where it knows a sentence of its own: true, and *err is set. */
bool channel_explain(const struct channel *c, struct err *err);
/* The peer has closed it, or broken off: -ECONNRESET, or as channel_explain() says. */
int channel_say_closed(const struct channel *c, const char *peer, struct err *err);

/* 'ret', a cancel or what the kernel said, as "Unable to VERB socket: ..."; returns it. */
int channel_say_failed(const struct channel *c, int ret, const char *verb, struct err *err);

/*
 * After a failure or at the end of the stream: how the peer has ended, empty if it
 * lives on or that is not known.  May wait a moment for it.
 */
struct channel_end channel_peer_end(const struct channel *c);

/* At least one byte, waiting for it; 0 at the end of the stream; -errno with *err set. */
ssize_t channel_read(struct channel *c, void *buf, size_t n, struct err *err);
/* Can it read into a vector at once?  Sockets can. */
bool channel_scatters(const struct channel *c);
/*
 * 'need' bytes or more, as far as the vector (changed) has room; *got: how many,
 * fewer than 'need' only at the end of the stream.
 */
int channel_readv(struct channel *c, struct iovec *iov, int n_iov, size_t need, size_t *got,
		  struct err *err);
/*
 * All of it; changes iov.  A write that need not wait is done even when the
 * migration has been cancelled.
 */
int channel_write_all(struct channel *c, struct iovec *iov, int n_iov, struct err *err);
int channel_write(struct channel *c, const void *p, size_t n, struct err *err);
/* Drop the first n bytes of the vector; returns how many of its entries that uses up. */
int iov_advance(struct iovec *iov, int n_iov, size_t n);
/* Can a descriptor go along?  (unix sockets) */
bool channel_passes_fds(const struct channel *c);
/* channel_write(), with a descriptor (borrowed) attached to the first byte. */
int channel_write_fd(struct channel *c, const void *p, size_t n, int fd, struct err *err);
/* From now on keep descriptors that come with the bytes, up to CHANNEL_MAX_FDS at a time. */
void channel_accept_fds(struct channel *c);
/*
 * From now on channel_splice() may be used, if c is a unix socket, or 'tcp' any socket:
 * over TCP copying is faster where both ends are on one host.  The peer must be one that
 * says when it has everything (READY).  Nothing happens where the kernel or the channel cannot.
 */
void channel_use_splice(struct channel *c, bool tcp);
bool channel_splices(const struct channel *c);
/*
 * Write n bytes without copying them: the peer's read takes them from where
 * they are, so what is changed before it reads arrives changed.  *done: how
 * many; fewer without a failure means that the kernel refuses, now and from
 * then on.  0, or -errno with *err set.
 */
int channel_splice(struct channel *c, const void *p, size_t n, size_t *done, struct err *err);

/* The oldest one that came with bytes read by now; owned; -1: none. */
int channel_take_fd(struct channel *c);
int channel_finish(struct channel *c, struct err *err);
void channel_end_writing(struct channel *c);
/* Reads and writes end, whoever waits in them.  Any thread while the channel lives. */
void channel_shut_down(const struct channel *c);
void channel_close(struct channel *c); /* NULL is fine */

/* How long a postcopy's peer may be cut off before the kernel ends the connection. */
#define CHANNEL_KEEP_IDLE_S     10
#define CHANNEL_KEEP_INTERVAL_S 5
#define CHANNEL_KEEP_PROBES     4
#define CHANNEL_SILENCE_S       (CHANNEL_KEEP_IDLE_S + CHANNEL_KEEP_PROBES * CHANNEL_KEEP_INTERVAL_S)
/*
 * From now on a tcp: connection ends by itself CHANNEL_SILENCE_S after the peer's host has
 * answered last, whether there is something to send or not: a postcopy is then paused.  Not for a
 * precopy, whose destination may be slow for as long as x-minivmm-peer-timeout allows.
 */
void channel_bound_silence(const struct channel *c);

/* Let the kernel hold so much that was sent and not read.  Only for unix sockets: tcp finds its own
 * way. */
void channel_send_buffer(const struct channel *c, size_t bytes);
/* From now on little lies in the socket that has come and was not read: what comes behind it is
 * waited for.  Only for tcp.  The reader; any time. */
void channel_keep_unread_little(const struct channel *c);

/* ---- makers: return owned, or NULL with *err set; the first fd is taken either way ---- */

struct channel *channel_from_socket(int fd, int cancel_fd);
/* Any descriptor: socket, pipe, regular file. */
struct channel *channel_from_fd(int fd, int cancel_fd, struct err *err);
/* Which end of a command the bytes go to or come from; both: it passes them on, both ways. */
enum exec_end { EXEC_INPUT, EXEC_OUTPUT, EXEC_BOTH };
/* Child process, in 'folder' (NULL: our own); messages call it 'command'. */
struct channel *channel_exec(const char *const *argv, const char *command, const char *folder,
			     enum exec_end end, int cancel_fd, struct err *err);
/* A file to be complete or absent: nothing is seen under 'path' before finish.  'patience' is with
 * a named pipe's reader. */
struct channel *channel_file_write(const char *path, unsigned long long offset, int cancel_fd,
				   struct patience *patience, struct err *err);
struct channel *channel_file_read(const char *path, unsigned long long offset, int cancel_fd,
				  struct err *err);
/* Connect; interruptible.  'patience' is with the peer; NULL: without end. */
struct channel *channel_connect_unix(const char *path, int cancel_fd, struct patience *patience,
				     struct err *err);
/* 'what' is "host:port" as the user wrote it, for messages. */
struct channel *channel_connect_tcp(const struct sockaddr_list *to, const char *what,
				    bool keep_alive, int cancel_fd, struct patience *patience,
				    struct err *err);

#endif
