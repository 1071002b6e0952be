/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/network/wanted.h"

#include <string.h>

#include "libxapi/value/value.h"
#include "tests/unit/ops/lab.h"
#include "xapid/ops/network/model.h"

static struct net_model load(struct lab *lab)
{
    struct net_model m;

    model_load(&m, &lab->call, NULL, lab->xapid.host);
    return m;
}

static struct network *add_network(struct net_model *m, const char *bridge)
{
    struct network *network = model_add(m, CLASS_network);

    network->bridge = bridge;
    network->mtu = 1500;
    network->managed = true;
    return network;
}

static struct pif *add_pif(struct net_model *m, const char *device, const struct network *network)
{
    struct pif *pif = model_add(m, CLASS_pif);

    pif->device = device;
    pif->mac = "00:16:3e:00:00:01";
    pif->host = m->host;
    pif->network = network->ref;
    pif->vlan = -1;
    pif->currently_attached = true;
    pif->managed = true;
    return pif;
}

static struct net_wanted want(struct net_model *m)
{
    struct net_wanted wanted;

    network_wanted(m, false, &(struct refs){0}, &wanted);
    return wanted;
}

static const struct net_port *port(const struct net_wanted *w, const char *device)
{
    for (size_t i = 0; i < w->n_ports; i++)
        if (strcmp(w->ports[i].device, device) == 0)
            return &w->ports[i];
    fail_msg("there is no port %s", device);
    return NULL;
}

static void an_attached_card_is_a_port_of_a_bridge_with_its_address(void **state)
{
    static const struct strpair routes[] = {
        {"static-routes", "10.1.0.0/16/192.0.2.7,nonsense,10.2.0.0/16"}};
    struct net_model m = load(*state);
    struct network *network = add_network(&m, "xenbr0");
    struct pif *pif = add_pif(&m, "eth0", network);
    struct net_wanted w;

    network->other_config = (struct strmap){1, routes};
    pif->management = true;
    pif->ip_configuration_mode = IP_CONFIGURATION_MODE_STATIC;
    pif->ip = "192.0.2.5";
    pif->netmask = "255.255.255.0";
    pif->gateway = "192.0.2.1";
    pif->dns = "192.0.2.2,192.0.2.3";
    w = want(&m);
    assert_int_equal(w.n_ports, 1);
    assert_string_equal(port(&w, "eth0")->bridge, "xenbr0");
    assert_string_equal(port(&w, "eth0")->mac, "00:16:3e:00:00:01");
    assert_int_equal(w.n_bridges, 1);
    assert_int_equal(w.bridges[0].v4.mode, NET_IP_STATIC);
    assert_string_equal(w.bridges[0].v4.address, "192.0.2.5/24");
    assert_true(w.bridges[0].default_route && w.bridges[0].management);
    assert_int_equal(w.bridges[0].n_routes, 1);
    assert_string_equal(w.bridges[0].routes[0].via, "192.0.2.7");
    assert_int_equal(w.dns->n_servers, 2);
}

static void what_is_down_or_left_to_the_administrator_is_not_wanted(void **state)
{
    struct net_model m = load(*state);
    struct net_wanted w;

    add_pif(&m, "eth0", add_network(&m, "xenbr0"))->currently_attached = false;
    add_pif(&m, "eth1", add_network(&m, "xenbr1"))->managed = false;
    w = want(&m);
    assert_int_equal(w.n_ports, 0);
    assert_int_equal(w.n_bridges, 0);
}

static void a_vlan_brings_the_card_below_it_up_without_a_bridge(void **state)
{
    struct net_model m = load(*state);
    struct pif *card = add_pif(&m, "eth0", add_network(&m, "xenbr0"));
    struct pif *upper = add_pif(&m, "eth0", add_network(&m, "xapi0"));
    struct vlan *vlan = model_add(&m, CLASS_vlan);
    struct net_wanted w;

    card->currently_attached = false;
    vlan->tagged_pif = card->ref;
    vlan->untagged_pif = upper->ref;
    vlan->tag = upper->vlan = 7;
    upper->vlan_master_of = vlan->ref;
    w = want(&m);
    assert_int_equal(w.n_ports, 2);
    assert_string_equal(port(&w, "eth0")->bridge, "");
    assert_int_equal(port(&w, "")->kind, NET_VLAN);
    assert_string_equal(port(&w, "")->below, "eth0");
    assert_string_equal(port(&w, "")->bridge, "xapi0");
    assert_int_equal(w.n_bridges, 1);
}

