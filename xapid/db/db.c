/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * db.c -- the database of one daemon: the present root, the threads around it, transactions.
 *
 *   callers --(write-sets)--> log thread: apply on a private root, publish --> snapshots, feed
 *                                          \--> checkpoint thread: SQLite, about once a second
 */
#include "xapid/db/db.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/db/apply.h"
#include "xapid/db/write.h"
#include "xapid/main/xapid.h"

/* How long db_update goes on while the outcome is unknown or the log accepts nothing. */
#define UPDATE_DEADLINE (60 * USEC_PER_SEC)
#define FLUSH_PERIOD USEC_PER_SEC
/* Free bytes of the disk below which a checkpoint that was closed stays closed. */
#define CHECKPOINT_ROOM ((uint64_t)1 << 20)
/* How long what the log refuses is proposed again while somebody leads: it may not know that yet.
 */
#define REFUSED_WITHIN (5 * USEC_PER_SEC)
/* How often one who waits for an outcome looks whether the daemon ends. */
#define LOOK_PERIOD (200 * USEC_PER_MSEC)
/* Between two tries of a change whose outcome is not known, or that was not taken. */
#define AGAIN (20 * USEC_PER_MSEC)
/* Digests of the last revisions, for members that tell theirs later. */
#define DIGESTS 8192
/* Refusals of this daemon's own changes, for those who ask again because they missed the answer. */
#define REFUSALS 64

struct db_subscription {
    struct db_subscription *next;
    void (*changed)(void *ctx, uint64_t revision);
    void *ctx;
};

#define LAZY_BUCKETS 1024

struct lazy {
    struct lazy *next; /* of the same bucket */
    int field_id;
    ref_t ref;
    struct arena arena;
    void *value;
};

struct digest {
    uint64_t revision, value[2];
};

struct refusal {
    uint64_t number; /* of the request */
    struct arena arena;
    struct error *error;
};

struct db {
    struct mutex lock;
    struct cond published; /* a new root, or closing */
    struct db_root *root;  /* under lock; itself immutable */
    struct db_root *work;  /* the log thread's private copy while it applies a batch */
    struct log *log;
    struct log_fsm fsm;
    struct checkpoint *checkpoint; /* NULL between a full disk and the next try */
    char *checkpoint_path;
    bool no_room; /* the warning was given */
    struct thread flusher;
    bool closing, giving_up;
    bool opened;
    bool stuck;  /* of the log's thread: an entry cannot be read, so nothing after it may be applied
                  */
    bool halted; /* atomic: db_fail */
    struct cond led; /* somebody leads, or nobody will be waited for any more */
    uint64_t leader; /* 0: nobody */
    bool leads;      /* this member does */
    bool has_others; /* atomic: the log has other members */
    void (*on_leader)(void *watcher, uint64_t leader, uint64_t term, bool me);
    void (*on_members)(void *watcher);
    void *watcher;

    struct mutex digest_lock;
    struct digest *digests;            /* by revision % DIGESTS */
    struct refusal refusals[REFUSALS]; /* by number % REFUSALS; of the log's thread */
    char *failure;                     /* why nothing can be written any more */
    uint64_t origin, number;           /* of request ids; number under lock */

    struct mutex feed_lock; /* held while subscribers run */
    struct db_subscription *subscriptions;

    struct mutex flush_lock; /* held while lazy values are written; before lazy_lock */
    struct mutex lazy_lock;
    struct lazy *lazy[LAZY_BUCKETS];
};

/*** what the log calls ***/

static void fsm_failed(void *ctx, const char *why)
{
    struct db *db = ctx;

    MUTEX_GUARD(&db->lock);
    if (db->failure)
        return;
    db->failure = xstrdup(why);
    cond_broadcast(&db->led);
    log_error("the database accepts no more changes: %s", why);
}

static void fsm_leader(void *ctx, uint64_t leader, uint64_t term, bool me)
{
    struct db *db = ctx;

    mutex_lock(&db->lock);
    db->leader = leader;
    db->leads = me;
    cond_broadcast(&db->led);
    mutex_unlock(&db->lock);
    if (db->on_leader)
        db->on_leader(db->watcher, leader, term, me);
}

