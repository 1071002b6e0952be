/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/network/model.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/row.h"

/*** rows ***/

static ref_t ref_of(const struct model_row *r)
{
    return ((const struct row *)(r->now ? r->now : r->old))->ref;
}

static struct model_row *add(struct net_model *m, int class_id, const void *old, void *now)
{
    if (m->n == m->room) {
        size_t room = m->room ? m->room * 2 : 64;
        struct model_row *rows = arena_array(m->arena, struct model_row, room);

        if (m->n)
            memcpy(rows, m->rows, m->n * sizeof *rows);
        m->rows = rows;
        m->room = room;
    }
    m->rows[m->n] = (struct model_row){class_id, old, now};
    return &m->rows[m->n++];
}

static const void *read_row(struct net_model *m, int class_id, ref_t ref)
{
    return m->txn ? txn_find(m->txn, class_id, ref) : db_find(m->call, class_id, ref);
}

struct refs model_referrers(struct net_model *m, int field_id, ref_t key)
{
    return m->txn ? txn_referrers(m->txn, field_id, key) : db_referrers(m->call, field_id, key);
}

/* The row's place, loaded now if it was not; NULL where the database has no such row. */
static struct model_row *place(struct net_model *m, int class_id, ref_t ref)
{
    const void *old;

    for (size_t i = 0; i < m->n; i++)
        if (m->rows[i].class_id == class_id && ref_equal(ref_of(&m->rows[i]), ref))
            return &m->rows[i];
    old = ref_is_null(ref) ? NULL : read_row(m, class_id, ref);
    if (!old)
        return NULL;
    return add(m, class_id, old, arena_memdup(m->arena, old, api_classes[class_id].struct_size));
}

const void *model_find(struct net_model *m, int class_id, ref_t ref)
{
    const struct model_row *r = place(m, class_id, ref);

    return r ? r->now : NULL;
}

struct error *model_get(struct net_model *m, int class_id, ref_t ref, const void **row)
{
    *row = model_find(m, class_id, ref);
    return *row ? OK
                : err_handle_invalid(m->call, api_classes[class_id].name, call_ref(m->call, ref));
}

void *model_edit(struct net_model *m, int class_id, ref_t ref)
{
    struct model_row *r = place(m, class_id, ref);

    return r ? r->now : NULL;
}

void *model_add(struct net_model *m, int class_id)
{
    const struct class_desc *class = &api_classes[class_id];
    char *row = arena_zalloc(m->arena, class->struct_size);
    char uuid[UUID_TEXT_SIZE];

    row_defaults(class, row);
    ((struct row *)(void *)row)->ref = ref_new();
    *(const char **)(void *)(row + api_fields[class->uuid_field].offset) =
        arena_strdup(m->arena, uuid_new(uuid));
    add(m, class_id, NULL, row);
    return row;
}

void model_remove(struct net_model *m, int class_id, ref_t ref)
{
    struct model_row *r = place(m, class_id, ref);

    if (!r)
        return;
    if (r->old)
        r->now = NULL;
    else
        *r = m->rows[--m->n];
}

const void *model_next(struct net_model *m, int class_id, size_t *i)
{
    while (*i < m->n) {
        const struct model_row *r = &m->rows[(*i)++];

        if (r->class_id == class_id && r->now)
            return r->now;
    }
    return NULL;
}

/*** the whole ***/

static void load_referrers(struct net_model *m, int field_id, ref_t key)
{
    struct refs refs = model_referrers(m, field_id, key);

    for (size_t i = 0; i < refs.n; i++)
        place(m, api_fields[field_id].class_id, refs.v[i]);
}

void model_load(struct net_model *m, struct call *call, struct txn *txn, ref_t host)
{
    struct refs pifs;

    *m = (struct net_model){
        .call = call, .txn = txn, .arena = txn ? txn_arena(txn) : call->arena, .host = host};
    pifs = model_referrers(m, FIELD_pif_host, host);
    for (size_t i = 0; i < pifs.n; i++) {
        place(m, CLASS_pif, pifs.v[i]);
        load_referrers(m, FIELD_bond_master, pifs.v[i]);
        load_referrers(m, FIELD_vlan_tagged_pif, pifs.v[i]);
        load_referrers(m, FIELD_tunnel_access_pif, pifs.v[i]);
    }
}

