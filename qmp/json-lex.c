/*
 * json-lex.c - a state machine that takes one byte at a time
 *
 * A token's text is collected in 'text' until the token is complete.  A number
 * or a word ends at the first byte that is not part of it; that byte is not
 * taken and begins the next token.  Numbers follow the table 'number'.  A token
 * above JSON_MAX_BYTES is read to its end without being kept, and reported as
 * too big.
 */
#include "qmp/json-lex.h"

#include <string.h>

#include "qmp/json.h"

enum {
	AT_START,
	AT_RECOVERY, /* behind a stray: skipping */
	AT_STRING,
	AT_ESCAPE, /* behind the backslash */
	AT_KEYWORD,
	AT_MINUS,
	AT_ZERO,   /* a number that begins with 0 */
	AT_DIGITS, /* a number that does not */
	AT_POINT,
	AT_FRACTION,
	AT_E,
	AT_E_SIGN,
	AT_E_DIGITS,
	AT_DONE, /* a token was handed out: the next byte begins anew */
};

void json_lexer_init(struct json_lexer *lx)
{
	memset(lx, 0, sizeof(*lx));
}

void json_lexer_fini(struct json_lexer *lx)
{
	buf_free(&lx->text);
}

void json_lexer_reset(struct json_lexer *lx)
{
	buf_free(&lx->text);
	lx->state = AT_START;
	lx->too_big = false;
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool is_word(uint8_t c)
{
	return c >= 'a' && c <= 'z';
}

static enum json_token structural(uint8_t c)
{
	switch (c) {
	case '{':
		return TOK_OPEN_OBJECT;
	case '}':
		return TOK_CLOSE_OBJECT;
	case '[':
		return TOK_OPEN_ARRAY;
	case ']':
		return TOK_CLOSE_ARRAY;
	case ':':
		return TOK_COLON;
	case ',':
		return TOK_COMMA;
	default:
		return TOK_NONE;
	}
}

static void lexer_keep(struct json_lexer *lx, uint8_t c)
{
	if (lx->text.len >= JSON_MAX_BYTES) {
		lx->too_big = true;
		buf_free(&lx->text);
	}
	if (!lx->too_big)
		buf_u8(&lx->text, c);
}

static enum json_token lexer_done(struct json_lexer *lx, enum json_token tok)
{
	lx->state = AT_DONE;
	return lx->too_big ? TOK_TOO_BIG : tok;
}

static enum json_token lexer_stray(struct json_lexer *lx)
{
	lx->state = AT_RECOVERY;
	return lx->too_big ? TOK_TOO_BIG : TOK_STRAY;
}

/* The byte belongs to the token, which is not complete yet. */
static enum json_token lexer_more(struct json_lexer *lx, uint8_t state)
{
	lx->state = state;
	return TOK_NONE;
}

static enum json_token lexer_start(struct json_lexer *lx, uint8_t c)
{
	enum json_token tok = structural(c);

	if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
		return lexer_more(lx, AT_START);
	lexer_keep(lx, c);
	if (tok != TOK_NONE)
		return lexer_done(lx, tok);
	if (c == '"' || c == '\'') {
		lx->quote = c;
		return lexer_more(lx, AT_STRING);
	}
	if (c == '-')
		return lexer_more(lx, AT_MINUS);
	if (is_digit(c))
		return lexer_more(lx, c == '0' ? AT_ZERO : AT_DIGITS);
	if (is_word(c))
		return lexer_more(lx, AT_KEYWORD);
	return lexer_stray(lx);
}

/* Brackets and separators are good places to go on, and so are line ends; FE and FF are never text.
 */
static enum json_token lexer_recover(struct json_lexer *lx, uint8_t c, bool *taken)
{
	if (structural(c) != TOK_NONE) {
		*taken = false;
		lx->state = AT_START;
	} else if ((c < 0x20 && c != '\t') || c >= 0xfe) {
		lx->state = AT_START;
	}
	return TOK_NONE;
}

static enum json_token in_string(struct json_lexer *lx, uint8_t c)
{
	lexer_keep(lx, c);
	if (c < 0x20 || c >= 0xfe)
		return lexer_stray(lx);
	if (lx->state == AT_ESCAPE)
		return lexer_more(lx, AT_STRING);
	if (c == '\\')
		return lexer_more(lx, AT_ESCAPE);
	return c == lx->quote ? lexer_done(lx, TOK_STRING) : TOK_NONE;
}

/* The states of a number, and what a byte does to each. */
static const struct {
	uint8_t digit, point, e, sign; /* next state; 0: the byte is not part of it */
	enum json_token
	    complete; /* what ends before a byte that is not part of it; TOK_NONE: stray */
} number[] = {
    [AT_MINUS] = {.digit = AT_DIGITS  },
    [AT_ZERO] = {			    .point = AT_POINT,           .e = AT_E, .complete = TOK_INTEGER},
    [AT_DIGITS] = {     AT_DIGITS,            AT_POINT, AT_E, 0, TOK_INTEGER},
    [AT_POINT] = {               .digit = AT_FRACTION                  },
    [AT_FRACTION] = {				   .digit = AT_FRACTION, .e = AT_E, .complete = TOK_FLOAT},
    [AT_E] = {.digit = AT_E_DIGITS,           .sign = AT_E_SIGN},
    [AT_E_SIGN] = {                 .digit = AT_E_DIGITS},
    [AT_E_DIGITS] = {      .digit = AT_E_DIGITS, .complete = TOK_FLOAT},
};

static uint8_t number_next(uint8_t state, uint8_t c)
{
	if (state == AT_MINUS && c == '0')
		return AT_ZERO;
	if (is_digit(c))
		return number[state].digit;
	switch (c) {
	case '.':
		return number[state].point;
	case 'e':
	case 'E':
		return number[state].e;
	case '+':
	case '-':
		return number[state].sign;
	default:
		return 0;
	}
}

static enum json_token in_number(struct json_lexer *lx, uint8_t c, bool *taken)
{
	uint8_t next = number_next(lx->state, c);
	enum json_token complete = number[lx->state].complete;

	if (!next && complete != TOK_NONE && !(lx->state == AT_ZERO && is_digit(c))) {
		*taken = false;
		return lexer_done(lx, complete);
	}
	lexer_keep(lx, c);
	return next ? lexer_more(lx, next) : lexer_stray(lx);
}

enum json_token json_lexer_byte(struct json_lexer *lx, uint8_t c, bool *taken)
{
	*taken = true;
	if (lx->state == AT_DONE || lx->state == AT_RECOVERY) {
		buf_clear(&lx->text);
		lx->too_big = false;
	}
	switch (lx->state) {
	case AT_DONE:
	case AT_START:
		return lexer_start(lx, c);
	case AT_RECOVERY:
		return lexer_recover(lx, c, taken);
	case AT_STRING:
	case AT_ESCAPE:
		return in_string(lx, c);
	case AT_KEYWORD:
		if (!is_word(c)) {
			*taken = false;
			return lexer_done(lx, TOK_KEYWORD);
		}
		lexer_keep(lx, c);
		return TOK_NONE;
	default:
		return in_number(lx, c, taken);
	}
}

enum json_token json_lexer_end(struct json_lexer *lx)
{
	bool taken;

	if (lx->state == AT_DONE || lx->state == AT_START || lx->state == AT_RECOVERY)
		return TOK_NONE;
	if (lx->state == AT_STRING || lx->state == AT_ESCAPE)
		return TOK_STRAY;
	return json_lexer_byte(lx, '\n', &taken);
}