static void look_for_others(struct db *db)
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
        look_for_others(db);
    if (db->on_members)
        db->on_members(db->watcher);
}

static void note_digest(struct db *db, const struct db_root *root)
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

static void fsm_apply(void *ctx, struct arena *arena, uint64_t index, const void *data, size_t size,
                      struct log_result *result)
{
    struct db *db = ctx;

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
    apply_write_set(db->work, arena, data, size, result);
    if (result->outcome != LOG_FAILED) {
        remember_refusal(db, data, result, arena);
        if (result->outcome == LOG_APPLIED)
            note_digest(db, db->work);
        return;
    }
    /* The entry is applied again at the next start, by a version that understands it; the part of
       it that was applied is known then by its request ids. */
    db->stuck = true;
    db->work->log_index = index - 1;
    fsm_failed(db, error_line(arena, result->error));
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
    if (__atomic_load_n(&db->halted, __ATOMIC_ACQUIRE)) {
        root_unref(root);
        return true; /* what is here stays as it is, to be looked at */
    }
    root->log_index = index;
    root_unref(db->work);
    db->work = root;
    note_digest(db, root);
    fsm_publish(db, index);
    return true;
}

/*** the checkpoint ***/

/* Opens the file again after it was closed for want of room.  False while that fails. */
/* SQLite maps its index of the write-ahead log; on a full disk the first touch of a page that has
 * no block yet would be the end of the process (SIGBUS). */
static bool has_room(const char *path)
{
    struct statvfs fs;

    return statvfs(path, &fs) != 0 || (uint64_t)fs.f_bavail * fs.f_frsize >= CHECKPOINT_ROOM;
}

static bool reopen_checkpoint(struct db *db, struct arena *arena)
{
    struct db_root *old;

    if (db->checkpoint)
        return true;
    if (!has_room(db->checkpoint_path))
        return false;
    if (checkpoint_open(arena, db->checkpoint_path, &db->checkpoint, &old))
        return false; /* tried again at the next flush; the first failure was logged */
    root_unref(old);
    return true;
}

static void flush(struct db *db)
{
    struct arena arena = {0};
    struct db_root *root = (struct db_root *)db_snapshot(db);
    struct error *e = OK;

    if (reopen_checkpoint(db, &arena))
        e = checkpoint_flush(&arena, db->checkpoint, root);
    if (e && checkpoint_met_full_disk(db->checkpoint)) {
        if (!db->no_room)
            log_warning("%s; it is tried again until there is room", error_line(&arena, e));
        db->no_room = true;
        checkpoint_close(db->checkpoint);
        db->checkpoint = NULL;
    } else if (db->checkpoint && !e) {
        db->no_room = false;
    } else if (e) {
        fsm_failed(db, error_line(&arena, e));
    }
    root_unref(root);
    arena_release(&arena);
}

static void *flusher_run(void *arg)
{
    struct db *db = arg;
    bool closing = false;

    while (!closing) {
        usec_t next = clock_mono() + FLUSH_PERIOD;
        bool failed;

        db_flush_lazy(db);
        mutex_lock(&db->lock);
        while (!db->closing && cond_wait_until(&db->published, &db->lock, next))
            ;
        closing = db->closing;
        failed = db->failure != NULL;
        mutex_unlock(&db->lock);
        if (!failed)
            flush(db);
    }
    return NULL;
}

/*** opening and closing ***/

struct error *db_failure(struct db *db, struct arena *arena)
{
    MUTEX_GUARD(&db->lock);
    return db->failure ? error_internal(arena, "the database accepts no changes: %s", db->failure)
                       : OK;
}

/* An engine whose members cannot change has no leader to wait for. */
static bool is_alone(const struct db *db)
{
    return !db->log->engine->change;
}

bool db_leads(struct db *db)
{
    MUTEX_GUARD(&db->lock);
    return is_alone(db) || db->leads;
}

/* With the lock held. */
static bool is_led(const struct db *db)
{
    return is_alone(db) || db->leader;
}

bool db_has_leader(struct db *db)
{
    MUTEX_GUARD(&db->lock);
    return is_led(db);
}

bool db_wait_leader(struct db *db, usec_t deadline)
{
    MUTEX_GUARD(&db->lock);
    while (!is_led(db) && !db->failure && !db->giving_up)
        if (!cond_wait_until(&db->led, &db->lock, deadline))
            break;
    return is_led(db);
}

