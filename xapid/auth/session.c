/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/auth/session.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/db/db.h"
#include "xapid/main/xapid.h"

#define BUCKETS 1024
#define IDLE_LIMIT (24 * 3600 * USEC_PER_SEC)
#define PER_ORIGINATOR 500
#define PER_USER 500
#define ANONYMOUS 400
#define COPIES 8
/* How long it is remembered that nobody knew a session, and that one has ended: an announcement may
 * come late. */
#define UNKNOWN_FOR USEC_PER_SEC
#define ENDED_FOR IDLE_LIMIT
#define GHOSTS 4096
#define ASK_EVERY (250 * USEC_PER_MSEC)

/* What a session is beside its public, immutable part. */
struct entry {
    struct auth_session public; /* first: a session is its entry */
    struct sessions *owner;
    struct entry *next;          /* of the same hash */
    uint32_t count;              /* holders; atomic */
    usec_t created, last_active; /* wall, to be shown; under lock */
    usec_t used;        /* monotonic: a clock that is set must not end sessions; under lock */
    usec_t asked;       /* the others, because of the doubt; monotonic; under lock */
    usec_t sure;        /* when it was certainly here, monotonic; under lock */
    usec_t doubted;     /* since when it may be elsewhere by now, monotonic; 0: no; under lock */
    struct arena arena; /* its strings */
    struct arena config_arena;
    struct strmap other_config; /* under lock */
    ref_t host;                 /* that made it; null: this one */
    bool here;                  /* under lock */
    bool shared;                /* others may have a copy; under lock */
    bool roams;                 /* was used elsewhere too, or may have been; under lock */
    bool whole;                 /* 'seen' has all this member ever showed it; under lock */
    uint64_t taken;             /* how often; under lock */
    uint64_t seen;              /* atomic */
};

/* A session that is not there any more, or never was; a later one may take its place. */
struct ghost {
    ref_t ref;
    usec_t until;
};

struct end_hook {
    void (*fn)(void *ctx, ref_t ref);
    void *ctx;
};

struct sessions {
    struct xapid *xapid;
    struct mutex lock;
    struct entry *buckets[BUCKETS];
    size_t count;
    struct end_hook hooks[4];
    size_t n_hooks;
    struct session_remote remote;
    struct ghost *unknown,
        *ended; /* GHOSTS each, by the reference; NULL while there are no others */
};

struct sessions *sessions_new(struct xapid *xapid)
{
    struct sessions *s = xcalloc(1, sizeof *s);

    mutex_init(&s->lock);
    s->xapid = xapid;
    return s;
}

static struct entry **place_of(struct sessions *s, ref_t ref)
{
    struct entry **p = &s->buckets[ref.lo % BUCKETS];

    while (*p && !ref_equal((*p)->public.ref, ref))
        p = &(*p)->next;
    return p;
}

