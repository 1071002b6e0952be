/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net.h -- the network of one host: what it is to be, what it is, and the steps from the one to the
 * other.
 *
 *     net_read(kernel, ...) -> present state      a dump of the kernel's links, addresses, routes
 *     net_plan(wanted, present) -> steps          pure: no system call, no clock, no database
 *     net_apply(kernel, plan)                     carries them out, all or none
 *     net_undo(kernel, plan)                      takes a plan back that was carried out
 *
 * The daemon makes 'wanted' from its records (PIFs, bonds, VLANs, tunnels, networks), whole, each
 * time: the plan finds out what is to change, and is empty where nothing is.  So the same two calls
 * serve the start of the host, a plug, a new VLAN, the move of the management interface, and
 * whatever a daemon that died left half done.
 *
 * How it looks on the host.  Every attached network is a bridge; its port, if it has one, is a
 * card, a bond, a VLAN on one of these, or a tunnel.  Addresses are on the bridge, never on a port.
 * A bridge has its port's MAC.  Bridges and ports are Linux's own, or Open vSwitch's (net_ovs_new).
 *
 * What is touched.  The links that 'wanted' names, and those that it named once and names no more:
 * what was made here is removed, and a card is given back (taken out of its bridge and set down).
 * What is ours is marked in the kernel itself, by its group (NET_GROUP), what is made from the
 * first moment of its existence; so no list can be lost or be wrong.  Every other link (guests'
 * interfaces, a container's bridge, a card that no record names) is left as it is, and where one is
 * in the way that is an error.  A link that is wanted no more but has a guest's interface in it
 * stays until that has gone.
 *
 * Errors are PIF_CONFIGURATION_ERROR(device, text): the name of the device stands in the place of
 * the PIF.  Text forms: MACs in lower case, "00:16:3e:00:00:01"; addresses and networks with their
 * length, "192.0.2.1/24", as inet_ntop writes them; no string in a structure is NULL unless it says
 * so.
 */
#pragma once

#include "libxapi/base/arena.h"
#include "libxapi/value/type.h"

/* The group (ip link show group 2019651689, the letters "xapi") of every link that is ours.
 */
#define NET_GROUP 0x78617069

/* The protocol (ip route show proto 120, the letter "x") of every route that was set here. */
#define NET_ROUTE_PROTOCOL 120

#define NET_NAME_SIZE 16 /* of a link's name with its NUL, as the kernel has it */

/* Limits; beyond them is an error. */
#define NET_MAX_LINKS 16384
#define NET_MAX_ADDRESSES 65536
#define NET_MAX_ROUTES 65536
#define NET_MAX_STEPS 65536

enum net_kind {
    NET_OTHER, /* a card, or something that is nobody's business here */
    NET_BRIDGE,
    NET_BOND,
    NET_VLAN,
    NET_VXLAN,
    NET_GRE, /* Ethernet in GRE: gretap */
};

enum net_bond_mode { NET_ACTIVE_BACKUP, NET_BALANCE_SLB, NET_LACP, NET_BOND_OTHER };
enum net_bond_hash { NET_HASH_TCPUDP_PORTS, NET_HASH_SRC_MAC, NET_HASH_OTHER };

/* How a bond shares its members' links; times are in milliseconds. */
struct net_bond {
    enum net_bond_mode mode;
    enum net_bond_hash hash; /* lacp only, as is lacp_fast */
    bool lacp_fast;
    int miimon, updelay, downdelay;
};

struct net_tunnel {
    uint32_t id;       /* VXLAN: VNI, 24 bits; GRE: the key */
    const char *local; /* address of this end, without a length */
    size_t n_peers;    /* other ends; Linux's GRE has exactly one */
    const char *const *peers;
};

/* ---- what is wanted ---- */

/* A card, bond, VLAN or tunnel that is to be there and up. */
struct net_port {
    enum net_kind kind; /* NET_OTHER: a card */
    /* Its name in the records: eth0, bond0, tunnel0.  A card with another name in the kernel is
     * found by its MAC.  "" for a VLAN, whose link is named by net_vlan_name. */
    const char *device;
    const char *mac; /* card: which one, "" to go by the name; bond: "" takes its first member's */
    int mtu;         /* at least; a port is never narrower than the VLANs on it */
    const char *bridge; /* the bridge it is a port of; "" for a bond's member and for a card that
                           only carries VLANs */
    const char *below;  /* VLAN: device of the port that it tags on; else "" */
    int tag;            /* VLAN */
    size_t n_members;   /* bond: devices of its members, cards of 'ports' */
    const char *const *members;
    struct net_bond bond;
    struct net_tunnel tunnel;
};

enum net_ip_mode { NET_IP_NONE, NET_IP_STATIC, NET_IP_DHCP, NET_IP_AUTOCONF };

/* One family's address of an interface. */
struct net_ip {
    enum net_ip_mode mode; /* NET_IP_AUTOCONF for IPv6 only */
    const char *address;   /* NET_IP_STATIC: with its length; else "" */
    const char *gateway;   /* NET_IP_STATIC: "" for none; used only where 'default_route' says so */
};

struct net_route {
    const char *device;
    const char *to;  /* a network with its length; "0.0.0.0/0" and "::/0" are the default routes */
    const char *via; /* "" where it is on the link */
    uint32_t metric; /* 0 for one that is wanted */
    bool ours;       /* it was set here, and goes when it is wanted no more */
};

/* A network that is attached, with the host's own address in it. */
struct net_bridge {
    const char *name; /* xenbr0, xapi1, ... */
    int mtu;
    struct net_ip v4, v6;
    bool management;    /* its way to the world is interrupted last and shortest */
    bool default_route; /* its gateway, or its DHCP server's, is the host's; at most one bridge */
    bool resolver;      /* its DHCP server's name servers are the host's; at most one bridge */
    size_t n_routes;    /* further ones, whose 'device' does not matter */
    const struct net_route *routes;
};

struct net_dns {
    size_t n_servers, n_domains;
    const char *const *servers, *const *domains;
};

struct net_wanted {
    size_t n_ports, n_bridges;
    const struct net_port *ports;
    const struct net_bridge *bridges;
    const struct net_dns *dns; /* NULL: left as it is, or to a DHCP client */
};

/* ---- what is ---- */

/* How the kernel treats IPv6 on a link. */
enum net_ipv6 {
    NET_IPV6_OFF,      /* not even a link-local address */
    NET_IPV6_STATIC,   /* router advertisements are not heard */
    NET_IPV6_MANAGED,  /* routes from advertisements, addresses from a DHCP client */
    NET_IPV6_AUTOCONF, /* both from advertisements */
};

/* DHCP clients of ours that run for a link: a sum of these. */
enum net_dhcp {
    NET_DHCP_V4 = 1,
    NET_DHCP_V6 = 2,
    NET_DHCP_ROUTE = 4, /* they set the default route */
    NET_DHCP_DNS = 8,   /* they write the host's name servers */
};

/* A link, as it is or as it is to be made. */
struct net_link {
    const char *name;
    enum net_kind kind;
    bool ours;             /* it has the mark NET_GROUP: made here, or a card that was taken */
    bool up;               /* administratively */
    bool elsewhere;        /* made by what is not asked to make links now: with Open vSwitch, a
                              bridge of Linux's; it can go, but not become one that is wanted */
    const char *mac;       /* in use; "" where it has none */
    const char *permanent; /* a card's own MAC, which a bond or an administrator does not change */
    int mtu;
    const char *master; /* the bridge or bond that it is a port of, or "" */
    const char *below;  /* VLAN: the link that it tags on; "" else */
    int tag;
    struct net_bond bond;
    struct net_tunnel tunnel;
    enum net_ipv6 ipv6;
    unsigned dhcp; /* of enum net_dhcp */

    /* For the records only; the plan does not look at them. */
    int index;
    bool carrier;
    bool physical; /* there is hardware behind it */
    int speed;     /* Mbit/s; 0: unknown */
    bool full_duplex;
    const char *pci_bus_path;                                      /* "0000:03:00.0", or "" */
    const char *vendor_id, *device_id, *vendor_name, *device_name; /* ids: four digits; or "" */
    const char *driver;
};

struct net_address {
    const char *device;
    const char *address; /* with its length */
    bool lasting;        /* not from DHCP or an advertisement: has no lifetime */
    uint32_t lifetime;   /* seconds that are left, where it has one */
};

/* Links in the order the kernel made them; addresses of global scope; routes of the main table that
 * somebody has set (not those that the kernel adds for each address, nor those of advertisements).
 */
struct net_state {
    bool vswitch; /* Open vSwitch: it can share a load by MACs, have tunnels of any kind with many
                     ends, and a VLAN only on what is in a bridge */
    size_t n_links, n_addresses, n_routes;
    const struct net_link *links;
    const struct net_address *addresses;
    const struct net_route *routes;
    struct net_dns dns;
};

/* By name; NULL where there is none. */
const struct net_link *net_link_find(const struct net_state *state, const char *name);
/* The card with that permanent MAC, or, where 'mac' is "", of that name; NULL where there is none.
 */
const struct net_link *net_card_find(const struct net_state *state, const char *mac,
                                     const char *device);
/* Name of the link of a VLAN on 'below', a name in the kernel: "eth0.5", or a shorter one that is
 * made of a hash where this is too long. */
const char *net_vlan_name(struct arena *arena, const char *below, int tag);

/* ---- steps ---- */

/* What a step changes: one thing, from 'before' to 'after'. */
enum net_what {
    NET_LINK,    /* link: made of nothing, or removed */
    NET_MARK,    /* number: 1 with, 0 without the mark that it is ours */
    NET_UP,      /* number: 1 up, 0 down */
    NET_MTU,     /* number */
    NET_MAC,     /* text */
    NET_MASTER,  /* text: the bridge or bond; NULL: none */
    NET_OPTIONS, /* bond */
    NET_PEER,    /* text: another end of a tunnel; NULL: none */
    NET_ADDRESS, /* address; NULL: none */
    NET_ROUTE,   /* route; NULL: none */
    NET_IPV6,    /* number: enum net_ipv6 */
    NET_DHCP,    /* number: of enum net_dhcp, 0: no client */
    NET_DNS,     /* dns */
};

struct net_value {
    int64_t number;
    const char *text;
    const struct net_link *link;
    const struct net_bond *bond;
    const struct net_address *address;
    const struct net_route *route;
    const struct net_dns *dns;
};

struct net_step {
    enum net_what what;
    const char *device; /* "" for NET_DNS */
    struct net_value before, after;
};

/* The step back: before and after change places. */
struct net_step net_step_undo(const struct net_step *step);
/* A line for people: "create bridge xenbr0 (MTU 1500)", "move eth0 from xenbr0 to bond0". */
const char *net_step_text(struct arena *arena, const struct net_step *step);

/* Steps in the order in which they are to be done.  'notes' are sentences for people about what the
 * kernel cannot do as it was asked for, and what is done instead. */
struct net_plan {
    size_t n_steps, n_notes;
    const struct net_step *steps;
    const char *const *notes;
};

/*
 * The steps from 'present' to 'wanted'.  A pure function, and idempotent: for the state that its
 * steps lead to it gives no steps.  Everything it returns is in the arena or in its arguments.
 *
 * An error, and no plan, where 'wanted' contradicts itself (two ports with one bridge name that are
 * no bond, a VLAN on a VLAN, a member in two bonds), where a card is missing, and where a link that
 * is not ours is in the way.
 */
MUST_CHECK struct error *net_plan(struct arena *arena, const struct net_wanted *wanted,
                                  const struct net_state *present, struct net_plan *plan);

/* ---- doing it ---- */

/*
 * Somebody who has a network: Linux, or the model of it that stands in its place where xapid runs
 * without Xen, and in tests.  One caller at a time.
 */
struct net_kernel {
    MUST_CHECK struct error *(*read)(struct net_kernel *kernel, struct arena *arena,
                                     struct net_state *out);
    /*
     * Does one step, whole or not at all.  The link, address or route that a step makes must not be
     * there yet; taking away what is gone is no error, so that a plan can always be taken back.
     */
    MUST_CHECK struct error *(*step)(struct net_kernel *kernel, struct arena *arena,
                                     const struct net_step *step);
    void (*free)(struct net_kernel *kernel);
};

#define NET_RUN_DIR "/run/xapid/net"

/* Where Linux's part keeps and finds its files. */
struct net_linux_paths {
    const char *resolv_conf; /* NULL: /etc/resolv.conf */
    const char *run;         /* a directory for the marks of DHCP clients; NULL: NET_RUN_DIR */
    const char *ovsdb;       /* net_ovs_new: ovsdb-server's socket; NULL: where Debian has it */
};

/* Linux, over netlink, in the network namespace of the calling process.  Ends with net_kernel_free.
 */
MUST_CHECK struct error *net_linux_new(struct arena *arena, const struct net_linux_paths *paths,
                                       struct net_kernel **out);
/*
 * The same with Open vSwitch: bridges, bonds, VLANs and tunnels are made in its database, addresses
 * are on the bridges' own ports.  Neither ovsdb-server nor ovs-vswitchd need run yet: what fails
 * then says so.
 */
MUST_CHECK struct error *net_ovs_new(struct arena *arena, const struct net_linux_paths *paths,
                                     struct net_kernel **out);
/*
 * The model: behaves like Linux as far as the plan can see, and touches nothing.  It begins with
 * the state in the file 'path', in the form of network-bridge/sim/README.md, and keeps the file up
 * to date (write, rename); with two cards, eth0 and eth1, where there is no such file.  NULL: in
 * memory only.
 */
MUST_CHECK struct error *net_sim_new(struct arena *arena, const char *path,
                                     struct net_kernel **out);
/* NULL is fine. */
void net_kernel_free(struct net_kernel *kernel);

/* The present state. */
MUST_CHECK struct error *net_read(struct net_kernel *kernel, struct arena *arena,
                                  struct net_state *out);
/*
 * Carries the plan out.  Where a step fails, those before it are taken back in reverse order, and
 * the error says which step it was, why it failed, and, if taking back failed too, what remains.
 *
 * A daemon that dies in the middle leaves a state from which a new plan arrives just as well.
 */
MUST_CHECK struct error *net_apply(struct net_kernel *kernel, struct arena *arena,
                                   const struct net_plan *plan);
/* Takes back a plan that was carried out: every step, in reverse order, also after one that cannot
 * be taken back; the first failure is the error. */
MUST_CHECK struct error *net_undo(struct net_kernel *kernel, struct arena *arena,
                                  const struct net_plan *plan);

/* ---- guests' interfaces ---- */

enum net_guard_mode {
    NET_GUARD_OPEN,   /* everything passes: also to forget one that is gone */
    NET_GUARD_LOCKED, /* only what has the guest's own MAC and one of its addresses, no others
                         implied */
    NET_GUARD_SHUT,   /* nothing passes */
};

/* What may pass a guest's interface (VIF.locking_mode), in a bridge of any network. */
struct net_guard {
    const char *device; /* vif1.0; a guest with an emulated card has a second one, vif1.0-emu */
    const char *bridge; /* that it is in, or is about to be; NULL where that is not known */
    enum net_guard_mode mode;
    const char *mac;
    size_t n_addresses; /* of both families, without lengths; none: it can only speak ARP's 0.0.0.0
                           and ask for a lease */
    const char *const *addresses;
};

/* PIF_CONFIGURATION_ERROR for what is no name, MAC or address. */
MUST_CHECK struct error *net_guard_check(struct arena *arena, const struct net_guard *guard);
/* The rules of some interfaces as nft reads them; one that is open has none.  Pure;
 * PIF_CONFIGURATION_ERROR for what is no name, MAC or address. */
MUST_CHECK struct error *net_guard_text(struct arena *arena, const struct net_guard *guards,
                                        size_t n, const char **out);
/*
 * Puts such a text in the place of the rules that these interfaces have had, all at once: there is
 * no moment without.  They may be set before an interface exists, which is when it is safe.  They
 * are in the table "bridge xapid", which nobody else changes.
 */
MUST_CHECK struct error *net_guard_set(struct arena *arena, const char *text);
/* The interfaces that have rules; none where the kernel, or the machine, knows no such rules. */
MUST_CHECK struct error *net_guard_list(struct arena *arena, struct strings *out);
/* The names in quotes in what nft says of them.  Pure. */
struct strings net_guard_names(struct arena *arena, const char *said);

/* The same with Open vSwitch, as flows of bridges, of whose ports they are: a port must be there.
 */
enum net_flows_when {
    NET_FLOWS_NOW,     /* what is no port is passed over: nothing passes it */
    NET_FLOWS_BEFORE,  /* it is about to be plugged: what is no port yet lets nothing pass when it
                          comes, for some minutes, or until it is set with NET_FLOWS_PLUGGED */
    NET_FLOWS_PLUGGED, /* it is a port now, else it is an error (but for an emulated card's) */
};
/*
 * Puts flows in the place of those that these interfaces have had, in one change for each bridge.
 * Flows of others stay, and hold for what may pass.  'socket' is ovsdb-server's; NULL: where Debian
 * has it.
 */
MUST_CHECK struct error *net_flows_set(struct arena *arena, const char *socket,
                                       const struct net_guard *guards, size_t n,
                                       enum net_flows_when when);
/* The interfaces that have flows, or are waited for. */
MUST_CHECK struct error *net_flows_list(struct arena *arena, const char *socket,
                                        struct strings *out);
