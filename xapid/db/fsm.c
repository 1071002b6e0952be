/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fsm.c -- what the log calls: applies its entries to a private copy of the root, publishes it, and
 * hears who leads.  All of it runs in the log's thread, but db_failed and db_digest_at, which any
 * thread may call.
 */
#include <endian.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "xapid/db/apply.h"
#include "xapid/db/level.h"
#include "xapid/db/state.h"

void db_failed(struct db *db, const char *why)
{
    MUTEX_GUARD(&db->lock);
    if (db->failure)
        return;
    db->failure = xstrdup(why);
    cond_broadcast(&db->led);
    log_error("the database accepts no more changes: %s", why);
}

static void fsm_failed(void *ctx, const char *why)
{
    db_failed(ctx, why);
}

static void fsm_leader(void *ctx, uint64_t leader, uint64_t term, bool me)
{
    struct db *db = ctx;

    mutex_lock(&db->lock);
    if (db->leader && !leader)
        db->unled = clock_mono();
    db->leader = leader;
    db->leads = me;
    cond_broadcast(&db->led);
    mutex_unlock(&db->lock);
    if (db->on_leader)
        db->on_leader(db->watcher, leader, term, me);
}

void db_look_for_others(struct db *db)
{
    struct arena arena = {0};
    struct log_member *members;
    size_t n;

    db_members(db, &arena, &n, &members);
    __atomic_store_n(&db->has_others, n > 1, __ATOMIC_RELEASE);
    arena_release(&arena);
}

static void fsm_members(void *ctx)
{
    struct db *db = ctx;

    if (__atomic_load_n(&db->log, __ATOMIC_ACQUIRE))
        db_look_for_others(db);
    if (db->on_members)
        db->on_members(db->watcher);
}

void db_note_digest(struct db *db, const struct db_root *root)
{
    MUTEX_GUARD(&db->digest_lock);
    db->digests[root->revision % DIGESTS] =
        (struct digest){root->revision, {root->digest[0], root->digest[1]}};
}

bool db_digest_at(struct db *db, uint64_t revision, uint64_t out[2])
{
    const struct digest *d = &db->digests[revision % DIGESTS];

    MUTEX_GUARD(&db->digest_lock);
    memcpy(out, d->value, sizeof d->value);
    return d->revision == revision && revision;
}

/*
 * Why a change of this daemon's was refused is remembered here and not in the database: who asks
 * again is this daemon, under the same id.
 */
static void remember_refusal(struct db *db, const char *data, struct log_result *result,
                             struct arena *arena)
{
    struct refusal *r;
    uint64_t id[2];

    memcpy(id, data, sizeof id);
    if (le64toh(id[0]) != db->origin || result->outcome != LOG_REJECTED)
        return;
    r = &db->refusals[le64toh(id[1]) % REFUSALS];
    if (r->error && r->number == le64toh(id[1])) {
        result->error = error_copy(arena, r->error);
        return;
    }
    arena_release(&r->arena);
    r->number = le64toh(id[1]);
    r->error = error_copy(&r->arena, result->error);
}

const char *db_level_fault(const struct db *db, struct arena *arena, const struct db_root *root)
{
    unsigned level = root_level(root);

    if (level <= db->level)
        return NULL;
    return arena_printf(
        arena,
        "the pool's database is of level %u, and this version of xapid (" XAPID_VERSION
        ") understands %u.  Install the version that this host had, or a later one: "
        "it goes on from here",
        level, db->level);
}

static void fsm_apply(void *ctx, struct arena *arena, uint64_t index, const void *data, size_t size,
                      struct log_result *result)
{
    struct db *db = ctx;
    const char *fault;

    if (db->stuck || __atomic_load_n(&db->halted, __ATOMIC_ACQUIRE)) {
        *result = (struct log_result){
            .outcome = LOG_FAILED,
            .error = error_internal(arena, "%s",
                                    db->stuck ? "the database stopped at an entry of the log that "
                                                "it cannot read"
                                              : "the database was stopped")};
        return;
    }
    if (!db->work)
        db->work = root_copy(db->root);
    db->work->log_index = index;
    fault = db_level_fault(db, arena, db->work);
    if (fault)
        *result =
            (struct log_result){.outcome = LOG_FAILED, .error = error_internal(arena, "%s", fault)};
    else
        apply_write_set(db->work, arena, data, size, result);
    if (result->outcome != LOG_FAILED) {
        remember_refusal(db, data, result, arena);
        if (result->outcome == LOG_APPLIED)
            db_note_digest(db, db->work);
        return;
    }
    /* The entry is applied again at the next start, by a version that understands it; the part of
       it that was applied is known then by its request ids. */
    db->stuck = true;
    db->work->log_index = index - 1;
    db_failed(db, error_line(arena, result->error));
}

static void fsm_publish(void *ctx, uint64_t index)
{
    struct db *db = ctx;
    struct db_root *old;
    uint64_t before;

    if (!db->work)
        return;
    if (!db->stuck)
        db->work->log_index = MAX(index, db->work->log_index);
    mutex_lock(&db->lock);
    old = db->root;
    before = old->revision;
    db->root = db->work;
    cond_broadcast(&db->published);
    mutex_unlock(&db->lock);
    db->work = NULL;
    if (db->root->revision != before) {
        MUTEX_GUARD(&db->feed_lock);

        for (struct db_subscription *s = db->subscriptions; s; s = s->next)
            s->changed(s->ctx, db->root->revision);
    }
    root_unref(old);
}

static void *fsm_hold(void *ctx, uint64_t *index)
{
    struct db *db = ctx;

    *index = db->root->log_index;
    return root_ref(db->root);
}

static void fsm_serialise(void *ctx, void *held, struct buf *out)
{
    (void)ctx;
    image_write(out, held);
}

static void fsm_unhold(void *ctx, void *held)
{
    (void)ctx;
    root_unref(held);
}

static bool fsm_restore(void *ctx, struct arena *arena, uint64_t index, const void *data,
                        size_t size, const char **why)
{
    struct db *db = ctx;
    struct db_root *root;

    if (db->root->log_index >= index)
        return true;
    if (!image_read(arena, data, size, &root, why))
        return false;
    *why = db_level_fault(db, arena, root);
    if (*why) {
        root_unref(root);
        return false;
    }
    if (__atomic_load_n(&db->halted, __ATOMIC_ACQUIRE)) {
        root_unref(root);
        return true; /* what is here stays as it is, to be looked at */
    }
    root->log_index = index;
    root_unref(db->work);
    db->work = root;
    db_note_digest(db, root);
    fsm_publish(db, index);
    return true;
}

void db_serve_log(struct db *db)
{
    db->fsm = (struct log_fsm){
        .ctx = db,
        .apply = fsm_apply,
        .publish = fsm_publish,
        .hold = fsm_hold,
        .serialise = fsm_serialise,
        .unhold = fsm_unhold,
        .restore = fsm_restore,
        .failed = fsm_failed,
        .leader = fsm_leader,
        .members = fsm_members,
    };
}