static struct error *no_leader(struct db *db, struct arena *arena)
{
    size_t voters = 0, n;
    struct log_member *m;

    db_members(db, arena, &n, &m);
    for (size_t i = 0; i < n; i++)
        voters += m[i].role == LOG_VOTER;
    return error_internal(arena,
                          "the database accepts no changes at present: no member leads the pool.  "
                          "It will go on by itself once more than half of its %zu voting members "
                          "reach each other",
                          voters);
}

/* OK once a change has a chance; waits for somebody who leads. */
static struct error *wait_writable(struct db *db, struct arena *arena, usec_t deadline)
{
    bool led = db_wait_leader(db, deadline);

    TRY(db_failure(db, arena));
    return led ? OK : no_leader(db, arena);
}

void db_fail(struct db *db, const char *why)
{
    __atomic_store_n(&db->halted, true, __ATOMIC_RELEASE);
    fsm_failed(db, why);
}

void db_give_up(struct db *db)
{
    MUTEX_GUARD(&db->lock);
    db->giving_up = true;
    cond_broadcast(&db->led);
}

static bool gave_up(struct db *db)
{
    MUTEX_GUARD(&db->lock);
    return db->giving_up && !is_led(db);
}

void db_members(struct db *db, struct arena *arena, size_t *n, struct log_member **out)
{
    *n = 0;
    if (db->log->engine->members)
        db->log->engine->members(db->log, arena, n, out);
}

bool db_has_others(struct db *db)
{
    return __atomic_load_n(&db->has_others, __ATOMIC_ACQUIRE);
}

struct error *db_change_members(struct db *db, struct arena *arena, struct log_change *change)
{
    if (is_alone(db))
        return error_internal(arena, "the log of this database cannot have other members");
    db->log->engine->change(db->log, change);
    return OK;
}

/* All that waits, as one list. */
static struct lazy *lazy_take(struct db *db)
{
    struct lazy *list = NULL;

    MUTEX_GUARD(&db->lazy_lock);
    for (int i = 0; i < LAZY_BUCKETS; i++) {
        while (db->lazy[i]) {
            struct lazy *l = db->lazy[i];

            db->lazy[i] = l->next;
            l->next = list;
            list = l;
        }
    }
    return list;
}

static void lazy_free(struct lazy *list)
{
    while (list) {
        struct lazy *next = list->next;

        arena_release(&list->arena);
        free(list);
        list = next;
    }
}

static struct error *open_raft(void *ctx, struct arena *arena, const char *dir,
                               const struct log_fsm *fsm, struct log **out)
{
    return log_raft_open(arena, dir, ctx, fsm, out);
}

static struct error *open_parts(struct arena *arena, struct db *db,
                                const struct db_options *options)
{
    const char *raft = arena_printf(arena, "%s/raft", options->dir);
    struct log_status status;
    struct db_snap *snap;
    struct log *log;
    int faults;

    if (mkdir(options->dir, 0700) < 0 && errno != EEXIST)
        return error_internal(arena, "cannot make directory %s: %s", options->dir, strerror(errno));
    db->checkpoint_path = xasprintf("%s/xapid.db", options->dir);
    TRY(checkpoint_open(arena, db->checkpoint_path, &db->checkpoint, &db->root));
    db->fsm.applied_index = db->root->log_index;
    note_digest(db, db->root);
    TRY((options->open_log ? options->open_log : open_raft)(
        options->open_log ? options->ctx : (void *)options->raft, arena, raft, &db->fsm, &log));
    __atomic_store_n(&db->log, log, __ATOMIC_RELEASE);
    look_for_others(db);
    db_status(db, &status);
    if (status.last_index < db->fsm.applied_index)
        return error_internal(arena,
                              "the log in %s ends at entry %" PRIu64
                              ", but the database already contains entry %" PRIu64
                              ": entries were lost; it was not opened",
                              raft, status.last_index, db->fsm.applied_index);
    TRY(db_failure(db, arena));
    snap = db_snapshot(db);
    faults = db_check(snap);
    db_snap_unref(snap);
    if (faults > 0)
        return error_internal(
            arena, "the database in %s breaks its own rules (see the log); it was not opened",
            options->dir);
    return OK;
}

