/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network-bridge/sim/text.h"

#include <stdlib.h>

#include "network-bridge/plan/ip.h"

static const char *const kinds[] = {"card", "bridge", "bond", "vlan", "vxlan", "gre"};
static const char *const modes[] = {"active-backup", "balance-slb", "lacp", "other"};
static const char *const hashes[] = {"tcpudp_ports", "src_mac", "other"};
static const char *const ipv6s[] = {"off", "static", "managed", "autoconf"};
static const char *const clients[] = {"v4", "v6", "route", "dns"}; /* bits, from the lowest */

/* ---- words ---- */

bool net_words_next(struct arena *arena, const char **text, struct net_words *out,
                    struct error **error)
{
    const char *end = strchrnul(*text, '\n');
    char *line = arena_strndup(arena, *text, (size_t)(end - *text)), *rest = NULL;

    *out = (struct net_words){.arena = arena};
    if (!**text)
        return false;
    *text = *end ? end + 1 : end;
    line[strcspn(line, "#")] = '\0';
    for (char *w = strtok_r(line, " \t\r", &rest); w; w = strtok_r(NULL, " \t\r", &rest)) {
        if (out->n == NET_WORDS_LIMIT) {
            *error = error_internal(arena, "a line of a network's text is too long");
            return false;
        }
        out->v[out->n++] = w;
    }
    return true;
}

const char *net_word(const struct net_words *words, const char *key)
{
    for (size_t i = 1; i + 1 < words->n; i++)
        if (strcmp(words->v[i], key) == 0)
            return words->v[i + 1];
    return "";
}

bool net_has_word(const struct net_words *words, const char *word)
{
    for (size_t i = 1; i < words->n; i++)
        if (strcmp(words->v[i], word) == 0)
            return true;
    return false;
}

int64_t net_number(const struct net_words *words, const char *key, int64_t most, int64_t otherwise)
{
    const char *word = net_word(words, key);
    char *end;
    long long v;

    if (!*word)
        return otherwise;
    v = strtoll(word, &end, 10);
    return *end || v < 0 || v > most ? -1 : (int64_t)v;
}

const char *const *net_list(struct arena *arena, const char *word, size_t *n)
{
    const char **v = arena_array(arena, const char *, strlen(word) + 1);
    char *copy = arena_strdup(arena, word), *rest = NULL;

    *n = 0;
    for (char *w = strtok_r(copy, ",", &rest); w; w = strtok_r(NULL, ",", &rest))
        v[(*n)++] = w;
    return v;
}

static int index_of(const char *const *names, size_t n, const char *word)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], word) == 0)
            return (int)i;
    return -1;
}
#define INDEX_OF(names, word) index_of(names, ARRAY_SIZE(names), word)

bool net_bond_words(const struct net_words *words, struct net_bond *out)
{
    int64_t miimon = net_number(words, "miimon", INT32_MAX, 100);
    int64_t up = net_number(words, "updelay", INT32_MAX, 0);
    int64_t down = net_number(words, "downdelay", INT32_MAX, 0);
    const char *mode = net_word(words, "mode"), *hash = net_word(words, "hash");
    int m = *mode ? INDEX_OF(modes, mode) : 0, h = *hash ? INDEX_OF(hashes, hash) : 0;

    *out = (struct net_bond){.mode = (enum net_bond_mode)m,
                             .hash = (enum net_bond_hash)h,
                             .lacp_fast = net_has_word(words, "fast"),
                             .miimon = (int)miimon,
                             .updelay = (int)up,
                             .downdelay = (int)down};
    return m >= 0 && h >= 0 && miimon >= 0 && up >= 0 && down >= 0;
}

/* ---- reading ---- */

static bool is_address(const char *text)
{
    struct ip ip;

    return ip_parse(text, &ip);
}

struct reading {
    struct arena *arena;
    struct net_link *links;
    struct net_address *addresses;
    struct net_route *routes;
    struct net_state *out;
};

static bool read_dhcp(const struct net_words *w, unsigned *out)
{
    size_t n;
    const char *const *words = net_list(w->arena, net_word(w, "dhcp"), &n);

    *out = 0;
    for (size_t i = 0; i < n; i++) {
        int bit = INDEX_OF(clients, words[i]);

        if (bit < 0)
            return false;
        *out |= 1U << bit;
    }
    return true;
}