static void the_members_of_a_bond_are_ports_of_it_in_order(void **state)
{
    static const struct strpair other[] = {{"bond-updelay", "5"}, {"bond-miimon", "soon"}};
    static const struct strpair properties[] = {{"hashing_algorithm", "src_mac"},
                                                {"lacp-time", "fast"}};
    struct net_model m = load(*state);
    struct pif *second = add_pif(&m, "eth1", add_network(&m, "xenbr1"));
    struct pif *first = add_pif(&m, "eth0", add_network(&m, "xenbr0"));
    struct pif *master = add_pif(&m, "bond0", add_network(&m, "xapi0"));
    struct bond *bond = model_add(&m, CLASS_bond);
    const struct net_port *p;
    struct net_wanted w;

    first->bond_slave_of = second->bond_slave_of = bond->ref;
    bond->master = master->ref;
    bond->mode = BOND_MODE_LACP;
    bond->properties = (struct strmap){2, properties};
    master->other_config = (struct strmap){2, other};
    w = want(&m);
    p = port(&w, "bond0");
    assert_int_equal(p->n_members, 2);
    assert_string_equal(p->members[0], "eth0");
    assert_int_equal(p->bond.mode, NET_LACP);
    assert_int_equal(p->bond.hash, NET_HASH_SRC_MAC);
    assert_true(p->bond.lacp_fast);
    assert_int_equal(p->bond.updelay, 5);
    assert_int_equal(p->bond.miimon, 100);
    assert_string_equal(port(&w, "eth0")->bridge, "");
    assert_int_equal(w.n_bridges, 1);
}

static void a_tunnel_is_there_once_its_transport_has_an_address(void **state)
{
    struct net_model m = load(*state);
    struct pif *transport = add_pif(&m, "eth0", add_network(&m, "xenbr0"));
    struct pif *access = add_pif(&m, "tunnel0", add_network(&m, "xapi0"));
    struct tunnel *tunnel = model_add(&m, CLASS_tunnel);
    struct net_wanted w;

    tunnel->transport_pif = transport->ref;
    tunnel->access_pif = access->ref;
    tunnel->protocol = TUNNEL_PROTOCOL_VXLAN;
    transport->ip = "";
    w = want(&m);
    assert_int_equal(w.n_ports, 1);
    transport->ip = "192.0.2.5";
    w = want(&m);
    assert_int_equal(port(&w, "tunnel0")->kind, NET_VXLAN);
    assert_string_equal(port(&w, "tunnel0")->tunnel.local, "192.0.2.5");
    assert_int_equal(port(&w, "tunnel0")->tunnel.id,
                     tunnel_id(model_find(&m, CLASS_network, access->network)));
}

static void a_network_without_a_port_is_there_for_those_it_was_promised_to(void **state)
{
    struct lab *lab = *state;
    struct network network;
    struct net_wanted w;
    struct net_model m;

    row_defaults(&api_classes[CLASS_network], &network);
    network.ref = ref_new();
    network.uuid = "7a0f3c9e-2d0f-4a55-9a55-0f0d6bb6a00a";
    network.bridge = "xapi0";
    network.managed = true;
    lab_create(lab, CLASS_network, &network);
    m = load(lab);
    w = want(&m);
    assert_int_equal(w.n_bridges, 0);
    network_wanted(&m, false, &(struct refs){1, &network.ref}, &w);
    assert_int_equal(w.n_bridges, 1);
    assert_string_equal(w.bridges[0].name, "xapi0");
}

static void netmasks_are_bits_and_back(void **state)
{
    struct lab *lab = *state;

    assert_int_equal(netmask_bits("255.255.255.0"), 24);
    assert_int_equal(netmask_bits("0.0.0.0"), 0);
    assert_int_equal(netmask_bits("255.255.255.255"), 32);
    assert_int_equal(netmask_bits("255.0.255.0"), -1);
    assert_int_equal(netmask_bits("24"), -1);
    assert_string_equal(netmask_text(&lab->arena, 20), "255.255.240.0");
    assert_string_equal(netmask_text(&lab->arena, 0), "0.0.0.0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_attached_card_is_a_port_of_a_bridge_with_its_address),
        cmocka_unit_test(what_is_down_or_left_to_the_administrator_is_not_wanted),
        cmocka_unit_test(a_vlan_brings_the_card_below_it_up_without_a_bridge),
        cmocka_unit_test(the_members_of_a_bond_are_ports_of_it_in_order),
        cmocka_unit_test(a_tunnel_is_there_once_its_transport_has_an_address),
        cmocka_unit_test(a_network_without_a_port_is_there_for_those_it_was_promised_to),
        cmocka_unit_test(netmasks_are_bits_and_back),
    };

    return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
