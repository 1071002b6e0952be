/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* network.c -- commands on networks, network cards and the interfaces of VMs. */
#include <strings.h>

#include "xe-cli/commands/commands.h"

/* An interface gets its network's MTU. */
static struct error *vif_create(struct xe *xe, const struct xe_command *c)
{
    struct xe_command row = *c;
    struct xe_object network;

    TRY(command_object(xe, "network", "network-uuid", &network));
    command_give(xe, "MTU", xe_wire_text(&xe->arena, xe_member(network.record, "MTU")));
    row.show = SHOW_UUID;
    return command_instead(xe, &row, "VIF.create",
                           ".device=device .network=network-uuid .VM=vm-uuid .MAC=mac%mac "
                           ".MTU=MTU .locking_mode='network_default'");
}

static struct error *vif_unplug(struct xe *xe, const struct xe_command *c)
{
    bool force;

    TRY(xe_flag(xe, "force", false, &force));
    return command_instead(xe, c, force ? "VIF.unplug_force" : "VIF.unplug", "self=uuid");
}

static struct error *vif_configure(struct xe *xe, const struct xe_command *c)
{
    const char *address = args_get(&xe->params, "address");

    if (!strcasecmp(args_get(&xe->params, "mode"), "static") && (!address || !*address))
        return xe_fail(xe, "Required parameter not found: address");
    return command_instead(xe, c,
                           strstr(c->name, "ipv4") ? "VIF.configure_ipv4" : "VIF.configure_ipv6",
                           "self=uuid mode=mode address=address gateway=gateway");
}

/* VLANs and tunnels are shown by the PIF that VMs use, as they always were. */
static struct error *show_pif_of(struct xe *xe, const char *class, const char *ref,
                                 const char *field)
{
    const struct wire *record = NULL;
    const char *uuid;

    TRY(xe_call(xe, &record, arena_printf(&xe->arena, "%s.get_record", class), "r", ref));
    TRY(object_uuid(xe, "PIF", xe_member_text(record, field), &uuid));
    out_text(&xe->out, uuid);
    return OK;
}

static struct error *vlan_create(struct xe *xe, const struct xe_command *c)
{
    const char *network, *pif, *vlan = NULL;
    int64_t tag;

    (void)c;
    TRY(command_ref(xe, "network", "network-uuid", &network));
    TRY(command_ref(xe, "PIF", "pif-uuid", &pif));
    TRY(xe_int(xe, "vlan", args_get(&xe->params, "vlan"), &tag));
    TRY(xe_call_text(xe, &vlan, "VLAN.create", "rir", pif, tag, network));
    return show_pif_of(xe, "VLAN", vlan, "untagged_PIF");
}

static struct error *vlan_destroy(struct xe *xe, const struct xe_command *c)
{
    const char *ref;
    struct error *e = command_ref(xe, "VLAN", "uuid", &ref);

    (void)c;
    if (!e)
        return xe_call(xe, NULL, "VLAN.destroy", "r", ref);
    if (!error_is(e, "UUID_INVALID") || command_ref(xe, "PIF", "uuid", &ref))
        return e;
    return xe_call(xe, NULL, "PIF.destroy", "r", ref);
}

static struct error *tunnel_create(struct xe *xe, const struct xe_command *c)
{
    const struct message_desc *m = api_message_by_name("tunnel.create");
    const struct wire *tunnel = NULL;
    AUTO(buf) params = {0};

    (void)c;
    TRY(command_args(xe, m, "transport_PIF=pif-uuid network=network-uuid protocol=protocol?gre",
                     NULL, &params));
    TRY(xe_call_params(xe, "tunnel.create", &params, false, &tunnel));
    return show_pif_of(xe, "tunnel", xe_wire_text(&xe->arena, tunnel), "access_PIF");
}