static void write_row(struct net_model *m, const struct model_row *r)
{
    const struct class_desc *class = &api_classes[r->class_id];

    if (!r->old) {
        txn_create(m->txn, r->class_id, r->now);
        return;
    }
    if (!r->now) {
        txn_destroy(m->txn, r->class_id, ref_of(r));
        return;
    }
    for (size_t i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];
        const char *now = (const char *)r->now + f->offset;

        if (field_is_stored(f) && !value_equal(f->type, (const char *)r->old + f->offset, now))
            txn_set_value(m->txn, f->id, ref_of(r), now);
    }
}

void model_write(struct net_model *m)
{
    for (size_t i = 0; i < m->n; i++)
        write_row(m, &m->rows[i]);
}

/*** what rows say together ***/

/* A PIF of the model that belongs to the host: those that were only looked at may be others'. */
static const struct pif *next_pif(struct net_model *m, size_t *i)
{
    const struct pif *pif;

    while ((pif = model_next(m, CLASS_pif, i)))
        if (ref_equal(pif->host, m->host))
            return pif;
    return NULL;
}

const struct pif *model_pif_on(struct net_model *m, ref_t network)
{
    const struct pif *pif;
    size_t i = 0;

    while ((pif = next_pif(m, &i)))
        if (ref_equal(pif->network, network))
            return pif;
    return NULL;
}

const struct pif *model_pif_named(struct net_model *m, const char *device)
{
    const struct pif *pif;
    size_t i = 0;

    while ((pif = next_pif(m, &i)))
        if (pif->vlan < 0 && strcmp(pif->device, device) == 0)
            return pif;
    return NULL;
}

const struct pif *model_management(struct net_model *m)
{
    const struct pif *pif;
    size_t i = 0;

    while ((pif = next_pif(m, &i)))
        if (pif->management)
            return pif;
    return NULL;
}

const struct bond *model_bond_of(struct net_model *m, ref_t pif)
{
    const struct bond *bond;
    size_t i = 0;

    while ((bond = model_next(m, CLASS_bond, &i)))
        if (ref_equal(bond->master, pif))
            return bond;
    return NULL;
}

const struct tunnel *model_tunnel_of(struct net_model *m, ref_t pif)
{
    const struct tunnel *tunnel;
    size_t i = 0;

    while ((tunnel = model_next(m, CLASS_tunnel, &i)))
        if (ref_equal(tunnel->access_pif, pif))
            return tunnel;
    return NULL;
}

static int by_name(const void *a, const void *b)
{
    const struct pif *const *x = a, *const *y = b;

    return strcmp((*x)->device, (*y)->device);
}

struct refs model_members(struct net_model *m, ref_t bond)
{
    const struct pif **found = arena_array(m->arena, const struct pif *, m->n + 1), *pif;
    ref_t *refs = arena_array(m->arena, ref_t, m->n + 1);
    size_t n = 0, i = 0;

    while ((pif = next_pif(m, &i)))
        if (ref_equal(pif->bond_slave_of, bond))
            found[n++] = pif;
    qsort(found, n, sizeof *found, by_name);
    for (i = 0; i < n; i++)
        refs[i] = found[i]->ref;
    return (struct refs){n, refs};
}

bool model_has_vlan(struct net_model *m, ref_t pif)
{
    const struct vlan *vlan;
    size_t i = 0;

    while ((vlan = model_next(m, CLASS_vlan, &i)))
        if (ref_equal(vlan->tagged_pif, pif))
            return true;
    return false;
}

bool model_has_tunnel(struct net_model *m, ref_t pif)
{
    const struct tunnel *tunnel;
    size_t i = 0;

    while ((tunnel = model_next(m, CLASS_tunnel, &i)))
        if (ref_equal(tunnel->transport_pif, pif))
            return true;
    return false;
}