void session_unref(const struct auth_session *session)
{
    struct entry *e = (struct entry *)session;

    if (!e || __atomic_sub_fetch(&e->count, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    db_snap_unref(e->public.copy);
    arena_release(&e->config_arena);
    arena_release(&e->arena);
    free(e);
}

static struct entry *take_out(struct sessions *s, struct entry **p)
{
    struct entry *e = *p;

    *p = e->next;
    s->count--;
    return e;
}

static void run_hooks(struct sessions *s, ref_t ref)
{
    for (size_t i = 0; i < s->n_hooks; i++)
        s->hooks[i].fn(s->hooks[i].ctx, ref);
}

void sessions_free(struct sessions *s)
{
    if (!s)
        return;
    for (int i = 0; i < BUCKETS; i++)
        while (s->buckets[i])
            session_unref(&take_out(s, &s->buckets[i])->public);
    free(s->unknown);
    free(s->ended);
    mutex_release(&s->lock);
    free(s);
}

/* With the lock held. */
static void ghost_add(struct ghost *ghosts, ref_t ref, usec_t until)
{
    if (ghosts)
        ghosts[ref.lo % GHOSTS] = (struct ghost){ref, until};
}

static bool ghost_has(const struct ghost *ghosts, ref_t ref)
{
    const struct ghost *g = ghosts ? &ghosts[ref.lo % GHOSTS] : NULL;

    return g && ref_equal(g->ref, ref) && clock_mono() < g->until;
}

/* Of one that was taken out: those who listen, and where it was announced the other members. */
static void ended(struct sessions *s, struct entry *e, bool tell)
{
    run_hooks(s, e->public.ref);
    if (tell && e->shared && s->remote.ended)
        s->remote.ended(s->remote.ctx, e->public.ref);
    session_unref(&e->public);
}

void sessions_on_end(struct sessions *s, void (*fn)(void *ctx, ref_t ref), void *ctx)
{
    if (s->n_hooks < ARRAY_SIZE(s->hooks))
        s->hooks[s->n_hooks++] = (struct end_hook){fn, ctx};
}

/* What sessions are counted by. */
enum group { BY_ORIGINATOR, BY_USER, ON_COPIES, GROUPS };

static bool same_group(const struct entry *e, const struct session_request *r, enum group group)
{
    if (group == ON_COPIES)
        return e->public.copy && r->copy;
    return group == BY_USER ? strcmp(e->public.user, r->user) == 0
                            : strcmp(e->public.originator, r->originator) == 0;
}

static size_t group_limit(const struct session_request *r, enum group group)
{
    if (group == ON_COPIES)
        return COPIES;
    if (!*(group == BY_USER ? r->user : r->originator))
        return ANONYMOUS;
    return group == BY_USER ? PER_USER : PER_ORIGINATOR;
}

/* The entry unused for longest in the group, if they are as many as allowed. */
static struct entry *excess(struct sessions *s, const struct session_request *r, enum group group)
{
    size_t limit = group_limit(r, group);
    struct entry *oldest = NULL;
    size_t n = 0;

    for (int i = 0; i < BUCKETS; i++) {
        for (struct entry *e = s->buckets[i]; e; e = e->next) {
            if (!same_group(e, r, group))
                continue;
            n++;
            if (!oldest || e->used < oldest->used)
                oldest = e;
        }
    }
    return n >= limit ? oldest : NULL;
}

static struct entry *entry_of(struct sessions *s, const struct auth_session *public)
{
    struct entry *e = xcalloc(1, sizeof *e);

    e->owner = s;
    e->count = 1;
    e->created = e->last_active = clock_wall();
    e->used = e->sure = clock_mono();
    e->here = true;
    e->public = *public;
    e->public.user = arena_strdup(&e->arena, public->user ? public->user : "");
    e->public.originator = arena_strdup(&e->arena, public->originator ? public->originator : "");
    e->public.client = arena_strdup(&e->arena, public->client ? public->client : "");
    return e;
}

static struct entry *entry_new(struct sessions *s, const struct session_request *r)
{
    struct auth_session public = {
        .ref = ref_new(),
        .role = r->role,
        .is_local_superuser = r->is_local_superuser,
        .pool = r->pool,
        .user = r->user,
        .originator = r->originator,
        .client = r->client,
        .subject = r->subject,
        .copy = r->copy,
    };

    uuid_new(public.uuid);
    return entry_of(s, &public);
}

const struct auth_session *session_stand_in(struct sessions *s, const struct auth_session *who)
{
    return &entry_of(s, who)->public;
}

/* What must go before one of that kind comes in.  With the lock held. */
static void make_room(struct sessions *s, const struct session_request *r,
                      struct entry *old[GROUPS])
{
    for (int i = 0; i < GROUPS; i++) {
        old[i] = excess(s, r, (enum group)i);
        if (!old[i])
            continue;
        take_out(s, place_of(s, old[i]->public.ref));
        if (old[i]->here)
            ghost_add(s->ended, old[i]->public.ref, clock_mono() + ENDED_FOR);
    }
}

/* One that is in use elsewhere only loses its copy here. */
static void made_room(struct sessions *s, struct entry *old[GROUPS])
{
    for (int i = 0; i < GROUPS; i++)
        if (old[i])
            ended(s, old[i], old[i]->here);
}

static void put_in(struct sessions *s, struct entry *e)
{
    ref_t ref = e->public.ref;

    e->next = s->buckets[ref.lo % BUCKETS];
    s->buckets[ref.lo % BUCKETS] = e;
    s->count++;
}

ref_t session_create(struct sessions *s, const struct session_request *request)
{
    struct session_request r = *request;
    struct entry *e, *old[GROUPS] = {NULL};
    ref_t ref;

    r.originator = r.originator ? r.originator : "";
    r.user = r.user ? r.user : "";
    mutex_lock(&s->lock);
    make_room(s, &r, old);
    e = entry_new(s, &r);
    ref = e->public.ref;
    e->whole = true;
    put_in(s, e);
    mutex_unlock(&s->lock);
    made_room(s, old);
    return ref;
}

const struct auth_session *session_find(struct sessions *s, ref_t ref)
{
    struct entry *e;

    MUTEX_GUARD(&s->lock);
    e = *place_of(s, ref);
    if (!e)
        return NULL;
    e->last_active = clock_wall();
    e->used = clock_mono();
    __atomic_add_fetch(&e->count, 1, __ATOMIC_RELAXED);
    return &e->public;
}

bool session_destroy(struct sessions *s, ref_t ref)
{
    struct entry **p, *e = NULL;

    mutex_lock(&s->lock);
    p = place_of(s, ref);
    if (*p) {
        e = take_out(s, p);
        ghost_add(s->ended, ref, clock_mono() + ENDED_FOR);
    }
    mutex_unlock(&s->lock);
    if (!e)
        return false;
    ended(s, e, true);
    return true;
}

void sessions_collect(struct sessions *s)
{
    sessions_end_idle(s, IDLE_LIMIT);
}

void sessions_end_idle(struct sessions *s, usec_t idle)
{
    usec_t limit = clock_mono() - idle;
    struct entry *gone = NULL;

    mutex_lock(&s->lock);
    for (int i = 0; i < BUCKETS; i++) {
        struct entry **p = &s->buckets[i];

        while (*p) {
            struct entry *e = *p;

            if (e->used < limit && __atomic_load_n(&e->count, __ATOMIC_ACQUIRE) == 1) {
                take_out(s, p);
                e->next = gone;
                gone = e;
            } else {
                p = &e->next;
            }
        }
    }
    mutex_unlock(&s->lock);
    while (gone) {
        struct entry *next = gone->next;

        /* The others have clocks of their own, and may have it in use. */
        ended(s, gone, false);
        gone = next;
    }
}

const struct session *session_record(struct sessions *s, struct arena *arena, ref_t ref)
{
    struct session *row;
    struct entry *e;

    MUTEX_GUARD(&s->lock);
    e = *place_of(s, ref);
    if (!e)
        return NULL;
    row = arena_new(arena, struct session);
    row->ref = ref;
    row->row_class = CLASS_session;
    row->uuid = arena_strdup(arena, e->public.uuid);
    row->this_host = ref_is_null(e->host) ? s->xapid->host : e->host;
    row->last_active = e->last_active;
    row->pool = e->public.pool;
    value_copy(arena, api_fields[FIELD_session_other_config].type, &e->other_config,
               &row->other_config);
    row->is_local_superuser = e->public.is_local_superuser;
    row->subject = e->public.subject;
    row->validation_time = e->created;
    row->auth_user_sid = arena_strdup(arena, e->public.is_local_superuser ? "" : e->public.user);
    row->auth_user_name = arena_strdup(arena, e->public.user);
    row->originator = arena_strdup(arena, e->public.originator);
    row->client_certificate = e->public.role == ROLE_CLIENT_CERT;
    return row;
}

bool session_set_other_config(struct sessions *s, ref_t ref, const struct strmap *value)
{
    struct arena arena = {0};
    struct strmap copy;
    struct entry *e;

    value_copy(&arena, api_fields[FIELD_session_other_config].type, value, &copy);
    mutex_lock(&s->lock);
    e = *place_of(s, ref);
    if (e) {
        struct arena old = e->config_arena;

        e->config_arena = arena;
        e->other_config = copy;
        arena = old;
    }
    mutex_unlock(&s->lock);
    arena_release(&arena);
    return e != NULL;
}

struct refs session_refs(struct sessions *s, struct arena *arena, const char *user)
{
    struct refs refs = {0};
    ref_t *v;

    MUTEX_GUARD(&s->lock);
    v = arena_array(arena, ref_t, s->count + 1);
    for (int i = 0; i < BUCKETS; i++)
        for (struct entry *e = s->buckets[i]; e; e = e->next)
            if (!user || strcmp(e->public.user, user) == 0)
                v[refs.n++] = e->public.ref;
    refs.v = v;
    return refs;
}

size_t session_count(struct sessions *s)
{
    MUTEX_GUARD(&s->lock);
    return s->count;
}

/*** several members ***/

void sessions_set_remote(struct sessions *s, const struct session_remote *remote)
{
    MUTEX_GUARD(&s->lock);
    s->remote = remote ? *remote : (struct session_remote){0};
    if (remote && !s->ended) {
        s->unknown = xcalloc(GHOSTS, sizeof *s->unknown);
        s->ended = xcalloc(GHOSTS, sizeof *s->ended);
    }
}

/* With the lock held. */
static void fill_copy(struct sessions *s, struct arena *arena, const struct entry *e,
                      struct session_copy *out)
{
    *out = (struct session_copy){
        .public = e->public,
        .host = ref_is_null(e->host) ? s->xapid->host : e->host,
        .created = e->created,
        .seen = __atomic_load_n(&e->seen, __ATOMIC_ACQUIRE),
        .here = e->here,
        .whole = e->whole,
    };
    out->public.user = arena_strdup(arena, e->public.user);
    out->public.originator = arena_strdup(arena, e->public.originator);
    out->public.client = arena_strdup(arena, e->public.client);
    value_copy(arena, api_fields[FIELD_session_other_config].type, &e->other_config,
               &out->other_config);
}

void session_announce(struct sessions *s, ref_t ref)
{
    AUTO(arena) arena = {0};
    struct session_copy copy;
    struct entry *e;

    if (!s->remote.created)
        return;
    mutex_lock(&s->lock);
    e = *place_of(s, ref);
    if (e) {
        e->shared = true;
        fill_copy(s, &arena, e, &copy);
    }
    mutex_unlock(&s->lock);
    if (e)
        s->remote.created(s->remote.ctx, &copy);
}

void sessions_announce_again(struct sessions *s)
{
    AUTO(arena) arena = {0};
    struct refs all;

    if (!s->remote.created)
        return;
    all = session_refs(s, &arena, NULL);
    for (size_t i = 0; i < all.n; i++) {
        bool here;

        mutex_lock(&s->lock);
        here = *place_of(s, all.v[i]) && (*place_of(s, all.v[i]))->here &&
               !(*place_of(s, all.v[i]))->public.copy;
        mutex_unlock(&s->lock);
        if (here)
            session_announce(s, all.v[i]);
    }
}

/* While this member is cut off, one that roams; once it is back, every one of which others know
 * that was not used since. */
static bool may_have_moved(const struct sessions *s, const struct entry *e)
{
    usec_t contact;

    if (!s->remote.contact || !(e->roams || e->shared))
        return false;
    contact = s->remote.contact(s->remote.ctx);
    return contact ? contact > e->sure : e->roams;
}

/* With the lock held.  *ask: it is in doubt, goes on here for the moment, and nobody asks yet. */
static bool is_elsewhere(struct sessions *s, struct entry *e, bool *ask)
{
    usec_t now = clock_mono();

    if (!e->here)
        return true;
    /* Cut off, nobody could tell us that it is elsewhere by now. */
    if (!e->doubted && may_have_moved(s, e))
        e->doubted = now;
    if (!e->doubted) {
        e->sure = now;
        return false;
    }
    if (now - e->used >= SESSION_GRACE || now - e->doubted >= SESSION_DOUBT_FOR)
        return true;
    *ask = now - e->asked >= ASK_EVERY;
    if (*ask)
        e->asked = now;
    return false;
}

bool session_is_elsewhere(struct sessions *s, ref_t ref)
{
    bool elsewhere, ask = false;
    struct entry *e;

    if (!s->remote.bring)
        return false;
    mutex_lock(&s->lock);
    e = *place_of(s, ref);
    elsewhere =
        e ? is_elsewhere(s, e, &ask) : !ghost_has(s->ended, ref) && !ghost_has(s->unknown, ref);
    mutex_unlock(&s->lock);
    if (ask && s->remote.doubted)
        s->remote.doubted(s->remote.ctx, ref);
    return elsewhere;
}

void sessions_doubt(struct sessions *s)
{
    usec_t now = clock_mono();

    MUTEX_GUARD(&s->lock);
    for (int i = 0; i < BUCKETS; i++)
        for (struct entry *e = s->buckets[i]; e; e = e->next)
            if (e->roams && !e->doubted)
                e->doubted = now;
}

struct error *session_bring(struct sessions *s, struct arena *arena, ref_t ref)
{
    return s->remote.bring ? s->remote.bring(s->remote.ctx, arena, ref) : OK;
}

void session_saw(const struct auth_session *session, uint64_t revision)
{
    struct entry *e = (struct entry *)session;
    uint64_t seen;

    if (!e)
        return;
    seen = __atomic_load_n(&e->seen, __ATOMIC_RELAXED);
    while (seen < revision && !__atomic_compare_exchange_n(&e->seen, &seen, revision, true,
                                                           __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;
}

bool session_copy_out(struct sessions *s, struct arena *arena, ref_t ref, bool take,
                      struct session_copy *out, bool *has_ended)
{
    struct entry *e;

    MUTEX_GUARD(&s->lock);
    *has_ended = ghost_has(s->ended, ref);
    e = *place_of(s, ref);
    if (!e || e->public.copy) /* only this member has what it reads */
        return false;
    fill_copy(s, arena, e, out);
    if (take) {
        e->here = false;
        e->shared = e->roams = true;
        e->taken++;
    }
    return true;
}

void session_adopt(struct sessions *s, const struct session_copy *copy)
{
    const struct auth_session *p = &copy->public;
    struct session_request r = {.role = p->role,
                                .is_local_superuser = p->is_local_superuser,
                                .pool = p->pool,
                                .user = p->user,
                                .originator = p->originator,
                                .client = p->client,
                                .subject = p->subject};
    struct entry *e, *old[GROUPS] = {NULL};

    mutex_lock(&s->lock);
    e = *place_of(s, p->ref);
    if (e) {
        session_saw(&e->public, copy->seen);
        e->whole |= copy->whole;
    } else if (!ghost_has(s->ended, p->ref)) {
        make_room(s, &r, old);
        e = entry_of(s, p);
        e->host = copy->host;
        e->created = copy->created;
        e->seen = copy->seen;
        e->whole = copy->whole;
        e->here = false;
        e->shared = e->roams = true;
        value_copy(&e->config_arena, api_fields[FIELD_session_other_config].type,
                   &copy->other_config, &e->other_config);
        put_in(s, e);
    }
    mutex_unlock(&s->lock);
    made_room(s, old);
}

bool session_taken(struct sessions *s, ref_t ref, uint64_t *times)
{
    const struct entry *e;

    MUTEX_GUARD(&s->lock);
    e = *place_of(s, ref);
    *times = e ? e->taken : 0;
    return e != NULL;
}

bool session_is_whole(struct sessions *s, ref_t ref)
{
    const struct entry *e;

    MUTEX_GUARD(&s->lock);
    e = *place_of(s, ref);
    return e && e->whole;
}

void session_settle(struct sessions *s, ref_t ref, uint64_t times, uint64_t seen,
                    const struct strmap *other_config)
{
    struct entry *e;

    if (other_config)
        session_set_other_config(s, ref, other_config);
    MUTEX_GUARD(&s->lock);
    e = *place_of(s, ref);
    if (!e)
        return;
    session_saw(&e->public, seen);
    if (e->taken == times) {
        e->here = e->whole = true;
        e->doubted = 0;
        e->sure = clock_mono();
    }
}

void session_note_unknown(struct sessions *s, ref_t ref)
{
    MUTEX_GUARD(&s->lock);
    ghost_add(s->unknown, ref, clock_mono() + UNKNOWN_FOR);
}

void session_end_here(struct sessions *s, ref_t ref)
{
    struct entry **p, *e = NULL;

    mutex_lock(&s->lock);
    ghost_add(s->ended, ref, clock_mono() + ENDED_FOR);
    p = place_of(s, ref);
    if (*p)
        e = take_out(s, p);
    mutex_unlock(&s->lock);
    if (e)
        ended(s, e, false);
}
