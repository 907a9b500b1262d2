/*
 * nearest.c - the known word that a mistyped one is nearest to
 *
 * The distance of two words is the number of letters to insert, drop, replace or
 * swap with their neighbour.  A word is near when a third of it or less is wrong.
 */
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

#define WORD_MAX 40

static unsigned least(unsigned a, unsigned b, unsigned c)
{
	return MIN(MIN(a, b), c);
}

static unsigned distance(const char *a, const char *b)
{
	unsigned row[3][WORD_MAX + 1] = {{0}}; /* of the last three letters of a */
	size_t na = strlen(a), nb = strlen(b);

	if (na > WORD_MAX || nb > WORD_MAX)
		return WORD_MAX;
	for (size_t j = 0; j <= nb; j++)
		row[0][j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++) {
		unsigned *now = row[i % 3], *before = row[(i + 2) % 3], *earlier = row[(i + 1) % 3];

		now[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			now[j] = least(before[j] + 1, now[j - 1] + 1,
				       before[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				now[j] = MIN(now[j], earlier[j - 2] + 1);
		}
	}
	return row[na % 3][nb];
}

void opt_near_try(struct opt_near *n, const char *candidate)
{
	size_t len = strlen(n->word);
	/* a beginning is as near as a word with one letter wrong */
	bool begins = len >= 3 && !strncmp(n->word, candidate, len);
	unsigned d = begins ? 1 : distance(n->word, candidate);

	if (len < 2 || d > MAX(len, 3) / 3 || (n->best && d >= n->distance))
		return;
	n->best = candidate;
	n->distance = d;
}

const char *opt_near_words(const char *word, const char *words, char out[OPT_NEAR_BYTES])
{
	struct opt_near n = {.word = word};
	char one[2][WORD_MAX + 1] = {"", ""};
	unsigned at = 0;

	while (*words) {
		size_t len = strcspn(words, "|");

		if (len <= WORD_MAX) {
			memcpy(one[at], words, len);
			one[at][len] = 0;
			opt_near_try(&n, one[at]);
			if (n.best == one[at]) /* keep it, the other one is free */
				at ^= 1;
		}
		words += len + (words[len] == '|');
	}
	return opt_near_text(&n, "", out);
}

const char *opt_near_text(const struct opt_near *n, const char *dash, char out[OPT_NEAR_BYTES])
{
	*out = 0;
	if (n->best)
		(void)snprintf(out, OPT_NEAR_BYTES, " (did you mean %s%s?)", dash, n->best);
	return out;
}