/* NAME KIND [ours] [up] [mac M] [permanent M] mtu N [master X] [below X] [tag N] ... */
static bool read_link(struct reading *r, const struct net_words *w)
{
    struct net_link *link = &r->links[r->out->n_links];
    int kind = w->n > 2 ? INDEX_OF(kinds, w->v[2]) : -1;
    const char *ipv6 = net_word(w, "ipv6");
    int64_t mtu = net_number(w, "mtu", INT32_MAX, 1500), tag = net_number(w, "tag", 4095, 0);
    int64_t id = net_number(w, "id", UINT32_MAX, 0), speed = net_number(w, "speed", INT32_MAX, 0);
    int mode = *ipv6 ? INDEX_OF(ipv6s, ipv6) : NET_IPV6_OFF;

    if (kind < 0 || mtu < 0 || tag < 0 || id < 0 || speed < 0 || mode < 0 ||
        strlen(w->v[1]) >= NET_NAME_SIZE || r->out->n_links == NET_MAX_LINKS ||
        net_link_find(r->out, w->v[1]))
        return false;
    *link = (struct net_link){
        .name = w->v[1],
        .kind = (enum net_kind)kind,
        .ours = net_has_word(w, "ours"),
        .elsewhere = net_has_word(w, "elsewhere"),
        .up = net_has_word(w, "up"),
        .mac = net_word(w, "mac"),
        .permanent = net_word(w, "permanent"),
        .mtu = (int)mtu,
        .master = net_word(w, "master"),
        .below = kind == NET_VLAN ? net_word(w, "below") : "",
        .tag = (int)tag,
        .tunnel.id = (uint32_t)id,
        .tunnel.local = net_word(w, "local"),
        .ipv6 = (enum net_ipv6)mode,
        .index = (int)r->out->n_links + 1,
        .carrier = net_has_word(w, "carrier"),
        .physical = net_has_word(w, "physical"),
        .full_duplex = net_has_word(w, "full-duplex"),
        .speed = (int)speed,
        .pci_bus_path = net_word(w, "pci"),
        .vendor_id = "",
        .device_id = "",
        .vendor_name = "",
        .device_name = "",
        .driver = net_word(w, "driver"),
    };
    link->tunnel.peers = net_list(r->arena, net_word(w, "peers"), &link->tunnel.n_peers);
    r->out->n_links++;
    return read_dhcp(w, &link->dhcp) && (kind != NET_BOND || net_bond_words(w, &link->bond)) &&
           (kind != NET_GRE || link->tunnel.n_peers == 1 || r->out->vswitch);
}

/* DEVICE ADDRESS/LENGTH [lifetime N] */
static bool read_address(struct reading *r, const struct net_words *w)
{
    int64_t lifetime = net_number(w, "lifetime", UINT32_MAX, 0);

    if (w->n < 3 || lifetime < 0 || !is_address(w->v[2]) ||
        r->out->n_addresses == NET_MAX_ADDRESSES)
        return false;
    r->addresses[r->out->n_addresses++] = (struct net_address){
        .device = w->v[1],
        .address = w->v[2],
        .lasting = !net_has_word(w, "lifetime"),
        .lifetime = (uint32_t)lifetime,
    };
    return true;
}

/* DEVICE NETWORK/LENGTH [via ADDRESS] [metric N] [ours] */
static bool read_route(struct reading *r, const struct net_words *w)
{
    int64_t metric = net_number(w, "metric", UINT32_MAX, 0);

    if (w->n < 3 || metric < 0 || !is_address(w->v[2]) ||
        (*net_word(w, "via") && !is_address(net_word(w, "via"))) ||
        r->out->n_routes == NET_MAX_ROUTES)
        return false;
    r->routes[r->out->n_routes++] = (struct net_route){.device = w->v[1],
                                                       .to = w->v[2],
                                                       .via = net_word(w, "via"),
                                                       .metric = (uint32_t)metric,
                                                       .ours = net_has_word(w, "ours")};
    return true;
}

static bool read_vswitch(struct reading *r, const struct net_words *w)
{
    r->out->vswitch = true;
    return w->n == 1;
}

/* [servers A,B] [domains A,B] */
static bool read_dns(struct reading *r, const struct net_words *w)
{
    struct net_dns *dns = &r->out->dns;

    dns->servers = net_list(r->arena, net_word(w, "servers"), &dns->n_servers);
    dns->domains = net_list(r->arena, net_word(w, "domains"), &dns->n_domains);
    return true;
}

static size_t count_lines(const char *text)
{
    size_t n = 1;

    for (; *text; text++)
        n += *text == '\n';
    return n;
}

