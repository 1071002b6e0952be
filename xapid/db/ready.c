/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/db/ready.h"

struct error *db_create_txn(struct txn *txn, void *arg)
{
    const struct db_create *c = arg;

    txn_create(txn, c->class_id, c->row);
    return OK;
}

struct error *db_destroy_txn(struct txn *txn, void *arg)
{
    const struct db_destroy *d = arg;
    const void *row;

    TRY(txn_get(txn, d->class_id, d->ref, &row));
    txn_destroy(txn, d->class_id, d->ref);
    return OK;
}

/* A row that is gone is refused by apply with HANDLE_INVALID, so nothing needs to be relied on. */
struct error *db_set_txn(struct txn *txn, void *arg)
{
    const struct db_set *s = arg;

    txn_set_value(txn, s->field_id, s->ref, s->value);
    return OK;
}

struct error *db_map_add_txn(struct txn *txn, void *arg)
{
    const struct db_member *m = arg;

    txn_map_add(txn, m->field_id, m->ref, m->key, m->value);
    return OK;
}

struct error *db_map_remove_txn(struct txn *txn, void *arg)
{
    const struct db_member *m = arg;

    txn_map_remove(txn, m->field_id, m->ref, m->key);
    return OK;
}

struct error *db_set_add_txn(struct txn *txn, void *arg)
{
    const struct db_member *m = arg;

    txn_set_add(txn, m->field_id, m->ref, m->key);
    return OK;
}

struct error *db_set_remove_txn(struct txn *txn, void *arg)
{
    const struct db_member *m = arg;

    txn_set_remove(txn, m->field_id, m->ref, m->key);
    return OK;
}
