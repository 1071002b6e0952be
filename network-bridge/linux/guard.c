/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guard.c -- what may pass a guest's interface, as rules of nftables.
 *
 * One table.  Two maps lead from an interface to its chain, for what comes from the guest and for
 * what goes to it, so that the number of guests is no matter to a packet, nor to a change: a change
 * is a transaction about one guest's two chains.
 */
#include <stdio.h>
#include <string.h>

#include "libxapi/base/buf.h"
#include "libxapi/base/child.h"
#include "network-bridge/net.h"
#include "network-bridge/plan/ip.h"

#define ADDRESSES 1024
#define FEW 3 /* addresses, each with rules of its own */
#define LIST_LIMIT (4 << 20)
#define NFT_LIMIT (30 * USEC_PER_SEC)
#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

/* The same each time; what is there is not made again. */
static const char frame[] =
    "add table bridge xapid\n"
    "add map bridge xapid from { type ifname : verdict; }\n"
    "add map bridge xapid to { type ifname : verdict; }\n"
    "add chain bridge xapid from_guests { type filter hook prerouting priority -200; }\n"
    "add chain bridge xapid to_guests { type filter hook postrouting priority -200; }\n"
    "flush chain bridge xapid from_guests\n"
    "flush chain bridge xapid to_guests\n"
    "add rule bridge xapid from_guests iifname vmap @from\n"
    "add rule bridge xapid to_guests oifname vmap @to\n";

static struct error *wrong(struct arena *arena, const char *device, const char *what)
{
    return error_new(arena, "PIF_CONFIGURATION_ERROR", 2, device, what);
}

/* All of it goes into a text that a program with much power reads. */
static struct error *check_name(struct arena *arena, const char *device)
{
    if (*device && strlen(device) < NET_NAME_SIZE && strspn(device, NAME_LETTERS) == strlen(device))
        return OK;
    return wrong(arena, device, "it is not a name for a guest's interface");
}

struct error *net_guard_check(struct arena *arena, const struct net_guard *g)
{
    unsigned b[6];
    struct ip ip;
    char more;

    TRY(check_name(arena, g->device));
    if (g->mode == NET_GUARD_OPEN)
        return OK;
    if (strlen(g->mac) != 17 || sscanf(g->mac, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2],
                                       &b[3], &b[4], &b[5], &more) != 6)
        return wrong(arena, g->device, "it has no MAC");
    if (g->n_addresses > ADDRESSES)
        return wrong(arena, g->device, "it has too many addresses");
    for (size_t i = 0; i < g->n_addresses; i++)
        if (!ip_parse(g->addresses[i], &ip) || strchr(g->addresses[i], '/'))
            return wrong(arena, g->device,
                         arena_printf(arena, "\"%s\" is not an address", g->addresses[i]));
    return OK;
}

/*
 * The addresses of one family, and a first one that is always there: each by itself, or, where they
 * are many, as "{ a, b }".  Sets cost more than rules: each change of nft's asks the kernel for all
 * that there are.
 */
static struct strings sources_of(struct arena *arena, const struct net_guard *g, const char *first)
{
    const char **v = arena_array(arena, const char *, g->n_addresses + 1), *text;
    size_t n = 0;

    v[n++] = first;
    for (size_t i = 0; i < g->n_addresses; i++)
        if (ip_is_v6(g->addresses[i]) == ip_is_v6(first))
            v[n++] = g->addresses[i];
    if (n <= FEW)
        return (struct strings){.n = n, .v = v};
    text = arena_printf(arena, "{ %s", v[0]);
    for (size_t i = 1; i < n; i++)
        text = arena_printf(arena, "%s, %s", text, v[i]);
    v[0] = arena_printf(arena, "%s }", text);
    return (struct strings){.n = 1, .v = v};
}

/* An address that it says is its own: the target, behind eight bytes of ICMPv6.  (nft has a word
 * for it from version 1.0.7 on.) */
static void advertise_locked(struct buf *out, const struct net_guard *g, const char *source)
{
    for (size_t i = 0; i < g->n_addresses; i++) {
        struct ip ip;

        if (!ip_parse(g->addresses[i], &ip) || !ip_is_v6(g->addresses[i]))
            continue;
        buf_printf(out,
                   "add rule bridge xapid from_%s ether saddr %s ip6 saddr %s "
                   "icmpv6 type nd-neighbor-advert @th,64,128 0x",
                   g->device, g->mac, source);
        for (size_t b = 0; b < sizeof ip.bytes; b++)
            buf_printf(out, "%02x", ip.bytes[b]);
        buf_puts(out, " accept\n");
    }
}

/* From the guest.  0.0.0.0 and :: are those of one that does not know its address yet: it may ask
 * who has it, and ask for a lease. */
