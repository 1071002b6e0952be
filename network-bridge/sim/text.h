/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* text.h -- a host's network as lines of text (README.md has the form): the file of the simulated
 * kernel, and what tests are written in. */
#pragma once

#include "libxapi/base/buf.h"
#include "network-bridge/net.h"

#define NET_TEXT_LIMIT (4 * 1024 * 1024) /* bytes */
#define NET_WORDS_LIMIT 64               /* in a line */

/* The words of a line; "key value" pairs and single words are asked for by name. */
struct net_words {
    struct arena *arena;
    size_t n;
    const char *v[NET_WORDS_LIMIT];
};

/* Cuts off the first line of '*text' and splits it; blank lines and comments (#) have no words.
 * False at the end of the text; an error in '*error' for a line with too many words. */
bool net_words_next(struct arena *arena, const char **text, struct net_words *out,
                    struct error **error);
/* The word after 'key'; "" where it is not there. */
const char *net_word(const struct net_words *words, const char *key);
/* The same as a number from 0 to 'most', 'otherwise' where it is not there; -1 where it is none. */
int64_t net_number(const struct net_words *words, const char *key, int64_t most, int64_t otherwise);
bool net_has_word(const struct net_words *words, const char *word);
/* The parts of a word between commas. */
const char *const *net_list(struct arena *arena, const char *word, size_t *n);
/* mode M [hash H] [fast] miimon N updelay N downdelay N; false where one of them is wrong. */
bool net_bond_words(const struct net_words *words, struct net_bond *out);

/* Reads a state; an error names the line that is none. */
MUST_CHECK struct error *net_state_parse(struct arena *arena, const char *text,
                                         struct net_state *out);
void net_state_print(struct buf *out, const struct net_state *state);
