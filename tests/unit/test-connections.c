/* test-connections.c - which connection of an incoming migration is which: by count, then by magic
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/incoming/connections.h"
#include "tests/unit/check-main.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/loop.h"

#define ENOUGH  400
#define FOREVER 1000000 /* ms: no test waits for this */

enum { MAIN, PAGES, LAST, KINDS }; /* LAST has no magic, and says nothing */

/* What has been taken, in order. */
struct box {
	struct loop *loop;
	struct connections *cs;
	unsigned expected[KINDS];
	unsigned n, decided, surplus, kind[ENOUGH];
	struct channel *ch[ENOUGH]; /* owned */
	int peer[ENOUGH];           /* the other ends, as they connected; owned */
	unsigned n_peers;
};

static void took(struct box *b, unsigned kind, struct channel *ch)
{
	b->kind[b->n] = kind;
	b->ch[b->n++] = ch;
}

static unsigned expect_main(const void *opaque)
{
	return ((const struct box *)opaque)->expected[MAIN];
}

static unsigned expect_pages(const void *opaque)
{
	return ((const struct box *)opaque)->expected[PAGES];
}

static unsigned expect_last(const void *opaque)
{
	return ((const struct box *)opaque)->expected[LAST];
}

static void take_main(void *opaque, struct channel *ch)
{
	took(opaque, MAIN, ch);
}

static void take_pages(void *opaque, struct channel *ch)
{
	took(opaque, PAGES, ch);
}

static void take_last(void *opaque, struct channel *ch)
{
	took(opaque, LAST, ch);
}

static void surplus_pages(void *opaque, struct channel *ch)
{
	((struct box *)opaque)->surplus++;
	channel_close(ch);
}

static const struct connection_kind kinds[KINDS] = {
    {"the first",   0x4d41494eU, expect_main,  take_main,  NULL         },
    {"a second",    0x50414745U, expect_pages, take_pages, surplus_pages},
    {"one at last", 0,           expect_last,  take_last,  NULL         },
};

static void decided(void *opaque)
{
	((struct box *)opaque)->decided++;
}

static void box_init(struct box *b, unsigned n_main, unsigned n_pages, unsigned n_last,
		     uint64_t silence_ms)
{
	*b = (struct box){
	    .expected = {n_main, n_pages, n_last}
        };
	ck_assert_int_eq(log_open("/dev/null", NULL), 0);
	b->loop = loop_new(NULL, NULL);
	b->cs = connections_new(b->loop, kinds, KINDS, silence_ms, decided, b);
}

static void box_fini(struct box *b)
{
	connections_free(b->cs);
	for (unsigned i = 0; i < b->n; i++)
		channel_close(b->ch[i]);
	for (unsigned i = 0; i < b->n_peers; i++)
		(void)close(b->peer[i]);
	loop_free(b->loop);
}

static void stop(void *opaque)
{
	loop_stop(opaque);
}

/* The loop does what is ready. */
static void turn(struct box *b)
{
	loop_post(b->loop, stop, b->loop);
	loop_run(b->loop);
}

static void say(const struct box *b, unsigned peer, const char *words)
{
	ck_assert_int_eq(send(b->peer[peer], words, strlen(words), MSG_NOSIGNAL),
			 (ssize_t)strlen(words));
}

