/*
 * json-lex.h - bytes to tokens, one byte at a time (qmp-surface 1.1, 1.3)
 *
 * QMP's dialect: strings in double or single quotes, numbers as JSON has
 * them, words of lower-case letters.  After bytes that begin no token it
 * skips to the next bracket, comma, colon or control character, so that one
 * slip costs one message.
 */
#ifndef MINIVMM_QMP_JSON_LEX_H
#define MINIVMM_QMP_JSON_LEX_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/buf.h"

enum json_token {
	TOK_NONE, /* not complete */
	TOK_OPEN_OBJECT,
	TOK_CLOSE_OBJECT,
	TOK_OPEN_ARRAY,
	TOK_CLOSE_ARRAY,
	TOK_COLON,
	TOK_COMMA,
	TOK_STRING,  /* text: with its quotes, escapes unresolved */
	TOK_INTEGER, /* text */
	TOK_FLOAT,   /* text */
	TOK_KEYWORD, /* text: [a-z]+ */
	TOK_STRAY,   /* text: what begins no token, up to and with the byte that did not fit */
	TOK_TOO_BIG, /* a token above JSON_MAX_BYTES; its text was dropped */
};

struct json_lexer {
	uint8_t state;
	uint8_t quote;
	bool too_big;    /* the text is not kept */
	struct buf text; /* of the current token */
};

void json_lexer_init(struct json_lexer *lx);
void json_lexer_fini(struct json_lexer *lx);
void json_lexer_reset(struct json_lexer *lx);
/*
 * Look at one byte.  *taken: it belongs to what was read so far; else it ends
 * the token and must be shown again.  lx->text holds the token's text until
 * the next call.
 */
enum json_token json_lexer_byte(struct json_lexer *lx, uint8_t c, bool *taken);
/* There are no more bytes: a number or word ends here; TOK_STRAY when in the middle of something.
 */
enum json_token json_lexer_end(struct json_lexer *lx);

#endif
