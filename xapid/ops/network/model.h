/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model.h -- the network of one host as its records have it, to be changed before it is.
 *
 * An operation on the network of a host is a function that is given a model, checks, and changes
 * copies of rows in it.  It runs twice: on a snapshot, so that the host can be brought to where the
 * records will be, and in the transaction that then makes them so.  So the records and the host
 * follow from one piece of code, and it can be tested without either.
 *
 * A model holds the host's PIFs with their bonds, VLANs and tunnels from the beginning; rows of
 * other classes come when they are asked for.
 */
#pragma once

#include "xapid/db/db.h"

struct model_row {
    int class_id;
    const void *old; /* NULL: a new one */
    void *now;       /* NULL: it goes */
};

struct net_model {
    struct call *call;
    struct arena *arena;
    struct txn *txn; /* what is read is relied on; NULL: only looked at */
    ref_t host;
    size_t n, room;
    struct model_row *rows;
};

/* The network of a host, as the transaction sees it (NULL: as the call does). */
void model_load(struct net_model *m, struct call *call, struct txn *txn, ref_t host);

/* A row as it is in the model; NULL where there is none, or none any more. */
const void *model_find(struct net_model *m, int class_id, ref_t ref);
/* The same; HANDLE_INVALID. */
MUST_CHECK struct error *model_get(struct net_model *m, int class_id, ref_t ref, const void **row);
#define MODEL_GET(m, class, ref, out) model_get((m), CLASS_##class, (ref), (const void **)(out))
/* The same to be changed; the row must be there. */
void *model_edit(struct net_model *m, int class_id, ref_t ref);
/* A new row with its defaults, a reference and a uuid. */
void *model_add(struct net_model *m, int class_id);
void model_remove(struct net_model *m, int class_id, ref_t ref);

/* The rows of a class that are in the model, new ones last: 'i' begins as 0; NULL at the end. */
const void *model_next(struct net_model *m, int class_id, size_t *i);

/* The rows, loaded or not, whose field has the value 'key' in the database: more may have it in the
 * model. */
struct refs model_referrers(struct net_model *m, int field_id, ref_t key);

/* Puts what was changed into the model's transaction. */
void model_write(struct net_model *m);

/*** what rows say together ***/

/* The PIF of the host on that network; NULL where there is none. */
const struct pif *model_pif_on(struct net_model *m, ref_t network);
/* The host's untagged PIF with that name: a card or a bond; NULL where there is none. */
const struct pif *model_pif_named(struct net_model *m, const char *device);
/* The one that carries the host's management address; NULL where there is none. */
const struct pif *model_management(struct net_model *m);
/* The bond whose combined port a PIF is; NULL for others. */
const struct bond *model_bond_of(struct net_model *m, ref_t pif);
/* The tunnel whose inner end a PIF is; NULL for others. */
const struct tunnel *model_tunnel_of(struct net_model *m, ref_t pif);
/* The PIFs in a bond, in the order of their names. */
struct refs model_members(struct net_model *m, ref_t bond);
/* True where another PIF rides on this one, by a VLAN or a tunnel. */
bool model_has_vlan(struct net_model *m, ref_t pif);
bool model_has_tunnel(struct net_model *m, ref_t pif);