struct error *net_state_parse(struct arena *arena, const char *text, struct net_state *out)
{
    static const struct {
        const char *word;
        bool (*read)(struct reading *r, const struct net_words *w);
    } lines[] = {{"link", read_link},
                 {"address", read_address},
                 {"route", read_route},
                 {"dns", read_dns},
                 {"vswitch", read_vswitch}};
    size_t room = count_lines(text);
    struct reading r = {.arena = arena,
                        .links = arena_array(arena, struct net_link, room),
                        .addresses = arena_array(arena, struct net_address, room),
                        .routes = arena_array(arena, struct net_route, room),
                        .out = out};
    struct error *error = OK;
    struct net_words w;

    *out = (struct net_state){.links = r.links, .addresses = r.addresses, .routes = r.routes};
    for (size_t number = 1; net_words_next(arena, &text, &w, &error); number++) {
        bool good = w.n == 0;

        for (size_t i = 0; i < ARRAY_SIZE(lines) && w.n; i++)
            if (strcmp(w.v[0], lines[i].word) == 0)
                good = lines[i].read(&r, &w);
        if (!good)
            return error_internal(arena, "line %zu of a network's text is not understood", number);
    }
    return error;
}

/* ---- writing ---- */

static void print_word(struct buf *out, const char *key, const char *word)
{
    if (*word)
        buf_printf(out, " %s %s", key, word);
}

static void print_number(struct buf *out, const char *key, int64_t number)
{
    if (number)
        buf_printf(out, " %s %lld", key, (long long)number);
}

static void print_flag(struct buf *out, const char *word, bool value)
{
    if (value)
        buf_printf(out, " %s", word);
}

static void print_list(struct buf *out, const char *key, size_t n, const char *const *words)
{
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s%s%s%s", i ? "," : " ", i ? "" : key, i ? "" : " ", words[i]);
}

static void print_link(struct buf *out, const struct net_link *link)
{
    const char *dhcp[ARRAY_SIZE(clients)];
    size_t n = 0;

    buf_printf(out, "link %s %s", link->name, kinds[link->kind]);
    print_flag(out, "ours", link->ours);
    print_flag(out, "elsewhere", link->elsewhere);
    print_flag(out, "up", link->up);
    print_word(out, "mac", link->mac);
    print_word(out, "permanent", link->permanent);
    buf_printf(out, " mtu %d", link->mtu);
    print_word(out, "master", link->master);
    print_word(out, "below", link->below);
    if (link->kind == NET_VLAN)
        buf_printf(out, " tag %d", link->tag);
    if (link->kind == NET_BOND)
        buf_printf(out, " mode %s hash %s%s miimon %d updelay %d downdelay %d",
                   modes[link->bond.mode], hashes[link->bond.hash],
                   link->bond.lacp_fast ? " fast" : "", link->bond.miimon, link->bond.updelay,
                   link->bond.downdelay);
    if (link->kind == NET_VXLAN || link->kind == NET_GRE)
        buf_printf(out, " id %u", link->tunnel.id);
    print_word(out, "local", link->tunnel.local);
    print_list(out, "peers", link->tunnel.n_peers, link->tunnel.peers);
    buf_printf(out, " ipv6 %s", ipv6s[link->ipv6]);
    for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
        if (link->dhcp & 1U << i)
            dhcp[n++] = clients[i];
    print_list(out, "dhcp", n, dhcp);
    print_flag(out, "carrier", link->carrier);
    print_flag(out, "physical", link->physical);
    print_flag(out, "full-duplex", link->full_duplex);
    print_number(out, "speed", link->speed);
    print_word(out, "pci", link->pci_bus_path);
    print_word(out, "driver", link->driver);
    buf_putc(out, '\n');
}

void net_state_print(struct buf *out, const struct net_state *state)
{
    if (state->vswitch)
        buf_puts(out, "vswitch\n");
    for (size_t i = 0; i < state->n_links; i++)
        print_link(out, &state->links[i]);
    for (size_t i = 0; i < state->n_addresses; i++) {
        const struct net_address *a = &state->addresses[i];

        buf_printf(out, "address %s %s", a->device, a->address);
        if (!a->lasting)
            buf_printf(out, " lifetime %u", a->lifetime);
        buf_putc(out, '\n');
    }
    for (size_t i = 0; i < state->n_routes; i++) {
        const struct net_route *r = &state->routes[i];

        buf_printf(out, "route %s %s", r->device, r->to);
        print_word(out, "via", r->via);
        print_number(out, "metric", r->metric);
        print_flag(out, "ours", r->ours);
        buf_putc(out, '\n');
    }
    if (state->dns.n_servers || state->dns.n_domains) {
        buf_puts(out, "dns");
        print_list(out, "servers", state->dns.n_servers, state->dns.servers);
        print_list(out, "domains", state->dns.n_domains, state->dns.domains);
        buf_putc(out, '\n');
    }
}