struct error *db_open(struct arena *arena, const struct db_options *options, struct db **out)
{
    struct db *db = xcalloc(1, sizeof *db);
    struct error *e;

    mutex_init(&db->lock);
    mutex_init(&db->feed_lock);
    mutex_init(&db->lazy_lock);
    mutex_init(&db->flush_lock);
    mutex_init(&db->digest_lock);
    cond_init(&db->published);
    cond_init(&db->led);
    db->digests = xcalloc(DIGESTS, sizeof *db->digests);
    db->on_leader = options->leader;
    db->on_members = options->members;
    db->watcher = options->watcher;
    db->origin = random_u64() | 1;
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
    e = open_parts(arena, db, options);
    if (e) {
        db_close(db);
        return e;
    }
    db->opened = true;
    thread_start(&db->flusher, "checkpoint", flusher_run, db);
    *out = db;
    return OK;
}

void db_close(struct db *db)
{
    if (!db)
        return;
    if (db->opened)
        db_flush_lazy(db);
    mutex_lock(&db->lock);
    db->closing = true;
    cond_broadcast(&db->published);
    mutex_unlock(&db->lock);
    thread_join(&db->flusher);
    log_close(db->log);
    if (db->opened && !db->failure)
        flush(db);
    checkpoint_close(db->checkpoint);
    lazy_free(lazy_take(db));
    root_unref(db->work);
    root_unref(db->root);
    free(db->failure);
    free(db->checkpoint_path);
    for (size_t i = 0; i < REFUSALS; i++)
        arena_release(&db->refusals[i].arena);
    free(db->digests);
    mutex_release(&db->digest_lock);
    cond_release(&db->led);
    cond_release(&db->published);
    mutex_release(&db->lock);
    mutex_release(&db->feed_lock);
    mutex_release(&db->lazy_lock);
    mutex_release(&db->flush_lock);
    free(db);
}

void db_status(struct db *db, struct log_status *out)
{
    db->log->engine->status(db->log, out);
}

/*** reading ***/

struct db_snap *db_snapshot(struct db *db)
{
    MUTEX_GUARD(&db->lock);
    return (struct db_snap *)root_ref(db->root);
}

struct db_snap *db_snap_ref(struct db_snap *snap)
{
    return (struct db_snap *)root_ref((struct db_root *)snap);
}

void db_snap_unref(struct db_snap *snap)
{
    root_unref((struct db_root *)snap);
}

static void hold(struct call *call, struct db_snap *snap)
{
    if (call->n_held == call->held_room) {
        struct db_snap **more;

        call->held_room = call->held_room ? call->held_room * 2 : 8;
        more = arena_array(call->arena, struct db_snap *, call->held_room);
        if (call->n_held)
            memcpy(more, call->held, call->n_held * sizeof *more);
        call->held = more;
    }
    call->held[call->n_held++] = snap;
}

void call_refresh(struct call *call)
{
    struct db_snap *old = call->snap;

    call->snap = db_snapshot(call->xapid->db);
    if (old == call->snap)
        db_snap_unref(old);
    else if (old)
        hold(call, old);
}

void call_drop_held(struct call *call, size_t from)
{
    while (call->n_held > from)
        db_snap_unref(call->held[--call->n_held]);
}

void call_let_go(struct call *call)
{
    call_drop_held(call, 0);
    db_snap_unref(call->snap);
    call->snap = NULL;
}

const char *call_ref(const struct call *call, ref_t ref)
{
    return ref_text(call->arena, ref);
}

const void *db_find(const struct call *call, int class_id, ref_t ref)
{
    return root_get(snap_root(call->snap), class_id, ref);
}

struct error *db_get(struct call *call, int class_id, ref_t ref, const void **row)
{
    *row = db_find(call, class_id, ref);
    return *row ? OK : err_handle_invalid(call, api_classes[class_id].name, call_ref(call, ref));
}

struct error *db_by_uuid(struct call *call, int class_id, const char *uuid, ref_t *ref)
{
    const struct field_desc *f = &api_fields[api_classes[class_id].uuid_field];
    struct index_walk walk;

