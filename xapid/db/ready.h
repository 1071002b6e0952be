/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ready.h -- transactions that are only one change: functions and arguments for db_update. */
#pragma once

#include "xapid/db/db.h"

struct db_create {
    int class_id;
    const void *row;
};
struct error *db_create_txn(struct txn *txn, void *db_create);

struct db_destroy {
    int class_id;
    ref_t ref;
};
/* HANDLE_INVALID if it is gone. */
struct error *db_destroy_txn(struct txn *txn, void *db_destroy);

struct db_set {
    int field_id;
    ref_t ref;
    const void *value;
};
struct error *db_set_txn(struct txn *txn, void *db_set);

/* A map's key (and value), or a set's element as key. */
struct db_member {
    int field_id;
    ref_t ref;
    const void *key, *value;
};
struct error *db_map_add_txn(struct txn *txn, void *db_member);
struct error *db_map_remove_txn(struct txn *txn, void *db_member);
struct error *db_set_add_txn(struct txn *txn, void *db_member);
struct error *db_set_remove_txn(struct txn *txn, void *db_member);

/* db_update with db_set_txn: CALL_SET(call, vm, ref, name_label, "x"). */
#define CALL_SET(call, class, ref, field, ...)                                                     \
    db_update((call), db_set_txn,                                                                  \
              &(struct db_set){FIELD_##class##_##field, (ref),                                     \
                               &(__typeof__(((struct class *)0)->field)[1]){__VA_ARGS__}})
