/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/nbd/negotiate.h"

#include <string.h>

#define CONTEXT "base:allocation"

/* ---- answers ---- */

static bool reply(struct nbd_negotiation *n, uint32_t option, uint32_t type, const void *data,
                  size_t size)
{
    uint8_t head[20];

    nbd_put32(nbd_put32(nbd_put32(nbd_put64(head, NBD_REPLY_MAGIC), option), type), (uint32_t)size);
    return n->wire->write(n->wire, head, sizeof head) &&
           (size == 0 || n->wire->write(n->wire, data, size));
}

static bool acknowledge(struct nbd_negotiation *n, uint32_t option)
{
    return reply(n, option, NBD_REP_ACK, NULL, 0);
}

static bool refuse(struct nbd_negotiation *n, uint32_t option, uint32_t type, const char *why)
{
    return reply(n, option, type, why, strlen(why));
}

unsigned nbd_export_flags(const struct nbd_negotiation *n, bool still)
{
    return NBD_HAS_FLAGS | NBD_READ_ONLY | (n->structured ? NBD_SEND_DF : 0) |
           (still ? NBD_CAN_MULTI_CONN : 0);
}

/* ---- reading an option's data ---- */

/* What is left of it. */
struct rest {
    const uint8_t *p;
    size_t n;
};

static bool take16(struct rest *r, unsigned *out)
{
    if (r->n < 2)
        return false;
    *out = nbd_get16(r->p);
    r->p += 2;
    r->n -= 2;
    return true;
}

static bool take32(struct rest *r, uint32_t *out)
{
    if (r->n < 4)
        return false;
    *out = nbd_get32(r->p);
    r->p += 4;
    r->n -= 4;
    return true;
}

/* A text with its length before it; it stays where it is. */
static bool take_text(struct rest *r, const char **text, size_t *n)
{
    uint32_t size;

    if (!take32(r, &size) || size > r->n || memchr(r->p, 0, size))
        return false;
    *text = (const char *)r->p;
    *n = size;
    r->p += size;
    r->n -= size;
    return true;
}

/* ---- INFO and GO ---- */

static bool send_facts(struct nbd_negotiation *n, uint32_t option, const struct nbd_facts *facts)
{
    uint8_t export[12], block[14];

    nbd_put16(nbd_put64(nbd_put16(export, NBD_INFO_EXPORT), (uint64_t)facts->size),
              nbd_export_flags(n, facts->still));
    nbd_put32(nbd_put32(nbd_put32(nbd_put16(block, NBD_INFO_BLOCK_SIZE), 1), NBD_REQUEST_GOOD),
              NBD_REQUEST_MAX);
    return reply(n, option, NBD_REP_INFO, export, sizeof export) &&
           reply(n, option, NBD_REP_INFO, block, sizeof block) && acknowledge(n, option);
}

/* Contexts count for the export they were asked for, and for no other. */
static void settle_context(struct nbd_negotiation *n, const char *name, size_t size)
{
    n->block_status =
        n->block_status && strlen(n->context_of) == size && memcmp(n->context_of, name, size) == 0;
}

static bool info(struct nbd_negotiation *n, uint32_t option, struct rest r, bool *done)
{
    struct nbd_facts facts;
    const char *name, *why = "";
    unsigned wishes;
    uint32_t answer;
    size_t size;

    if (!take_text(&r, &name, &size) || !take16(&r, &wishes) || r.n != (size_t)wishes * 2)
        return refuse(n, option, NBD_REP_ERR_INVALID, "The option is not well formed.");
    if (option == NBD_OPT_INFO) {
        answer = n->find(n->ctx, name, size, &facts, &why);
    } else {
        answer = n->open(n->ctx, name, size, &n->disk, &why);
        if (answer == NBD_REP_ACK)
            facts = (struct nbd_facts){n->disk->size, n->disk->still};
    }
    if (answer != NBD_REP_ACK)
        return refuse(n, option, answer, why);
    if (option == NBD_OPT_GO) {
        settle_context(n, name, size);
        *done = true;
    }
    return send_facts(n, option, &facts);
}

/* The old way, which has no room for a refusal. */
static bool export_name(struct nbd_negotiation *n, struct rest r, bool *done)
{
    uint8_t answer[8 + 2 + 124] = {0};
    const char *why;

    if (memchr(r.p, 0, r.n) ||
        n->open(n->ctx, (const char *)r.p, r.n, &n->disk, &why) != NBD_REP_ACK)
        return false;
    settle_context(n, (const char *)r.p, r.n);
    *done = true;
    nbd_put16(nbd_put64(answer, (uint64_t)n->disk->size), nbd_export_flags(n, n->disk->still));
    return n->wire->write(n->wire, answer, n->no_zeroes ? 10 : sizeof answer);
}

/* ---- contexts ---- */

static bool matches(const char *query, size_t n, bool list)
{
    if (list && n == strlen("base:") && memcmp(query, "base:", n) == 0)
        return true;
    return n == strlen(CONTEXT) && memcmp(query, CONTEXT, n) == 0;
}