    index_walk(snap_root(call->snap), f, index_key_string(uuid), &walk);
    while (index_next(&walk, ref))
        if (strcmp(*(const char *const *)field_in(db_find(call, class_id, *ref), f), uuid) == 0)
            return OK;
    return err_uuid_invalid(call, api_classes[class_id].name, uuid);
}

void db_walk(const struct db_snap *snap, int class_id, struct db_walk *walk)
{
    tree_seek(&snap_root(snap)->tables[class_id], NULL, &walk->cursor);
}

const void *db_walk_next(struct db_walk *walk)
{
    const struct tree_entry *e = tree_next(&walk->cursor);

    return e ? (const void *)e->k[2] : NULL;
}

static struct refs collect(struct arena *arena, const struct db_root *root,
                           const struct field_desc *f, ref_t key)
{
    struct index_walk walk;
    size_t n = 0, room = 8;
    ref_t *v = arena_array(arena, ref_t, room), ref;

    index_walk(root, f, key, &walk);
    while (index_next(&walk, &ref)) {
        if (n == room) {
            ref_t *more = arena_array(arena, ref_t, room * 2);

            memcpy(more, v, n * sizeof *v);
            v = more;
            room *= 2;
        }
        v[n++] = ref;
    }
    return (struct refs){n, v};
}

struct refs db_referrers(const struct call *call, int field_id, ref_t key)
{
    return collect(call->arena, snap_root(call->snap), &api_fields[field_id], key);
}

/* Oldest first; rows of one write-set by reference. */
static int by_age(const void *a, const void *b, void *arg)
{
    const struct tree *table = arg;
    const ref_t *x = a, *y = b;
    const struct row *r = (const struct row *)tree_get(table, (uint64_t[]){x->hi, x->lo})->k[2];
    const struct row *s = (const struct row *)tree_get(table, (uint64_t[]){y->hi, y->lo})->k[2];

    if (r->row_created != s->row_created)
        return r->row_created < s->row_created ? -1 : 1;
    return x->hi != y->hi ? (x->hi < y->hi ? -1 : 1) : x->lo < y->lo ? -1 : x->lo > y->lo;
}

struct refs db_derived(struct arena *arena, const struct db_snap *snap, const struct field_desc *f,
                       ref_t self)
{
    const struct field_desc *stored = &api_fields[f->relation];
    struct refs refs = {0};

    if (stored->index_slot < 0)
        return refs;
    refs = collect(arena, snap_root(snap), stored, self);
    if (refs.n > 1)
        qsort_r((void *)refs.v, refs.n, sizeof *refs.v, by_age,
                (void *)&snap_root(snap)->tables[stored->class_id]);
    return refs;
}

/*** transactions ***/

struct txn {
    struct call *call;
    struct arena arena;
    struct db_root *root;
    struct write_set set;
};

static void txn_release(struct txn *txn)
{
    write_release(&txn->set);
    root_unref(txn->root);
    arena_release(&txn->arena);
}

struct call *txn_call(struct txn *txn)
{
    return txn->call;
}

struct arena *txn_arena(struct txn *txn)
{
    return &txn->arena;
}

const struct db_snap *txn_snap(struct txn *txn)
{
    return (const struct db_snap *)txn->root;
}

const void *txn_find(struct txn *txn, int class_id, ref_t ref)
{
    const struct row *row = root_get(txn->root, class_id, ref);

    write_read_row(&txn->set, &api_classes[class_id], ref, row ? row->row_version : 0);
    return row;
}

struct error *txn_get(struct txn *txn, int class_id, ref_t ref, const void **row)
{
    *row = txn_find(txn, class_id, ref);
    return *row ? OK
                : err_handle_invalid(txn->call, api_classes[class_id].name,
                                     call_ref(txn->call, ref));
}

struct refs txn_referrers(struct txn *txn, int field_id, ref_t key)
{
    const struct field_desc *f = &api_fields[field_id];

    write_read_index(&txn->set, f, key, index_digest(txn->root, f, key));
    return collect(&txn->arena, txn->root, f, key);
}

void txn_create(struct txn *txn, int class_id, const void *source)
{
    write_create(&txn->set, &api_classes[class_id], ((const struct row *)source)->ref, source);
}

void txn_set_value(struct txn *txn, int field_id, ref_t ref, const void *value)
{
    write_set_field(&txn->set, &api_fields[field_id], ref, value, 0);
}