static void from_locked(struct buf *out, struct arena *arena, const struct net_guard *g)
{
    static const char *const never[] = {"nd-router-advert", "nd-neighbor-advert", "nd-redirect"};
    struct strings v4 = sources_of(arena, g, "0.0.0.0"), v6 = sources_of(arena, g, "::");
    const char *rule = arena_printf(arena, "add rule bridge xapid from_%s", g->device);

    buf_printf(out, "%s ether saddr != %s drop\n", rule, g->mac);
    for (size_t i = 0; i < v4.n; i++)
        buf_printf(out, "%s ether type arp arp saddr ether %s arp saddr ip %s accept\n", rule,
                   g->mac, v4.v[i]);
    buf_printf(out, "%s ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept\n", rule);
    buf_printf(out, "%s ip saddr 0.0.0.0 drop\n", rule);
    for (size_t i = 0; i < v4.n; i++)
        buf_printf(out, "%s ip saddr %s accept\n", rule, v4.v[i]);
    for (size_t i = 0; i < v6.n; i++)
        advertise_locked(out, g, v6.v[i]);
    for (size_t i = 0; i < ARRAY_SIZE(never); i++)
        buf_printf(out, "%s icmpv6 type %s drop\n", rule, never[i]);
    buf_printf(out, "%s ip6 saddr :: icmpv6 type nd-neighbor-solicit accept\n", rule);
    buf_printf(out, "%s ip6 saddr :: drop\n", rule);
    for (size_t i = 0; i < v6.n; i++)
        buf_printf(out, "%s ip6 saddr %s accept\n", rule, v6.v[i]);
    buf_printf(out, "%s drop\n", rule);
}

/* The interface's two chains, empty. */
static void put_chains(struct buf *out, const char *device)
{
    static const char *const ways[] = {"from", "to"};

    for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
        buf_printf(out,
                   "add chain bridge xapid %1$s_%2$s\nflush chain bridge xapid %1$s_%2$s\n"
                   "add element bridge xapid %1$s { %2$s : jump %1$s_%2$s }\n",
                   ways[i], device);
}

static void put_guard(struct buf *out, struct arena *arena, const struct net_guard *g)
{
    put_chains(out, g->device); /* also to take them away: what is not there cannot be */
    switch (g->mode) {
    case NET_GUARD_OPEN:
        buf_printf(out,
                   "delete element bridge xapid from { %1$s }\n"
                   "delete element bridge xapid to { %1$s }\n"
                   "delete chain bridge xapid from_%1$s\ndelete chain bridge xapid to_%1$s\n",
                   g->device);
        break;
    case NET_GUARD_SHUT:
        buf_printf(out,
                   "add rule bridge xapid from_%1$s drop\nadd rule bridge xapid to_%1$s drop\n",
                   g->device);
        break;
    case NET_GUARD_LOCKED:
        from_locked(out, arena, g);
        /* What a bridge sends everywhere, for it does not know where to, is for somebody else. */
        buf_printf(out,
                   "add rule bridge xapid to_%s ether daddr & 01:00:00:00:00:00 == "
                   "00:00:00:00:00:00 ether daddr != %s drop\n",
                   g->device, g->mac);
        break;
    }
}

struct error *net_guard_text(struct arena *arena, const struct net_guard *guards, size_t n,
                             const char **out)
{
    AUTO(buf) text = {0};

    buf_puts(&text, frame);
    for (size_t i = 0; i < n; i++) {
        TRY(net_guard_check(arena, &guards[i]));
        put_guard(&text, arena, &guards[i]);
    }
    *out = arena_strdup(arena, text.data);
    return OK;
}

static const char *failure_of(const struct child_result *r)
{
    return r->timed_out ? "it does not end" : r->errors;
}

struct error *net_guard_set(struct arena *arena, const char *text)
{
    static const char *const argv[] = {"nft", "-f", "-", NULL};
    struct child_spec spec = {
        .argv = argv, .timeout = NFT_LIMIT, .input = text, .input_size = strlen(text)};
    struct child_result result;

    TRY(child_run(arena, &spec, &result));
    if (result.status == 0 && !result.timed_out)
        return OK;
    return wrong(arena, "vif",
                 arena_printf(arena, "nft does not take the rules of guests' interfaces: %s",
                              failure_of(&result)));
}

struct strings net_guard_names(struct arena *arena, const char *said)
{
    struct strings names = {0};
    const char **v, *end;
    size_t room = 0;

    for (const char *p = said; *p; p++)
        room += *p == '"';
    names.v = v = arena_array(arena, const char *, room + 1);
    for (const char *p = strchr(said, '"'); p; p = strchr(end + 1, '"')) {
        end = strchr(p + 1, '"');
        if (!end)
            break;
        v[names.n] = arena_strndup(arena, p + 1, (size_t)(end - p - 1));
        names.n += check_name(arena, v[names.n]) == OK;
    }
    return names;
}

struct error *net_guard_list(struct arena *arena, struct strings *out)
{
    static const char *const argv[] = {"nft", "list", "map", "bridge", "xapid", "from", NULL};
    struct child_spec spec = {.argv = argv, .timeout = NFT_LIMIT, .output_limit = LIST_LIMIT};
    struct child_result result;

    TRY(child_run(arena, &spec, &result));
    if (result.timed_out)
        return wrong(arena, "vif", arena_printf(arena, "nft: %s", failure_of(&result)));
    *out = net_guard_names(arena, result.status == 0 ? result.output : "");
    return OK;
}
