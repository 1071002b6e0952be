/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* freeze.c -- a database that nobody changes but one. */
#include "xapid/db/state.h"
#include "xapid/main/xapid.h"

struct error *db_enter(struct call *call)
{
    struct db *db = call->xapid->db;

    MUTEX_GUARD(&db->lock);
    if (db->frozen && !call->joins)
        return err_operation_not_allowed(
            call,
            "This host is joining a pool. Until that is decided nothing can be changed here.");
    db->updating++;
    return OK;
}

void db_leave(struct db *db)
{
    MUTEX_GUARD(&db->lock);
    if (--db->updating == 0)
        cond_broadcast(&db->quiet);
}

void db_freeze(struct db *db)
{
    MUTEX_GUARD(&db->lock);
    db->frozen = true;
    while (db->updating)
        cond_wait(&db->quiet, &db->lock);
}

void db_thaw(struct db *db)
{
    MUTEX_GUARD(&db->lock);
    db->frozen = false;
}