void txn_map_add(struct txn *txn, int field_id, ref_t ref, const void *key, const void *value)
{
    write_member(&txn->set, OP_MAP_ADD, &api_fields[field_id], ref, key, value, 0);
}

void txn_map_put(struct txn *txn, int field_id, ref_t ref, const void *key, const void *value)
{
    write_member(&txn->set, OP_MAP_PUT, &api_fields[field_id], ref, key, value, 0);
}

void txn_map_remove(struct txn *txn, int field_id, ref_t ref, const void *key)
{
    write_member(&txn->set, OP_MAP_REMOVE, &api_fields[field_id], ref, key, NULL, 0);
}

void txn_set_add(struct txn *txn, int field_id, ref_t ref, const void *element)
{
    write_member(&txn->set, OP_SET_ADD, &api_fields[field_id], ref, element, NULL, 0);
}

void txn_set_remove(struct txn *txn, int field_id, ref_t ref, const void *element)
{
    write_member(&txn->set, OP_SET_REMOVE, &api_fields[field_id], ref, element, NULL, 0);
}

void txn_strmap_put(struct txn *txn, int field_id, ref_t ref, const char *key, const char *value)
{
    txn_map_put(txn, field_id, ref, &key, &value);
}

void txn_strmap_remove(struct txn *txn, int field_id, ref_t ref, const char *key)
{
    txn_map_remove(txn, field_id, ref, &key);
}

void txn_destroy(struct txn *txn, int class_id, ref_t ref)
{
    write_destroy(&txn->set, &api_classes[class_id], ref);
}

void txn_touch(struct txn *txn, int class_id, ref_t ref)
{
    write_touch(&txn->set, &api_classes[class_id], ref);
}

/*** proposing ***/

/* Of the proposer and of the log: the last one frees it. */
struct waiting {
    struct log_proposal proposal;
    struct mutex lock;
    struct cond cond;
    bool done, abandoned;
    struct arena *arena; /* for the error */
    struct log_result result;
    char data[]; /* the log reads it also after the proposer has gone */
};

static void waiting_free(struct waiting *w)
{
    cond_release(&w->cond);
    mutex_release(&w->lock);
    free(w);
}

static void proposal_done(struct log_proposal *proposal, const struct log_result *result)
{
    struct waiting *w = (struct waiting *)proposal;
    bool abandoned;

    mutex_lock(&w->lock);
    abandoned = w->abandoned;
    if (!abandoned) {
        w->result = *result;
        w->result.error = error_copy(w->arena, result->error);
        w->done = true;
        cond_signal(&w->cond);
    }
    mutex_unlock(&w->lock);
    if (abandoned)
        waiting_free(w);
}

/* Proposes bytes and waits for the outcome, or until the daemon ends and nobody leads. */
static struct log_result propose(struct db *db, struct arena *arena, const char *data, size_t size)
{
    struct waiting *w = xmalloc(sizeof *w + size);
    struct log_result result = {.outcome = LOG_UNKNOWN};
    bool done;

    memset(w, 0, sizeof *w);
    memcpy(w->data, data, size);
    w->proposal = (struct log_proposal){.data = w->data, .size = size, .done = proposal_done};
    w->arena = arena;
    mutex_init(&w->lock);
    cond_init(&w->cond);
    log_propose(db->log, &w->proposal);
    mutex_lock(&w->lock);
    while (!w->done && !w->abandoned)
        if (!cond_wait_until(&w->cond, &w->lock, clock_mono() + LOOK_PERIOD) && !w->done)
            w->abandoned = gave_up(db);
    done = w->done;
    if (done)
        result = w->result;
    mutex_unlock(&w->lock);
    /* Else the log frees it when it answers. */
    if (done)
        waiting_free(w);
    return result;
}

static uint64_t next_number(struct db *db)
{
    MUTEX_GUARD(&db->lock);
    return ++db->number;
}

/* Bytes that apply could not read would stop every member for good: a bug must be found before they
 * are in the log. */
static struct error *check_readable(struct arena *arena, const char *data, size_t size)
{
    AUTO(arena) scratch = {0};
    struct write_read_item item;
    struct write_op_item op;
    struct write_reader r;