/* clang-format off */
static const struct xe_command rows[] = {
    ROW("network-create", .required = "name-label",
        .optional = "name-description MTU bridge managed", .message = "network.create",
        .args = ".name_label=name-label .name_description=name-description .MTU=MTU?1500 "
                ".bridge=bridge .managed=managed?true", .show = SHOW_UUID),
    ROW("network-destroy", .required = "uuid", .message = "network.destroy", .args = "self=uuid"),
    ROW("network-attach", .required = "uuid host-uuid", .flags = XE_UNLISTED,
        .message = "network.attach", .args = "network=uuid host=host-uuid"),
    ROW("network-sriov-create", .required = "pif-uuid network-uuid",
        .message = "network_sriov.create", .args = "pif=pif-uuid network=network-uuid",
        .show = SHOW_UUID),
    ROW("network-sriov-destroy", .required = "uuid", .message = "network_sriov.destroy",
        .args = "self=uuid"),
    ROW("vif-create", .required = "device network-uuid vm-uuid", .optional = "mac",
        .run = vif_create,
        .help = "Give a VM a network interface; mac=random makes up an address."),
    ROW("vif-destroy", .required = "uuid", .message = "VIF.destroy", .args = "self=uuid"),
    ROW("vif-plug", .required = "uuid", .message = "VIF.plug", .args = "self=uuid"),
    ROW("vif-unplug", .required = "uuid", .optional = "force", .run = vif_unplug,
        .help = "Detach a network interface from a running VM, at once with --force."),
    ROW("vif-move", .required = "uuid network-uuid", .message = "VIF.move",
        .args = "self=uuid network=network-uuid"),
    ROW("vif-configure-ipv4", .required = "uuid mode", .optional = "address gateway",
        .run = vif_configure, .help = "Set a network interface's IPv4 address in the guest."),
    ROW("vif-configure-ipv6", .required = "uuid mode", .optional = "address gateway",
        .run = vif_configure, .help = "Set a network interface's IPv6 address in the guest."),
    ROW("vlan-create", .required = "pif-uuid vlan network-uuid", .run = vlan_create,
        .help = "Put a VLAN of a network card onto a network."),
    ROW("vlan-destroy", .required = "uuid", .run = vlan_destroy,
        .help = "Remove a VLAN; the uuid of its PIF will do as well."),
    ROW("pool-vlan-create", .required = "pif-uuid vlan network-uuid",
        .message = "pool.create_VLAN_from_PIF",
        .args = "pif=pif-uuid network=network-uuid VLAN=vlan", .show = SHOW_TEXT),
    ROW("tunnel-create", .required = "pif-uuid network-uuid", .optional = "protocol",
        .run = tunnel_create, .help = "Make a tunnel between hosts over a network card."),
    ROW("tunnel-destroy", .required = "uuid", .message = "tunnel.destroy", .args = "self=uuid"),
    ROW("bond-create", .required = "network-uuid pif-uuids", .optional = "mac mode properties:",
        .message = "Bond.create",
        .args = "network=network-uuid members=pif-uuids MAC=mac mode=mode?balance-slb "
                "properties=properties:", .show = SHOW_UUID),
    ROW("bond-destroy", .required = "uuid", .message = "Bond.destroy", .args = "self=uuid"),
    ROW("bond-set-mode", .required = "uuid mode", .message = "Bond.set_mode",
        .args = "self=uuid value=mode"),
    ROW("pif-introduce", .required = "host-uuid device", .optional = "mac managed",
        .message = "PIF.introduce",
        .args = "host=host-uuid MAC=mac device=device managed=managed?true", .show = SHOW_UUID),
    ROW("pif-forget", .required = "uuid", .message = "PIF.forget", .args = "self=uuid"),
    ROW("pif-db-forget", .required = "uuid", .flags = XE_UNLISTED, .message = "PIF.db_forget",
        .args = "self=uuid"),
    ROW("pif-plug", .required = "uuid", .message = "PIF.plug", .args = "self=uuid"),
    ROW("pif-unplug", .required = "uuid", .message = "PIF.unplug", .args = "self=uuid"),
    ROW("pif-scan", .required = "host-uuid", .message = "PIF.scan", .args = "host=host-uuid"),
    ROW("pif-reconfigure-ip", .required = "uuid mode", .optional = "IP netmask gateway DNS",
        .message = "PIF.reconfigure_ip",
        .args = "self=uuid mode=mode IP=IP%nocase netmask=netmask gateway=gateway DNS=DNS%nocase"),
    ROW("pif-reconfigure-ipv6", .required = "uuid mode", .optional = "IPv6 gateway DNS",
        .message = "PIF.reconfigure_ipv6",
        .args = "self=uuid mode=mode IPv6=IPv6%nocase gateway=gateway DNS=DNS%nocase"),
    ROW("pif-set-primary-address-type", .required = "uuid primary_address_type",
        .message = "PIF.set_primary_address_type",
        .args = "self=uuid primary_address_type=primary_address_type"),
    ROW("sdn-controller-introduce", .optional = "address protocol tcp-port",
        .message = "SDN_controller.introduce",
        .args = "protocol=protocol?ssl address=address port=tcp-port?0", .show = SHOW_UUID),
    ROW("sdn-controller-forget", .required = "uuid", .message = "SDN_controller.forget",
        .args = "self=uuid"),
};
/* clang-format on */

const struct xe_commands xe_network_commands = {rows, ARRAY_SIZE(rows)};