static bool read_queries(struct rest r, bool list, bool *found)
{
    uint32_t queries;
    const char *query;
    size_t size;

    if (!take32(&r, &queries))
        return false;
    *found = list && queries == 0;
    for (; queries; queries--) {
        if (!take_text(&r, &query, &size))
            return false;
        *found |= matches(query, size, list);
    }
    return r.n == 0;
}

static bool contexts(struct nbd_negotiation *n, uint32_t option, struct rest r)
{
    static const char text[] = CONTEXT;
    uint8_t answer[4 + sizeof text - 1];
    bool list = option == NBD_OPT_LIST_META_CONTEXT, found;
    const char *name, *why = "";
    struct nbd_facts facts;
    uint32_t known;
    size_t size;

    if (!list)
        n->block_status = false;
    if (!n->structured)
        return refuse(n, option, NBD_REP_ERR_INVALID, "It needs structured replies.");
    if (!take_text(&r, &name, &size) || !read_queries(r, list, &found))
        return refuse(n, option, NBD_REP_ERR_INVALID, "The option is not well formed.");
    known = n->find(n->ctx, name, size, &facts, &why);
    if (known != NBD_REP_ACK)
        return refuse(n, option, known, why);
    if (!list && found) {
        n->block_status = true;
        memcpy(n->context_of, name, size);
        n->context_of[size] = '\0';
    }
    memcpy(nbd_put32(answer, list ? 0 : NBD_CONTEXT_ID), text, sizeof text - 1);
    return (!found || reply(n, option, NBD_REP_META_CONTEXT, answer, sizeof answer)) &&
           acknowledge(n, option);
}

/* ---- TLS ---- */

static bool start_tls(struct nbd_negotiation *n, size_t size)
{
    if (size)
        return refuse(n, NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID, "The option has no data.");
    if (!n->wire->secure)
        return refuse(n, NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID, "TLS is spoken already.");
    if (!acknowledge(n, NBD_OPT_STARTTLS) || !n->wire->secure(n->wire))
        return false;
    /* What was agreed in the clear may be somebody else's wish. */
    n->need_tls = n->structured = n->block_status = false;
    return true;
}

/* ---- the options ---- */

static bool structured_reply(struct nbd_negotiation *n, size_t size)
{
    if (size)
        return refuse(n, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_INVALID, "The option has no data.");
    n->structured = true;
    return acknowledge(n, NBD_OPT_STRUCTURED_REPLY);
}

static bool answer_option(struct nbd_negotiation *n, uint32_t option, size_t size, bool *done)
{
    struct rest r = {n->data, size};

    switch (option) {
    case NBD_OPT_STARTTLS:
        return start_tls(n, size);
    case NBD_OPT_ABORT:
        return acknowledge(n, option) && false; /* whoever leaves is let go */
    case NBD_OPT_EXPORT_NAME:
        return !n->need_tls && export_name(n, r, done);
    default:
        break;
    }
    if (n->need_tls)
        return refuse(n, option, NBD_REP_ERR_TLS_REQD, "This network is for TLS only.");
    switch (option) {
    case NBD_OPT_LIST:
        return refuse(n, option, NBD_REP_ERR_POLICY, "VDI.get_nbd_info tells names of exports.");
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        return info(n, option, r, done);
    case NBD_OPT_STRUCTURED_REPLY:
        return structured_reply(n, size);
    case NBD_OPT_LIST_META_CONTEXT:
    case NBD_OPT_SET_META_CONTEXT:
        return contexts(n, option, r);
    default:
        return refuse(n, option, NBD_REP_ERR_UNSUP, "This option is not known here.");
    }
}

/* Reads one option and answers it. */
static bool next_option(struct nbd_negotiation *n, bool *done)
{
    uint32_t option, size;
    uint8_t head[16];

    if (!n->wire->read(n->wire, head, sizeof head) || nbd_get64(head) != NBD_OPTION_MAGIC)
        return false;
    option = nbd_get32(head + 8);
    size = nbd_get32(head + 12);
    return size <= NBD_OPTION_MAX && (size == 0 || n->wire->read(n->wire, n->data, size)) &&
           answer_option(n, option, size, done);
}

bool nbd_negotiate(struct nbd_negotiation *n)
{
    uint8_t hello[18], flags[4];
    bool done = false;

    nbd_put16(nbd_put64(nbd_put64(hello, NBD_MAGIC), NBD_OPTION_MAGIC),
              NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
    if (!n->wire->write(n->wire, hello, sizeof hello) ||
        !n->wire->read(n->wire, flags, sizeof flags) ||
        (nbd_get32(flags) & ~(uint32_t)(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES)))
        return false;
    n->no_zeroes = nbd_get32(flags) & NBD_NO_ZEROES;
    for (int i = 0; i < NBD_OPTIONS_MAX && !done; i++)
        if (!next_option(n, &done))
            return false;
    return done;
}