    if (size > LOG_MAX_WRITE_SET)
        return error_internal(arena, "a change of %zu bytes is larger than the limit of %d", size,
                              LOG_MAX_WRITE_SET);
    if (write_open(&r, &scratch, data, size)) {
        while (write_next_read(&r, &item))
            ;
        while (write_next_op(&r, &op))
            ;
    }
    return r.bad ? error_internal(arena, "a change that nobody could read was not made: %s", r.why)
                 : OK;
}

/* True where what was not taken may be taken by whoever leads next: nothing but the want of a
 * leader stood in its way. */
static bool may_be_taken_later(struct db *db, usec_t *since)
{
    struct log_status status;

    if (!db_has_others(db))
        return false;
    db_status(db, &status);
    *since = *since ? *since : clock_mono();
    if (status.failure && status.leader && clock_mono() > *since + REFUSED_WITHIN)
        return false;
    MUTEX_GUARD(&db->lock);
    return !db->failure && !db->giving_up;
}

/* One write-set to its end: the same bytes again, under the same id, while the outcome is unknown.
 * What was in doubt once stays so where it is not taken later. */
static struct log_result propose_until_known(struct db *db, struct arena *arena,
                                             struct write_set *set, usec_t deadline)
{
    struct log_result result;
    struct error *bad;
    bool doubt = false;
    char *data;
    size_t size;

    set->origin = db->origin;
    set->number = next_number(db);
    set->time = clock_wall();
    data = write_finish(set, &size);
    bad = check_readable(arena, data, size);
    if (bad) {
        free(data);
        return (struct log_result){.outcome = LOG_FAILED, .error = bad};
    }
    for (;;) {
        result = propose(db, arena, data, size);
        doubt |= result.outcome == LOG_UNKNOWN;
        if (doubt && result.outcome == LOG_FAILED)
            result = (struct log_result){.outcome = LOG_UNKNOWN};
        if (result.outcome != LOG_UNKNOWN || clock_mono() > deadline || gave_up(db))
            break;
        clock_sleep(AGAIN);
    }
    free(data);
    return result;
}

static const char outcome_unknown[] =
    "the outcome of the change is not known yet: it may still take effect";

bool db_outcome_is_unknown(const struct error *e)
{
    return error_is(e, "INTERNAL_ERROR") && e->n_params == 1 &&
           strcmp(e->params[0], outcome_unknown) == 0;
}

struct error *db_update(struct call *call, db_txn_fn *fn, void *arg)
{
    struct db *db = call->xapid->db;
    usec_t deadline = clock_mono() + UPDATE_DEADLINE, refused = 0;

    for (;;) {
        AUTO(txn) txn = {.call = call};
        struct log_result result;

        TRY(wait_writable(db, call->arena, deadline));
        txn.root = (struct db_root *)db_snapshot(db);
        TRY(fn(&txn, arg));
        if (!txn.set.n_ops) {
            call_refresh(call);
            return OK;
        }
        result = propose_until_known(db, call->arena, &txn.set, deadline);
        call_refresh(call);
        call->wrote |= result.outcome == LOG_APPLIED || result.outcome == LOG_UNKNOWN;
        if (result.outcome == LOG_APPLIED)
            return OK;
        if (result.outcome == LOG_UNKNOWN)
            return error_internal(call->arena, "%s", outcome_unknown);
        if (result.outcome == LOG_FAILED && may_be_taken_later(db, &refused) &&
            clock_mono() < deadline) {
            clock_sleep(AGAIN);
            continue;
        }
        if (result.outcome != LOG_CONFLICT)
            return result.error;
        if (clock_mono() > deadline)
            return error_internal(call->arena,
                                  "the change met others again and again and was given up");
    }
}

bool db_barrier(struct db *db, usec_t deadline)
{
    AUTO(arena) arena = {0};
    struct write_set nothing = {0};
    struct log_result result;
    usec_t refused = 0;

    if (!db_has_others(db))
        return true;
    do {
        if (wait_writable(db, &arena, deadline))
            return false;
        result = propose_until_known(db, &arena, &nothing, deadline);
        write_release(&nothing);
    } while (result.outcome == LOG_FAILED && may_be_taken_later(db, &refused) &&
             clock_mono() < deadline);
    return result.outcome == LOG_APPLIED;
}

