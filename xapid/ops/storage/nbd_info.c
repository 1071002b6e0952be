/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nbd_info.c -- VDI.get_nbd_info: addresses where this host offers its disks. */
#include "xapid/ops/storage/nbd_info.h"

#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/auth/session.h"
#include "xapid/http/certificate.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/check.h"
#include "xapid/ops/storage/vdi_ops.h"

static enum nbd_access access_of(const struct network *network)
{
    enum nbd_access access = NBD_CLOSED;

    for (size_t i = 0; network && i < network->purpose.n; i++)
        access = network->purpose.v[i] == NETWORK_PURPOSE_NBD ? NBD_TLS : NBD_ANY;
    return access;
}

static bool has_address(const struct pif *pif, const char *address)
{
    if (strcmp(pif->ip, address) == 0)
        return true;
    for (size_t i = 0; i < pif->ipv6.n; i++)
        if (strncmp(pif->ipv6.v[i], address, strcspn(pif->ipv6.v[i], "/")) == 0 &&
            strlen(address) == strcspn(pif->ipv6.v[i], "/"))
            return true;
    return false;
}

static enum nbd_access access_of_any(struct call *call)
{
    enum nbd_access access = NBD_CLOSED;
    const struct network *network;
    struct db_walk walk;

    db_walk(call->snap, CLASS_network, &walk);
    while (access == NBD_CLOSED && (network = db_walk_next(&walk)))
        access = access_of(network);
    return access;
}

enum nbd_access nbd_access_at(struct call *call, const char *address)
{
    struct refs pifs = db_referrers(call, FIELD_pif_host, call->xapid->host);

    if (strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0)
        return access_of_any(call);
    for (size_t i = 0; i < pifs.n && *address; i++) {
        const struct pif *pif = db_find(call, CLASS_pif, pifs.v[i]);

        if (has_address(pif, address))
            return access_of(db_find(call, CLASS_network, pif->network));
    }
    return NBD_CLOSED;
}

/* ---- the message ---- */

struct places {
    size_t n;
    struct vdi_nbd_server_info **v;
};

static void add_place(struct call *call, struct places *places,
                      const struct vdi_nbd_server_info *same, const char *address, size_t size)
{
    struct vdi_nbd_server_info *place;

    if (!size)
        return;
    place = arena_new(call->arena, struct vdi_nbd_server_info);
    *place = *same;
    place->address = arena_strndup(call->arena, address, size);
    places->v[places->n++] = place;
}

static void add_places(struct call *call, const struct vdi_nbd_server_info *same,
                       struct places *out)
{
    struct refs pifs = db_referrers(call, FIELD_pif_host, call->xapid->host);
    size_t room = 0;

    for (size_t i = 0; i < pifs.n; i++)
        room += 1 + ((const struct pif *)db_find(call, CLASS_pif, pifs.v[i]))->ipv6.n;
    out->v = arena_array(call->arena, struct vdi_nbd_server_info *, room + 1);
    for (size_t i = 0; i < pifs.n; i++) {
        const struct pif *pif = db_find(call, CLASS_pif, pifs.v[i]);

        if (!pif->currently_attached ||
            access_of(db_find(call, CLASS_network, pif->network)) == NBD_CLOSED)
            continue;
        add_place(call, out, same, pif->ip, strlen(pif->ip));
        for (size_t j = 0; j < pif->ipv6.n; j++)
            add_place(call, out, same, pif->ipv6.v[j], strcspn(pif->ipv6.v[j], "/"));
    }
}

struct error *vdi_get_nbd_info(struct call *call, const struct vdi_get_nbd_info_args *args,
                               struct set *result)
{
    struct vdi_nbd_server_info same = {.port = call->xapid->nbd_port};
    struct certificate_info certificate;
    struct places places = {0};
    const struct vdi *vdi;

    TRY(DB_GET(call, vdi, args->self, &vdi));
    TRY(vdi_check_contents(call, vdi));
    TRY(sr_is_here(call, call->snap, vdi->sr)); /* else another host has an answer */
    if (!call->xapid->nbd_port || !sr_is_attached(call->xapid, vdi->sr))
        return OK;
    TRY(certificate_read(
        call->arena, arena_printf(call->arena, "%s/xapid-tls.pem", call->xapid->options.state_dir),
        &certificate));
    same.cert = certificate.pem;
    same.subject = certificate.name;
    same.exportname = arena_printf(call->arena, "/%s?session_id=%s", vdi->uuid,
                                   call_ref(call, call->session->ref));
    add_places(call, &same, &places);
    *result = (struct set){places.n, places.v};
    return OK;
}