/* A peer that has said 'words' already; returns its number. */
static unsigned come(struct box *b, const char *words)
{
	unsigned i = b->n_peers++;
	int fd[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	b->peer[i] = fd[0];
	say(b, i, words);
	connections_add(b->cs, channel_from_socket(fd[1], -1));
	return i;
}

/* Has our end of its connection been closed? */
static bool is_refused(const struct box *b, unsigned peer)
{
	char c;
	ssize_t n = recv(b->peer[peer], &c, 1, MSG_DONTWAIT);

	return n == 0 || (n < 0 && errno != EAGAIN);
}

static void check_taken(const struct box *b, unsigned n, const unsigned *expected)
{
	ck_assert_uint_eq(b->n, n);
	for (unsigned i = 0; i < n; i++)
		ck_assert_uint_eq(b->kind[i], expected[i]);
}
#define CHECK_TAKEN(b, ...)                                                                        \
	check_taken(b, sizeof((unsigned[]){__VA_ARGS__}) / sizeof(unsigned),                       \
		    (unsigned[]){__VA_ARGS__})

/* Only one kind is expected: what it begins with is for its reader to judge.  A second one is
 * refused. */
START_TEST(count_decides)
{
	struct box b;
	unsigned second;

	box_init(&b, 1, 0, 0, FOREVER);
	(void)come(&b, "GET /");
	CHECK_TAKEN(&b, MAIN);
	second = come(&b, "MAIN");
	ck_assert(is_refused(&b, second));
	CHECK_TAKEN(&b, MAIN);
	box_fini(&b);
}
END_TEST

/* ... but one that begins as a kind that is not expected is not taken for it. */
START_TEST(not_expected_kind_is_refused)
{
	struct box b;

	box_init(&b, 1, 0, 0, FOREVER);
	ck_assert(is_refused(&b, come(&b, "PAGES")));
	ck_assert_uint_eq(b.n + b.surplus, 0);
	(void)come(&b, "MAIN");
	CHECK_TAKEN(&b, MAIN);
	box_fini(&b);
}
END_TEST

/* Several kinds are expected: the magic decides, in any order, in pieces, and late. */
START_TEST(magic_decides)
{
	struct box b;
	unsigned main, stranger;

	box_init(&b, 1, 2, 0, FOREVER);
	main = come(&b, "MA");
	stranger = come(&b, "GET /");
	ck_assert(is_refused(&b, stranger));
	(void)come(&b, "PAGE");
	say(&b, main, "IN");
	while (b.n < 2)
		turn(&b);
	CHECK_TAKEN(&b, PAGES, MAIN);
	ck_assert(is_refused(&b, come(&b, "GET /"))); /* one kind is left, and a move to harm */
	(void)come(&b, "PAGES and more");
	CHECK_TAKEN(&b, PAGES, MAIN, PAGES);
	box_fini(&b);
}
END_TEST

/* A kind that wants its surplus gets it; any other is refused. */
START_TEST(too_many)
{
	struct box b;

	box_init(&b, 1, 1, 0, FOREVER);
	(void)come(&b, "PAGE");
	(void)come(&b, "PAGE");
	ck_assert_uint_eq(b.surplus, 1);
	(void)come(&b, "MAIN");
	(void)come(&b, "PAGE");
	ck_assert_uint_eq(b.surplus, 2);
	ck_assert(is_refused(&b, come(&b, "MAIN")));
	ck_assert(is_refused(&b, come(&b, "GET /")));
	CHECK_TAKEN(&b, PAGES, MAIN);
	ck_assert_uint_eq(b.decided, 6);
	box_fini(&b);
}
END_TEST

/* What is expected follows the capabilities until a connection is taken, whoever waits silently. */
START_TEST(settings_change_until_the_first)
{
	struct box b;

	box_init(&b, 1, 0, 0, FOREVER);
	(void)come(&b, "");
	b.expected[PAGES] = 1;
	(void)come(&b, "PAGE");
	b.expected[PAGES] = 0;
	ck_assert_uint_eq(b.surplus, 0);
	(void)come(&b, "MAIN");
	(void)come(&b, "PAGE");
	ck_assert_uint_eq(b.surplus, 1);
	CHECK_TAKEN(&b, PAGES, MAIN);
	box_fini(&b);
}
END_TEST

/* Silence takes no place of a kind that has a magic: it is dropped in time, or for others. */
START_TEST(silence_takes_no_place)
{
	struct box b;
	unsigned silent, oldest;

	box_init(&b, 1, 0, 0, 1);
	silent = come(&b, "");
	(void)come(&b, "MA");
	ck_assert(connections_waiting(b.cs));
	while (connections_waiting(b.cs))
		turn(&b);
	ck_assert(is_refused(&b, silent));
	ck_assert_uint_eq(b.n, 0);
	box_fini(&b);

	box_init(&b, 1, 0, 0, FOREVER);
	oldest = come(&b, "");
	for (unsigned i = 1; i < CONNECTIONS_MAX; i++)
		(void)come(&b, "");
	ck_assert(!is_refused(&b, oldest));
	(void)come(&b, "MAIN");
	ck_assert(is_refused(&b, oldest));
	CHECK_TAKEN(&b, MAIN);
	connections_clear(b.cs);
	ck_assert(!connections_waiting(b.cs));
	box_fini(&b);
}
END_TEST

/* A kind without magic needs no byte, as soon as nothing else is left: come first or come last. */
START_TEST(no_byte_where_nothing_else_is_left)
{
	struct box b;

	box_init(&b, 1, 1, 1, FOREVER);
	(void)come(&b, "");
	(void)come(&b, "MAIN");
	ck_assert_uint_eq(b.n, 1);
	(void)come(&b, "PAGE");
	CHECK_TAKEN(&b, MAIN, PAGES, LAST);
	ck_assert_ptr_nonnull(b.ch[2]);
	ck_assert(is_refused(&b, come(&b, "MAIN")));
	box_fini(&b);

	box_init(&b, 1, 0, 1, FOREVER);
	(void)come(&b, "MAIN");
	(void)come(&b, "");
	CHECK_TAKEN(&b, MAIN, LAST);
	(void)come(&b, "");
	ck_assert_uint_eq(b.n, 2);
	box_fini(&b);
}
END_TEST

/* A pipe cannot be peeked at: by count, in the order of the table. */
START_TEST(unseen_by_count)
{
	struct box b;

	box_init(&b, 1, 1, 0, FOREVER);
	for (int i = 0; i < 3; i++) {
		struct err err = {0};
		int fd[2];

		ck_assert_int_eq(pipe(fd), 0);
		b.peer[b.n_peers++] = fd[1];
		connections_add(b.cs, channel_from_fd(fd[0], -1, &err));
	}
	CHECK_TAKEN(&b, MAIN, PAGES);
	ck_assert(!connections_waiting(b.cs));
	box_fini(&b);
}
END_TEST

/* A peer that leaves without a word. */
START_TEST(leaves)
{
	struct box b;

	box_init(&b, 1, 1, 0, FOREVER);
	(void)shutdown(b.peer[come(&b, "")], SHUT_WR);
	while (connections_waiting(b.cs))
		turn(&b);
	ck_assert_uint_eq(b.n, 0);
	ck_assert_uint_eq(b.decided, 1);
	box_fini(&b);
}
END_TEST

CHECK_MAIN("connections", count_decides, not_expected_kind_is_refused, magic_decides, too_many,
	   settings_change_until_the_first, silence_takes_no_place,
	   no_byte_where_nothing_else_is_left, unseen_by_count, leaves)