/*** lazy writes ***/

static void set_lazily(struct db *db, int field_id, ref_t ref, const void *value, bool replace)
{
    struct lazy **bucket = &db->lazy[(ref.lo ^ (unsigned)field_id) % LAZY_BUCKETS], *l;

    MUTEX_GUARD(&db->lazy_lock);
    for (l = *bucket; l && (l->field_id != field_id || !ref_equal(l->ref, ref)); l = l->next)
        ;
    if (l && !replace)
        return;
    if (!l) {
        l = xcalloc(1, sizeof *l);
        l->field_id = field_id;
        l->ref = ref;
        l->next = *bucket;
        *bucket = l;
    }
    arena_release(&l->arena);
    l->value = arena_alloc(&l->arena, api_fields[field_id].type->size);
    value_copy(&l->arena, api_fields[field_id].type, value, l->value);
}

void db_set_lazily(struct db *db, int field_id, ref_t ref, const void *value)
{
    set_lazily(db, field_id, ref, value, true);
}

/* What was measured once may not change for long: it waits for the next time, unless there is
 * something newer by then. */
static void put_back(struct db *db, const struct lazy *first, const struct lazy *last)
{
    for (const struct lazy *l = first;; l = l->next) {
        set_lazily(db, l->field_id, l->ref, l->value, false);
        if (l == last)
            return;
    }
}

void db_drop_lazy(struct db *db, int field_id, ref_t ref)
{
    struct lazy **p, *gone = NULL;

    /* What is being written just now is waited for: it must not land after what the caller does
     * next. */
    mutex_lock(&db->flush_lock);
    mutex_lock(&db->lazy_lock);
    p = &db->lazy[(ref.lo ^ (unsigned)field_id) % LAZY_BUCKETS];
    while (*p && ((*p)->field_id != field_id || !ref_equal((*p)->ref, ref)))
        p = &(*p)->next;
    if (*p) {
        gone = *p;
        *p = gone->next;
        gone->next = NULL;
    }
    mutex_unlock(&db->lazy_lock);
    mutex_unlock(&db->flush_lock);
    lazy_free(gone);
}

void db_flush_lazy(struct db *db)
{
    struct lazy *list, *first;
    struct write_set set = {0};
    struct arena arena = {0};

    /* Without a leader they wait, one value for each field. */
    if (!db_wait_leader(db, 0))
        return;
    MUTEX_GUARD(&db->flush_lock);
    first = list = lazy_take(db);
    for (struct lazy *l = list; l; l = l->next) {
        write_set_field(&set, &api_fields[l->field_id], l->ref, l->value, OP_IF_EXISTS);
        if (set.ops.len > LOG_MAX_WRITE_SET / 2 || !l->next) {
            struct log_result result = propose_until_known(db, &arena, &set, clock_mono());

            if (result.outcome == LOG_REJECTED)
                log_warning("some of the measured values were refused: %s",
                            error_line(&arena, result.error));
            else if (result.outcome != LOG_APPLIED)
                put_back(db, first, l);
            first = l->next;
            write_release(&set);
        }
    }
    lazy_free(list);
    arena_release(&arena);
}

/*** the feed ***/

struct db_subscription *db_subscribe(struct db *db, void (*changed)(void *ctx, uint64_t revision),
                                     void *ctx)
{
    struct db_subscription *s = xcalloc(1, sizeof *s);

    s->changed = changed;
    s->ctx = ctx;
    MUTEX_GUARD(&db->feed_lock);
    s->next = db->subscriptions;
    db->subscriptions = s;
    return s;
}

void db_unsubscribe(struct db *db, struct db_subscription *subscription)
{
    struct db_subscription **p;

    mutex_lock(&db->feed_lock);
    for (p = &db->subscriptions; *p; p = &(*p)->next) {
        if (*p == subscription) {
            *p = subscription->next;
            break;
        }
    }
    mutex_unlock(&db->feed_lock);
    free(subscription);
}

bool db_wait(struct db *db, uint64_t revision, usec_t deadline)
{
    MUTEX_GUARD(&db->lock);
    while (db->root->revision <= revision)
        if (!cond_wait_until(&db->published, &db->lock, deadline))
            return false;
    return true;
}
